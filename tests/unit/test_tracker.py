"""The write side: what a call to a tracker becomes, and what is shown of it."""

from __future__ import annotations

import datetime as dt
import gc
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from xetrack.errors import (
    AssetNotFound,
    ColumnNotFound,
    EventTooLarge,
    InvalidArgument,
    InvalidKey,
    InvalidTable,
    InvalidValue,
    KeyCollision,
    ReadOnlyTables,
    ReservedKey,
    UsageError,
    XetrackError,
)
from xetrack.log.codec import MAX_LINE_BYTES
from xetrack.read.reader import Reader
from xetrack.track.tracker import Tracker


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "track.db")


@pytest.fixture
def tracker(db: str) -> Tracker:
    return Tracker(db)


class Thing:
    """No table cell holds one of these."""

    def __init__(self, size: int) -> None:
        self.size = size


def cell(tracker: Tracker, index: int, column: str) -> Any:
    row = tracker[index]
    assert row is not None
    return row[column]


# log


def test_logged_row_comes_back_with_params_time_and_run(db: str) -> None:
    tracker = Tracker(db, params={"model": "bert"})
    row = tracker.log({"accuracy": 0.95})
    assert row == {"model": "bert", "accuracy": 0.95, "timestamp": row["timestamp"], "track_id": tracker.track_id}
    assert tracker.latest is row
    assert tracker.to_df().to_dict("records") == [row]


def test_timestamp_is_local_time_to_the_microsecond_and_the_one_in_the_table(tracker: Tracker) -> None:
    before = dt.datetime.now()
    rows = [tracker.log({"x": number}) for number in range(3)]
    after = dt.datetime.now() + dt.timedelta(seconds=1)
    stamps = [row["timestamp"] for row in rows]
    for stamp in stamps:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", stamp)
        assert before <= dt.datetime.fromisoformat(stamp) <= after
    assert stamps == sorted(stamps)
    assert tracker.to_df()["timestamp"].tolist() == stamps


def test_own_keys_of_a_row_win_over_params(db: str) -> None:
    tracker = Tracker(db, params={"lr": 0.1, "model": "bert"})
    for lr in (0.2, 0.3):
        assert tracker.log({"lr": lr})["lr"] == lr
    assert tracker["lr"].tolist() == [0.2, 0.3]
    assert tracker.params["lr"] == 0.1


@pytest.mark.parametrize("repeats", [1, 2])
def test_every_way_into_the_log_keeps_values_and_types(tracker: Tracker, repeats: int) -> None:
    values = {
        "bool": True,
        "int": 1,
        "float": 1.0,
        "text": "a\x00b 🎈",
        "none": None,
        "big": 2**70,
        "edge": 2**53,
        "list": [1, [2.5, {"a": None}]],
        "bytes": b"\x00\xff",
        "when": dt.datetime(2026, 1, 2, 3, 4, 5, 6),
    }
    for _ in range(repeats):
        row = tracker.log(values)
        shown = {key: row[key] for key in values}
        assert shown == values
        assert [type(value) for value in shown.values()] == [type(value) for value in values.values()]
    assert len(tracker) == repeats


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 2**53, -(2**64), [1], {"a": 1}, b"x", "naïve 🎈"])
def test_odd_value_under_a_known_key_is_logged_as_the_first_would_be(db: str, odd: Any) -> None:
    first, later = Tracker(db, table="first"), Tracker(db, table="later")
    first.log({"x": odd})
    later.log({"x": 1})
    later.log({"x": odd})
    assert repr(later.latest["x"]) == repr(first.latest["x"]) == repr(odd)
    texts = [next(Path(db + ".events", table).glob("*.jsonl")).read_text() for table in ("first", "later")]
    assert len({re.findall(r'"data":(.*),"crc"', text)[-1] for text in texts}) == 1


def test_nan_is_never_shown_or_stored_as_something_else(tracker: Tracker) -> None:
    tracker.log({"x": 0.5})
    row = tracker.log({"x": float("nan")})
    assert row["x"] != row["x"]
    assert [value != value for value in tracker["x"]] == [False, True]
    segment = next(Path(tracker.db + ".events", "default").glob("*.jsonl"))
    assert '{"$float":"NaN"}' in segment.read_text()


