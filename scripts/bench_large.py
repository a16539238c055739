"""Large and odd stores, and what one replay of each takes: ``scripts/bench --large``."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.bench_tables import write  # noqa: F401  # a worker of this module too
from scripts.bench_tools import peak_mib, row, worker

ENGINES = ("sqlite", "duckdb")
STORES: dict[str, tuple[str, int]] = {
    "1,000,000 events × 12 columns": ("write", 1_000_000),
    "10,000,000 events × 12 columns": ("write", 10_000_000),
    "1,000 segments": ("segments", 1_000),
    "10,000 segments": ("segments", 10_000),
    "3,000 columns × 1,000 rows": ("wide", 1_000),
    "100,000 columns × 100 rows": ("widest", 100),
}
_PER_SEGMENT = 10


def segments(db: str, count: int) -> dict[str, float]:
    """Short runs, each a segment of its own."""
    from xetrack.log.log import FileLog

    log = FileLog(Path(f"{db}.events"))
    for number in range(count):
        writer = log.writer("default")
        for step in range(_PER_SEGMENT):
            writer.append_row(f"run-{number}", row(step))
        writer.release()
    return {}


def wide(db: str, count: int) -> dict[str, float]:
    """Rows of more keys than SQLite has columns."""
    return _rows_of(3_000, db, count)


def widest(db: str, count: int) -> dict[str, float]:
    """Rows of more keys than either engine has columns."""
    return _rows_of(100_000, db, count)


def _rows_of(columns: int, db: str, count: int) -> dict[str, float]:
    from xetrack.log.log import FileLog

    writer = FileLog(Path(f"{db}.events")).writer("default")
    for step in range(count):
        writer.append_row("run", {f"column_{number}": step + number for number in range(columns)})
    writer.release()
    return {}


def replay(db: str, engine: str) -> dict[str, float]:
    """Seconds and memory of one replay, with the libraries loaded."""
    from xetrack.config import Settings
    from xetrack.store import open_store

    if engine == "duckdb":
        import duckdb  # noqa: F401
        import pyarrow  # noqa: F401
    store = open_store(db, settings=Settings.resolve(engine=engine))
    started_s, cpu_s = time.perf_counter(), time.process_time()
    store.replay()
    taken = {"seconds": time.perf_counter() - started_s, "cpu_s": time.process_time() - cpu_s, "peak_mib": peak_mib()}
    rows = store.table("default").count()
    store.close()
    return {**taken, "rows": rows}


def measured(quick: bool) -> dict[str, Any]:
    """By store and engine."""
    found: dict[str, Any] = {}
    for name, (make, count) in STORES.items():
        with tempfile.TemporaryDirectory(prefix="xetrack-bench-") as folder:
            db = os.path.join(folder, "large.db")
            worker(__name__, make, db, count // 100 if quick else count)
            for path in Path(folder).glob("large.db*"):
                if path.is_file():
                    path.unlink()
            found[name] = {engine: worker(__name__, "replay", db, engine) for engine in ENGINES}
    return found


def main(quick: bool, as_json: bool) -> None:
    """Measure and print, a line each."""
    found = measured(quick)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print("| store | rows | DuckDB | memory | SQLite | memory |\n|---|---|---|---|---|---|")
    for name, one in found.items():
        cells = [f"{one['sqlite']['rows']:,}"]
        for engine in ("duckdb", "sqlite"):
            taken = one[engine]
            cells.append(f"{taken['seconds']:.1f} s, {taken['cpu_s']:.1f} s of processor")
            cells.append(f"{taken['peak_mib']:.0f} MiB")
        print(f"| {name}{' / 100' if quick else ''} | {' | '.join(cells)} |", flush=True)
