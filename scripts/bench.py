"""Speed and memory beside floors that are measured in the same run.

A floor is the least that anyone must do for the same result with the same libraries. Both sides
alternate and the figure is the ratio of their medians, so a slow or busy machine slows both.
`--quick` has a twentieth of the rows: it shows that the bench works, not how fast xetrack is.
Exit status 1 if a target is missed (`--quick`: never).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve()
MIB = 2**20


class Figure(NamedTuple):
    """One line of the result; ``value`` must be at most ``target``, if it has one."""

    name: str
    value: float
    unit: str
    target: float | None
    measured: str
    floor: str

    @property
    def met(self) -> bool:
        return self.target is None or self.value <= self.target


def row(step: int) -> dict[str, Any]:
    """Eleven fields, as a training loop logs them."""
    return {
        "step": step,
        "epoch": step // 1000,
        "loss": 1.0 / (step + 1),
        "accuracy": 0.5 + (step % 1000) / 2000,
        "learning_rate": 0.001,
        "batch_size": 64,
        "model": "resnet18",
        "dataset": "cifar10",
        "phase": "train",
        "improved": step % 3 == 0,
        "note": None,
    }


# -- append ------------------------------------------------------------------


def appends(calls: int, repeats: int) -> list[Figure]:
    """`log` and `log_batch` beside encoding the same dict and writing it with one system call."""
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
            for start in range(0, calls, 1000):
                batches.log_batch(rows[start : start + 1000])

        times = _interleaved(repeats, floor, log, log_batch)
        tracker.close()
        batches.close()
        os.close(descriptor)
    bare, one, many = (1e6 * seconds / calls for seconds in times)
    what = f"msgspec.json.encode + os.write, {bare:.2f} µs"
    return [
        Figure("log()", one / bare, "x", 4, f"{one:.2f} µs", what),
        Figure("log_batch(), per event", many / bare, "x", 2, f"{many:.2f} µs", what),
    ]


def _interleaved(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Median seconds of each, taking turns; one round to warm up."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(repeats + 1):
        for function, taken in zip(functions, times, strict=True):
            started = time.perf_counter()
            function()
            if turn:
                taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


# -- import ------------------------------------------------------------------


def imports(repeats: int) -> list[Figure]:
    def start(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    bare, package, names = _interleaved(
        repeats, start("pass"), start("import xetrack"), start("from xetrack import Tracker, Reader")
    )
    what = f"python -c pass, {1000 * bare:.0f} ms"
    return [
        Figure("import xetrack", 1000 * (package - bare), "ms", 80, f"{1000 * package:.0f} ms", what),
        Figure(
            "from xetrack import Tracker, Reader", 1000 * (names - bare), "ms", None, f"{1000 * names:.0f} ms", what
        ),
    ]


# -- a large store, in processes of their own --------------------------------


def large(events: int, repeats: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="xetrack-bench-") as folder:
        db = os.path.join(folder, "large.db")
        logged = _worker("write", db, events)
        replays: list[dict[str, float]] = []
        floors: list[dict[str, float]] = []
        for _ in range(repeats):
            floors.append(_worker("replay_floor", db, events))
            replays.append(_worker("replay", db, events))
        frames = _worker("frames", db, events, repeats)
    replay = statistics.median(taken["seconds"] for taken in replays)
    bare = statistics.median(taken["seconds"] for taken in floors)
    peak = max(taken["peak_mib"] for taken in replays)
    count = f"{events:,}"
    return [
        Figure(
            f"replay {count} events",
            replay / bare,
            "x",
            1.6,
            f"{replay:.2f} s",
            f"msgspec decode + executemany of the same rows, {bare:.2f} s",
        ),
        Figure("replay, peak memory", peak, "MiB", 400, f"{peak:.0f} MiB", "-"),
        Figure(
            f"to_df of {count} rows",
            frames["to_df"] / frames["read_sql"],
            "x",
            1,
            f"{frames['to_df']:.2f} s",
            f"pandas.read_sql, {frames['read_sql']:.2f} s",
        ),
        Figure(
            f"memory growth over {count} log() calls",
            logged["after_mib"] - logged["early_mib"],
            "MiB",
            5,
            f"{logged['after_mib']:.1f} MiB at the end",
            f"{logged['early_mib']:.1f} MiB after a tenth",
        ),
    ]


def _worker(name: str, db: str, events: int, repeats: int = 1) -> dict[str, float]:
    command = [sys.executable, str(HERE), "--worker", name, db, str(events), str(repeats)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def write(db: str, events: int, _: int) -> dict[str, float]:
    """Ten keys and the two columns of every table: twelve columns."""
    import psutil

    from xetrack import Tracker

    process = psutil.Process()
    early = 0.0
    with Tracker(db, track_id="bench-run-1") as tracker:
        for step in range(events):
            data = row(step)
            del data["note"]
            tracker.log(data)
            if step == events // 10:
                early = process.memory_info().rss / MIB
        after = process.memory_info().rss / MIB
    return {"early_mib": early, "after_mib": after}


def replay(db: str, events: int, _: int) -> dict[str, float]:
    from xetrack.store import open_store

    for name in _tables_files(db):
        os.unlink(name)
    started = time.perf_counter()
    store = open_store(db)
    store.replay()
    store.close()
    seconds = time.perf_counter() - started
    with sqlite3.connect(db) as conn:
        (count,) = conn.execute('SELECT count(*) FROM "default"').fetchone()
    if count != events:
        raise SystemExit(f"replay made {count} rows of {events}")
    return {"seconds": seconds, "peak_mib": _peak_mib()}


def replay_floor(db: str, events: int, _: int) -> dict[str, float]:
    """The same twelve cells in the same order, with nothing checked, ordered or remembered."""
    import msgspec

    class Line(msgspec.Struct, gc=False):
        clock: int
        run: str = ""
        data: dict[str, Any] | None = None

    target = f"{db}.floor"
    Path(target).unlink(missing_ok=True)
    (segment,) = Path(f"{db}.events", "default").glob("*.jsonl")
    decoder = msgspec.json.Decoder(Line)
    keys = [key for key in row(0) if key != "note"]
    names = ", ".join(["timestamp TEXT", "track_id TEXT", *keys])
    started = time.perf_counter()
    conn = sqlite3.connect(target, isolation_level=None)
    conn.execute("PRAGMA synchronous=OFF")
    conn.execute(f"CREATE TABLE events ({names})")
    conn.execute("BEGIN")
    insert = f"INSERT INTO events VALUES ({', '.join('?' * (len(keys) + 2))})"
    for piece in _whole_lines(segment):
        cells = [
            (_timestamp(line.clock), line.run, *line.data.values())
            for line in decoder.decode_lines(piece)
            if line.data is not None
        ]
        conn.executemany(insert, cells)
    conn.execute("COMMIT")
    (count,) = conn.execute("SELECT count(*) FROM events").fetchone()
    conn.close()
    seconds = time.perf_counter() - started
    Path(target).unlink()
    if count != events:
        raise SystemExit(f"the floor made {count} rows of {events}")
    return {"seconds": seconds, "peak_mib": _peak_mib()}


def _timestamp(clock_us: int) -> str:
    return datetime.fromtimestamp(clock_us / 1e6).isoformat(" ", "microseconds")


def _whole_lines(path: Path) -> Iterator[bytes]:
    rest = b""
    with path.open("rb") as file:
        while piece := file.read(MIB):
            cut = piece.rfind(b"\n") + 1
            yield rest + piece[:cut]
            rest = piece[cut:]


def frames(db: str, events: int, repeats: int) -> dict[str, float]:
    import pandas as pd

    from xetrack import Reader

    reader = Reader(db)
    conn = sqlite3.connect(db)

    def read_sql() -> None:
        assert len(pd.read_sql('SELECT * FROM "default"', conn)) == events

    def to_df() -> None:
        assert len(reader.to_df()) == events

    bare, own = _interleaved(repeats, read_sql, to_df)
    conn.close()
    return {"read_sql": bare, "to_df": own}


def _tables_files(db: str) -> list[Path]:
    return [path for end in ("", "-wal", "-shm", "-journal") if (path := Path(f"{db}{end}")).exists()]


def _peak_mib() -> float:
    """Most memory this process ever had; `/proc` first, as rusage remembers the parent's."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (MIB if sys.platform == "darwin" else 1024)


# -- the report --------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the rows")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, db, events, repeats = options.worker
        workers = {"write": write, "replay": replay, "replay_floor": replay_floor, "frames": frames}
        print(json.dumps(workers[name](db, int(events), int(repeats))))
        return

    quick = options.quick
    figures = [
        *imports(5 if quick else 15),
        *appends(2_000 if quick else 20_000, 5 if quick else 15),
        *large(50_000 if quick else 1_000_000, 1 if quick else 3),
    ]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    where = {
        "host": platform.node(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit,
        "python": platform.python_version(),
        "quick": quick,
    }
    if options.json:
        print(json.dumps({**where, "figures": [{**f._asdict(), "met": f.met} for f in figures]}, indent=2))
    else:
        print(", ".join(f"{name} {fact}" for name, fact in where.items()))
        print("| name | ratio | target | measured | floor |\n|---|---|---|---|---|")
        for f in figures:
            miss = "" if f.met else " MISSED"
            target = "-" if f.target is None else f"{f.target:g} {f.unit}"
            print(f"| {f.name} | {f.value:.2f} {f.unit}{miss} | {target} | {f.measured} | {f.floor} |")
    if not quick and not all(figure.met for figure in figures):
        sys.exit(1)


if __name__ == "__main__":
    main()
