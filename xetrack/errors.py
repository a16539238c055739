"""Every exception of xetrack: its message, its hint and its exit code.

A message says what happened and where, the hint says what to do. Facts are
fields of the exception, so a caller never parses text. Anyone may raise these;
nothing else formats an error, and only the command line prints one.

    XetrackError (exit 1)
    ├── UsageError (2)     also a ValueError
    ├── NotFound (3)       also a LookupError
    ├── LogError
    ├── TableError
    ├── MergeError
    ├── StorageError       raised from the OSError
    ├── AssetUnloadable
    ├── GitFailed
    ├── DvcFailed
    └── MissingExtra
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import ClassVar

# Arguments are positional-only so that ``BaseException.args`` holds them all:
# that is what makes each of these survive pickle and a process pool.


class XetrackError(Exception):
    """Whatever xetrack raises on purpose."""

    message: ClassVar[str] = "xetrack failed."
    hint: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1

    @property
    def summary(self) -> str:
        """What happened and where, without the advice."""
        return self._filled(self.message)

    @property
    def advice(self) -> str:
        """What to do about it; empty if there is nothing to say."""
        return self._filled(self.hint)

    def __str__(self) -> str:
        return f"{self.summary} {self.advice}".rstrip()

    def _filled(self, template: str) -> str:
        facts = {name: _shown(fact) for name, fact in vars(self).items()}
        return template.format_map(facts)


def _shown(fact: object) -> object:
    try:
        shown = ", ".join(str(item) for item in fact) if isinstance(fact, list | tuple) else fact
        f"{shown} {shown!r}"
    except Exception:  # noqa: BLE001 - a key, say, may be any object of the user's, and its text may fail
        return f"<{type(fact).__name__}>"
    return shown


# -- wrong use ---------------------------------------------------------------


class UsageError(XetrackError, ValueError):
    """The call cannot mean anything; nothing was written."""

    message = "That call cannot be carried out."
    exit_code = 2


class InvalidKey(UsageError):
    """A key that no column can be named after."""

    message = "The key {key!r} cannot be logged: {reason}."
    hint = "Nothing was written. Rename the key and call again."

    def __init__(self, key: object, reason: str, /) -> None:
        self.key, self.reason = key, reason


class InvalidValue(UsageError):
    """A value that cannot be kept as it is."""

    message = "The value of {key!r} cannot be logged: {reason}."
    hint = "Nothing was written. Convert the value and call again."

    def __init__(self, key: object, reason: str, /) -> None:
        self.key, self.reason = key, reason


class EventTooLarge(UsageError):
    """An event whose line would be longer than any line may be."""

    message = "The event would be a line of {size_bytes} bytes; none may be longer than {max_bytes}."
    hint = "Nothing of it was written. Keep what is large as an object or a file, which have no limit (docs/assets.md)."

    def __init__(self, size_bytes: int, max_bytes: int, /) -> None:
        self.size_bytes, self.max_bytes = size_bytes, max_bytes


class ReservedKey(UsageError):
    """A key whose column belongs to xetrack."""

    message = "The key {key!r} is filled in by xetrack."
    hint = "Nothing was written. Choose another key; a run is named by Tracker(track_id=...)."

    def __init__(self, key: str, /) -> None:
        self.key = key


class KeyCollision(UsageError):
    """Two keys of one call that would share a column."""

    message = "The keys {first!r} and {second!r} would both be column {column!r}."
    hint = "Nothing was written. Rename one of them and call again."

    def __init__(self, first: str, second: str, column: str, /) -> None:
        self.first, self.second, self.column = first, second, column


class InvalidTable(UsageError):
    """A name that no table can have."""

    message = "The table name {name!r} cannot be used: {reason}."
    hint = "Choose another table name."

    def __init__(self, name: object, reason: str, /) -> None:
        self.name, self.reason = name, reason


class InvalidArgument(UsageError):
    """An argument outside what it may be."""

    message = "The argument {name} cannot be used: {reason}."
    hint = "Change it and call again."

    def __init__(self, name: str, reason: str, /) -> None:
        self.name, self.reason = name, reason


class AmbiguousAsset(UsageError):
    """A short hash that more than one stored object has."""

    message = "The hash {asset!r} is the beginning of more than one: {digests}."
    hint = "Give it in full."

    def __init__(self, asset: str, digests: list[str], /) -> None:
        self.asset, self.digests = asset, digests


class NotConfirmed(UsageError):
    """A command that cannot be taken back, and nobody who could say yes."""

    message = "{command} asks before it acts, and there is no terminal to ask at."
    hint = "Nothing was changed. --yes answers in advance, --dry-run only tells what it would do."

    def __init__(self, command: str, /) -> None:
        self.command = command


class ReadOnlyTables(UsageError):
    """A write to the tables, which the next rebuild would undo."""

    message = "The tables are derived from the log, so SQL cannot change them."
    hint = (
        "Use Tracker.log, set_value, set_where or Reader.delete_run in Python, "
        "or `xt set` and `xt delete` on the command line."
    )


class PastIsReadOnly(UsageError):
    """A change to a store that was opened as it was at a moment of the past."""

    message = "The past cannot be changed: the store is open as it was at {at!r}."
    hint = "Open it without `at` to change it from here on."

    def __init__(self, at: str, /) -> None:
        self.at = at


# -- not there ---------------------------------------------------------------


class NotFound(XetrackError, LookupError):
    """What was asked for is not there; nothing was created."""

    message = "There is nothing of that name."
    hint_without_near: ClassVar[str] = ""
    exit_code = 3

    @property
    def advice(self) -> str:
        return self._filled(self.hint if vars(self).get("near", True) else self.hint_without_near)


class StoreNotFound(NotFound):
    """No store at a path that was to be read."""

    message = "There is no store at {path}."
    hint = "Did you mean: {near}?"
    hint_without_near = "Nothing was created. Tracker(db) makes a store, reading does not."

    def __init__(self, path: str | Path, near: list[str], /) -> None:
        self.path, self.near = path, near


class PathNotFound(NotFound):
    """No file or folder at a path that was to be read."""

    message = "There is nothing at {path}."
    hint = "Did you mean: {near}?"
    hint_without_near = "Nothing was created. Check the path."

    def __init__(self, path: str | Path, near: list[str], /) -> None:
        self.path, self.near = path, near


class TableNotFound(NotFound):
    """The store has no table of that name."""

    message = "The store {path} has no table {table!r}."
    hint = "It has: {near}."
    hint_without_near = "It has no tables so far."

    def __init__(self, table: str, path: str | Path, near: list[str], /) -> None:
        self.table, self.path, self.near = table, path, near


class RunNotFound(NotFound):
    """No run of that track id."""

    message = "There is no run {track_id!r}."
    hint = "Did you mean: {near}?"
    hint_without_near = "`xt ls DB track_id --unique` lists the runs."

    def __init__(self, track_id: str, near: list[str], /) -> None:
        self.track_id, self.near = track_id, near


class ColumnNotFound(NotFound):
    """No column of that name."""

    message = "There is no column {column!r}."
    hint = "Did you mean: {near}?"
    hint_without_near = "`xt columns DB` lists the columns. In SQL, text goes in single quotes."

    def __init__(self, column: str, near: list[str], /) -> None:
        self.column, self.near = column, near


class ColumnPastLimit(NotFound):
    """A key that SQL has no column of, as tables of that many keys have none for it."""

    message = "SQL has no column {column!r}: its key is past the column limit of the table."
    hint = "It lies in the JSON column _xetrack_more: {expression}. Frames, --columns, --where and --sort know it."

    def __init__(self, column: str, expression: str, /) -> None:
        self.column, self.expression = column, expression


class AssetNotFound(NotFound, KeyError):
    """No stored object of that hash or key; also a KeyError, since assets are read like a dict."""

    message = "There is no asset {asset!r}: {reason}."
    hint = "`xt assets ls DB` lists them. A hash is given by its first 16 digits, as the tables show it, or in full."

    def __init__(self, asset: str, reason: str = "nothing of that hash or key is stored", /) -> None:
        self.asset, self.reason = asset, reason


class EventNotFound(NotFound):
    """No event of that id."""

    message = "There is no event {event_id!r}."
    hint = "An event id is a writer and a number, such as k4w7aq2mzb3xn5ty-12; `xt log DB` lists them."

    def __init__(self, event_id: str, /) -> None:
        self.event_id = event_id


class VersionNotFound(NotFound):
    """No tag of that name is a version of an experiment."""

    message = "There is no version {version!r}."
    hint = "There are: {near}"

    def __init__(self, version: str, near: list[str], /) -> None:
        self.version, self.near = version, near


class NothingToUndo(NotFound):
    """A run that nothing deleted or rewound, or that is back already."""

    message = "Nothing that hid rows of the run {track_id!r} is left to undo."
    hint = "`xt log DB --track-id {track_id}` lists what happened to it; `xt undo DB EVENT_ID` undoes any of that."

    def __init__(self, track_id: str, /) -> None:
        self.track_id = track_id


class CacheNotFound(NotFound):
    """No function cache in a folder that was to be read."""

    message = "There is no cache in {path}."
    hint = "Nothing was created. Tracker(cache=...) makes one with the first result that it keeps."

    def __init__(self, path: str | Path, /) -> None:
        self.path = path


class NoCachedResult(NotFound):
    """No result in a function cache that a run computed."""

    message = "The cache in {path} has no result of the run {track_id!r}."
    hint = "`xt cache ls {path}` lists the results and their runs."

    def __init__(self, path: str | Path, track_id: str, /) -> None:
        self.path, self.track_id = path, track_id


# -- the log -----------------------------------------------------------------


class LogError(XetrackError):
    """The log cannot be read as it should be."""

    message = "The log cannot be read."


class DamagedLine(LogError):
    """A line whose bytes are not those that were written."""

    message = "Line {line} of {path} is damaged: {reason}."
    hint = "All other lines are read. `xt verify` lists the damage; a copy of the file may still have the line."

    def __init__(self, path: str | Path, line: int, reason: str, /) -> None:
        self.path, self.line, self.reason = path, line, reason


class FormatTooNew(LogError):
    """A log that a newer release wrote."""

    message = "The log at {path} has format {format}; this release reads formats up to {known}."
    hint = "Nothing was changed. xetrack {release} or newer reads it: pip install 'xetrack>={release}'."

    def __init__(self, path: str | Path, format: object, known: object, /) -> None:
        self.path, self.format, self.known = path, format, known
        # docs/decisions/0001: the major number is that of the first release that reads it.
        self.release = f"{str(format).partition('.')[0]}.0"


# -- the tables --------------------------------------------------------------


class TableError(XetrackError):
    """The tables cannot be used."""

    message = "The tables cannot be used."


class ForeignFile(TableError):
    """A file at the tables' path that xetrack did not make."""

    message = "{path} was not made by xetrack, so it is left alone."
    hint = "Move it away or choose another `db` path."

    def __init__(self, path: str | Path, /) -> None:
        self.path = path


