"""What other logs have that a store lacks, table by table: lines, and what they say.

Only the lines that are new are kept. A segment that the store has too, under the
same name and with the same bytes, is compared, not decoded; what stands in both
under one id must be the same line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import Any

import msgspec

from xetrack.errors import SameIdDifferentEvent
from xetrack.exchange.sources import Source
from xetrack.log.cells import flag
from xetrack.log.clock import wall_us
from xetrack.log.codec import codec_for, jsonl
from xetrack.log.events import Event, RowLogged, ValueSet, event_key, split_id
from xetrack.log.log import Log, SegmentInfo
from xetrack.log.packs import all_lines, id_of, lines_of, same_until
from xetrack.log.ranges import Frontier, RangeSet
from xetrack.log.redaction import stub_of
from xetrack.log.verify import DAY_US
from xetrack.tables.layout import KeyFacts

_ROW = b'{"kind":"row.logged"'
_STUB = b'{"kind":"payload.stub"'
_TAIL_BYTES = 1 << 16

#: A line with its place in the total order in front.
Line = tuple[int, str, int, bytes]


class _RowHead(msgspec.Struct, gc=False):
    """What places a row in a run, without its data."""

    id: str
    run: str


class Taken:
    """What the sources have of one table that the store has not.

    ``lines`` are in total order. ``seen`` are the ids that the store has.
    """

    def __init__(self, table: str, log: Log, seen: Frontier, sources: Sequence[Source]) -> None:
        """Read all of it, and write nothing.

        Raises:
            SameIdDifferentEvent: one id stands for two events.
            FormatTooNew: a later release wrote a segment.
        """
        self.table, self.log, self.seen = table, log, seen
        self.lines: list[Line] = []
        self.ids = Frontier()
        #: New rows by run.
        self.rows: dict[str, Frontier] = {}
        #: New events that are no rows, by id.
        self.events: dict[str, Event] = {}
        #: The new ids that each source had.
        self.of_source: list[Frontier] = []
        self.damaged = 0
        #: Segments that hold readings more than a day ahead, with the largest.
        self.future: dict[str, int] = {}
        self._horizon = wall_us() + DAY_US
        self._in_store: dict[bytes, tuple[int, str]] = {}
        self._facts = _Facts()
        self._clocks: dict[tuple[str, int], int] = {}
        self._again: dict[bytes, tuple[int, str]] = {}
        present = {segment.name for segment in log.segments(table)}
        for source in sources:
            self.of_source.append(Frontier())
            for segment in source.log.segments(table):
                self._read(source.log, segment, segment.name in present)
        self.lines.sort(key=_place)
        self._compare(chain.from_iterable(self._stored_lines()), self._in_store)
        self._compare((line for *_, line in self.lines), self._again)

    # -- reading

    def _read(self, source: Log, segment: SegmentInfo, is_shared: bool) -> None:
        path = source.where(self.table, segment.name)
        end = self._first_unshared(source, segment) if is_shared else 0
        latest = -1
        for chunk in source.scan(self.table, segment.name, end):
            self.damaged += len(chunk.damaged)
            lines = lines_of(chunk.raw, segment.name, chunk.events, chunk.damaged, chunk.start)
            self._take(chunk.events, lines, path)
            latest = max(latest, max((event.clock for event in chunk.events), default=-1))
            end = chunk.end
        if segment.size > end and not segment.name.endswith(".zst"):
            self.damaged += 1  # the last line is torn, or on its way
        if latest > self._horizon:
            self.future[path] = latest

    def _first_unshared(self, source: Log, segment: SegmentInfo) -> int:
        """Where the first line begins that the store's segment of this name may lack."""
        shared = same_until(source, self.log, self.table, segment.name)
        if codec_for(segment.name) is not jsonl:
            # Records have no ends to go back to: all or nothing.
            return shared if shared == segment.size else 0
        if segment.name.endswith(".zst"):
            return shared if not source.read(self.table, segment.name, shared, 1) else 0
        size = _TAIL_BYTES
        while True:
            tail = source.tail(self.table, segment.name, shared, size)
            if b"\n" in tail:
                return shared - len(tail) + tail.rindex(b"\n") + 1
            if len(tail) < size:
                return 0
            size *= 8

    def _take(self, events: list[Event], lines: list[bytes], path: str) -> None:
        if not events or self._take_run(events, lines):
            return
        here = self.of_source[-1]
        taken: list[Event] = []
        for event, line in zip(events, lines, strict=True):
            writer, seq = split_id(event.id)
            if self.seen.contains(writer, seq):
                self._note(self._in_store, event.id, line, path)
                continue
            here.add(writer, seq)
            if self.ids.contains(writer, seq):
                self._note(self._again, event.id, line, path)
                continue
            self.ids.add(writer, seq)
            self.lines.append((event.clock, writer, seq, line))
            taken.append(event)
            if isinstance(event, RowLogged):
                self._rows_of(event.run).add(writer, seq)
            else:
                self.events[event.id] = event
        self._facts.note(taken)

    def _take_run(self, events: list[Event], lines: list[bytes]) -> bool:
        """Take the usual case at once: new rows of one run, which one writer wrote one after the other."""
        if set(map(type, events)) != {RowLogged}:
            return False
        rows: list[RowLogged] = events  # type: ignore[assignment]  # just checked
        writer, first = split_id(rows[0].id)
        last = first + len(rows) - 1
        seqs = range(first, last + 1)
        if (
            len({row.run for row in rows}) != 1
            or [row.id for row in rows] != [f"{writer}-{seq}" for seq in seqs]
            or any(first <= known.ranges[writer].last for known in (self.seen, self.ids) if writer in known.ranges)
        ):
            return False
        for ids in (self.ids, self.of_source[-1], self._rows_of(rows[0].run)):
            ids.ranges.setdefault(writer, RangeSet()).add_range(first, last)
        self.lines += zip([row.clock for row in rows], repeat(writer), seqs, lines, strict=False)
        self._facts.note(events)
        return True

    def _rows_of(self, run: str) -> Frontier:
        rows = self.rows.get(run)
        if rows is None:
            rows = self.rows[run] = Frontier()
        return rows

    @staticmethod
    def _note(where: dict[bytes, tuple[int, str]], event_id: str, line: bytes, path: str) -> None:
        if not line.startswith(_STUB):
            digest = hash(line)
            known = where.setdefault(event_id.encode(), (digest, path))
            if known[0] != digest:
                raise SameIdDifferentEvent(event_id, path)

    # -- what stands in both

    def _stored_lines(self) -> Iterable[list[bytes]]:
        """Lines of the store, likely places first, as long as there is something to compare."""
        writers = {event_id.rpartition(b"-")[0].decode() for event_id in self._in_store}

        def rank(segment: SegmentInfo) -> int:
            stem = segment.name.partition(".")[0]
            return 0 if stem in writers else 1 if len(stem) > 16 else 2

        for segment in sorted(self.log.segments(self.table), key=rank):
            for lines in all_lines(self.log, self.table, segment.name):
                if not self._in_store:
                    return
                yield lines

    def _compare(self, lines: Iterable[bytes], wanted: dict[bytes, tuple[int, str]]) -> None:
        """Hold lines against those of the same ids in the sources.

        A stub is equal to what it stands for, and a damaged line is none.
        """
        if not wanted:
            return
        for line in lines:
            event_id = id_of(line)
            found = wanted.get(event_id)
            if found is not None:
                if hash(line) == found[0] or line.startswith(_STUB):
                    del wanted[event_id]
                elif jsonl.decode(line) is not None:
                    raise SameIdDifferentEvent(event_id.decode(), found[1])

    # -- what they say

    def clocks(self) -> dict[tuple[str, int], int]:
        """The reading of each new event."""
        if not self._clocks:
            self._clocks = {(writer, seq): clock for clock, writer, seq, _ in self.lines}
        return self._clocks

    def redact(self, redacted: Frontier) -> None:
        """Let stubs stand for the lines of these ids: a payload that was redacted does not come back."""
        if not redacted.intersection(self.ids):
            return
        for number, (clock, writer, seq, line) in enumerate(self.lines):
            if redacted.contains(writer, seq) and not line.startswith(_STUB):
                event = jsonl.decode(line)
                assert event is not None
                self.lines[number] = (clock, writer, seq, jsonl.encode(stub_of(event))[:-1])
                self.events.pop(event.id, None)
        self.rows = {run: left for run, ids in self.rows.items() if (left := ids.minus(redacted))}

    def key_facts(self, excluded: Frontier) -> dict[str, KeyFacts]:
        """What the new rows and sets say about their keys, but for those that do not count."""
        if not excluded.intersection(self.ids):
            return self._facts.found
        facts = _Facts()
        for _, writer, seq, line in self.lines:
            if not excluded.contains(writer, seq):
                event = jsonl.decode(line)
                facts.note([event] if event is not None else [])
        return facts.found


