"""Stores whose writers' clocks were wrong: the order, the rows, the states of the runs and the views of the past hold.

The arithmetic of the hybrid clock is in ``tests/unit/test_clock.py``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xetrack import Reader, Tracker, merge
from xetrack.log import events as ev
from xetrack.log.clock import MAX_CLOCK_US, MAX_WALL_US
from xetrack.store import open_store

HOUR, DAY = 3600, 86400
YEAR_2038, YEAR_2262 = 2**31, 2**63 // 10**9
Jump = Callable[[float], None]


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Sets the system's time, in seconds from the real one, also for writers that live."""
    real_ns, real, ahead = time.time_ns, time.time, 0.0

    def set_ahead(seconds: float) -> None:
        nonlocal ahead
        ahead = seconds

    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(ahead * 10**9))
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    return set_ahead


def holds(db: Path, steps: dict[str, list[int]]) -> None:
    """Each run's rows are there once, in the order in which they were logged, in either engine; nothing is damaged."""
    frames: list[list[Any]] = []
    for engine in ("sqlite", "duckdb"):
        reader = Reader(db, engine=engine)
        frame = reader.to_df()
        assert {run: rows["step"].tolist() for run, rows in frame.groupby("track_id")} == steps
        frames.append(list(zip(frame["track_id"], frame["step"], strict=True)))
        runs = reader.runs()
        assert (runs["duration_s"] >= 0).all()
        assert runs.set_index("track_id")["rows"].to_dict() == {run: len(rows) for run, rows in steps.items()}
    assert frames[0] == frames[1]
    store = open_store(db)
    try:
        assert store.verify().ok
        last: dict[str, int] = {}
        for event in events(db):
            writer = event.id.rpartition("-")[0]
            assert last.get(writer, 0) <= event.clock <= MAX_CLOCK_US
            last[writer] = event.clock
    finally:
        store.close()


def events(db: Path) -> list[ev.Event]:
    """The events of a store, writer by writer, as they stand in its files."""
    store = open_store(db)
    try:
        log = store.log
        return [
            event
            for segment in log.segments("default")
            for chunk in log.scan("default", segment.name)
            for event in chunk.events
        ]
    finally:
        store.close()


def seen_after_each(db: Path) -> dict[str, int]:
    """For each logged row, by its step, how many rows there were when it had been logged."""
    found = {}
    for event in events(db):
        if isinstance(event, ev.RowLogged):
            found[f"{event.run} {event.data['step']}"] = len(Reader(db, at=event.id).to_df())
    return found


def states(db: Path) -> dict[str, str]:
    runs = Reader(db).runs()
    return dict(zip(runs["track_id"], runs["state"], strict=True))


def test_clock_that_is_set_back_an_hour_under_a_tracker(tmp_path: Path, jump: Jump) -> None:
    db = tmp_path / "track.db"
    with Tracker(db, track_id="a") as tracker:
        tracker.log({"step": 0})
        jump(-HOUR)
        tracker.log({"step": 1})
        assert states(db) == {"a": "running"}
        holds(db, {"a": [0, 1]})
        tracker.set_value("label", "seen")
        jump(0)
        tracker.log({"step": 2})
    holds(db, {"a": [0, 1, 2]})
    assert states(db) == {"a": "finished"}
    assert Reader(db).to_df()["label"].tolist()[:2] == ["seen", "seen"]
    assert seen_after_each(db) == {"a 0": 1, "a 1": 2, "a 2": 3}


def test_tracker_that_begins_an_hour_before_what_it_reads(tmp_path: Path, jump: Jump) -> None:
    db = tmp_path / "track.db"
    with Tracker(db, track_id="a") as tracker:
        tracker.log({"step": 0})
    jump(-HOUR)
    with Tracker(db, track_id="b") as tracker:
        Reader(db).set_value("label", "later", track_id="a")
        tracker.log({"step": 1})
    jump(0)
    holds(db, {"a": [0], "b": [1]})
    assert Reader(db).to_df(track_id="a")["label"].tolist() == ["later"]
    assert states(db) == {"a": "finished", "b": "finished"}


@pytest.mark.parametrize("apart", [DAY, -DAY], ids=["ahead", "behind"])
def test_hosts_a_day_apart_that_are_merged(tmp_path: Path, jump: Jump, apart: float) -> None:
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    with Tracker(ours, track_id="ours") as tracker:
        tracker.log({"step": 0})
    jump(apart)
    with Tracker(theirs, track_id="theirs") as tracker:
        tracker.log({"step": 1})
        tracker.log({"step": 2})
    jump(0)
    for _ in range(2):
        merge(theirs, into=ours)
    merge(ours, into=theirs)
    with Tracker(ours, track_id="after") as tracker:
        assert Reader(ours).set_value("label", "seen") == 3
        tracker.log({"step": 3})
    rows = {"ours": [0], "theirs": [1, 2], "after": [3]}
    holds(ours, rows)
    merge(ours, into=theirs)
    holds(theirs, rows)
    order = Reader(ours).to_df()["track_id"].tolist()
    # What was logged with all of it read comes after all of it, whatever the clock says.
    assert order == (["ours", "theirs", "theirs", "after"] if apart > 0 else ["theirs", "theirs", "ours", "after"])
    assert order == Reader(theirs).to_df()["track_id"].tolist()
    assert seen_after_each(ours)["after 3"] == 4
    assert set(states(ours).values()) == {"finished"}


@pytest.mark.parametrize("seconds", [YEAR_2038, YEAR_2262], ids=["2038", "2262"])
def test_clock_that_leaps_under_a_tracker_and_comes_back(tmp_path: Path, jump: Jump, seconds: float) -> None:
    db = tmp_path / "track.db"
    with Tracker(db, track_id="a") as tracker:
        tracker.log({"step": 0})
        jump(seconds - time.time() + 10)
        tracker.log({"step": 1})
        holds(db, {"a": [0, 1]})
        jump(0)
        tracker.log({"step": 2})
        assert tracker.set_value("label", "seen") == 3
    with Tracker(db, track_id="b") as tracker:
        tracker.log({"step": 3})
    holds(db, {"a": [0, 1, 2], "b": [3]})
    assert seen_after_each(db) == {"a 0": 1, "a 1": 2, "a 2": 3, "b 3": 4}
    assert states(db) == {"a": "finished", "b": "finished"}
    clocks = [event.clock for event in events(db)]
    assert max(clocks) >= min(int(seconds * 10**6), MAX_WALL_US)


@pytest.mark.parametrize("live", ["0", "1"])
def test_many_threads_in_one_microsecond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: str) -> None:
    monkeypatch.setenv("XETRACK_LIVE", live)
    db = tmp_path / "track.db"
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns)
    together = threading.Barrier(8)

    def work(run: int) -> None:
        with Tracker(db, track_id=f"run {run}") as tracker:
            together.wait()
            for step in range(200):
                tracker.log({"step": step})

    threads = [threading.Thread(target=work, args=(run,)) for run in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    holds(db, {f"run {run}": list(range(200)) for run in range(8)})
    rows = [event for event in events(db) if isinstance(event, ev.RowLogged)]
    assert len({event.id for event in rows}) == 1600
    # 1,024 may share a reading, and what the tables saw meanwhile is followed by the next one.
    assert len({event.clock for event in rows}) <= (4 if live == "0" else 100)
    assert set(states(db).values()) == {"finished"}
    # A thread that is through before another begins seals the segment: then there are two.
    rows.sort(key=lambda event: (event.clock, *ev.split_id(event.id)))
    assert len(Reader(db, at=rows[800].id).to_df()) == 801
