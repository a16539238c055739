"""What a store's tables must do, whichever engine keeps them."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.strategies import signed
from xetrack import Reader, Tracker
from xetrack.config import Settings
from xetrack.errors import ColumnNotFound, ForeignFile, ReadOnlyTables, RunNotFound, StorageFailed, TablesWithoutLog
from xetrack.log.events import EventUndone, RunProtected
from xetrack.store import Store, open_store
from xetrack.tables.files import tables_file
from xetrack.tables.keeper import Engine

pytest.importorskip("duckdb")


@pytest.fixture(params=["sqlite", "duckdb"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tracker(db: str) -> Iterator[Tracker]:
    with Tracker(db, track_id="run-one-1") as tracker:
        yield tracker


def opened(db: str, engine: str) -> Store:
    return open_store(db, settings=Settings.resolve(engine=engine))


def test_values_keep_their_types(db: str, engine: str, tracker: Tracker) -> None:
    moment, aware = dt.datetime(2024, 1, 2, 3, 4, 5, 6), dt.datetime(2024, 1, 2, tzinfo=dt.timezone.utc)
    row = {
        "i": 2**60, "f": 0.1, "inf": -math.inf, "b": True, "s": "é'\"", "n": None, "by": b"\x00\xff", "d": moment,
        "z": aware, "huge": 2**100, "huger": -(2**300), "list": [1, {"a": None}],
    }  # fmt: skip
    tracker.log(row)
    table = opened(db, engine).table("default")
    (found,) = table.records()
    assert {name: found[name] for name in row} == {**row, "list": '[1, {"a": null}]'}
    assert [type(found[name]) for name in ("b", "i", "huge", "d")] == [bool, int, int, dt.datetime]
    frame = table.frame()
    assert frame["d"].tolist() == [pd.Timestamp(moment)] and frame["z"].tolist() == [pd.Timestamp(aware)]
    assert frame["huge"].tolist() == [2**100] and frame["by"].tolist() == [b"\x00\xff"]
    assert {name: str(frame[name].dtype) for name in "ifb"} == {"i": "int64", "f": "float64", "b": "bool"}


def test_digits_of_more_than_python_reads_are_text(db: str, engine: str, tracker: Tracker) -> None:
    digits = "-1" + "0" * 4300
    store = opened(db, engine)
    for wire in ({"$int": str(2**70)}, {"$int": digits}, 3):
        store.log.writer("default").append_row("r-1-1", {"x": wire, "l": [wire]})
    table = store.table("default")
    assert [row["x"] for row in table.records()] == table.frame()["x"].tolist() == [2**70, digits, 3]
    assert table.set_where(store.log.writer("default"), "y", 1, "x", 3) == 1
    frame = table.frame()
    assert frame["y"].tolist()[2] == 1 and digits in frame["l"].tolist()[1] and "..." in str(frame)
    assert digits in Reader(db).history(column="x")["new"].tolist()


def _foreign(db: str, *lines: str) -> None:
    """A segment by some other writer, whose lines check."""
    path = Path(db + ".events") / "default" / f"{'k' * 16}.jsonl"
    path.write_bytes(b"".join(signed(line.encode()) + b"\n" for line in lines))


@pytest.mark.parametrize("beside", [1.5, "t", 3, None])
@pytest.mark.parametrize("number", [2**63, -(2**64), 10**400])
def test_whole_numbers_without_their_tag_are_whole(
    db: str, engine: str, tracker: Tracker, number: int, beside: Any
) -> None:
    tracker.log({"x": beside})
    _foreign(
        db,
        f'{{"kind":"row.logged","id":"{"k" * 16}-1","clock":1794000000000001,"run":"r","data":{{"x":{number}}}}}',
        f'{{"kind":"value.set","id":"{"k" * 16}-2","clock":1794000000000002,"run":"r","key":"z","value":{number},'
        f'"seen":{{"{"k" * 16}":"1"}}}}',
    )
    (found,) = opened(db, engine).table("default").records("r")
    assert found["x"] == (str(number) if isinstance(beside, (float, str)) else number) and found["z"] == number


@pytest.mark.parametrize("value", [1.5, math.inf, math.nan, 1, True, 2**60, 2**70, 10**50, "t"])
@pytest.mark.parametrize("number", [10**400, -(10**400), 1e308, math.inf])
def test_a_number_that_no_cell_holds_is_not_found(
    db: str, engine: Engine, tracker: Tracker, value: Any, number: float
) -> None:
    tracker.log({"x": value})
    assert Reader(db, engine=engine).set_where("y", 1, "x", number) == (value == number)


def test_events_of_a_writer_whose_clock_goes_back_are_known_by_their_ids(
    db: str, engine: str, tracker: Tracker
) -> None:
    tracker.log({"a": 0})
    clocks = [9, 1, 3, 2, 10]
    _foreign(
        db,
        *(
            f'{{"kind":"row.logged","id":"{"k" * 16}-{seq}","clock":{1794000000000000 + clock},"run":"r",'
            f'"data":{{"a":{seq}}}}}'
            for seq, clock in enumerate(clocks)
        ),
        f'{{"kind":"value.set","id":"{"k" * 16}-5","clock":1794000000000020,"rows":{{"{"k" * 16}":"0,2"}},'
        f'"key":"z","value":1,"seen":{{"{"k" * 16}":"0-4"}}}}',
    )
    rows = opened(db, engine).table("default").records("r")
    assert [(row["a"], row["z"]) for row in rows] == [(1, None), (3, None), (2, 1), (0, 1), (4, None)]


@pytest.mark.parametrize("change", ["DROP TABLE {table}", "ALTER TABLE {table} DROP COLUMN n"])
def test_tables_from_which_another_program_took_something_are_made_anew(db: str, engine: Engine, change: str) -> None:
    with Tracker(db, engine=engine) as tracker:
        tracker.log({"n": 1, "text": "a"})
    file = tables_file(Path(db), engine)
    if engine == "sqlite":
        with contextlib.closing(sqlite3.connect(file)) as conn:
            conn.executescript("DROP VIEW assets; DROP VIEW _xetrack_hashes_default; DROP VIEW events")
            conn.execute(change.format(table='"default"'))
    else:
        import duckdb

        with duckdb.connect(str(file)) as conn:
            conn.execute(change.format(table='_xetrack_rows."default"'))
    frame = Reader(db, engine=engine).to_df()
    assert frame[["n", "text"]].to_dict("records") == [{"n": 1, "text": "a"}]
    assert [path.name for path in file.parent.glob("*.damaged-*")] == [f"{file.name}.damaged-1"]


def test_gaps_leave_the_types(db: str, engine: str, tracker: Tracker) -> None:
    tracker.log({"i": 1, "b": True, "f": 0.5})
    tracker.log({"other": 1})
    frame = opened(db, engine).table("default").frame()
    assert {name: str(frame[name].dtype) for name in "ibf"} == {"i": "Int64", "b": "boolean", "f": "float64"}


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1, 0.6], [1.0, 0.6]),
        ([True, 2], [1, 2]),
        ([1, "007"], ["1", "007"]),
        ([None, 1.5], [None, 1.5]),
        ([2**60, 0.5], [str(2**60), "0.5"]),
        ([1, 2**80], [1, 2**80]),
        ([2**80, 2**200, 1], [2**80, 2**200, 1]),
        ([1.5, [1]], ["1.5", "[1]"]),
        ([dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)], None),
        ([dt.datetime(2024, 1, 1), "x"], ["2024-01-01 00:00:00.000000", "x"]),
        ([None, b"x"], [None, b"x"]),
    ],
)
def test_columns_widen_and_no_value_changes(
    db: str, engine: str, tracker: Tracker, values: list[Any], shown: list[Any] | None
) -> None:
    store = opened(db, engine)
    table = store.table("default")
    for count, value in enumerate(values, 1):
        tracker.log({"x": value})
        assert table.count() == count
        store.flush()
    assert table.column("x") == (shown or values)
    store.replay()
    assert table.column("x") == (shown or values)


def test_any_key_is_a_column(db: str, engine: str, tracker: Tracker) -> None:
    keys = ["order", "group", "1st", "Acc", "acc", 'q"uote', "a.b", "select", "rowid", "é", "main", "db", "x" * 255]
    tracker.log({"a b": 0})
    tracker.log({key: index for index, key in enumerate(keys)})
    table = opened(db, engine).table("default")
    record = table.records()[-1]
    assert [record[table.resolve(key)] for key in keys] == list(range(len(keys)))
    assert {"Acc", "acc_2", "a_b", "q_uote"} <= set(table.columns)


@pytest.mark.parametrize("name", ["order", "é 'x\"", "events", "main", "db", "a.b"])
def test_any_table_name_works(db: str, engine: str, name: str) -> None:
    with Tracker(db, table=name, track_id="r-1-1") as tracker, Tracker(db, track_id="r-1-1") as other:
        tracker.log({"x": 1})
        other.log({"y": 2})
        store = opened(db, engine)
        assert store.table(name).column("x") == [1] and store.table("default").column("y") == [2]
        quoted = '"' + name.replace('"', '""') + '"'
        assert store.connection().execute(f"SELECT x FROM db.{quoted}").fetchall() == [(1,)]


def test_mutations_reach_old_and_new_rows(db: str, engine: str, tracker: Tracker) -> None:
    store = opened(db, engine)
    for step in range(4):
        tracker.log({"step": step, "label": "a"})
    assert store.table("default").count() == 4
    store.close()
    reader = Reader(db, engine=engine)  # type: ignore[arg-type]  # a parameter of the test
    tracker.log({"step": 4, "label": "a"})
    assert reader.set_where("label", "b", "step", 2) == 1
    assert reader.set_where("label", "c", "step", 4) == 1
    assert reader.set_value("score", 0.5, track_id="run-one-1") == 5
    assert reader.to_df()[["step", "label", "score"]].values.tolist() == [
        [0, "a", 0.5],
        [1, "a", 0.5],
        [2, "b", 0.5],
        [3, "a", 0.5],
        [4, "c", 0.5],
    ]
    tracker.log({"step": 5})
    assert reader.set_where("label", "d", "label", None) == 1
    assert reader.set_where("label", "e", "step", "2") == 0
    assert reader.set_where("label", "e", "step", 2.5) == 0
    assert reader.set_where("label", "e", "score", 0.5) == 5
    with pytest.raises(ColumnNotFound):
        reader.set_where("label", "e", "nope", 1)
    with pytest.raises(RunNotFound):
        reader.delete_run("nope-1-1")
    assert reader.delete_run("run-one-1") == 6
    assert len(reader) == 0 and reader.latest().empty
    tracker.log({"step": 6})
    assert reader.to_df()["step"].tolist() == [6]
    assert opened(db, engine).verify().ok


@pytest.mark.parametrize(
    ("value", "other"),
    [(True, False), (7, 8), (2**70, 2**71), (2**200, 1), (0.5, 0.25), ("x", "y"), (b"x", b"y"), ([1], [2]),
     (dt.datetime(2024, 1, 1), dt.datetime(2025, 1, 1)), (math.inf, 0.0)],
)  # fmt: skip
def test_any_value_is_found_and_set(db: str, engine: str, tracker: Tracker, value: Any, other: Any) -> None:
    for logged in (value, other):
        tracker.log({"x": logged})
    reader = Reader(db, engine=engine)  # type: ignore[arg-type]
    assert reader.set_where("hit", 1, "x", value) == 1
    assert reader.set_value("copy", value) == 2
    records = opened(db, engine).table("default").records()
    assert [record["hit"] for record in records] == [1, None]
    assert records[0]["copy"] == records[1]["copy"] == records[0]["x"]


def test_undo_brings_rows_back(db: str, engine: str, tracker: Tracker) -> None:
    tracker.log({"x": 1})
    reader = Reader(db, engine=engine)  # type: ignore[arg-type]
    reader.delete_run("run-one-1")
    store = opened(db, engine)
    table = store.table("default")
    assert table.count() == 0
    (writer, seq) = next(
        (event.id.rpartition("-")[0], event.id.rpartition("-")[2])
        for segment in store.log.segments("default")
        for chunk in store.log.scan("default", segment.name)
        for event in chunk.events
        if type(event).__name__ == "RunDeleted"
    )
    store.log.writer("default").append(
        EventUndone, events={writer: seq}, seen=store.projector().frontier("default").to_wire()
    )
    assert table.column("x") == [1]


def test_reset_empties_the_table_with_its_columns(db: str, engine: str, tracker: Tracker) -> None:
    tracker.log({"old": 1})
    store = opened(db, engine)
    table = store.table("default")
    store.flush()
    table.reset(store.log.writer("default"))
    assert table.count() == 0 and table.columns == ["timestamp", "track_id"]
    tracker.log({"new": "x"})
    assert table.columns == ["timestamp", "track_id", "new"] and table.column("new") == ["x"]


def test_protected_run_is_refused(db: str, engine: str, tracker: Tracker) -> None:
    from xetrack.errors import RunProtected as Refused

    tracker.log({"x": 1})
    store = opened(db, engine)
    store.log.writer("default").append(RunProtected, run="run-one-1")
    with pytest.raises(Refused):
        store.table("default").delete_run(store.log.writer("default"), "run-one-1")


def test_keys_past_the_limit_are_in_frames_and_can_be_set(
    db: str, engine: str, tracker: Tracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from xetrack.tables.duckdb import DuckdbTables
    from xetrack.tables.sqlite import SqliteTables

    monkeypatch.setattr(DuckdbTables, "limit", 3)
    monkeypatch.setattr(SqliteTables, "limit", 3)
    tracker.log({f"k{number}": number for number in range(6)})
    tracker.log({"k5": 0.5, "late": math.inf, "d": dt.datetime(2024, 1, 1)})
    reader = Reader(db, engine=engine)  # type: ignore[arg-type]
    frame = reader.to_df()
    assert frame["k5"].tolist() == [5.0, 0.5] and str(frame["k4"].dtype) == "Int64"
    assert reader.set_where("k5", 7, "late", math.inf) == 1
    assert reader.set_where("k5", 8, "k4", 4) == 1
    assert reader.to_df()["k5"].tolist() == [8.0, 7.0]
    assert reader.to_arrow()["d"].to_pylist() == [None, dt.datetime(2024, 1, 1)]
    assert opened(db, engine).table("default").records()[1]["d"] == dt.datetime(2024, 1, 1)


@pytest.mark.parametrize("step", [1, 400])
def test_many_columns_come_at_once_or_one_by_one(db: str, engine: str, tracker: Tracker, step: int) -> None:
    keys = [f"k{number}" for number in range(400)]
    store = opened(db, engine)
    tracker.log({"first": 1})
    for start in range(0, len(keys), step):
        tracker.log(dict.fromkeys(keys[start : start + step], 0.5))
    frame = store.table("default").frame()
    assert frame.columns.tolist() == ["timestamp", "track_id", "first", *keys]
    assert frame[keys].notna().to_numpy().sum() == 400
    tracker.log(dict.fromkeys([f"late{number}" for number in range(60)], "x"))
    assert store.table("default").frame().shape == (len(frame) + 1, 463)
    assert store.verify().ok


def test_tens_of_thousands_of_keys_are_as_many_columns_of_a_frame(db: str, engine: str, tracker: Tracker) -> None:
    tracker.log({f"k{number}": number for number in range(30_000)})
    tracker.log({"k29999": 1})
    frame = opened(db, engine).table("default").frame()
    assert frame.shape == (2, 30_002)
    assert (frame["k5"][0], frame["k20000"][0], frame["k29999"].tolist()) == (5, 20_000, [29_999, 1])


def test_changes_of_rows_and_of_columns_in_one_catch_up(db: str, engine: str, tracker: Tracker) -> None:
    table = opened(db, engine).table("default")
    tracker.log({"step": 0})
    assert table.count() == 1
    with Tracker(db, track_id="run-two-2", engine="sqlite") as other:
        for step in range(3):
            other.log({"step": step})
            tracker.set_value("score", step)
            tracker.log({"step": step + 0.5, f"new{step}": "x"})
            other.log({f"wide{step}_{number}": number for number in range(20)})
        Reader(db, engine="sqlite").delete_run("run-two-2")
        tracker.log({"step": "text now"})
    assert table.column("step") == ["0", "0.5", "1.5", "2.5", "text now"]
    assert table.column("score") == [2, 2, 2, None, None]
    assert opened(db, engine).verify().ok


def test_head_and_tail_apply_to_the_run(db: str, engine: str, tracker: Tracker) -> None:
    for step in range(6):
        tracker.log({"step": step})
    with Tracker(db, track_id="run-two-2") as other:
        other.log({"step": 99})
    reader = Reader(db, engine=engine)  # type: ignore[arg-type]
    for head, tail, expected in [
        (2, None, [0, 1]),
        (None, 2, [4, 5]),
        (4, 2, [2, 3]),
        (0, None, []),
        (9, 9, [*range(6)]),
    ]:
        assert reader.to_df("run-one-1", head=head, tail=tail)["step"].tolist() == expected
        assert reader.to_arrow("run-one-1", head=head, tail=tail)["step"].to_pylist() == expected
    assert reader.latest()["step"].tolist() == [99]
    table = opened(db, engine).table("default")
    assert table.runs() == ["run-one-1", "run-two-2"] and table.count("run-one-1") == 6
    assert [row["step"] for row in table.records("run-one-1", offset=1, limit=2, last=True)] == [3, 4]


NAMES = ["db.default", 'db."default"', '"default"', "db.events", "events"]


@pytest.mark.parametrize("name", NAMES)
def test_the_default_table_has_these_names(db: str, engine: str, tracker: Tracker, name: str) -> None:
    tracker.log({"accuracy": 0.9})
    tracker.log({"accuracy": 0.7})
    conn = opened(db, engine).connection()
    if (engine, name) == ("sqlite", "db.default"):  # a keyword there, which needs its quotes
        with pytest.raises(sqlite3.OperationalError, match="syntax error"):
            conn.execute(f"SELECT accuracy FROM {name}")
        return
    assert conn.execute(f"SELECT accuracy FROM {name} WHERE accuracy > 0.8").fetchall() == [(0.9,)]
    tracker.log({"accuracy": 1.0})
    assert conn.execute(f"SELECT count(*) FROM {name}").fetchone() == (3,)


def test_interrupt_as_a_transaction_begins_lets_go_of_it(
    db: str, engine: str, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while another process's projector is waited for arrives when the lock has just been taken."""
    tracker.log({"x": 0})
    store = opened(db, engine)
    table = store.table("default")
    assert table.count() == 1
    tracker.log({"x": 1})
    backend, home = store.keeper(engine).backend, store.keeper(engine).path()
    begin = backend.begin

    def interrupted(*, large: bool = False) -> None:
        begin(large=large)
        raise KeyboardInterrupt

    try:  # a lock that was kept would have the tracker wait for it when it closes
        with monkeypatch.context() as patch:
            patch.setattr(backend, "begin", interrupted)
            with pytest.raises(KeyboardInterrupt):
                table.count()
        if engine == "sqlite":
            with contextlib.closing(sqlite3.connect(db, timeout=0, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
        assert table.count() == 2
        assert store.keeper(engine).path() == home
    finally:
        store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM {table}",
        "UPDATE {table} SET x=1",
        "INSERT INTO {table} (x) VALUES (1)",
        "DROP TABLE {table}",
        "CREATE TABLE t (i INTEGER)",
        "ATTACH 'other.db' AS other",
        "ALTER TABLE {table} ADD COLUMN z INTEGER",
    ],
)
def test_connection_refuses_to_change_anything(db: str, engine: str, tracker: Tracker, statement: str) -> None:
    tracker.log({"x": 0})
    conn = opened(db, engine).connection()
    with pytest.raises(ReadOnlyTables):
        conn.execute(statement.format(table='db."default"'))
    with pytest.raises(ReadOnlyTables):
        conn.executemany(statement, [])
    assert conn.execute("SELECT x FROM events").fetchall() == [(0,)]