def test_numpy_and_mapping_values_become_plain_python(tracker: Tracker) -> None:
    import numpy as np

    row = tracker.log({"a": np.float64(0.9), "b": np.int64(3), "c": np.bool_(True), "d": Counter("aab")})
    assert (row["a"], row["b"], row["c"], row["d"]) == (0.9, 3, True, {"a": 2, "b": 1})
    assert [type(row[key]) for key in "abc"] == [float, int, bool]
    assert tracker.dtypes["a"] is float


def test_nested_value_changed_later_does_not_change_what_was_logged(tracker: Tracker) -> None:
    scores = [1, 2]
    row = tracker.log({"scores": scores})
    scores.append(3)
    assert row["scores"] == [1, 2] and tracker.latest["scores"] == [1, 2]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"": 1}, InvalidKey),
        ({"track_id": "mine"}, ReservedKey),
        ({"timestamp": "now"}, ReservedKey),
        ({"a b": 1, "a_b": 2}, KeyCollision),
        ({1: 1, "1": 2}, KeyCollision),
        ({"k" * 300: 1}, InvalidKey),
        ({"x": "\ud800"}, InvalidValue),
        ({"x": [{"deep": "\ud800"}]}, InvalidValue),
        ([1], InvalidArgument),
        (None, InvalidArgument),
        ("x", InvalidArgument),
    ],
)
def test_row_that_no_log_can_hold_is_refused_before_anything_is_written(
    tracker: Tracker, data: Any, error: type[Exception]
) -> None:
    tracker.log({"x": "fine"})
    with pytest.raises(error):
        tracker.log(data)
    with pytest.raises(error):
        tracker.log_batch([{"x": 1}, data])
    assert tracker.count_all() == 1
    assert tracker.latest["x"] == "fine"


def test_surrogate_under_a_known_key_names_the_key(tracker: Tracker) -> None:
    tracker.log({"note": "fine"})
    with pytest.raises(InvalidValue) as caught:
        tracker.log({"note": "\udfff"})
    assert caught.value.key == "note"
    assert tracker.log({"note": "again"})["note"] == "again"
    assert tracker["note"].tolist() == ["fine", "again"]


def test_keys_that_are_not_text_become_text(tracker: Tracker) -> None:
    for _ in range(2):
        assert tracker.log({1: "one", 2.5: "two"})["1"] == "one"
    assert tracker.columns == ["timestamp", "track_id", "1", "2_5"]


def test_params_collide_with_keys_of_a_row_as_keys_of_one_call(db: str) -> None:
    tracker = Tracker(db, params={"a b": 1})
    for _ in range(2):
        with pytest.raises(KeyCollision):
            tracker.log({"a_b": 2})
    with pytest.raises(KeyCollision):
        tracker.set_param("a_b", 2)
    assert tracker.params == {"a b": 1}


def test_param_set_after_a_row_is_checked_against_known_keys_again(tracker: Tracker) -> None:
    tracker.log({"a_b": 1})
    tracker.set_param("a b", 2)
    with pytest.raises(KeyCollision):
        tracker.log({"a_b": 1})


def test_rows_with_endless_different_keys_do_not_grow_the_tracker() -> None:
    tracker = Tracker(Tracker.SKIP_INSERT)
    for number in range(3000):
        tracker.log({f"key{number}": 1})
    assert len(tracker._recorder._known[0]) <= 1024


# params


def test_params_are_copied_normalised_and_encoded_like_data(db: str) -> None:
    given = {"learning rate": 1, "cfg": {"layers": [1, 2]}}
    tracker = Tracker(db, params=given)
    tracker.set_param("b", 2)
    given["cfg"]["layers"].append(3)  # type: ignore[index]
    assert "b" not in given
    row = tracker.log({"x": 1})
    assert row["cfg"] == {"layers": [1, 2]}
    assert tracker.columns[2:] == ["learning_rate", "cfg", "b", "x"]
    tracker.params["stray"] = 1
    assert "stray" not in tracker.log({"x": 2})


