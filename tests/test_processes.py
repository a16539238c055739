"""Many writers, one store: processes, threads and trackers, while somebody reads."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

from xetrack.errors import TableNotFound
from xetrack.read.reader import Reader
from xetrack.store import open_store
from xetrack.track.tracker import Tracker

# Python 3.12 and later warn of any fork beside threads; that such a child works is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
METHODS = [name for name in ("fork", "spawn", "forkserver") if name in multiprocessing.get_all_start_methods()]


def log_rows(db: str, worker: int, count: int) -> None:
    """What one writing process does."""
    tracker = Tracker(db, params={"worker": worker}, track_id=f"worker-{worker}")
    for number in range(count // 2):
        tracker.log({"number": number, f"only_{worker}": number / 2})
    tracker.log_batch([{"number": number} for number in range(count // 2, count)])


def log_with(tracker: Tracker, worker: int, count: int) -> None:
    for number in range(count):
        tracker.log({"worker": worker, "number": number})


def read_until(db: str, done: Any, seen: Any) -> None:
    """What one reading process does: rows may only become more."""
    reader, before = None, 0
    while not done.is_set():
        try:
            reader = reader or Reader(db)
        except TableNotFound:
            continue
        count = len(reader)
        if count < before:
            seen.value = -1
            return
        before = seen.value = count
        reader.to_df(tail=3)


def assert_complete(db: str, workers: int, count: int) -> None:
    frame = Reader(db).to_df()
    assert len(frame) == workers * count
    for worker, rows in frame.groupby("worker"):
        assert rows["number"].tolist() == list(range(count)), worker
    with contextlib.closing(open_store(db)) as store:
        assert store.verify().ok
        store.replay()
    assert Reader(db).to_df().equals(frame)


def run_all(processes: list[Any]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * len(processes)


@pytest.mark.parametrize(
    ("method", "workers", "count"),
    [(method, 3, 300) if method == "forkserver" else (method, 8, 2000) for method in METHODS],
)
def test_processes_write_while_one_reads(tmp_path: Path, method: str, workers: int, count: int) -> None:
    db = str(tmp_path / "track.db")
    context: BaseContext = multiprocessing.get_context(method)
    Tracker(db, table="first").log({"x": 1})  # a reader wants a store to be there
    done, seen = context.Event(), context.Value("i", 0)
    reader = context.Process(target=read_until, args=(db, done, seen))  # type: ignore[attr-defined]
    reader.start()
    run_all([context.Process(target=log_rows, args=(db, n, count)) for n in range(workers)])  # type: ignore[attr-defined]
    done.set()
    reader.join(60)
    assert reader.exitcode == 0 and seen.value >= 0
    assert_complete(db, workers, count)


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
def test_forked_children_write_segments_of_their_own_through_one_tracker(tmp_path: Path) -> None:
    db = str(tmp_path / "track.db")
    context = multiprocessing.get_context("fork")
    tracker = Tracker(db)
    log_with(tracker, 0, 50)
    run_all([context.Process(target=log_with, args=(tracker, n, 50)) for n in (1, 2)])
    log_with(tracker, 3, 50)
    assert len(tracker) == 200
    segments = list(Path(db + ".events", "default").iterdir())
    assert len(segments) == 3
    tracker.close()
    assert [path.read_text().count('"kind":"writer.ended"') for path in segments] == [1, 1, 1]
    assert_complete(db, 4, 50)


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
def test_fork_while_threads_log_does_not_hang_the_child(tmp_path: Path) -> None:
    db = str(tmp_path / "track.db")
    context = multiprocessing.get_context("fork")
    tracker, stop = Tracker(db), threading.Event()

    def keep_logging() -> None:
        for _ in range(20_000):
            if not stop.is_set():
                tracker.log({"worker": -1})

    threads = [threading.Thread(target=keep_logging) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for n in range(5):
            run_all([context.Process(target=log_with, args=(tracker, n, 20))])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    frame = tracker.to_df()
    assert [(frame["worker"] == n).sum() for n in range(5)] == [20] * 5


def log_and_fail(db: str) -> None:
    Tracker(db).log({"x": 1})
    tracker = Tracker(db, table="kept")
    tracker.log({"x": 1})
    raise RuntimeError("diverged")


@pytest.mark.parametrize("method", METHODS)
def test_worker_that_fails_seals_its_segments(tmp_path: Path, method: str) -> None:
    db = str(tmp_path / "track.db")
    worker = multiprocessing.get_context(method).Process(target=log_and_fail, args=(db,))  # type: ignore[attr-defined]
    worker.start()
    worker.join()
    assert worker.exitcode == 1
    (segment,) = Path(db + ".events", "kept").iterdir()
    ended = segment.read_text().splitlines()[-1]
    assert '"kind":"writer.ended"' in ended
    if sys.version_info < (3, 13):  # later ones tell nobody what their worker failed with
        assert '"state":"failed","error":"RuntimeError: diverged"' in ended


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
def test_pool_of_batches_keeps_every_row(tmp_path: Path) -> None:
    db = str(tmp_path / "track.db")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(log_rows, [(db, n, 1000) for n in range(8)])
    assert_complete(db, 8, 1000)


def test_threads_share_one_tracker_and_one_segment(tmp_path: Path) -> None:
    db = str(tmp_path / "track.db")
    tracker = Tracker(db)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(log_with, tracker, n, 2000) for n in range(8)]
        while not all(future.done() for future in waiting):
            assert len(tracker.tail(1)) <= 1
    assert [future.exception() for future in waiting] == [None] * 8
    assert len(list(Path(db + ".events", "default").iterdir())) == 1
    assert_complete(db, 8, 2000)


@pytest.mark.parametrize("tables", [("same", "same"), ("predictions", "metrics")])
def test_two_trackers_on_one_store_in_one_process(tmp_path: Path, tables: tuple[str, str]) -> None:
    db = str(tmp_path / "track.db")
    trackers = [Tracker(db, table=table) for table in tables]
    for number in range(300):
        for which, tracker in enumerate(trackers):
            tracker.log({"new_here": number, f"only_{which}": which})
            assert len(tracker) == number + 1
    assert [tracker["new_here"].tolist() for tracker in trackers] == [list(range(300))] * 2
    assert len(Reader(db, table=tables[0])) == (600 if tables[0] == tables[1] else 300)
    with contextlib.closing(open_store(db)) as store:
        assert store.verify().ok
