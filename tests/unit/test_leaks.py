"""Nothing is left open of a tracker or a reader that nobody holds, whatever was used of it."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from xetrack import Reader, Tracker

DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture(params=["sqlite", "duckdb"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


def _threads() -> int:
    """Threads, but for the one that a process has while somebody holds a tracker."""
    return sum(thread.name != "xetrack-pulse" for thread in threading.enumerate())


def use(tracker: Tracker) -> None:
    tracker.log({"x": 1, "model": {1}})
    assert tracker.conn.execute("SELECT count(*) FROM events").fetchall() == [(len(tracker),)]
    assert tracker.assets["model"] == {1}
    tracker.set_value("y", 2)
    tracker.track(len, args=[[]])


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="counts descriptors in /proc")
def test_trackers_and_readers_let_go_of_their_files_and_threads(tmp_path: Path, engine: Any, closed: bool) -> None:
    def once(number: int) -> None:
        tracker = Tracker(
            str(tmp_path / f"{number}.db"),
            engine=engine,
            jsonl=str(tmp_path / "rows.jsonl"),
            logs_path=str(tmp_path / "logs"),
            cache=str(tmp_path / "cache"),
            log_system_params=True,
        )
        use(tracker)
        reader = Reader(tracker.db, engine=engine)
        assert len(reader.conn.execute("SELECT * FROM events").fetchall()) == 2
        if closed:
            tracker.close()

    once(0)  # what is opened once for the process is open now
    gc.collect()
    before, threads = len(os.listdir(DESCRIPTORS)), _threads()
    for number in range(1, 8):
        once(number)
    gc.collect()
    assert len(os.listdir(DESCRIPTORS)) <= before
    assert _threads() <= threads


def test_tracker_in_memory_goes_with_its_name_and_lives_with_its_connection(engine: Any) -> None:
    tracker = Tracker(":memory:", engine=engine)
    use(tracker)
    conn, alive = tracker.conn, weakref.ref(tracker)
    del tracker
    gc.collect()
    assert conn.execute("SELECT count(*) FROM events").fetchall() == [(2,)]
    del conn
    gc.collect()
    assert alive() is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("closed", [True, False])
def test_tables_in_a_temporary_place_go_with_their_reader(
    tmp_path: Path, engine: Any, closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Tracker(str(tmp_path / "track.db")) as tracker:
        tracker.log({"x": 1})
    (tmp_path / "track.db").unlink()
    monkeypatch.setattr("xetrack.tables.files.writable", lambda path: False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    reader = Reader(str(tmp_path / "track.db"), engine=engine)
    assert len(reader) == 1
    made = {path.name for path in (tmp_path / "temporary").iterdir()}
    assert len([name for name in made if not name.startswith("xetrack-spill-")]) == 1
    if closed:
        reader._store.close()
    del reader
    gc.collect()
    # The folder in which DuckDB could spill stays for the next process.
    left = [path for path in (tmp_path / "temporary").iterdir() if not path.name.startswith("xetrack-spill-")]
    assert left == list((tmp_path / "temporary").glob("xetrack-spill-*/*")) == []


def test_tracker_is_let_go_in_the_thread_that_another_one_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector may run anywhere: also in a thread whose start is being waited for."""
    start = threading.Thread.start
    stuck: list[bool] = []

    def start_and_wait(thread: threading.Thread) -> None:
        if thread.name == "xetrack-pulse":
            collector = threading.Thread(target=tracker.close)
            start(collector)
            collector.join(5)
            stuck.append(collector.is_alive())
        start(thread)

    tracker = Tracker(str(tmp_path / "first.db"))
    monkeypatch.setattr(threading.Thread, "start", start_and_wait)
    with Tracker(str(tmp_path / "second.db")) as other:
        other.log({"x": 1})
    assert stuck == [False]


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="reads descriptors in /proc")
@pytest.mark.parametrize("fails", [False, True])
def test_a_closed_tracker_that_is_still_held_lets_go_of_its_log_files(tmp_path: Path, fails: bool) -> None:
    class Oops(Exception):
        pass

    def opened() -> list[str]:
        paths = []
        for descriptor in os.listdir(DESCRIPTORS):
            with contextlib.suppress(OSError):
                paths.append(os.readlink(DESCRIPTORS / descriptor))
        return [path for path in paths if path.startswith((str(tmp_path / "rows.jsonl"), str(tmp_path / "logs")))]

    tracker = Tracker(tmp_path / "track.db", jsonl=str(tmp_path / "rows.jsonl"), logs_path=str(tmp_path / "logs"))
    with contextlib.suppress(Oops), tracker:
        tracker.log({"x": 1})
        assert len(opened()) == 2
        if fails:
            raise Oops
    assert opened() == []
    tracker.log({"x": 2})
    tracker.close()
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2
