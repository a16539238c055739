"""What the soak holds a store to: nothing acknowledged is missing, and the tables are what a slow model says."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

from scripts.soak_worker import row_of
from tests.property import model
from xetrack import merge, redact
from xetrack.errors import StorageFailed
from xetrack.exchange.report import MergeReport
from xetrack.log import events as ev
from xetrack.log.clock import MAX_CLOCK_US, wall_us
from xetrack.log.codec import jsonl
from xetrack.log.ranges import Frontier
from xetrack.log.values import encode
from xetrack.log.verify import DAY_US
from xetrack.store import ENGINES, Store, open_store
from xetrack.table import Table

#: (kind, table, what tells it from others, mark of the call)
Fact = tuple[str, str, str, str]
#: What an event says: by table and id the checksum of its line, 0 for a stub.
Said = dict[str, dict[str, int]]


class Findings:
    """What was looked at in a store, and what is wrong with it."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.said: Said = {}
        self.event_count = self.row_count = self.torn = 0

    def expect(self, right: object, *words: object) -> None:
        if not right:
            self.wrong.append(" ".join(map(str, words)))


def check(db: str, facts: Iterable[Fact], killed: set[int], legacy: Mapping[str, int]) -> Findings:
    """Everything about a store that nobody writes to: log, acknowledged facts, verify, both engines against the model.

    ``killed`` are the processes that may have left a torn line. ``legacy`` says how many rows an
    old database had in each table: it is taken over as a whole or not at all.
    """
    found = Findings()
    with contextlib.closing(open_store(db)) as store:
        logged: dict[str, dict[str, ev.Event]] = {}
        pids: dict[str, int | None] = {}
        for table in store.log.tables():
            logged[table] = _events(store, table, pids, found)
        _check_facts(logged, facts, legacy, found)
        for table, events in logged.items():
            _check_order(table, events, found)
            _check_tables(store, table, events, found)
        _check_verify(store, logged, pids, killed, found)
    return found


def _events(store: Store, table: str, pids: dict[str, int | None], found: Findings) -> dict[str, ev.Event]:
    """The events of a table by id; one that stands in several files must be the same in all, or a stub."""
    events: dict[str, ev.Event] = {}
    said: dict[str, int] = {}
    for segment in store.log.segments(table):
        for chunk in store.log.scan(table, segment.name):
            found.expect(not chunk.damaged, f"damaged in {table}/{segment.name}:", chunk.damaged)
            for event in chunk.events:
                if isinstance(event, ev.WriterStarted):
                    pids.setdefault(store.log.where(table, segment.name), event.pid)
                sum_ = 0 if isinstance(event, ev.PayloadStub) else crc32(jsonl.encode(event)) or 1
                known = said.get(event.id, 0)
                found.expect(not known or not sum_ or known == sum_, f"{event.id} of {table} stands for two events")
                if known == 0:
                    events[event.id], said[event.id] = event, sum_
    found.said[table] = said
    found.event_count += len(events)
    return events


def _check_facts(
    logged: dict[str, dict[str, ev.Event]], facts: Iterable[Fact], legacy: Mapping[str, int], found: Findings
) -> None:
    there: Counter[tuple[str, str, str]] = Counter()
    strangers: Counter[str] = Counter()
    for table, events in logged.items():
        for event in events.values():
            match event:
                case ev.RowLogged():
                    name = event.data.get("n")
                    if not isinstance(name, str):
                        strangers[table] += 1
                        continue
                    there["row.logged", table, name] += 1
                    expected = {key: encode(value, key) for key, value in row_of(name).items()}
                    data = {key: value for key, value in event.data.items() if key != "obj"}
                    same = jsonl.encode_data(data) == jsonl.encode_data(expected)
                    found.expect(same, f"row {name} of {table} is {event.data}")
                case ev.ValueSet():
                    there["value.set", table, str(event.value)] += 1
                case ev.RunDeleted():
                    there["run.deleted", table, event.run] += 1
                case ev.TableReset():
                    there["table.reset", table, ""] += 1
                case ev.EventUndone():
                    for writer, seq in model.spread(event.events):
                        there["event.undone", table, f"{writer}-{seq}"] += 1
    for (kind, table, name), count in there.items():
        found.expect(kind != "row.logged" or count == 1, f"row {name} is {count} times in {table}")
    there |= {("imported", table, str(count)): 1 for table, count in strangers.items()}
    wanted = Counter(fact[:3] for fact in facts)
    missing = [fact for fact, count in wanted.items() if there[fact] < count]
    found.expect(not missing, f"{len(missing)} acknowledged are missing:", missing[:5])
    found.row_count = sum(count for (kind, *_), count in there.items() if kind == "row.logged")
    whole = all(legacy.get(table) == count for table, count in strangers.items())
    found.expect(whole, f"imported rows: {dict(strangers)} instead of {dict(legacy)}")


