"""The price of a call: import, `log`, `log_batch`, `track`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable

from scripts.bench_tools import Figure, interleaved, ratio, row, turns


def imports(repeats: int) -> list[Figure]:
    def start(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    bare, package, names = interleaved(
        repeats, start("pass"), start("import xetrack"), start("from xetrack import Tracker, Reader")
    )
    what = f"python -c pass, {1000 * bare:.0f} ms"
    return [
        Figure("import xetrack", 1000 * (package - bare), "ms", 80, f"{1000 * package:.0f} ms", what),
        Figure(
            "from xetrack import Tracker, Reader", 1000 * (names - bare), "ms", None, f"{1000 * names:.0f} ms", what
        ),
    ]


def appends(calls: int, repeats: int) -> list[Figure]:
    """`log` and `log_batch` beside encoding the same dict and writing it with one system call.

    Turns are short, some ten milliseconds for all three: a machine that changes its pace does it for all.
    """
    import msgspec

    from xetrack import Tracker

    with tempfile.TemporaryDirectory(prefix="xetrack-bench-") as folder:
        descriptor = os.open(os.path.join(folder, "floor"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        tracker = Tracker(os.path.join(folder, "log.db"), track_id="bench-run-1")
        batches = Tracker(os.path.join(folder, "batch.db"), track_id="bench-run-1")
        rows = [row(step) for step in range(calls)]

        def floor() -> None:
            encode, write = msgspec.json.encode, os.write
            for data in rows:
                write(descriptor, encode(data))

        def log() -> None:
            for data in rows:
                tracker.log(data)

        def log_batch() -> None:
            batches.log_batch(rows)

        bare_s, one_s, many_s = turns(repeats, floor, log, log_batch)
        tracker.close()
        batches.close()
        os.close(descriptor)
    bare, one, many = (1e6 * statistics.median(taken) / calls for taken in (bare_s, one_s, many_s))
    what = f"msgspec.json.encode + os.write, {bare:.2f} µs"
    return [
        Figure("log()", ratio(one_s, bare_s), "x", 4, f"{one:.2f} µs", what),
        Figure("log_batch(), per event", ratio(many_s, bare_s), "x", 2, f"{many:.2f} µs", what),
    ]


# -- tracked calls -----------------------------------------------------------


def no_op() -> None:
    pass


def tracked(calls: int, repeats: int) -> list[Figure]:
    """`track` of a function that does nothing beside `log`, without and with samples of the machine."""
    import psutil

    from xetrack import Tracker

    sampled_calls = max(calls // 20, 1)
    with tempfile.TemporaryDirectory(prefix="xetrack-bench-") as folder:
        tracker = Tracker(os.path.join(folder, "calls.db"), track_id="bench-run-1")
        sampling = Tracker(os.path.join(folder, "sampled.db"), track_id="bench-run-1", log_system_params=True)
        rows = [row(step) for step in range(calls)]

        def log() -> None:
            for data in rows:
                tracker.log(data)

        def track() -> None:
            for _ in range(calls):
                tracker.track(no_op)

        def track_sampled() -> None:
            for _ in range(sampled_calls):
                sampling.track(no_op)

        before = len(psutil.Process().children(recursive=True))
        logged_s, bare_s, sampled_s = turns(repeats, log, track, track_sampled)
        started = len(psutil.Process().children(recursive=True)) - before
        tracker.close()
        sampling.close()
    logged, bare = (1e6 * statistics.median(taken) / calls for taken in (logged_s, bare_s))
    sampled = 1e6 * statistics.median(sampled_s) / sampled_calls
    return [
        Figure(
            "track() of a no-op",
            ratio(bare_s, logged_s),
            "x",
            4,
            f"{bare:.1f} µs",
            f"log() of 11 fields, {logged:.1f} µs",
        ),
        Figure(
            "track() with log_system_params, more",
            (sampled - bare) / 1000,
            "ms",
            1.5,
            f"{sampled / 1000:.2f} ms, {started} processes started",
            f"track() without, {bare / 1000:.3f} ms",
        ),
    ]
