"""Undo: an event that cancels events, in whichever table they are.

What it will do is tried on the events in memory first, so that the number of
rows is known and a protected run is left alone. ``docs/history.md`` has the rules.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

from xetrack.errors import EventNotFound, InvalidArgument, NothingToUndo, RunNotFound, RunProtected
from xetrack.log.events import (
    Event,
    EventUndone,
    PayloadRedacted,
    PayloadStub,
    RowLogged,
    RunDeleted,
    RunRewound,
    UnknownEvent,
    WriterAlive,
    WriterEnded,
    WriterStarted,
    is_event_id,
    split_id,
)
from xetrack.log.ranges import Frontier
from xetrack.read.history import Events, events_of, kind_of
from xetrack.read.steps import Steps
from xetrack.store import Store
from xetrack.table import Table

#: Sorts behind every event that there is.
_LAST = "~-0"


class Undone(NamedTuple):
    """What an undo did: ``event_id`` is its own, None if all was undone already and nothing was written."""

    table: str
    event_id: str | None
    kinds: dict[str, str]
    rows_changed: int


def undo(store: Store, event_id: str, tables: list[str], engine: str | None = None, *, batch: bool = False) -> Undone:
    """Cancel an event, or all rows of its ``log_batch``, in the first of these tables that has it.

    Raises:
        EventNotFound: none of them has.
        InvalidArgument: it is of a kind that nothing can undo, or no row of a batch.
        RunProtected: a row of a protected run would change or go.
    """
    with store.locked():
        table = _table_of(store, event_id, tables, engine)
        events = events_of(store.log, table.name)
        event = next((event for event in events.ordered if event.id == event_id), None)
        if event is None:
            raise EventNotFound(event_id)
        _refuse_final(event, events)
        chosen = _batch_of(event, events) if batch else [event]
        return _cancel(table, events, chosen)


def undo_run(table: Table, track_id: str) -> Undone:
    """Bring a deleted run back: cancel what deleted it, or else what rewound it.

    Raises:
        RunNotFound: no run of that name ever logged a row; names near matches.
        NothingToUndo: nothing deleted or rewound it, or that is undone already.
    """
    with table.store.locked():
        table.catch_up()
        events = events_of(table.store.log, table.name)
        steps = _played(events)
        hides = [
            event
            for event in events.ordered
            if isinstance(event, RunDeleted | RunRewound) and event.run == track_id and steps.is_active(event)
        ]
        deletes: list[Event] = [event for event in hides if isinstance(event, RunDeleted)]
        if not hides:
            runs = events.runs()
            if track_id not in runs:
                raise RunNotFound(track_id, difflib.get_close_matches(track_id, runs))
            raise NothingToUndo(track_id)
        return _cancel(table, events, deletes or list(hides), steps)


def _table_of(store: Store, event_id: str, tables: list[str], engine: str | None) -> Table:
    """The table whose log has the event."""
    if is_event_id(event_id):
        origin = split_id(event_id)
        for name in tables:
            table = store.table(name, engine)
            table.catch_up()
            if table.has_read(*origin):
                return table
    raise EventNotFound(event_id)


def _refuse_final(event: Event, events: Events) -> None:
    """Refuse what no undo cancels."""
    reason = ""
    match event:
        case WriterStarted() | WriterAlive() | WriterEnded():
            reason = f"a {kind_of(event)} changes no row"
        case PayloadRedacted():
            reason = "what was redacted is gone"
        case UnknownEvent():
            reason = f"this release does not know what {kind_of(event)} does"
    if isinstance(event, PayloadStub) or events.redacted.contains(*split_id(event.id)):
        reason = "its payload was redacted"
    if reason:
        raise InvalidArgument("event_id", f"{event.id} cannot be undone: {reason}")


def _batch_of(event: Event, events: Events) -> list[Event]:
    if not isinstance(event, RowLogged) or event.batch is None:
        raise InvalidArgument("batch", f"{event.id} is no row of a log_batch")
    writer, first = split_id(event.id)[0], event.batch
    return [
        each
        for each in events.ordered
        if isinstance(each, RowLogged) and each.batch == first and split_id(each.id)[0] == writer
    ]


def _played(events: Events) -> Steps:
    steps = Steps(events.redacted)
    for event in events.ordered:
        steps.take(event)
    return steps


def _cancel(table: Table, events: Events, chosen: list[Event], steps: Steps | None = None) -> Undone:
    steps = steps or _played(events)
    chosen = [event for event in chosen if steps.is_active(event)]
    if not chosen:
        return Undone(table.name, None, {}, 0)
    ids = Frontier()
    for event in chosen:
        ids.add(*split_id(event.id))
    clock = events.ordered[-1].clock
    steps.take(EventUndone(id=_LAST, clock=clock, events=ids.to_wire()))
    protected = table.protected()
    for run in sorted(steps.effect.harmed):
        if run in protected:
            raise RunProtected(run)
    settings = table.store.settings
    writer = table.store.log.writer(table.name, settings.events)
    writer.acquire()
    try:
        event_id = table.undo(writer, ids, to_disk=settings.durability == "disk")
    finally:
        writer.release()
    return Undone(table.name, event_id, {event.id: kind_of(event) for event in chosen}, len(steps.effect.rows))
