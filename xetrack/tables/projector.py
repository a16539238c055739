"""From events to rows: keeps the tables of a log equal to a replay of it.

``Projector.catch_up`` applies what is new, in one transaction with the
checkpoint (law 4). Most of what arrives late is put in its place; where an
order-dependent decision would have come out otherwise, the table is rebuilt.
Rebuilt or caught up, in any order of arrival, the rows are the same (law 5).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from xetrack.log.hints import TAIL_BYTES, Read, hint_of, settle_packs, unpacked_bytes
from xetrack.log.log import FILLED_IN_NS, Log, SegmentInfo
from xetrack.log.merged import OutOfOrder
from xetrack.log.ranges import Frontier, RangeSet
from xetrack.tables.apply import Pass
from xetrack.tables.base import Backend, ChangedElsewhere, Checkpoint
from xetrack.tables.layout import FIXED, OVERFLOW
from xetrack.tables.places import RebuildNeeded
from xetrack.tables.state import LAYOUT, Settlement, TableState, settle

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(TableState)


class _Memory:
    """The bookkeeping of one table as last read or written here."""

    def __init__(self) -> None:
        self.state: TableState | None = None
        self.seen = Frontier()
        self.numbers: dict[str, int] = {}
        self.checkpoints: dict[str, Checkpoint] = {}


class Projector:
    """Keeps the tables of one backend up with one log. Its owner holds a lock around every call."""

    def __init__(self, log: Log, backend: Backend) -> None:
        self.log = log
        self.backend = backend
        self._memory: dict[str, _Memory] = {}

    # what the tables hold

    def state(self, table: str) -> TableState:
        """The state after the last catch-up; an empty one for a table without events."""
        return self._known(table).state or TableState()

    def frontier(self, table: str) -> Frontier:
        """Ids of all events of the table that were read: what a mutation may reach (law 6)."""
        return self._known(table).seen

    def damaged(self, table: str) -> int:
        return sum(checkpoint.damaged for checkpoint in self._known(table).checkpoints.values())

    def ids_of(self, table: str, rows: list[int]) -> Frontier:
        """Event ids of the rows numbered ``rows``."""
        found, wanted = Frontier(), set(rows)
        if not rows:
            return found
        writers = {number: writer for writer, number in self._known(table).numbers.items()}
        for block in self.backend.blocks(table, min(rows), max(rows)):
            for row, seq in zip(block.rows, block.seqs, strict=True):
                if row in wanted:
                    found.add(writers[block.writer], seq)
        return found

    # keeping up

    def notice(self) -> None:
        """Forget what another program may have changed, so that it is seen before anything is read from the tables."""
        if self.backend.changed_elsewhere():
            self._memory.clear()

    def catch_up(self, table: str, *, limit_bytes: int | None = None) -> bool:
        """Apply all that was logged to the table before this call; tell whether anything was new.

        With ``limit_bytes`` no more than that of each segment, unless the table has to be made anew: what
        is left is there for the next call.
        """
        segments = self.log.segments(table)
        memory = self._memory.get(table)
        if memory is None or memory.state is None:
            memory = self._read(table)
        if memory.state is not None and memory.state.layout == LAYOUT and not _differs(segments, memory.checkpoints):
            return False
        if memory.state is None and not segments:
            return False
        with self._transaction(large=memory.state is None):
            self.notice()
            memory = self._known(table)
            # Others may have read further while this waited: with the old list their segments would seem to be gone.
            segments = self._listed(table, memory.checkpoints)
            if memory.state is None or memory.state.layout != LAYOUT:
                self._rebuild(table, segments)
            elif not segments:
                self._forget(table)
            elif not self._repacked(table, segments, memory) or self._replaced(table, segments, memory.checkpoints):
                self._rebuild(table, segments)
            else:
                self._advance(table, _clipped(segments, memory.checkpoints, limit_bytes), memory)
            return True

    def replay(self, table: str) -> None:
        """Make the table again from nothing."""
        with self._transaction(large=True):
            segments = self.log.segments(table)
            if segments:
                self._rebuild(table, segments)
            else:
                self._forget(table)

    def read_so_far(self, table: str) -> list[SegmentInfo]:
        """The segments of the table, each as long as it has been read."""
        checkpoints = self._known(table).checkpoints
        return [SegmentInfo(name, point.offset, point.mtime_ns, point.inode) for name, point in checkpoints.items()]

    def replay_as_read(self, table: str, segments: list[SegmentInfo]) -> None:
        """Make the table from what ``read_so_far`` of another projector says."""
        with self._transaction(large=True):
            self._rebuild(table, segments)

    def refresh(self, table: str) -> None:
        """Know the table as it is in the view that the backend is reading, whoever wrote it."""
        self.notice()
        self._known(table)

    def known_tables(self) -> list[str]:
        """Tables that the database has, whether or not the log still has them. Calls ``notice``."""
        self.notice()
        return sorted(self.backend.states())

    @contextmanager
    def _transaction(self, *, large: bool) -> Iterator[None]:
        """One transaction; memory is dropped when it fails, and the collector rests while millions of rows pass."""
        collecting = gc.isenabled()
        try:
            # Ctrl-C while another projector is waited for arrives when the lock has just been taken.
            self.backend.begin(large=large)
            gc.disable()
            yield
            self.backend.commit()
        except BaseException:
            self._memory.clear()
            self.backend.rollback()
            raise
        finally:
            if collecting:
                gc.enable()

    def _known(self, table: str) -> _Memory:
        """The bookkeeping as this process knows it; read where it was forgotten."""
        return self._memory.get(table) or self._load(table)

    def _read(self, table: str) -> _Memory:
        """The bookkeeping as it was at one moment, without keeping anybody from writing."""
        with self.backend.reading():
            return self._load(table)

    def _load(self, table: str) -> _Memory:
        memory = _Memory()
        blob = self.backend.states().get(table)
        if blob is not None:
            try:
                memory.state = _decoder.decode(blob)
            except (msgspec.DecodeError, UnicodeDecodeError):
                memory.state = TableState(layout=0)
        if memory.state is not None and memory.state.layout == LAYOUT:
            self._refuse_lacking(table, memory.state)
        for writer, (number, seqs) in self.backend.seen(table).items():
            memory.numbers[writer] = number
            memory.seen.ranges[writer] = RangeSet.parse(seqs)
        memory.checkpoints = self.backend.checkpoints(table)
        self._memory[table] = memory
        if memory.state is not None:
            self.log.clock.witness(memory.state.last_clock)
        return memory

    def _refuse_lacking(self, table: str, state: TableState) -> None:
        stored = (column.name if column.stored else OVERFLOW for column in state.columns)
        lacking = {*FIXED, *stored}.difference(self.backend.names(table))
        if lacking:
            raise ChangedElsewhere(f"the table {table!r} lacks {', '.join(sorted(lacking))}")

    def _forget(self, table: str) -> None:
        self.backend.forget(table)
        self._memory.pop(table, None)

    def _listed(self, table: str, checkpoints: dict[str, Checkpoint]) -> list[SegmentInfo]:
        """The segments of the table, also those that were read and that a list lacks for a moment."""
        segments = self.log.segments(table)
        missing = checkpoints.keys() - {segment.name for segment in segments}
        found = [segment for name in missing if (segment := self.log.segment(table, name)) is not None]
        return sorted([*segments, *found]) if found else segments

    def _repacked(self, table: str, segments: list[SegmentInfo], memory: _Memory) -> bool:
        """Know the packs that hold nothing but what was read; False if something that was read is gone."""
        present = {segment.name: segment for segment in segments}
        packs = [name for name in present if name.endswith(".zst")]
        gone = memory.checkpoints.keys() - present.keys()
        if not packs or (not gone and memory.checkpoints.keys() >= set(packs)):
            return not gone
        read = {name: Read(point.offset, point.tail) for name, point in memory.checkpoints.items()}
        groups = [group for name in packs for group in hint_of(self.log, table, name)]
        settled = settle_packs(set(present), read, groups)
        if settled is None:
            return False
        told, gone = settled
        news = {}
        for name in told:
            segment, end = present[name], unpacked_bytes(self.log, table, name)
            news[name] = Checkpoint(end, segment.size, segment.mtime_ns, segment.inode, b"", 0)
        self.backend.drop_checkpoints(table, gone)
        self.backend.save_checkpoints(table, news)
        for name in gone:
            del memory.checkpoints[name]
        memory.checkpoints.update(news)
        return True

    def _replaced(self, table: str, segments: list[SegmentInfo], checkpoints: dict[str, Checkpoint]) -> bool:
        """Whether a segment vanished, shrank or is another file than the one that was read."""
        present = {segment.name: segment for segment in segments}
        for name, checkpoint in checkpoints.items():
            segment = present.get(name)
            if segment is None:
                return True
            if _same(segment, checkpoint):
                continue
            if self.log.tail(table, name, checkpoint.offset, TAIL_BYTES) != checkpoint.tail:
                return True
        return False

    def _advance(self, table: str, segments: list[SegmentInfo], memory: _Memory) -> None:
        starts = {
            segment.name: memory.checkpoints[segment.name].offset if segment.name in memory.checkpoints else 0
            for segment in segments
            if segment.name not in memory.checkpoints or not _same(segment, memory.checkpoints[segment.name])
        }
        assert memory.state is not None
        run = Pass(self.log, self.backend, table, memory.state, memory.seen, memory.numbers)
        try:
            run.project(starts, _ends(segments))
            run.finish()
        except OutOfOrder:
            self._rebuild(table, segments)
            return
        except RebuildNeeded as needed:
            masks = {key: facts.mask for key, facts in run.state.facts.items()} if needed.types_only else None
            self._rebuild(table, segments, settle(run.state.verdicts), masks)
            return
        self._save(table, segments, run, memory.checkpoints)

    def _rebuild(
        self,
        table: str,
        segments: list[SegmentInfo],
        settlement: Settlement | None = None,
        masks: dict[str, int] | None = None,
    ) -> None:
        """Project from nothing. Starts again, wiser, when what it met changes what it should have done."""
        settlement = settlement or Settlement()
        starts = {segment.name: 0 for segment in segments}
        size_bytes = sum(segment.size for segment in segments)
        while True:
            self.backend.forget(table)
            self.backend.create(table, [], size_bytes=size_bytes)
            state = TableState(settlement=settlement)
            run = Pass(self.log, self.backend, table, state, Frontier(), {}, masks or {}, rebuilding=True)
            try:
                run.project(starts, _ends(segments))
            except OutOfOrder:
                continue
            found = settle(state.verdicts)
            if found == settlement and not run.learning:
                break
            masks = {key: facts.mask for key, facts in state.facts.items()} if found == settlement else None
            settlement = found
        run.finish()
        self._save(table, segments, run, {})

    def _save(self, table: str, segments: list[SegmentInfo], run: Pass, checkpoints: dict[str, Checkpoint]) -> None:
        news = {}
        for segment in segments:
            if segment.name not in run.offsets:
                continue
            offset = run.offsets[segment.name]
            tail = self.log.tail(table, segment.name, offset, TAIL_BYTES)
            damaged = run.damaged.get(segment.name, 0)
            if segment.name in checkpoints:
                damaged += checkpoints[segment.name].damaged
            # A segment that grew since it was listed differs from this size, so the next catch-up looks again; and so
            # it does where the end of a young one is not a line: the rest may be on its way from another host.
            mtime_ns = segment.mtime_ns if _is_settled(segment, offset) else -1
            news[segment.name] = Checkpoint(offset, segment.size, mtime_ns, segment.inode, tail, damaged)
        self.backend.save_checkpoints(table, {**checkpoints, **news} if run.forgot else news)
        self.backend.save_seen(
            table, {writer: (run.numbers[writer], str(run.seen.ranges[writer])) for writer in run.touched}
        )
        self.backend.save_state(table, _encoder.encode(run.state))
        self.backend.count_references(table, run.state.columns)
        memory = self._memory.setdefault(table, _Memory())
        memory.state, memory.seen, memory.numbers = run.state, run.seen, run.numbers
        memory.checkpoints = {**checkpoints, **news}
        self.log.clock.witness(run.state.last_clock)


def _clipped(
    segments: list[SegmentInfo], checkpoints: dict[str, Checkpoint], limit_bytes: int | None
) -> list[SegmentInfo]:
    """The segments as if they had grown by so much at most; nobody takes such a one for read to its end."""
    if limit_bytes is None:
        return segments
    found = []
    for segment in segments:
        known = checkpoints.get(segment.name)
        end = (known.offset if known else 0) + limit_bytes
        # Where that was the end already, a line is longer than the limit.
        if segment.size > end and not segment.name.endswith(".zst") and not (known and known.size == end):
            segment = segment._replace(size=end, mtime_ns=-1)
        found.append(segment)
    return found


def _ends(segments: list[SegmentInfo]) -> dict[str, int]:
    """How long the segments were when they were listed; of a compressed one that says nothing."""
    return {segment.name: segment.size for segment in segments if not segment.name.endswith(".zst")}


def _is_settled(segment: SegmentInfo, offset: int) -> bool:
    """Whether what was read of a segment is all that will come of what was listed."""
    whole = segment.name.endswith(".zst") or offset >= segment.size
    return whole or abs(time.time_ns() - segment.mtime_ns) > FILLED_IN_NS


def _same(segment: SegmentInfo, checkpoint: Checkpoint) -> bool:
    return (segment.size, segment.mtime_ns, segment.inode) == checkpoint[1:4]


def _differs(segments: list[SegmentInfo], checkpoints: dict[str, Checkpoint]) -> bool:
    if len(segments) != len(checkpoints):
        return True
    for segment in segments:
        checkpoint = checkpoints.get(segment.name)
        if checkpoint is None or not _same(segment, checkpoint):
            return True
    return False
