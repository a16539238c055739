"""Every kind of event: one frozen struct each, which is also its wire format.

A struct's tag is the ``kind`` on disk and its fields are the payload, in the
order of docs/format.md. Fields and kinds may be added, never renamed. Fields
that name events (``rows``, ``events``, ``settles``, ``seen``) map writers to
ranges of seqs; ``ranges.py`` reads them. Nothing here does I/O.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from xetrack.log.clock import MAX_CLOCK_US

Reading = Annotated[int, msgspec.Meta(ge=0, le=MAX_CLOCK_US)]
#: A wall clock before 1970 is a clock set back.
WallTime = Annotated[int, msgspec.Meta(ge=-(2**53) + 1, le=2**53 - 1)]
#: No zone is a week away.
UtcOffset = Annotated[int, msgspec.Meta(ge=-604_800, le=604_800)]
Ids = dict[str, str]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="kind"):
    """An immutable fact: ``id`` is writer-seq, ``clock`` orders, ``wall`` is for display."""

    id: str
    clock: Reading
    wall: WallTime | None = None


class WriterStarted(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="writer.started"):
    """The header, first line of a segment: where its events come from."""

    format: str
    host: str | None = None
    pid: int | None = None
    user: str | None = None
    utc_offset_s: UtcOffset | None = None
    python: str | None = None
    xetrack: str | None = None
    script: str | None = None
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    rank: int | None = None


class WriterAlive(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="writer.alive"):
    """A heartbeat."""


class WriterEnded(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="writer.ended"):
    """The last line of a segment that was closed: ``finished``, ``failed`` or ``stopped``.

    With ``run`` it is that run's end alone: the segment goes on with others.
    """

    state: str
    error: str | None = None
    signal: int | None = None
    run: str | None = None


class RowLogged(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="row.logged"):
    """One row. ``batch`` is the seq of the first event of its ``log_batch``."""

    run: str
    data: dict[str, Any]
    batch: int | None = None
    timestamp: str | None = None
    source: str | None = None


class ValueSet(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="value.set"):
    """One column of some rows: ``rows``, else the run's rows in the frontier, else all in it."""

    run: str | None = None
    rows: Ids | None = None
    key: str
    value: Any
    settles: Ids = {}
    seen: Ids = {}
    base: str | None = None


class RunDeleted(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="run.deleted"):
    """Hides the run's rows in the frontier."""

    run: str
    seen: Ids = {}
    base: str | None = None


class RunRewound(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="run.rewound"):
    """Hides ``rows``; ``condition`` says how they were chosen."""

    run: str
    condition: Any = None
    rows: Ids = {}
    seen: Ids = {}
    base: str | None = None


class RunProtected(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="run.protected"):
    """From here on the write side refuses to change the run."""

    run: str
    seen: Ids = {}
    base: str | None = None


class RunUnprotected(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="run.unprotected"):
    """Lifts a protection."""

    run: str
    seen: Ids = {}
    base: str | None = None


class TableReset(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="table.reset"):
    """Voids the rows and sets in the frontier, with the columns that came only from them."""

    seen: Ids = {}
    base: str | None = None


class RowsReplaced(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="rows.replaced"):
    """Hides ``rows``, which rows of ``source`` with the same ``keys`` replace."""

    rows: Ids = {}
    keys: list[str] = []
    source: str | None = None
    seen: Ids = {}
    base: str | None = None


class AssetAdded(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="asset.added"):
    """An object is in the store, under the SHA-256 of its uncompressed bytes. ``name`` is a file's."""

    digest: str
    key: str | None = None
    size: int | None = None
    codec: str | None = None
    name: str | None = None


class AssetRemoved(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="asset.removed"):
    """The object is no longer listed; with ``keeps_keys`` its keys go on naming it."""

    digest: str
    keeps_keys: bool | None = None
    seen: Ids = {}
    base: str | None = None


class EventUndone(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="event.undone"):
    """Cancels ``events``, unless it is cancelled itself."""

    events: Ids = {}
    seen: Ids = {}
    base: str | None = None


class PayloadRedacted(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="payload.redacted"):
    """Drops the payloads of ``events`` wherever they still stand."""

    events: Ids = {}
    reason: str | None = None
    seen: Ids = {}
    base: str | None = None


class PayloadStub(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="payload.stub"):
    """Stands for an event after its redaction, under the same id. Of a mutation it keeps what its author had seen."""

    was: str
    seen: Ids = {}
    base: str | None = None


class UnknownEvent(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="?"):
    """A kind of a newer minor format: kept, copied and counted, not applied.

    ``raw`` is its line as JSON, with CRC and without the line end.
    """

    kind_name: str
    raw: bytes


#: What may stand in a segment, as the decoders know it.
Known = (
    WriterStarted
    | WriterAlive
    | WriterEnded
    | RowLogged
    | ValueSet
    | RunDeleted
    | RunRewound
    | RunProtected
    | RunUnprotected
    | TableReset
    | RowsReplaced
    | AssetAdded
    | AssetRemoved
    | EventUndone
    | PayloadRedacted
    | PayloadStub
)

#: Events about earlier events, each with the frontier of its author.
Mutation = (
    ValueSet
    | RunDeleted
    | RunRewound
    | RunProtected
    | RunUnprotected
    | TableReset
    | RowsReplaced
    | AssetRemoved
    | EventUndone
    | PayloadRedacted
)


def split_id(event_id: str) -> tuple[str, int]:
    """Writer and seq of an event id."""
    writer, _, seq = event_id.rpartition("-")
    return writer, int(seq)


def event_key(event: Event) -> tuple[int, str, int]:
    """Place of an event in the total order (law 5)."""
    writer, _, seq = event.id.rpartition("-")
    return event.clock, writer, int(seq)


def wall_us_of(event: Event) -> int:
    """When an event was, for display: what it was told, else its clock."""
    return event.clock if event.wall is None else event.wall


#: A writer and a count; counts have up to 15 digits, so that every engine holds them.
_EVENT_ID = r"[^\n]+-[0-9]{1,15}"
_is_id = re.compile(_EVENT_ID).fullmatch
_are_ids = re.compile(rf"(?:{_EVENT_ID}\n)*").fullmatch


def is_event_id(event_id: str) -> bool:
    """Whether ``split_id`` can read it."""
    return _is_id(event_id) is not None


def are_event_ids(event_ids: list[str]) -> bool:
    """Whether ``split_id`` can read all of them."""
    return _are_ids("\n".join([*event_ids, ""])) is not None
