"""What users of xetrack 0.7 ran into, on the writing and the reading side: each is right here.

Traps of the command line, the cache, the sinks and the second engine are tested
with those; a trap with a test of its own in ``unit/`` is not repeated.
"""

from __future__ import annotations

import math
import multiprocessing
import random
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xetrack.errors import StoreNotFound
from xetrack.read.reader import Reader
from xetrack.track.tracker import Tracker


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "track.db")


def log_batches(db: str) -> None:
    tracker = Tracker(db)
    for batch in range(20):
        tracker.log_batch([{"batch": batch, "number": number} for number in range(500)])


# wrong results, lost data


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ((1, 0.6), [1.0, 0.6]),
        ((1, "007"), ["1", "007"]),
        ((None, 1.5), [None, 1.5]),
        ((1, None, 2), [1, None, 2]),
        ((True, False), [True, False]),
        ((2**63, 1), [2**63, 1]),
        ((0.5, 2**53 + 1), ["0.5", str(2**53 + 1)]),
        (("a", b"\x00"), ["a", "AA=="]),
    ],
)
def test_column_of_mixed_values_is_widened_never_truncated(db: str, values: tuple[Any, ...], column: list[Any]) -> None:
    tracker = Tracker(db)
    for value in values:
        assert tracker.log({"x": value})["x"] == value
    shown = [row["x"] for number in range(len(values)) if (row := tracker[number + 1]) is not None]
    assert shown == column
    assert [type(value) for value in shown] == [type(value) for value in column]


def test_batch_rows_of_one_instant_are_all_kept(db: str) -> None:
    tracker = Tracker(db)
    tracker.log_batch([{"x": 1}] * 5000)
    assert tracker.count_run() == 5000


