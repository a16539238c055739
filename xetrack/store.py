"""Opens a path and wires its parts: log, tables, projector.

The only room that names files. What it returns reads up to date: every method
of a ``Table`` first applies what was logged before the call. Threads may share a
``Store``; a forked child opens its own files on first use.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from xetrack import forks
from xetrack.config import Settings, cache_home, path_text, rank
from xetrack.errors import (
    ForeignFile,
    InvalidArgument,
    InvalidTable,
    MissingExtra,
    NotAStore,
    OldDatabaseRefused,
    StorageFailed,
    StoreNotFound,
    TablesWithoutLog,
    storage_error,
)
from xetrack.log.header import head_of
from xetrack.log.log import EVENTS_SUFFIX, Facts, FileLog, Log
from xetrack.log.memory import MemoryLog
from xetrack.log.names import check_table
from xetrack.table import Table
from xetrack.tables.assets import summary
from xetrack.tables.base import Backend
from xetrack.tables.files import is_foreign, refuse_foreign, set_aside_without_log, tables_file
from xetrack.tables.keeper import Engine, Keeper, make_tables
from xetrack.tables.network import is_network
from xetrack.tables.projector import Projector
from xetrack.tables.sqlite import is_tables_file

if TYPE_CHECKING:
    from xetrack.log.compaction import CompactReport
    from xetrack.log.verify import VerifyReport
    from xetrack.tables.duckdb_door import DuckdbConnection
    from xetrack.tables.sqlite_door import TablesConnection

IN_MEMORY = ":memory:"
ENGINES: tuple[Engine, ...] = get_args(Engine)

#: Segments of a table from which on ``XETRACK_AUTOCOMPACT`` packs them.
MANY_SEGMENTS = 300
#: Tables of a parent process: closing them in a forked child could undo the parent's work, or wait for its threads.
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
    name = path_text(db)
    facts = partial(_facts, facts)
    if name == IN_MEMORY:
        return Store(name, None, MemoryLog(facts=facts), settings)
    path = Path(os.path.abspath(name).removesuffix(EVENTS_SUFFIX))  # a shell completes it with a slash behind
    if settings.engine == "duckdb":
        _refuse_other_bytes(path)
    log = FileLog(Path(f"{path}{EVENTS_SUFFIX}"), facts=facts)
    store = Store(name, path, log, settings)
    store.check(create=create)
    return store


def _refuse_other_bytes(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        reason = f"{str(path)!r} is no UTF-8, and DuckDB opens no such file; engine='sqlite' does"
        raise InvalidArgument("db", reason) from error


def _facts(more: Facts | None) -> dict[str, Any]:
    """What a segment's header says beyond what the log itself finds out."""
    return {"rank": rank(), **(more() if more else {})}