class OldDatabaseRefused(ForeignFile):
    """A database of xetrack 0.x, which ``XETRACK_ADOPT=never`` keeps from being taken over."""

    message = "{path} was made by xetrack 0.x, and XETRACK_ADOPT=never leaves it as it is."
    hint = "Take its rows into another store: xt import {path} NEW.db"


class TablesWithoutLog(TableError):
    """Tables whose log is gone, so nobody can say whether they are true."""

    message = "The tables at {path} have no log beside them any more."
    hint = "Restore the folder {path}.events, or rescue the rows into a new store with `xt import`."

    def __init__(self, path: str | Path, /) -> None:
        self.path = path


class TablesInUse(TableError):
    """Tables that the same thread is in the middle of reading or writing."""

    message = "The tables of {path} are in use by the very call that this one interrupted."
    hint = (
        "Nothing was changed. In a signal handler or `__del__`, call log() or close(), which need no tables, or set "
        "a flag and do the rest once the interrupted call has returned."
    )

    def __init__(self, path: str | Path, /) -> None:
        self.path = path


class RunProtected(TableError):
    """A change that would reach a protected run."""

    message = "The run {track_id!r} is protected, so nothing was changed."
    hint = (
        "Lift the protection first, by Reader.unprotect or `xt protect DB {track_id} --unprotect`, or name another run."
    )

    def __init__(self, track_id: str, /) -> None:
        self.track_id = track_id