def test_query_gives_a_frame(db: str, engine: str, tracker: Tracker) -> None:
    for step in range(4):
        tracker.log({"step": step, "loss": step / 2, "phase": "a" if step else None})
    reader = Reader(db, engine=engine)  # type: ignore[arg-type]
    frame = reader.sql(
        "SELECT phase, count(*) AS n, sum(step) AS s FROM events WHERE step>=? GROUP BY 1 ORDER BY 2", [0]
    )
    assert frame["n"].tolist() == [1, 3] and frame["s"].tolist() == [0, 6]
    assert [str(frame[name].dtype) for name in ("n", "s")] == ["int64", "int64"]
    assert reader.sql("SELECT step FROM events WHERE step > 9").columns.tolist() == ["step"]
    with pytest.raises(ReadOnlyTables):
        reader.sql("DELETE FROM events")


def test_reader_is_arrow_data(db: str, engine: str, tracker: Tracker) -> None:
    import duckdb
    import polars as pl
    import pyarrow as pa

    tracker.log({"i": 1, "big": 2**70, "d": dt.datetime(2024, 1, 1), "n": None})
    tracker.log({"i": None, "big": 1, "d": None, "n": None})
    reader = Reader(db, engine=engine)  # type: ignore[arg-type]
    table = reader.to_arrow()
    assert table.schema.field("i").type == pa.int64() and table.schema.field("big").type == pa.decimal128(38, 0)
    assert table["d"].to_pylist() == [dt.datetime(2024, 1, 1), None]
    assert reader.to_polars()["i"].to_list() == [1, None] == pl.DataFrame(reader)["i"].to_list()
    assert pa.table(reader).equals(table)
    found = duckdb.sql("SELECT count(i) FROM reader")
    assert found is not None and found.fetchall() == [(1,)]


