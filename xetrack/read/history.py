"""Questions about events: what changed a cell, when, from where, and what it replaced.

Everything follows from the events of one table in their total order (``steps.py``)
and from the headers of the segments that they were written to. Names of columns
are those that the table has; ``docs/history.md`` explains what comes out.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from xetrack.errors import ColumnNotFound, InvalidArgument, RunNotFound
from xetrack.log.events import (
    Event,
    PayloadRedacted,
    PayloadStub,
    RowLogged,
    UnknownEvent,
    WriterAlive,
    WriterEnded,
    WriterStarted,
    split_id,
    wall_us_of,
)
from xetrack.log.log import Log
from xetrack.log.merged import OutOfOrder
from xetrack.log.ranges import Frontier
from xetrack.log.values import RESERVED, column_name, decode
from xetrack.read.steps import Entry, Steps, logged
from xetrack.table import Table

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a history, in order.
COLUMNS = (
    "event_id",
    "time",
    "kind",
    "table",
    "track_id",
    "column",
    "old",
    "new",
    "user",
    "host",
    "pid",
    "script",
    "commit",
)
#: Columns of a blame: those, and how many rows show the value.
BLAME = (*COLUMNS, "rows")

#: What changes nothing that was there before.
_ROWS_ALONE = (RowLogged, WriterStarted, WriterAlive, WriterEnded)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Line(NamedTuple):
    """One line of a history, its values as they were logged."""

    event_id: str
    time: datetime
    kind: str
    table: str
    track_id: str | None
    column: str | None
    old: Any
    new: Any
    user: str | None
    host: str | None
    pid: int | None
    script: str | None
    commit: str | None


class Events(NamedTuple):
    """The events of a table in their total order, each once, with what the headers say of their writers."""

    ordered: list[Event]
    headers: dict[str, WriterStarted]
    redacted: Frontier

    def runs(self) -> list[str]:
        """Every run that ever logged a row, in order of appearance."""
        return list(dict.fromkeys(event.run for event in self.ordered if isinstance(event, RowLogged)))


def events_of(log: Log, table: str) -> Events:
    """Read all events of a table as they are now."""
    log.look(table)
    while True:
        segments = log.segments(table)
        starts = {segment.name: 0 for segment in segments}
        ends = {segment.name: segment.size for segment in segments if not segment.name.endswith(".zst")}
        ordered: list[Event] = []
        try:
            for part in log.merged(table, starts, ends):
                ordered += part.events
        except OutOfOrder:
            continue
        break
    last, once = "", []
    headers: dict[str, WriterStarted] = {}
    redacted = Frontier()
    for event in ordered:
        if event.id == last:  # copies of a line stand side by side
            continue
        last = event.id
        once.append(event)
        if isinstance(event, WriterStarted):
            headers[split_id(event.id)[0]] = event
        elif isinstance(event, PayloadRedacted):
            redacted.update(Frontier.from_wire(event.events))
    return Events(once, headers, redacted)


def runs_logged(table: Table) -> list[str]:
    """Every run that ever logged a row to a table, deleted or not, in order of appearance."""
    return events_of(table.store.log, table.name).runs()


def history_lines(
    table: Table, track_id: str | None = None, column: str | None = None, limit: int | None = None
) -> list[Line]:
    """Lines of a table's history, newest first, the ``limit`` newest only if asked."""
    names = table.names()
    events = events_of(table.store.log, table.name)
    return _lines(events, table.name, names, track_id, column, limit)


def _lines(
    events: Events, table: str, names: Mapping[str, str], track_id: str | None, column: str | None, limit: int | None
) -> list[Line]:
    wants = _chooser(column, names)
    lines = _Lines(events.headers, table, names)
    made: list[Line] = []
    for entries in _newest_first(events, track_id, wants):
        made += [
            lines.make(entry) for entry in entries if column is None or (entry.key is not None and wants(entry.key))
        ]
        if limit is not None and len(made) >= limit:
            return made[:limit]
    return made


def _newest_first(events: Events, track_id: str | None, wants: Callable[[str], bool]) -> Iterable[list[Entry]]:
    """What each event changed, the last event first."""
    if all(isinstance(event, _ROWS_ALONE) for event in events.ordered):  # nothing has touched them: no need of steps
        rows = (event for event in reversed(events.ordered) if isinstance(event, RowLogged))
        return (logged(event, wants) for event in rows if track_id is None or event.run == track_id)
    steps = Steps(events.redacted, run=track_id, wants=wants)
    found = [steps.take(event) for event in events.ordered]
    return found[::-1]


