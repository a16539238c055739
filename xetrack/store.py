"""Opens a path and wires its parts: log, tables, projector.

The only room that names files. What it returns reads up to date: every method
of a ``Table`` first applies what was logged before the call. Threads may share a
``Store``; a forked child opens its own files on first use.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from xetrack.config import Settings
from xetrack.errors import (
    ForeignFile,
    InvalidArgument,
    InvalidTable,
    NotAStore,
    StorageFailed,
    StoreNotFound,
    TablesWithoutLog,
    storage_error,
)
from xetrack.log.log import Facts, FileLog, Log, MemoryLog, check_table
from xetrack.table import Table
from xetrack.tables.files import has_rows, is_foreign, set_aside, writable
from xetrack.tables.projector import Projector
from xetrack.tables.sqlite import (
    SqliteTables,
    TablesConnection,
    is_tables_file,
    open_for_users,
    quote,
)

if TYPE_CHECKING:
    from xetrack.log.verify import VerifyReport

_T = TypeVar("_T")

IN_MEMORY = ":memory:"
EVENTS_SUFFIX = ".events"

#: Connections of a parent process: closing one in a forked child could undo the parent's work.
_abandoned: list[Any] = []


def open_store(
    db: str | os.PathLike[str],
    *,
    create: bool = False,
    settings: Settings | None = None,
    facts: Facts | None = None,
) -> Store:
    """Open the store at a path; ``create`` lets it be a new one.

    A new store is an empty log until the first event. ``db`` is the path of the tables
    or of the ``.events`` folder beside it. ``facts`` adds to the headers of segments written.

    Raises:
        StoreNotFound: there is none and ``create`` is false; names near matches.
        NotAStore: the path is a folder, or its log is not one.
        ForeignFile: another program's file stands where the tables belong.
        TablesWithoutLog: tables are there and their log is gone.
        FormatTooNew: a later release wrote the log.
    """
    settings = settings or Settings.resolve()
    name = os.fspath(db)
    if name == IN_MEMORY:
        return Store(name, None, MemoryLog(facts=facts), settings)
    path = Path(os.path.abspath(name.removesuffix(EVENTS_SUFFIX) if name.endswith(EVENTS_SUFFIX) else name))
    log = FileLog(Path(f"{path}{EVENTS_SUFFIX}"), facts=facts)
    store = Store(name, path, log, settings)
    store.check(create=create)
    return store


class Store:
    """A log with the tables made from it. Use ``open_store``."""

    def __init__(self, db: str, path: Path | None, log: Log, settings: Settings) -> None:
        self.db = db
        self.path = path
        self.log = log
        self.settings = settings
        self._tables_path: Path | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._reset_process()

    def _reset_process(self) -> None:
        self._pid = os.getpid()
        self.lock = threading.RLock()
        self._backend: SqliteTables | None = None
        self._projector: Projector | None = None
        self._users: TablesConnection | None = None

    @property
    def backend(self) -> SqliteTables:
        """The tables, once ``projector`` was called."""
        assert self._backend is not None
        return self._backend

    @property
    def memory(self) -> bool:
        return self.path is None

    def check(self, *, create: bool) -> None:
        """Refuse a path that cannot be, or is not, a store; nothing is changed."""
        path = self.path
        if path is None:
            return
        try:
            if path.is_dir():
                raise NotAStore(path, "it is a folder")
            present = path.exists()
            if self.log.exists():
                self.log.check_format()
                if present and is_foreign(path):
                    raise ForeignFile(path)
                return
            if present and not is_tables_file(path):
                raise ForeignFile(path)
            if present and path.stat().st_size and has_rows(path):
                raise TablesWithoutLog(path)
            if not create:
                raise StoreNotFound(path, near(path))
            self.log.create()
        except OSError as error:
            raise storage_error(error, path) from error

    # tables

    def table(self, name: str, engine: str = "sqlite") -> Table:
        """A handle on one table, there or not."""
        if engine != "sqlite":
            raise InvalidArgument("engine", f"{engine!r} is none of: sqlite")
        check_table_name(name)
        return Table(self, name)

    def tables(self) -> list[str]:
        """Names of the tables that the log has, in alphabetical order."""
        return sorted(self.log.tables())

    def projector(self) -> Projector:
        """The projector of this process; tables that cannot be read are made anew. Call it under ``lock``."""
        if self._backend is not None and self._projector is not None and self._backend.current():
            return self._projector
        self._close_connections()
        if self.path is None:
            self._backend = SqliteTables(None)
        else:
            if not self.log.exists():
                if self.path.exists() and has_rows(self.path):
                    raise TablesWithoutLog(self.path)
            self._backend = self._open_tables()
        self._projector = Projector(self.log, self._backend)
        return self._projector

    def _open_tables(self) -> SqliteTables:
        path = self.tables_path()
        try:
            backend = SqliteTables(path)
            backend.states()
            return backend
        except ForeignFile:
            raise
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            if is_foreign(path):
                raise ForeignFile(path) from error
            set_aside(path)
            return SqliteTables(path)

    def tables_path(self) -> Path:
        """Where the tables lie: beside the log, or in a folder of this machine's where that cannot be written."""
        assert self.path is not None
        if self._tables_path is None:
            folder = self.settings.tables_dir
            if folder is None and writable(self.path):
                self._tables_path = self.path
                return self.path
            digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
            if folder is None:
                return self._make_temporary()
            folder.mkdir(parents=True, exist_ok=True)
            self._tables_path = folder / f"{self.path.stem}-{digest}.db"
        return self._tables_path

    def _make_temporary(self) -> Path:
        """Let the tables lie in a folder of this process: on a full or read-only disk, reading still works."""
        assert self.path is not None
        self._temporary = tempfile.TemporaryDirectory(prefix="xetrack-", ignore_cleanup_errors=True)
        self._tables_path = Path(self._temporary.name) / self.path.name
        return self._tables_path

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One thread at a time; after a fork, with files of one's own."""
        if self._pid != os.getpid():
            _abandoned.extend((self._backend, self._projector, self._users))
            self._reset_process()
        with self.lock:
            yield

    def catch_up(self) -> None:
        """Apply everything that was logged to any table before this call."""
        with self.locked():
            for name in dict.fromkeys([*self.log.tables(), *self._guarded(Projector.known_tables)]):
                self.catch_up_table(name)

    def _guarded(self, act: Callable[[Projector], _T]) -> _T:
        """Run something on the projector. Damaged tables are made anew, those that cannot be written elsewhere.

        Raises:
            StorageFailed: the tables cannot be kept anywhere.
        """
        for attempt in (1, 2, 3):
            try:
                return act(self.projector())
            except sqlite3.DatabaseError as error:
                if self.path is None or attempt == 3:
                    raise StorageFailed(self.path or Path(self.db), str(error)) from error
                path = self.tables_path()
                self._close_connections()
                if not isinstance(error, sqlite3.OperationalError):
                    set_aside(path)
                elif self._temporary is None:
                    self._make_temporary()
                else:
                    raise StorageFailed(path, str(error)) from error
        raise AssertionError("the third attempt returns or raises")

    def catch_up_table(self, table: str) -> None:
        """Apply everything that was logged to one table before this call."""
        self.log.look(table)
        self._guarded(lambda projector: projector.catch_up(table))

    def replay(self) -> None:
        """Make all tables again from nothing."""
        with self.locked():
            for name in dict.fromkeys([*self.log.tables(), *self._guarded(Projector.known_tables)]):
                self._guarded(partial(Projector.replay, table=name))

    def connection(self) -> TablesConnection:
        """The read-only connection for users; it catches up before every statement."""
        with self.locked():
            self.catch_up()
            if self.path is None:
                assert self._backend is not None
                conn = self._backend.conn
                conn.before = self.catch_up
                return conn
            if self._users is None:
                self._users = open_for_users(self.tables_path(), self.catch_up)
            return self._users

    def verify(self) -> VerifyReport:
        """Check every line and asset, and the tables against a replay of the log."""
        from xetrack.log.verify import verify

        return verify(self.log, self._differing)

    def _differing(self) -> list[str]:
        """What a replay from nothing would make different in the tables, of all that they have read so far."""
        self.catch_up()
        fresh = SqliteTables(None)
        found = []
        try:
            with self.locked():
                mine, other = self.projector(), Projector(self.log, fresh)
                for name in mine.known_tables():
                    # Programs may be logging meanwhile: both sides are held to what these tables have read.
                    with self.backend.reading():
                        mine.refresh(name)
                        other.replay_as_read(name, mine.read_so_far(name))
                        if not _equal(self.backend, fresh, name):
                            found.append(f"table {name!r} differs from a replay of its log")
        finally:
            fresh.close()
        return found

    def _close_connections(self) -> None:
        if self._backend is not None:
            self._backend.close()
        # A user may hold the connection: it goes on showing the old file, a fresh one shows the new.
        self._users = self._backend = self._projector = None

    def close(self) -> None:
        """Close the tables. The store may be used again."""
        if self._pid == os.getpid():
            with self.lock:
                self._close_connections()


