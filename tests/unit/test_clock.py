"""The hybrid clock: readings of a writer never go back, whatever the wall clock does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from xetrack import Reader, Tracker
from xetrack.log.clock import MAX_CLOCK_US, MAX_WALL_US, Clock
from xetrack.log.events import RowLogged
from xetrack.log.log import FileLog
from xetrack.log.memory import MemoryLog


class Wall:
    """A wall clock that a test sets."""

    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def rows(log: FileLog | MemoryLog) -> list[RowLogged]:
    events = [event for s in log.segments("t") for chunk in log.scan("t", s.name) for event in chunk.events]
    return [event for event in events if isinstance(event, RowLogged)]


def test_floor_rises_with_what_was_read_and_never_falls() -> None:
    clock = Clock()
    clock.witness(50)
    clock.witness(10)
    assert clock.floor == 51


def test_largest_reading_cannot_be_exceeded() -> None:
    clock = Clock()
    clock.witness(MAX_CLOCK_US)
    assert clock.floor == MAX_CLOCK_US


@pytest.mark.parametrize("codec", ["jsonl", "msgpack"])
def test_system_clock_past_the_largest_reading_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: (MAX_CLOCK_US + 10**12) * 1000)
    log = FileLog(tmp_path / "x.events")
    writer = log.writer("t", codec)
    writer.append_row("r", {})
    writer.append_rows("r", [{}] * 2)
    writer.append(RowLogged, run="r", data={})
    assert [row.clock for row in rows(log)] == [MAX_WALL_US] * 4


def test_store_that_a_clock_past_the_largest_reading_has_written_to_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = tmp_path / "track.db"
    for run in ("a", "b"):
        with monkeypatch.context() as patch:
            patch.setattr(time, "time_ns", lambda: (MAX_CLOCK_US + 10**12) * 1000)
            with Tracker(db, track_id=run) as tracker:
                tracker.log_batch([{"x": x} for x in range(1500)])
    with Tracker(db, track_id="c") as tracker:
        tracker.log_batch([{"x": x} for x in range(1500)])
        assert tracker.set_value("label", "seen") == 1500
    shown = Reader(db).to_df()
    assert shown["track_id"].value_counts().to_dict() == {"a": 1500, "b": 1500, "c": 1500}
    assert shown["label"].count() == 1500


def test_readings_rise_when_the_wall_clock_steps_back() -> None:
    wall = Wall()
    log = MemoryLog(clock=Clock(wall))
    writer = log.writer("t")
    clocks = [writer.append_row("r", {})[1]]
    wall.now -= 600_000
    clocks.append(writer.append_row("r", {})[1])
    wall.now += 900_000
    clocks.append(writer.append_row("r", {})[1])
    assert clocks == [1_000_000, 1_000_000, 1_300_000]
    assert [row.wall for row in rows(log)] == [None, 400_000, None]


def test_reading_is_larger_than_any_that_was_read() -> None:
    log = MemoryLog(clock=Clock(Wall()))
    writer = log.writer("t")
    writer.append_row("r", {})
    log.clock.witness(5_000_000)
    assert writer.append_row("r", {})[1:] == (5_000_001, 1_000_000)


def test_wall_time_is_told_only_where_it_is_far_behind() -> None:
    wall = Wall()
    log = MemoryLog(clock=Clock(wall))
    log.clock.witness(wall.now + 999)
    log.writer("t").append_row("r", {})
    log.clock.witness(wall.now + 1000)
    log.writer("t").append_row("r", {})
    assert [(row.clock - wall.now, row.wall) for row in rows(log)] == [(1000, None), (1001, wall.now)]


def test_no_more_than_1024_events_in_a_row_share_a_reading(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "x.events", clock=Clock(Wall()))
    writer = log.writer("t")
    for _ in range(1500):
        writer.append_row("r", {})
    writer.append_rows("r", [{}] * 3000)
    clocks = [row.clock for row in rows(log)]
    assert clocks == sorted(clocks)
    assert max(clocks.count(clock) for clock in set(clocks)) == 1024
    assert len(set(clocks)) <= 6


def test_two_logs_of_one_path_share_clock_and_writer(tmp_path: Path) -> None:
    one, two = FileLog(tmp_path / "x.events"), FileLog(tmp_path / "." / "x.events")
    one.clock.witness(2**51)
    assert two.clock is one.clock
    writer = one.writer("t")
    assert two.writer("t") is writer
    assert two.writer("u") is not writer and two.writer("t", "msgpack") is not writer
