"""Where events come from: the facts of a segment's header, gathered once a segment.

Nothing here runs a program or reads the environment; ``FileLog(facts=…)`` adds
what other rooms know, such as whether the work tree was dirty.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any


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
        import getpass

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


def _commit() -> dict[str, str]:
    """Commit and branch of the work tree around the current folder, read from git's own files."""
    try:
        folder = Path.cwd()
    except OSError:
        return {}
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        try:
            if git.is_file():  # a linked work tree or a submodule
                git = parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
            head = (git / "HEAD").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        if not head.startswith("ref: "):
            return {"commit": head}
        ref = head.removeprefix("ref: ")
        commit = _resolve(git, ref)
        branch = {"branch": ref.removeprefix("refs/heads/")}
        return {"commit": commit, **branch} if commit else branch
    return {}


def _resolve(git: Path, ref: str) -> str | None:
    common = git
    try:
        common = git / (git / "commondir").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        pass
    for place in (git, common):
        try:
            return (place / ref).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
    try:
        for line in (common / "packed-refs").read_text(encoding="utf-8").splitlines():
            if line.endswith(f" {ref}"):
                return line.partition(" ")[0]
    except (OSError, ValueError):
        pass
    return None
