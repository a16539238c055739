"""Rows as they arrive, each exactly once, with a cursor to go on from after a restart.

What was given is remembered by event ids, so that it makes no difference whether
lines are found in the segment they were written to, in a pack of a merge or of a
compaction. Reads the log alone: no table is touched while it waits.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from xetrack.errors import InvalidArgument
from xetrack.log.cells import DIGEST_DIGITS
from xetrack.log.events import Event, Mutation, PayloadRedacted, RowLogged, WriterStarted, split_id, wall_us_of
from xetrack.log.merged import OutOfOrder
from xetrack.log.ranges import Frontier
from xetrack.log.values import decode
from xetrack.tables.times import LocalTimes

if TYPE_CHECKING:
    from xetrack.store import Table

#: Time from one look at the log to the next; longer where a look takes long.
_POLL_S = 0.1
_HEAD_BYTES = 1 << 16
#: Where a compressed pack is read to its end: it never grows.
_WHOLE = -1
#: A cursor never unpacks to more.
_MAX_CURSOR_BYTES = 16 << 20


class _Cursor(msgspec.Struct):
    """What was given: ids of events, and how far that went in each file."""

    table: str
    seen: dict[str, str]
    offsets: dict[str, int]


class Follow:
    """Iterates over rows as they are logged. Use ``Reader.follow``.

    ``cursor`` is text that takes up here again, in another process too: it stands
    behind the row that was given last. ``close`` ends the iteration, from any thread.
    """

    def __init__(
        self,
        table: Table,
        cursor: str | Literal["end"] | None = None,
        *,
        track_id: str | None = None,
        events: bool = False,
        wait: bool = True,
        last: int | None = 0,
    ) -> None:
        """``last`` rows of the table, None for all of them, are kept as they were before the first that comes."""
        self._log, self._table, self._run = table.store.log, table.name, track_id
        self._events, self._wait = events, wait
        self._ended = threading.Event()
        self._offsets: dict[str, int] = {}
        self._seen = Frontier()
        #: Seconds east of UTC by writer.
        self._zones: dict[str, int | None] = {}
        self._times = LocalTimes(self._zones)
        read, seen, self._redacted, self.last = table.reach(track_id, last)
        if cursor == "end":
            self._offsets = {name: _WHOLE if name.endswith(".zst") else end for name, end in read.items()}
            self._seen = seen
        elif cursor is not None:
            known = _decoded(cursor, self._table)
            self._offsets, self._seen = dict(known.offsets), Frontier.from_wire(known.seen)
        self._items = self._flow()

    @property
    def cursor(self) -> str:
        """Text to go on from: everything given so far is behind it."""
        # A file is read ahead of what was given of it, so offsets only count up to what was given.
        raw = msgspec.msgpack.encode(_Cursor(self._table, self._seen.to_wire(), self._offsets))
        return base64.urlsafe_b64encode(zlib.compress(raw, 9)).decode()

    def close(self) -> None:
        """End the iteration; a thread that waits in it returns soon."""
        self._ended.set()

    def __iter__(self) -> Follow:
        return self

    def __next__(self) -> dict[str, Any]:
        return next(self._items)

    def __enter__(self) -> Follow:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ready(self) -> list[dict[str, Any]]:
        """What arrived and was not given yet, without waiting. May be empty."""
        return [item for event in self._news() if (item := self._give(event)) is not None]

    # -- reading

    def _flow(self) -> Iterator[dict[str, Any]]:
        while not self._ended.is_set():
            started_s = time.monotonic()
            for event in self._news():
                item = self._give(event)
                if item is not None:
                    yield item
                    if self._ended.is_set():
                        return
            if not self._wait:
                return
            self._ended.wait(max(_POLL_S, 4 * (time.monotonic() - started_s)))

    def _give(self, event: Event) -> dict[str, Any] | None:
        """Count an event as given, and show it if it is what was asked for."""
        writer, seq = split_id(event.id)
        if self._seen.contains(writer, seq):
            return None
        self._seen.add(writer, seq)
        if self._redacted.contains(writer, seq):
            return None
        run = getattr(event, "run", None)
        if self._run is not None and run != self._run:
            return None
        if isinstance(event, RowLogged):
            return self._as_event(event, event.data) if self._events else self._row(event)
        return self._as_event(event, _payload(event)) if self._events and isinstance(event, Mutation) else None

    def _row(self, event: RowLogged) -> dict[str, Any]:
        return {"timestamp": self._time(event), "track_id": event.run, **_shown(event.data)}

    def _as_event(self, event: Event, data: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "event_id": event.id,
            "kind": event.__struct_config__.tag,
            "timestamp": self._time(event),
            "track_id": getattr(event, "run", None),
            "data": _shown(data),
        }

    def _news(self) -> Iterator[Event]:
        """Events that came since the last look, in total order, a megabyte of each file at a time."""
        while True:
            starts, ends = self._grown()
            try:
                for run in self._log.merged(self._table, starts, ends):
                    for event in run.events:
                        if isinstance(event, WriterStarted):
                            self._zones[split_id(event.id)[0]] = event.utc_offset_s
                        elif isinstance(event, PayloadRedacted):
                            self._redacted.update(Frontier.from_wire(event.events))
                    yield from run.events
                    self._offsets[run.segment] = run.end_offset
            except OutOfOrder:  # a file that is not sorted: it is read anew, ids tell what was given
                continue
            for name in starts:
                if name.endswith(".zst"):
                    self._offsets[name] = _WHOLE
            return

    def _grown(self) -> tuple[dict[str, int], dict[str, int]]:
        """Where to begin in the files that have more than was read of them, and where they end."""
        starts, ends = {}, {}
        for segment in self._log.segments(self._table):
            start = self._offsets.get(segment.name, 0)
            if segment.name.endswith(".zst"):
                if start != _WHOLE:
                    starts[segment.name] = start
            elif segment.size != start:
                # Shorter than it was: for a moment, on a network file system, or another file. Ids tell what is new.
                starts[segment.name] = start if segment.size > start else 0
                ends[segment.name] = segment.size
        return starts, ends

    def _time(self, event: Event) -> str:
        """The time of an event as its row's column shows it: where it was logged."""
        if isinstance(event, RowLogged) and event.timestamp is not None:
            return event.timestamp
        writer = split_id(event.id)[0]
        if writer not in self._zones:
            self._zones[writer] = self._zone(writer)
        return self._times.text(wall_us_of(event), writer)

    def _zone(self, writer: str) -> int | None:
        """From the header of a writer whose segment was begun before the cursor."""
        for segment in self._log.segments(self._table):
            if segment.name.startswith(f"{writer}."):
                for chunk in self._log.scan(self._table, segment.name, 0, min(segment.size, _HEAD_BYTES)):
                    for event in chunk.events:
                        if isinstance(event, WriterStarted):
                            return event.utc_offset_s
        found = self._log.find(self._table, f"{writer}-0")
        return found.utc_offset_s if isinstance(found, WriterStarted) else None


def _shown(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _cell(wire) for key, wire in data.items()}


def _cell(wire: Any) -> Any:
    if type(wire) is dict and len(wire) == 1 and isinstance(wire.get("$asset"), str):
        return wire["$asset"][:DIGEST_DIGITS]
    return decode(wire)


def _payload(event: Event) -> dict[str, Any]:
    """What a mutation says, but for its author's frontier."""
    hidden = {"id", "clock", "wall", "run", "seen", "base"}
    return {name: found for name in event.__struct_fields__ if name not in hidden and (found := getattr(event, name))}


def _decoded(cursor: str, table: str) -> _Cursor:
    with contextlib.suppress(binascii.Error, zlib.error, msgspec.MsgspecError, UnicodeError, ValueError, TypeError):
        raw = zlib.decompressobj().decompress(base64.urlsafe_b64decode(cursor), _MAX_CURSOR_BYTES)
        found = msgspec.msgpack.decode(raw, type=_Cursor)
        if found.table == table:
            return found
        raise InvalidArgument("cursor", f"it is of table {found.table!r}")
    raise InvalidArgument("cursor", "it is no cursor of `follow`")