def test_params_without_room_for_a_row_are_refused(db: str) -> None:
    large = "x" * MAX_LINE_BYTES
    with pytest.raises(EventTooLarge):
        Tracker(db, params={"large": large})
    with Tracker(db, params={"small": 1}) as tracker:
        for change in (lambda: tracker.set_param("large", large), lambda: tracker.set_params({"large": large})):
            with pytest.raises(EventTooLarge):
                change()
        assert tracker.params == {"small": 1} and tracker.log({"x": 1})["small"] == 1
    with Tracker(Tracker.SKIP_INSERT, params={"large": large}) as tracker:
        assert tracker.params["large"] is large


def test_set_params_reach_later_rows_only(tracker: Tracker) -> None:
    tracker.log({"x": 1})
    assert tracker.set_params({"model": "resnet18", "dataset": "cifar10"}) == {
        "model": "resnet18",
        "dataset": "cifar10",
    }
    assert tracker.set_param("model", "vit") == "vit"
    tracker.log({"x": 2})
    assert cell(tracker, 1, "model") is None
    assert cell(tracker, 2, "model") == "vit"


def test_param_that_json_cannot_hold_is_in_every_row(db: str) -> None:
    when = dt.datetime(2026, 1, 2)
    tracker = Tracker(db, params={"when": when, "odd": float("inf")})
    for _ in range(3):
        assert tracker.log({"x": 1})["when"] == when
    assert tracker.log_batch([{"x": 1}, {"x": 2}])["odd"] == float("inf")
    assert tracker["odd"].tolist() == [float("inf")] * 5


@pytest.mark.parametrize("name", ["track_id", "timestamp", ""])
def test_reserved_param_is_refused(db: str, name: str) -> None:
    with pytest.raises(UsageError):
        Tracker(db, params={name: 1})


# log_batch


def test_batch_is_logged_in_order_and_returns_the_last_row(tracker: Tracker) -> None:
    rows = [{"step": step, "loss": 1 / (step + 1)} for step in range(2500)]
    last = tracker.log_batch(rows)
    assert last["step"] == 2499 and last is tracker.latest
    assert tracker["step"].tolist() == list(range(2500))
    tracker.log_batch(rows[:10])
    assert tracker.count_run() == 2510
    assert tracker.to_df()["timestamp"].iloc[-1] == tracker.latest["timestamp"]


def test_rows_of_a_batch_share_a_batch_id(tracker: Tracker) -> None:
    tracker.log({"x": 0})
    tracker.log_batch([{"x": 1}, {"x": 2}])
    tracker.log_batch(row for row in [{"x": 3}])
    segment = next(Path(tracker.db + ".events", "default").glob("*.jsonl"))
    batches = re.findall(r'"batch":(\d+)', segment.read_text())
    assert batches == ["2", "2", "4"]


def test_empty_batch_writes_nothing(tracker: Tracker) -> None:
    assert tracker.log_batch([]) == {}
    assert tracker.count_all() == 0
    assert tracker.latest == {}


def test_batch_with_one_bad_row_writes_no_row_and_no_object(tracker: Tracker) -> None:
    with pytest.raises(KeyCollision):
        tracker.log_batch([{"x": Thing(1)}, {"a b": 1, "a_b": 2}])
    assert tracker.count_all() == 0
    assert not list(Path(tracker.db + ".events").rglob("*.zst"))


def test_what_is_no_batch_is_refused(tracker: Tracker) -> None:
    for wrong in ({"x": 1}, "rows", None, 5):
        with pytest.raises(InvalidArgument):
            tracker.log_batch(wrong)  # type: ignore[arg-type]


# assets


def test_object_is_stored_once_and_comes_back_by_its_hash(tracker: Tracker) -> None:
    from fractions import Fraction

    half, rows = Fraction(1, 2), []
    for _ in range(2):
        rows.append(tracker.log({"x": half}))
    digest = rows[0]["x"]
    assert re.fullmatch("[0-9a-f]{16}", digest)
    assert digest == rows[1]["x"] == tracker["x"].tolist()[0]
    assert tracker.get(digest) == half
    events = next(Path(tracker.db + ".events", "default").glob("*.jsonl")).read_text()
    assert events.count('"kind":"asset.added"') == 1
    assert events.index("asset.added") < events.index("row.logged")
    assert len(list(Path(tracker.db + ".events", "_assets").rglob("*.zst"))) == 1


