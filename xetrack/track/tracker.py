"""The write side: turns calls into events and holds the run.

``Tracker`` writes only through the log; what it shows comes from the tables,
which catch up first, so it always sees everything logged before the call.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

from xetrack.config import DEFAULT_DB, DEFAULT_ENGINE, DEFAULT_TABLE, Default, Settings, rank
from xetrack.errors import InvalidArgument, StorageError
from xetrack.exchange import git
from xetrack.log.values import RESERVED, check_keys, encode
from xetrack.read.asset_events import AssetEvents
from xetrack.read.view import RunView
from xetrack.store import Store, check_table_name, open_store
from xetrack.track import copies
from xetrack.track.functions import AUTOMATIC, as_text, track_call, warn_once
from xetrack.track.logger import Logger
from xetrack.track.losses import Losses
from xetrack.track.names import generate_track_id
from xetrack.track.rows import (
    Put,
    Row,
    are_fast,
    digest_of,
    is_fast,
    make_condition,
    make_params,
    make_point,
    make_rows,
    make_value,
)
from xetrack.track.session import Session
from xetrack.track.sinks import Sinks
from xetrack.track.wrapping import wrapped

if TYPE_CHECKING:
    from xetrack.track.cache import CachedCall, FunctionCache
    from xetrack.track.sampling import Sampler

#: Columns that calls fill in, which params must not be confused with.
_AUTOMATIC = dict.fromkeys(AUTOMATIC - RESERVED)
#: Key tuples remembered as checked. Programs have a few; one that makes up keys must not grow.
_SHAPES = 1024


F = TypeVar("F", bound=Callable[..., Any])


class Tracker(RunView):
    """Logs rows of one run into one table of a store.

    Args:
        db: Path of the store's tables; the log lies beside it in ``<db>.events``.
            ``":memory:"`` keeps both in memory, ``Tracker.SKIP_INSERT`` keeps neither.
        params: Values added to every row; a row's own keys win.
        reset: Hide what the table holds so far.
        log_system_params: Add CPU, memory and disk use (and the GPUs') to every row; means over a tracked call.
        log_network_params: Add the bytes sent and received during a call, or since the last row.
        measurement_interval: Seconds between samples during a tracked call.
        track_id: Name of the run, else a new one such as ``cool-name-1234``.
        warnings: Warn (through ``logging``) of what is odd but not wrong.
        raise_on_error: Raise what a tracked function raised, after logging it.
        logs_path: Folder of log files that get a line for every row, besides the store.
        logs_file_format: Their names, such as ``"{time:YYYY-MM-DD}.log"``, a file a day.
        logs_stdout: Print these lines too.
        jsonl: File that gets every row as a line of JSON: a dataset.
        cache: Folder that keeps the results of tracked functions (docs/cache.md).
        cache_code: Results of a function whose code has changed do not count.
        cache_wait: Seconds that a call waits where another process computes the same.
        git_root: Folder in a git work tree: its commit is added to every row, as
            ``git_commit_hash`` and ``git_commit``. Without it the log has the commit once.
        engine: ``"sqlite"`` or ``"duckdb"``: of the tables that this tracker reads. The log is one.
        table: Name of the table, for several kinds of rows in one store.
        durability: ``"process"``: a row survives the process when ``log`` returns;
            ``"disk"``: also the machine (often 1 to 10 ms).
        on_error: ``"raise"``, or ``"warn"``: a disk that is full or read-only stops no
            program; what was dropped is counted, and told at the end.
        events: Format of the log, ``"jsonl"`` or ``"msgpack"``.
        text_limit: Characters that the row of a tracked call keeps of a text.
        log_files: A ``Path`` as value stands for its file, which is stored as an asset.
        rewind: Point to go on from, such as ``{"step": 4000}``: rows of the run ``track_id`` past it are
            hidden, so that a training restarted from a checkpoint continues its curve.
        compress: Kept for programs written for 0.x: stored objects always are.
        rank_zero_only: In a distributed job (``RANK``, ``SLURM_PROCID``, ``OMPI_COMM_WORLD_RANK``,
            ``PMI_RANK``) only rank 0 logs; the others' trackers only run functions.

    ``db``, ``engine``, ``table``, ``track_id``, ``durability``, ``events``, ``on_error`` and
    ``text_limit`` may come from ``XETRACK_…`` instead; ``XETRACK_WARNINGS=0`` silences.
    With ``XETRACK_DISABLED=1`` a tracker only runs functions.

    A relative ``db`` is pinned when the tracker is made. Threads may share a
    tracker; a forked child writes a segment of its own. ``with Tracker(...)``
    closes it, and records a failure if the block raised.
    """

    IN_MEMORY: ClassVar[str] = ":memory:"
    SKIP_INSERT: ClassVar[str] = "SKIP_INSERT"

    def __init__(
        self,
        db: str | Path = DEFAULT_DB,
        params: Mapping[Any, Any] | None = None,
        reset: bool = False,
        log_system_params: bool = False,
        log_network_params: bool = False,
        raise_on_error: bool = True,
        measurement_interval: float = 1,
        track_id: str | None = None,
        logs_path: str | None = None,
        logs_file_format: str | None = None,
        logs_stdout: bool = False,
        jsonl: str | None = None,
        cache: str | None = None,
        compress: bool = False,
        warnings: bool = True,
        git_root: str | None = None,
        engine: Literal["duckdb", "sqlite"] = DEFAULT_ENGINE,  # type: ignore[assignment]
        table: str = DEFAULT_TABLE,
        *,
        durability: Literal["process", "disk"] | None = None,
        events: Literal["jsonl", "msgpack"] | None = None,
        on_error: Literal["raise", "warn"] | None = None,
        text_limit: int | None = None,
        log_files: bool = False,
        cache_code: bool = False,
        cache_wait: float = 0,
        rank_zero_only: bool = False,
        rewind: Mapping[str, Any] | None = None,
    ) -> None:
        made = {name: value for name, value in dict(locals()).items() if name != "self"}
        settings = Settings.resolve(
            db=db if type(db) is Default else os.fspath(db),
            engine=engine,
            table=table,
            track_id=track_id,
            durability=durability,
            events=events,
            warnings=None if warnings else False,
            on_error=on_error,
            text_limit=text_limit,
        )
        if rewind is not None:
            make_point(rewind)  # refuses what is none, before anything is made
            if settings.track_id is None:
                raise InvalidArgument("rewind", "it needs the track_id of the run that goes on")
        self.db = settings.db
        self.track_id = str(settings.track_id or generate_track_id())
        encode(self.track_id, "track_id")  # refuses what is no text, before anything is made
        #: What makes this tracker again in another process (copies.py).
        self._made = {
            **made,
            **_settled(made, settings),
            "track_id": self.track_id,
            "params": None,
            "reset": False,
            "rewind": None,
        }
        self.raise_on_error = raise_on_error
        self.warnings = settings.warnings
        self.measurement_interval = measurement_interval
        self._log_files = log_files
        self._text_limit = settings.text_limit
        self._to_disk = settings.durability == "disk"
        self._off = settings.disabled or (rank_zero_only and (rank() or 0) != 0)
        #: No store on disk: rows go nowhere, or only to files.
        self._skip = self._off or self.db == self.SKIP_INSERT
        self._unopened: StorageError | None = None
        self._losses = Losses(self.track_id) if settings.on_error == "warn" else None
        check_table_name(settings.table)
        self._sampler: Sampler | None = None
        if (log_system_params or log_network_params) and not self._off:
            self._sampler = _sampler(bool(log_system_params), bool(log_network_params), measurement_interval)
        sinks = Sinks.open(logs_path, logs_file_format, logs_stdout, jsonl)
        self._sinks = None if self._off else sinks
        self._logger = Logger(self._sinks, self._losses.add if self._losses else None)
        #: Whether plain rows may go straight to the log, past what samples them or copies them elsewhere.
        self._fast = self._sampler is None and self._sinks is None
        self._cache = _open_cache(None if self._off else cache, cache_code, cache_wait, settings.warnings)
        self._store = self._open(settings, git_root)
        self._table = self._store.table(settings.table)
        self._asset_events = AssetEvents(self._store.log)
        self._session = Session(self._store, settings.table, settings.events, self._losses, self.track_id)
        if not self._store.memory:
            weakref.finalize(self, self._session.close_silently).atexit = False
        #: Keys checked with the params, and the params: read and replaced together, threads may share a tracker.
        self._known: tuple[set[tuple[str, ...]], Row] = (set(), Row({}, {}))
        self._second: tuple[int, str] = (-1_000_000, "")
        #: Texts of warnings that calls have given cause for.
        self._told: set[str] = set()
        self._latest: dict[str, Any] = {}
        commit = _commit_columns(None if self._off else git_root, settings.warnings)
        self._set_params({**commit, **_params(params)})
        if reset and not self._skip:
            with self._tolerant():
                self._table.reset(self._session.writer)
        if rewind is not None:
            self.rewind(rewind)

    # writing

    def log(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Log one row and return it, with params, ``timestamp`` and ``track_id``.

        The row is with the operating system when this returns. Objects that no
        table cell holds are stored as assets and shown by their short hash.

        Raises:
            UsageError: a key or a value that no log can hold; nothing is written.
            StorageError: no room, no permission; earlier rows are whole.

        >>> tracker.log({"accuracy": 0.95, "epoch": 10})["accuracy"]
        0.95
        """
        # The fast path: keys seen before, values that JSON holds as they are.
        shapes, params = self._known
        if type(data) is dict and tuple(data) in shapes and is_fast(data):
            writer = self._session.current
            if writer is not None:
                wire, shown = params
                row = {**shown, **data}
                try:
                    clock_us = writer.append_row(
                        self.track_id, row if wire is shown else {**wire, **data}, to_disk=self._to_disk
                    )[1]
                except UnicodeEncodeError:
                    pass  # a lone surrogate: below, the error names its key
                except StorageError as error:
                    return self._lose(error, [data])
                else:
                    start_us, text = self._second
                    microsecond = clock_us - start_us
                    if not 0 <= microsecond < 1_000_000:
                        microsecond, text = self._new_second(clock_us)
                    row["timestamp"] = f"{text}{microsecond:06d}"
                    row["track_id"] = self.track_id
                    self._latest = row
                    return row
        return self._record([data])

    def log_batch(self, data: Iterable[Mapping[Any, Any]]) -> dict[str, Any]:
        """Log several rows in one write and return the last, ``{}`` if there is none.

        Either every row is valid and all are written, or none is.
        """
        if isinstance(data, (Mapping, str, bytes)):
            raise InvalidArgument("data", f"log_batch takes a list of rows, not one {type(data).__name__}")
        given: list[Any] = list(data)
        if not given:
            return {}
        shapes, params = self._known
        if are_fast(given, shapes):
            wire, shown = params
            try:
                wires = [{**wire, **row} for row in given] if wire else given
                return self._write(wires, {**shown, **given[-1]}, batch=True)
            except UnicodeEncodeError:
                pass  # a lone surrogate: below, the error names its key
            except StorageError as error:
                return self._lose(error, given)
        return self._record(given, batch=True)

    def set_param(self, key: str, value: Any) -> Any:
        """Add a value to every row logged from now on, and return it."""
        self._set_params({key: value})
        return value

    def set_params(self, params: Mapping[Any, Any]) -> dict[str, Any]:
        """Add values to every row logged from now on, and return all params."""
        self._set_params(params)
        return self.params

    def set_value(self, key: str, value: Any) -> int:
        """Set one column in all rows of this run and return how many there are."""
        count = 0
        with self._tolerant():
            name, wire = make_value(key, value, self._put, files=self._log_files)
            if not self._skip:
                count = self._table.set_value(self._session.writer, name, wire, self.track_id, to_disk=self._to_disk)
        return count

    def set_where(self, key: str, value: Any, where_key: str, where_value: Any) -> int:
        """Set one column in the rows of this run where another has a value.

        Returns the number of rows changed. Which rows those are is decided now.
        """
        count = 0
        with self._tolerant():
            name, wire = make_value(key, value, self._put, files=self._log_files)
            where_name, where_wire = make_condition(where_key, where_value)
            if not self._skip:
                count = self._table.set_where(
                    self._session.writer, name, wire, where_name, where_wire, self.track_id, to_disk=self._to_disk
                )
        return count

    def rewind(self, point: Mapping[str, Any]) -> int:
        """Hide the rows of this run that lie past a point, such as ``{"step": 4000}``; return how many.

        Several keys are compared in the order given: after ``{"epoch": 3, "step": 100}`` the rows
        of later epochs go, and those of epoch 3 past step 100. A row without a number there stays.

        Raises:
            ColumnNotFound: the run has rows, but the table has no such column.
            InvalidArgument: the point or a column is no number.
            RunProtected: the run is protected.
        """
        condition = make_point(point)
        return self._change(lambda writer: self._table.rewind(writer, self.track_id, condition, self._to_disk))

    def protect(self) -> int:
        """Refuse, from now on, what would set or hide rows of this run; return how many it has.

        Rows may still be logged. ``Reader.protect`` says what is refused.

        Raises:
            RunNotFound: nothing was logged so far.
        """
        return self._change(lambda writer: self._table.protect(writer, self.track_id, self._to_disk))

    def unprotect(self) -> int:
        """Allow changes of this run again; return how many rows it has. Raises what ``protect`` does."""
        return self._change(lambda writer: self._table.unprotect(writer, self.track_id, self._to_disk))

    def _change(self, change: Callable[[Any], int]) -> int:
        """What a change of this run returns; 0 where there is no store."""
        count = 0
        with self._tolerant():
            if not self._skip:
                count = change(self._session.writer)
        return count

    def flush(self) -> None:
        """Force what was logged to the device and catch the tables up."""
        if self._skip:
            return
        with self._tolerant(0):
            if self._session.current is not None:
                self._session.current.sync()
            self._store.flush()

    def close(self) -> None:
        """Seal the run's segment and catch the tables up. Reading still works."""
        if self._cache is not None:
            self._cache.close()
        with self._tolerant(0):
            self._session.close()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:  # nothing may take the place of what the block raised
            self._session.close_silently(error)

    def track(
        self,
        func: Callable[..., Any],
        params: Mapping[Any, Any] | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        cache_force: bool = False,
    ) -> Any:
        """Call a function, log one row about the call and return its result.

        ``params`` are added to the row; what the row holds: ``functions.track_call``.
        With a cache the function is not run where its result is known (docs/cache.md),
        unless ``cache_force``: then it is run, and the result replaced.
        """
        # Not `or`: an array is asked in vain whether it is empty.
        args, kwargs = _arguments(() if args is None else args, {} if kwargs is None else kwargs)
        if self._off:
            if self.raise_on_error:
                return func(*args, **kwargs)
            return track_call(func, args, kwargs, lambda row: None, raise_on_error=False, warn=False)
        extra = dict(_params(params))
        given = {**self.params, **extra}
        if given:  # before the function runs: afterwards its time would be lost
            check_keys({**_AUTOMATIC, **given})
        cached = None
        if self._cache is not None:
            cached = self._cache.call(func, args, kwargs, given, self.track_id, cache_force)
            extra.setdefault("cache", "")
        return track_call(
            func,
            args,
            kwargs,
            lambda row: self._log_call(extra, row, cached),
            raise_on_error=self.raise_on_error,
            warn=self.warnings,
            told=self._told,
            text_limit=self._text_limit,
            measure=None if self._sampler is None else self._sampler.measure,
            cached=cached,
        )

    def _generate_cache_key(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], params: Mapping[Any, Any]
    ) -> str | None:
        """The key for ``Reader.read_cache`` under which ``track`` keeps a result; ``None`` if it cannot."""
        return None if self._cache is None else self._cache.key(func, args, kwargs, {**self.params, **params})

    def _log_call(self, extra: dict[Any, Any], row: dict[Any, Any], cached: CachedCall | None) -> None:
        """Log the row of a call that is over. What no column can hold is in it as text."""
        put = self._put
        if cached is not None:
            cached.show(row)
            put = functools.partial(cached.put, self._store_object, self._store_again)
        try:
            self._record([{**extra, **row}], call=put)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - a result may raise anything when it is looked at; the call went well
            if self.warnings:
                warn_once(self._told, "The result of %s is logged as text. %s", row.get("function_name"), error)
            self._record([{**extra, **as_text(row)}], call=self._put)

    @overload
    def wrap(self, params: F) -> F: ...
    @overload
    def wrap(self, params: Mapping[Any, Any] | None = None) -> Callable[[F], F]: ...
    def wrap(self, params: Any = None) -> Any:
        """Decorate a function, a method, a coroutine or a generator function so that each call is tracked.

        ``@tracker.wrap``, ``@tracker.wrap()`` and ``@tracker.wrap(params={...})`` all work.
        What is decorated keeps its name, signature and kind: ``wrapping.wrapped``.
        """
        if params is not None and not isinstance(params, Mapping):
            return self._wrap(params, None)
        return lambda func: self._wrap(func, params)

    def _wrap(self, func: F, params: Mapping[Any, Any] | None) -> F:
        return wrapped(func, lambda func, args, kwargs: self.track(func, params, args, kwargs))

    # what is known without a table

    @staticmethod
    def generate_track_id() -> str:
        """A new run id such as ``cool-name-1234``, from the system's randomness."""
        return generate_track_id()

    @property
    def params(self) -> dict[str, Any]:
        """A copy of the values added to every row; change them by ``set_params``."""
        return dict(self._known[1].shown)

    @property
    def logger(self) -> Logger:
        """Messages and rows of no run, to the log files, stdout and JSONL of this tracker."""
        return self._logger

    @property
    def latest(self) -> dict[str, Any]:
        """The row logged last by this tracker, ``{}`` before the first."""
        return self._latest

    def __repr__(self) -> str:
        return f"Tracker(db={self.db!r}, table={self.table_name!r}, track_id={self.track_id!r})"

    def __copy__(self) -> Tracker:
        return self

    def __deepcopy__(self, memo: object) -> Tracker:
        """The tracker itself: objects that hold one log to one run, whoever copies them."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle takes along: in another process this becomes a tracker of the same run (copies.py).

        Raises:
            InvalidArgument: its store is in memory, where no other process could log to.
        """
        if self.db == self.IN_MEMORY and not self._off:
            raise InvalidArgument("db", "a tracker in memory cannot go to another process")
        return copies.revived, (copies.name_in_pickle(self), type(self), self._made, self._known[1])

    # helpers

    def _take_params(self, params: Row) -> None:
        self._known = (set(), params)

    def _open(self, settings: Settings, git_root: str | None) -> Store:
        """The store, or one in memory where there is none to write to."""
        try:
            return open_store(
                self.IN_MEMORY if self._skip else self.db,
                create=True,
                settings=settings,
                facts=git.asked(git_root or ".", early=git_root is not None and not self._off),
            )
        except StorageError as error:
            if self._losses is None:
                raise
            self._losses.add(error, 0)
            self._skip, self._unopened = True, error
            return open_store(self.IN_MEMORY, settings=settings)

    def _record(self, given: list[Mapping[Any, Any]], batch: bool = False, call: Put | None = None) -> dict[str, Any]:
        """Check rows, write them and return the last one as it was logged.

        The row of a call brings what stores its objects. It was measured while it ran, and a path in it stays a path.
        """
        shapes, params = self._known
        if self._off:
            return self._stamp({**params.shown, **given[-1]}, time.time_ns() // 1000)
        try:
            if self._sampler is not None and not call:
                levels = self._sampler.now()
                given = [{**levels, **row} if isinstance(row, Mapping) else row for row in given]
            rows = make_rows(given, params, call or self._put, files=self._log_files and not call)
            if self._fast and not call:
                _remember(given, shapes)
            return self._write([row.wire for row in rows], rows[-1].shown, batch)
        except StorageError as error:
            return self._lose(error, given)

    def _write(self, wires: list[dict[str, Any]], shown: dict[str, Any], batch: bool) -> dict[str, Any]:
        try:
            clocks_us = self._append(wires, batch)
        except StorageError:
            if self._losses is not None and self._sinks is not None:  # they may lie elsewhere, where there is room
                with contextlib.suppress(StorageError):
                    self._sinks.write(self.track_id, wires, _now_us(len(wires)))
            raise
        if self._sinks is not None:
            with self._tolerant(len(wires)):
                self._sinks.write(self.track_id, wires, clocks_us)
        return self._stamp(shown, clocks_us[-1])

    def _append(self, wires: list[dict[str, Any]], batch: bool) -> list[int]:
        """Append rows to the log, if there is one, and give the clock of each."""
        run, to_disk = self.track_id, self._to_disk
        if self._unopened is not None:
            raise self._unopened
        if self._skip:
            return _now_us(len(wires))
        if batch:
            return [place[1] for place in self._session.writer.append_rows(run, wires, to_disk=to_disk)]
        return [self._session.writer.append_row(run, wires[0], to_disk=to_disk)[1]]

    def _stamp(self, shown: dict[str, Any], clock_us: int) -> dict[str, Any]:
        """Complete a row as it is handed back."""
        start_us, text = self._second
        microsecond = clock_us - start_us
        if not 0 <= microsecond < 1_000_000:
            microsecond, text = self._new_second(clock_us)
        shown["timestamp"] = f"{text}{microsecond:06d}"
        shown["track_id"] = self.track_id
        self._latest = shown
        return shown

    def _lose(self, error: StorageError, rows: list[Any]) -> dict[str, Any]:
        """Raise, or count the rows as dropped and hand back the last as if it was logged."""
        if self._losses is None:
            raise error
        self._losses.add(error, len(rows))
        return self._stamp({**self.params, **rows[-1]}, time.time_ns() // 1000)

    @contextlib.contextmanager
    def _tolerant(self, count: int = 1) -> Iterator[None]:
        """Count what cannot be written instead of raising, if the tracker was made so."""
        try:
            yield
        except StorageError as error:
            if self._losses is None:
                raise
            self._losses.add(error, count)

    def _new_second(self, clock_us: int) -> tuple[int, str]:
        """Microsecond of a reading and the local time of its second, kept for the rows that share it."""
        second, microsecond = divmod(clock_us, 1_000_000)
        text = time.strftime("%Y-%m-%d %H:%M:%S.", time.localtime(second))
        self._second = (clock_us - microsecond, text)
        return microsecond, text

    def _set_params(self, params: Mapping[Any, Any]) -> None:
        with self._tolerant():
            made, before = make_params(params, self._put, files=self._log_files), self._known[1]
            wire, shown = {**before.wire, **made.wire}, {**before.shown, **made.shown}
            check_keys(shown)
            self._known = (set(), Row(shown, shown) if is_fast(wire) else Row(wire, shown))

    def _put(self, key: str, value: Any) -> str:
        return self._store_object(key, value)[0]

    def _store_object(self, key: str, value: Any) -> tuple[str, int]:
        """Digest and size of an object, stored if there is a store; else the size is -1."""
        return (digest_of(value), -1) if self._skip else self._session.stored(key, value)

    def _store_again(self, key: str, digest: str, size_bytes: int) -> bool:
        return self._skip or self._session.put_again(key, digest, size_bytes)


def _settled(made: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Arguments that another process could take for something else: of the environment, and relative paths."""
    settled: dict[str, Any] = {
        name: getattr(settings, name)
        for name in ("db", "engine", "table", "durability", "events", "warnings", "on_error", "text_limit")
    }
    for name in ("db", "logs_path", "jsonl", "cache", "git_root"):
        path = {**made, **settled}[name]
        if path and path not in (Tracker.IN_MEMORY, Tracker.SKIP_INSERT):
            with contextlib.suppress(FileNotFoundError):  # the current folder may be gone
                settled[name] = os.path.abspath(path)
    return settled


def _now_us(count: int) -> list[int]:
    return [time.time_ns() // 1000] * count


def _remember(rows: Iterable[Mapping[Any, Any]], shapes: set[tuple[str, ...]]) -> None:
    """Let rows of these keys, which were checked, take the fast path."""
    for data in rows:
        if type(data) is dict and all(type(key) is str for key in data):
            if len(shapes) >= _SHAPES:
                shapes.clear()
            shapes.add(tuple(data))


def _sampler(system: bool, network: bool, interval_s: float) -> Sampler:
    from xetrack.track.sampling import Sampler  # psutil is a quarter of what importing a tracker would take

    return Sampler(system=system, network=network, interval_s=interval_s)


def _open_cache(folder: str | None, code: bool, wait: float, warn: bool) -> FunctionCache | None:
    if not folder:
        return None
    from xetrack.track.cache import FunctionCache

    return FunctionCache(folder, cache_code=code, wait=wait, warn=warn)


def _params(given: Mapping[Any, Any] | None) -> Mapping[Any, Any]:
    if given is None or isinstance(given, Mapping):
        return given or {}
    raise InvalidArgument(
        "params", f"it is a dict of columns, not {type(given).__name__}; arguments go into args=[...]"
    )


def _arguments(args: Any, kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    """Copies of a call's arguments, of whatever kind of list or dict they are."""
    if not isinstance(args, (str, bytes)):
        try:
            return list(args), dict(kwargs)
        except (TypeError, ValueError):
            pass
    raise InvalidArgument(
        "args", f"args is a list and kwargs a dict, not {type(args).__name__} and {type(kwargs).__name__}"
    )


def _commit_columns(git_root: str | None, warn: bool) -> dict[str, str]:
    """The commit under both names it is known by; nothing where there is none, and a warning."""
    commit = None if git_root is None else git.facts(git_root)["commit"]
    if git_root is not None and commit is None and warn:
        warn_once(None, "git_root=%r: git knows no commit there, so the rows have none.", git_root)
    return {} if commit is None else dict.fromkeys(("git_commit_hash", "git_commit"), commit)
