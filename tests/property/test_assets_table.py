"""The table ``assets`` says what ``AssetsView`` reads from the log, however events arrive, in both engines."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.test_projection import Author
from xetrack.config import Settings
from xetrack.log import events as ev
from xetrack.log.codec import jsonl
from xetrack.read.asset_events import AssetEvents
from xetrack.read.assets import AssetsView
from xetrack.store import Store, open_store
from xetrack.tables.sqlite import SqliteTables

#: Two that begin alike, and one for itself.
DIGESTS = ["ab" * 8 + "0" * 48, "ab" * 8 + "1" * 48, "c0ffee11" * 8]
KEYS = ["m", "n", "M"]
TABLES = ["default", "other"]
OFFSET_S = 7200


def wires(digest: str) -> list[Any]:
    """Ways in which a cell holds an object, or a text that is its hash."""
    nested = {"$dict": {"$asset": {"$asset": digest}}}
    return [{"$asset": digest}, [{"$asset": digest}, "x", {"$asset": digest}], nested, digest[:16], {digest[:16]: 1}]


CELLS = st.one_of(
    st.sampled_from(DIGESTS).flatmap(lambda digest: st.sampled_from(wires(digest))), st.sampled_from([1, "t", None])
)
ROWS = st.tuples(st.just("log"), st.sampled_from("rs"), st.dictionaries(st.sampled_from(KEYS), CELLS, max_size=3))
ADDED = st.tuples(st.just("add"), st.sampled_from(DIGESTS), st.sampled_from(KEYS))
REMOVED = st.tuples(st.just("remove"), st.sampled_from(DIGESTS), st.sampled_from([None, True]))
ACTIONS = st.one_of(
    ROWS,
    ROWS,
    ADDED,
    ADDED,
    REMOVED,
    REMOVED,
    st.tuples(st.just("set"), st.sampled_from(KEYS), CELLS),
    st.tuples(st.just("delete"), st.sampled_from("rs"), st.none()),
    st.tuples(st.just("reset"), st.none(), st.none()),
    st.tuples(st.just("undo"), st.none(), st.integers(0, 99)),
    st.tuples(st.just("redact"), st.none(), st.integers(0, 99)),
)
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 1), st.booleans(), st.sampled_from([0, 0, 1, 5]), ACTIONS), max_size=14
)
ARRIVALS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(1, 4), st.booleans()), max_size=6)


def history(steps: list[Any]) -> dict[tuple[int, int], list[ev.Event]]:
    """Play the steps: the events of each author in each table, every mutation with an honest frontier."""
    authors = {(who, table): Author("abcdef"[2 * who + table] * 16) for who in range(3) for table in range(2)}
    now = 1_700_000_000_000_000
    for who, table, reads, wait, (action, name, detail) in steps:
        author, now = authors[who, table], now + wait
        if not author.events:
            author.add(ev.WriterStarted, now, format="1.0", utc_offset_s=OFFSET_S)
        if reads:
            for event in [event for other in range(3) for event in authors[other, table].events]:
                author.seen[event.id] = event
                author.floor = max(author.floor, event.clock + 1)
        seen = author.frontier()
        match action:
            case "log":
                author.add(ev.RowLogged, now, run=name, data=detail)
            case "add":
                author.add(ev.AssetAdded, now, digest=name, key=detail, size=who, codec=f"c{now % 2}")
            case "remove":
                author.add(ev.AssetRemoved, now, digest=name, keeps_keys=detail, seen=seen)
            case "set":
                author.add(ev.ValueSet, now, key=name, value=detail, seen=seen)
            case "delete":
                author.add(ev.RunDeleted, now, run=name, seen=seen)
            case "reset":
                author.add(ev.TableReset, now, seen=seen)
            case "undo":
                kinds = (ev.RowLogged, ev.AssetAdded, ev.AssetRemoved, ev.ValueSet, ev.TableReset, ev.EventUndone)
                if ids := author.pick(detail, *kinds):
                    author.add(ev.EventUndone, now, events=ids, seen=seen)
            case "redact":
                if ids := author.pick(detail, ev.RowLogged, ev.ValueSet):
                    author.add(ev.PayloadRedacted, now, events=ids, reason="r", seen=seen)
    return {place: author.events for place, author in authors.items()}


def assert_agrees(store: Store, assets: AssetsView) -> None:
    found = []
    for info in assets.listing():
        local = (info.first_logged + dt.timedelta(seconds=OFFSET_S)).strftime("%Y-%m-%d %H:%M:%S.%f")
        key = info.keys[0] if info.keys else None
        found.append((info.hash, key, info.size_bytes, info.references, info.codec, local))
    assert store.connection().execute("SELECT * FROM db.assets").fetchall() == found


def opened(db: Path, engine: str) -> tuple[Store, AssetsView]:
    store = open_store(db, settings=Settings.resolve(engine=engine))
    return store, AssetsView(store.table("default"), AssetEvents(store.log))


@pytest.mark.parametrize("engine", ["sqlite", "duckdb", "eager duckdb"])
@given(authors=STEPS.map(history), arrivals=ARRIVALS, limit=st.sampled_from([1, 100]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_table_agrees_with_the_log_for_any_history(
    engine: str, tmp_path_factory: Any, authors: dict[Any, list[ev.Event]], arrivals: list[Any], limit: int
) -> None:
    db: Path = tmp_path_factory.mktemp("log") / "t.db"
    root = Path(f"{db}.events")
    root.mkdir()
    (root / "store.json").write_text('{"format":1}\n')
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SqliteTables, "limit", limit)
        if engine != "sqlite":
            pytest.importorskip("duckdb")
            from xetrack.tables.duckdb import DuckdbTables

            patched.setattr(DuckdbTables, "limit", limit)
            for name, few in {"cheap_cells": 8, "heavy_cells": 8, "large_bytes": 1500}.items():
                if engine.startswith("eager"):  # writes generations where the original waits for millions of cells
                    patched.setattr(DuckdbTables, name, few)
        name = engine.rpartition(" ")[2]
        store, assets = opened(db, name)
        there = dict.fromkeys(authors, 0)
        for who, table, more, reopens in [*arrivals, *((*place, 99, True) for place in authors)]:
            events = authors[who, table]
            there[who, table] = count = min(there[who, table] + more, len(events))
            if not count:
                continue
            (root / TABLES[table]).mkdir(exist_ok=True)
            path = root / TABLES[table] / f"{'abcdef'[2 * who + table] * 16}.jsonl"
            path.write_bytes(b"".join(map(jsonl.encode, events[:count])))
            assert_agrees(store, assets)
            if reopens:
                store.close()
                store, assets = opened(db, name)
                assert_agrees(store, assets)
        assert store.verify().tables == []
        store.close()