def test_falsy_and_array_objects_come_back(tracker: Tracker) -> None:
    from fractions import Fraction

    import numpy as np

    row = tracker.log({"zero": Fraction(0), "array": np.arange(3), "set": set()})
    assert tracker.get(row["zero"]) == 0
    assert tracker.get(row["array"]).tolist() == [0, 1, 2]
    assert tracker.get(row["set"]) == set()


@pytest.mark.parametrize("unknown", ["0123456789abcdef", "", "../../etc/passwd", "%", "model"])
def test_unknown_hash_is_an_error(tracker: Tracker, unknown: str) -> None:
    tracker.log({"x": Thing(1)})
    with pytest.raises(AssetNotFound):
        tracker.get(unknown)


def test_param_and_set_value_may_be_objects(db: str) -> None:
    from fractions import Fraction

    tracker = Tracker(db, params={"prior": Fraction(1, 3)})
    tracker.log({"x": 1})
    assert tracker.set_value("m", Fraction(1, 2)) == 1
    row = tracker[1]
    assert row is not None
    assert (tracker.get(row["prior"]), tracker.get(row["m"])) == (Fraction(1, 3), Fraction(1, 2))


def test_object_that_cannot_be_pickled_names_its_key(tracker: Tracker) -> None:
    with pytest.raises(InvalidValue) as caught:
        tracker.log({"lock": threading.Lock()})
    assert caught.value.key == "lock"
    assert tracker.count_all() == 0


# set_value, set_where


def test_set_value_reaches_all_rows_of_this_run_only(db: str) -> None:
    mine, other = Tracker(db), Tracker(db)
    other.log({"x": 1})
    mine.log_batch([{"x": 1}, {"x": 2}])
    assert mine.set_value("test_accuracy", 0.9) == 2
    assert mine["test_accuracy"].tolist() == [0.9, 0.9]
    assert other["test_accuracy"].isna().all()


def test_set_where_reaches_matching_rows_of_this_run_only(db: str) -> None:
    mine, other = Tracker(db), Tracker(db)
    other.log({"accuracy": 0.95})
    mine.log_batch([{"accuracy": 0.95}, {"accuracy": 0.1}])
    assert mine.set_where("label", "good", "accuracy", 0.95) == 1
    labels = mine.to_df()["label"]
    assert labels[0] == "good" and pd.isna(labels[1])
    assert pd.isna(cell(other, 1, "label"))


@pytest.mark.parametrize("where", ["1=1 or model", "x; DROP TABLE", 'x" or "1"="1'])
def test_where_key_that_is_no_column_is_refused(tracker: Tracker, where: str) -> None:
    tracker.log({"model": "bert", "x": 1})
    with pytest.raises(ColumnNotFound):
        tracker.set_where("x", 2, where, "bert")
    assert tracker["x"].tolist() == [1]


def test_set_of_a_reserved_key_is_refused(tracker: Tracker) -> None:
    tracker.log({"x": 1})
    for key in ("track_id", "timestamp", ""):
        with pytest.raises(UsageError):
            tracker.set_value(key, "mine")


# reading


def test_new_tracker_is_true_and_empty(tracker: Tracker) -> None:
    assert bool(tracker) is True
    assert len(tracker) == tracker.count_all() == tracker.count_run() == 0
    assert tracker[1] is None and tracker[-1] is None
    assert tracker.latest == {}
    assert tracker.columns[:2] == ["timestamp", "track_id"]
    assert list(tracker.to_df().columns) == ["timestamp", "track_id"]
    assert len(tracker.to_df(all=True)) == 0


def test_rows_count_from_one_and_from_the_end(db: str) -> None:
    Tracker(db).log({"x": 99})
    tracker = Tracker(db)
    assert tracker[1] is None
    for number in range(4):
        tracker.log({"x": number})
    rows = {index: tracker[index] for index in (1, 2, 4, -1, -2, -4)}
    assert {index: row["x"] for index, row in rows.items() if row} == {1: 0, 2: 1, 4: 3, -1: 3, -2: 2, -4: 0}
    assert [tracker[index] for index in (0, 5, -5)] == [None] * 3
    assert tracker[-1] == tracker.latest


def test_column_is_a_series_of_this_run(db: str) -> None:
    Tracker(db).log({"accuracy": 0.1})
    tracker = Tracker(db)
    tracker.log_batch([{"accuracy": 0.5}, {"accuracy": 0.6}])
    column = tracker["accuracy"]
    assert isinstance(column, pd.Series) and column.tolist() == [0.5, 0.6]
    with pytest.raises(ColumnNotFound) as caught:
        tracker["acuracy"]
    assert caught.value.near == ["accuracy"]


