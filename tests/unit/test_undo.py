"""Undo, protection and rewind, in both engines."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from xetrack import Reader, Tracker
from xetrack.errors import (
    ColumnNotFound,
    EventNotFound,
    InvalidArgument,
    NothingToUndo,
    RunNotFound,
    RunProtected,
)


@pytest.fixture(params=["sqlite", "duckdb"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def reader(db: str, engine: Any) -> Reader:
    with Tracker(db, track_id="r1", engine=engine) as tracker:
        tracker.log({"step": 1})
        tracker.log_batch([{"step": 2}, {"step": 3}])
    with Tracker(db, track_id="r2", engine=engine) as tracker:
        tracker.log({"step": 1})
    return Reader(db, engine=engine)


def _newest(reader: Reader) -> str:
    return str(reader.history().event_id[0])


def _shown(reader: Reader) -> str:
    return repr(reader.to_df().to_dict("records"))


CHANGES: list[Callable[[Reader], Any]] = [
    lambda reader: reader.set_value("label", "x"),
    lambda reader: reader.set_where("step", 9, "step", 1),
    lambda reader: reader.delete_run("r1"),
    lambda reader: Tracker(reader.db, track_id="r1", rewind={"step": 1}).close(),
    lambda reader: Tracker(reader.db, track_id="r1", reset=True).close(),
    lambda reader: reader.protect("r1"),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_undo_takes_back_and_undo_of_the_undo_does_it_again(reader: Reader, number: int) -> None:
    before = _shown(reader)
    CHANGES[number](reader)
    after, event_id = _shown(reader), _newest(reader)
    count = reader.undo(event_id)
    assert _shown(reader) == before
    assert count or after == before
    assert reader.undo(event_id) == 0  # undone already
    again = _newest(reader)
    assert reader.undo(again) == count
    assert _shown(reader) == after


def test_row_is_undone_alone_and_a_batch_as_one(reader: Reader) -> None:
    second = reader.history(track_id="r1").event_id[1]
    assert reader.undo(second) == 1
    assert reader.to_df(track_id="r1").step.tolist() == [1, 3]
    assert reader.undo(second, batch=True) == 1
    assert reader.to_df(track_id="r1").step.tolist() == [1]
    with pytest.raises(InvalidArgument, match="log_batch"):
        reader.undo(reader.history(track_id="r2").event_id[0], batch=True)


def test_event_of_another_table_is_found(reader: Reader) -> None:
    with Tracker(reader.db, track_id="r1", table="metrics") as tracker:
        tracker.log({"acc": 1})
    other = Reader(reader.db, table="metrics")
    assert reader.undo(_newest(other)) == 1
    assert len(other) == 0


def test_what_no_undo_cancels_is_refused(reader: Reader) -> None:
    header = reader.history().event_id.iloc[-1].rpartition("-")[0] + "-0"
    with pytest.raises(InvalidArgument, match="writer.started"):
        reader.undo(header)
    for missing in ("nope", "a" * 16 + "-3", ""):
        with pytest.raises(EventNotFound):
            reader.undo(missing)


def test_deleted_run_comes_back_once(reader: Reader) -> None:
    reader.delete_run("r1")
    assert reader.undo_run("r1") == 3
    with pytest.raises(NothingToUndo):
        reader.undo_run("r1")
    with pytest.raises(RunNotFound, match="r1"):
        reader.undo_run("r11")


def test_rewound_run_comes_back_if_nothing_deleted_it(reader: Reader) -> None:
    Tracker(reader.db, track_id="r1", rewind={"step": 1}).close()
    assert reader.undo_run("r1") == 2


def test_set_reaches_a_deleted_row_and_is_there_when_it_comes_back(reader: Reader) -> None:
    reader.delete_run("r1")
    reader.set_value("label", "late", track_id="r1")
    reader.undo_run("r1")
    assert reader.to_df(track_id="r1").label.tolist() == ["late"] * 3


def test_undo_records_what_its_author_had_read(reader: Reader) -> None:
    from xetrack.read.history import events_of
    from xetrack.store import open_store

    reader.delete_run("r1")
    reader.undo_run("r1")
    events = events_of(open_store(reader.db).log, "default").ordered
    made: Any = events[-2] if type(events[-1]).__name__ == "WriterEnded" else events[-1]
    assert sum(len(seqs.split(",")) for seqs in made.seen.values()) >= 3


@pytest.mark.parametrize("number", range(5))
def test_protected_run_is_left_alone_until_its_protection_is_lifted(reader: Reader, number: int) -> None:
    assert reader.protect("r1") == 3
    before = _shown(reader)
    with pytest.raises(RunProtected, match="r1"):
        CHANGES[number](reader)
    assert _shown(reader) == before
    assert reader.unprotect("r1") == 3
    CHANGES[number](reader)
    assert _shown(reader) != before


def test_undo_may_bring_rows_of_a_protected_run_back_but_not_take_them(reader: Reader) -> None:
    Tracker(reader.db, track_id="r1", rewind={"step": 2}).close()
    rewound = _newest(reader)
    reader.protect("r1")
    with pytest.raises(RunProtected):
        reader.undo(reader.history(track_id="r1", column="step").event_id[1])
    assert reader.undo(rewound) == 1


def test_tracker_protects_its_own_run_and_logs_on(reader: Reader) -> None:
    with Tracker(reader.db, track_id="r1") as tracker:
        assert tracker.protect() == 3
        tracker.log({"step": 4})
        with pytest.raises(RunProtected):
            tracker.set_value("label", "x")
        assert reader.set_value("label", "x", track_id="r2") == 1
        assert tracker.unprotect() == 4
    with pytest.raises(RunNotFound, match="r1"):
        reader.protect("r")


def test_rewind_hides_rows_past_the_point(reader: Reader) -> None:
    tracker = Tracker(reader.db, track_id="r1", rewind={"step": 2})
    tracker.log({"step": 3, "again": True})
    tracker.close()
    assert reader.to_df(track_id="r1").step.tolist() == [1, 2, 3]
    assert len(reader) == 4


def test_rewind_compares_several_keys_in_order_and_spares_rows_without_them(db: str, engine: Any) -> None:
    with Tracker(db, track_id="r1", engine=engine) as tracker:
        for epoch in range(3):
            for step in range(3):
                tracker.log({"epoch": epoch, "step": step})
        tracker.log({"note": "no step"})
        assert tracker.rewind({"epoch": 1, "step": 0}) == 5
        assert tracker.count_run() == 5
        assert tracker.rewind({"epoch": 1, "step": 0}) == 0


def test_pickled_tracker_does_not_rewind_again(reader: Reader) -> None:
    tracker = Tracker(reader.db, track_id="r1", rewind={"step": 2})
    assert tracker.__reduce__()[1][2]["rewind"] is None
    assert pickle.loads(pickle.dumps(tracker)) is tracker
    tracker.close()


@pytest.mark.parametrize("point", [{}, [1], {"step": "x"}, {"step": True}, {"step": None}, {"step": float("nan")}])
def test_point_that_is_no_number_makes_nothing(tmp_path: Any, point: Any) -> None:
    with pytest.raises(InvalidArgument, match="rewind"):
        Tracker(str(tmp_path / "new.db"), track_id="r1", rewind=point)
    assert not list(tmp_path.iterdir())


def test_rewind_without_a_run_or_a_column_of_numbers_is_refused(reader: Reader) -> None:
    with pytest.raises(InvalidArgument, match="track_id"):
        Tracker(reader.db, rewind={"step": 1})
    with pytest.raises(ColumnNotFound, match="step"):
        Tracker(reader.db, track_id="r1", rewind={"stp": 1})
    reader.set_value("note", "text")
    with pytest.raises(InvalidArgument, match="numbers"):
        Tracker(reader.db, track_id="r1", rewind={"note": 1})
