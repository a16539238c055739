"""The thread beside open trackers: tables that other SQL clients see, and nothing that hinders the program."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from xetrack import Reader, Tracker
from xetrack.forks import Rests
from xetrack.track import pulse


def _pulses() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "xetrack-pulse"]


def _count(db: str) -> int:
    """Rows that a client sees who knows nothing of the log."""
    conn = sqlite3.connect(db)
    try:
        return int(conn.execute("SELECT count(*) FROM events").fetchone()[0])
    except sqlite3.OperationalError:  # no table so far
        return 0
    finally:
        conn.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "_INTERVAL_S", 0.01)


def test_other_clients_see_rows_of_an_open_tracker(db: str) -> None:
    with Tracker(db) as tracker:
        for step in range(1, 4):
            tracker.log({"step": step})
            while _count(db) < step:
                pass
    assert _count(db) == 3


@pytest.mark.usefixtures("quick")
def test_backlog_is_projected_in_slices(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "_SLICE_BYTES", 2000)
    with Tracker(db) as tracker:
        tracker.log({"step": 0})
        while not _count(db):
            pass
        tracker.log_batch([{"step": step} for step in range(1, 500)])
        while _count(db) < 500:
            pass
        assert tracker.to_df()["step"].tolist() == list(range(500))


@pytest.mark.usefixtures("quick")
def test_line_longer_than_a_slice_does_not_stop_it(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "_SLICE_BYTES", 1000)
    with Tracker(db) as tracker:
        tracker.log({"step": 0})
        while not _count(db):
            pass
        tracker.log({"text": "x" * 10_000})
        tracker.log({"step": 2})
        while _count(db) < 3:
            pass


@pytest.mark.usefixtures("quick")
def test_it_can_be_switched_off(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XETRACK_LIVE", "0")
    monkeypatch.setenv("XETRACK_HEARTBEAT_S", "0")
    with Tracker(db) as tracker:
        before = len(_pulses())
        tracker.log({"step": 0})
        assert len(_pulses()) == before
        assert not os.path.exists(db)
    assert _count(db) == 1


@pytest.mark.parametrize("where", [Tracker.IN_MEMORY, Tracker.SKIP_INSERT])
def test_no_thread_where_there_is_nobody_to_see_it(where: str) -> None:
    before = len(_pulses())
    with Tracker(where) as tracker:
        tracker.log({"step": 0})
        assert len(_pulses()) == before


def test_one_thread_for_any_number_of_trackers(tmp_path: Path) -> None:
    trackers = [Tracker(str(tmp_path / f"{number}.db")) for number in range(5)]
    for tracker in trackers:
        tracker.log({"a": 1})
    assert len(_pulses()) == 1  # also if an earlier test left it
    for tracker in trackers:
        tracker.close()


@pytest.mark.usefixtures("quick")
def test_tracker_reads_and_changes_while_it_is_projected(db: str) -> None:
    with Tracker(db) as tracker:
        for step in range(300):
            tracker.log({"step": step})
            if step % 50 == 0:
                assert len(tracker) == step + 1
                assert tracker.set_value("best", step) == step + 1
        frame = Reader(db).to_df()
    assert frame["step"].tolist() == list(range(300))
    assert frame["best"].tolist()[:251] == [250] * 251


@pytest.mark.usefixtures("quick")
def test_a_call_for_later_is_made_once_also_where_tables_are_not_kept_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XETRACK_LIVE", "0")
    monkeypatch.setenv("XETRACK_HEARTBEAT_S", "100000")
    called = threading.Semaphore(0)
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        called.release()

    with Tracker(tmp_path / "t.db") as tracker:
        assert not pulse.pulse.call_soon(call)  # there is no thread before the first row
        tracker.log({"a": 1})
        assert pulse.pulse.call_soon(call) and pulse.pulse.call_soon(call)
        assert called.acquire(timeout=60)  # long before its next heartbeat
        assert pulse.pulse.call_soon(call)
    assert called.acquire(timeout=60)  # when the thread ends, at the latest
    assert len(calls) == 2


def test_short_calls_start_no_thread_and_long_ones_are_sampled(tmp_path: Path) -> None:
    seen: set[str] = set()

    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate()]

    def wait_for_the_sampler() -> None:
        while "xetrack-sampler" not in names():
            time.sleep(0.01)

    with Tracker(tmp_path / "t.db", log_system_params=True) as tracker:
        tracker.track(lambda: None)
        tracker.track(lambda: seen.update(names()))
        assert "xetrack-sampler" not in seen
        tracker.track(wait_for_the_sampler)
        assert "xetrack-sampler" not in names()


def test_folder_that_is_deleted_is_not_brought_back(tmp_path: Path) -> None:
    import shutil

    db = str(tmp_path / "deep" / "track.db")
    tracker = Tracker(db)
    tracker.log({"a": 1})
    while not _count(db):
        pass
    shutil.rmtree(tmp_path / "deep")
    assert pulse.pulse._keep_up() >= 0
    tracker.close()
    assert os.listdir(tmp_path) == []


_FORKS = """
import os, sys, sqlite3
from xetrack import Tracker
from xetrack.track import pulse
pulse._INTERVAL_S = 0.001
db = sys.argv[1]
tracker = Tracker(db, track_id="parent")
tracker.log({"n": 0})
for number in range(20):
    child = os.fork()
    if child == 0:
        tracker.log({"n": number})
        tracker.close()
        os._exit(0)
    tracker.log_batch([{"n": n} for n in range(50)])
    assert os.waitpid(child, 0)[1] == 0
tracker.close()
count = sqlite3.connect(db).execute("SELECT count(*) FROM events").fetchone()[0]
assert count == 1 + 20 * 51, count
"""


_NESTED_FORKS = """
import os, sys, threading
beside = []

def fork():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)

def hook():
    beside.append(threading.active_count())
    if len(beside) == 1:
        fork()
        beside.append(threading.active_count())

os.register_at_fork(before=hook)
from xetrack import Tracker
tracker = Tracker(sys.argv[1])
tracker.log({"n": 0})
before = threading.active_count()
fork()
print(before, beside, threading.active_count())
tracker.close()
"""


def test_a_rest_is_over_for_each_thread_by_itself_and_in_time_where_its_end_got_lost() -> None:
    rests = Rests()
    rests.begin()
    rests.begin()
    other = threading.Thread(target=rests.end)
    other.start()
    other.join()
    rests.end()
    assert rests
    rests.end()
    rests.end()
    assert not rests
    rests.begin(0.0)  # an exception of a signal handler came instead of its end
    assert not rests
    rests.begin()
    assert rests
    rests.end()
    assert not rests


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_thread_rests_until_the_last_of_several_forks_at_once_is_done(db: str) -> None:
    # The hook runs once the thread rests. A fork by another thread, or by a signal handler, is done while it runs.
    options: Any = {"capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run([sys.executable, "-W", "error", "-c", _NESTED_FORKS, db], **options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 [1, 1, 1] 2\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forks_beside_it_neither_hang_nor_lose_a_row(db: str) -> None:
    options: Any = {"capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run([sys.executable, "-W", "error", "-c", _FORKS, db], **options)
    assert done.returncode == 0, done.stderr


def test_program_ends_at_once_with_an_open_tracker(db: str) -> None:
    code = "import sys; from xetrack import Tracker; t = Tracker(sys.argv[1]); t.log({'a': 1}); sys.exit(5)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, db], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (5, b"")
    assert _count(db) == 1
