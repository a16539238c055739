"""Plans what a store takes over from others, and carries it out: all of it or nothing.

A plan reads and writes nothing. Carrying it out writes packs beside their places,
then the assets that their lines name (law 3), then moves the packs in; a process
that is killed between any two of these steps leaves what the next call completes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from xetrack.errors import AssetDamaged, AssetNotFound, InvalidTable
from xetrack.exchange.reach import Hide, Reach, run_of
from xetrack.exchange.report import MergeReport, TableReport
from xetrack.exchange.sources import Source
from xetrack.exchange.taken import Taken, is_row, stored_events, stored_rows
from xetrack.log.events import (
    AssetRemoved,
    Event,
    EventUndone,
    Mutation,
    PayloadRedacted,
    ValueSet,
    WriterStarted,
    split_id,
)
from xetrack.log.log import FileLog, Log
from xetrack.log.packs import all_lines, draft_pack, id_of
from xetrack.log.ranges import Frontier
from xetrack.tables.layout import KeyFacts, arrange

if TYPE_CHECKING:
    from xetrack.store import Store

_DIGEST = re.compile(rb'"(?:\$asset|digest)":"([0-9a-f]{64})"')
_NO_LIMIT = 1 << 31

T = TypeVar("T")


class Overtaken(Exception):
    """A source was redacted after a plan had read it: the plan names objects whose bytes are gone. Plan again."""


def until_not_overtaken(work: Callable[[], T]) -> T:
    """Plan and carry out, again as often as a redaction came in between."""
    while True:
        try:
            return work()
        except Overtaken:
            continue


class TablePlan:
    """What one table takes over: ``taken``, and what that does to it."""

    def __init__(self, store: Store, table: str, sources: Sequence[Source]) -> None:
        """Reads what is new in the sources; the caller holds the store."""
        self.table = table
        handle = store.table(table)
        handle.catch_up()
        projector = store.projector()
        state = projector.state(table)
        self.log = store.log
        self.sources = sources
        self._authors: dict[str, str] = {}
        #: The largest reading in the store.
        self.last_clock = state.last_clock
        #: Ids that the store has.
        self.seen = projector.frontier(table).copy()
        self.facts = state.facts
        self.taken = Taken(table, store.log, self.seen, sources)
        #: Events of the store that are no rows, by id; read only where there are mutations and something new.
        has_mutations = state.last_mutation[0] >= 0 and bool(self.taken.lines)
        self.stored: dict[str, Event] = stored_events(store.log, table) if has_mutations else {}
        self._old_rows: dict[str, Frontier] | None = None
        self._judged: tuple[Frontier, dict[str, Frontier]] | None = None
        self.reach = Reach({**self.stored, **self.taken.events}, self._rows)
        self.taken.redact(self.reach.redacted)
        #: Runs of which the store shows rows.
        self.old_runs: set[str] = set(handle.runs()) if self.taken.lines else set()

    def old_rows(self) -> dict[str, Frontier]:
        """Rows of the store by run, hidden ones too: this reads the whole table."""
        if self._old_rows is None:
            self._old_rows = stored_rows(self.log, self.table, self.seen)
        return self._old_rows

    def _rows(self) -> dict[str, Frontier]:
        found = {run: ids.copy() for run, ids in self.old_rows().items()}
        for run, ids in self.taken.rows.items():
            found.setdefault(run, Frontier()).update(ids)
        return found

    def knows(self, event: Event) -> bool:
        """Whether the store had an event or takes it over."""
        place = split_id(event.id)
        return self.seen.contains(*place) or self.taken.ids.contains(*place)

    @property
    def mutations(self) -> list[Event]:
        """New events about earlier rows."""
        return [event for event in self.taken.events.values() if isinstance(event, Mutation)]

    def redacted_here(self) -> int:
        """How many events of the store a redaction takes back that comes in now."""
        found, known = Frontier(), Frontier()
        for event in self.reach.events.values():
            if isinstance(event, PayloadRedacted):
                is_new = self.taken.ids.contains(*split_id(event.id))
                (found if is_new else known).update(Frontier.from_wire(event.events))
        return len(found.minus(known).intersection(self.seen))

    def shown(self) -> dict[str, Frontier]:
        """New rows that the table will show, by run."""
        if not self.stored and not self.mutations:
            return self.taken.rows
        hidden = Reach(self.reach.events, lambda: self.taken.rows).hidden()
        return {run: left for run, ids in self.taken.rows.items() if (left := ids.minus(hidden))}

    def brought_back(self) -> int:
        """How many rows of the store, hidden until now, the table will show."""
        if not any(isinstance(event, EventUndone) for event in self.mutations):
            return 0
        before = Reach(self.stored, self.old_rows)
        after = Reach(self.reach.events, self.old_rows)
        return len(before.hidden().minus(after.hidden()).intersection(before.all_rows()))

    def touched(self, shown: dict[str, Frontier]) -> set[str]:
        """Runs with new rows to show, and those of the store that something new is about."""
        found = set(shown)
        undone = Frontier()
        for event in self.mutations:
            if isinstance(event, EventUndone):
                undone.update(Frontier.from_wire(event.events))
        for event in self.reach.events.values():
            is_new = self.taken.ids.contains(*split_id(event.id)) or undone.contains(*split_id(event.id))
            if not is_new or not isinstance(event, ValueSet | Hide):
                continue
            run = run_of(event)
            if run is not None:
                found |= {run} & self.old_runs
            else:
                reached = self.reach.of(event)
                found |= {run for run, ids in self.old_rows().items() if ids.intersection(reached)}
        return found

    def author(self, writer: str) -> str:
        """Who a writer's header says it was."""
        if writer not in self._authors:
            header_id = f"{writer}-0"
            header = self.reach.events.get(header_id) or self.log.find(self.table, header_id)
            self._authors[writer] = _said_by(header, writer)
        return self._authors[writer]

    def source_has(self, number: int, event_id: str) -> bool:
        """Whether a source holds an event, new to the store or not."""
        if self.taken.of_source[number].contains(*split_id(event_id)):
            return True
        if not self.seen.contains(*split_id(event_id)):
            return False
        log, wanted = self.sources[number].log, event_id.encode()
        return any(
            id_of(line) == wanted
            for segment in log.segments(self.table)
            for lines in all_lines(log, self.table, segment.name)
            for line in lines
            if not is_row(line)
        )

    def names_object(self, digest: str, writer: str, seq: int) -> bool:
        """Whether an event that names an object still counts, and nobody who had seen it took the object away."""
        if self._judged is None:
            stored = self.stored or stored_events(self.log, self.table)
            reach = Reach({**stored, **self.taken.events}, self._rows)
            removed: dict[str, Frontier] = {}
            for event in reach.events.values():
                if isinstance(event, AssetRemoved) and reach.is_active(event):
                    removed.setdefault(event.digest, Frontier()).update(reach.seen(event))
            self._judged = reach.gone, removed
        gone, removals = self._judged
        seen = removals.get(digest)
        return not gone.contains(writer, seq) and (seen is None or not seen.contains(writer, seq))

    def report(self, shown: dict[str, Frontier]) -> TableReport:
        columns = {column.key: column for column in arrange(self.facts, _NO_LIMIT)}
        merged = {key: KeyFacts(facts.mask, facts.first) for key, facts in self.facts.items()}
        for key, facts in self.taken.key_facts(self.reach.excluded).items():
            known = merged.get(key)
            if known is None:
                merged[key] = facts
            else:
                known.mask |= facts.mask
                known.first = min(known.first, facts.first)
        after = arrange(merged, _NO_LIMIT)
        return TableReport(
            rows_added=sum(map(len, shown.values())) + self.brought_back(),
            mutations_added=len(self.mutations),
            columns_added=[column.name for column in after if column.key not in columns],
            columns_widened=[
                column.name
                for column in after
                if column.key in columns and columns[column.key].type not in ("null", column.type)
            ],
        )