def blame_lines(table: Table, track_id: str, column: str) -> list[tuple[Any, ...]]:
    """Who set the cells that a run shows in a column: a line for each event and value that it replaced, newest first.

    Raises:
        RunNotFound: the table shows no row of it; names near matches.
        ColumnNotFound: likewise.
    """
    if column in RESERVED:
        raise InvalidArgument("column", f"{column!r} is filled in when a row is logged")
    names = table.names()
    runs = table.runs()
    if track_id not in runs:
        raise RunNotFound(track_id, difflib.get_close_matches(track_id, runs))
    key = _key_of(column, names)
    if key is None:
        raise ColumnNotFound(column, difflib.get_close_matches(column, dict.fromkeys([*names, *names.values()])))
    events = events_of(table.store.log, table.name)
    steps = Steps(events.redacted, run=track_id, wants=lambda other: other == key)
    for event in events.ordered:
        steps.take(event)
    lines = _Lines(events.headers, table.name, names)
    found: dict[tuple[str, str], tuple[Line, int]] = {}
    for row in steps.runs.get(track_id, ()):
        standing = [event for event in row.sets.get(key, ()) if event.id not in steps.off]
        first = row.event.data.get(key)
        if not row.visible or not (standing or key in row.event.data):
            continue
        values = [first, *(event.value for event in standing)]
        by: Event = standing[-1] if standing else row.event
        old = values[-2] if standing else None
        line = lines.make(Entry(by, track_id, key, old, values[-1]))
        at = (line.event_id, repr(old))
        found[at] = (line, found[at][1] + 1 if at in found else 1)
    place = {event.id: number for number, event in enumerate(events.ordered)}
    ordered = sorted(found.values(), key=lambda pair: place[pair[0].event_id], reverse=True)
    return [(*line, count) for line, count in ordered]


def frame_of_lines(lines: Iterable[Iterable[Any]], columns: tuple[str, ...] = COLUMNS) -> pd.DataFrame:
    """Lines as a frame: ``time`` in UTC, ``pid`` an integer with gaps, all else as it is."""
    import pandas as pd

    cells = list(zip(*lines, strict=True)) or [()] * len(columns)
    series = {}
    for name, values in zip(columns, cells, strict=True):
        if name == "time":
            series[name] = pd.Series(pd.DatetimeIndex(list(values), dtype="datetime64[us, UTC]"))
        elif name in ("pid", "rows"):
            series[name] = pd.Series(pd.array(list(values), dtype="Int64"))
        else:
            series[name] = pd.Series(_objects(values), dtype=object)
    made: pd.DataFrame = pd.DataFrame(series, columns=list(columns))
    return made


def _objects(values: tuple[Any, ...]) -> Any:
    """An array that takes every value as it is, lists too."""
    import numpy as np

    made = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        made[index] = value
    return made


class _Lines:
    """Turns entries into lines."""

    def __init__(self, headers: Mapping[str, WriterStarted], table: str, names: Mapping[str, str]) -> None:
        self._headers, self._table, self._names = headers, table, names
        self._origins: dict[str, tuple[Any, ...]] = {}
        #: The event told last, and its time: most have several cells.
        self._event_id, self._time = "", _EPOCH

    def make(self, entry: Entry) -> Line:
        event = entry.event
        if event.id != self._event_id:
            clock_us = wall_us_of(event)
            self._event_id, self._time = event.id, _EPOCH + timedelta(microseconds=clock_us)
        time = self._time
        column = None if entry.key is None else self._names.get(entry.key) or column_name(entry.key)
        old, new = decode(entry.old), decode(entry.new)
        return Line(event.id, time, kind_of(event), self._table, entry.run, column, old, new, *self._origin(event))

    def _origin(self, event: Event) -> tuple[Any, ...]:
        writer = split_id(event.id)[0]
        found = self._origins.get(writer)
        if found is None:
            header = self._headers.get(writer)
            facts = ("user", "host", "pid", "script", "commit")
            found = self._origins[writer] = tuple(getattr(header, fact, None) for fact in facts)
        return found


def kind_of(event: Event) -> str:
    """The kind of an event as the format names it; of a redacted one, what it was."""
    match event:
        case PayloadStub():
            return event.was
        case UnknownEvent():
            return event.kind_name
    return str(event.__struct_config__.tag)


def _key_of(column: str, names: Mapping[str, str]) -> str | None:
    """The raw key that a key or a column's name means."""
    if column in names:
        return column
    return next((key for key, name in names.items() if name == column), None)


def _chooser(column: str | None, names: Mapping[str, str]) -> Callable[[str], bool]:
    """Whether a raw key is asked for; one that no column of the table is named after may be, too."""
    if column is None:
        return lambda key: True
    chosen = _key_of(column, names)
    if chosen is not None:
        return lambda key: key == chosen
    return lambda key: key == column or (key not in names and column_name(key) == column)
