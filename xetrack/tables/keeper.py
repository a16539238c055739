"""Keeps the tables of one engine open: where they lie, and what to do when that fails.

Tables are derived, so damaged ones are put aside and made anew, and where they
cannot be written they lie in a folder of this process. What is not ours is never
touched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from xetrack.errors import StorageFailed, TablesInUse, TablesWithoutLog
from xetrack.log.log import Log
from xetrack.tables import files
from xetrack.tables.base import Ailment, Backend, ChangedElsewhere
from xetrack.tables.projector import Projector
from xetrack.tables.sqlite import SqliteTables
from xetrack.tables.sqlite_door import TablesConnection, open_for_users

if TYPE_CHECKING:
    from xetrack.tables.duckdb_door import DuckdbConnection

_T = TypeVar("_T")
Engine = Literal["sqlite", "duckdb"]
_PUBLISH_ATTEMPTS = 5


def make_tables(engine: Engine, path: Path | None) -> Backend:
    """The tables of an engine at a path, or in memory.

    Raises:
        ForeignFile: another program's file stands there.
    """
    if engine == "sqlite":
        return SqliteTables(path)
    from xetrack.tables.duckdb import DuckdbTables

    return DuckdbTables(path)


#: What threads are in the middle of: process, thread and tables of each.
_in_use: set[tuple[int, int, str | int]] = set()


class Keeper:
    """The tables of one engine beside one log. Its owner holds a lock around every call."""

    def __init__(self, log: Log, engine: Engine, store_path: Path | None, tables_dir: Path | None) -> None:
        self.log, self.engine = log, engine
        self.home = None if store_path is None else files.tables_file(store_path, engine)
        self._tables_dir = tables_dir
        self._path: Path | None = None
        self._temporary: weakref.finalize[..., Keeper] | None = None
        self._backend: Backend | None = None
        self._projector: Projector | None = None
        #: What users were handed last. It lives as long as they hold it: it holds its owner, who holds this.
        self._users: weakref.ref[Any] | None = None

    @property
    def backend(self) -> Backend:
        """The tables, once ``projector`` was called."""
        assert self._backend is not None
        return self._backend

    @property
    def is_open(self) -> bool:
        return self._projector is not None

    @property
    def ready(self) -> Projector:
        """The projector as the last catch-up left it. ``projector`` may begin anew, with less read."""
        assert self._projector is not None
        return self._projector

    def projector(self) -> Projector:
        """The projector of this process; tables that cannot be read are made anew."""
        if self._backend is not None and self._projector is not None and self._backend.current():
            return self._projector
        self._drop()
        if self.home is not None and not self.log.exists() and self.has_rows():
            raise TablesWithoutLog(self.home)
        self._backend = self._open()
        self._projector = Projector(self.log, self._backend)
        return self._projector

    def _open(self) -> Backend:
        path = None if self.home is None else self.path()
        for _ in range(2):
            inode = _inode(path)
            try:
                backend = make_tables(self.engine, path)
                backend.states()
                return backend
            except Exception as error:
                if path is None or diagnose(self.engine, error, own=True) != "damaged":
                    raise
                files.refuse_foreign(path, self.engine)
                if _inode(path) == inode:  # else another process was first, and this is its new file
                    files.set_aside(path)
        return make_tables(self.engine, path)

    def has_rows(self) -> bool:
        """Whether something was projected into the tables that lie beside the log."""
        return self.home is not None and self.home.exists() and files.has_rows(self.home, self.engine)

    def exists(self) -> bool:
        """Whether there are tables, here or on disk."""
        return self._backend is not None or (self.home is not None and self.path().exists())

    def path(self) -> Path:
        """Where the tables lie: beside the log, or in a folder of this machine's where that cannot be written."""
        assert self.home is not None
        if self._path is None:
            if self._tables_dir is not None:
                digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
                try:
                    self._tables_dir.mkdir(parents=True, exist_ok=True)
                except OSError:  # a read-only home, say
                    return self._make_temporary()
                self._path = self._tables_dir / f"{self.home.stem}-{digest}{self.home.suffix}"
            elif files.writable(self.home):
                self._path = self.home
            else:
                return self._make_temporary()
        return self._path

    def _make_temporary(self) -> Path:
        """Let the tables lie in a folder of this process: on a full or read-only disk, reading still works."""
        assert self.home is not None
        folder = tempfile.mkdtemp(prefix="xetrack-")
        self._temporary = weakref.finalize(self, _remove, folder, os.getpid())
        self._path = Path(folder) / self.home.name
        return self._path

    @contextmanager
    def used(self) -> Iterator[None]:
        """Have the tables in peace for a while, once the lock keeps other threads away.

        It does not keep away a signal handler or a ``__del__``: Python runs these between any two steps of what a
        thread does, and a statement of theirs would be one inside a transaction that is not theirs.

        Raises:
            TablesInUse: it is one of these that asks.
        """
        # Other stores on the same file count: a thread that waits for its own transaction waits for ever.
        mark = (os.getpid(), threading.get_ident(), id(self) if self.home is None else str(self.home))
        if mark in _in_use:
            raise TablesInUse(self.home or ":memory:")
        try:
            _in_use.add(mark)
            yield
        finally:
            _in_use.discard(mark)

    def guarded(self, act: Callable[[Projector], _T]) -> _T:
        """Run something on the projector. Damaged tables are made anew, those that cannot be written elsewhere.

        Raises:
            StorageFailed: the tables cannot be kept anywhere.
            TablesInUse: see ``used``.
        """
        with self.used():
            return self._guarded(act)

    def _guarded(self, act: Callable[[Projector], _T]) -> _T:
        for attempt in (1, 2, 3):
            try:
                return act(self.projector())
            except Exception as error:
                ailment = diagnose(self.engine, error, own=True)
                if ailment is None:
                    raise
                if self.home is None or attempt == 3:
                    raise StorageFailed(self.home or Path(":memory:"), str(error)) from error
                path = self.path()
                is_gone = self._backend is not None and not self._backend.current()
                self._drop()
                if is_gone:  # another process put aside what failed here: the next attempt opens what it made
                    continue
                if ailment == "damaged":
                    files.set_aside(path)
                elif self._temporary is None:
                    self._make_temporary()
                else:
                    raise StorageFailed(path, str(error)) from error
        raise AssertionError("the third attempt returns or raises")

    def connection(
        self, catch_up: Callable[[], None], locked: Callable[[], AbstractContextManager[None]]
    ) -> TablesConnection | DuckdbConnection:
        """The read-only connection for users; it calls ``catch_up`` before every statement."""
        backend = self.backend
        if isinstance(backend, SqliteTables):
            if self.home is None:
                backend.conn.before = catch_up
                return backend.conn
        users: Any = None if self._users is None else self._users()
        if isinstance(backend, SqliteTables):
            if users is None:
                users = self._for_users(catch_up)
        elif users is None or users.closed:
            from xetrack.tables.duckdb_door import DuckdbConnection

            users = DuckdbConnection(lambda: self.backend, catch_up, locked)
        self._users = weakref.ref(users)
        found: TablesConnection | DuckdbConnection = users
        return found

    def _for_users(self, catch_up: Callable[[], None]) -> TablesConnection:
        path = self.path()

        def caught_up() -> None:
            catch_up()
            if self.path() != path or _inode(path) not in (inode, None):
                raise StorageFailed(path, "it was made anew, and this connection has the old ones: take another")

        users = open_for_users(path, caught_up)
        inode = _inode(path)
        return users

    def publish(self, catch_up: Callable[[], None], *, always: bool = False) -> None:
        """Let other SQL clients see the rows, if that is cheap or ``always``."""
        for _ in range(_PUBLISH_ATTEMPTS):
            if self._backend is None or self.guarded(lambda _: self.backend.publish(always=always)):
                return
            catch_up()

    def heal(self, error: Exception) -> None:
        """After a failure that shows the tables damaged: put them aside, so that the next call makes them anew.

        Raises:
            StorageFailed: the failure was the engine's or the system's, and not the caller's.
        """
        ailment = None if self.home is None else diagnose(self.engine, error)
        if ailment is None:
            return
        path = self.path()
        if ailment != "damaged":
            raise StorageFailed(path, str(error)) from error
        is_gone = self._backend is not None and not self._backend.current()
        self._drop()
        if not is_gone:
            files.set_aside(path)
        raise StorageFailed(path, f"{error} (it was put aside: the next call makes it anew)") from error

    def discard(self) -> bool:
        """Remove the files of these tables, those put aside as damaged too; False if there are none of ours."""
        if self.home is None:
            return False
        # They may lie in either place: the setting that says where may be newer than they are.
        paths = {self.home, self.path()}
        is_open = self._backend is not None
        with self.used():
            self._drop()
        found = [files.remove(path, self.engine) for path in paths]
        return any(found) or is_open

    def close(self) -> None:
        self._drop()
        self._users = None
        if self._temporary is not None:
            self._temporary()
            self._temporary = self._path = None

    def _drop(self) -> None:
        if self._backend is not None:
            self._backend.close()
        if self.engine == "sqlite":
            # A user may hold the connection to the old file, which says so; a fresh one shows the new.
            self._users = None
        self._backend = self._projector = None


def _inode(path: Path | None) -> int | None:
    try:
        return None if path is None else os.stat(path).st_ino
    except OSError:
        return None


def _remove(folder: str, pid: int) -> None:
    if pid == os.getpid():  # a forked child leaves it to its parent
        shutil.rmtree(folder, ignore_errors=True)


def diagnose(engine: Engine, error: Exception, *, own: bool = False) -> Ailment | None:
    """What ``Backend.diagnose`` of an engine says."""
    if isinstance(error, ChangedElsewhere):
        return "damaged"
    if engine == "sqlite":
        return SqliteTables.diagnose(error, own=own)
    from xetrack.tables.duckdb import DuckdbTables

    return DuckdbTables.diagnose(error, own=own)
