"""The slow, obvious reference: what the tables must hold for a set of events.

Written from docs/format.md alone, without ranges, batches or increments. Takes
events as plain objects, returns column names with types and the rows in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xetrack.log.cells import cell, column_type, flag
from xetrack.log.events import Event, RowLogged, ValueSet
from xetrack.log.values import column_name

Id = tuple[str, int]


def identity(event: Event) -> Id:
    writer, _, seq = event.id.rpartition("-")
    return writer, int(seq)


def spread(wire: dict[str, str]) -> set[Id]:
    """All ids of a set of ranges."""
    ids = set()
    for writer, ranges in wire.items():
        for part in ranges.split(","):
            low, _, high = part.partition("-")
            ids |= {(writer, seq) for seq in range(int(low), int(high or low) + 1)}
    return ids


def kind(event: Event) -> str:
    return str(type(event).__struct_config__.tag)


def tables(events: Iterable[Event]) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
    """Columns as (name, type) and rows as (track_id, cells …), as a replay must make them."""
    ordered = sorted({event.id: event for event in events}.values(), key=lambda e: (e.clock, *identity(e)))
    cancelled: set[Id] = set()
    for event in reversed(ordered):
        if kind(event) == "event.undone" and identity(event) not in cancelled:
            cancelled |= spread(event.events)  # type: ignore[attr-defined]
    redacted: set[Id] = set()
    voided: set[Id] = set()
    for event in ordered:
        if kind(event) == "payload.redacted":
            redacted |= spread(event.events)  # type: ignore[attr-defined]
        if kind(event) == "table.reset" and identity(event) not in cancelled:
            voided |= spread(event.seen)  # type: ignore[attr-defined]
    live = [e for e in ordered if identity(e) not in cancelled | redacted]
    counted = [e for e in live if not (isinstance(e, RowLogged | ValueSet) and identity(e) in voided)]

    masks: dict[str, int] = {}
    for event in counted:
        if isinstance(event, RowLogged):
            for key, wire in event.data.items():
                masks[key] = masks.get(key, 0) | flag(wire)
        elif isinstance(event, ValueSet):
            masks[event.key] = masks.get(event.key, 0) | flag(event.value)

    names: dict[str, str] = {}
    taken = {"timestamp", "track_id", "_rowid_", "_xetrack_more"}
    for key in masks:
        name, number = column_name(key), 1
        while name.casefold() in taken:
            number += 1
            name = f"{column_name(key)}_{number}"
        taken.add(name.casefold())
        names[key] = name
    types = {key: column_type(mask) for key, mask in masks.items()}

    rows: dict[Id, tuple[str, dict[str, Any]]] = {}
    hidden: set[Id] = set()
    for event in counted:
        if isinstance(event, RowLogged):
            rows[identity(event)] = (event.run, dict(event.data))
            continue
        seen = spread(getattr(event, "seen", {}) or {})
        for row, (run, data) in rows.items():
            if row not in seen:
                continue
            if isinstance(event, ValueSet):
                if row in spread(event.rows) if event.rows is not None else event.run in (None, run):
                    data[event.key] = event.value
            elif kind(event) == "run.deleted" and event.run == run:  # type: ignore[attr-defined]
                hidden.add(row)
            elif kind(event) in ("run.rewound", "rows.replaced") and row in spread(event.rows):  # type: ignore[attr-defined]
                hidden.add(row)
    shown = []
    for row, (run, data) in rows.items():
        if row not in hidden:
            cells = [None if data.get(key) is None else cell(data[key], types[key]) for key in names]
            shown.append((run, *cells))
    return [(names[key], types[key]) for key in names], shown
