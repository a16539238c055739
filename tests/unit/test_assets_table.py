"""`SELECT * FROM assets`: in both engines, to users and to other SQL clients."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.conftest import Xt
from tests.strategies import signed
from xetrack import Reader, Tracker
from xetrack.config import Settings
from xetrack.errors import InvalidTable, ReadOnlyTables
from xetrack.log.codec import jsonl
from xetrack.log.events import AssetAdded, AssetRemoved, EventUndone, RowLogged, TableReset
from xetrack.log.log import FileLog
from xetrack.store import open_store
from xetrack.tables import assets
from xetrack.tables.keeper import Engine
from xetrack.tables.projector import Projector
from xetrack.tables.sqlite import SqliteTables

COLUMNS = ["hash", "key", "size_bytes", "references", "codec", "first_logged"]
DIGEST = "c0ffee11" * 8
HASH = DIGEST[:16]


@pytest.fixture(params=["sqlite", "duckdb"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "duckdb":
        pytest.importorskip("duckdb")
    found: Engine = request.param
    return found


@pytest.fixture
def tracker(db: str, engine: Engine) -> Iterator[Tracker]:
    with Tracker(db, engine=engine, track_id="run-1") as tracker:
        yield tracker


def rows(conn: Any, columns: str = "*") -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = conn.execute(f"SELECT {columns} FROM assets").fetchall()
    return found


def references(conn: Any) -> dict[str, int]:
    return dict(rows(conn, 'hash, "references"'))


def test_new_store_has_an_empty_table_of_assets(tracker: Tracker) -> None:
    for name in ("assets", "db.assets"):
        cursor = tracker.conn.execute(f"SELECT * FROM {name}")
        assert [column[0] for column in cursor.description] == COLUMNS
        assert cursor.fetchall() == []


def test_one_row_for_each_asset_in_the_order_they_were_first_logged(
    tracker: Tracker, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "w.bin").write_bytes(b"12345")
    first = tracker.log({"z": Fraction(1, 2)})["z"]
    with Tracker(tracker.db, engine=engine, table="files", log_files=True) as files:
        second = files.log({"w": tmp_path / "w.bin"})["w"]
    tracker.log({"a": Fraction(1, 2), "note": first})
    times = dict(tracker.conn.execute('SELECT z, "timestamp" FROM events WHERE z IS NOT NULL').fetchall())
    made = rows(tracker.conn)
    sizes = {info.hash: info.size_bytes for info in tracker.assets.listing()}
    assert [row[:5] for row in made] == [
        (first, "a", sizes[first], 3, "cloudpickle+zstd"),
        (second, "w", 5, 1, "file+zstd"),
    ]
    # The object was stored, and named, just before its row.
    assert len(made[0][5]) == len(times[first]) and made[0][5] <= times[first] < made[1][5]


def test_cells_count_once_whether_they_are_the_hash_or_hold_it(tracker: Tracker) -> None:
    shown = tracker.log({"m": Fraction(1, 3)})["m"]
    objects = [Fraction(1, 3), Fraction(1, 3)]
    tracker.log({"m": None, "l": objects, "d": {"deep": [{"er": Fraction(1, 3)}]}, "note": shown})
    tracker.log({"k": {shown: 1}, "note": json.dumps([shown]), "l": [1], "d": {"no": "hash"}})
    tracker.log({"note": f"see {shown}", "k": {"no": shown[:15]}})
    assert references(tracker.conn) == {shown: 6} == {shown: tracker.assets.info("m").references}


def test_rows_that_were_deleted_do_not_count(tracker: Tracker, engine: Engine) -> None:
    shown = tracker.log({"m": Fraction(1, 3)})["m"]
    with Tracker(tracker.db, engine=engine, track_id="run-2") as other:
        other.log({"m": Fraction(1, 3)})
    assert references(tracker.conn) == {shown: 2}
    Reader(tracker.db, engine=engine).delete_run("run-2")
    assert references(tracker.conn) == {shown: 1}


def test_asset_that_was_removed_is_not_there_until_it_is_logged_again(tracker: Tracker) -> None:
    shown = tracker.log({"m": Fraction(1, 3)})["m"]
    assert tracker.assets.remove("m", column="m")
    assert rows(tracker.conn) == []
    tracker.log({"again": Fraction(1, 3)})
    assert rows(tracker.conn, 'hash, key, "references"') == [(shown, "again", 1)]


def test_other_sql_clients_read_it_from_the_file(tracker: Tracker, engine: Engine) -> None:
    shown = tracker.log({"m": Fraction(1, 3), "l": [Fraction(1, 3)]})["m"]
    tracker.close()
    if engine == "sqlite":
        for target, name in ((tracker.db, "assets"), (":memory:", "theirs.assets")):
            conn = sqlite3.connect(target)
            conn.execute("ATTACH ? AS theirs", (tracker.db,))
            assert conn.execute(f'SELECT hash, "references" FROM {name}').fetchall() == [(shown, 2)]
            conn.close()
        return
    import duckdb

    path = tracker.db.replace(".db", ".duckdb")
    with duckdb.connect(path, read_only=True) as duck:
        assert references(duck) == {shown: 2}
    with duckdb.connect() as duck:
        duck.execute(f"ATTACH '{path}' AS theirs (READ_ONLY)")
        assert duck.execute('SELECT hash, "references" FROM theirs.assets').fetchall() == [(shown, 2)]


@pytest.mark.parametrize("statement", ["DELETE FROM assets", "UPDATE assets SET key = 'x'", "DROP VIEW assets"])
def test_it_is_read_only(tracker: Tracker, statement: str) -> None:
    shown = tracker.log({"m": Fraction(1, 3)})["m"]
    with pytest.raises(ReadOnlyTables):
        tracker.conn.execute(statement)
    assert rows(tracker.conn, "hash, key") == [(shown, "m")]


def test_it_is_no_table_of_the_users(tracker: Tracker, engine: Engine) -> None:
    tracker.log({"m": Fraction(1, 3)})
    assert open_store(tracker.db).tables() == ["default"]
    with pytest.raises(InvalidTable):
        Tracker(tracker.db, table="assets", engine=engine)


def test_xt_sql_shows_it(db: str, engine: Engine, xt: Xt) -> None:
    with Tracker(db, engine=engine) as tracker:
        shown = tracker.log({"m": Fraction(1, 3)})["m"]
    query = 'SELECT hash, "references" FROM db.assets'
    printed = xt("sql", db, query, "--engine", engine, "--json").stdout
    assert json.loads(printed) == [{"hash": shown, "references": 1}]


def test_names_of_tables_and_columns_are_data(db: str, engine: Engine) -> None:
    shown = ""
    for table in ("my-table", "select", "it's"):
        with Tracker(db, engine=engine, table=table) as tracker:
            shown = tracker.log({"order": Fraction(1, 3), "group by": [Fraction(1, 3)], 'q"': "x"})["order"]
            counted = references(tracker.conn)
    assert counted == {shown: 6}


def test_more_columns_of_text_than_a_query_may_have_parts(tracker: Tracker) -> None:
    shown = tracker.log({"m": Fraction(1, 3)})["m"]
    tracker.log({f"c{number}": shown for number in range(700)})
    assert references(tracker.conn) == {shown: 701}


# what events say


def projected(root: Path, events: list[Any]) -> list[tuple[Any, ...]]:
    """What the table shows of a log of one segment that came a line at a time, the same as of one read at once."""
    folder = root / "default"
    folder.mkdir(parents=True)
    (root / "store.json").write_text('{"format":1}\n')
    step, whole = SqliteTables(None), SqliteTables(None)
    one, two = Projector(FileLog(root), step), Projector(FileLog(root), whole)
    for count in range(1, len(events) + 1):
        (folder / f"{'a' * 16}.jsonl").write_bytes(b"".join(map(_line, events[:count])))
        one.catch_up("default")
    two.catch_up("default")
    shown = rows(step.conn)
    assert shown == rows(whole.conn)
    step.close()
    whole.close()
    return shown


def _line(event: Any) -> bytes:
    return event if isinstance(event, bytes) else jsonl.encode(event)


def row(seq: int, **data: Any) -> RowLogged:
    return RowLogged(id=f"{'a' * 16}-{seq}", clock=1_000_000 * seq, run="r", data=data)


def test_removal_that_saw_some_of_the_rows_leaves_the_times_of_the_others(tmp_path: Path) -> None:
    seen = {"a" * 16: "1-2,4"}
    events = [row(seq, m={"$asset": DIGEST}) for seq in (1, 2, 3, 4)]
    removed = AssetRemoved(id=f"{'a' * 16}-5", clock=5_000_000, digest=DIGEST, seen=seen)
    (only,) = projected(tmp_path / "log", [*events, removed])
    assert only == (HASH, "m", None, 4, "cloudpickle+zstd", "1970-01-01 00:00:03.000000+00:00")


def test_what_a_removal_leaves_is_in_its_own_place(tmp_path: Path) -> None:
    other = "beef" * 16
    mine, theirs = {"$asset": DIGEST}, {"$asset": other}
    events = [row(1, x=mine), row(2, y=theirs), row(3, y=mine), row(4, x=mine)]
    of_first = AssetRemoved(id=f"{'a' * 16}-5", clock=5_000_000, digest=DIGEST, seen={"a" * 16: "1"})
    of_last = AssetRemoved(id=f"{'a' * 16}-5", clock=5_000_000, digest=DIGEST, seen={"a" * 16: "4"})
    assert [(found[0], found[1]) for found in projected(tmp_path / "first", [*events, of_first])] == [
        (other[:16], "y"),
        (HASH, "x"),
    ]
    assert [(found[0], found[1]) for found in projected(tmp_path / "last", [*events, of_last])] == [
        (HASH, "y"),
        (other[:16], "y"),
    ]


def test_memory_is_bounded_however_often_an_asset_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "_MANY", 2)
    path = tmp_path / "default" / f"{'a' * 16}.jsonl"
    path.parent.mkdir()
    (tmp_path / "store.json").write_text('{"format":1}\n')
    path.write_bytes(b"".join(jsonl.encode(row(seq, m={"$asset": DIGEST})) for seq in (1, 2, 3, 4, 5)))
    tables = SqliteTables(None)
    Projector(FileLog(tmp_path), tables).catch_up("default")
    assert sorted(naming.seqs for naming in tables.namings("default")) == ["1-2", "3-4", "5"]
    assert [found[3:] for found in rows(tables.conn)] == [(5, "cloudpickle+zstd", "1970-01-01 00:00:01.000000+00:00")]
    tables.close()


@pytest.mark.parametrize("seen", ["1", "1-2"])
def test_reset_takes_rows_and_no_asset_off_the_list(tmp_path: Path, seen: str) -> None:
    events = [row(1, m={"$asset": DIGEST}), row(2, m=1)]
    reset = TableReset(id=f"{'a' * 16}-3", clock=3_000_000, seen={"a" * 16: seen})
    assert [found[:4] for found in projected(tmp_path, [*events, reset])] == [(HASH, "m", None, 0)]


def test_line_that_was_damaged_since_it_was_read_counts_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "default" / f"{'a' * 16}.jsonl"
    path.parent.mkdir()
    (tmp_path / "store.json").write_text('{"format":1}\n')
    lines = [jsonl.encode(row(seq, m={"$asset": DIGEST})) for seq in (1, 2, 3)]
    path.write_bytes(b"".join(lines))
    tables = SqliteTables(None)
    projector = Projector(FileLog(tmp_path), tables)
    projector.catch_up("default")
    removed = AssetRemoved(id=f"{'a' * 16}-4", clock=4_000_000, digest=DIGEST, seen={"a" * 16: "1"})
    path.write_bytes(lines[0] + lines[1].replace(b'"m"', b'"n"') + lines[2] + jsonl.encode(removed))
    projector.catch_up("default")
    assert rows(tables.conn, "first_logged") == [("1970-01-01 00:00:03.000000+00:00",)]
    tables.close()


def test_removal_that_keeps_keys_leaves_the_name_to_the_latest(tmp_path: Path) -> None:
    events = [row(1, early={"$asset": DIGEST}), row(2, late={"$asset": DIGEST})]
    fields: dict[str, Any] = {"id": f"{'a' * 16}-3", "clock": 3_000_000, "digest": DIGEST, "seen": {"a" * 16: "2"}}
    (kept,) = projected(tmp_path / "kept", [*events, AssetRemoved(**fields, keeps_keys=True)])
    (taken,) = projected(tmp_path / "taken", [*events, AssetRemoved(**fields)])
    assert (kept[1], taken[1]) == ("late", "early")


def test_undone_removal_never_was(tmp_path: Path) -> None:
    added = AssetAdded(id=f"{'a' * 16}-1", clock=1_000_000, digest=DIGEST, key="m", size=7, codec="c")
    removed = AssetRemoved(id=f"{'a' * 16}-2", clock=2_000_000, digest=DIGEST, seen={"a" * 16: "1"})
    undone = EventUndone(id=f"{'a' * 16}-3", clock=3_000_000, events={"a" * 16: "2"}, seen={"a" * 16: "1-2"})
    assert projected(tmp_path / "removed", [added, removed]) == []
    (back,) = projected(tmp_path / "undone", [added, removed, undone])
    assert back[:5] == (HASH, "m", 7, 0, "c")


def test_events_of_a_newer_release_name_assets_without_a_key(tmp_path: Path) -> None:
    line = msgspec.json.encode({"kind": "asset.blessed", "id": f"{'a' * 16}-1", "clock": 1, "what": DIGEST})
    assert [found[:4] for found in projected(tmp_path / "log", [signed(line) + b"\n"])] == [(HASH, None, None, 0)]


# upkeep


def test_views_are_made_anew_only_when_columns_are_new(db: str) -> None:
    with Tracker(db) as tracker:

        def version() -> int:
            conn = sqlite3.connect(db)
            (found,) = conn.execute("PRAGMA schema_version").fetchone()
            conn.close()
            return int(found)

        tracker.log({"a": "x", "m": Fraction(1, 3)})
        assert len(rows(tracker.conn)) == 1
        before = version()
        shown = tracker.log({"a": "y", "m": Fraction(1, 3)})["m"]
        assert references(tracker.conn) == {shown: 2}
        assert version() == before
        tracker.log({"b": shown})
        assert references(tracker.conn) == {shown: 3}
        assert version() > before


def test_tables_without_one_are_made_anew(db: str) -> None:
    with Tracker(db) as tracker:
        shown = tracker.log({"m": Fraction(1, 3)})["m"]
        assert references(tracker.conn) == {shown: 1}
    conn = sqlite3.connect(db)
    conn.executescript("DROP VIEW assets; DROP VIEW _xetrack_hashes_default; DROP TABLE _xetrack_assets")
    conn.execute("UPDATE _xetrack_tables SET state=?", (msgspec.msgpack.encode({"layout": 1}),))
    conn.commit()
    conn.close()
    assert references(Reader(db).conn) == {shown: 1}
    conn = sqlite3.connect(db)  # in the file itself, not in a temporary place
    assert references(conn) == {shown: 1}
    conn.close()


@pytest.mark.parametrize("change", ["listed=0", "key='n'", "first_logged='1999'", "size=1"])
def test_verify_compares_it_with_a_replay(db: str, change: str) -> None:
    with Tracker(db) as tracker:
        tracker.log({"m": Fraction(1, 3)})
    assert open_store(db).verify().ok
    conn = sqlite3.connect(db)
    conn.execute(f"UPDATE _xetrack_assets SET {change}")
    conn.commit()
    conn.close()
    assert open_store(db).verify().tables == ["sqlite table 'default' differs from a replay of its log"]


def test_replay_makes_it_again(db: str, engine: Engine) -> None:
    with Tracker(db, engine=engine) as tracker:
        tracker.log({"m": Fraction(1, 3), "l": [Fraction(1, 5)]})
        before = rows(tracker.conn)
    store = open_store(db, settings=Settings.resolve(engine=engine))
    store.replay()
    assert rows(store.connection()) == before and len(before) == 2
    store.close()