def _check_order(table: str, events: dict[str, ev.Event], found: Findings) -> None:
    """A writer's clock never goes back, and a change comes after all that its author had seen."""
    last: dict[str, int] = {}
    for event in sorted(events.values(), key=model.identity):
        writer = model.identity(event)[0]
        found.expect(event.clock >= last.get(writer, 0), f"the clock of {event.id} in {table} goes back")
        last[writer] = event.clock
    for event in events.values():
        seen = model.spread(getattr(event, "seen", None) or {})
        mine = model.identity(event)[0]
        for writer, seq in seen:
            other = events.get(f"{writer}-{seq}")
            if other is not None and writer != mine and other.clock >= event.clock < MAX_CLOCK_US:
                found.wrong.append(f"{event.id} of {table} comes before {other.id}, which its author had seen")
                break


def _check_tables(store: Store, table: str, events: dict[str, ev.Event], found: Findings) -> None:
    """Both engines show what the model says."""
    columns, rows = model.tables(events.values())
    sqlite, duckdb = (store.table(table, engine) for engine in ENGINES)
    for one in (sqlite, duckdb):
        with contextlib.suppress(StorageFailed):  # tables that were cut: put aside, and made anew by the next call
            one.records()
        one.catch_up()
    with store.locked():
        named = [(column.name, column.type) for column in store.projector("sqlite").state(table).columns]
    found.expect(named == columns, f"columns of {table}: {named} instead of {columns}")
    shown = sqlite.connection().execute(f'SELECT * FROM "{table}"').fetchall() if named or rows else []
    mine = [repr(row[1:]) for row in shown]
    other = [repr(as_sqlite(row, columns)) for row in rows]
    found.expect(mine == other, f"rows of {table}:", _difference(mine, other))
    mine, other = (_records(one) for one in (sqlite, duckdb))
    found.expect(mine == other, f"DuckDB's rows of {table}:", _difference(mine, other))


def _records(table: Table) -> list[str]:
    """Rows in a form that is the same for both engines: SQLite has no NaN, there the cell is empty."""
    return [repr({key: None if value != value else value for key, value in row.items()}) for row in table.records()]


def as_sqlite(row: tuple[Any, ...], columns: list[tuple[str, str]]) -> tuple[Any, ...]:
    """A row of the model as SQLite holds it: bools are integers there, all of a float column is floats."""
    cells = [row[0]]
    for value, (_, kind) in zip(row[1:], columns, strict=True):
        if value is None:
            cells.append(None)
        elif kind == "float":
            cells.append(float(value))
        elif kind in ("bool", "int"):
            cells.append(int(value))
        else:
            cells.append(str(value) if kind == "bigint" else value)
    return tuple(cells)


def _difference(one: list[str], two: list[str]) -> str:
    for number, (left, right) in enumerate(zip(one, two, strict=False)):
        if left != right:
            return f"the {number}. is {left} and not {right}; {len(one)} and {len(two)} rows"
    return f"{len(one)} and {len(two)} rows"


def _check_verify(
    store: Store,
    logged: dict[str, dict[str, ev.Event]],
    pids: dict[str, int | None],
    killed: set[int],
    found: Findings,
) -> None:
    report = store.verify()
    found.expect(report.ok, f"verify: {report}")
    for fault in report.torn:
        found.torn += 1
        found.expect(pids.get(fault.path) in killed, f"torn, and its writer was not killed: {fault.path}")
    horizon = wall_us() + DAY_US
    ahead = any(event.clock > horizon for events in logged.values() for event in events.values())
    found.expect(bool(report.future_clocks) == ahead, f"clocks far ahead: {report.future_clocks}")


