"""Takes the payload of rows out of a store for good: what must not have been logged.

An event says which ids are redacted, so that no copy brings their payloads back;
then the bytes go: objects, files of the log, tables (docs/redaction.md). Killed
between any two steps, the next redaction of the store completes it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from xetrack.config import DEFAULT_TABLE, Settings
from xetrack.errors import InvalidArgument, RunNotFound, RunProtected, TableNotFound
from xetrack.exchange.reach import Reach
from xetrack.exchange.replays import Replay
from xetrack.exchange.report import count_of
from xetrack.exchange.sources import with_its_engine
from xetrack.log import events as ev
from xetrack.log.assets import FileAssets, digests_in
from xetrack.log.log import FileLog, Log
from xetrack.log.ranges import Frontier
from xetrack.log.redaction import rewrite
from xetrack.store import IN_MEMORY, Store, check_table_name, open_store
from xetrack.tables.assets import digests_of_unknown
from xetrack.tables.spill import scratch_folder


@dataclass
class RedactReport:
    """What a redaction took away, or would take."""

    dry_run: bool = False
    table: str = "default"
    reason: str | None = None
    #: Runs that the redacted rows belong to.
    runs: list[str] = field(default_factory=list)
    #: Events whose payload goes: rows, values set on these rows only, and what else tells of them alone.
    rows: int = 0
    values: int = 0
    others: int = 0
    #: Sets that reach these rows and others too: their values stay, in the others and in the log.
    values_kept: int = 0
    #: Digests of stored objects that only redacted rows referred to: their bytes go.
    assets: list[str] = field(default_factory=list)
    #: Files of the log that hold stubs now, and files that still hold payloads, since their writers may live.
    files_rewritten: list[str] = field(default_factory=list)
    files_left: list[str] = field(default_factory=list)
    #: Other tables in which the run has rows; they were not touched.
    other_tables: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether there was nothing to do at all."""
        return not (self.rows or self.values or self.others or self.assets or self.files_rewritten or self.files_left)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, the fields as they are here."""
        return asdict(self)

    def __str__(self) -> str:
        would = "would be " if self.dry_run else ""
        lines = []
        if self.rows or self.values or self.others:
            runs = f" of {', '.join(self.runs)}" if self.runs else ""
            parts = [count_of(self.rows, "row") + runs, count_of(self.values, "set value")]
            parts += [count_of(self.others, "other event")] if self.others else []
            lines.append(f"table {self.table!r}: {', '.join(parts)} {would}redacted")
        if self.assets:
            lines.append(f"{count_of(len(self.assets), 'stored object')} {would}deleted: {', '.join(self.assets)}")
        if self.values_kept:
            lines.append(f"{count_of(self.values_kept, 'set value')} stay: other rows have them too")
        if self.files_rewritten:
            lines.append(f"{count_of(len(self.files_rewritten), 'file')} {would}rewritten")
        for path in self.files_left:
            lines.append(f"still holds payloads, its writer may be alive: {path}")
        if self.files_left:
            lines.append(
                "tables, merges and copies show none of it; `xt redact DB --pending` finishes when it has ended"
            )
        if self.other_tables:
            lines.append(f"the run also has rows in other tables: {', '.join(self.other_tables)}")
        return "\n".join(lines or ["nothing to redact"])


def redact(
    db: str | os.PathLike[str],
    track_id: str | None = None,
    where: str | None = None,
    reason: str | None = None,
    table: str = DEFAULT_TABLE,
    *,
    pending: bool = False,
    dry_run: bool = False,
) -> RedactReport:
    """Take the payload of rows out of a store for good, and report what went.

    Rows of a run, whether or not the table shows them, or rows that it shows and where
    an SQL condition holds, or both; with them what was set on these rows alone, and the
    stored objects that no other row refers to. Their ids and the reason stay in the
    log, so that no merge brings them back. Files whose writers have ended are rewritten
    at once; ``files_left`` are those that still hold payloads, which tables and merges
    show no more. What git's history holds is git's to rewrite.

    Args:
        db: Path of a store.
        track_id: The run.
        where: Condition over the table, as ``xt sql`` takes it.
        reason: Kept in the log for all to read, so say nothing in it that must go.
        table: Name of the table.
        pending: Redact nothing new: finish in the files what earlier redactions, made
            here or brought by a merge, have left.
        dry_run: Only report, and change nothing.

    Raises:
        InvalidArgument: nothing says which rows, there is no reason, or the condition is none.
        RunProtected: one of the rows is of a protected run.
        RunNotFound: the log has nothing of the run; names near matches.
        StoreNotFound, TableNotFound: there is none; names near matches.

    >>> redact("track.db", track_id="calm-otter-1", reason="the patient withdrew").rows
    """
    _check(db, track_id, where, reason, pending, dry_run)
    name = Settings.resolve(table=table).table
    check_table_name(name)
    store = with_its_engine(open_store(db))
    report = RedactReport(dry_run=dry_run, table=name, reason=reason)
    try:
        with store.locked():
            if not pending and name not in store.tables():
                raise TableNotFound(name, store.db, store.tables())
            for each in store.tables():
                store.log.look(each)
            redaction = _Redaction(store, report)
            if not pending:
                redaction.choose(track_id, where)
            redaction.carry_out()
            if report.nothing and track_id is not None:
                raise RunNotFound(track_id, redaction.near(track_id))
    finally:
        store.close()
    return report


def _check(
    db: str | os.PathLike[str], track_id: str | None, where: str | None, reason: str | None, pending: bool, dry: bool
) -> None:
    if os.fspath(db) == IN_MEMORY:
        raise InvalidArgument("db", f"{IN_MEMORY} ends with its process")
    if pending:
        if track_id is not None or where is not None:
            raise InvalidArgument("pending", "it finishes earlier redactions, of whatever rows")
    elif track_id is None and where is None:
        raise InvalidArgument("track_id", "nothing says which rows: give a run or a condition")
    elif not (reason or "").strip() and not dry:
        raise InvalidArgument("reason", "a redaction needs one, for those who miss the rows")


class _Redaction:
    """One call: find, tell, take away. Its maker holds the store."""

    def __init__(self, store: Store, report: RedactReport) -> None:
        self.store, self.report = store, report
        self.found = {name: _Events(store.log, name) for name in store.tables()}
        #: What is redacted after this call, by table, and what of it is new.
        self.redacted = {name: found.reach.redacted.copy() for name, found in self.found.items()}
        self.new: dict[str, Frontier] = {name: Frontier() for name in self.found}

    def choose(self, track_id: str | None, where: str | None) -> None:
        """Take the rows that are meant, and what tells of them alone."""
        table, report = self.report.table, self.report
        found, redacted = self.found[table], self.redacted[table]
        whole_run = track_id if where is None else None
        rows = self._matching(track_id, where) if whole_run is None else found.rows.get(whole_run, Frontier())
        report.runs = sorted(run for run, ids in found.rows.items() if ids.intersection(rows))
        protected = found.protected()
        for run in report.runs:
            if run in protected:
                raise RunProtected(run)
        report.rows = self._take(table, rows)
        values, report.values_kept = found.sets_on(rows, redacted, whole_run)
        report.values = self._take(table, values)
        report.others = self._take(table, found.others_about(redacted, whole_run))
        for name, digests in self._announced().items():
            report.others += self._take(name, digests)
        if whole_run is not None:
            report.other_tables = [name for name, one in self.found.items() if name != table and whole_run in one.rows]

    def _take(self, table: str, ids: Frontier) -> int:
        """Redact these as well; how many of them were not so far."""
        fresh = ids.minus(self.redacted[table])
        self.new[table].update(fresh)
        self.redacted[table].update(fresh)
        return len(fresh)

    def _matching(self, track_id: str | None, where: str | None) -> Frontier:
        """Rows that the table shows and for which the condition holds."""
        found = Frontier()
        with scratch_folder() as scratch, Replay(self.store.log, self.report.table, scratch) as replay:
            for row in replay.rows(track_id, where):
                found.add(*ev.split_id(row.event_id))
        return found

    # -- stored objects

    def _given_up(self) -> set[str]:
        """Objects that redacted events refer to, and no others."""
        gone: set[str] = set()
        kept: set[str] = set()
        for name, found in self.found.items():
            for digest, ids in found.referring.items():
                gone |= {digest} if ids.intersection(self.redacted[name]) else set()
                kept |= {digest} if ids.minus(self.redacted[name]) else set()
        return gone - kept

    def _announced(self) -> dict[str, Frontier]:
        """What tells of keys, names and sizes of objects that go, by table."""
        ids = {name: Frontier() for name in self.found}
        for digest in self._given_up():
            for name, found in self.found.items():
                ids[name].update(found.announced.get(digest, Frontier()))
        return ids

    # -- taking it away

    def carry_out(self) -> None:
        """Write what was chosen, and finish what earlier redactions left."""
        log, report = self.store.log, self.report
        assert isinstance(log, FileLog) and isinstance(log.assets, FileAssets)
        report.assets = sorted(self._given_up().intersection(log.assets.digests()))
        if not report.dry_run:
            for table, ids in self.new.items():
                if ids:
                    self._tell(table, ids)
            # Before the lines that name them: as long as these stand, a killed redaction can be completed.
            for digest in report.assets:
                log.assets.delete(digest)
        outcome = rewrite(log, self.redacted, dry_run=report.dry_run)
        report.files_rewritten, report.files_left = outcome
        if not report.dry_run and not report.nothing:
            self.store.renew()

    def _tell(self, table: str, ids: Frontier) -> None:
        """Append the event; it is on the device before anything goes."""
        writer = self.store.log.writer(table, self.store.settings.events)
        writer.acquire()
        try:
            seen = self.found[table].seen.to_wire()
            writer.append(ev.PayloadRedacted, to_disk=True, events=ids.to_wire(), reason=self.report.reason, seen=seen)
        finally:
            writer.release()

    def near(self, run: str) -> list[str]:
        """Runs of all tables with names like this one."""
        return difflib.get_close_matches(run, sorted({run for found in self.found.values() for run in found.rows}))


class _Events:
    """What the files of one table hold: rows by run, all that is no row, and who refers to which object."""

    def __init__(self, log: Log, table: str) -> None:
        self.seen = Frontier()
        #: Rows whose payload stands, by run, hidden ones too.
        self.rows: dict[str, Frontier] = {}
        #: Rows and sets together: what a writer said of its runs.
        self.said = Frontier()
        #: Events that refer to an object, and those that only tell of it, by digest.
        self.referring: dict[str, Frontier] = {}
        self.announced: dict[str, Frontier] = {}
        self.events: dict[str, ev.Event] = {}
        for segment in log.segments(table):
            for chunk in log.scan(table, segment.name):
                for event in chunk.events:
                    log.clock.witness(event.clock)
                    self._note(event)
        self.reach = Reach(self.events, lambda: self.rows)

    def _note(self, event: ev.Event) -> None:
        writer, seq = ev.split_id(event.id)
        self.seen.add(writer, seq)
        match event:
            case ev.RowLogged():
                self.said.add(writer, seq)
                self.rows.setdefault(event.run, Frontier()).add(writer, seq)
                for wire in event.data.values():
                    if type(wire) is dict or type(wire) is list:
                        _name(self.referring, digests_in(wire), writer, seq)
            case ev.PayloadStub():
                self.events.setdefault(event.id, event)
            case _:
                self.events[event.id] = event
                if isinstance(event, ev.ValueSet):
                    self.said.add(writer, seq)
                    _name(self.referring, digests_in(event.value), writer, seq)
                elif isinstance(event, ev.AssetAdded):
                    _name(self.announced, [event.digest], writer, seq)
                elif isinstance(event, ev.UnknownEvent):
                    _name(self.referring, digests_of_unknown(event), writer, seq)

    def protected(self) -> set[str]:
        """Runs whose protection stands."""
        latest: dict[str, bool] = {}
        for event in sorted(self.events.values(), key=ev.event_key):
            if isinstance(event, ev.RunProtected | ev.RunUnprotected) and self.reach.is_active(event):
                latest[event.run] = isinstance(event, ev.RunProtected)
        return {run for run, standing in latest.items() if standing}

    def sets_on(self, rows: Frontier, redacted: Frontier, run: str | None) -> tuple[Frontier, int]:
        """Sets of a run and those that reach redacted rows alone; and how many reach some of ``rows`` and others too.

        Undone ones are among them: their values stand in the log.
        """
        alone, shared = Frontier(), 0
        for event in self.events.values():
            if not isinstance(event, ev.ValueSet):
                continue
            reached = self.reach.of(event) if event.rows is None else Frontier.from_wire(event.rows)
            if (run is not None and event.run == run) or (reached and redacted.issuperset(reached)):
                alone.add(*ev.split_id(event.id))
            elif reached.intersection(rows):
                shared += 1
        return alone, shared

    def others_about(self, redacted: Frontier, run: str | None) -> Frontier:
        """Rewinds of redacted rows alone, with their conditions, ends of the run, errors of writers of nothing else."""
        found = Frontier()
        for event in self.events.values():
            writer, seq = ev.split_id(event.id)
            if isinstance(event, ev.RunRewound):
                rows = Frontier.from_wire(event.rows)
                if (run is not None and event.run == run) or (rows and redacted.issuperset(rows)):
                    found.add(writer, seq)
            elif isinstance(event, ev.WriterEnded) and event.run is not None:
                if event.run == run:
                    found.add(writer, seq)
            elif isinstance(event, ev.WriterEnded) and event.error is not None:
                said, gone = self.said.ranges.get(writer), redacted.ranges.get(writer)
                if said and gone is not None and gone.issuperset(said):
                    found.add(writer, seq)
        return found


def _name(where: dict[str, Frontier], digests: Iterable[str], writer: str, seq: int) -> None:
    for digest in digests:
        where.setdefault(digest, Frontier()).add(writer, seq)
