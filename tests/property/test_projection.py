"""Laws 4, 5 and 6: however events arrive, the tables are what the model says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.model import spread, tables
from xetrack.log import events as ev
from xetrack.log.codec import jsonl
from xetrack.log.log import FileLog
from xetrack.log.ranges import Frontier
from xetrack.tables.projector import Projector
from xetrack.tables.sqlite import SqliteTables

WRITERS = ["a" * 16, "b" * 16, "c" * 16]
RUNS = ["r1", "r2"]
KEYS = ["x", "X", "a b", "a_b", "m"]
VALUES = st.sampled_from(
    [
        0,
        1,
        7,
        True,
        False,
        0.5,
        2.0,
        None,
        "t",
        "007",
        [1, 2],
        {"$int": str(2**60)},
        {"$int": str(2**70)},
        {"$float": "NaN"},
    ]
)

ACTIONS = st.one_of(
    st.tuples(st.just("log"), st.sampled_from(RUNS), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3)),
    st.tuples(st.just("log"), st.sampled_from(RUNS), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3)),
    st.tuples(st.just("set"), st.sampled_from([*RUNS, None]), st.tuples(st.sampled_from(KEYS), VALUES)),
    st.tuples(st.just("set_rows"), st.none(), st.tuples(st.sampled_from(KEYS), VALUES, st.integers(0, 99))),
    st.tuples(st.just("delete"), st.sampled_from(RUNS), st.none()),
    st.tuples(st.just("rewind"), st.sampled_from(RUNS), st.integers(0, 99)),
    st.tuples(st.just("replace"), st.none(), st.integers(0, 99)),
    st.tuples(st.just("reset"), st.none(), st.none()),
    st.tuples(st.just("undo"), st.none(), st.integers(0, 99)),
    st.tuples(st.just("redact"), st.none(), st.integers(0, 99)),
    st.tuples(st.just("protect"), st.sampled_from(RUNS), st.none()),
)
#: (author, whether it reads the others' events first, microseconds since the last step, what it does)
STEPS = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from([0, 0, 1, 5]), ACTIONS), max_size=16)


class Author:
    """One writer that has seen only what it synced."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[ev.Event] = []
        self.seen: dict[str, ev.Event] = {}
        self.floor = 0

    def add(self, kind: type[ev.Event], now: int, **fields: Any) -> None:
        clock = max(now, self.floor, self.events[-1].clock if self.events else 0)
        event = kind(id=f"{self.name}-{len(self.events)}", clock=clock, **fields)
        self.events.append(event)
        self.seen[event.id] = event

    def frontier(self) -> dict[str, str]:
        found = Frontier()
        for id in self.seen:
            found.add(*ev.split_id(id))
        return found.to_wire()

    def pick(self, number: int, *kinds: type[ev.Event]) -> dict[str, str]:
        """One or two of the events that it has seen, as ranges."""
        choices = sorted(id for id, event in self.seen.items() if isinstance(event, kinds))
        found = Frontier()
        for index in {number, number // 3} if choices else ():
            found.add(*ev.split_id(choices[index % len(choices)]))
        return found.to_wire()


def history(steps: list[Any]) -> list[list[ev.Event]]:
    """Play the steps: the events of each author, every mutation with an honest frontier."""
    authors = [Author(name) for name in WRITERS]
    now = 1_000_000
    for number, reads, wait, (action, run, detail) in steps:
        author, now = authors[number], now + wait
        if not author.events:
            author.add(ev.WriterStarted, now, format="1.0")
        if reads:
            for event in [event for other in authors for event in other.events]:
                author.seen[event.id] = event
                author.floor = max(author.floor, event.clock + 1)
        seen = author.frontier()
        mutations = (
            ev.ValueSet,
            ev.RunDeleted,
            ev.RunRewound,
            ev.TableReset,
            ev.RowsReplaced,
            ev.EventUndone,
            ev.RowLogged,
        )
        match action:
            case "log":
                author.add(ev.RowLogged, now, run=run, data=detail)
            case "set":
                author.add(ev.ValueSet, now, run=run, key=detail[0], value=detail[1], seen=seen)
            case "set_rows":
                if rows := author.pick(detail[2], ev.RowLogged):
                    author.add(ev.ValueSet, now, rows=rows, key=detail[0], value=detail[1], seen=seen)
            case "delete":
                author.add(ev.RunDeleted, now, run=run, seen=seen)
            case "rewind":
                if rows := author.pick(detail, ev.RowLogged):
                    author.add(ev.RunRewound, now, run=run, condition={"step": 1}, rows=rows, seen=seen)
            case "replace":
                if rows := author.pick(detail, ev.RowLogged):
                    author.add(ev.RowsReplaced, now, rows=rows, keys=["x"], source="s", seen=seen)
            case "reset":
                author.add(ev.TableReset, now, seen=seen)
            case "undo":
                if ids := author.pick(detail, *mutations):
                    author.add(ev.EventUndone, now, events=ids, seen=seen)
            case "redact":
                if ids := author.pick(detail, ev.RowLogged, ev.ValueSet):
                    author.add(ev.PayloadRedacted, now, events=ids, reason="r", seen=seen)
            case "protect":
                author.add(ev.RunProtected, now, run=run, seen=seen)
    return [author.events for author in authors]


def write(root: Path, author: int, count: int, events: list[ev.Event]) -> None:
    """Make a segment hold the first ``count`` events of an author."""
    folder = root / "default"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "store.json").write_text('{"format":1}\n')
    (folder / f"{WRITERS[author]}.jsonl").write_bytes(b"".join(map(jsonl.encode, events[:count])))


