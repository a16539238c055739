"""Merging commutes, associates and repeats itself without effect; every conflict reported is real, every real one is.

Stores log, change and exchange events at random. What a merge reports is compared
with a slow and obvious model that looks at one row and two events at a time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.model import identity, kind, spread
from tests.property.test_projection import KEYS, RUNS, VALUES, expected, typed
from xetrack import Reader, compact, merge, redact
from xetrack.exchange.report import MergeReport
from xetrack.log import events as ev
from xetrack.log.codec import codec_for, jsonl, msgpack
from xetrack.log.log import FileLog
from xetrack.log.ranges import Frontier
from xetrack.store import open_store

Events = dict[str, ev.Event]
HIDES = ("run.deleted", "run.rewound", "rows.replaced", "table.reset")
#: Two writers for each of four stores; the second of each writes MessagePack.
WRITERS = [letter * 16 for letter in "hgfedcba"]
#: A long hunt is one with more of them.
TIMES = int(os.environ.get("HUNT_TIMES", "1"))
DIGESTS = ["ab" * 32, "cd" * 32]
#: Digits that a writer's name may not have.
_LETTERS = str.maketrans("0189", "wxyz")

# -- the model ---------------------------------------------------------------


class Model:
    """What a set of events means, one row at a time."""

    def __init__(self, events: Iterable[ev.Event]) -> None:
        self.events = {event.id: event for event in events}
        self.ordered = sorted(self.events.values(), key=ev.event_key)
        self.cancelled: set[Any] = set()
        for event in reversed(self.ordered):
            if isinstance(event, ev.EventUndone) and identity(event) not in self.cancelled:
                self.cancelled |= spread(event.events)
        self.redacted = {one for e in self.ordered if isinstance(e, ev.PayloadRedacted) for one in spread(e.events)}
        self.rows = {e.id: e for e in self.ordered if isinstance(e, ev.RowLogged)}
        self.live = [e for e in self.ordered if identity(e) not in self.cancelled | self.redacted]
        voided = {one for e in self.live if isinstance(e, ev.TableReset) for one in spread(e.seen)}
        self.sets = [e for e in self.live if isinstance(e, ev.ValueSet) and identity(e) not in voided]
        self.hides = [e for e in self.live if kind(e) in HIDES]
        self.seen = {e.id: spread(getattr(e, "seen", {}) or {}) for e in self.ordered}
        self.shown = {
            row.id
            for row in self.live
            if isinstance(row, ev.RowLogged) and not any(self.reaches(hide, row) for hide in self.hides)
        }

    def reaches(self, event: Any, row: ev.RowLogged) -> bool:
        if identity(row) not in self.seen[event.id]:
            return False
        if kind(event) in ("run.rewound", "rows.replaced"):
            return identity(row) in spread(event.rows)
        if kind(event) == "value.set" and event.rows is not None:
            return identity(row) in spread(event.rows)
        return kind(event) == "table.reset" or event.run in (None, row.run)

    def saw(self, one: ev.Event, other: ev.Event) -> bool:
        return identity(other) in self.seen[one.id]

    def blind(self, one: ev.Event, other: ev.Event) -> bool:
        return not self.saw(one, other) and not self.saw(other, one)

    def stands(self, edit: ev.ValueSet, row: ev.RowLogged) -> bool:
        """Whether a set reaches a row and nobody who had seen it set that cell again."""
        return self.reaches(edit, row) and not any(
            other.key == edit.key and self.saw(other, edit) and self.reaches(other, row) for other in self.sets
        )


def conflicts(before: Events, sources: list[Events]) -> set[tuple[Any, ...]]:
    """Every conflict that a merge brings: kind, run, column, the two events, the row."""
    model = Model([*before.values(), *(event for source in sources for event in source.values())])
    found: set[tuple[Any, ...]] = set()

    def is_new(*events: ev.Event) -> bool:
        return any(event.id not in before for event in events)

    for row in model.rows.values():
        for one, two in combinations(model.sets, 2):
            if (
                one.key == two.key
                and jsonl.encode_data(one.value) != jsonl.encode_data(two.value)
                and model.blind(one, two)
                and row.id in model.shown
                and model.stands(one, row)
                and model.stands(two, row)
                and is_new(one, two)
            ):
                found.add(("set/set", row.run, one.key, frozenset({one.id, two.id}), row.id))
        for edit in model.sets:
            for hide in model.hides:
                if (
                    model.blind(edit, hide)
                    and model.stands(edit, row)
                    and model.reaches(hide, row)
                    and row in model.live
                    and is_new(edit, hide)
                    and not any(model.reaches(h, row) and not model.blind(h, edit) for h in model.hides)
                ):
                    found.add(("delete/set", row.run, edit.key, frozenset({edit.id, hide.id}), row.id))
        for hide in model.hides:
            if not isinstance(hide, ev.RunDeleted) or hide.run != row.run or row.id not in model.shown:
                continue
            after_its_own = identity(row) > identity(hide) and identity(row)[0] == identity(hide)[0]
            logs = [source for source in sources if row.id in source]
            may_know = row.id not in before and row.clock > hide.clock and any(hide.id in source for source in logs)
            if not model.saw(hide, row) and not after_its_own and not may_know and is_new(hide, row):
                found.add(("delete/rows", row.run, None, hide.id, row.id))
    for run in RUNS:
        guards = [e for e in model.live if kind(e) in ("run.protected", "run.unprotected") and e.run == run]  # type: ignore[attr-defined]
        if guards and kind(guards[-1]) == "run.protected":
            for hide in model.hides:
                if isinstance(hide, ev.RunDeleted) and hide.run == run and model.blind(hide, guards[-1]):
                    for row in model.rows.values():
                        if model.reaches(hide, row) and is_new(hide, guards[-1]):
                            found.add(("delete/protected", run, None, frozenset({hide.id, guards[-1].id}), row.id))
    return found


def reported(report: MergeReport, before: Events) -> set[tuple[Any, ...]]:
    found: set[tuple[Any, ...]] = set()
    for conflict in report.conflicts:
        ids = {conflict.ours.event_id, conflict.theirs.event_id}
        rows = sorted(spread(conflict.rows))
        assert (conflict.row is not None) == (len(rows) == 1)
        for writer, seq in rows:
            events: Any = frozenset(ids)
            if conflict.kind == "delete/rows":
                losing = conflict.theirs if conflict.winner == "ours" else conflict.ours
                events = losing.event_id
            found.add((conflict.kind, conflict.track_id, conflict.column, events, f"{writer}-{seq}"))
        assert conflict.ours.event_id in before or conflict.theirs.event_id not in before
    return found


# -- stores that exchange events ---------------------------------------------


class World:
    """Four stores, and every event that was ever written, as it was written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.all: Events = {}
        self.ids: list[set[str]] = [set() for _ in range(4)]
        self.own: list[list[ev.Event]] = [[] for _ in WRITERS]
        self.names = list(WRITERS)
        self.seen: list[set[str]] = [set() for _ in WRITERS]
        self.now = 1_000_000

    def db(self, store: int) -> str:
        return str(self.root / f"{store}.db")

    def events(self, store: int) -> Events:
        return {event_id: self.all[event_id] for event_id in self.ids[store]}

    def write(self, store: int, second: bool, reads: bool, action: Any) -> None:
        """Let a writer of a store log or change something; a change is made in sight of what it has read."""
        writer = 2 * store + second
        name, run, detail = action
        own, seen = self.own[writer], self.seen[writer]
        if not own:
            self._add(store, writer, ev.WriterStarted, format="1.0", user=f"user{store}", host="lab")
        if reads:
            seen |= self.ids[store]
        frontier = Frontier()
        for event_id in seen:
            frontier.add(*ev.split_id(event_id))
        wire = frontier.to_wire()

        def pick(number: int, *kinds: type[ev.Event]) -> dict[str, str]:
            choices = sorted(event_id for event_id in seen if isinstance(self.all[event_id], kinds))
            found = Frontier()
            for index in {number, number // 3} if choices else ():
                found.add(*ev.split_id(choices[index % len(choices)]))
            return found.to_wire()

        match name:
            case "log":
                self._add(store, writer, ev.RowLogged, run=run, data=detail)
            case "batch":
                first = len(self.own[writer])
                for data in detail:
                    self._add(store, writer, ev.RowLogged, run=run, data=data, batch=first)
            case "asset":
                self._add(store, writer, ev.AssetAdded, digest=detail, key="m", size=1)
                self._add(store, writer, ev.RowLogged, run=run, data={"m": {"$asset": detail}})
            case "remove":
                self._add(store, writer, ev.AssetRemoved, digest=detail, seen=wire)
            case "end":
                self._add(store, writer, ev.WriterEnded, state="finished")
                # The next event is another writer's.
                self.own[writer] = []
                self.names[writer] = f"{WRITERS[writer][:8]}{len(self.all):08}".translate(_LETTERS)
            case "set":
                self._add(store, writer, ev.ValueSet, run=run, key=detail[0], value=detail[1], seen=wire)
            case "set_rows":
                if rows := pick(detail[2], ev.RowLogged):
                    self._add(store, writer, ev.ValueSet, rows=rows, key=detail[0], value=detail[1], seen=wire)
            case "delete":
                self._add(store, writer, ev.RunDeleted, run=run, seen=wire)
            case "rewind":
                if rows := pick(detail, ev.RowLogged):
                    self._add(store, writer, ev.RunRewound, run=run, rows=rows, seen=wire)
            case "replace":
                if rows := pick(detail, ev.RowLogged):
                    self._add(store, writer, ev.RowsReplaced, rows=rows, keys=["x"], seen=wire)
            case "reset":
                self._add(store, writer, ev.TableReset, seen=wire)
            case "undo":
                kinds = (ev.ValueSet, ev.RunDeleted, ev.RunRewound, ev.TableReset, ev.RowsReplaced, ev.EventUndone)
                others = (ev.RowLogged, ev.RunProtected, ev.RunUnprotected, ev.AssetAdded, ev.AssetRemoved)
                if ids := pick(detail, *kinds, *others, ev.PayloadRedacted):
                    self._add(store, writer, ev.EventUndone, events=ids, seen=wire)
            case "redact":
                if ids := pick(detail, ev.RowLogged, ev.ValueSet, ev.RunRewound, ev.AssetAdded, ev.WriterEnded):
                    self._add(store, writer, ev.PayloadRedacted, events=ids, reason="r", seen=wire)
            case "protect" | "unprotect":
                made = ev.RunProtected if name == "protect" else ev.RunUnprotected
                self._add(store, writer, made, run=run, seen=wire)

    def _add(self, store: int, writer: int, made: type[ev.Event], **fields: Any) -> None:
        own, seen = self.own[writer], self.seen[writer]
        # Each store's wall clock goes wrong by an hour of its own.
        clock = max([self.now + 7 * store, *(e.clock for e in own[-1:]), *(self.all[one].clock + 1 for one in seen)])
        event = made(id=f"{self.names[writer]}-{len(own)}", clock=clock, **fields)
        own.append(event)
        self.all[event.id] = event
        seen.add(event.id)
        self.ids[store].add(event.id)
        codec = msgpack if writer % 2 else jsonl
        folder = Path(f"{self.db(store)}.events", "default")
        folder.mkdir(parents=True, exist_ok=True)
        (folder.parent / "store.json").write_text('{"format":1}\n')
        with open(folder / f"{self.names[writer]}{codec.suffix}", "ab") as file:
            file.write(codec.encode(event))

    def merge(self, sources: list[int], into: int) -> None:
        sources = [source for source in sources if self.ids[source] and source != into]
        if not sources:
            return
        before = self.events(into)
        others = [self.events(source) for source in sources]
        dbs = [self.db(source) for source in sources]
        planned = merge(*dbs, into=self.db(into), dry_run=True)
        report = merge(*dbs, into=self.db(into))
        assert {**planned.to_dict(), "dry_run": False} == report.to_dict()
        assert reported(report, before) == conflicts(before, others)
        self.ids[into].update(*others)
        old, new = Model(before.values()), Model(self.events(into).values())
        (table,) = report.tables.values()
        assert table.rows_added == len(new.shown - old.shown)
        came = [new.events[event_id] for event_id in set(new.events) - set(before)]
        # A payload that was redacted came as a stub.
        assert table.mutations_added == sum(
            isinstance(event, ev.Mutation) and identity(event) not in new.redacted for event in came
        )
        assert report.damaged_lines == 0
        self.check(into)

    def settle(self, source: int, into: int, policy: Any) -> None:
        """Merge one store under a policy: its new events are the merger's, and nothing is left to disagree about."""
        if not self.ids[source] or source == into:
            return
        before = self.events(into)
        report = merge(self.db(source), into=self.db(into), policy=policy)
        assert reported(report, before) == conflicts(before, [self.events(source)])
        self.ids[into] |= self.ids[source]
        for event in self.logged(into):
            if event.id not in self.all:
                assert isinstance(event, ev.WriterStarted | ev.ValueSet | ev.WriterEnded)
                self.all[event.id] = event
                self.ids[into].add(event.id)
        self.check(into)

    def bring_files(self, source: int, into: int) -> None:
        """Let a source's files stand beside those of a store, as ``git merge`` does; of one name that with more."""
        if not self.ids[source] or source == into:
            return
        for file in self.folder(source).iterdir():
            there = self.folder(into) / file.name
            # Where both have as many, one may hold stubs: the other may come all the same.
            if not there.exists() or _count(there) <= _count(file):
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, there)
        shutil.copy(f"{self.db(source)}.events/store.json", f"{self.db(into)}.events")
        self.ids[into] |= self.ids[source]
        self.check(into)

    def tidy(self, store: int, how: str) -> None:
        """Take redacted payloads out of the files of a store, or pack them."""
        if not self.ids[store]:
            return
        if how == "compact":
            compact(self.db(store))
        else:
            for second in (False, True):  # only files of writers that have ended are rewritten
                if self.own[2 * store + second]:
                    self.write(store, second, True, ("redact", None, len(self.all)))
                    self.write(store, second, True, ("end", None, None))
            report = redact(self.db(store), pending=True)
            redacted = Model(self.events(store).values()).redacted
            left = {Path(path).name for path in report.files_left}
            log = FileLog(Path(f"{self.db(store)}.events"))
            for segment in log.segments("default"):
                for chunk in log.scan("default", segment.name) if segment.name not in left else ():
                    standing = [e for e in chunk.events if identity(e) in redacted]
                    assert all(isinstance(event, ev.PayloadStub) for event in standing)
        self.check(store)

    def folder(self, store: int) -> Path:
        return Path(f"{self.db(store)}.events", "default")

    def logged(self, store: int) -> list[ev.Event]:
        log = FileLog(self.folder(store).parent)
        return [e for s in log.segments("default") for chunk in log.scan("default", s.name) for e in chunk.events]

    def check(self, store: int) -> None:
        assert rows(self.db(store)) == expected(list(self.events(store).values()))
        assert {event.id for event in self.logged(store)} == self.ids[store]


