"""Makes a git work tree ready for stores, and keeps their tables up with what git checks out.

What it writes stands between two marks, in files that are there or not: lines of
others are kept, and doing it again adds only what is new (docs/merge.md, Git).
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from xetrack.config import store_of_environment
from xetrack.errors import InvalidArgument, PathNotFound, XetrackError, storage_error
from xetrack.exchange.frames import draft_of
from xetrack.exchange.git import WorkTree
from xetrack.exchange.sources import opened_target
from xetrack.log.log import STORE_FILE
from xetrack.store import EVENTS_SUFFIX
from xetrack.tables.files import tables_file

_BEGIN, _END = "# >>> xetrack >>>", "# <<< xetrack <<<"
#: What is ignored where no store is so far.
_DEFAULT_STORE = "track.db"
HOOKS = ("post-checkout", "post-merge", "post-rewrite")

_IGNORED = (
    "# Tables are made from the logs (*.events), which are what to commit.",
    "**/*.events/**/.*",
    "**/*.events/_assets/**/*.draft",
)
_ATTRIBUTES = (
    "# A file has one writer and its lines never change: no line end is converted, no text is merged.",
    "**/*.events/** -text -merge",
    "**/*.events/**/*.zst binary",
    "**/*.events/**/*.msgpack binary",
)
_HOOK = (
    "# Brings tables up with the logs that git has put there; says nothing, and never stops git.",
    "command -v xt >/dev/null 2>&1 && xt git catch-up </dev/null >/dev/null 2>&1 || :",
)


@dataclass
class GitReport:
    """What a work tree was given: files that changed, and what is left for the user to do."""

    top: str
    stores: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, the fields as they are here."""
        return asdict(self)


def prepare(path: str | os.PathLike[str] = ".", *, hooks: bool = False) -> GitReport:
    """Have the work tree around a path ignore tables and keep its hands off the lines of logs.

    Doing it again changes nothing, but for stores that are new. With ``hooks``
    tables follow at once when git checks out, merges or rewrites.

    Raises:
        GitFailed: there is no work tree around the path.
        InvalidArgument: the hooks are outside of the repository, or one is no shell script.
    """
    tree = _tree_around(path)
    report = GitReport(str(tree.top), _stores(tree))
    names = report.stores or [PurePosixPath(store_of_environment() or _DEFAULT_STORE).name]
    anchor = "/" if report.stores else ""
    ignored = [f"{anchor}{_escaped(name)}" for store in names for name in derived(store)]
    scripts = _hook_scripts(tree) if hooks else []
    _add(tree.top / ".gitignore", [*_IGNORED, *ignored], report)
    _add(tree.top / ".gitattributes", _ATTRIBUTES, report)
    for script in scripts:
        _add(script, _HOOK, report, is_script=True)
    _advise(tree, report)
    return report


def catch_up(path: str | os.PathLike[str] = ".") -> dict[str, str]:
    """Bring the tables of all stores of the work tree up with their logs; what failed, by store."""
    tree = _tree_around(path)
    failed = {}
    for store in _stores(tree):
        if not (tree.top / f"{store}{EVENTS_SUFFIX}" / STORE_FILE).exists():
            continue  # tracked, and not there
        try:
            with opened_target(tree.top / store, must_exist=True) as target:
                target.store.flush()
        except XetrackError as error:
            failed[store] = error.summary
    return failed


def derived(store: str) -> list[str]:
    """Paths of what is made from the log of a store, as git's patterns but for the store's own name."""
    found = []
    for engine, suffixes in (("sqlite", ("-wal", "-shm", "-journal")), ("duckdb", (".wal", ".*.tmp", ".*.tmp.wal"))):
        file = tables_file(Path(store), engine).as_posix()
        found += [f"{file}{suffix}" for suffix in ("", *suffixes, ".damaged-*", ".without-log-*")]
    return found


def _escaped(path: str) -> str:
    """A path as a pattern; the stars that ``derived`` adds stay what they are."""
    return "".join(f"\\{c}" if c in "?[]!#\\ " else c for c in path)