def dump(projector: Projector, backend: SqliteTables) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
    if not backend.has("default"):
        return [], []
    columns = [(column.name, column.type) for column in projector.state("default").columns]
    rows = backend.conn.run('SELECT * FROM "default" ORDER BY _rowid_').fetchall()
    return columns, [tuple(map(typed, row[1:])) for row in rows]


def typed(cell: Any) -> Any:
    return (type(cell).__name__, cell)


def expected(events: list[ev.Event]) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
    columns, rows = tables(events)
    shown = []
    for row in rows:
        # SQLite holds bools as integers, and integers in a float column as floats.
        cells = []
        for cell, kind in zip(row[1:], (kind for _, kind in columns), strict=True):
            if cell is not None:
                cell = float(cell) if kind == "float" else int(cell) if kind in ("bool", "int") else cell
                cell = str(cell) if kind == "bigint" else cell
            cells.append(typed(cell))
        shown.append((typed(row[0]), *cells))
    return columns, shown


@given(
    steps=STEPS,
    arrivals=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=10),
    limit=st.sampled_from([2, 100]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_arrival_order_and_any_cut_equal_the_model(
    tmp_path_factory: Any, steps: list[Any], arrivals: list[tuple[int, int]], limit: int
) -> None:
    root = tmp_path_factory.mktemp("log") / "t.db.events"
    authors = history(steps)
    log = FileLog(root)
    backend = SqliteTables(None)
    projector = Projector(log, backend)
    there = [0, 0, 0]
    for author, more in arrivals:
        there[author] = min(there[author] + more, len(authors[author]))
        if there[author]:
            write(root, author, there[author], authors[author])
            projector.catch_up("default")
            arrived = [event for index, count in enumerate(there) for event in authors[index][:count]]
            assert dump(projector, backend) == expected(arrived)
    everything = [event for events in authors for event in events]
    for author, events in enumerate(authors):
        if events:
            write(root, author, len(events), events)
    projector.catch_up("default")
    assert dump(projector, backend) == expected(everything)
    again = SqliteTables(None, limit=limit)
    rebuilt = Projector(log, again)
    rebuilt.catch_up("default")
    if limit == 100:
        assert dump(rebuilt, again) == expected(everything)
    backend.close()
    again.close()


def test_ids_spread_as_the_format_says() -> None:
    assert spread({"w": "0-2,7"}) == {("w", 0), ("w", 1), ("w", 2), ("w", 7)}
