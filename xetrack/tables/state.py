"""What the tables know about their log beyond the rows: the projector's memory.

Saved in the tables' own database, in the transaction of the rows (law 4). All of
it is derived, so a rebuild starts from an empty one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from xetrack.log.events import Event, EventUndone, PayloadRedacted, TableReset, event_key
from xetrack.log.ranges import Frontier
from xetrack.tables.layout import Column, KeyFacts, Position
from xetrack.tables.runs import Parts, WriterFacts

#: Number of the layout of the bookkeeping; tables of another are rebuilt.
LAYOUT = 4


class Settlement(msgspec.Struct, eq=True):
    """Which events do not count: cancelled by an undo, voided by a reset, redacted.

    Event ids as ranges by writer. A replay that meets other undos, resets or
    redactions than its settlement holds starts again with the right one.
    """

    cancelled: dict[str, str] = {}
    voided: dict[str, str] = {}
    redacted: dict[str, str] = {}


class TableState(msgspec.Struct):
    """Everything about one user table that its rows do not say."""

    layout: int = LAYOUT
    facts: dict[str, KeyFacts] = {}
    #: Columns as they stand in the database, in its order.
    columns: list[Column] = []
    settlement: Settlement = msgspec.field(default_factory=Settlement)
    #: Undo, reset and redaction events met, each with its place and ids: what the settlement follows from.
    verdicts: list[tuple[Position, str, dict[str, str], str]] = []
    #: Ids in the frontier of an applied mutation that had not arrived when it was applied.
    awaited: dict[str, str] = {}
    #: Latest mutation applied, and latest set of each key: what arrives before them is late.
    last_mutation: Position = (-1, "", 0)
    last_set: dict[str, Position] = {}
    protected: dict[str, tuple[Position, bool]] = {}
    last_row: int = -1
    last_clock: int = -1
    #: Rows of one microsecond ran over into the next: late rows need a rebuild.
    crowded: bool = False
    #: Some row was hidden, so its number may not be given out again.
    hides: bool = False
    #: Seconds east of UTC by writer, from the segment headers.
    offsets: dict[str, int] = {}
    unknown_kinds: dict[str, int] = {}
    #: Which writers logged rows of each run, hidden ones too, and what is known of every writer.
    runs: Parts = {}
    writers: dict[str, WriterFacts] = {}


def verdict(event: Event) -> tuple[Position, str, dict[str, str], str] | None:
    """What an event says about which others count, or None."""
    match event:
        case EventUndone():
            return (event_key(event), "undone", event.events, event.id)
        case TableReset():
            return (event_key(event), "reset", event.seen, event.id)
        case PayloadRedacted():
            return (event_key(event), "redacted", event.events, event.id)
    return None


def settle(verdicts: Iterable[tuple[Position, str, dict[str, str], str]]) -> Settlement:
    """Decide which events count (docs/format.md, reader duty 4).

    From the latest undo to the first: one that a later active undo names does
    nothing. A redaction cannot be undone, since the payload is gone.
    """
    cancelled, voided, redacted = Frontier(), Frontier(), Frontier()
    ordered = sorted(verdicts, reverse=True)
    for (_, writer, seq), kind, ids, _ in ordered:
        if kind == "undone" and not cancelled.contains(writer, seq):
            cancelled.update(Frontier.from_wire(ids))
    for (_, writer, seq), kind, ids, _ in ordered:
        if kind == "reset" and not cancelled.contains(writer, seq):
            voided.update(Frontier.from_wire(ids))
        elif kind == "redacted":
            redacted.update(Frontier.from_wire(ids))
    return Settlement(cancelled.to_wire(), voided.to_wire(), redacted.to_wire())
