"""Databases of xetrack before 1.0: SQLite files, tables first.

Read only, with whatever can still be read of a damaged one. Nothing in it is
unpickled but the texts that name stored objects, by an unpickler that admits
text only.
"""

from __future__ import annotations

import ast
import base64
import binascii
import io
import json
import pickle
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xetrack.log import values
from xetrack.log.imported import ImportedRow, clock_of

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
#: Where stored objects, their names and the counts of their references are.
ASSETS, KEYS, COUNTS = "assets", "keys", "counts"
#: A name is short; a longer pickle is none.
_MAX_NAME_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20


class StoredObject(NamedTuple):
    """A pickled object as it lies in the file, by its old hash."""

    old_hash: str
    stored: bytes

    def pieces(self) -> Iterator[bytes]:
        """The pickle, a piece at a time: with ``compress=True`` 0.x packed it by zlib."""
        if not _is_packed(self.stored):
            yield self.stored
            return
        unpacking = zlib.decompressobj()
        rest = self.stored
        while not unpacking.eof:
            yield unpacking.decompress(rest, _PIECE_BYTES)
            rest = unpacking.unconsumed_tail


def is_old_database(path: Path) -> bool:
    """Whether the file is a database of xetrack 0.x, and none that anything else made."""
    try:
        with OldDatabase(path) as old:
            return bool(old.tables)
    except (OSError, sqlite3.Error, UnicodeDecodeError):  # a damaged name may be in what SQLite says of it
        return False


class OldDatabase:
    """One file, opened for reading. A context manager.

    ``derived``: the tables of a store of today, which look much the same.
    """

    def __init__(self, path: Path, *, derived: bool = False) -> None:
        self.path = path
        self._conn = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        self._conn.text_factory = _text
        # Of a file that was cut off, or whose schema is damaged in part, SQLite reads nothing otherwise.
        self._conn.execute("PRAGMA writable_schema = ON")
        #: What could not be read, told for people.
        self.harm: list[str] = []
        try:
            names = [name for (name,) in self._conn.execute(_TABLES)]
            if derived:
                names = [name for name in names if not name.startswith("_")]
            elif any(name.startswith("_xetrack_") for name in names):
                names = []
            #: Tables of rows; each has the two columns that every such table had.
            self.tables = [name for name in names if derived or self._is_rows(name)]
            self._others = set(names) - set(self.tables)
        except BaseException:
            self._conn.close()
            raise

    def __enter__(self) -> OldDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.close()

    def _columns(self, table: str) -> dict[str, str]:
        """Declared types by name, in the table's order."""
        found = self._conn.execute(f"PRAGMA table_info({_quote(table)})")
        return {name: str(type).upper() for _, name, type, *_ in found}

    def _is_rows(self, table: str) -> bool:
        keyed: dict[str, int] = {
            name: position for _, name, _, _, _, position in self._conn.execute(f"PRAGMA table_info({_quote(table)})")
        }
        return keyed.get("track_id", 0) > 0 and keyed.get("timestamp", 0) > 0

    def rows(self, table: str, *, parse: bool = False) -> list[ImportedRow]:
        """Rows in the order they were written. ``parse`` makes lists and dicts of texts that look like one.

        An empty cell is left out; a column that is empty throughout is ``None`` in
        the first row, so that it is not lost.
        """
        types = self._columns(table)
        names = list(types)
        found: list[ImportedRow] = []
        filled: set[str] = set()
        clock = 0
        for cells in self._cells(table, names):
            row = dict(zip(names, cells, strict=True))
            run, timestamp = row.pop("track_id"), row.pop("timestamp")
            data = {
                name: _wire(cell, types[name], name, parse) for name, cell in row.items() if name and cell is not None
            }
            filled |= data.keys()
            clock = clock_of(timestamp) or clock
            found.append(ImportedRow(str(run), clock, None if timestamp is None else str(timestamp), data))
        empty = [name for name in names if name and name not in ("track_id", "timestamp") and name not in filled]
        if found and empty:
            found[0] = found[0]._replace(data={**found[0].data, **dict.fromkeys(empty)})
        return found

    def _cells(self, table: str, names: Sequence[str]) -> Iterator[Sequence[Any]]:
        """Rows by number, from the start on and, past damage, from the end back."""
        wanted = ", ".join(map(_quote, names))
        query = f"SELECT rowid, {wanted} FROM {_quote(table)} NOT INDEXED WHERE rowid > ? ORDER BY rowid"
        last = -1
        try:
            for number, *cells in self._conn.execute(query, (last,)):
                last = number
                yield cells
            return
        except sqlite3.DatabaseError as error:
            reason = str(error)
        rest: list[tuple[int, list[Any]]] = []
        back = f"SELECT rowid, {wanted} FROM {_quote(table)} NOT INDEXED WHERE rowid > ? ORDER BY rowid DESC"
        try:
            for number, *cells in self._conn.execute(back, (last,)):
                rest.append((number, cells))
        except sqlite3.DatabaseError:
            pass
        following = f"up to {rest[-1][0] - 1}" if rest else "on"
        self.harm.append(f"table {table!r}: rows from {last + 1} {following} cannot be read ({reason})")
        yield from (cells for _, cells in reversed(rest))

    # -- stored objects

    def objects(self) -> Iterator[StoredObject]:
        """Every object that reads; never unpickled."""
        for key, raw in self._pairs(ASSETS):
            name = _name(key)
            if name is None or not isinstance(raw, bytes):
                self.harm.append(f"a stored object named {key!r} cannot be read")
                continue
            yield StoredObject(name, raw)

    def names(self) -> dict[str, str]:
        """Old hash of each key under which an object was stored last."""
        found = {}
        for key, raw in self._pairs(KEYS):
            name, old_hash = _name(key), _text_pickle(raw) if isinstance(raw, bytes) else None
            if name is None or old_hash is None:
                self.harm.append(f"the name {key!r} of a stored object cannot be read")
            else:
                found[name] = old_hash
        return found

    def _pairs(self, table: str) -> Iterator[tuple[Any, Any]]:
        if table not in self._others:
            return
        try:
            yield from self._conn.execute(f"SELECT key, value FROM {_quote(table)} ORDER BY rowid")
        except sqlite3.DatabaseError as error:
            self.harm.append(f"table {table!r}: the rest cannot be read ({error})")


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _wire(cell: Any, declared: str, name: str, parse: bool) -> Any:
    if isinstance(cell, int) and declared.startswith("BOOL") and cell in (0, 1):
        return bool(cell)
    if isinstance(cell, str) and parse and cell[:1] in "[{(":
        cell = parsed(cell)
    return values.encode(cell, name)


