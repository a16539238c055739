"""Who changed what: `Reader.history` and `Reader.blame`."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from xetrack import Reader, Tracker, merge
from xetrack.errors import ColumnNotFound, InvalidArgument, RunNotFound

COLUMNS = "event_id time kind table track_id column old new user host pid script commit".split()


def _told(frame: pd.DataFrame, *names: str) -> list[tuple[Any, ...]]:
    return list(frame[list(names)].itertuples(index=False, name=None))


@pytest.fixture
def reader(db: str) -> Reader:
    with Tracker(db, track_id="r1") as tracker:
        tracker.log({"step": 1, "loss": 0.5})
        tracker.log({"step": 2})
    return Reader(db)


def test_history_has_the_columns_and_types_that_are_promised(reader: Reader) -> None:
    frame = reader.history()
    assert list(frame) == COLUMNS
    assert str(frame.time.dtype) == "datetime64[us, UTC]" and str(frame.pid.dtype) == "Int64"
    assert str(frame.event_id.dtype) == "object"
    assert set(frame.user) == {getpass.getuser()} and set(frame.host) == {platform.node()}
    assert set(frame.pid) == {os.getpid()}
    empty = reader.history(track_id="absent")
    assert list(empty) == COLUMNS and len(empty) == 0 and str(empty.time.dtype) == "datetime64[us, UTC]"


def test_history_is_newest_first_with_a_line_for_each_cell(reader: Reader) -> None:
    reader.set_value("label", "good", track_id="r1")
    reader.set_where("label", "bad", "step", 2)
    assert _told(reader.history(), "kind", "track_id", "column", "old", "new") == [
        ("value.set", "r1", "label", "good", "bad"),
        ("value.set", "r1", "label", None, "good"),
        ("value.set", "r1", "label", None, "good"),
        ("row.logged", "r1", "step", None, 2),
        ("row.logged", "r1", "step", None, 1),
        ("row.logged", "r1", "loss", None, 0.5),
    ]
    assert reader.history(column="loss").new.tolist() == [0.5]


@pytest.mark.parametrize("asked", [{}, {"track_id": "r2"}, {"column": "loss"}, {"track_id": "absent"}])
def test_rows_alone_have_the_lines_that_they_have_below_a_change(
    reader: Reader, db: str, asked: dict[str, str]
) -> None:
    with Tracker(db, track_id="r2") as tracker:
        tracker.log({"loss": 0.25, "note": None})
        tracker.log({})
    alone = reader.history(**asked)
    reader.set_value("label", "good", track_id="r2")
    below = reader.history(**asked)
    below = below[below.kind == "row.logged"].reset_index(drop=True)
    assert repr(alone.to_dict("records")) == repr(below.to_dict("records"))


@pytest.mark.parametrize("value", [2**70, b"\x00\xff", True, 1.0, {"a": [1]}, float("inf")])
def test_values_come_as_they_were_logged(db: str, value: Any) -> None:
    with Tracker(db, track_id="r1") as tracker:
        tracker.log({"x": value})
        tracker.set_value("x", "text")
    (old, _), (_, new) = _told(Reader(db).history(), "old", "new")
    assert (type(old), old) == (type(value), value) == (type(new), new)


def test_nan_is_kept(db: str) -> None:
    with Tracker(db, track_id="r1") as tracker:
        tracker.log({"x": float("nan")})
    assert Reader(db).history().new.tolist()[0] != Reader(db).history().new.tolist()[0]


def test_what_hides_rows_is_one_line_a_run(reader: Reader) -> None:
    reader.delete_run("r1")
    reader.undo_run("r1")
    with Tracker(reader.db, track_id="r1", rewind={"step": 1}, reset=False):
        pass
    Tracker(reader.db, track_id="r2", reset=True).close()
    newest = _told(reader.history(), "kind", "track_id", "column", "old", "new")[:4]
    assert [line[:4] for line in newest] == [
        ("table.reset", "r1", None, None),
        ("run.rewound", "r1", None, None),
        ("event.undone", "r1", None, None),
        ("run.deleted", "r1", None, None),
    ]
    assert newest[1][4] == {"step": 1} and newest[3][4] is None
    assert newest[2][4] == reader.history().event_id[3]


def test_undone_set_stays_in_the_history_and_its_undo_tells_what_is_back(reader: Reader) -> None:
    reader.set_value("loss", 0.1, track_id="r1")
    assert reader.undo(reader.history().event_id[0]) == 2
    assert _told(reader.history(column="loss"), "kind", "old", "new") == [
        ("event.undone", 0.1, 0.5),
        ("event.undone", 0.1, None),
        ("value.set", 0.5, 0.1),
        ("value.set", None, 0.1),
        ("row.logged", None, 0.5),
    ]


def test_protection_and_assets_are_told(reader: Reader) -> None:
    reader.protect("r1")
    reader.unprotect("r1")
    with Tracker(reader.db, track_id="r2") as tracker:
        tracker.log({"model": object})
    lines = _told(reader.history(), "kind", "track_id", "column", "old", "new")
    assert lines[2:4] == [("run.unprotected", "r1", None, True, False), ("run.protected", "r1", None, False, True)]
    assert lines[1][:4] == ("asset.added", None, "model", None)


def test_column_is_found_by_its_raw_key_too(db: str) -> None:
    with Tracker(db, track_id="r1") as tracker:
        tracker.log({"a b": 1})
        tracker.log({"a_b": 2})
    reader = Reader(db)
    assert _told(reader.history(column="a b"), "column", "new") == [("a_b", 1)]
    assert _told(reader.history(column="a_b_2"), "column", "new") == [("a_b_2", 2)]


def test_where_events_come_from_is_told_inside_of_packs_too(tmp_path: Path, reader: Reader) -> None:
    other = str(tmp_path / "other.db")
    merge(reader.db, into=other)
    shutil.rmtree(f"{reader.db}.events")
    frame = Reader(other).history()
    assert set(frame.pid) == {os.getpid()} and set(frame.host) == {platform.node()}


def test_redacted_values_are_not_told_though_their_bytes_still_stand(db: str) -> None:
    from xetrack.log.events import PayloadRedacted, split_id
    from xetrack.store import open_store

    with Tracker(db, track_id="r1") as tracker:
        tracker.log({"name": "secret"})
        tracker.set_value("name", "other")
    row = Reader(db).history().event_id[1]
    store = open_store(db)
    origin = split_id(row)
    writer = store.log.writer("default")
    writer.append(PayloadRedacted, events={origin[0]: str(origin[1])}, reason="names a patient")
    writer.release()
    frame = Reader(db).history()
    assert "secret" not in repr(frame.to_dict())
    assert _told(frame, "kind", "new")[0] == ("payload.redacted", "names a patient")
    assert _told(frame, "kind", "track_id", "new")[-1] == ("row.logged", None, None)


def test_blame_names_what_stands_and_what_it_replaced(reader: Reader) -> None:
    reader.set_value("label", "good", track_id="r1")
    reader.set_where("label", "bad", "step", 2)
    assert _told(reader.blame("r1", "label"), "kind", "old", "new", "rows") == [
        ("value.set", "good", "bad", 1),
        ("value.set", None, "good", 1),
    ]
    assert _told(reader.blame("r1", "loss"), "kind", "old", "new", "rows") == [("row.logged", None, 0.5, 1)]
    reader.undo(reader.history().event_id[0])
    assert _told(reader.blame("r1", "label"), "new", "rows") == [("good", 2)]


def test_blame_of_what_is_not_there_names_near_matches(reader: Reader) -> None:
    with pytest.raises(RunNotFound, match="r1"):
        reader.blame("r11", "loss")
    with pytest.raises(ColumnNotFound, match="loss"):
        reader.blame("r1", "los")
    with pytest.raises(InvalidArgument):
        reader.blame("r1", "timestamp")
