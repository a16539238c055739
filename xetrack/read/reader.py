"""Tables to data frames: the reading side, and changes to rows of any run.

A reader asks the tables for rows, which catch up first. Its changes are events
like a tracker's: they touch what was there when it made them (law 6).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xetrack.config import DEFAULT_ENGINE, DEFAULT_TABLE, Settings
from xetrack.errors import TableNotFound
from xetrack.exchange.past import open_past
from xetrack.read.asset_events import AssetEvents
from xetrack.read.backends import checked, frame_of, polars_of, rows_of
from xetrack.read.files import read_jsonl, read_logs
from xetrack.read.follow import Follow
from xetrack.read.history import BLAME, blame_lines, frame_of_lines, history_lines
from xetrack.read.runs import runs_frame
from xetrack.read.selection import not_found, sql_errors
from xetrack.read.undo import undo, undo_run
from xetrack.read.view import TableView
from xetrack.store import Store, open_store
from xetrack.track.cache_folder import delete_entries, read_entry, scan_entries
from xetrack.track.rows import make_condition, make_value
from xetrack.track.session import Session

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


class Reader(TableView):
    """Reads one table of a store that exists; opening creates nothing.

    Raises:
        StoreNotFound: no store at ``db``; names that are near are listed.
        TableNotFound: the store has tables, but not this one.
        InvalidArgument: ``at`` is nothing that names a moment.
        EventNotFound, RevisionNotFound: it names one that is not there.

    >>> Reader("track.db").to_df(head=2)
    >>> Reader("track.db", at="-2h").to_df(head=2)
    """

    def __init__(
        self,
        db: str | Path,
        engine: Literal["duckdb", "sqlite"] = DEFAULT_ENGINE,  # type: ignore[assignment]
        table: str = DEFAULT_TABLE,
        at: str | datetime | None = None,
        backend: Literal["pandas", "polars", "arrow"] | None = None,
    ) -> None:
        """A reader of the store as it is now, or with ``at`` as it was.

        ``at`` is an ISO time (local unless it says a zone), ``"-2h"`` ago, an event id, or a git revision
        (``"git:<rev>"`` or ``"git:<rev>:<path>"``). What was redacted since is gone there too, and nothing
        can be changed. ``backend`` is the kind of frame that ``to_df``, ``latest`` and ``sql`` give; see
        ``set_backend``.
        """
        settings = Settings.resolve(engine=engine, table=table)
        self._backend = checked(backend)
        self.db = str(db)
        self._store: Store = open_store(db, settings=settings) if at is None else open_past(db, at, settings)
        self._table = self._store.table(settings.table, settings.engine)
        tables = self._store.tables()
        if tables and self._table.name not in tables:
            raise TableNotFound(self._table.name, self.db, tables)
        self._session = Session(self._store, self._table.name, settings.events)
        self._asset_events = AssetEvents(self._store.log)
        if not self._store.memory:
            weakref.finalize(self, self._session.close_silently).atexit = False

    def get(self, asset: str) -> Any:
        """The object stored under a hash or key. It is unpickled: only from stores that you trust.

        Raises:
            AssetNotFound: there is none, or it was removed.
        """
        return self.assets[asset]

    def to_df(self, track_id: str | None = None, head: int | None = None, tail: int | None = None) -> pd.DataFrame:
        """Rows of one run or of all, in the order of the log; first or last ones only if asked.

        ``head`` and ``tail`` both apply to the run, not to the whole table.
        """
        return rows_of(self._table, self._backend, track_id, head, tail)

    def to_arrow(self, track_id: str | None = None, head: int | None = None, tail: int | None = None) -> pa.Table:
        """The rows of ``to_df`` as an Arrow table.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        return self._table.arrow(track_id, head=head, tail=tail)

    def to_polars(self, track_id: str | None = None, head: int | None = None, tail: int | None = None) -> pl.DataFrame:
        """The rows of ``to_df`` as a polars frame.

        Raises:
            MissingExtra: polars is not installed.
        """
        checked("polars", "to_polars")
        return polars_of(self._table.arrow(track_id, head=head, tail=tail))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """All rows, for whatever takes Arrow data: ``polars.DataFrame(reader)``, ``pyarrow.table(reader)``."""
        return self._table.arrow().__arrow_c_stream__(requested_schema)

    def sql(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> pd.DataFrame:
        """What one read-only query gives, as a frame; ``params`` fill its placeholders.

        >>> reader.sql("SELECT track_id, max(accuracy) AS best FROM events WHERE epoch > ? GROUP BY 1", [3])

        Raises:
            ReadOnlyTables: the query would change something.
            ColumnNotFound, TableNotFound: it names what is not there. What else is wrong with it raises what the
                engine raises.
            ColumnPastLimit: it names a key that has no column in SQL; says how to write it.
        """
        try:
            if self._backend != "pandas":
                return frame_of(self._table.query_arrow(query, params), self._backend)
            return self._table.query(query, params)
        except sql_errors() as error:
            if missing := not_found(error, self._table):
                raise missing from error
            raise

    def latest(self) -> pd.DataFrame:
        """Rows of the newest run by time; an empty frame if there is none."""
        run = self._table.latest_run()
        return self.to_df(head=0) if run is None else self.to_df(run)

    def follow(
        self, cursor: str | None = None, *, track_id: str | None = None, events: bool = False, wait: bool = True
    ) -> Follow:
        """Rows as they are logged, each exactly once: an iterator that waits for more.

        Rows are dicts of ``timestamp``, ``track_id`` and the keys as they were logged,
        with Python values and stored objects as short hashes, in the order of arrival.
        All rows come, from the first one that was ever logged, also those deleted since;
        what was redacted does not. ``cursor``: only what comes after, in whatever process
        it was taken from ``Follow.cursor``; ``"end"``: only what is logged from now on.
        With ``wait=False`` it ends with the last row there is. With ``events`` rows and
        mutations are dicts of ``event_id``, ``kind``, ``timestamp``, ``track_id``, ``data``.

        >>> for row in Reader("track.db").follow(): print(row["loss"])

        Raises:
            InvalidArgument: the cursor is none, or of another table.
        """
        return Follow(self._table, cursor, track_id=track_id, events=events, wait=wait)

    def runs(self) -> pd.DataFrame:
        """The runs of the table and how they are doing, in the order of their first rows.

        Columns: ``track_id``; ``state`` ``running``, ``finished``, ``failed`` (by an
        exception or a signal) or ``died`` (ended without a word); ``started`` and
        ``ended`` datetime64[us, UTC], ``ended`` NaT while running; ``duration_s``
        float, so far while running; ``rows`` int; ``host``, ``user``, ``script``,
        ``commit`` of the writer that was last seen. What a state follows from:
        docs/live.md.
        """
        return runs_frame(self._store, self._table)

    def __len__(self) -> int:
        return self._table.count()

    def __repr__(self) -> str:
        return f"Reader(db={self.db!r}, table={self.table_name!r})"

    def delete_run(self, track_id: str) -> int:
        """Hide all rows of a run that are there now, and return how many.

        Raises:
            RunNotFound: the table has no such run.
        """
        return self._table.delete_run(self._session.writer, track_id, self._session.to_disk)

    def set_value(self, key: str, value: Any, track_id: str | None = None) -> int:
        """Set one column in all rows of a run, or of every run, and return how many changed."""
        name, wire = make_value(key, value, self._session.put)
        return self._table.set_value(self._session.writer, name, wire, track_id, self._session.to_disk)

    def set_where(self, key: str, value: Any, where_key: str, where_value: Any, track_id: str | None = None) -> int:
        """Set one column where another has a value, in a run or in every run.

        Returns how many rows changed. Which rows those are is decided now.
        """
        name, wire = make_value(key, value, self._session.put)
        where_name, where_wire = make_condition(where_key, where_value)
        return self._table.set_where(
            self._session.writer, name, wire, where_name, where_wire, track_id, self._session.to_disk
        )

    def history(self, track_id: str | None = None, column: str | None = None) -> pd.DataFrame:
        """Events behind the rows, newest first: one row per event and cell.

        Columns: ``event_id`` str; ``time`` datetime64[us, UTC] (display only, the order is the
        log's); ``kind`` of the event; ``table``; ``track_id`` and ``column`` of the cell; ``old``
        and ``new``, its values as they were logged, ``None`` where it was empty; ``user``, ``host``,
        ``pid``, ``script`` and ``commit`` of the writer, as far as they were known. What hides or
        brings back whole rows is one row per run with no ``column``. Undone events are in it, and
        so is their undo; see docs/history.md. Reads the log of the table once. An empty frame if
        nothing matches.

        >>> reader.history(column="loss").new.tolist()
        [0.4, 0.9]
        """
        return frame_of_lines(history_lines(self._table, track_id, column))

    def blame(self, track_id: str, column: str) -> pd.DataFrame:
        """Which events set the cells that a run shows in a column, newest first.

        Columns as in ``history``, and ``rows``: one row per event and value that it replaced,
        with the number of rows of which that is so.

        Raises:
            RunNotFound: the table shows no such run; names near matches.
            ColumnNotFound: likewise.
        """
        return frame_of_lines(blame_lines(self._table, track_id, column), BLAME)

    def undo(self, event_id: str, batch: bool = False) -> int:
        """Cancel an event by a new one, and return how many rows changed.

        Any event but those about writers and redactions, of whichever table; an undo too, which
        brings back what it cancelled. What came later stays as if the cancelled had never been.
        One row is one event: ``batch`` means all rows of its ``log_batch``. What is undone already
        stays so: 0 rows, and nothing is written.

        Raises:
            EventNotFound: no table of the store has it.
            InvalidArgument: nothing can undo it.
            RunProtected: a row of a protected run would change or go. Rows may come back.
        """
        others = [name for name in self._store.tables() if name != self._table.name]
        tables = [self._table.name, *others]
        return undo(self._store, event_id, tables, self._table.engine, batch=batch).rows_changed

    def undo_run(self, track_id: str) -> int:
        """Bring a deleted run back, and return how many rows came.

        Cancels all that deleted it in this table; if nothing did, all that rewound it.

        Raises:
            RunNotFound: no run of that name ever logged a row; names near matches.
            NothingToUndo: nothing deleted or rewound it, or that is undone already.
        """
        return undo_run(self._table, track_id).rows_changed

    def protect(self, track_id: str) -> int:
        """Refuse, from now on, what would set or hide rows of a run; return how many it has.

        Binds ``set_value``, ``set_where``, ``delete_run``, ``reset``, ``rebase``, ``rewind``, and ``undo`` where
        it would change or hide rows, of everyone who knows of it. Rows may still be logged.

        Raises:
            RunNotFound: the table has no such run; names near matches.
        """
        return self._table.protect(self._session.writer, track_id, self._session.to_disk)

    def unprotect(self, track_id: str) -> int:
        """Allow changes of a run again; return how many rows it has. Raises what ``protect`` does."""
        return self._table.unprotect(self._session.writer, track_id, self._session.to_disk)

    @classmethod
    def read_db(
        cls,
        db: str | Path,
        engine: Literal["duckdb", "sqlite"] = DEFAULT_ENGINE,  # type: ignore[assignment]
        table: str = DEFAULT_TABLE,
        track_id: str | None = None,
        head: int | None = None,
        tail: int | None = None,
    ) -> pd.DataFrame:
        """Rows of a store as a frame, in one call."""
        return cls(db, engine=engine, table=table).to_df(track_id=track_id, head=head, tail=tail)

    @classmethod
    def read_logs(cls, path: str | Path, limit: int | None = None) -> pd.DataFrame:
        """Rows in the log files of ``Tracker(logs_path=...)``, newest file first; ``limit`` keeps the newest rows.

        Raises:
            PathNotFound: naming what is near; nothing is created.
        """
        return read_logs(path, limit)

    @classmethod
    def read_jsonl(cls, path: str | Path) -> pd.DataFrame:
        """Rows of a file of ``Tracker(jsonl=...)``, in its order, with values as they were logged.

        Raises:
            PathNotFound: naming what is near; nothing is created.
        """
        return read_jsonl(path)

    @classmethod
    def read_cache(cls, cache: str | Path, key: str) -> dict[str, Any] | None:
        """The result under a key of a function cache, as ``{"result": ..., "cache": track_id}``.

        ``cache`` is the folder, ``"cache"`` in the dict the run that computed the
        result. ``None`` if there is none, or if a warning says that it is damaged.
        The result is unpickled, which runs its code: read caches that you trust.

        Raises:
            CacheNotFound: there is no cache in the folder; nothing is created.
            MissingExtra: diskcache is not installed.
        """
        return read_entry(cache, key)

    @classmethod
    def scan_cache(cls, cache: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each key of a function cache with its result, as ``read_cache`` gives it. Raises what that does."""
        return scan_entries(cache)

    @classmethod
    def delete_cache_by_track_id(cls, cache: str | Path, track_id: str) -> int:
        """Delete all results that a run computed, and return how many. Raises what ``read_cache`` does."""
        return delete_entries(cache, track_id)
