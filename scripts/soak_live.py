"""A writer and its audience: does everybody see every row once, how late, and what does it cost the writer?

A writer logs at a pace. A watcher (`xt watch`) is killed and started again while it does, two followers read every row,
and an SQL client looks into the SQLite file ten times a second. Then the writer does the same with nobody looking.
Exit status 1 if a row is missing or comes twice anywhere.

    python -m scripts.soak_live [--seconds 30] [--rate 20000] [--kills 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.bench_tools import ROOT, row


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.soak_live",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=20_000.0)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        name, *arguments = options.role
        print(json.dumps(write(*arguments) if name == "write" else follow(*arguments)), flush=True)
        return
    found = soak(options.seconds, options.rate, options.kills)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:28} {value}")
    if not found["ok"]:
        sys.exit(1)


def soak(seconds: float, rate: float, kills: int) -> dict[str, Any]:
    """Both rounds, and what was measured."""
    count = int(seconds * rate)
    with tempfile.TemporaryDirectory(prefix="xetrack-soak-") as folder:
        alone = _answer(_start("write", os.path.join(folder, "alone.db"), count, rate, env={"XETRACK_LIVE": "0"}))
        db = os.path.join(folder, "watched.db")
        from xetrack.store import open_store

        open_store(db, create=True).close()
        followers = [_start("follow", db, count) for _ in range(2)]
        watcher = _watch(db)
        writer = _start("write", db, count, rate)
        staleness, restarts, next_kill_s = [], 0, seconds / (kills + 1)
        started = time.monotonic()
        while writer.poll() is None:
            late = _staleness_s(db)
            if late is not None:
                staleness.append(late)
            if restarts < kills and time.monotonic() - started > next_kill_s * (restarts + 1):
                watcher.kill()
                watcher.wait()
                watcher, restarts = _watch(db), restarts + 1
            time.sleep(0.1)
        watched = _answer(writer)
        followed = [_answer(follower) for follower in followers]
        watcher.terminate()
        stopped = watcher.wait()
        rows, steps = _in_file(db)
        report = open_store(db).verify()
    staleness.sort()
    good = all(one["rows"] == one["distinct"] == count for one in followed)
    return {
        "ok": good and rows == steps == count and report.ok and stopped == 0,
        "rows": count,
        "rows_in_file": rows,
        "rows_of_followers": [one["rows"] for one in followed],
        "watcher_restarts": restarts,
        "seconds": round(watched["seconds"], 2),
        "staleness_p50_s": round(staleness[len(staleness) // 2], 3) if staleness else None,
        "staleness_max_s": round(staleness[-1], 3) if staleness else None,
        "log_p50_us": round(watched["p50_us"], 1),
        "log_p99_us": round(watched["p99_us"], 1),
        "log_p50_us_alone": round(alone["p50_us"], 1),
        "log_p99_us_alone": round(alone["p99_us"], 1),
    }


def _start(role: str, *arguments: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scripts.soak_live", "--role", role, *map(str, arguments)]
    environ = {**os.environ, **(env or {})}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ)


def _watch(db: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "xetrack", "watch", db]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args!r} ended with {process.returncode}")
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


def _staleness_s(db: str) -> float | None:
    """How old the newest row is that a client sees who opens the file as it is; None where there is none so far."""
    if not Path(db).exists():
        return None
    conn = sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=10)
    try:
        found = conn.execute('SELECT "at" FROM "default" ORDER BY _rowid_ DESC LIMIT 1').fetchone()
        return None if found is None else time.time() - float(found[0])
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise
        return None  # no table so far
    finally:
        conn.close()


def _in_file(db: str) -> tuple[int, int]:
    conn = sqlite3.connect(db)
    try:
        rows, steps = conn.execute("SELECT count(*), count(DISTINCT step) FROM events").fetchone()
        return int(rows), int(steps)
    finally:
        conn.close()


# -- roles -------------------------------------------------------------------


def write(db: str, count: str, rate: str) -> dict[str, float]:
    from xetrack import Tracker

    taken = []
    with Tracker(db, track_id="soak") as tracker:
        started = time.perf_counter()
        for step in range(int(count)):
            data = {**row(step), "at": time.time()}
            before = time.perf_counter()
            tracker.log(data)
            taken.append(time.perf_counter() - before)
            while time.perf_counter() - started < step / float(rate):
                time.sleep(0)
        seconds = time.perf_counter() - started
    taken.sort()
    p50, p99 = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
    return {"p50_us": 1e6 * p50, "p99_us": 1e6 * p99, "seconds": seconds}


def follow(db: str, count: str) -> dict[str, int]:
    """Every row there is, taking up the cursor in a new follower now and then."""
    from itertools import islice

    from xetrack import Reader

    wanted, steps, rows, cursor = int(count), set[int](), 0, None
    while rows < wanted:
        with Reader(db).follow(cursor) as following:
            for one in islice(following, min(wanted - rows, 50_000)):
                rows += 1
                steps.add(one["step"])
            cursor = following.cursor
    rows += len(list(Reader(db).follow(cursor, wait=False)))
    return {"rows": rows, "distinct": len(steps)}


if __name__ == "__main__":
    main()
