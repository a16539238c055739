"""A large store in SQLite: replay and frames, in processes of their own."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from scripts.bench_tools import MIB, Figure, interleaved, peak_mib, ratio, row, worker


def large(events: int, repeats: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="xetrack-bench-") as folder:
        db = os.path.join(folder, "large.db")
        logged = worker(__name__, "write", db, events)
        replays: list[dict[str, float]] = []
        floors: list[dict[str, float]] = []
        for _ in range(repeats):
            floors.append(worker(__name__, "replay_floor", db, events))
            replays.append(worker(__name__, "replay", db, events))
        frames = worker(__name__, "frames", db, events, repeats)
    replay_s, bare_s = ([taken["seconds"] for taken in all_] for all_ in (replays, floors))
    replay, bare = statistics.median(replay_s), statistics.median(bare_s)
    peak = max(taken["peak_mib"] for taken in replays)
    count = f"{events:,}"
    return [
        Figure(
            f"replay {count} events",
            ratio(replay_s, bare_s),
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


def write(db: str, events: int) -> dict[str, float]:
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
                _wait_for_rows(db, step)
                early = process.memory_info().rss / MIB
        after = process.memory_info().rss / MIB
    return {"early_mib": early, "after_mib": after}


def _wait_for_rows(db: str, rows: int) -> None:
    """Until the thread that keeps the tables up has put in so many, with what memory that takes."""
    found = 0
    while found < rows:
        time.sleep(0.05)
        with contextlib.suppress(sqlite3.OperationalError):  # it has not made them, or does so now
            with contextlib.closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as conn:
                ((found,),) = conn.execute('SELECT count(*) FROM "default"').fetchall()


def replay(db: str, events: int) -> dict[str, float]:
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
    return {"seconds": seconds, "peak_mib": peak_mib()}


def replay_floor(db: str, events: int) -> dict[str, float]:
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
    return {"seconds": seconds, "peak_mib": peak_mib()}


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

    bare, own = interleaved(repeats, read_sql, to_df)
    conn.close()
    return {"read_sql": bare, "to_df": own}


def _tables_files(db: str) -> list[Path]:
    return [path for end in ("", "-wal", "-shm", "-journal") if (path := Path(f"{db}{end}")).exists()]
