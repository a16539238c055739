"""What others do to a store while it is in use."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from xetrack import Reader, Tracker
from xetrack.errors import StorageFailed
from xetrack.store import open_store


def test_verify_of_a_store_that_is_logged_to_finds_nothing_wrong(tmp_path: Path) -> None:
    db = str(tmp_path / "track.db")
    code = (
        "import sys, time; from xetrack import Tracker\nt = Tracker(sys.argv[1])\n"
        "while True: t.log({'a': 1}), time.sleep(0.0001)"
    )
    with Tracker(db) as tracker:
        tracker.log({"a": 0})
    writer = subprocess.Popen([sys.executable, "-c", code, db])
    try:
        store = open_store(db)
        while store.table("default").count() < 1000:
            pass
        for _ in range(3):
            report = store.verify()
            assert report.ok and not report.torn, report.to_json()
        store.close()
    finally:
        writer.kill()
        writer.wait()


def test_verify_of_a_table_whose_segments_are_gone_is_clean(tmp_path: Path) -> None:
    db = tmp_path / "track.db"
    with Tracker(str(db)) as tracker:
        tracker.log({"a": 1})
    for file in Path(f"{db}.events/default").iterdir():
        file.unlink()
    assert len(Reader(str(db))) == 0
    assert open_store(str(db)).verify().ok


def test_rows_of_a_segment_removed_under_its_tracker_are_read_at_once(tmp_path: Path) -> None:
    db = tmp_path / "track.db"
    tracker = Tracker(str(db))
    tracker.log({"i": 0})
    assert len(tracker) == 1
    next(Path(f"{db}.events/default").iterdir()).unlink()
    tracker.log({"i": 1})
    assert tracker.to_df()["i"].tolist()[-1] == 1
    assert Reader(str(db)).to_df()["i"].tolist()[-1] == 1
    tracker.close()


def test_connection_outlives_the_names_of_its_owner(tmp_path: Path) -> None:
    db = str(tmp_path / "track.db")
    Tracker(db).log({"a": 1})
    assert Reader(db).conn.execute("SELECT a FROM events").fetchall() == [(1,)]
    conn = Tracker(db).conn
    assert conn.execute("SELECT a FROM events").fetchall() == [(1,)]


def test_reader_of_a_new_tracker_sees_an_empty_store(tmp_path: Path) -> None:
    db = str(tmp_path / "track.db")
    tracker = Tracker(db)
    assert len(Reader(db)) == 0
    tracker.close()


@pytest.mark.parametrize(("value", "found"), [(2499, 1), ("2499", 1), (2499.0, 1), ("x", 1), ("y", 0)])
def test_where_reads_text_columns_alike_on_both_sides_of_the_limit(tmp_path: Path, value: object, found: int) -> None:
    with Tracker(str(tmp_path / "track.db")) as tracker:
        tracker.log({f"c{number}": number for number in range(2499)} | {"c0": 2499, "c2499": 2499})
        tracker.log({"c0": 2499.0, "c2499": 2499.0})
        tracker.log({"c0": "x", "c2499": "x"})
        assert tracker.set_where("near", 1, "c0", value) == found
        assert tracker.set_where("far", 1, "c2499", value) == found


def test_folder_named_like_a_segment_is_an_error_that_names_it(tmp_path: Path) -> None:
    db = tmp_path / "track.db"
    with Tracker(str(db)) as tracker:
        tracker.log({"a": 1})
    folder = Path(f"{db}.events/default/{'a' * 16}.jsonl")
    folder.mkdir()
    with pytest.raises(StorageFailed, match=re.escape(str(folder))):
        len(Reader(str(db)))
    folder.rmdir()
    assert len(Reader(str(db))) == 1


def test_keys_that_look_alike_as_text_stay_apart_in_a_cell(tmp_path: Path) -> None:
    with Tracker(":memory:") as tracker:
        tracker.log({"k": {1: "a", "1": "b"}})
        assert tracker.to_df()["k"].tolist() == ['[[1, "a"], ["1", "b"]]']
