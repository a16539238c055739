"""What git knows of the code that runs. The only room that runs git.

It only asks: no lock of the repository is taken, no daemon started, nothing
fetched. Of the code that runs, what git does not answer in time goes unanswered,
and nothing raises. ``Revision`` reads the files of a commit from git's objects.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from xetrack.config import git_environ
from xetrack.errors import GitFailed, RevisionNotFound
from xetrack.log.header import head_of

#: What a program may have to wait for git, once.
LIMIT_S = 1.0
#: On Windows a program without a terminal would open one for git.
_NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)

_STATUS = (
    *("-c", "core.fsmonitor=false", "-c", "status.renames=false"),
    *("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "--untracked-files=no"),
    # A store that is committed grows while its writer runs; that changes no code.
    *("--", ":(top,exclude,glob)**/*.events/**"),
)


def facts(folder: Path | str, *, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """``commit``, ``branch`` and ``dirty`` of the work tree around a folder, None for what cannot be told.

    ``commit`` is None before the first one and outside of a work tree, ``branch``
    where HEAD is detached. ``dirty`` is whether files under git's control differ
    from the commit, staged or not; untracked files and logs of stores do not count.
    Without a git program, or one that refuses the folder or takes longer than
    ``limit_s``, ``dirty`` is None, and the others come from the repository's files.
    """
    found: dict[str, Any] = {"commit": None, "branch": None, "dirty": None}
    try:
        place = Path(os.path.abspath(folder))
        head = head_of(place)
    except (OSError, ValueError):
        return found
    if head is None:
        return found
    found |= head._asdict()
    status = _output(place, *_STATUS, limit_s=limit_s)
    return found if status is None else found | _told(os.fsdecode(status).split("\n"))


def asked(folder: Path | str, *, early: bool = False, limit_s: float = LIMIT_S) -> Callable[[], dict[str, Any]]:
    """``facts`` of a folder as a function that asks once, and gives the same answer in forked children.

    It asks when first called, or with ``early`` begins now, in the background, so
    that the first call hardly waits.
    """
    answers: list[dict[str, Any]] = []
    place = _pinned(folder)

    def ask() -> None:
        answers.append(facts(place, limit_s=limit_s))

    thread = threading.Thread(target=ask, name="xetrack-git", daemon=True)
    if early:
        try:
            thread.start()
        except RuntimeError:  # no more threads: asked for when it is needed
            early = False

    def answer() -> dict[str, Any]:
        if early:
            thread.join()  # in a child forked meanwhile it never ran on, and this returns at once
        if not answers:
            ask()
        return dict(answers[0])

    return answer


def _pinned(folder: Path | str) -> Path | str:
    try:
        return os.path.abspath(folder)
    except OSError:  # the current folder was removed
        return folder


def _told(lines: list[str]) -> dict[str, Any]:
    """Facts from the lines of ``git status --porcelain=v2 --branch``."""
    headers = dict(line.removeprefix("# ").split(" ", 1) for line in lines if line.startswith("# branch."))
    if "branch.oid" not in headers:  # a git from before 2.17, or something else of that name
        return {}
    commit, branch = headers["branch.oid"], headers.get("branch.head")
    return {
        "commit": None if commit == "(initial)" else commit,
        "branch": None if branch == "(detached)" else branch,
        "dirty": any(line and not line.startswith("#") for line in lines),
    }


def run(folder: Path, *command: str) -> str:
    """What a git command prints, for those that the user asked for: tags and work trees.

    Raises:
        GitFailed: with what git said.
    """
    return os.fsdecode(_asked_for(folder, *command))


def blob(folder: Path, name: str) -> bytes:
    """The bytes of a file, named ``<rev>:<path>``.

    Raises:
        GitFailed: there is none.
    """
    return _asked_for(folder, "cat-file", "blob", name)


def _asked_for(folder: Path, *command: str) -> bytes:
    try:
        done = _done(folder, *command)
    except (OSError, ValueError) as error:
        raise GitFailed(command[0], str(error)) from error
    if done.returncode:
        said = os.fsdecode(done.stderr).strip().splitlines()
        raise GitFailed(command[0], said[0].rstrip(".") if said else f"exit status {done.returncode}")
    return done.stdout


class WorkTree:
    """The work tree around a folder: where git keeps what, and what it thinks of files. ``top`` is its root.

    Raises:
        GitFailed: there is none, or no git.
    """

    def __init__(self, folder: Path) -> None:
        self.top = Path(self._said(folder, "rev-parse", "--show-toplevel"))
        #: Where the hooks are, ``core.hooksPath`` and linked work trees considered.
        self.hooks = self.top / self._said(self.top, "rev-parse", "--git-path", "hooks")
        self.common = self.top / self._said(self.top, "rev-parse", "--git-common-dir")

    @staticmethod
    def _said(folder: Path, *command: str) -> str:
        return run(folder, *command).removesuffix("\n")

    def files(self, *patterns: str, tracked_only: bool = False) -> list[str]:
        """Paths from the top that match, of files that git tracks, or that are there."""
        which = ("--cached",) if tracked_only else ("--cached", "--others")
        listed = _asked_for(self.top, "ls-files", "-z", *which, "--", *patterns)
        return sorted(set(map(os.fsdecode, listed.split(b"\0")[:-1])))

    def ignored(self, path: str) -> str | None:
        """What has git ignore an untracked file, such as ``.gitignore:3:*.events``; None if nothing does."""
        said = _output(self.top, "check-ignore", "--verbose", "--no-index", "--", path)
        if not said:
            return None
        place = os.fsdecode(said).partition("\t")[0]  # source:line:pattern
        return None if place.split(":", 2)[-1].startswith("!") else place


_UNREADABLE = "git cannot read its files, which may be missing in this clone"


class RevisionFile(NamedTuple):
    """A file of a revision: its object and size. The object of a link holds the path that it leads to."""

    digest: str
    size_bytes: int
    is_link: bool


class Revision:
    """The files of one revision, read from git's objects: nothing is checked out. Close it when done."""

    def __init__(self, name: str, top: Path, tree: str) -> None:
        self.name, self.top, self._tree = name, top, tree
        self._reader: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, folder: Path, name: str) -> Revision | None:
        """The revision of that name in the repository around a folder; None where either is not there."""
        while not folder.is_dir() and folder != folder.parent:
            folder = folder.parent
        top = _output(folder, "rev-parse", "--show-toplevel")
        tree = _output(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{tree}}")
        if not name or top is None or tree is None:
            return None
        return cls(name, Path(os.fsdecode(top).removesuffix("\n")), tree.decode().strip())

    def files(self, folder: str) -> dict[str, RevisionFile]:
        """The files below a folder, by path from the top; ``""`` is the top itself."""
        names = ("--", f"{folder}/") if folder else ()
        listed = _output(
            self.top, "--literal-pathspecs", "ls-tree", "-r", "-l", "-z", "--full-tree", self._tree, *names
        )
        if listed is None:
            raise RevisionNotFound(self.name, _UNREADABLE)
        found = {}
        for entry in listed.split(b"\0")[:-1]:
            facts, _, path = entry.partition(b"\t")
            mode, kind, digest, size = facts.split()
            if kind == b"blob":
                found[os.fsdecode(path)] = RevisionFile(digest.decode(), int(size), mode == b"120000")
        return found

    def has_folder(self, folder: str) -> bool:
        listed = _output(self.top, "--literal-pathspecs", "ls-tree", "-z", "--full-tree", self._tree, "--", folder)
        return listed is not None and b" tree " in listed.partition(b"\t")[0]

    def read(self, digest: str) -> bytes:
        """The bytes of an object, by one git program for all of them.

        Raises:
            RevisionNotFound: it is not in this clone.
        """
        if self._reader is None:
            self._reader = subprocess.Popen(
                ("git", "cat-file", "--batch"),
                cwd=self.top,
                env=git_environ(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                creationflags=_NO_WINDOW,
            )
        stdin, stdout = self._reader.stdin, self._reader.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(f"{digest}\n".encode())
            stdin.flush()
        except BrokenPipeError:
            raise RevisionNotFound(self.name, _UNREADABLE) from None
        _, _, size = stdout.readline().decode().strip().rpartition(" ")
        if not size.isdecimal():
            raise RevisionNotFound(self.name, _UNREADABLE)
        raw = stdout.read(int(size))
        stdout.read(1)
        if len(raw) != int(size):
            raise RevisionNotFound(self.name, _UNREADABLE)
        return raw

    def close(self) -> None:
        if self._reader is not None:
            with self._reader as reader:
                assert reader.stdin is not None
                reader.stdin.close()
            self._reader = None


def _output(folder: Path, *command: str, limit_s: float | None = None) -> bytes | None:
    """What git prints, None if it is not there, has nothing to say or takes longer."""
    try:
        done = _done(folder, "--no-optional-locks", *command, limit_s=limit_s)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return None if done.returncode else done.stdout


def _done(folder: Path, *command: str, limit_s: float | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ("git", *command),
        cwd=folder,
        env=git_environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=limit_s,
        creationflags=_NO_WINDOW,
    )