# -- merging -----------------------------------------------------------------


class MergeError(XetrackError):
    """Two logs cannot be joined as asked; nothing was taken over."""

    message = "The merge was not carried out."


class MergeConflict(MergeError):
    """Conflicts under the policy that allows none."""

    message = "The sources disagree about some cells, and the policy is to stop there."
    hint = "Nothing was taken over. The report names each cell; another policy settles them."

    def __init__(self, report: object, /) -> None:
        self.report = report


class SameIdDifferentEvent(MergeError):
    """Two different events under one id: a log was edited or damaged."""

    message = "The event {event_id} in {path} differs from the event of that id already here."
    hint = "Nothing was taken over. Run `xt verify` on both stores to find the one that was changed."

    def __init__(self, event_id: str, path: str | Path, /) -> None:
        self.event_id, self.path = event_id, path


class RevisionNotFound(NotFound, MergeError):
    """A git revision that is not there, or without a store in it."""

    message = "No store can be read from {revision!r}: {reason}."
    hint = "Name a revision and path as git:<revision>:<path of the db>."

    def __init__(self, revision: str, reason: str, /) -> None:
        self.revision, self.reason = revision, reason


# -- the disk ----------------------------------------------------------------


class StorageError(XetrackError):
    """The file system refused; events logged before are whole."""

    message = "The file system refused."