def finish(dbs: list[str], branches: list[tuple[str, str]], ack: Callable[..., None]) -> None:
    """Bring all stores and all branches together, and see that it makes no difference who merges whom."""
    wrong: list[str] = []
    conflict_count = 0
    for one, two in pairwise(dbs):
        found, count = compared(one, two)
        wrong += found
        conflict_count += count
    for db in dbs:
        wrong += redacted_payloads(db, set(redact(db, pending=True).files_left))
    for db, branch in branches:
        os.chdir(Path(db).parent)
        merge(f"git:{branch}:track.db", into=dbs[0])
    for _ in range(2):
        for db in dbs:
            merge(*dbs, into=db)
    wrong += alike(dbs)
    ack("finished", wrong, conflict_count)


def redacted_payloads(db: str, left: set[str]) -> list[str]:
    """Events whose payload still stands in a file, though it is redacted and the file is not among those left."""
    found = []
    with contextlib.closing(open_store(db)) as store:
        for table in store.log.tables():
            scanned = [
                (store.log.where(table, segment.name), event)
                for segment in store.log.segments(table)
                for chunk in store.log.scan(table, segment.name)
                for event in chunk.events
            ]
            redacted = Frontier()
            for _, event in scanned:
                if isinstance(event, ev.PayloadRedacted):
                    redacted.update(Frontier.from_wire(event.events))
            for path, event in scanned:
                if redacted.contains(*model.identity(event)) and not isinstance(event, ev.PayloadStub):
                    if path not in left:
                        found.append(f"the payload of {event.id} is redacted and stands in {path}")
    return found


def compared(one: str, two: str) -> tuple[list[str], int]:
    """Whether a merge of two stores reports the same conflicts from either side, and how many those are."""
    ids = [_ids(db) for db in (one, two)]
    reports = [merge(two, into=one, dry_run=True), merge(one, into=two, dry_run=True)]
    left, right = (set(_between(report, *ids)) for report in reports)
    wrong = [f"conflict seen from one side only: {conflict}" for conflict in sorted(left ^ right, key=str)[:4]]
    return wrong, len(left)


def _ids(db: str) -> dict[str, set[str]]:
    with contextlib.closing(open_store(db)) as store:
        log = store.log
        return {
            table: {
                event.id
                for segment in log.segments(table)
                for chunk in log.scan(table, segment.name)
                for event in chunk.events
            }
            for table in log.tables()
        }


def _between(report: MergeReport, one: dict[str, set[str]], two: dict[str, set[str]]) -> Iterator[tuple[Any, ...]]:
    """Conflicts between an event of one store and one of the other, row by row."""
    for conflict in report.conflicts:
        mine, others = (ids.get(conflict.table, set()) for ids in (one, two))
        sides = {conflict.ours.event_id, conflict.theirs.event_id}
        standing = conflict.ours if conflict.winner == "ours" else conflict.theirs
        losing = conflict.theirs if conflict.winner == "ours" else conflict.ours
        for writer, seq in model.spread(conflict.rows):
            row = f"{writer}-{seq}"
            pair = {losing.event_id, row} if conflict.kind == "delete/rows" else sides
            if pair & (mine - others) and pair & (others - mine):
                stands = row if conflict.kind == "delete/rows" else standing.event_id
                yield conflict.kind, conflict.table, conflict.track_id, conflict.column, frozenset(pair), row, stands


def alike(dbs: list[str]) -> list[str]:
    """Stores with the same events: their tables are the same in both engines, and another merge changes no file."""
    wrong = []
    shown: dict[tuple[str, str], dict[str, list[str]]] = {}
    for db in dbs:
        with contextlib.closing(open_store(db)) as store:
            for engine in ENGINES:
                tables = [store.table(name, engine) for name in store.tables()]
                shown[db, engine] = {one.name: [repr(one.layout()), *_records(one)] for one in tables}
    first = next(iter(shown.values()))
    for where, one in shown.items():
        for name in first.keys() | one.keys():
            if one.get(name) != first.get(name):
                difference = _difference(one.get(name, []), first.get(name, []))
                wrong.append(f"{' in '.join(where)} shows another {name}: {difference}")
    for db in dbs:
        before = _files(db)
        report = merge(*dbs, into=db)
        if report.rows_added or report.conflicts or _files(db) != before:
            wrong.append(f"merging what {db} has already changed it: {report}")
    return wrong


def _files(db: str) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in Path(f"{db}.events").rglob("*") if path.is_file()}
