"""A store merged into one of ten times its size, beside reading and projecting what comes in."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from scripts.bench_tools import Figure, row, worker


def merges(events: int, repeats: int) -> list[Figure]:
    """Both sides in processes of their own, taking turns; each merge starts from the same target."""
    with tempfile.TemporaryDirectory(prefix="xetrack-bench-") as folder:
        large, small = os.path.join(folder, "large.db"), os.path.join(folder, "small.db")
        worker(__name__, "write", large, events)
        worker(__name__, "write", small, events // 10)
        floors, own = [], []
        for _ in range(repeats):
            floors.append(worker(__name__, "project", small, events // 10)["seconds"])
            own.append(worker(__name__, "merge", small, large, os.path.join(folder, "into.db"), events)["seconds"])
    bare, taken = statistics.median(floors), statistics.median(own)
    return [
        Figure(
            f"merge {events // 10:,} events into {events:,}",
            taken / bare,
            "x",
            3,
            f"{taken:.2f} s",
            f"read and project those {events // 10:,}, {bare:.2f} s",
        )
    ]


def write(db: str, events: int) -> dict[str, float]:
    from xetrack import Tracker

    with Tracker(db, track_id=Path(db).stem) as tracker:
        for start in range(0, events, 1000):
            tracker.log_batch([row(step) for step in range(start, min(start + 1000, events))])
    return {}


def project(db: str, events: int) -> dict[str, float]:
    from xetrack.store import open_store

    Path(db).unlink(missing_ok=True)
    started = time.perf_counter()
    store = open_store(db)
    count = store.table("default").count()
    store.close()
    seconds = time.perf_counter() - started
    if count != events:
        raise SystemExit(f"{count} rows of {events}")
    return {"seconds": seconds}


def merge(source: str, target: str, into: str, events: int) -> dict[str, float]:
    import xetrack

    shutil.rmtree(f"{into}.events", ignore_errors=True)
    shutil.copytree(f"{target}.events", f"{into}.events")
    shutil.copy2(target, into)
    started = time.perf_counter()
    report = xetrack.merge(source, into=into)
    seconds = time.perf_counter() - started
    if report.rows_added != events // 10:
        raise SystemExit(f"{report.rows_added} rows came in")
    return {"seconds": seconds}
