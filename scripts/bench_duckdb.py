"""A large store in DuckDB beside bare DuckDB on the same lines and the same table."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.bench_tables import write  # noqa: F401  # a worker of this module too
from scripts.bench_tools import Figure, interleaved, peak_mib, ratio, row, worker

_TYPES = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR", bool: "BOOLEAN"}
_GROUPS = "SELECT phase, epoch, avg(loss), count(*) FROM {} GROUP BY ALL"
_NEW = 1000
#: Turns of a replay and its floor. The ratio of one turn to the next differs by a tenth of it, so a few tell little.
_REPLAYS = 13


def columnar(events: int, repeats: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="xetrack-bench-") as folder:
        db = os.path.join(folder, "large.db")
        worker(__name__, "write", db, events)
        replays: list[dict[str, float]] = []
        floors: list[dict[str, float]] = []
        for _ in range(repeats if repeats == 1 else _REPLAYS):
            floors.append(worker(__name__, "read_json", db, events))
            replays.append(worker(__name__, "replay_columns", db, events))
        reads = worker(__name__, "reads", db, events, repeats)
    replay_s, bare_s = ([taken["seconds"] for taken in all_] for all_ in (replays, floors))
    replay, bare = statistics.median(replay_s), statistics.median(bare_s)
    peak = max(taken["peak_mib"] for taken in replays)
    count = f"{events:,}"

    def read(name: str, own: str, floor: str, target: float, what: str) -> Figure:
        measured, bare = reads[own], reads[floor]
        return Figure(name, measured / bare, "x", target, f"{1000 * measured:.1f} ms", f"{what}, {1000 * bare:.1f} ms")

    return [
        Figure(
            f"DuckDB: replay {count} events",
            ratio(replay_s, bare_s),
            "x",
            2,
            f"{replay:.2f} s",
            f"CREATE TABLE AS SELECT … FROM read_json, types given, {bare:.2f} s",
        ),
        Figure("DuckDB: replay, peak memory", peak, "MiB", 1536, f"{peak:.0f} MiB", "-"),
        read(f"DuckDB: to_df of {count} rows", "to_df", "df", 1.3, "bare .df() of the same table"),
        read(f"DuckDB: group by over {count} rows", "groups", "bare_groups", 1.2, "bare DuckDB, same table"),
        read(f"DuckDB: catch-up of {_NEW:,} events on {count}", "catch_up", "scan", 10, "reading those lines"),
    ]


def replay_columns(db: str, events: int) -> dict[str, float]:
    import duckdb  # noqa: F401  # not part of the figure
    import pandas  # noqa: F401
    import pyarrow  # noqa: F401

    from xetrack.config import Settings
    from xetrack.store import open_store

    Path(_tables(db)).unlink(missing_ok=True)
    started = time.perf_counter()
    store = open_store(db, settings=Settings.resolve(engine="duckdb"))
    store.replay()
    store.close()
    seconds = time.perf_counter() - started
    _check(_tables(db), "events", events)
    return {"seconds": seconds, "peak_mib": peak_mib()}


def read_json(db: str, events: int) -> dict[str, float]:
    """The same twelve columns from the same lines; nothing is checked, ordered or remembered."""
    import duckdb

    target = f"{db}.floor.duckdb"
    Path(target).unlink(missing_ok=True)
    (segment,) = Path(f"{db}.events", "default").glob("*.jsonl")
    keys = {key: _TYPES[type(value)] for key, value in row(0).items() if key != "note"}
    data = "STRUCT(" + ", ".join(f"{key} {kind}" for key, kind in keys.items()) + ")"
    started = time.perf_counter()
    with duckdb.connect(target) as conn:
        conn.execute(
            "CREATE TABLE events AS SELECT make_timestamp(clock) AS timestamp, run AS track_id, data.* FROM "
            f"read_json('{segment}', format='newline_delimited', columns={{clock: 'BIGINT', run: 'VARCHAR', "
            f"data: '{data}'}}) WHERE run IS NOT NULL"
        )
    seconds = time.perf_counter() - started
    _check(target, "events", events)
    Path(target).unlink()
    return {"seconds": seconds, "peak_mib": peak_mib()}


def reads(db: str, events: int, repeats: int) -> dict[str, float]:
    """Frames and a query beside bare DuckDB on the same file; catching up beside reading the lines."""
    import duckdb

    from xetrack.config import Settings
    from xetrack.store import open_store

    store = open_store(db, settings=Settings.resolve(engine="duckdb"))
    table = store.table("default")
    conn: Any = table.connection()
    bare = duckdb.connect(_tables(db), read_only=True)
    frames = interleaved(repeats, lambda: bare.execute('SELECT * FROM "default"').df(), lambda: table.frame())
    groups = interleaved(
        5 * repeats,
        lambda: bare.execute(_GROUPS.format('_xetrack_rows."default"')).fetchall(),
        lambda: conn.execute(_GROUPS.format("events")).fetchall(),
    )
    times: list[tuple[float, float]] = []
    writer = store.log.writer("default")
    writer.acquire()
    for _ in range(3 * repeats + 1):
        start = {segment.name: segment.size for segment in store.log.segments("default")}.get(f"{writer.name}.jsonl", 0)
        for step in range(_NEW):
            writer.append_row("bench-run-2", {key: value for key, value in row(step).items() if key != "note"})
        began = time.perf_counter()
        for _chunk in store.log.scan("default", f"{writer.name}.jsonl", start):
            pass
        scanned = time.perf_counter()
        table.catch_up()
        times.append((scanned - began, time.perf_counter() - scanned))
    writer.release()
    store.close()
    scan, catch_up = (statistics.median(taken) for taken in zip(*times[1:], strict=True))
    return {
        "df": frames[0], "to_df": frames[1], "bare_groups": groups[0], "groups": groups[1], "scan": scan,
        "catch_up": catch_up,
    }  # fmt: skip


def _tables(db: str) -> str:
    return f"{db.removesuffix('.db')}.duckdb"


def _check(path: str, table: str, events: int) -> None:
    import duckdb

    with duckdb.connect(path, read_only=True) as conn:
        found = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
    if found != (events,):
        raise SystemExit(f"there are {found} rows of {events}")