def check_table_name(name: str) -> None:
    """Refuse names that a table cannot have, in the log or in SQLite.

    Raises:
        InvalidTable: says why.
    """
    check_table(name)
    if name.casefold().startswith("sqlite_"):
        raise InvalidTable(name, "names that begin with 'sqlite_' belong to SQLite")
    if "\x00" in name:
        raise InvalidTable(name, "it holds a NUL character")


def near(path: Path) -> list[str]:
    """Stores in the same folder with names like this one."""
    try:
        names = {
            entry.name.removesuffix(EVENTS_SUFFIX)
            for entry in os.scandir(path.parent)
            if entry.name.endswith(EVENTS_SUFFIX)
        }
    except OSError:
        return []
    return [str(path.parent / name) for name in difflib.get_close_matches(path.name, sorted(names), cutoff=0.5)]


def _equal(one: SqliteTables, two: SqliteTables, table: str) -> bool:
    """Whether a table has the same columns and the same rows in the same order."""
    infos = [
        [tuple(row[1:3]) for row in backend.conn.run(f"PRAGMA table_info({quote(table)})")] for backend in (one, two)
    ]
    if infos[0] != infos[1]:
        return False
    cursors = [backend.conn.run(f"SELECT * FROM {quote(table)} ORDER BY _rowid_") for backend in (one, two)]
    while True:
        left, right = (cursor.fetchmany(4096) for cursor in cursors)
        if left != right or not left:
            return not left and not right


__all__ = ["EVENTS_SUFFIX", "IN_MEMORY", "Store", "Table", "check_table_name", "open_store"]
