"""A table as it was at a position of its log, with every value as it was logged.

A replay into tables of its own, thrown away afterwards: neither the store's
tables nor its log are touched. At one position it gives the same rows in the same
order always, whatever was logged, set, deleted or merged since; only what was
redacted is gone. The disk it needs, about as much as the log, is in the system's
temporary folder.
"""

from __future__ import annotations

import difflib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from xetrack.errors import ColumnNotFound, InvalidArgument, ReadOnlyTables, RunNotFound, StorageFailed
from xetrack.log.events import Event, PayloadRedacted, RowLogged, WriterStarted, split_id, wall_us_of
from xetrack.log.log import Log
from xetrack.log.merged import Run
from xetrack.log.ranges import Frontier
from xetrack.tables.layout import FIXED, OVERFLOW, Column, quote
from xetrack.tables.projector import Projector
from xetrack.tables.sqlite import SqliteTables
from xetrack.tables.sqlite_door import TablesConnection, open_for_users
from xetrack.tables.sqlite_limit import all_beside

_FIXED_COLUMNS = (Column("timestamp", "timestamp", "datetime"), Column("track_id", "track_id", "text"))
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class LoggedRow(NamedTuple):
    """A row: its event, and its wire values by raw key. ``timestamp``, in ISO 8601, and ``track_id`` are among them."""

    event_id: str
    values: dict[str, Any]


class Replay:
    """A table at ``position``, or with all that is logged now. A context manager.

    ``missing`` are ids of the position that the log does not have any more,
    ``redacted`` those whose payload was dropped after it.
    """

    def __init__(self, log: Log, table: str, folder: Path, position: Frontier | None = None) -> None:
        self._log, self._table, self._folder = log, table, folder
        #: The columns of the tables that conditions are asked of.
        self._typed: list[Column] = []
        log.look(table)
        view = _Prefix(log, position, dated=True)
        # With no column of its own, every key lives in the overflow, which holds values as they were logged.
        with _disk_of(folder):
            self._values = SqliteTables(folder / "values.db", limit=0)
        try:
            with _disk_of(folder), _without_overflow_warning():
                projector = Projector(cast(Log, view), self._values)
                projector.replay(table)
            seen = projector.frontier(table)
            self.position = seen.copy() if position is None else position
            self.missing = self.position.minus(seen)
            self.redacted = view.redacted.intersection(self.position)
            self.damaged = projector.damaged(table)
            #: In the table's order, the two that every table has first.
            self.columns = [*_FIXED_COLUMNS, *projector.state(table).columns]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._values.close()

    def require_run(self, track_id: str) -> None:
        """Refuse a run that has no row.

        Raises:
            RunNotFound: names near matches.
        """
        runs = []
        if self._values.has(self._table):
            runs = [run for (run,) in self._values.conn.run(f"SELECT DISTINCT track_id FROM {quote(self._table)}")]
        if track_id not in runs:
            raise RunNotFound(track_id, difflib.get_close_matches(track_id, runs))

    def column(self, name: str) -> Column:
        """The column that a raw key or a column's name means.

        Raises:
            ColumnNotFound: names near matches.
        """
        for column in self.columns:
            if column.key == name:
                return column
        for column in self.columns:
            if column.name == name:
                return column
        raise self._no_column(name)

    def _no_column(self, name: str) -> ColumnNotFound:
        known = dict.fromkeys(text for column in self.columns for text in (column.name, column.key))
        return ColumnNotFound(name, difflib.get_close_matches(name, known))

    @property
    def path(self) -> Path:
        """The file that holds the rows, for SQL over more than one replay; see ``selection``."""
        return self._folder / "values.db"

    def selection(self, schema: str) -> str:
        """What selects place, event id, run and wire values as JSON of all rows, ``path`` attached as ``schema``."""
        if not self._values.has(self._table):
            return "SELECT 0 AS place, '' AS id, '' AS run, NULL AS more WHERE 0"
        more = OVERFLOW if len(self.columns) > len(FIXED) else "NULL"
        event_id = "substr(timestamp, 1, instr(timestamp, ' ') - 1)"
        return (
            f"SELECT _rowid_ AS place, {event_id} AS id, track_id AS run, {more} AS more "
            f"FROM {schema}.{quote(self._table)}"
        )

    def rows(self, track_id: str | None = None, where: str | None = None) -> Iterator[LoggedRow]:
        """Rows in the order of the log: of one run, and those where an SQL condition over the table holds.

        Raises:
            InvalidArgument: the condition is none; says what SQLite says.
            ColumnNotFound: the condition names a column that is not there.
        """
        with _disk_of(self._folder):
            yield from self._rows(track_id, where)

    def _rows(self, track_id: str | None, where: str | None) -> Iterator[LoggedRow]:
        if not self._values.has(self._table):
            return
        more = OVERFLOW if len(self.columns) > len(FIXED) else "NULL"
        sql, run = f"SELECT _rowid_, timestamp, track_id, {more} FROM {quote(self._table)}", []
        if track_id is not None:
            sql, run = f"{sql} WHERE track_id=?", [track_id]
        rows = self._values.conn.run(f"{sql} ORDER BY _rowid_", run)
        if where is None:
            yield from (_logged(*row) for row in rows)
            return
        chosen = self._matching(where)
        wanted = next(chosen, None)
        for row in rows:
            # Row numbers are the same in both replays, since both have the same events.
            while wanted is not None and wanted < row[0]:
                wanted = next(chosen, None)
            if wanted is None:
                break
            if wanted == row[0]:
                yield _logged(*row)
        # The condition is asked about every row, so that it fails alike whatever else was asked for.
        for _ in chosen:
            pass

    def _matching(self, where: str) -> Iterator[int]:
        """Row numbers that a condition holds for, ascending; it sees the typed columns as `xt sql` does."""
        path = self._folder / "table.db"
        if not path.exists():
            with _disk_of(self._folder):
                tables = SqliteTables(path)
                try:
                    projector = Projector(cast(Log, _Prefix(self._log, self.position)), tables)
                    projector.replay(self._table)
                    self._typed = projector.state(self._table).columns
                finally:
                    tables.close()
        conn = open_for_users(path, _nothing)
        try:
            with self._asked(conn, where) as source:
                sql = f"SELECT _rowid_ FROM {source} WHERE"
                # What is an expression is one in any number of parentheses; what closes ours is not.
                conn.execute(f"{sql} ((\n{where}\n)) LIMIT 0").fetchall()
                yield from (row for (row,) in conn.execute(f"{sql} (\n{where}\n) ORDER BY _rowid_"))
        except ReadOnlyTables as error:
            raise InvalidArgument("where", "it may do no more than ask about rows") from error
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            missing, _, name = str(error).partition(": ")
            if missing == "no such column":
                raise self._no_column(name) from error
            raise InvalidArgument("where", str(error)) from error
        finally:
            conn.close()

    @contextmanager
    def _asked(self, conn: TablesConnection, where: str) -> Iterator[str]:
        """What a condition is asked of: the table, with the keys past the column limit as columns if it names one."""
        condition = where.casefold()
        named = [column for column in self._typed if column.name.casefold() in condition]
        if all(column.stored for column in named):
            yield quote(self._table)
            return
        with all_beside(conn, self._table, named) as source:
            yield source