def _tree_around(path: str | os.PathLike[str]) -> WorkTree:
    place = Path(os.path.abspath(path))
    if not place.exists() and not Path(f"{place}{EVENTS_SUFFIX}").exists():
        near = difflib.get_close_matches(place.name, _names_in(place.parent))
        raise PathNotFound(path if isinstance(path, str) else os.fspath(path), near)
    return WorkTree(place if place.is_dir() and place.suffix != EVENTS_SUFFIX else place.parent)


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _stores(tree: WorkTree) -> list[str]:
    """Paths of the stores, as their tables are called, from the top."""
    found = tree.files(f":(glob)**/*{EVENTS_SUFFIX}/{STORE_FILE}")
    return [file.removesuffix(f"{EVENTS_SUFFIX}/{STORE_FILE}") for file in found]


def _hook_scripts(tree: WorkTree) -> list[Path]:
    """Where the hooks are or will be.

    Raises:
        InvalidArgument: not for us to write to; says what to do.
    """
    by_hand = f"add this line yourself to {', '.join(HOOKS)}: {_HOOK[1]}"
    folder = tree.hooks.resolve()
    if not any(folder.is_relative_to(place.resolve()) for place in (tree.top, tree.common)):
        raise InvalidArgument("--hooks", f"{folder} is shared with other repositories; {by_hand}")
    scripts = [tree.hooks / name for name in HOOKS]
    for script in scripts:
        if script.exists() and not _is_shell(script):
            raise InvalidArgument("--hooks", f"{script} is no shell script; {by_hand}")
    return scripts


def _is_shell(script: Path) -> bool:
    try:
        first = script.read_bytes().partition(b"\n")[0].strip()
    except OSError as error:
        raise storage_error(error, script) from error
    return first.startswith(b"#!") and first.split()[-1].rpartition(b"/")[2] in (
        b"sh",
        b"bash",
        b"dash",
        b"zsh",
        b"ksh",
    )


def _add(path: Path, lines: Sequence[str], report: GitReport, *, is_script: bool = False) -> None:
    """Have the lines stand between our marks in a text file.

    At its end, but in a script after its first line: what follows may end it early.
    """
    place = Path(os.path.realpath(path))
    try:
        raw = place.read_bytes() if place.exists() else b""
        ending = b"\r\n" if b"\r\n" in raw else b"\n"
        old = raw.decode("utf-8", "surrogateescape").replace("\r\n", "\n").splitlines()
        new = _with_lines(old, lines, is_script)
        mode = stat.S_IMODE(place.stat().st_mode) if raw else None
        if is_script:
            mode = (mode or 0o755) | 0o111
        if new == old and (mode is None or mode == stat.S_IMODE(place.stat().st_mode)):
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(place) as draft:
            draft.write_bytes(ending.join(line.encode("utf-8", "surrogateescape") for line in [*new, ""]))
            if mode is not None:
                draft.chmod(mode)
    except OSError as error:
        raise storage_error(error, path) from error
    report.changed.append(os.path.relpath(path, report.top).replace(os.sep, "/"))


def _with_lines(old: list[str], lines: Iterable[str], is_script: bool) -> list[str]:
    if _BEGIN in old and _END in old[old.index(_BEGIN) :]:
        begin = old.index(_BEGIN)
        end = old.index(_END, begin)
        missing = [line for line in lines if line not in old[begin:end]]
        return [*old[:end], *missing, *old[end:]]
    block = [_BEGIN, *lines, _END]
    if is_script:
        return [*(old[:1] or ["#!/bin/sh"]), *block, *old[1:]]
    return [*old, *([""] if old and old[-1] else []), *block]


def _advise(tree: WorkTree, report: GitReport) -> None:
    """Note what no pattern can put right."""
    for store in report.stores:
        tracked = tree.files(*(f":(glob){name}" for name in derived(store)), tracked_only=True)
        if tracked:
            report.notes.append(f"tables are committed, and need not be: git rm --cached -- {' '.join(tracked)}")
        reason = tree.ignored(f"{store}{EVENTS_SUFFIX}/{STORE_FILE}")
        if reason is not None:
            report.notes.append(f"the log {store}{EVENTS_SUFFIX} is ignored by {reason}: it is what to commit")
