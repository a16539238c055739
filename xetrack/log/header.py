"""Where events come from: the facts of a segment's header, gathered once a segment.

Nothing here runs a program or reads the environment; ``FileLog(facts=…)`` adds
what other rooms know, such as whether the work tree was dirty.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
#: Symbolic refs are followed as far as git follows them.
_MAX_LINKS = 5


def facts(more: dict[str, Any]) -> dict[str, Any]:
    """Host, process, user, time zone, releases, script and git commit, those that can be told, and ``more``."""
    found = {
        "host": platform.node(),
        "pid": os.getpid(),
        "user": _user(),
        "utc_offset_s": time.localtime().tm_gmtoff,
        "python": platform.python_version(),
        "xetrack": _release(),
        "script": _script(),
        **_commit(),
        **more,
    }
    return {name: _text(fact) for name, fact in found.items() if fact not in (None, "")}


def _text(fact: Any) -> Any:
    # File and host names may hold bytes that are no text; the header is worth more than they are.
    return fact.encode(errors="replace").decode() if isinstance(fact, str) else fact


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name, as in some containers
        return None


def _release() -> str | None:
    package = sys.modules.get("xetrack")
    return getattr(package, "__version__", None)


def _script() -> str | None:
    """The program's file, relative and POSIX: a store may be moved."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if not main:
        return None
    path = Path(main)
    try:
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except (OSError, ValueError):
        return path.name


def _commit() -> dict[str, str | None]:
    try:
        head = head_of(Path.cwd())
    except OSError:  # the folder was removed under the program
        return {}
    return head._asdict() if head else {}


# -- git's own files ---------------------------------------------------------


class Head(NamedTuple):
    """What a work tree has checked out. No commit before the first one, no branch where HEAD is detached."""

    commit: str | None
    branch: str | None


def head_of(folder: Path) -> Head | None:
    """What is checked out around a folder, None outside of a work tree; read from git's files, without running it."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        link = _text_of(git)  # a file in a linked work tree or a submodule
        if link is not None:
            git = parent / link.removeprefix("gitdir:").strip()
        if _text_of(git / "HEAD") is not None:
            return _head(git)
    return None


def _head(git: Path) -> Head:
    common = git / (_text_of(git / "commondir") or "")
    ref, text = "HEAD", ""
    for _ in range(_MAX_LINKS):
        text = _text_of(git / ref) or _text_of(common / ref) or _packed(common, ref)
        if not text.startswith("ref:"):
            break
        ref = text.removeprefix("ref:").strip()
    # Where refs are no files (reftable), HEAD names a branch that cannot be.
    is_branch = ref.startswith("refs/heads/") and ref != "refs/heads/.invalid"
    return Head(text if _COMMIT.fullmatch(text) else None, ref.removeprefix("refs/heads/") if is_branch else None)


def _packed(common: Path, ref: str) -> str:
    for line in (_text_of(common / "packed-refs") or "").splitlines():
        commit, _, name = line.partition(" ")
        if name == ref:
            return commit
    return ""


def _text_of(file: Path) -> str | None:
    try:
        return os.fsdecode(file.read_bytes()).strip()
    except (OSError, ValueError):  # ValueError: no path can hold what another file named
        return None