class Store:
    """A log with the tables made from it. Use ``open_store``."""

    def __init__(self, db: str, path: Path | None, log: Log, settings: Settings) -> None:
        self.db = db
        self.path = path
        self.log = log
        self.settings = settings
        self._reset_process()
        forks.register(self)

    def _reset_process(self) -> None:
        self._pid = os.getpid()
        self.lock = threading.RLock()
        #: Calls of the thread that has the lock, one in the other.
        self._held = 0
        self._keepers: dict[str, Keeper] = {}

    def forked(self) -> None:
        """In a forked child: go on with files of one's own."""
        _abandoned.extend(self._keepers.values())
        self._reset_process()

    def keeper(self, engine: str | None = None) -> Keeper:
        """What holds the tables of an engine, by default of the settings'. Call it, and it, under ``lock``."""
        name = cast(Engine, engine or self.settings.engine)
        if name not in self._keepers:
            folder = self.settings.tables_dir
            if folder is None and self.path is not None and is_network(self.path.parent):
                folder = cache_home() / "tables"
            self._keepers[name] = Keeper(self.log, name, self.path, folder)
        return self._keepers[name]

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
            tables = tables_file(path, "sqlite")
            present, there = tables.exists(), self.log.exists()
            if there:
                self.log.check_format()
            if present and _is_strange(tables, there):
                self._adopt(tables)
                there = self.log.exists()
            if self.settings.engine == "duckdb" or path.suffix == ".duckdb":
                refuse_foreign(tables_file(path, "duckdb"), "duckdb")
            if there:
                return
            # In a work tree of git it is a checkout that took the log away, and brings it back.
            begins_anew = create and head_of(path.parent) is not None
            for engine in ENGINES:
                if self.keeper(engine).has_rows():
                    if not begins_anew:
                        raise TablesWithoutLog(tables_file(path, engine))
                    set_aside_without_log(tables_file(path, engine))
            if not create:
                raise StoreNotFound(path, near(path))
            self.log.create()
        except OSError as error:
            raise storage_error(error, path) from error

    def _adopt(self, tables: Path) -> None:
        """Take over a database of 0.x where it lies; refuse what anything else made."""
        from xetrack.adopt import adopt
        from xetrack.log.old_database import is_old_database

        if not is_old_database(tables):
            if not tables.exists() or is_tables_file(tables):
                return  # another process has taken it over since
            raise ForeignFile(tables)
        if self.settings.adopt == "never":
            raise OldDatabaseRefused(tables)
        assert isinstance(self.log, FileLog)
        adopt(tables, self.log)

    # tables

    def table(self, name: str, engine: str | None = None) -> Table:
        """A handle on one table, there or not, in an engine, by default the settings'.

        Raises:
            InvalidTable: no table can have that name.
            MissingExtra: the engine is not installed.
        """
        engine = engine or self.settings.engine
        if engine not in ENGINES:
            raise InvalidArgument("engine", f"{engine!r} is none of {', '.join(ENGINES)}")
        check_table_name(name)
        if engine == "duckdb":
            require_duckdb()
        return Table(self, name, engine)

    def tables(self) -> list[str]:
        """Names of the tables that the log has, in alphabetical order."""
        return sorted(self.log.tables())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One thread at a time; after a fork, with files of one's own."""
        if self._pid != os.getpid():
            self.forked()
        with self.lock:
            held, self._held = self._held, self._held + 1
            try:
                yield
            finally:
                self._held = held

    def projector(self, engine: str | None = None) -> Projector:
        """What the tables of an engine know about their log, as the last catch-up left it. Call it under ``lock``."""
        keeper = self.keeper(engine)
        return keeper.ready if keeper.is_open else keeper.projector()

    def catch_up(self, engine: str | None = None) -> None:
        """Apply everything that was logged to any table before this call."""
        with self.locked():
            for name in self._all_tables(engine):
                self.catch_up_table(name, engine, noticed=True)

    def _all_tables(self, engine: str | None) -> list[str]:
        known = self.keeper(engine).guarded(Projector.known_tables)
        return list(dict.fromkeys([*self.log.tables(), *known]))

    def catch_up_table(self, table: str, engine: str | None = None, *, noticed: bool = False) -> None:
        """Apply everything that was logged to one table before this call.

        ``noticed`` says that ``Projector.notice`` was just called.
        """

        def act(projector: Projector) -> None:
            if not noticed:
                projector.notice()
            projector.catch_up(table)

        self.log.look(table)
        self.keeper(engine).guarded(act)

    def keep_up(self, table: str, wanted: Callable[[], bool], limit_bytes: int) -> bool:
        """Apply some of what was logged, if it is still ``wanted``; tell if there was any."""
        with self.locked():
            if not wanted() or not self.log.exists():
                return False
            return self.keeper().guarded(lambda projector: projector.catch_up(table, limit_bytes=limit_bytes))

    def flush(self, engine: str | None = None) -> None:
        """Catch up, and let other SQL clients see the rows; of DuckDB tables only if copying them is cheap."""
        with self.locked():
            self.catch_up(engine)
            self.keeper(engine).publish(partial(self.catch_up, engine))

    def replay(self, engine: str | None = None) -> None:
        """Make all tables of an engine again from nothing."""
        with self.locked():
            keeper = self.keeper(engine)
            for name in self._all_tables(engine):
                keeper.guarded(partial(Projector.replay, table=name))
            keeper.publish(partial(self.catch_up, engine), always=True)

    def renew(self) -> None:
        """Make the tables of each engine that has any in a new file: nothing of what the old ones held is left."""
        with self.locked():
            for engine in ENGINES:
                if self.keeper(engine).discard() and (engine != "duckdb" or _has_duckdb()):
                    self.catch_up(engine)
                    self.keeper(engine).publish(partial(self.catch_up, engine), always=True)

    def connection(self, engine: str | None = None) -> TablesConnection | DuckdbConnection:
        """The read-only connection for users; it catches up before every statement."""
        with self.locked():
            self.catch_up(engine)
            return self.keeper(engine).connection(partial(self.catch_up, engine), self.locked)

    def verify(self) -> VerifyReport:
        """Check every line and asset, and the tables of each engine that has any against a replay of the log."""
        from xetrack.log.verify import verify

        return verify(self.log, self._differing)

    def _differing(self) -> list[str]:
        """What a replay from nothing would make different in the tables, of all that they have read so far."""
        with self.locked():
            engines = [name for name in ENGINES if name == self.settings.engine or self.keeper(name).exists()]
            return [found for engine in engines for found in self._differing_in(engine)]

    def _differing_in(self, engine: Engine) -> list[str]:
        self.catch_up(engine)
        fresh = make_tables(engine, None)
        found = []
        keeper = self.keeper(engine)
        try:
            mine, other = keeper.ready, Projector(self.log, fresh)
            for name in mine.known_tables():
                # Programs may be logging meanwhile: both sides are held to what these tables have read.
                with keeper.used(), keeper.backend.reading():
                    mine.refresh(name)
                    other.replay_as_read(name, mine.read_so_far(name))
                    if not _equal(keeper.backend, fresh, name):
                        found.append(f"{engine} table {name!r} differs from a replay of its log")
        except Exception as error:
            try:
                keeper.heal(error)
            except StorageFailed as told:
                return [told.summary.rstrip(".")]
            raise
        finally:
            fresh.close()
        return found

    def compact(self, *, dry_run: bool = False) -> CompactReport:
        """Pack the finished segments of all tables into a few compressed files; tables that are there follow.

        A store in memory has nothing to pack. Raises what ``log.compaction.compact`` does.
        """
        from xetrack.log.compaction import CompactReport, compact

        log = self.log
        if not isinstance(log, FileLog):
            return CompactReport(dry_run)
        with self.locked():
            engines = [] if dry_run else [name for name in ENGINES if self.keeper(name).exists()]
            for name in engines:  # whoever has read all that is packed need not read the packs
                self.catch_up(name)
            report = compact(log, in_git=head_of(log.path) is not None, dry_run=dry_run)
            for name in engines:
                self.catch_up(name)
                self.keeper(name).publish(partial(self.catch_up, name))
        return report

    def compact_if_many(self, table: str) -> None:
        """Pack the store if that was asked for, is worth it and nobody else is at it; never in a git work tree."""
        log = self.log
        if not self.settings.autocompact or not isinstance(log, FileLog) or head_of(log.path) is not None:
            return
        from xetrack.log.compaction import finished, only_one

        if finished(log, table) > MANY_SEGMENTS:
            with only_one(log.folder(table)) as alone:
                if alone:
                    self.compact()

    def close(self) -> None:
        """Close the tables. The store may be used again.

        They stay open where a signal handler or a finalizer closes them that interrupted a use of them.
        """
        if self._pid == os.getpid():
            with self.lock:
                if self._held > 0:
                    return
                for keeper in self._keepers.values():
                    keeper.close()


