"""Events of many segments in one total order, with little in memory (law 5).

Each segment is read in chunks and opened when its first reading is due, so that
memory follows the number of segments written at the same time, not their sum.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from xetrack.log.codec import Damage
from xetrack.log.events import Event, event_key

if TYPE_CHECKING:
    from xetrack.log.columns import Columns, Parser
    from xetrack.log.log import Log
    from xetrack.log.scan import Chunk

#: With so few segments it costs more to ask for their first readings than to open them all.
_FEW = 8
_clock = attrgetter("clock")

Key = tuple[int, str, int]


class OutOfOrder(Exception):  # a signal between two rooms, never a user's error
    """A long segment whose events are not in order, found when some were already given out.

    The log remembers it, so reading again from the start goes through.
    """


class Run(NamedTuple):
    """Events in total order, or rows as ``columns``. One segment is read up to ``end_offset`` by them.

    ``damaged`` counts its damaged lines on the way. The last run of a segment
    has its final offset.
    """

    segment: str
    events: list[Event]
    end_offset: int
    damaged: int
    columns: Columns | None = None


class Merged:
    """Iterates over runs; ``damaged`` counts what could not be read so far.

    With ``columns``, which gives connections of DuckDB's, rows may come as columns: that
    needs pyarrow, and threads while the iterator is open: close it.
    """

    def __init__(
        self,
        log: Log,
        table: str,
        starts: dict[str, int],
        ends: dict[str, int],
        columns: Callable[[], Any] | None = None,
    ) -> None:
        self._log = log
        self._table = table
        self._starts = starts
        self._ends = ends
        self._parser: Parser | None = None
        if columns is not None:
            from xetrack.log.columns import Parser

            self._parser = Parser(columns)
        self.damaged = 0

    def __iter__(self) -> Generator[Run, None, None]:
        """In total order, duplicates included.

        Raises:
            OutOfOrder: see there; what came before it must be thrown away.
        """
        with contextlib.closing(self._parser) if self._parser else contextlib.nullcontext():
            yield from self._runs()

    def _runs(self) -> Iterator[Run]:
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
        source = _Source(self._log, self._table, name, self._starts[name], self._ends.get(name), self._parser)
        yield from self._advance(source)
        if source.left():
            open_sources.append(source)

    def _advance(self, source: _Source) -> Iterator[Run]:
        """Go to the next chunk that has events; tell of those on the way that have none."""
        while source.read():
            self.damaged += len(source.damaged)
            if source.left():
                return
            yield Run(source.name, [], source.end, len(source.damaged))

    def _round(self, open_sources: list[_Source], bound: Key) -> Iterator[Run]:
        """Give out all events up to the end of the first chunk to end."""
        parts = [part for source in open_sources if (part := source.take(bound))]
        # A writer's events may be spread over several packs: only the whole key puts them in order.
        events, columns = _together(parts)
        done = [source for source in open_sources if not source.left()]
        open_sources[:] = [source for source in open_sources if source.left()]
        for source in done:
            yield Run(source.name, events, source.end, len(source.damaged), columns)
            events, columns = [], None
        for source in done:
            yield from self._advance(source)
            if source.left():
                open_sources.append(source)


class _Source:
    """One segment on its way: the events of its current chunk, in order, as a list or as columns."""

    def __init__(self, log: Log, table: str, name: str, offset: int, end: int | None, parser: Parser | None) -> None:
        self.name = name
        self._log = log
        self._table = table
        self._chunks: Iterator[Chunk]
        if (table, name) in log.unsorted:
            self._chunks = _as_one(log.scan(table, name, offset, end), offset)
        elif parser is not None:
            from xetrack.log.columns import by_columns

            self._chunks = by_columns(log.scan(table, name, offset, end, undecoded=parser.piece_bytes), parser)
        else:
            self._chunks = log.scan(table, name, offset, end)
        self._events: list[Event] | Columns = []
        self.damaged: list[Damage] = []
        self.end = offset
        self.last: Key = (-1, "", -1)
        self._place = 0

    def read(self) -> bool:
        """Read the next chunk; False at the end."""
        self._events, self.damaged, self._place = [], [], 0
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self.end, self.damaged = chunk.end, chunk.damaged
        self._events = in_order(chunk.events) if chunk.columns is None else chunk.columns
        if self._events:
            if self._key(0) < self.last:
                self._log.unsorted.add((self._table, self.name))
                raise OutOfOrder(self._log.where(self._table, self.name))
            self.last = self._key(len(self._events) - 1)
        return True

    def _key(self, index: int) -> Key:
        return event_key(self._events[index]) if isinstance(self._events, list) else self._events.key(index)

    def take(self, bound: Key) -> list[Event] | Columns:
        """The events up to a place in the order, out of those not taken so far."""
        events, start = self._events, self._place
        if self.last <= bound:
            self._place = len(events)
        elif self._key(start)[0] > bound[0]:
            return []
        elif isinstance(events, list):
            self._place = bisect_right(events, bound, start, key=event_key)
        else:
            self._place = events.behind(bound)
        if start == 0 and self._place == len(events):
            return events
        return events[start : self._place] if isinstance(events, list) else events.slice(start, self._place)

    def left(self) -> bool:
        return self._place < len(self._events)


def _together(parts: list[list[Event] | Columns]) -> tuple[list[Event], Columns | None]:
    """What several segments have up to a place in the order: as columns if all are, else as events."""
    columns = [part for part in parts if not isinstance(part, list)]
    if len(columns) == len(parts):
        from xetrack.log.columns import joined

        one = columns[0] if len(columns) == 1 else joined(columns)
        if one is not None:
            return [], one
    events = [part if isinstance(part, list) else part.events() for part in parts]
    return events[0] if len(events) == 1 else sorted([e for part in events for e in part], key=event_key), None


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
    from xetrack.log.scan import Chunk

    read = list(chunks)
    if read:
        events = [event for chunk in read for event in chunk.events]
        damaged = [damage for chunk in read for damage in chunk.damaged]
        yield Chunk(events, offset, read[-1].end, damaged, sum(chunk.line_count for chunk in read))