def test_head_and_tail_are_of_this_run_in_time_order(db: str) -> None:
    other = Tracker(db)
    tracker = Tracker(db)
    for number in range(7):
        tracker.log({"x": number})
        other.log({"x": -number})
    assert tracker.head()["x"].tolist() == [0, 1, 2, 3, 4]
    assert tracker.tail(3)["x"].tolist() == [4, 5, 6]
    assert tracker.head(0)["x"].tolist() == []
    assert (tracker.count_run(), tracker.count_all(), len(tracker)) == (7, 14, 7)
    assert len(tracker.to_df(all=True)) == 14


def test_dtypes_are_python_types(tracker: Tracker) -> None:
    tracker.log({"a": 1, "b": 1.5, "c": "x", "d": True})
    assert {key: tracker.dtypes[key] for key in "abcd"} == {"a": int, "b": float, "c": str, "d": bool}


def test_connection_reads_what_was_just_logged_and_refuses_to_write(tracker: Tracker) -> None:
    connection = tracker.conn
    for number in range(1, 4):
        tracker.log({"accuracy": number / 4})
        assert connection.execute('SELECT count(*) FROM "default"').fetchall() == [(number,)]
    assert tracker.conn.execute("SELECT accuracy FROM db.events WHERE accuracy > 0.7").fetchall() == [(0.75,)]
    with pytest.raises(ReadOnlyTables):
        connection.execute('DELETE FROM "default"')
    assert tracker.count_all() == 3


def test_printing_shows_the_frame_of_the_run(tracker: Tracker) -> None:
    tracker.log({"accuracy": 0.25})
    assert "accuracy" in str(tracker) and "0.25" in str(tracker)
    assert tracker.track_id in repr(tracker)
    assert "<table" in tracker._repr_html_()


def test_notebook_gets_as_many_rows_as_pandas_shows_and_no_markup_of_values(tracker: Tracker) -> None:
    tracker.log_batch([{"text": f"<script>{number}</script>"} for number in range(500)])
    html = tracker._repr_html_()
    assert "&lt;script&gt;499" in html and "<script>" not in html
    assert html.count("<tr>") < 100 and "500 rows" in html


def test_exports_hold_the_rows_of_the_run_or_of_all(db: str, tmp_path: Path) -> None:
    Tracker(db).log({"x": 1})
    tracker = Tracker(db)
    tracker.log({"x": 2})
    tracker.to_csv(tmp_path / "run.csv")
    tracker.to_csv(str(tmp_path / "all.csv"), all=True)
    assert pd.read_csv(tmp_path / "run.csv")["x"].tolist() == [2]
    assert pd.read_csv(tmp_path / "all.csv")["x"].tolist() == [1, 2]


def test_parquet_is_written_or_the_extra_is_named(tracker: Tracker, tmp_path: Path) -> None:
    tracker.log({"x": 2, "name": "a"})
    path = tmp_path / 'o\'dd "name".parquet'
    try:
        tracker.to_parquet(path)
    except XetrackError as error:
        assert "xetrack[" in str(error)
    else:
        assert path.read_bytes()[:4] == b"PAR1"


# the run's name


def test_track_id_is_two_words_and_four_digits() -> None:
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d{4}", Tracker.generate_track_id())


def test_seeded_random_neither_repeats_ids_nor_is_disturbed(tmp_path: Path) -> None:
    script = (
        "import random; random.seed(0); from xetrack.track.tracker import Tracker;"
        "t = Tracker(':memory:'); print(t.track_id, random.random())"
    )
    outcomes = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert outcomes[0][0] != outcomes[1][0]
    random.seed(0)
    assert {float(outcome[1]) for outcome in outcomes} == {random.random()}


def test_given_track_id_continues_a_run(db: str) -> None:
    Tracker(db, track_id="mine").log({"x": 1})
    again = Tracker(db, track_id="mine")
    again.log({"x": 2})
    assert again["x"].tolist() == [1, 2]


