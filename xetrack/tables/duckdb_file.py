"""DuckDB instances and generations: one file with all rows and bookkeeping of a moment.

A generation is written under a private name and moved onto its place; nobody
ever writes to one that others can see, so nobody waits for a lock
(docs/decisions/0004).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xetrack.errors import ForeignFile
from xetrack.tables.layout import literal
from xetrack.tables.spill import spill_path

if TYPE_CHECKING:
    import duckdb

#: Schemas of a generation and of an instance: users see the views in ``main``.
ROWS, OWN = "_xetrack_rows", "_xetrack"
#: Readable by every release of DuckDB from 1.2 on.
_STORAGE_VERSION = "v1.2.0"
_STALE_S = 3600
_counter = itertools.count()

ASSETS = (
    "_xetrack_assets (name VARCHAR, digest VARCHAR, key VARCHAR, writer VARCHAR, seqs VARCHAR, first VARCHAR, "
    "last VARCHAR, first_logged VARCHAR, listed BOOLEAN, told BOOLEAN, size BIGINT, codec VARCHAR, file VARCHAR)"
)
BOOKKEEPING = (
    "_xetrack_tables (name VARCHAR, state BLOB, row_count BIGINT, last_row BIGINT)",
    '_xetrack_segments (name VARCHAR, segment VARCHAR, "offset" BIGINT, size BIGINT, mtime_ns BIGINT, '
    "inode UBIGINT, tail BLOB, damaged BIGINT)",
    "_xetrack_seen (name VARCHAR, writer VARCHAR, number BIGINT, seqs VARCHAR)",
    '_xetrack_blocks (name VARCHAR, writer BIGINT, low BIGINT, high BIGINT, "rows" BLOB, seqs BLOB)',
    ASSETS,
)


def instance() -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own in memory, with an empty catalog ``db``. It neither loads nor installs extensions."""
    import duckdb

    conn = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": spill_path(),
        },
    )
    # Else the names of our own variables would be tables.
    conn.execute("SET python_enable_replacements=false")
    conn.execute("ATTACH ':memory:' AS db; USE db")
    return conn


def soon() -> Callable[[], duckdb.DuckDBPyConnection]:
    """An instance that is being made meanwhile, where a thread can be had: the call waits for it."""
    found: list[duckdb.DuckDBPyConnection] = []
    thread = threading.Thread(target=lambda: found.append(instance()), name="xetrack-instance", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the program is ending
        return instance

    def wait() -> duckdb.DuckDBPyConnection:
        thread.join()
        return found.pop() if found else instance()

    return wait


def attach(conn: duckdb.DuckDBPyConnection, path: Path) -> bool:
    """Attach the generation at a path as ``base``, read-only; False if there is none that can be had.

    Raises:
        ForeignFile: another program's database.
        duckdb.Error: it cannot be read.
    """
    import duckdb

    try:
        if not path.stat().st_size:
            return False
        conn.execute(f"ATTACH {literal(path)} AS base (READ_ONLY)")
    except FileNotFoundError:
        return False
    except duckdb.Error as error:
        if not path.exists() or any(words in str(error).casefold() for words in _IN_USE):
            return False  # somebody writes into the file itself: the log has it all
        raise
    schemas = conn.execute("SELECT schema_name FROM duckdb_schemas() WHERE database_name='base'").fetchall()
    if (OWN,) in schemas:
        return True
    used = conn.execute("SELECT 1 FROM duckdb_tables() WHERE database_name='base'").fetchall()
    conn.execute("DETACH base")
    if used:
        raise ForeignFile(path)
    return False


#: How DuckDB words that another connection has the file open for writing.
_IN_USE = ("could not set lock", "file handle conflict", "already attached", "being used by another process")


def has_tables(path: Path) -> bool:
    """Whether the file is a generation with a table in it."""
    import duckdb

    try:
        with contextlib.closing(instance()) as conn:
            if not attach(conn, path):
                return False
            return bool(conn.execute(f"SELECT 1 FROM base.{OWN}._xetrack_tables").fetchall())
    except (duckdb.Error, ForeignFile):
        return False


class Draft:
    """A generation being written, attached to an instance as ``work``, in one transaction."""

    def __init__(self, conn: duckdb.DuckDBPyConnection, target: Path) -> None:
        _remove_stale(target)
        self.path = target.with_name(f"{target.name}.{os.getpid()}.{next(_counter)}.tmp")
        self.conn: Any = conn.cursor()
        # One checkpoint, when it is finished: each looks at all that was written before it.
        self.conn.execute("SET checkpoint_threshold='1TB'")
        self.conn.execute(f"ATTACH {literal(self.path)} AS work (STORAGE_VERSION '{_STORAGE_VERSION}')")
        self.conn.execute("USE work")
        self.conn.execute("BEGIN")
        for schema in (ROWS, OWN):
            self.conn.execute(f"CREATE SCHEMA work.{schema}")
        for table in BOOKKEEPING:
            self.conn.execute(f"CREATE TABLE work.{OWN}.{table}")

    def renew(self) -> None:
        """Commit: a transaction holds on to all Arrow data that it was given. Nobody sees the rows yet."""
        self.conn.execute("COMMIT")
        self.conn.execute("BEGIN")

    def finish(self) -> None:
        """Commit and close: the file is whole, and stands under its private name."""
        self.conn.execute("COMMIT")
        self.conn.execute("CHECKPOINT work")
        self._detach()

    def abandon(self) -> None:
        """Leave nothing behind."""
        import duckdb

        with contextlib.suppress(duckdb.Error):
            self.conn.execute("ROLLBACK")
        with contextlib.suppress(duckdb.Error):
            self._detach()
        self._unlink()

    def _detach(self) -> None:
        self.conn.execute("USE memory")
        self.conn.execute("DETACH work")
        self.conn.close()

    def _unlink(self) -> None:
        for path in (self.path, Path(f"{self.path}.wal")):
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def registered(conn: Any, name: str, table: Any) -> Iterator[None]:
    """An Arrow table under a name in SQL, for a while."""
    conn.register(name, table)
    try:
        yield
    finally:
        conn.unregister(name)


def fill(conn: Any, target: str, table: Any) -> None:
    """Insert an Arrow table, column by column in its order."""
    with registered(conn, "_xetrack_rows_in", table):
        conn.execute(f"INSERT INTO {target} SELECT * FROM _xetrack_rows_in")


class Native(ABC):
    """Holds objects of DuckDB's. A forked child may neither use nor destroy them: their threads are the parent's."""

    def __init__(self) -> None:
        _natives.add(self)

    @abstractmethod
    def natives(self) -> Iterator[object]:
        """What it holds now."""


_natives: weakref.WeakSet[Native] = weakref.WeakSet()


def _forked() -> None:
    import ctypes

    for holder in list(_natives):
        for thing in holder.natives():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def inode_of(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _remove_stale(target: Path) -> None:
    """Remove drafts whose process was killed: nobody has written to them for an hour."""
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if entry.name.startswith(f"{target.name}.") and entry.name.endswith((".tmp", ".tmp.wal")):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_S:
                    os.unlink(entry.path)