def parsed(text: str) -> Any:
    """The list, tuple or dict that a text writes, as JSON or as Python; the text itself if it is none."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(found, list | tuple | dict) and _is_storable(found):
            return found
    return text


def _is_storable(found: Any) -> bool:
    if isinstance(found, dict):
        return all(map(_is_storable, [*found, *found.values()]))
    if isinstance(found, list | tuple):
        return all(map(_is_storable, found))
    return found is None or isinstance(found, bool | int | str | bytes) or isinstance(found, float)


def _is_packed(raw: bytes) -> bool:
    """Whether bytes are packed by zlib, to their end."""
    unpacking = zlib.decompressobj()
    try:
        while raw[:1] and not unpacking.eof:
            unpacking.decompress(raw, _PIECE_BYTES)
            raw = unpacking.unconsumed_tail
    except zlib.error:
        return False
    return unpacking.eof


def _name(key: object) -> str | None:
    """The text of a key: plain in early releases, later a pickled text in base 64."""
    if isinstance(key, bytes):
        key = key.decode("utf-8", "replace")
    if not isinstance(key, str):
        return None
    try:
        return _text_pickle(base64.b64decode(key, validate=True)) or key
    except (binascii.Error, ValueError):
        return key


class _TextOnly(pickle.Unpickler):
    """Reads plain values; whatever would name code is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError("a name of a stored object is text")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("a name of a stored object is text")


def _text_pickle(raw: bytes) -> str | None:
    if len(raw) > _MAX_NAME_BYTES:
        return None
    try:
        found = _TextOnly(io.BytesIO(raw)).load()
    except Exception:  # noqa: BLE001 - a damaged pickle fails in any way
        return None
    return found if isinstance(found, str) else None


__all__ = ["ASSETS", "COUNTS", "KEYS", "OldDatabase", "StoredObject", "is_old_database", "parsed"]
