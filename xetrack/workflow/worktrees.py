"""Work trees beside the repository: one for each experiment that goes on in parallel, one for each version looked at.

All of them share the cache of DVC, where there is one, so that no data is fetched twice.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from xetrack.errors import DvcFailed, InvalidArgument, PathNotFound
from xetrack.exchange import git
from xetrack.workflow.versions import version_of


class Worktree(NamedTuple):
    """A work tree: where it is, its commit, and its branch (None: detached). The first is the repository's own."""

    path: str
    commit: str
    branch: str | None

    def to_dict(self) -> dict[str, str | None]:
        """The work tree as plain values, for JSON."""
        return self._asdict()


def worktrees(folder: Path | str = ".") -> list[Worktree]:
    """All work trees of the repository around a folder.

    Raises:
        GitFailed: there is no repository.
    """
    found = []
    for entry in git.run(Path(folder), "worktree", "list", "--porcelain", "-z").split("\0\0"):
        facts = dict(line.partition(" ")[::2] for line in entry.split("\0") if line)
        if "worktree" in facts:
            branch = facts.get("branch")
            commit = facts.get("HEAD", "")
            found.append(Worktree(facts["worktree"], commit, branch and branch.removeprefix("refs/heads/")))
    return found


def add(name: str, folder: Path | str = ".") -> Worktree:
    """A work tree with a branch of that name, in the folder ``<repository>-<name>`` beside the repository.

    A branch that is there is checked out, else it begins at the current commit.

    Raises:
        InvalidArgument: the folder is taken.
        GitFailed: the branch is checked out elsewhere, or no branch can be called that.
    """
    here = Path(folder)
    target = _beside(here, name)
    known = git.run(here, "branch", "--list", "--format=%(refname:short)", name).strip()
    git.run(here, "worktree", "add", *([str(target), name] if known else ["-b", name, str(target)]))
    share_dvc_cache(here, target)
    return _at(here, target)


def checkout(version: str, folder: Path | str = ".", output: Path | str | None = None) -> Worktree:
    """A work tree of a version, to look around in: detached, so that nothing there moves a branch.

    Raises:
        VersionNotFound, GitFailed, InvalidArgument: as ``add``.
    """
    here = Path(folder)
    version_of(version, here)
    target = _free(Path(output).absolute()) if output is not None else _beside(here, version)
    git.run(here, "worktree", "add", "--detach", str(target), version)
    share_dvc_cache(here, target)
    return _at(here, target)


def cleanup(folder: Path | str = ".", *, dry_run: bool = False) -> list[Worktree]:
    """Remove the work trees of versions, those that ``checkout`` makes, and return them.

    One with changes that are not committed stays.
    """
    here = Path(folder)
    main, *others = worktrees(here)
    gone = []
    for tree in others:
        if tree.branch is not None or not Path(tree.path).name.startswith(f"{Path(main.path).name}-e"):
            continue
        if git.run(Path(tree.path), "status", "--porcelain").strip():
            continue
        if not dry_run:
            git.run(here, "worktree", "remove", tree.path)
        gone.append(tree)
    return gone


# -- DVC ---------------------------------------------------------------------


def has_dvc() -> bool:
    """Whether the program is there."""
    return shutil.which("dvc") is not None


def dvc(folder: Path, *command: str) -> str:
    """What a DVC command prints.

    Raises:
        DvcFailed: with what it said.
    """
    program = shutil.which("dvc")
    if program is None:
        raise DvcFailed(command[0], "it is not installed")
    done = subprocess.run((program, *command), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise DvcFailed(command[0], said[-1].rstrip(".") if said else f"exit status {done.returncode}")
    return done.stdout


def share_dvc_cache(main: Path, tree: Path) -> bool:
    """Let a work tree use the cache of the first one; False where there is no DVC."""
    top = Path(worktrees(main)[0].path)
    if not (top / ".dvc").is_dir() or not (tree / ".dvc").is_dir() or not has_dvc():
        return False
    cache = dvc(top, "cache", "dir").strip()
    dvc(tree, "cache", "dir", "--local", str((top / cache).resolve()))
    return True


# -- places ------------------------------------------------------------------


def _beside(folder: Path, name: str) -> Path:
    top = Path(worktrees(folder)[0].path)
    return _free(top.parent / f"{top.name}-{name.replace('/', '-')}")


def _free(target: Path) -> Path:
    if target.exists():
        raise InvalidArgument("name", f"there is something at {target} already")
    return target


def _at(folder: Path, target: Path) -> Worktree:
    for tree in worktrees(folder):
        if Path(tree.path).resolve() == target.resolve():
            return tree
    raise PathNotFound(target, [])
