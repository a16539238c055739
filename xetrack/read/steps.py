"""What each event did to the cells of its table, one event after the other.

A replay in memory that remembers, for every row, all that reached it, so that an
undo, a reset or a redaction settles anew only what it names (docs/format.md,
reader duty 4). Before and after are the table as a replay of all earlier events,
and of these and this one, shows it. Pure: events go in, entries come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from xetrack.log.cells import DIGEST_DIGITS
from xetrack.log.events import (
    AssetAdded,
    AssetRemoved,
    Event,
    EventUndone,
    Mutation,
    PayloadRedacted,
    PayloadStub,
    RowLogged,
    RowsReplaced,
    RunDeleted,
    RunProtected,
    RunRewound,
    RunUnprotected,
    TableReset,
    UnknownEvent,
    ValueSet,
    WriterAlive,
    WriterEnded,
    WriterStarted,
    split_id,
)
from xetrack.log.ranges import Frontier
from xetrack.tables.state import settle, verdict

Hide = RunDeleted | RunRewound | RowsReplaced


class Entry(NamedTuple):
    """One cell, or one run, that an event changed. Values are wire values, None for an empty cell.

    ``key`` is None where it is not about a cell: then ``new`` may tell more about the event.
    """

    event: Event
    run: str | None
    key: str | None
    old: Any
    new: Any
    row: str | None = None


class Effect(NamedTuple):
    """What settling anew came to: ids of the rows that changed, and runs that lost a row or a value."""

    rows: set[str]
    harmed: set[str]


class Row:
    """A logged row and all that reached it so far."""

    __slots__ = ("before", "blank", "event", "hides", "off", "sets")

    def __init__(self, event: RowLogged) -> None:
        self.event = event
        #: It is undone, or voided by a reset.
        self.off = False
        #: How many active events hide it.
        self.hides = 0
        self.sets: dict[str, list[ValueSet]] = {}
        #: While no table shows it: what was last seen of the cells that changed since.
        self.before: dict[str, Any] = {}
        #: It went with all its cells, told one by one.
        self.blank = False

    @property
    def visible(self) -> bool:
        return not self.off and not self.hides

    def keys(self) -> list[str]:
        return list(dict.fromkeys([*self.event.data, *self.sets]))


class Steps:
    """Takes the events of one table in the total order; ``take`` says what each of them changed.

    ``redacted`` are the events whose payload was dropped, whenever that was. Runs and keys
    may be left out by ``run`` and ``wants``, which saves time.
    """

    def __init__(
        self, redacted: Frontier, *, run: str | None = None, wants: Callable[[str], bool] = lambda key: True
    ) -> None:
        self._redacted = redacted
        self._run = run
        self._wants = wants
        self._filtered = run is not None
        self.rows: dict[tuple[str, int], Row] = {}
        self.runs: dict[str, list[Row]] = {}
        self.mutations: dict[str, Event] = {}
        #: Ids of the mutations that do not count.
        self.off: set[str] = set()
        self._reach: dict[str, list[Row]] = {}
        self._guards: dict[str, list[Event]] = {}
        self._verdicts: list[Any] = []
        self.cancelled, self._voided = Frontier(), Frontier()
        self.effect = Effect(set(), set())

    # what stands

    def value(self, row: Row, key: str) -> Any:
        """The wire value of a cell as it is now, None if it is empty."""
        event = self.setter(row, key)
        return event.value if event is not None else row.event.data.get(key)

    def setter(self, row: Row, key: str) -> ValueSet | None:
        """The set that stands in a cell, None where the row's own value does."""
        return next((event for event in reversed(row.sets.get(key, ())) if event.id not in self.off), None)

    def is_active(self, event: Event) -> bool:
        """Whether the event is neither undone nor redacted."""
        origin = split_id(event.id)
        return not (self.cancelled.contains(*origin) or self._redacted.contains(*origin))

    # one event

    def take(self, event: Event) -> list[Entry]:
        """What the event changed; one entry at least, but for the lines that say where events come from."""
        match event:
            case WriterStarted() | WriterAlive() | WriterEnded():
                return []
            case PayloadStub() | UnknownEvent():
                return [] if self._filtered else [Entry(event, None, None, None, None)]
        if isinstance(event, Mutation):
            self.mutations[event.id] = event
        if isinstance(event, EventUndone | TableReset | PayloadRedacted):
            return self._settle(event)
        if self._redacted.contains(*split_id(event.id)):
            return [] if self._filtered else [Entry(event, None, None, None, None)]
        match event:
            case RowLogged():
                return self._log(event)
            case ValueSet():
                return self._set(event)
            case RunDeleted() | RunRewound() | RowsReplaced():
                return self._hide(event)
            case RunProtected() | RunUnprotected():
                return self._guard(event)
            case AssetAdded():
                found = [Entry(event, None, event.key, None, event.digest[:DIGEST_DIGITS])]
            case AssetRemoved():
                found = [Entry(event, None, None, event.digest[:DIGEST_DIGITS], None)]
            case _:
                found = [Entry(event, None, None, None, None)]
        return [] if self._filtered else found

    def _log(self, event: RowLogged) -> list[Entry]:
        if self._run is not None and event.run != self._run:
            return []
        row, origin = Row(event), split_id(event.id)
        row.off = self.cancelled.contains(*origin) or self._voided.contains(*origin)
        self.rows[origin] = row
        self.runs.setdefault(event.run, []).append(row)
        row.blank = row.off
        return [] if row.off else logged(event, self._wants)

    def _set(self, event: ValueSet) -> list[Entry]:
        if not self._wants(event.key):
            return []
        origin = split_id(event.id)
        active = not (self.cancelled.contains(*origin) or self._voided.contains(*origin))
        if not active:
            self.off.add(event.id)
        targets = self._targets(event, None if event.rows is not None else event.run, event.rows)
        found = []
        for row in targets:
            old = self.value(row, event.key) if active else None
            row.sets.setdefault(event.key, []).append(event)
            if not active:
                continue
            if row.visible:
                found.append(Entry(event, row.event.run, event.key, old, event.value, row.event.id))
            elif not row.blank:
                row.before.setdefault(event.key, old)
        if not found and (not self._filtered or event.run == self._run):
            found = [Entry(event, event.run, event.key, None, event.value)]
        return found

    def _hide(self, event: Hide) -> list[Entry]:
        run = None if isinstance(event, RowsReplaced) else event.run
        wanted = None if isinstance(event, RunDeleted) else event.rows
        # Of a rewind the rows are what counts, whichever runs they are of.
        targets = self._targets(event, run if wanted is None else None, wanted)
        active = not self.cancelled.contains(*split_id(event.id))
        if not active:
            self.off.add(event.id)
        runs: dict[str | None, None] = {}
        for row in targets if active else ():
            if row.visible:
                runs[row.event.run] = None
            row.hides += 1
        told = event.condition if isinstance(event, RunRewound) else None
        if not runs and not (self._filtered and run != self._run):
            runs = {run: None}
        return [Entry(event, name, None, None, told) for name in runs]

    def _guard(self, event: RunProtected | RunUnprotected) -> list[Entry]:
        if self._filtered and event.run != self._run:
            return []
        old = self._protected(event.run)
        self._guards.setdefault(event.run, []).append(event)
        return [Entry(event, event.run, None, old, self._protected(event.run))]

    def _protected(self, run: str) -> bool:
        standing = [event for event in self._guards.get(run, ()) if self.is_active(event)]
        return bool(standing) and isinstance(standing[-1], RunProtected)

    def _targets(self, event: Any, run: str | None, wanted: dict[str, str] | None) -> list[Row]:
        """Rows before the event and in the frontier of its author (law 6): those wanted, of a run, or all."""
        seen = self._frontier(event)
        if wanted is not None:
            ids = seen.intersection(Frontier.from_wire(wanted))
            rows = [self.rows[origin] for origin in self._known(ids)]
        else:
            among: Iterable[Row] = self.rows.values() if run is None else self.runs.get(run, ())
            rows = [row for row in among if seen.contains(*split_id(row.event.id))]
        self._reach[event.id] = rows
        return rows

    def _known(self, ids: Frontier) -> list[tuple[str, int]]:
        """Those of the ids that are rows. Ranges may claim more of them than there ever were."""
        if len(ids) > len(self.rows):
            return [origin for origin in self.rows if ids.contains(*origin)]
        return [(writer, seq) for writer, seqs in ids.ranges.items() for seq in seqs if (writer, seq) in self.rows]

    def _frontier(self, event: Any) -> Frontier:
        found = Frontier.from_wire(event.seen)
        if event.base is not None:
            found.update(Frontier.from_wire(getattr(self.mutations.get(event.base), "seen", None)))
        return found

    # undo, reset, redaction

    def _settle(self, event: Event) -> list[Entry]:
        """Settle anew which events count, and compare the cells of what changed sides."""
        self._verdicts.append(verdict(event))
        settlement = settle(self._verdicts)
        cancelled, voided = Frontier.from_wire(settlement.cancelled), Frontier.from_wire(settlement.voided)
        taken, given = cancelled.minus(self.cancelled), self.cancelled.minus(cancelled)
        swapped = taken.union(given)
        moved = swapped.union(voided.minus(self._voided)).union(self._voided.minus(voided))

        seen: dict[int, tuple[Row, bool, dict[str, Any]]] = {}

        def look(row: Row, key: str | None = None) -> None:
            """Keep what a row showed before this event."""
            _, _, cells = seen.setdefault(id(row), (row, row.visible, {}))
            if key is not None and key not in cells:
                cells[key] = self.value(row, key)

        rows: list[Row] = [self.rows[origin] for origin in self._known(moved)]
        sets = [each for each in self._known_mutations(moved) if isinstance(each, ValueSet)]
        hides = [each for each in self._known_mutations(swapped) if isinstance(each, Hide)]
        guards = {
            each.run for each in self._known_mutations(swapped) if isinstance(each, RunProtected | RunUnprotected)
        }
        standing = {run: self._protected(run) for run in guards}
        for row in rows:
            look(row)
        for each in sets:
            for row in self._reach.get(each.id, ()):
                look(row, each.key)
        for hide in hides:
            for row in self._reach.get(hide.id, ()):
                look(row)

        self.cancelled, self._voided = cancelled, voided
        gone = cancelled.union(voided)
        for row in rows:
            row.off = gone.contains(*split_id(row.event.id))
        for each in sets:
            self._turn(each, gone)
        for hide in hides:
            change = self._turn(hide, cancelled)
            for row in self._reach.get(hide.id, ()):
                row.hides += change

        return self._said(event, seen.values(), standing, swapped)

    def _said(
        self,
        event: Event,
        seen: Iterable[tuple[Row, bool, dict[str, Any]]],
        standing: dict[str, bool],
        swapped: Frontier,
    ) -> list[Entry]:
        """What an event that settled others changed: cells, whole runs, their protection, or nothing."""
        self.effect = Effect(set(), set())
        entries: list[Entry] = []
        runs: dict[str | None, None] = {}
        for row, was, cells in seen:
            entries += self._compare(event, row, was, cells, swapped, runs)
        told = _told(event)
        entries += [Entry(event, run, None, None, told) for run in runs]
        entries += [
            Entry(event, run, None, was, now)
            for run, was in standing.items()
            if (now := self._protected(run)) != was and not (self._filtered and run != self._run)
        ]
        if not entries:
            about = next((getattr(each, "run", None) for each in self._known_mutations(swapped)), None)
            if not self._filtered or about == self._run:
                entries = [Entry(event, about, None, None, told)]
        return entries

    def _turn(self, event: Event, gone: Frontier) -> int:
        """Mark a mutation as counting or not; 1 if it counts from now on, -1 if no longer, 0 as before."""
        was, now = event.id not in self.off, not gone.contains(*split_id(event.id))
        (self.off.discard if now else self.off.add)(event.id)
        return int(now) - int(was)

    def _known_mutations(self, ids: Frontier) -> list[Event]:
        if len(ids) > len(self.mutations):
            return [event for name, event in self.mutations.items() if ids.contains(*split_id(name))]
        names = (f"{writer}-{seq}" for writer, seqs in ids.ranges.items() for seq in seqs)
        return [self.mutations[name] for name in names if name in self.mutations]

    def _compare(
        self,
        event: Event,
        row: Row,
        was: bool,
        cells: dict[str, Any],
        swapped: Frontier,
        runs: dict[str | None, None],
    ) -> list[Entry]:
        """What became of one row; runs of which rows came or went are noted."""
        run, row_id, now = row.event.run, row.event.id, row.visible
        changed: list[tuple[str, Any, Any]] = []
        if was and now:
            changed = [(key, old, self.value(row, key)) for key, old in cells.items()]
        elif was:
            if row.off and swapped.contains(*split_id(row_id)):
                row.blank = True
                changed = [(key, cells[key] if key in cells else self.value(row, key), None) for key in row.keys()]
            else:
                row.before.update(cells)
                runs[run] = None
        elif now:
            if row.blank:
                changed = [(key, None, self.value(row, key)) for key in row.keys()]
            else:
                changed = [(key, old, self.value(row, key)) for key, old in row.before.items()]
                runs[run] = None
            row.blank, row.before = False, {}
        elif not row.blank:
            for key, old in cells.items():
                row.before.setdefault(key, old)
        found = [
            Entry(event, run, key, old, new, row_id)
            for key, old, new in changed
            if self._wants(key) and _differ(old, new)
        ]
        if found or was != now:
            self.effect.rows.add(row_id)
            if was:
                self.effect.harmed.add(run)
        if was != now and not found:
            runs[run] = None  # a row without cells comes and goes as well
        return found


def logged(event: RowLogged, wants: Callable[[str], bool]) -> list[Entry]:
    """An entry for each cell of a new row."""
    run, row_id = event.run, event.id
    found = [Entry(event, run, key, None, wire, row_id) for key, wire in event.data.items() if wants(key)]
    return found if found or event.data else [Entry(event, run, None, None, None, row_id)]


def _differ(one: Any, two: Any) -> bool:
    return one is not two and (type(one), repr(one)) != (type(two), repr(two))


def _told(event: Event) -> Any:
    """What an event without cells is about."""
    match event:
        case EventUndone():
            ranges = Frontier.from_wire(event.events).ranges
            pairs = [(writer, *pair) for writer, seqs in ranges.items() for pair in seqs.ranges()]
            names = [f"{w}-{first}" if first == last else f"{w}-{first} to {w}-{last}" for w, first, last in pairs]
            return ", ".join(names)
        case PayloadRedacted():
            return event.reason
    return None
