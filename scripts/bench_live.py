"""Many segments, compaction, and what an audience costs the one who logs."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from scripts.bench_tools import Figure, ratio, row, worker

_PER_SEGMENT = 100


def many_segments(segments: int) -> list[Figure]:
    """A store of many short runs: opening it, reading what is new, packing it."""
    with tempfile.TemporaryDirectory(prefix="xetrack-bench-") as folder:
        db = os.path.join(folder, "many.db")
        worker(__name__, "fill", db, segments)
        worker(__name__, "catch_up", db)
        opened = worker(__name__, "first_log", db)
        loose = worker(__name__, "news", db)
        packed = worker(__name__, "pack", db)
        after = worker(__name__, "news", db)
        rows = int(worker(__name__, "catch_up", db)["rows"])
    expected = segments * _PER_SEGMENT + 1 + 2 * _PER_SEGMENT
    if rows != expected:
        raise SystemExit(f"{rows} rows of {expected} after the compaction")
    what = f"{segments:,} segments of {_PER_SEGMENT} rows"
    before = f"{packed['files_before']:.0f} files, {packed['bytes_before'] / 1e6:.0f} MB"
    now = f"{packed['files_after']:.0f} files, {packed['bytes_after'] / 1e6:.1f} MB, in {packed['seconds']:.1f} s"
    return [
        Figure("open and first log()", 1000 * opened["seconds"], "ms", 50, f"{1000 * opened['seconds']:.1f} ms", what),
        Figure("read 100 new rows", 1000 * loose["seconds"], "ms", None, f"{1000 * loose['seconds']:.0f} ms", what),
        Figure(
            "read 100 new rows, packed", 1000 * after["seconds"], "ms", None, f"{1000 * after['seconds']:.0f} ms", now
        ),
        Figure("files after compact", 100 * packed["files_after"] / packed["files_before"], "%", 5, now, before),
        Figure("bytes after compact", 100 * packed["bytes_after"] / packed["bytes_before"], "%", 15, now, before),
    ]


def audience(calls: int, repeats: int) -> list[Figure]:
    """The 99th percentile of `log()` at 20,000 rows a second, with the tables kept up beside it and without."""
    times: dict[str, list[float]] = {"0": [], "1": []}
    for _ in range(repeats):
        for live, taken in times.items():
            taken.append(worker(__name__, "paced", live, calls)["p99_us"])
    off, on = (statistics.median(taken) for taken in times.values())
    what = f"XETRACK_LIVE=0, {off:.1f} µs"
    name = "log() p99 while tables are kept up"
    return [Figure(name, ratio(times["1"], times["0"]), "x", 1.5, f"{on:.1f} µs", what)]


# -- in processes of their own -----------------------------------------------


def fill(db: str, segments: int) -> dict[str, float]:
    from xetrack.log.log import FileLog

    log = FileLog(f"{db}.events")
    for number in range(segments):
        writer = log.writer("default")
        writer.acquire()
        for step in range(_PER_SEGMENT):
            writer.append_row(f"run-{number}", row(step))
        writer.release()
    return {}


def catch_up(db: str) -> dict[str, float]:
    from xetrack import Reader

    return {"rows": len(Reader(db))}


def first_log(db: str) -> dict[str, float]:
    from xetrack import Tracker

    started = time.perf_counter()
    tracker = Tracker(db)
    tracker.log({"step": 0})
    seconds = time.perf_counter() - started
    tracker.close()
    return {"seconds": seconds}


def news(db: str) -> dict[str, float]:
    from xetrack import Reader

    before = len(Reader(db))
    fill(db, 1)
    started = time.perf_counter()
    count = len(Reader(db))
    seconds = time.perf_counter() - started
    if count != before + _PER_SEGMENT:
        raise SystemExit(f"{count} rows after {before}")
    return {"seconds": seconds}


def pack(db: str) -> dict[str, float]:
    import xetrack

    def size() -> tuple[int, int]:
        files = list(Path(f"{db}.events", "default").iterdir())
        return len(files), sum(path.stat().st_size for path in files)

    files_before, bytes_before = size()
    started = time.perf_counter()
    xetrack.compact(db)
    seconds = time.perf_counter() - started
    files_after, bytes_after = size()
    return {
        "files_before": files_before,
        "bytes_before": bytes_before,
        "files_after": files_after,
        "bytes_after": bytes_after,
        "seconds": seconds,
    }


def paced(live: int, calls: int) -> dict[str, float]:
    os.environ["XETRACK_LIVE"] = str(live)
    from xetrack import Tracker

    with tempfile.TemporaryDirectory(prefix="xetrack-bench-") as folder:
        tracker = Tracker(os.path.join(folder, "paced.db"), track_id="bench-run-1")
        tracker.log(row(0))
        taken = log_at(tracker.log, 20_000, calls)
        tracker.close()
    return {"p50_us": 1e6 * taken[len(taken) // 2], "p99_us": 1e6 * taken[int(len(taken) * 0.99)]}


def log_at(log: object, rate: float, calls: int) -> list[float]:
    """Call a function at a pace with the rows of the bench; the seconds that each call took, ascending."""
    assert callable(log)
    taken = []
    started = time.perf_counter()
    for step in range(1, calls + 1):
        data = row(step)
        before = time.perf_counter()
        log(data)
        after = time.perf_counter()
        taken.append(after - before)
        while time.perf_counter() - started < step / rate:
            time.sleep(0)
    return sorted(taken)
