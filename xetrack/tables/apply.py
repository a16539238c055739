"""One pass over events in total order: decides the rows and tells the backend.

Rows go through column by column, thousands at a time; mutations one by one.
A pass that catches up raises ``RebuildNeeded`` when an earlier decision would
have come out otherwise; a pass that rebuilds goes on learning instead, so that
the next one can do it right.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from xetrack.log.assets import digests_in
from xetrack.log.cells import INT, MAX_PLAIN_INT, PLAIN_FLAGS, column_type, flag
from xetrack.log.events import (
    AssetAdded,
    AssetRemoved,
    Event,
    Mutation,
    RowLogged,
    RowsReplaced,
    RunDeleted,
    RunProtected,
    RunRewound,
    RunUnprotected,
    TableReset,
    UnknownEvent,
    ValueSet,
    WriterStarted,
    event_key,
    split_id,
)
from xetrack.log.log import Log
from xetrack.log.merged import Run
from xetrack.log.ranges import Frontier, RangeSet
from xetrack.tables.assets import Namings, digests_of_unknown
from xetrack.tables.base import SLOT_BITS, Backend, ColumnRows, Rows
from xetrack.tables.columnar import cells_for, flags_of, parts_of, saw_runs
from xetrack.tables.layout import OVERFLOW, Column, KeyFacts, Position, arrange, keeps_cells
from xetrack.tables.places import Places, RebuildNeeded, rows_in
from xetrack.tables.runs import saw_event, saw_rows
from xetrack.tables.state import TableState, settle, verdict
from xetrack.tables.times import LocalTimes

if TYPE_CHECKING:
    from xetrack.log.columns import Columns

logger = logging.getLogger("xetrack")
_BATCH_ROWS = 8192
#: So many new columns at once are had sooner by making the table again.
_MANY_COLUMNS = 50
_ONLY_ROWS = frozenset({RowLogged})
_json = msgspec.json.Encoder()


class Pass:
    """Applies events to one table. ``project`` any number of times, then ``finish`` once."""

    def __init__(
        self,
        log: Log,
        backend: Backend,
        table: str,
        state: TableState,
        seen: Frontier,
        numbers: dict[str, int],
        masks: dict[str, int] | None = None,
        *,
        rebuilding: bool = False,
    ) -> None:
        self.log, self.backend, self.table = log, backend, table
        self.state, self.seen, self.numbers = state, seen, numbers
        self.masks = masks or {}
        self.rebuilding = rebuilding
        #: Rows are no longer written: this pass only finds out what the next one must know.
        self.learning = False
        self.offsets: dict[str, int] = {}
        self.damaged: dict[str, int] = {}
        self.touched: set[str] = set()
        #: The bookkeeping of the table was dropped on the way: all of it must be saved.
        self.forgot = False
        self._pending: list[RowLogged] = []
        self._columns = {column.key: column for column in state.columns}
        self._times = LocalTimes(state.offsets)
        self._unplaced = False
        self._places = Places(backend, table, state, numbers, rebuilding)
        self._namings = Namings(log, backend, table, self._times.text)
        self._settle()

    def _settle(self) -> None:
        settlement = self.state.settlement
        self._cancelled = Frontier.from_wire(settlement.cancelled)
        self._voided = Frontier.from_wire(settlement.voided)
        self._redacted = Frontier.from_wire(settlement.redacted)
        self._excluded = Frontier()
        for ids in (self._cancelled, self._voided, self._redacted):
            self._excluded.update(ids)
        self._awaited = Frontier.from_wire(self.state.awaited)

    # the flow

    def project(self, starts: dict[str, int], ends: dict[str, int]) -> None:
        """Apply the events of the segments from these offsets on, as far as they were long when listed.

        Without an end, a program that logs faster than rows are written would never be caught up with.
        """
        self.offsets.update(starts)
        with closing(iter(self.log.merged(self.table, starts, ends, columns=self.backend.json_connection))) as runs:
            self._project(runs)

    def _project(self, runs: Iterator[Run]) -> None:
        for run in runs:
            self.offsets[run.segment] = run.end_offset
            if run.damaged:
                self.damaged[run.segment] = self.damaged.get(run.segment, 0) + run.damaged
            events = run.events
            if run.columns is not None:
                self._flush()
                if self._rows_by_column(run.columns):
                    continue
                events = run.columns.events()
            pending = self._pending
            if _ONLY_ROWS.issuperset(map(type, events)):
                pending += events  # type: ignore[arg-type]  # just checked
                if len(pending) >= _BATCH_ROWS:
                    self._flush()
                continue
            for event in events:
                if type(event) is RowLogged:
                    pending.append(event)
                else:
                    self._flush()
                    self._event(event)
                    pending = self._pending
            if len(pending) >= _BATCH_ROWS:
                self._flush()
        self._flush()

    def finish(self) -> None:
        """Bring the columns into their order and types, once for all that was projected."""
        columns = self._arrange()
        current = self.state.columns
        if columns != current:
            # A key that moved to or from the overflow has its cells there: only a rebuild moves them.
            if {column.key for column in columns if column.stored} != {
                column.key for column in current if column.stored
            }:
                self._redo()
            self.backend.reshape(self.table, current, columns)
            self.state.columns = columns
        self._namings.flush()
        self.state.awaited = self._awaited.to_wire()

    def _redo(self, *, types_only: bool = False) -> None:
        if not self.rebuilding:
            raise RebuildNeeded(types_only)
        self.learning = True

    # rows

    def _flush(self) -> None:
        if self._pending:
            rows, self._pending = self._pending, []
            self._rows(rows)

    def _rows_by_column(self, columns: Columns) -> bool:
        """Apply rows by column as ``_rows`` does; False if they must go row by row, none was applied then."""
        state = self.state
        parts = parts_of(columns, self.seen, self._excluded)
        if parts is None or (self._awaited and int(columns.clocks[0]) <= state.last_mutation[0]):
            return False
        flags = flags_of(columns, state.facts)
        texts = self._times.column(columns, parts)
        if flags is None or texts is None:
            return False
        news = [key for key in flags if key not in state.facts]
        first = columns.first() if news else None
        index = {key: index for index, key in enumerate(first.data)} if first else {}
        for key, mask in flags.items():
            self._note(key, (*columns.key(0), index.get(key, 0)) if key in index else state.facts[key].first, mask)
        self._add_columns()
        cells = cells_for(columns, self._columns)
        if cells is None and not self.learning:
            return False
        rows = None
        if not self.learning:
            rows = self._places.place_behind(columns.clocks)
            if rows is None:
                return False
        for part in parts:
            self._ranges(part.writer).add_range(part.first, part.last)
        saw_runs(columns, parts, partial(saw_rows, state.runs))
        state.last_clock = max(state.last_clock, int(columns.clocks[-1]))
        if rows is not None and cells is not None:
            self.backend.insert_columns(self.table, ColumnRows(rows, texts, columns.fields["run"], cells))
            self._places.remember_behind(rows, parts)
        return True

    def _rows(self, events: list[RowLogged]) -> None:
        events, origins = self._take(events)
        if not events:
            return
        clocks = [event.clock for event in events]
        self.state.last_clock = max(self.state.last_clock, clocks[-1])
        if self._awaited and clocks[0] <= self.state.last_mutation[0]:
            for event in events:
                self._refuse_late(event)
        shapes: dict[tuple[str, ...], list[int]] = {}
        keys = [tuple(event.data) for event in events]
        if keys.count(keys[0]) == len(keys):
            shapes[keys[0]] = []
        else:
            for index, shape in enumerate(keys):
                shapes.setdefault(shape, []).append(index)
        parts = []
        for shape, indexes in shapes.items():
            chosen = [events[index] for index in indexes] if indexes else events
            wires: list[Sequence[Any]] = list(zip(*[event.data.values() for event in chosen], strict=True))
            kinds = [set(map(type, column)) for column in wires]
            self._meet(shape, chosen, wires, kinds)
            parts.append((shape, indexes, chosen, wires, kinds))
        self._add_columns()
        if self.learning:
            return
        rows = self._places.place(clocks, origins)
        for shape, indexes, chosen, wires, kinds in parts:
            numbers = [rows[index] for index in indexes] if indexes else rows
            self._write(shape, numbers, chosen, wires, kinds)
        self._places.remember(rows, origins)

    def _take(self, events: list[RowLogged]) -> tuple[list[RowLogged], list[tuple[str, int]]]:
        """Drop what was read before and what does not count; the rest with their writers and seqs."""
        ids = [event.id for event in events]
        cut = ids[0].rindex("-") + 1
        prefix = ids[0][:cut]
        if len({id[:cut] for id in ids}) == 1:
            writer, first = prefix[:-1], int(ids[0][cut:])
            seqs = [int(id[cut:]) for id in ids]
            ranges = self._ranges(writer)
            last = first + len(seqs) - 1
            if not self._excluded and first > ranges.last and seqs == list(range(first, last + 1)):
                ranges.add_range(first, last)
                self._saw(events, writer)
                return events, [(writer, seq) for seq in seqs]
        taken, origins = [], []
        for event in events:
            origin = split_id(event.id)
            ranges = self._ranges(origin[0])
            if origin[1] in ranges:
                continue
            ranges.add(origin[1])
            saw_rows(self.state.runs, event.run, origin[0], event.clock, event.clock)
            if not self._excluded.contains(*origin):
                taken.append(event)
                origins.append(origin)
            elif self._counts(origin):
                # A reset voids rows, not what they tell of assets.
                for key, wire in event.data.items():
                    self._name(event, wire, key)
        return taken, origins

    def _saw(self, events: list[RowLogged], writer: str) -> None:
        """Note the runs of rows of one writer, which are in order."""
        if len({event.run for event in events}) == 1:
            saw_rows(self.state.runs, events[0].run, writer, events[0].clock, events[-1].clock)
            return
        for event in events:
            saw_rows(self.state.runs, event.run, writer, event.clock, event.clock)

    def _counts(self, origin: tuple[str, int]) -> bool:
        """Whether an event is neither undone nor redacted."""
        return not (self._cancelled.contains(*origin) or self._redacted.contains(*origin))

    def _name(self, event: Event, wire: Any, key: str | None) -> None:
        """Note the assets that a wire value names, unless a removal had seen it before it came here."""
        digests = list(digests_in(wire))
        if digests:
            self._refuse_late(event)
            self._namings.note(event, digests, key)

    def _refuse_late(self, event: Event) -> None:
        key = event_key(event)
        if key < self.state.last_mutation and self._awaited.contains(key[1], key[2]) and not self.rebuilding:
            raise RebuildNeeded

    def _ranges(self, writer: str) -> RangeSet:
        self.touched.add(writer)
        ranges = self.seen.ranges.get(writer)
        if ranges is None:
            ranges = self.seen.ranges[writer] = RangeSet()
            self.numbers[writer] = len(self.numbers) + 1
        return ranges

    def _meet(
        self, shape: tuple[str, ...], events: list[RowLogged], wires: Sequence[Sequence[Any]], kinds: list[set[type]]
    ) -> None:
        """Note what rows of one shape say about its keys, and the assets that they name."""
        key = event_key(events[0])
        for index, (name, column, types) in enumerate(zip(shape, wires, kinds, strict=True)):
            self._note(name, (*key, index), _mask(column, types))
            if dict in types or list in types:
                self._namings.rows(name, events, column)

    def _note(self, key: str, place: tuple[int, str, int, int], mask: int) -> None:
        """Note that a key appeared here with values of these types."""
        known = self.state.facts.get(key)
        if known is None:
            self.state.facts[key] = KeyFacts(self.masks.get(key, 0) | mask, place)
            self._unplaced = True
            return
        if place < known.first:
            known.first = place
        if mask | known.mask != known.mask:
            known.mask |= mask
            old = self._columns.get(key)
            if old is not None and (new := column_type(known.mask)) != old.type:
                if old.stored and not keeps_cells(old.type, new):
                    self._redo(types_only=True)
                self._columns[key] = old._replace(type=new)

    def _add_columns(self) -> None:
        """Give the keys met since the last time their columns."""
        if not self._unplaced:
            return
        self._unplaced = False
        columns = self._arrange()
        names = {column.key: (column.name, column.stored) for column in columns}
        if any(names[column.key] != (column.name, column.stored) for column in self.state.columns):
            self._redo()
        news = [column for column in columns if column.key not in self._columns]
        self._columns.update((column.key, column) for column in news)
        current = self.state.columns
        if not all(column.stored for column in news) and all(column.stored for column in current):
            logger.warning(
                "Table %r has more than %d keys: the rest live in its JSON column %s. Frames show them all.",
                self.table,
                self.backend.limit,
                OVERFLOW,
            )
        if self.learning:
            return
        if len(news) > _MANY_COLUMNS:
            self.backend.reshape(self.table, current, [*current, *news])
        else:
            for column in news:
                self.backend.add_column(self.table, column)
        current += news

    def _arrange(self) -> list[Column]:
        return arrange(self.state.facts, self.backend.limit)

    def _write(
        self,
        shape: tuple[str, ...],
        rows: Sequence[int],
        events: list[RowLogged],
        wires: list[Sequence[Any]],
        kinds: list[set[type]],
    ) -> None:
        """Insert rows of one shape, made column by column."""
        cells: list[tuple[Column, Sequence[Any], set[type]]] = []
        extra: list[tuple[str, Sequence[Any]]] = []
        for key, column, types in zip(shape, wires, kinds, strict=True):
            target = self._columns[key]
            if target.stored:
                cells.append((target, column, types))
            else:
                extra.append((key, column))
        more = None
        if extra:
            more = [_json.encode({key: column[row] for key, column in extra}).decode() for row in range(len(rows))]
        runs = [event.run for event in events]
        self.backend.insert(self.table, Rows(rows, self._times.texts(events), runs, cells, more))

    # mutations

    def _event(self, event: Event) -> None:
        writer, seq = split_id(event.id)
        ranges = self._ranges(writer)
        if seq in ranges:
            return
        if isinstance(event, Mutation):
            key = event_key(event)
            frontier = self._frontier(event)
            complete = frontier.issuperset(self.seen) and key > self._newest()
            self._await(frontier)
            self._mutation(event, key, frontier, complete)
            self.state.last_mutation = max(self.state.last_mutation, key)
        elif isinstance(event, WriterStarted):
            if ranges and not self.rebuilding:
                raise RebuildNeeded  # its rows were shown in UTC for want of it
            if event.utc_offset_s is not None:
                self.state.offsets[writer] = event.utc_offset_s
        elif isinstance(event, AssetAdded):
            if self._counts((writer, seq)):
                self._refuse_late(event)
                self._namings.added(event)
        elif isinstance(event, UnknownEvent):
            if self._counts((writer, seq)) and (digests := digests_of_unknown(event)):
                self._refuse_late(event)
                self._namings.note(event, digests, None)
            kinds = self.state.unknown_kinds
            kinds[event.kind_name] = kinds.get(event.kind_name, 0) + 1
        ranges.add(seq)
        saw_event(self.state.writers, self.state.runs, writer, event)
        self.state.last_clock = max(self.state.last_clock, event.clock)

    def _newest(self) -> Position:
        """A place behind every row and mutation applied so far."""
        return max(((self.state.last_row >> SLOT_BITS), "~", 0), self.state.last_mutation)

    def _mutation(self, event: Event, key: Position, frontier: Frontier, complete: bool) -> None:
        origin = (key[1], key[2])
        found = verdict(event)
        if found is not None:
            self.state.verdicts.append(found)
            if self.rebuilding:
                # Settlements are compared when the pass is over; until then, write on only if this one was known.
                if not self._cancelled.contains(*origin) and not self._excluded.issuperset(
                    Frontier.from_wire(found[2])
                ):
                    self.learning = True
            elif isinstance(event, TableReset) and complete and not self._excluded.contains(*origin):
                self._reset()
            elif settle(self.state.verdicts) != self.state.settlement:
                self._redo()
            return
        if not self._counts(origin):
            return
        match event:
            case AssetRemoved():
                self._namings.remove(event, frontier)
            case ValueSet():
                self._name(event, event.value, event.key)
                if not self._voided.contains(*origin):
                    self._set(event, key, frontier, complete)
            case RunDeleted():
                self._hide(event.run, self._targets(frontier, key, complete))
            case RunRewound() | RowsReplaced():
                self._hide(None, self._targets(frontier.intersection(Frontier.from_wire(event.rows)), key, False))
            case RunProtected() | RunUnprotected():
                known = self.state.protected.get(event.run)
                if known is None or known[0] < key:
                    self.state.protected[event.run] = (key, isinstance(event, RunProtected))

    def _frontier(self, event: Any) -> Frontier:
        frontier = Frontier.from_wire(event.seen)
        if event.base is not None:
            earlier = self.log.find(self.table, event.base)
            frontier.update(Frontier.from_wire(getattr(earlier, "seen", None) or {}))
        return frontier

    def _await(self, frontier: Frontier) -> None:
        missing = frontier.minus(self.seen)
        if missing:
            self._awaited.update(missing)

    def _reset(self) -> None:
        """Empty the table: everything read so far was seen by the one who reset it."""
        self._namings.outlive(lambda: self.backend.forget(self.table))
        self.backend.create(self.table, [])
        self.forgot = True
        self.touched.update(self.numbers)
        state = self.state
        state.facts, state.columns, state.last_set = {}, [], {}
        state.settlement = settle(state.verdicts)
        self._columns = {}
        self._settle()

    def _set(self, event: ValueSet, key: Position, frontier: Frontier, complete: bool) -> None:
        state = self.state
        if key < state.last_set.get(event.key, (-1, "", 0)) and not self.rebuilding:
            raise RebuildNeeded
        state.last_set[event.key] = key
        self._note(event.key, (*key, 0), flag(event.value))
        self._add_columns()
        if self.learning:
            return
        column = self._columns[event.key]
        value = event.value
        if event.rows is not None:
            targets = self._targets(frontier.intersection(Frontier.from_wire(event.rows)), key, False)
            self.backend.set_cells(self.table, column, value, None, targets)
        else:
            self.backend.set_cells(self.table, column, value, event.run, self._targets(frontier, key, complete))

    def _hide(self, run: str | None, rows: Sequence[int] | None) -> None:
        if self.learning:
            return
        self.backend.hide(self.table, run, rows)
        self.state.hides = True

    def _targets(self, frontier: Frontier, key: Position, complete: bool) -> list[int] | None:
        """Rows in the frontier and before the mutation; None where that is all of them."""
        if complete or self.learning:
            return None
        return rows_in(self.backend, self.table, self.numbers, frontier, key)


def _mask(column: Sequence[Any], types: set[type]) -> int:
    """Type flags of the wire values of one column."""
    mask = 0
    for kind in types:
        if kind is int:
            if len(types) == 1 and -MAX_PLAIN_INT <= min(column) and max(column) <= MAX_PLAIN_INT:
                mask |= INT
            else:
                for value in column:
                    if type(value) is int:
                        mask |= flag(value)
        elif kind in PLAIN_FLAGS:
            mask |= PLAIN_FLAGS[kind]
        else:
            for value in column:
                if type(value) is kind:
                    mask |= flag(value)
    return mask