def _said_by(header: Event | None, writer: str) -> str:
    """Who wrote a segment: ``user@host`` as its header has it, the writer's name without one."""
    if not isinstance(header, WriterStarted):
        return writer
    return "@".join(part for part in (header.user, header.host) if part) or writer


def plan(store: Store, sources: Sequence[Source], tables: Sequence[str]) -> tuple[list[TablePlan], MergeReport]:
    """What the store would take over, and the report of it without assets and conflicts. Writes nothing.

    Raises:
        SameIdDifferentEvent: one id stands for two events.
        FormatTooNew: a later release wrote a source.
        InvalidTable: two tables would differ only in case.
    """
    _refuse_case_clash([*store.tables(), *tables])
    plans = [TablePlan(store, table, sources) for table in tables]
    report = MergeReport()
    old_runs = set().union(*(plan.old_runs for plan in plans))
    touched: set[str] = set()
    for one in plans:
        shown = one.shown()
        report.tables[one.table] = one.report(shown)
        report.damaged_lines += one.taken.damaged
        report.future_clocks.update(one.taken.future)
        report.redacted_here += one.redacted_here()
        touched |= one.touched(shown)
    report.runs_new, report.runs_touched = sorted(touched - old_runs), sorted(touched & old_runs)
    return plans, report


