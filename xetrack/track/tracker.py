"""The write side: turns calls into events and holds the run.

``Tracker`` writes only through the log; what it shows comes from the tables,
which catch up first, so it always sees everything logged before the call.
"""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

from xetrack.config import DEFAULT_DB, DEFAULT_ENGINE, DEFAULT_TABLE, Default, Settings, path_text, rank
from xetrack.errors import InvalidArgument, StorageError
from xetrack.exchange import git
from xetrack.log.values import RESERVED, check_keys, encode
from xetrack.read.asset_events import AssetEvents
from xetrack.read.view import RunView
from xetrack.store import check_table_name, open_store
from xetrack.track import copies
from xetrack.track.functions import AUTOMATIC, as_text, track_call, warn_once
from xetrack.track.logger import Logger
from xetrack.track.losses import Losses
from xetrack.track.names import generate_track_id
from xetrack.track.pulse import pulse
from xetrack.track.recorder import Recorder
from xetrack.track.rows import Row, make_condition, make_point
from xetrack.track.session import Session
from xetrack.track.sinks import Sinks
from xetrack.track.wrapping import wrapped

if TYPE_CHECKING:
    from xetrack.track.cache import CachedCall, FunctionCache
    from xetrack.track.sampling import Sampler

#: Columns that calls fill in, which params must not be confused with.
_AUTOMATIC = dict.fromkeys(AUTOMATIC - RESERVED)

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
            db=db if type(db) is Default else path_text(db),
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
        self._text_limit = settings.text_limit
        self._off = settings.disabled or (rank_zero_only and (rank() or 0) != 0)
        losses = Losses(self.track_id) if settings.on_error == "warn" else None
        check_table_name(settings.table)
        self._sampler: Sampler | None = None
        if (log_system_params or log_network_params) and not self._off:
            self._sampler = _sampler(bool(log_system_params), bool(log_network_params), measurement_interval)
        opened = Sinks.open(logs_path, logs_file_format, logs_stdout, jsonl)
        self._sinks = sinks = None if self._off else opened
        self._logger = Logger(sinks, losses.add if losses else None)
        self._cache = _open_cache(None if self._off else cache, cache_code, cache_wait, settings.warnings)
        #: No store on disk: rows go nowhere, or only to files.
        self._skip = self._off or self.db == self.SKIP_INSERT
        unopened = self._open(settings, git_root, losses)
        self._table = self._store.table(settings.table)
        self._asset_events = AssetEvents(self._store.log)
        self._session = Session(self._store, settings.table, settings.events, losses, self.track_id)
        if not self._store.memory:
            weakref.finalize(self, self._session.close_silently).atexit = False
        self._recorder = Recorder(
            self.track_id,
            self._session,
            sampler=self._sampler,
            sinks=sinks,
            losses=losses,
            skip=self._skip,
            off=self._off,
            files=log_files,
            unopened=unopened,
        )
        #: Texts of warnings that calls have given cause for.
        self._told: set[str] = set()
        commit = _commit_columns(None if self._off else git_root, settings.warnings)
        self._recorder.set_params({**commit, **_params(params)})
        if reset and not self._skip:
            with self._recorder.tolerant():
                self._table.reset(self._session.writer, self._session.to_disk)
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
        return self._recorder.log(data)

    def log_batch(self, data: Iterable[Mapping[Any, Any]]) -> dict[str, Any]:
        """Log several rows in one write and return the last, ``{}`` if there is none.

        Either every row is valid and all are written, or none is.
        """
        return self._recorder.log_batch(data)

    def set_param(self, key: str, value: Any) -> Any:
        """Add a value to every row logged from now on, and return it."""
        self._recorder.set_params({key: value})
        return value

    def set_params(self, params: Mapping[Any, Any]) -> dict[str, Any]:
        """Add values to every row logged from now on, and return all params."""
        self._recorder.set_params(params)
        return self.params

    def set_value(self, key: str, value: Any) -> int:
        """Set one column in all rows of this run and return how many there are."""
        count = 0
        with self._recorder.tolerant():
            name, wire = self._recorder.value(key, value)
            count = self._change(
                lambda writer: self._table.set_value(writer, name, wire, self.track_id, to_disk=self._session.to_disk)
            )
        return count

    def set_where(self, key: str, value: Any, where_key: str, where_value: Any) -> int:
        """Set one column in the rows of this run where another has a value.

        Returns the number of rows changed. Which rows those are is decided now.
        """
        count = 0
        with self._recorder.tolerant():
            name, wire = self._recorder.value(key, value)
            where_name, where_wire = make_condition(where_key, where_value)
            count = self._change(
                lambda writer: self._table.set_where(
                    writer, name, wire, where_name, where_wire, self.track_id, to_disk=self._session.to_disk
                )
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
        return self._change(lambda writer: self._table.rewind(writer, self.track_id, condition, self._session.to_disk))

    def protect(self) -> int:
        """Refuse, from now on, what would set or hide rows of this run; return how many it has.

        Rows may still be logged. ``Reader.protect`` says what is refused.

        Raises:
            RunNotFound: nothing was logged so far.
        """
        return self._change(lambda writer: self._table.protect(writer, self.track_id, self._session.to_disk))

    def unprotect(self) -> int:
        """Allow changes of this run again; return how many rows it has. Raises what ``protect`` does."""
        return self._change(lambda writer: self._table.unprotect(writer, self.track_id, self._session.to_disk))

    def _change(self, change: Callable[[Any], int]) -> int:
        """What a change of this run returns; 0 where there is no store, or none that can be written."""
        count = 0
        with self._recorder.tolerant():
            if not self._skip:
                count = change(self._session.writer)
        return count

    def flush(self) -> None:
        """Force what was logged to the device and catch the tables up."""
        if self._skip:
            return
        with self._recorder.tolerant(0):
            if self._session.current is not None:
                self._session.current.sync()
            self._store.flush()

    def close(self) -> None:
        """Seal the run's segment, let go of log files and catch the tables up. Reading still works."""
        if self._cache is not None:
            self._cache.close()
        if self._sinks is not None:
            self._sinks.close()
        with self._recorder.tolerant(0):
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
            if self._sinks is not None:
                self._sinks.close()

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
        recorder = self._recorder
        put = recorder.put
        if cached is not None:
            cached.show(row)
            put = functools.partial(cached.put, recorder.stored, recorder.put_again)
        try:
            recorder.record_call({**extra, **row}, put)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - a result may raise anything when it is looked at; the call went well
            if self.warnings:
                warn_once(self._told, "The result of %s is logged as text. %s", row.get("function_name"), error)
            recorder.record([{**extra, **as_text(row)}], call=recorder.put)

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
        return dict(self._recorder.params.shown)

    @property
    def logger(self) -> Logger:
        """Messages and rows of no run, to the log files, stdout and JSONL of this tracker."""
        return self._logger

    @property
    def latest(self) -> dict[str, Any]:
        """The row logged last by this tracker, ``{}`` before the first."""
        return self._recorder.latest

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
        return copies.revived, (copies.name_in_pickle(self), type(self), self._made, self._recorder.params)

    # helpers

    def _take_params(self, params: Row) -> None:
        self._recorder.take_params(params)

    def _open(self, settings: Settings, git_root: str | None, losses: Losses | None) -> StorageError | None:
        """Open the store, or one in memory where there is none to write to; return why."""
        try:
            self._store = open_store(
                self.IN_MEMORY if self._skip else self.db,
                create=True,
                settings=settings,
                facts=git.asked(git_root or ".", early=git_root is not None and not self._off),
            )
            return None
        except StorageError as error:
            if losses is None:
                raise
            losses.add(error, 0)
            self._skip = True
            self._store = open_store(self.IN_MEMORY, settings=settings)
            return error


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


def _sampler(system: bool, network: bool, interval_s: float) -> Sampler:
    from xetrack.track.sampling import Sampler  # psutil is a quarter of what importing a tracker would take

    return Sampler(system=system, network=network, interval_s=interval_s, call_soon=pulse.call_soon)


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
