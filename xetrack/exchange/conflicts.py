"""Where authors who had not seen each other disagree: found from events and their frontiers.

Reported is what a newly taken event takes part in, and what stands now that both
are together: a set that somebody has overwritten who had seen it is no side of a
conflict any more. The kinds, with examples: docs/merge.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from xetrack.exchange.keys import canonical
from xetrack.exchange.reach import Hide, Reach, Rows, run_of
from xetrack.exchange.report import Conflict, Side
from xetrack.log.events import (
    Event,
    RunDeleted,
    RunProtected,
    RunUnprotected,
    ValueSet,
    event_key,
    split_id,
)
from xetrack.log.ranges import Frontier, RangeSet
from xetrack.log.values import decode

if TYPE_CHECKING:
    from xetrack.exchange.takeover import TablePlan

_E = TypeVar("_E", bound=Event)


class Disagreement(NamedTuple):
    """Two sets of the same cells: rows ``rows`` of one run."""

    run: str
    rows: Frontier
    ours: ValueSet
    theirs: ValueSet
    conflict: Conflict


class Conflicts:
    """The conflicts that one table's plan would bring. Call ``disagreements`` and ``others`` once each."""

    def __init__(self, plan: TablePlan) -> None:
        self._plan = plan
        self._reach: Reach = plan.reach
        self._heads: dict[str, list[ValueSet]] = {}
        for event in sorted(self._reach.sets, key=event_key):
            self._heads.setdefault(event.key, []).append(event)
        self._heads = {key: self._without_overwritten(sets) for key, sets in self._heads.items()}

    # -- set against set

    def disagreements(self) -> list[Disagreement]:
        """Cells that two sets fill with different values, neither author having seen the other's."""
        found = []
        settled = [Frontier.from_wire(event.settles) for event in self._reach.sets if event.settles]
        hidden: Frontier | None = None
        for sets in self._heads.values():
            for earlier, later in self._blind(sets):
                if canonical(earlier.value) == canonical(later.value):
                    continue
                ids = split_id(earlier.id), split_id(later.id)
                if any(all(decided.contains(*one) for one in ids) for decided in settled):
                    continue
                if hidden is None:
                    hidden = self._reach.hidden()
                cells = self._standing(earlier).intersection(self._standing(later)).minus(hidden)
                for run, rows in self._by_run(cells):
                    ours, theirs = self._sides(earlier, later)
                    conflict = self._conflict(
                        "set/set", run, later.key, rows, self._side(ours), self._side(theirs), later
                    )
                    found.append(Disagreement(run, rows, ours, theirs, conflict))
        return found

    def _without_overwritten(self, sets: list[ValueSet]) -> list[ValueSet]:
        """The sets but for those of which every cell was set again by the same author later."""
        last: dict[tuple[str, str | None], ValueSet] = {}
        dropped = set()
        for event in sets:
            if event.rows is None:
                place = split_id(event.id)[0], event.run
                before = last.get(place)
                if before is not None and self._covers(event, before):
                    dropped.add(before.id)
                last[place] = event
        return [event for event in sets if event.id not in dropped]

    def _covers(self, later: ValueSet, earlier: ValueSet) -> bool:
        return self._reach.saw(later, earlier) and self._reach.seen(later).issuperset(self._reach.seen(earlier))

    def _standing(self, event: ValueSet) -> Frontier:
        """The rows that a set reaches and that nobody who had seen it has set since."""
        cells = self._reach.of(event)
        for other in self._heads[event.key]:
            if other.id != event.id and self._reach.saw(other, event):
                cells = cells.minus(self._reach.of(other))
        return cells

    # -- deletes

    def others(self) -> list[Conflict]:
        """Deletes against sets, against rows logged meanwhile, and of protected runs."""
        return [*self._lost_sets(), *self._spared_rows(), *self._protected()]

    def _lost_sets(self) -> Iterator[Conflict]:
        sets = [event for heads in self._heads.values() for event in heads]
        events: list[ValueSet | Hide] = sorted([*sets, *self._reach.hides], key=event_key)
        for pair in self._blind(events, kind=lambda event: isinstance(event, ValueSet)):
            edit = next(event for event in pair if isinstance(event, ValueSet))
            hide = next(event for event in pair if not isinstance(event, ValueSet))
            cells = self._standing(edit).intersection(self._reach.of(hide)).minus(self._reach.gone)
            for other in self._reach.hides:
                if other.id != hide.id and (self._reach.saw(other, edit) or self._reach.saw(edit, other)):
                    cells = cells.minus(self._reach.of(other))
            for run, rows in self._by_run(cells):
                ours, theirs = self._sides(*pair)
                yield self._conflict("delete/set", run, edit.key, rows, self._side(ours), self._side(theirs), hide)

    def _spared_rows(self) -> Iterator[Conflict]:
        """Rows that outlive the deletion of their run, since its author had not seen them.

        A row does not say what its author had seen. It had not seen the deletion if
        its reading is not larger, or if no log held both before.
        """
        plan, taken = self._plan, self._plan.taken
        for deletion in self._reach.hides:
            if not isinstance(deletion, RunDeleted):
                continue
            is_new = self._is_new(deletion)
            groups = [taken.rows.get(deletion.run, Frontier())]
            if is_new and deletion.run in plan.old_runs:
                groups.append(plan.old_rows().get(deletion.run, Frontier()))
            for rows in groups:
                spared = _not_by(deletion, rows.minus(self._reach.seen(deletion)))
                if spared:
                    spared = spared.minus(self._hidden_among({deletion.run: spared}))
                if rows is groups[0]:
                    spared = spared.minus(self._aware(deletion, spared))
                if spared:
                    first = min(spared.ranges)
                    row = Side(None, f"{first}-{next(iter(spared.ranges[first]))}", plan.author(first))
                    sides = self._side(deletion), row
                    ours, theirs = sides if not is_new else sides[::-1]
                    stands = "ours" if ours is row else "theirs"
                    yield self._described("delete/rows", deletion.run, None, spared, ours, theirs, stands)

    def _aware(self, deletion: RunDeleted, rows: Frontier) -> Frontier:
        """New rows whose authors may have known of the deletion: later ones of a source that has it too."""
        found = Frontier()
        for number, ids in enumerate(self._plan.taken.of_source):
            mine = rows.intersection(ids)
            if mine and self._plan.source_has(number, deletion.id):
                clocks = self._plan.taken.clocks()
                for writer, seqs in mine.ranges.items():
                    for seq in seqs:
                        if clocks[writer, seq] > deletion.clock:
                            found.add(writer, seq)
        return found

    def _hidden_among(self, rows: Rows) -> Frontier:
        return Reach(self._reach.events, lambda: rows).hidden()

    def _protected(self) -> Iterator[Conflict]:
        latest: dict[str, Event] = {}
        for event in sorted(self._reach.events.values(), key=event_key):
            if isinstance(event, RunProtected | RunUnprotected) and self._reach.is_active(event):
                latest[event.run] = event
        for hide in self._reach.hides:
            guard = latest.get(hide.run) if isinstance(hide, RunDeleted) else None
            if not isinstance(guard, RunProtected) or not (self._is_new(guard) or self._is_new(hide)):
                continue
            if self._reach.saw(hide, guard) or self._reach.saw(guard, hide):
                continue
            rows = self._reach.of(hide)
            if rows:
                ours, theirs = self._sides(guard, hide)
                yield self._conflict(
                    "delete/protected", guard.run, None, rows, self._side(ours), self._side(theirs), hide
                )

    # -- pairs and sides

    def _blind(self, events: list[_E], kind: Callable[[_E], bool] | None = None) -> Iterator[tuple[_E, _E]]:
        """Pairs that may meet in a row, neither author having seen the other's event, at least one of them new.

        ``events`` are in total order, and so is each pair: nobody has seen what comes later in it. With
        ``kind``, pairs of two kinds only.
        """
        by_id = {split_id(event.id): event for event in events}
        all_before: dict[tuple[bool, str | None], Frontier] = {}
        new_before: dict[tuple[bool, str | None], Frontier] = {}
        for event in events:
            own = kind(event) if kind else True
            wanted = not own if kind else True
            run = run_of(event)  # type: ignore[arg-type]  # sets and hides are all that comes here
            before = all_before if self._is_new(event) else new_before
            places = {(wanted, run), (wanted, None)} if run is not None else {at for at in before if at[0] is wanted}
            for place in places:
                if place in before:
                    for writer, seqs in before[place].minus(self._reach.seen(event)).ranges.items():
                        for seq in seqs:
                            yield by_id[writer, seq], event
            for index in (all_before, new_before) if self._is_new(event) else (all_before,):
                index.setdefault((own, run), Frontier()).add(*split_id(event.id))

    def _is_new(self, event: Event) -> bool:
        return self._plan.taken.ids.contains(*split_id(event.id))

    def _sides(self, one: _E, two: _E) -> tuple[_E, _E]:
        """Ours and theirs: what the store had, else what came first."""
        return (two, one) if self._is_new(one) and not self._is_new(two) else (one, two)

    def _side(self, event: Event) -> Side:
        value = decode(event.value) if isinstance(event, ValueSet) else None
        return Side(value, event.id, self._plan.author(split_id(event.id)[0]))

    def _by_run(self, rows: Frontier) -> Iterator[tuple[str, Frontier]]:
        if rows:
            for run, ids in self._reach.rows().items():
                if both := ids.intersection(rows):
                    yield run, both

    def _conflict(
        self, kind: str, run: str, column: str | None, rows: Frontier, ours: Side, theirs: Side, stands: Event
    ) -> Conflict:
        winner = "ours" if ours.event_id == stands.id else "theirs"
        return self._described(kind, run, column, rows, ours, theirs, winner)

    def _described(
        self, kind: str, run: str, column: str | None, rows: Frontier, ours: Side, theirs: Side, winner: str
    ) -> Conflict:
        row = next((f"{writer}-{seq}" for writer, seqs in rows.ranges.items() for seq in seqs), None)
        return Conflict(
            kind, self._plan.table, run, column, row if len(rows) == 1 else None, rows.to_wire(), ours, theirs, winner
        )


def _not_by(deletion: RunDeleted, rows: Frontier) -> Frontier:
    """The rows but for those that the author of the deletion logged after it."""
    writer, seq = split_id(deletion.id)
    own = rows.ranges.get(writer)
    if own is None or own.last < seq:
        return rows
    return rows.minus(Frontier({writer: RangeSet([(seq, own.last)])}))


def in_order(conflicts: Iterable[Conflict]) -> list[Conflict]:
    """By table, run and column."""
    return sorted(
        conflicts,
        key=lambda one: (one.table, one.track_id, one.column or "", one.kind, one.ours.event_id, one.theirs.event_id),
    )