def test_processes_that_log_batches_at_once_lose_none(db: str) -> None:
    processes = [multiprocessing.get_context("spawn").Process(target=log_batches, args=(db,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(Reader(db)) == 40_000


def test_nan_stays_nan_in_the_log_and_what_log_returns(db: str) -> None:
    assert math.isnan(Tracker(db).log({"a": math.nan})["a"])
    (segment,) = Path(db + ".events", "default").iterdir()
    assert '"a":{"$float":"NaN"}' in segment.read_text()


def test_runs_started_from_one_seed_have_names_of_their_own() -> None:
    ids = []
    for _ in range(50):
        random.seed(0)
        ids.append(Tracker.generate_track_id())
    assert len(set(ids)) == 50


# exceptions on ordinary input


@pytest.mark.parametrize(
    "key",
    ["order", "group", "when", "select", "1st", "default_lr", "default", "rowid", "_rowid_", "oid", 'quo"te', "it's",
     "a.b", "a;b", "x; DROP TABLE", "données", "漢字", "!!!", "🎈", "%s", "?", "$float", "k" * 200, "events",
     "timestamp_"],
)  # fmt: skip
def test_key_of_any_shape_is_a_column(db: str, key: str) -> None:
    tracker = Tracker(db)
    for number in range(2):
        assert tracker.log({key: number})[key] == number
    assert tracker[key].tolist() == [0, 1]
    assert tracker.set_value(key, 7) == 2
    assert tracker.set_where(key, 8, key, 7) == 2
    assert len(tracker.columns) == 3
    assert tracker[-1][tracker.columns[-1]] == 8  # type: ignore[index]


@pytest.mark.parametrize(("table", "key"), [("acc", "accuracy"), ("m", "metric"), ("order", "group"), ("x", "x")])
def test_table_whose_name_begins_a_key_works(db: str, table: str, key: str) -> None:
    tracker = Tracker(db, table=table)
    tracker.log({key: 1})
    assert tracker[key].tolist() == [1]


def test_two_trackers_log_the_same_new_key(db: str) -> None:
    one, two = Tracker(db), Tracker(db)
    one.log({"x": 1})
    two.log({"new": 1})
    one.log({"new": 2})
    assert (len(one), len(two)) == (2, 1)


def test_keys_that_differ_in_case_have_two_columns(db: str) -> None:
    tracker = Tracker(db)
    tracker.log({"Acc": 1, "acc": 2})
    tracker.log({"acc": 4, "Acc": 3})
    assert tracker["Acc"].tolist() == [1, 3] and tracker["acc"].tolist() == [2, 4]
    assert len(tracker.columns) == 4


def test_number_as_key_is_a_column(db: str) -> None:
    tracker = Tracker(db)
    tracker.log({1: 2})
    assert tracker["1"].tolist() == [2]


@pytest.mark.parametrize("run", ["x'; DROP TABLE", 'a"b', "%", "", "漢字", "a/b/../c", "\x00"])
def test_track_id_of_any_shape_is_a_run(db: str, run: str) -> None:
    tracker = Tracker(db, track_id=run)
    tracker.log({"x": 1})
    Tracker(db, track_id="other").log({"x": 2})
    if run:
        assert tracker.track_id == run
    assert tracker["x"].tolist() == [1]
    assert Reader(db).set_value("x", 5, track_id=tracker.track_id) == 1
    assert Reader(db).delete_run(tracker.track_id) == 1
    assert Reader(db).to_df()["x"].tolist() == [2]


def test_set_value_and_set_where_take_new_columns_and_objects(db: str) -> None:
    tracker = Tracker(db)
    tracker.log({"model": "a"})
    assert tracker.set_value("m", Fraction(1, 2)) == 1
    assert tracker.set_where("new", 1, "model", "a") == 1
    row = tracker[1]
    assert row is not None and tracker.get(row["m"]) == Fraction(1, 2) and row["new"] == 1


@pytest.mark.parametrize("value", [2**63, -(2**63), 2**63 - 1, 2**64, -(2**200)])
def test_integer_of_any_size_comes_back(db: str, value: int) -> None:
    tracker = Tracker(db)
    tracker.log({"x": value})
    assert tracker["x"].tolist() == [value]


def test_log_from_another_thread_works_after_reading_here(db: str) -> None:
    tracker = Tracker(db)
    tracker.log({"x": 1})
    assert len(tracker.to_df()) == 1
    counts: list[int] = []

    def work() -> None:
        tracker.log({"x": 2})
        counts.append(len(tracker.to_df()))
        counts.append(tracker.conn.execute("SELECT count(*) FROM events").fetchone()[0])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert counts == [2, 2] and len(tracker) == 2


# silent surprises


@pytest.mark.parametrize(
    "value",
    [np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True), np.array(2), np.str_("a")],
    ids=lambda value: type(value).__name__,
)
def test_numpy_scalar_is_a_number_not_an_object(db: str, value: Any) -> None:
    tracker = Tracker(db)
    tracker.log({"x": value})
    assert tracker[1]["x"] == value.item()  # type: ignore[index]
    assert type(tracker[1]["x"]) is type(value.item())  # type: ignore[index]
    assert not Path(db + ".events", "_assets").exists()


def test_keys_alike_in_their_first_64_characters_are_two_columns(db: str) -> None:
    tracker = Tracker(db)
    tracker.log({"k" * 70 + "1": 1, "k" * 70 + "2": 2})
    assert list(tracker[1].values())[2:] == [1, 2]  # type: ignore[union-attr]


def test_readers_and_paths_that_are_not_there_create_nothing(tmp_path: Path) -> None:
    for attempt in (Reader, Reader.read_db):
        with pytest.raises(StoreNotFound):
            attempt(tmp_path / "typo.db")
    assert list(tmp_path.iterdir()) == []


def test_ten_readers_are_no_crowd_of_threads(db: str) -> None:
    Tracker(db).log({"x": 1})
    before = threading.active_count()
    readers = [Reader(db) for _ in range(10)]
    assert [len(reader) for reader in readers] == [1] * 10
    assert threading.active_count() <= before + 1


def test_import_leaves_the_start_method_and_the_users_random_numbers_alone(tmp_path: Path) -> None:
    script = (
        "import random; random.seed(1); first = random.random(); random.seed(1)\n"
        "import multiprocessing, xetrack\n"
        "tracker = xetrack.Tracker('track.db'); tracker.log({'x': 1}); tracker.to_df()\n"
        "assert random.random() == first\n"
        "multiprocessing.set_start_method('spawn')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
