"""The reading side: frames of what was logged, and changes to rows of any run."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from xetrack.errors import (
    ColumnNotFound,
    InvalidArgument,
    ReadOnlyTables,
    ReservedKey,
    RunNotFound,
    StorageFailed,
    StoreNotFound,
    TableNotFound,
    XetrackError,
)
from xetrack.log.clock import Clock
from xetrack.log.log import FileLog
from xetrack.read.reader import Reader
from xetrack.store import Store
from xetrack.track.tracker import Tracker


@pytest.fixture
def db(tmp_path: Path) -> str:
    """Two runs of three rows, logged in turns."""
    path = str(tmp_path / "track.db")
    zzz, aaa = Tracker(path, track_id="zzz"), Tracker(path, track_id="aaa")
    for number in range(3):
        zzz.log({"x": number, "model": "old"})
        aaa.log({"x": 10 + number, "model": "new"})
    return path


def test_frame_holds_all_runs_in_the_order_of_the_log(db: str) -> None:
    frame = Reader(db).to_df()
    assert frame["x"].tolist() == [0, 10, 1, 11, 2, 12]
    assert list(frame.columns) == ["timestamp", "track_id", "x", "model"]
    assert frame.index.tolist() == list(range(6))


def test_head_and_tail_apply_to_the_run(db: str) -> None:
    reader = Reader(db)
    assert reader.to_df(track_id="aaa")["x"].tolist() == [10, 11, 12]
    assert reader.to_df(track_id="aaa", head=1)["x"].tolist() == [10]
    assert reader.to_df(track_id="aaa", tail=2)["x"].tolist() == [11, 12]
    assert reader.to_df(head=2)["x"].tolist() == [0, 10]
    assert len(reader.to_df(track_id="nobody")) == 0


def test_latest_is_the_newest_run_by_time_not_by_name(tmp_path: Path) -> None:
    path = tmp_path / "track.db"
    Tracker(path, track_id="zzz").log({"x": 1})
    Tracker(path, track_id="aaa").log({"x": 2})
    assert Reader(path).latest()["track_id"].tolist() == ["aaa"]


def test_latest_of_an_empty_store_is_an_empty_frame(tmp_path: Path) -> None:
    Tracker(tmp_path / "track.db").log({"x": 1})
    reader = Reader(tmp_path / "track.db")
    reader.delete_run(reader.latest()["track_id"].iloc[0])
    assert len(reader.latest()) == 0


def test_reader_sees_rows_logged_after_it_was_opened(db: str) -> None:
    reader = Reader(db)
    assert len(reader) == 6
    Tracker(db).log({"y": 1})
    assert len(reader) == 7
    assert reader.columns[-1] == "y" and reader.dtypes["y"] is int


def test_conn_reads_and_refuses_to_write(db: str) -> None:
    reader = Reader(db)
    assert reader.conn.execute('SELECT count(*) FROM "default" WHERE track_id = ?', ("aaa",)).fetchone() == (3,)
    assert reader.conn.execute("SELECT max(x) FROM db.events").fetchone() == (12,)
    for sql in ("UPDATE events SET x = 1", 'DROP TABLE "default"', "INSERT INTO events(x) VALUES (1)"):
        with pytest.raises(ReadOnlyTables):
            reader.conn.execute(sql)


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_query_that_names_what_is_not_there_says_what_is(db: str, engine: Any) -> None:
    pytest.importorskip(engine if engine == "duckdb" else "sqlite3")
    backends: list[Any] = ["pandas", "arrow"]
    for backend in backends:
        reader = Reader(db, engine=engine, backend=backend)
        for name in ("modle", '"modle"', "e.modle", 'e."modle"'):
            with pytest.raises(ColumnNotFound, match="Did you mean: model") as column:
                reader.sql(f"SELECT x FROM events AS e WHERE {name} = 'old'")
            assert column.value.near == ["model"]
        with pytest.raises(TableNotFound) as table:
            reader.sql("SELECT x FROM evnts")
        assert table.value.near == ["default"]


def test_deleted_run_is_gone_and_the_others_stay(db: str) -> None:
    reader = Reader(db)
    assert reader.delete_run("zzz") == 3
    assert reader.to_df()["track_id"].unique().tolist() == ["aaa"]
    assert len(Reader(db)) == 3
    with pytest.raises(RunNotFound) as caught:
        reader.delete_run("aab")
    assert caught.value.near == ["aaa"]


def test_rows_logged_after_a_delete_are_shown(db: str) -> None:
    Reader(db).delete_run("zzz")
    Tracker(db, track_id="zzz").log({"x": 99})
    assert Reader(db).to_df(track_id="zzz")["x"].tolist() == [99]


def test_set_value_reaches_one_run_or_all_and_counts_rows(db: str) -> None:
    reader = Reader(db)
    assert reader.set_value("score", 0.5, track_id="aaa") == 3
    assert reader.to_df(track_id="zzz")["score"].isna().all()
    assert reader.set_value("score", 0.7) == 6
    assert set(reader.to_df()["score"]) == {0.7}
    assert reader.set_value("score", 1.0, track_id="nobody") == 0


def test_set_where_reaches_matching_rows_of_one_run_or_all(db: str) -> None:
    reader = Reader(db)
    assert reader.set_where("model", "best", "x", 11) == 1
    assert reader.set_where("note", "seen", "model", "old") == 3
    assert reader.set_where("note", "again", "model", "old", track_id="aaa") == 0
    frame = reader.to_df()
    assert frame[frame["x"] == 11]["model"].tolist() == ["best"]
    assert set(frame[frame["model"] == "old"]["note"]) == {"seen"}


def test_set_where_of_a_column_that_is_not_there_is_refused(db: str) -> None:
    with pytest.raises(ColumnNotFound):
        Reader(db).set_where("x", 1, "1=1 or model", "old")
    with pytest.raises(ReservedKey):
        Reader(db).set_value("track_id", "mine")


def test_looking_for_an_object_stores_nothing(db: str) -> None:
    reader = Reader(db)
    before = sorted(Path(db + ".events").rglob("*"))
    assert reader.set_where("x", 1, "model", frozenset()) == 0
    assert not [path for path in Path(db + ".events").rglob("*") if path.suffix == ".zst"]
    assert before == [path for path in before if path.exists()]


def test_reader_of_nothing_names_the_path_and_creates_nothing(tmp_path: Path) -> None:
    Tracker(tmp_path / "track.db").log({"x": 1})
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(StoreNotFound) as caught:
        Reader(tmp_path / "trak.db")
    assert "trak.db" in str(caught.value.path)
    assert any("track.db" in name for name in caught.value.near)
    assert sorted(os.listdir(tmp_path)) == before


def test_table_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "track.db"
    Tracker(path, table="metrics").log({"x": 1})
    with pytest.raises(TableNotFound) as caught:
        Reader(path, table="metric")
    assert caught.value.near == ["metrics"]
    assert Reader(path, table="metrics").table_name == "metrics"


def test_foreign_file_is_not_read_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(XetrackError, match="notes.txt"):
        Reader(path)
    assert path.read_text() == "mine" and os.listdir(tmp_path) == ["notes.txt"]


def test_read_db_is_a_reader_in_one_call(db: str) -> None:
    frame = Reader.read_db(db, track_id="aaa", tail=1)
    assert isinstance(frame, pd.DataFrame) and frame["x"].tolist() == [12]


def test_tables_deleted_at_any_moment_are_read_again(db: str) -> None:
    reader = Reader(db)
    before = reader.to_df()
    for path in Path(db).parent.glob("track.db*"):
        if path.is_file():
            path.unlink()
    pd.testing.assert_frame_equal(Reader(db).to_df(), before)
    pd.testing.assert_frame_equal(reader.to_df(), before)


@pytest.mark.parametrize("count", [-1, "x", 1.5, True])
def test_number_of_rows_that_is_none_is_refused(tmp_path: Path, count: Any) -> None:
    with Tracker(str(tmp_path / "track.db")) as tracker:
        tracker.log({"x": 1})
    reader = Reader(tracker.db)
    for name in ("head", "tail"):
        with pytest.raises(InvalidArgument, match=name):
            reader.to_df(**{name: count})
    assert len(reader.to_df(head=0)) == 0


def test_file_alone_has_every_row_while_somebody_holds_a_connection(tmp_path: Path) -> None:
    tracker = Tracker(str(tmp_path / "track.db"))
    tracker.log({"x": 1})
    held = tracker.conn
    assert held.execute("SELECT count(*) FROM events").fetchall() == [(1,)]
    tracker.log({"x": 2})
    tracker.close()
    shutil.copy(tracker.db, tmp_path / "copy.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as alone:
        assert alone.execute("SELECT count(*) FROM events").fetchall() == [(2,)]
    assert held.execute("SELECT count(*) FROM events").fetchall() == [(2,)]


@pytest.mark.parametrize("ask", [lambda reader, sql: reader.sql(sql), lambda reader, sql: reader.to_df()])
def test_query_that_meets_a_damaged_page_has_the_tables_made_anew(db: str, ask: Any) -> None:
    with Tracker(db, track_id="calm-otter-1") as tracker:
        tracker.log_batch([{"n": n, "text": "x" * 100} for n in range(1000)])
    with open(db, "r+b") as file:
        file.seek(os.path.getsize(db) // 2)
        file.write(bytes(30_000))
    reader, sql = Reader(db), "SELECT sum(length(text)) AS letters FROM events"
    with pytest.raises(StorageFailed, match="the next call makes it anew"):
        ask(reader, sql)
    assert reader.sql(sql)["letters"].tolist() == [100_000]
    with pytest.raises(sqlite3.Error):
        reader.sql(sql, [1])
    assert len(list(Path(db).parent.glob("*damaged*"))) == 1


@pytest.mark.parametrize("moment", [2, 3])
@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_rows_that_a_change_has_chosen_stay_those_when_the_tables_are_made_anew_meanwhile(
    db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any, moment: int
) -> None:
    if engine == "duckdb":
        pytest.importorskip("duckdb")
    early = FileLog(tmp_path / "early.db.events", clock=Clock(lambda: 1))
    early.writer("default").append_rows("early", [{"step": step} for step in range(6)])
    with Tracker(db, track_id="guarded") as tracker:
        tracker.log({"step": 100})
    with Tracker(db, track_id="mine", engine=engine) as tracker:
        tracker.log_batch([{"step": step} for step in range(4)])
        tracker.set_value("note", "a")
        caught_up, times = Store.catch_up_table, []

        def arriving(store: Store, table: str, engine: str | None = None, *, noticed: bool = False) -> None:
            times.append(table)
            if len(times) == moment:
                shutil.copytree(tmp_path / "early.db.events", f"{db}.events", dirs_exist_ok=True)
                Path(db).unlink(missing_ok=True)
            caught_up(store, table, engine, noticed=noticed)

        Reader(db).protect("guarded")
        monkeypatch.setattr(Store, "catch_up_table", arriving)
        assert tracker.set_where("label", "hit", "step", 1) == 1
        times.clear()
        assert tracker.rewind({"step": 2}) == 1
    rows = Reader(db, engine=engine).to_df()
    assert rows[rows["label"] == "hit"][["track_id", "step"]].values.tolist() == [["mine", 1]]
    assert rows[rows["track_id"] == "mine"]["step"].tolist() == [0, 1, 2]
    assert rows[rows["track_id"] == "early"]["step"].tolist() == list(range(6))