class _Facts:
    """Type flags and first appearance of keys, gathered a column at a time."""

    def __init__(self) -> None:
        self.found: dict[str, KeyFacts] = {}

    def note(self, events: Iterable[Event]) -> None:
        shapes: dict[tuple[str, ...], list[RowLogged]] = {}
        for event in events:
            if isinstance(event, RowLogged):
                keys = tuple(event.data)
                rows = shapes.get(keys)
                if rows is None:
                    rows = shapes[keys] = []
                rows.append(event)
            elif isinstance(event, ValueSet):
                self._add(event.key, flag(event.value), (*event_key(event), 0))
        for keys, rows in shapes.items():
            first = min(map(event_key, rows))
            for index, key in enumerate(keys):
                self._add(key, _mask([row.data[key] for row in rows]), (*first, index))

    def _add(self, key: str, mask: int, first: tuple[int, str, int, int]) -> None:
        known = self.found.get(key)
        if known is None:
            self.found[key] = KeyFacts(mask, first)
        else:
            known.mask |= mask
            known.first = min(known.first, first)


def _mask(wires: list[Any]) -> int:
    """Type flags of values; of all types but objects one value tells for all, since large integers are objects."""
    mask = 0
    samples: dict[type, Any] = dict(zip(map(type, wires), wires, strict=True))
    for kind, sample in samples.items():
        for wire in [wire for wire in wires if type(wire) is dict] if kind is dict else [sample]:
            mask |= flag(wire)
    return mask


