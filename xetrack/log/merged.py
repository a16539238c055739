"""Events of many segments in one total order, with little in memory (law 5).

Each segment is read in chunks and opened when its first reading is due, so that
memory follows the number of segments written at the same time, not their sum.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from xetrack.log.codec import Damage
from xetrack.log.events import Event, event_key

if TYPE_CHECKING:
    from xetrack.log.log import Chunk, Log

#: With so few segments it costs more to ask for their first readings than to open them all.
_FEW = 8
_clock = attrgetter("clock")

Key = tuple[int, str, int]


class OutOfOrder(Exception):  # a signal between two rooms, never a user's error
    """A long segment whose events are not in order, found when some were already given out.

    The log remembers it, so reading again from the start goes through.
    """


class Run(NamedTuple):
    """Events in total order. One segment is read up to ``end_offset`` by them.

    ``damaged`` counts its damaged lines on the way. The last run of a segment
    has its final offset.
    """

    segment: str
    events: list[Event]
    end_offset: int
    damaged: int


class Merged:
    """Iterates over runs; ``damaged`` lists what could not be read so far, with its segment."""

    def __init__(self, log: Log, table: str, starts: dict[str, int], ends: dict[str, int]) -> None:
        self._log = log
        self._table = table
        self._starts = starts
        self._ends = ends
        self.damaged: list[tuple[str, Damage]] = []

    def __iter__(self) -> Iterator[Run]:
        """In total order, duplicates included.

        Raises:
            OutOfOrder: see there; what came before it must be thrown away.
        """
        waiting = self._in_order_of_start()
        open_sources: list[_Source] = []
        while waiting or open_sources:
            if not open_sources:
                yield from self._open(waiting.pop()[1], open_sources)
                continue
            bound = min(source.last for source in open_sources)
            if waiting and waiting[-1][0] <= bound[0]:
                yield from self._open(waiting.pop()[1], open_sources)
                continue
            yield from self._round(open_sources, bound)

    def _in_order_of_start(self) -> list[tuple[int, str]]:
        """Segments to read, the first one last; those without events count as due at once."""
        if len(self._starts) <= _FEW:
            return [(-1, name) for name in sorted(self._starts, reverse=True)]
        firsts = []
        for name, offset in self._starts.items():
            clock = self._log.first_clock(self._table, name, offset)
            firsts.append((-1 if clock is None else clock, name))
        return sorted(firsts, reverse=True)

    def _open(self, name: str, open_sources: list[_Source]) -> Iterator[Run]:
        source = _Source(self._log, self._table, name, self._starts[name], self._ends.get(name))
        yield from self._advance(source)
        if source.events:
            open_sources.append(source)

    def _advance(self, source: _Source) -> Iterator[Run]:
        """Go to the next chunk that has events; tell of those on the way that have none."""
        while source.read():
            self.damaged += [(source.name, damage) for damage in source.damaged]
            if source.events:
                return
            yield Run(source.name, [], source.end, len(source.damaged))

    def _round(self, open_sources: list[_Source], bound: Key) -> Iterator[Run]:
        """Give out all events up to the end of the first chunk to end."""
        parts = [part for source in open_sources if (part := source.take(bound))]
        # A writer's events may be spread over several packs: only the whole key puts them in order.
        events = parts[0] if len(parts) == 1 else sorted([e for part in parts for e in part], key=event_key)
        done = [source for source in open_sources if not source.left()]
        open_sources[:] = [source for source in open_sources if source.left()]
        for source in done:
            yield Run(source.name, events, source.end, len(source.damaged))
            events = []
        for source in done:
            yield from self._advance(source)
            if source.events:
                open_sources.append(source)


class _Source:
    """One segment on its way: the events of its current chunk, in order."""

    def __init__(self, log: Log, table: str, name: str, offset: int, end: int | None) -> None:
        self.name = name
        self._log = log
        self._table = table
        self._chunks: Iterator[Chunk] = log.scan(table, name, offset, end)
        if (table, name) in log.unsorted:
            self._chunks = _as_one(self._chunks, offset)
        self.events: list[Event] = []
        self.damaged: list[Damage] = []
        self.end = offset
        self.last: Key = (-1, "", -1)
        self._place = 0

    def read(self) -> bool:
        """Read the next chunk; False at the end."""
        self.events, self.damaged, self._place = [], [], 0
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self.end, self.damaged = chunk.end, chunk.damaged
        self.events = in_order(chunk.events)
        if self.events:
            if event_key(self.events[0]) < self.last:
                self._log.unsorted.add((self._table, self.name))
                raise OutOfOrder(self._log.where(self._table, self.name))
            self.last = event_key(self.events[-1])
        return True

    def take(self, bound: Key) -> list[Event]:
        """The events up to a place in the order, out of those not taken so far."""
        events, start = self.events, self._place
        if self.last <= bound:
            self._place = len(events)
            return events[start:] if start else events
        if events[start].clock > bound[0]:
            return []
        self._place = bisect_right(events, bound, start, key=event_key)
        return events[start : self._place]

    def left(self) -> bool:
        return self._place < len(self.events)


def in_order(events: list[Event]) -> list[Event]:
    """The events of one segment in total order; the list itself if they are."""
    clocks = list(map(_clock, events))
    if sorted(clocks) == clocks:
        if len(set(clocks)) == len(clocks):
            return events
        # Events that share a reading are in order if one writer wrote them one after the other.
        writer = events[0].id.rpartition("-")[0] + "-"
        if "".join([event.id for event in events]).count(writer) == len(events):
            return events
    return sorted(events, key=event_key)


def _as_one(chunks: Iterator[Chunk], offset: int) -> Iterator[Chunk]:
    """All chunks as a single one, for a segment that is not in order."""
    from xetrack.log.log import Chunk

    read = list(chunks)
    if read:
        events = [event for chunk in read for event in chunk.events]
        damaged = [damage for chunk in read for damage in chunk.damaged]
        yield Chunk(events, offset, read[-1].end, damaged, sum(chunk.line_count for chunk in read))