def _count(file: Path) -> int:
    """How many events are in a file; a pack has them all."""
    return len(codec_for(file.name).split(file.read_bytes()).events) if len(file.stem) == 16 else 0


def rows(db: str) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
    """Columns and rows of the default table, typed."""
    with contextlib.closing(open_store(db)) as store:
        table = store.table("default")
        table.catch_up()
        columns = [(column.name, column.type) for column in store.projector().state("default").columns]
        shown = table.connection().execute('SELECT * FROM "default"').fetchall()
        return columns, [tuple(map(typed, row[1:])) for row in shown]


def log_files(db: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(f"{db}.events").rglob("*")) if path.is_file()}


_CELL = st.tuples(st.sampled_from(KEYS[:2]), VALUES)
ACTIONS = st.one_of(
    st.tuples(st.just("log"), st.sampled_from(RUNS), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2)),
    st.tuples(st.just("set"), st.sampled_from([*RUNS, None]), _CELL),
    st.tuples(st.just("set"), st.sampled_from(RUNS), st.tuples(st.just("x"), st.sampled_from([0, 1]))),
    st.tuples(st.just("set_rows"), st.none(), st.tuples(st.just("x"), VALUES, st.integers(0, 99))),
    st.tuples(
        st.just("batch"), st.sampled_from(RUNS), st.lists(st.fixed_dictionaries({"x": VALUES}), min_size=1, max_size=3)
    ),
    st.tuples(st.sampled_from(["asset", "remove"]), st.sampled_from(RUNS), st.sampled_from(DIGESTS)),
    st.tuples(st.sampled_from(["delete", "end"]), st.sampled_from(RUNS), st.none()),
    st.tuples(st.sampled_from(["rewind", "replace", "undo", "redact"]), st.sampled_from(RUNS), st.integers(0, 99)),
    st.tuples(st.sampled_from(["reset", "protect", "unprotect"]), st.sampled_from(RUNS), st.none()),
)
WRITES = st.tuples(
    st.just("write"), st.integers(0, 3), st.booleans(), st.sampled_from([True, True, False]), ACTIONS, st.integers(0, 9)
)
MERGES = st.tuples(
    st.just("merge"), st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True), st.integers(0, 3)
)
OTHERS = st.one_of(
    st.tuples(st.just("settle"), st.integers(0, 3), st.integers(0, 3), st.sampled_from(["ours", "theirs"])),
    st.tuples(st.just("bring"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("tidy"), st.integers(0, 3), st.sampled_from(["redact", "compact"])),
)
HISTORIES = st.lists(st.one_of(WRITES, WRITES, WRITES, WRITES, MERGES, OTHERS), max_size=24)
SHARED = st.integers(0, 3)


def played(root: Path, shared: int, history: list[Any]) -> World:
    """Play the steps, in stores that have some rows in common to begin with."""
    world = World(root)
    for number in range(shared):
        world.write(0, False, True, ("log", RUNS[number % 2], {"x": number}))
    for store in (1, 2, 3) if shared else ():
        world.merge([0], store)
    for step in history:
        if step[0] == "merge":
            world.merge(step[1], step[2])
        elif step[0] == "settle":
            world.settle(*step[1:])
        elif step[0] == "bring":
            world.bring_files(*step[1:])
        elif step[0] == "tidy":
            world.tidy(*step[1:])
        else:
            _, store, second, reads, action, wait = step
            world.now += wait
            world.write(store, second, reads, action)
    return world


@given(shared=SHARED, history=HISTORIES)
@settings(max_examples=120 * TIMES)
def test_merges_report_every_real_conflict_and_show_what_the_model_says(
    tmp_path_factory: Any, shared: int, history: list[Any]
) -> None:
    world = played(tmp_path_factory.mktemp("world"), shared, history)
    for store in range(4):
        world.merge([other for other in range(4) if other != store], store)
    there = [store for store in range(4) if world.ids[store]]
    # What a policy adds comes to the others with the second round.
    for store in range(4):
        world.merge([other for other in range(4) if other != store], store)
    assert len({str(rows(world.db(store))) for store in there}) <= 1
    for store in there[:1]:
        Path(world.db(store)).unlink()
        world.check(store)
    for store in there:
        before = log_files(world.db(store))
        again = merge(*(world.db(other) for other in there), into=world.db(store))
        assert (again.rows_added, again.conflicts) == (0, [])
        assert log_files(world.db(store)) == before


@given(shared=SHARED, history=HISTORIES, order=st.permutations(range(4)))
@settings(max_examples=40 * TIMES)
def test_order_and_grouping_of_merges_make_no_difference(
    tmp_path_factory: Any, shared: int, history: list[Any], order: list[int]
) -> None:
    world = played(tmp_path_factory.mktemp("world"), shared, history)
    there = [store for store in range(4) if world.ids[store]]
    if not there:
        return
    dbs = [world.db(store) for store in there]
    at_once = str(world.root / "at_once.db")
    merge(*dbs, into=at_once)
    one_by_one = str(world.root / "one_by_one.db")
    for store in order:
        if store in there:
            merge(world.db(store), into=one_by_one)
    grouped, half = str(world.root / "grouped.db"), str(world.root / "half.db")
    merge(*dbs[: len(dbs) // 2 + 1], into=half)
    shutil.copytree(f"{dbs[-1]}.events", f"{grouped}.events")
    merge(half, into=grouped)
    merge(at_once, into=half)
    assert rows(at_once) == rows(one_by_one) == rows(grouped) == rows(half)


@given(shared=SHARED, history=HISTORIES)
@settings(max_examples=15 * TIMES)
def test_stores_with_the_same_events_are_the_same_in_both_engines(
    tmp_path_factory: Any, shared: int, history: list[Any]
) -> None:
    pytest.importorskip("duckdb")
    world = played(tmp_path_factory.mktemp("world"), shared, history)
    there = [store for store in range(4) if world.ids[store]]
    for store in (*there, *there):
        world.merge(there, store)
    frames = [Reader(world.db(store), engine=engine).to_df() for store in there for engine in ("sqlite", "duckdb")]
    for frame in frames:
        pd.testing.assert_frame_equal(frame, frames[0])
    if there:
        with contextlib.closing(open_store(world.db(there[0]))) as opened:
            assert opened.verify().tables == []