def is_row(line: bytes) -> bool:
    return line.startswith(_ROW)


def stored_events(log: Log, table: str) -> dict[str, Event]:
    """All events of a table that are no rows, by id: headers and mutations. Rows are passed over undecoded."""
    found: dict[str, Event] = {}
    for segment in log.segments(table):
        for lines in all_lines(log, table, segment.name):
            for line in lines:
                if not line.startswith(_ROW):
                    event = jsonl.decode(line)
                    if event is not None and not isinstance(event, RowLogged):
                        found[event.id] = event
    return found


def stored_rows(log: Log, table: str, seen: Frontier) -> dict[str, Frontier]:
    """Ids of the rows of a table that were read, by run."""
    decoder = msgspec.json.Decoder(_RowHead)
    found: dict[str, Frontier] = {}
    for segment in log.segments(table):
        for lines in all_lines(log, table, segment.name):
            for line in lines:
                if not line.startswith(_ROW):
                    continue
                try:
                    head = decoder.decode(line)
                    writer, seq = split_id(head.id)
                except (msgspec.DecodeError, ValueError):
                    continue
                if seen.contains(writer, seq):
                    found.setdefault(head.run, Frontier()).add(writer, seq)
    return found


def _place(line: Line) -> tuple[int, str, int]:
    return line[:3]