def test_track_id_comes_from_the_environment_unless_given(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XETRACK_TRACK_ID", "from-env")
    assert Tracker(db).track_id == "from-env"
    assert Tracker(db, track_id="mine").track_id == "mine"


# the constructor


@pytest.mark.parametrize("wrong", [{"durability": "maybe"}, {"events": "xml"}, {"engine": "oracle"}])
def test_argument_outside_its_choices_is_refused(db: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Tracker(db, **wrong)


@pytest.mark.parametrize("table", ["assets", "_private", ""])
def test_table_name_of_xetracks_own_is_refused(db: str, table: str) -> None:
    with pytest.raises(InvalidTable):
        Tracker(db, table=table).log({"x": 1})


@pytest.mark.parametrize("table", ["order", "a b", "x; DROP TABLE", "ünïcode", "../up", "CON", 'quo"te', "a.b"])
def test_table_of_any_name_works_and_stays_in_its_store(tmp_path: Path, table: str) -> None:
    db = tmp_path / "deep" / "track.db"
    db.parent.mkdir()
    tracker = Tracker(db, table=table)
    tracker.log({"order": 1})
    assert tracker.table_name == table
    assert Reader(db, table=table).to_df()["order"].tolist() == [1]
    assert os.listdir(tmp_path) == ["deep"]


@pytest.mark.parametrize("durability", ["process", "disk"])
@pytest.mark.parametrize("events", ["jsonl", "msgpack"])
def test_every_codec_and_durability_gives_the_same_rows(db: str, durability: Any, events: Any) -> None:
    tracker = Tracker(db, durability=durability, events=events)
    tracker.log({"x": 1})
    tracker.log_batch([{"x": 2}, {"x": float("inf")}])
    tracker.set_value("y", 1)
    assert tracker["x"].tolist() == [1, 2, float("inf")]
    assert {path.suffix for path in Path(db + ".events", "default").iterdir()} == {f".{events}"}


def test_reset_hides_what_was_there(db: str) -> None:
    Tracker(db).log({"old": 1})
    tracker = Tracker(db, reset=True)
    assert tracker.count_all() == 0
    tracker.log({"new": 1})
    assert tracker.columns == ["timestamp", "track_id", "new"]
    assert Reader(db).columns == tracker.columns


def test_reset_of_a_new_store_and_of_memory_works(db: str) -> None:
    for where in (db, Tracker.IN_MEMORY, Tracker.SKIP_INSERT):
        tracker = Tracker(where, reset=True)
        tracker.log({"x": 1})
        assert tracker.latest["x"] == 1


def test_relative_path_is_pinned_when_the_tracker_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(home)
    tracker = Tracker("track.db")
    monkeypatch.chdir(elsewhere)
    tracker.log({"x": 1, "thing": Thing(1)})
    assert tracker["x"].tolist() == [1]
    tracker.close()
    assert os.listdir(elsewhere) == []
    assert {"track.db", "track.db.events"} <= set(os.listdir(home))


def test_empty_file_as_db_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    tracker = Tracker(path)
    tracker.log({"x": 1})
    assert tracker["x"].tolist() == [1]


@pytest.mark.parametrize("content", [b"my notes, not yours\n", b"SQLite format 3\x00 but not really"])
def test_foreign_file_is_named_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(XetrackError, match="notes.txt"):
        Tracker(path)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_folder_as_db_is_named(tmp_path: Path) -> None:
    with pytest.raises(XetrackError) as caught:
        Tracker(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert os.listdir(tmp_path) == []


# in memory, and nowhere


def test_memory_does_all_and_touches_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = Tracker(Tracker.IN_MEMORY, params={"model": "m"})
    tracker.log({"x": 1, "thing": Thing(7)})
    tracker.log_batch([{"x": 2}, {"x": 3}])
    assert tracker.set_value("y", 5) == 3
    assert tracker.set_where("z", 6, "x", 2) == 1
    assert tracker["x"].tolist() == [1, 2, 3]
    assert tracker["y"].tolist() == [5, 5, 5]
    assert tracker.get(cell(tracker, 1, "thing")).size == 7
    assert tracker.conn.execute("SELECT count(*) FROM events").fetchone() == (3,)
    tracker.flush()
    tracker.close()
    assert tracker["x"].tolist() == [1, 2, 3]
    assert os.listdir(tmp_path) == []


def test_trackers_in_memory_do_not_see_each_other() -> None:
    one, two = Tracker(Tracker.IN_MEMORY), Tracker(Tracker.IN_MEMORY)
    one.log({"x": 1})
    assert (one.count_all(), two.count_all()) == (1, 0)


def test_skip_insert_keeps_nothing_but_the_latest_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = Tracker(Tracker.SKIP_INSERT, params={"model": "m"})
    for number in range(2):
        row = tracker.log({"x": number})
        assert row == {"model": "m", "x": number, "timestamp": row["timestamp"], "track_id": tracker.track_id}
    assert tracker.log_batch([{"x": 8}, {"x": 9, "thing": Thing(1)}])["x"] == 9
    with pytest.raises(KeyCollision):
        tracker.log({"a b": 1, "a_b": 1})
    assert len(tracker) == tracker.count_all() == 0
    assert len(tracker.to_df()) == 0 and tracker[1] is None
    assert tracker.set_value("x", 1) == tracker.set_where("x", 1, "x", 2) == 0
    tracker.flush()
    tracker.close()
    assert os.listdir(tmp_path) == []


# the end


def ends(db: str) -> list[str]:
    texts = [path.read_text() for path in Path(db + ".events", "default").glob("*.jsonl")]
    return [match for text in texts for match in re.findall(r'"writer.ended".*?"state":"(\w+)"', text)]


def test_closed_tracker_sealed_its_segment_and_left_tables_caught_up(db: str) -> None:
    import sqlite3

    with Tracker(db) as tracker:
        tracker.log({"x": 1})
    assert ends(db) == ["finished"]
    with sqlite3.connect(db) as plain:
        assert plain.execute('SELECT x FROM "default"').fetchall() == [(1,)]
    plain.close()
    tracker.close()
    assert ends(db) == ["finished"]
    assert tracker["x"].tolist() == [1]


def test_block_that_raised_is_recorded_as_failed(db: str) -> None:
    with pytest.raises(RuntimeError, match="diverged"), Tracker(db) as tracker:
        tracker.log({"x": 1})
        raise RuntimeError("diverged")
    assert ends(db) == ["failed"]
    assert "RuntimeError: diverged" in next(Path(db + ".events", "default").glob("*.jsonl")).read_text()


@pytest.mark.parametrize(
    ("ending", "state"),
    [(KeyboardInterrupt(), "stopped"), (SystemExit(0), "finished"), (SystemExit(3), "failed"), (OSError(), "failed")],
)
def test_how_a_block_ended_is_recorded(db: str, ending: BaseException, state: str) -> None:
    with pytest.raises(type(ending)), Tracker(db) as tracker:
        tracker.log({"x": 1})
        raise ending
    assert ends(db) == [state]


def test_store_deleted_inside_the_block_is_not_brought_back(tmp_path: Path) -> None:
    with Tracker(tmp_path / "deep" / "track.db") as tracker:
        tracker.log({"x": 1})
        assert len(tracker.to_df()) == 1
        shutil.rmtree(tmp_path / "deep")
    assert os.listdir(tmp_path) == []


def test_log_after_close_goes_on_in_a_new_segment(db: str) -> None:
    tracker = Tracker(db)
    tracker.log({"x": 1})
    tracker.close()
    tracker.log({"x": 2})
    assert tracker["x"].tolist() == [1, 2]
    assert len(list(Path(db + ".events", "default").iterdir())) == 2


def test_trackers_of_one_table_share_a_segment_until_the_last_closes(db: str) -> None:
    one, two = Tracker(db), Tracker(db)
    one.log({"x": 1})
    two.log({"x": 2})
    one.close()
    two.log({"x": 3})
    two.close()
    assert len(list(Path(db + ".events", "default").iterdir())) == 1
    assert ends(db) == ["finished", "finished"]  # of the first one's run, and of the segment
    assert Reader(db).to_df()["x"].tolist() == [1, 2, 3]


def test_tracker_that_never_logged_writes_no_event(db: str) -> None:
    with Tracker(db):
        pass
    assert not list(Path(db + ".events").rglob("*.jsonl"))


@pytest.mark.filterwarnings("error")
def test_dropped_tracker_seals_its_segment_and_keeps_its_rows(db: str) -> None:
    Tracker(db).log({"x": 1})
    gc.collect()
    assert ends(db) == ["finished"]
    assert len(Reader(db)) == 1


@pytest.mark.filterwarnings("error")
def test_tracker_dropped_in_another_thread_is_silent(db: str, capfd: pytest.CaptureFixture[str]) -> None:
    held = [Tracker(db)]
    held[0].log({"x": 1})
    assert len(held[0].to_df()) == 1

    def drop() -> None:
        held.clear()
        gc.collect()

    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()
    assert ends(db) == ["finished"]
    assert capfd.readouterr() == ("", "")


def run_script(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=cwd, capture_output=True, text=True)


def test_program_that_ends_without_close_is_silent_and_complete(tmp_path: Path) -> None:
    done = run_script(
        "from xetrack.track.tracker import Tracker\n"
        "t = Tracker('track.db'); t.log({'x': 1}); t.to_df(); u = Tracker('track.db', table='other'); u.log({'y': 1})",
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ends(str(tmp_path / "track.db")) == ["finished"]
    import sqlite3

    plain = sqlite3.connect(tmp_path / "track.db")
    assert plain.execute('SELECT x FROM "default"').fetchall() == [(1,)]
    assert plain.execute('SELECT y FROM "other"').fetchall() == [(1,)]
    plain.close()


def test_program_that_dies_of_an_exception_is_recorded_as_failed(tmp_path: Path) -> None:
    done = run_script(
        "from xetrack.track.tracker import Tracker\nt = Tracker('track.db'); t.log({'x': 1}); 1 / 0", tmp_path
    )
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    assert ends(str(tmp_path / "track.db")) == ["failed"]


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_folder_deleted_under_a_living_tracker_is_not_brought_back(tmp_path: Path, engine: str) -> None:
    done = run_script(
        "import tempfile\n"
        "from xetrack.track.tracker import Tracker\n"
        "with tempfile.TemporaryDirectory(dir='.') as folder:\n"
        f"    t = Tracker(folder + '/track.db', engine={engine!r}); t.log({{'x': 1}}); t.to_df()\n",
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.listdir(tmp_path) == []


def test_flush_forces_rows_out_and_catches_tables_up(tracker: Tracker) -> None:
    import sqlite3

    tracker.flush()
    tracker.log({"x": 1})
    tracker.flush()
    with sqlite3.connect(tracker.db) as plain:
        assert plain.execute('SELECT x FROM "default"').fetchall() == [(1,)]
    plain.close()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"params": 5}, "params"),
        ({"params": [1, 2]}, "params"),
        ({"args": 5}, "args"),
        ({"args": "text"}, "args"),
        ({"kwargs": 5}, "args"),
        ({"kwargs": ["key"]}, "args"),
    ],
)
def test_call_that_is_given_wrongly_is_refused_before_it_runs(tracker: Tracker, given: Any, name: str) -> None:
    called: list[Any] = []
    with pytest.raises(InvalidArgument, match=f"argument {name} "):
        tracker.track(called.append, **given)
    assert called == [] and len(tracker) == 0


def test_params_that_are_no_dict_are_refused(db: str) -> None:
    with pytest.raises(InvalidArgument, match="argument params "):
        Tracker(db, params=5)  # type: ignore[arg-type]


class _AnyKey:
    """Equal to whatever it is compared with, as ``unittest.mock.ANY`` is."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_keys_that_say_they_equal_others_are_looked_at(db: str) -> None:
    with Tracker(db, params={"p": 1}) as tracker:
        assert tracker.log({})["p"] == 1
        for row in ({"a": 1}, {"b": 2}, {"b": 3}, {"a": 4}, {"b": 5, "a": 6}, {"a": 7}, {"b": 8}, {}):
            assert tracker.log(row).items() >= row.items()
            with pytest.raises(InvalidKey):
                tracker.log({_AnyKey(): 1})
        with pytest.raises(InvalidKey):
            tracker.log({pd.NA: 1})
        # What was checked with other params is checked again.
        tracker.set_param("a", 0)
        assert tracker.log({"a": 5})["a"] == 5
        assert tracker.log({"b": 6}).items() >= {"a": 0, "b": 6}.items()
        assert tracker.to_df()["a"].tolist()[-2:] == [5, 0]