def test_damaged_tables_are_made_again(db: str, engine: str, tracker: Tracker) -> None:
    for step in range(2000):
        tracker.log({"step": step})
    store = opened(db, engine)
    assert store.table("default").count() == 2000
    store.close()
    path = tables_file(Path(db), engine)
    whole = path.read_bytes()
    for harm in (whole[: len(whole) // 2], whole[:4096] + bytes(len(whole) - 4096), b""):
        path.write_bytes(harm)
        store = opened(db, engine)
        assert store.table("default").column("step") == list(range(2000))
        store.close()
        path.unlink()
        store = opened(db, engine)
        assert store.table("default").count() == 2000
        store.close()


def test_damage_that_shows_late_is_healed_by_the_next_call(db: str, tracker: Tracker) -> None:
    for step in range(5000):
        tracker.log({"step": step, "text": f"{step * 7919}"})
    store = opened(db, "duckdb")
    store.flush()
    store.close()
    path = tables_file(Path(db), "duckdb")
    whole = bytearray(path.read_bytes())
    whole[12288 + 64 : 12288 + 4096] = bytes(4032)
    path.write_bytes(whole)
    table = opened(db, "duckdb").table("default")
    for _ in range(2):
        try:
            table.frame()
        except StorageFailed:
            continue
    assert table.column("step") == list(range(5000))


def test_foreign_file_is_left_alone(db: str, engine: str) -> None:
    with Tracker(db) as tracker:
        tracker.log({"x": 1})
    path = tables_file(Path(db), engine)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    if engine == "sqlite":
        import sqlite3

        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE mine (i INTEGER)")
        other.close()
    else:
        import duckdb

        with duckdb.connect(str(path)) as duck:
            duck.execute("CREATE TABLE mine (i INTEGER)")
    before = path.read_bytes()
    with pytest.raises(ForeignFile):
        opened(db, engine).table("default").count()
    assert path.read_bytes() == before


def test_tables_without_their_log_are_not_shown(db: str, engine: str) -> None:
    import shutil

    with Tracker(db) as tracker:
        tracker.log({"x": 1})
    store = opened(db, engine)
    store.catch_up()
    store.close()
    shutil.rmtree(f"{db}.events")
    with pytest.raises(TablesWithoutLog):
        opened(db, engine)
    assert tables_file(Path(db), engine).exists()


def test_store_in_memory(engine: str) -> None:
    store = open_store(":memory:", settings=Settings.resolve(engine=engine))
    store.log.writer("default").append_row("r-1-1", {"x": 1})
    table = store.table("default")
    assert table.column("x") == [1]
    store.log.writer("default").append_row("r-1-1", {"x": 0.5})
    assert store.connection().execute("SELECT x FROM db.events").fetchall() == [(1.0,), (0.5,)]


def test_rows_without_write_permission(db: str, engine: str, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker.log({"x": 1})
    monkeypatch.setattr("xetrack.tables.files.writable", lambda path: False)
    store = opened(db, engine)
    assert store.table("default").column("x") == [1]
    store.close()
    assert not tables_file(Path(db), engine).exists()


@pytest.mark.parametrize("name", ["chosen", "beside", "rows", "aside", "temp", "main", "keys"])
def test_tables_of_any_name_are_changed_and_read(engine: Any, tmp_path: Path, name: str) -> None:
    db = str(tmp_path / "named.db")
    with Tracker(db, engine=engine, table=name, track_id="r") as tracker:
        tracker.log_batch([{"a": 1}, {"a": 2}, {"a": 3}])
        assert tracker.set_where("b", "y", "a", 2) == 1
        assert tracker.rewind({"a": 2}) == 1
    frame = Reader(db, engine=engine, table=name).to_df()
    assert frame["a"].tolist() == [1, 2] and frame["b"].tolist()[1] == "y"