def compact(db: str | os.PathLike[str], dry_run: bool = False) -> CompactReport:
    """Pack the finished segments of a store, line for line, into a few compressed files.

    What a living process writes stays, and in a git work tree every segment without
    an end. With ``dry_run`` nothing is changed. The report has the files and bytes of
    each table, and what was left with the reason. Killed at any moment, it leaves the
    same rows.

    Raises:
        StoreNotFound: no store at ``db``; names that are near are listed.
        StorageError: no room; what was packed so far is whole.
    """
    store = open_store(db)
    try:
        return store.compact(dry_run=dry_run)
    finally:
        store.close()


def require_duckdb() -> None:
    """See that the DuckDB engine can be used.

    Raises:
        MissingExtra: a package is not installed.
    """
    # Tables are made at the end of the program too, when this cannot be loaded any more; pandas wants it as well.
    import concurrent.futures.thread  # noqa: F401

    try:
        import duckdb  # noqa: F401  # only to see that they are there
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtra("engine='duckdb'", "duckdb") from error


def _is_strange(tables: Path, has_log: bool) -> bool:
    """Whether the file at the tables' place is not ours; beside a log a damaged one may still be."""
    try:
        return is_foreign(tables) if has_log else not is_tables_file(tables)
    except FileNotFoundError:  # moved away a moment ago
        return False


def _has_duckdb() -> bool:
    try:
        require_duckdb()
    except MissingExtra:
        return False
    return True


def check_table_name(name: str) -> None:
    """Refuse names that a table cannot have, in the log or in SQLite.

    Raises:
        InvalidTable: says why.
    """
    check_table(name)
    if name.casefold().startswith("sqlite_"):
        raise InvalidTable(name, "names that begin with 'sqlite_' belong to SQLite")


def near(path: Path) -> list[str]:
    """Stores in the same folder with names like this one."""
    try:
        names = {name.removesuffix(EVENTS_SUFFIX) for name in os.listdir(path.parent) if name.endswith(EVENTS_SUFFIX)}
    except OSError:
        return []
    return [str(path.parent / name) for name in difflib.get_close_matches(path.name, sorted(names), cutoff=0.5)]


def _equal(one: Backend, two: Backend, table: str) -> bool:
    """Whether a table has the same columns, the same rows in the same order, and names the same assets."""
    if summary(one.namings(table)) != summary(two.namings(table)):
        return False
    (names, rows), (other_names, other_rows) = one.content(table), two.content(table)
    return names == other_names and all(left == right for left, right in zip_longest(rows, other_rows))


__all__ = ["EVENTS_SUFFIX", "IN_MEMORY", "Store", "Table", "check_table_name", "open_store"]
