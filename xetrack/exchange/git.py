"""What git knows of the code that runs. The only room that runs git.

It only asks: no lock of the repository is taken, no daemon started, nothing
fetched, and what git does not answer in time goes unanswered. Nothing here raises.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xetrack.config import git_environ
from xetrack.log.header import head_of

#: What a program may have to wait for git, once.
LIMIT_S = 1.0

_STATUS = (
    *("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "status.renames=false"),
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
        if head is None:
            return found
        found |= head._asdict()
        status = subprocess.run(
            _STATUS,
            cwd=place,
            env=git_environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limit_s,
            check=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return found
    return found | _told(os.fsdecode(status.stdout).split("\n"))


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
