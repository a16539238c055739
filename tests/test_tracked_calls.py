"""Tracked calls among threads, processes, forks and signals: no row lost or mixed, nothing left running."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from xetrack.read.reader import Reader
from xetrack.track.tracker import Tracker

# Python 3.12 and later warn of any fork beside threads; that such a child works is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
METHODS = [name for name in ("fork", "spawn") if name in multiprocessing.get_all_start_methods()]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def work(worker: int, number: int) -> dict[str, int]:
    return {"worker": worker, "number": number, "product": worker * number}


def assert_whole(db: str, workers: int, count: int) -> None:
    frame = Reader(db).to_df()
    assert len(frame) == workers * count
    assert (frame["product"] == frame["worker"] * frame["number"]).all()
    for worker, rows in frame.groupby("worker"):
        assert rows["number"].tolist() == list(range(count))
        assert set(rows["args"]) == {f"[{worker}, {number}]" for number in range(count)}
        assert rows["cpu_percent"].between(0, 100).all() and rows["ram_percent"].between(0, 100).all()


def _more_than(before: set[threading.Thread]) -> list[str]:
    """Threads started since, but for the one that a process has while a tracker is open."""
    return [thread.name for thread in set(threading.enumerate()) - before if thread.name != "xetrack-pulse"]


def test_64_threads_track_at_once_and_leave_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    db = str(tmp_path / "track.db")
    tracker = Tracker(db, log_system_params=True, log_network_params=True, measurement_interval=0.01)
    meet = threading.Barrier(64)

    def track_all(worker: int) -> None:
        meet.wait()
        for number in range(10):
            tracker.track(work, args=[worker, number])

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(track_all, range(64)))
    assert_whole(db, 64, 10)
    deadline = time.monotonic() + 10
    while _more_than(before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _more_than(before)


def track_in_process(db: str, worker: int, count: int) -> None:
    tracker = Tracker(db, log_system_params=True, measurement_interval=0.01)
    for number in range(count):
        tracker.track(work, args=[worker, number])


@pytest.mark.parametrize("method", METHODS)
def test_8_pool_workers_track_at_once_and_start_nothing(tmp_path: Path, method: str) -> None:
    db = str(tmp_path / "track.db")
    with multiprocessing.get_context(method).Pool(8) as pool:
        pool.starmap(track_in_process, [(db, worker, 40) for worker in range(8)], chunksize=1)
        pool.close()
        pool.join()
    assert_whole(db, 8, 40)
    zombies = [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
    assert zombies == []


@needs_fork
def test_function_that_forks_is_one_row_and_a_child_that_goes_on_is_another(tmp_path: Path) -> None:
    db = str(tmp_path / "track.db")
    tracker = Tracker(db, log_system_params=True, measurement_interval=0.01)

    def forks(child_returns: bool) -> str:
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            return "parent"
        if not child_returns:
            os._exit(0)
        return "child"

    mine = os.getpid()
    for child_returns in (False, True):
        result = tracker.track(forks, args=[child_returns])
        if os.getpid() != mine:
            os._exit(0 if result == "child" else 1)
    assert sorted(tracker["function_result"]) == ["child", "parent", "parent"]
    assert tracker.track(os.getpid) == mine


def sleeps(ready: str) -> None:
    Path(ready).touch()
    time.sleep(60)


PROGRAM = """
import signal, sys
from tests.test_tracked_calls import sleeps
from xetrack import Tracker

if sys.argv[3] == "handled":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
tracker = Tracker(sys.argv[1], track_id="run", log_system_params=True, measurement_interval=0.01)
tracker.log({"epoch": 1})
tracker.track(sleeps, args=[sys.argv[2]])
"""


def stopped(tmp_path: Path, how: str, number: int) -> tuple[int, Any]:
    db, ready = str(tmp_path / "track.db"), tmp_path / "ready"
    command = [sys.executable, "-c", PROGRAM, db, str(ready), how]
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not ready.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(number)
        process.wait(60)
    return process.returncode, Reader(db).to_df()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("how", "number", "code", "error"),
    [
        ("plain", signal.SIGTERM, -signal.SIGTERM, None),
        ("handled", signal.SIGTERM, 143, "SystemExit: 143"),
        ("plain", signal.SIGINT, -signal.SIGINT, "KeyboardInterrupt"),
    ],
)
def test_call_that_is_stopped_keeps_earlier_rows_and_tells_what_it_can(
    tmp_path: Path, how: str, number: int, code: int, error: str | None
) -> None:
    returncode, frame = stopped(tmp_path, how, number)
    assert returncode == code
    assert frame["epoch"].tolist()[0] == 1
    assert len(frame) == (1 if error is None else 2)
    if error is not None:
        assert frame["error"].tolist()[1] == error


def test_keyboard_interrupt_is_logged_and_raised_also_where_errors_are_not(tmp_path: Path) -> None:
    tracker = Tracker(str(tmp_path / "track.db"), raise_on_error=False)

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        tracker.track(interrupted)
    assert tracker.latest["error"] == "KeyboardInterrupt"
    assert caught.traceback[-1].name == "interrupted"


def _shown(row: Mapping[Any, Any]) -> str:
    return repr({key: value for key, value in row.items() if key not in ("function_time", "timestamp")})


@pytest.mark.parametrize(
    "value",
    [1, 0.5, float("nan"), float("-inf"), None, True, "text", "\ud800", 2**60, -(2**70), [1], {"a": [1]}, (1, 2), b"x"],
    ids=repr,
)
def test_calls_after_the_first_are_logged_as_the_first_whatever_they_take_and_give(tmp_path: Path, value: Any) -> None:
    """Rows of calls of known keys go a shorter way."""

    def give(value: Any, more: Any = None) -> Any:
        return value

    shown: list[str] = []
    db = str(tmp_path / "track.db")
    with Tracker(db, params={"seed": float("nan")}) as tracker:
        calls: list[tuple[list[Any], dict[str, Any]]]
        calls = [([value], {}), ([1, value], {}), ([1], {"more": value}), ([0.5], {})]
        for args, kwargs in calls:
            for _ in range(2):
                tracker.track(give, args=args, kwargs=kwargs)
                shown.append(_shown(tracker.latest))
    rows = [_shown(row) for row in Reader(db).to_df().to_dict("records")]
    assert len(rows) == 8
    assert rows[::2] == rows[1::2] and shown[::2] == shown[1::2]
    assert len(set(shown)) > 2