class DiskFull(StorageError):
    """The device has no room for another event or asset."""

    message = "No room to write {size_bytes} bytes to {path}."
    hint = "Earlier events are whole. Free some space and call again, or set another `db` path."

    def __init__(self, path: str | Path, size_bytes: int, /) -> None:
        self.path, self.size_bytes = path, size_bytes


class PermissionDenied(StorageError):
    """The account may not read or write there."""

    message = "No permission to use {path}."
    hint = "Change the permissions of the file or of its folder, or set another `db` path."

    def __init__(self, path: str | Path, /) -> None:
        self.path = path


class NotAStore(StorageError):
    """A path that holds something other than a store."""

    message = "{path} is not a store: {reason}."
    hint = "It was left alone. Choose another `db` path."

    def __init__(self, path: str | Path, reason: str, /) -> None:
        self.path, self.reason = path, reason


class StorageFailed(StorageError):
    """Any other refusal of the file system."""

    message = "{path} cannot be used: {reason}."
    hint = "Earlier events are whole. Once the cause is gone, call again."

    def __init__(self, path: str | Path, reason: str, /) -> None:
        self.path, self.reason = path, reason


class AssetDamaged(StorageError):
    """A stored object whose bytes are not those that were stored; it was not loaded."""

    message = "The asset {asset} is damaged: {reason}. Its file is {path}."
    hint = "Bring the file back from a copy, or remove it and log the object again."

    def __init__(self, asset: str, path: str | Path, reason: str, /) -> None:
        self.asset, self.path, self.reason = asset, path, reason


# -- loading objects ---------------------------------------------------------


class GitFailed(XetrackError):
    """A git command that was asked for did not succeed."""

    message = "`git {command}` did not succeed: {reason}."
    hint = "Nothing else was done. Run it in the repository to see more."

    def __init__(self, command: str, reason: str, /) -> None:
        self.command, self.reason = command, reason


class DvcFailed(XetrackError):
    """A command of DVC did not succeed, or DVC is not installed."""

    message = "`dvc {command}` did not succeed: {reason}."
    hint = "DVC is a program of its own: pip install dvc"

    def __init__(self, command: str, reason: str, /) -> None:
        self.command, self.reason = command, reason


class AssetUnloadable(XetrackError):
    """A stored object that Python cannot make again here."""

    message = "The asset {asset} cannot be loaded: {reason}."
    hint = "Its bytes are whole. Have the modules at hand that it was made with, or `xt assets export` it."

    def __init__(self, asset: str, reason: str, /) -> None:
        self.asset, self.reason = asset, reason


# -- optional packages -------------------------------------------------------


class MissingExtra(XetrackError):
    """A feature whose optional package is not installed."""

    message = "{feature} needs a package that is not installed."
    hint = "Install it: pip install 'xetrack[{extra}]'."

    def __init__(self, feature: str, extra: str, /) -> None:
        self.feature, self.extra = feature, extra


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}


def storage_error(exc: OSError, path: str | Path, size_bytes: int = 0) -> StorageError:
    """The error to raise ``from exc`` after the system refused ``path``.

    Called once, in the room that made the system call.
    """
    if exc.errno in _NO_ROOM:
        return DiskFull(path, size_bytes)
    if exc.errno in _NO_PERMISSION:
        return PermissionDenied(path)
    return StorageFailed(path, exc.strerror or type(exc).__name__)