def _refuse_case_clash(tables: Iterable[str]) -> None:
    folded: dict[str, str] = {}
    for table in tables:
        other = folded.setdefault(table.casefold(), table)
        if other != table:
            raise InvalidTable(table, f"there is a table {other!r}, and some systems take both for one folder")


# -- assets ------------------------------------------------------------------


def asset_plan(log: Log, plans: Sequence[TablePlan], sources: Sequence[Source]) -> dict[str, list[Source]]:
    """Objects that lines of the sources name and the store lacks, each with the sources that have it.

    Without a source: none has it. What only redacted lines named, or an author took
    away who had seen it named, stays away.
    """
    have = set(log.assets.digests())
    wanted: dict[str, list[Source]] = {}
    for one in plans:
        for _, writer, seq, line in one.taken.lines:
            for digest in _named(one, line, writer, seq):
                if digest not in have:
                    wanted.setdefault(digest, [])
    for source in sources:
        there = set(source.log.assets.digests()) - have
        if there:
            for digest in there & set(_named_in(source.log, plans)):
                wanted.setdefault(digest, []).append(source)
    return wanted


def _named_in(log: Log, plans: Sequence[TablePlan]) -> Iterator[str]:
    for one in plans:
        for segment in log.segments(one.table):
            for lines in all_lines(log, one.table, segment.name):
                for line in lines:
                    if b"$asset" in line or not is_row(line):
                        writer, _, seq = id_of(line).decode(errors="replace").rpartition("-")
                        if seq.isdecimal():
                            yield from _named(one, line, writer, int(seq))


def _named(one: TablePlan, line: bytes, writer: str, seq: int) -> Iterator[str]:
    """Digests that a line names and that still count."""
    if b"asset" in line and not line.startswith(b'{"kind":"asset.removed"'):
        for found in _DIGEST.finditer(line):
            digest = found[1].decode()
            if one.names_object(digest, writer, seq):
                yield digest


def count_assets(report: MergeReport, plans: Sequence[TablePlan], wanted: dict[str, list[Source]]) -> None:
    """Report what ``carry_out`` would take; each object is read through.

    Raises:
        Overtaken: an object that is missing was redacted meanwhile.
    """
    for digest, sources in sorted(wanted.items()):
        if _first_whole(digest, sources) is None:
            _miss(digest, plans, report)
        else:
            report.assets_added += 1


def _first_whole(digest: str, sources: Iterable[Source]) -> Source | None:
    for source in sources:
        try:
            source.log.assets.check(digest)
            return source
        except (AssetNotFound, AssetDamaged):
            continue
    return None


def _miss(digest: str, plans: Sequence[TablePlan], report: MergeReport) -> None:
    """Report an object that no source has, unless a redaction in one of them explains it, which the plans lack."""
    for one in plans:
        for source in one.sources:
            for event in stored_events(source.log, one.table).values():
                if isinstance(event, PayloadRedacted) and not one.knows(event):
                    raise Overtaken
    report.assets_missing.append(digest)


# -- carrying it out ---------------------------------------------------------


def carry_out(store: Store, plans: Sequence[TablePlan], wanted: dict[str, list[Source]], report: MergeReport) -> None:
    """Write it, then let the tables catch up. After an error the log is what it was.

    Objects that were taken over before an error may stay; no line names them.

    Raises:
        DiskFull: nothing was taken over.
        Overtaken: an object that is missing was redacted meanwhile; nothing was taken over.
    """
    log = store.log
    assert isinstance(log, FileLog)
    drafts = []
    placed = []
    try:
        for one in plans:
            if one.taken.lines:
                drafts.append(draft_pack(log, one.table, [line for *_, line in one.taken.lines]))
        for digest, sources in sorted(wanted.items()):
            source = _first_whole(digest, sources)
            if source is None:
                _miss(digest, plans, report)
            else:
                log.assets.copy_from(source.log.assets, digest, to_disk=True)
                report.assets_added += 1
        for draft in drafts:
            placed.append(draft)
            draft.place()
    except BaseException:
        for draft in placed:
            draft.path.unlink(missing_ok=True)
        for draft in drafts:
            draft.discard()
        raise
    store.flush()