def _logged(row: int, stamp: str, track_id: str, more: str | None) -> LoggedRow:
    event_id, _, timestamp = stamp.partition(" ")
    values: dict[str, Any] = msgspec.json.decode(more) if more else {}
    values["timestamp"], values["track_id"] = timestamp, track_id
    return LoggedRow(event_id, values)


def _nothing() -> None:
    """These tables do not follow the log."""


class _Prefix:
    """A log up to a position, as far as a projector reads it. Redactions count whenever they were made.

    ``dated``: what tables show as a row's timestamp is its event id, a space and
    its time with offset, so that a replay keeps both.
    """

    def __init__(self, log: Log, position: Frontier | None, *, dated: bool = False) -> None:
        self._log, self._position, self._dated = log, position, dated
        self._offsets: dict[str, int | None] = {}
        self.redacted = Frontier()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def merged(
        self, table: str, starts: dict[str, int], ends: dict[str, int] | None = None, *, columns: bool = False
    ) -> Iterator[Run]:
        for run in self._log.merged(table, starts, ends):
            yield run._replace(events=self._shown(run.events))

    def _shown(self, events: Sequence[Event]) -> list[Event]:
        if self._position is not None:
            events = [event for event in events if self._counts(event)]
        return [self._with_date(event) for event in events] if self._dated else list(events)

    def _counts(self, event: Event) -> bool:
        assert self._position is not None
        if self._position.contains(*split_id(event.id)):
            return True
        if isinstance(event, PayloadRedacted):
            self.redacted.update(Frontier.from_wire(event.events))
            return True
        return False

    def _with_date(self, event: Event) -> Event:
        if isinstance(event, RowLogged):
            return msgspec.structs.replace(event, timestamp=f"{event.id} {self._date(event)}")
        if isinstance(event, WriterStarted):
            self._offsets[split_id(event.id)[0]] = event.utc_offset_s
        return event

    def _date(self, event: RowLogged) -> str:
        if event.timestamp is not None:  # imported: its offset is known to nobody
            return event.timestamp.replace(" ", "T", 1)
        clock_us = wall_us_of(event)
        offset_s = self._offsets.get(split_id(event.id)[0]) or 0
        zone = timezone(timedelta(seconds=offset_s)) if offset_s else timezone.utc
        return (_EPOCH + clock_us * _MICROSECOND).astimezone(zone).isoformat(timespec="microseconds")


@contextmanager
def _disk_of(folder: Path) -> Iterator[None]:
    """Say where it was that SQLite could not write."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageFailed(folder, str(error)) from error


@contextmanager
def _without_overflow_warning() -> Iterator[None]:
    """Keep the projector from telling that keys live in the overflow: here all of them do."""

    def tells_more(record: logging.LogRecord) -> bool:
        return not (isinstance(record.args, tuple) and record.args[1:] == (0, OVERFLOW))

    logger = logging.getLogger("xetrack")
    logger.addFilter(tells_more)
    try:
        yield
    finally:
        logger.removeFilter(tells_more)
