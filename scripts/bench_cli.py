"""How soon the command line answers: whole processes, from start to exit, taking turns."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from scripts.bench_tools import ROOT, Figure, interleaved, row, worker

#: What `xt head` may take beside what `xt --version` may.
_ALLOWED_MS = 150.0
_ALLOWED_RATIO = 2.5
_BATCH_ROWS = 50_000


def commands(rows: int, repeats: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="xetrack-bench-") as folder:
        db = os.path.join(folder, "large.db")
        worker(__name__, "write", db, rows)
        _run("-m", "xetrack", "head", db)  # the tables are up to date from here on
        typer_s, version_s, head_s = interleaved(
            repeats,
            lambda: _run("-c", "import typer"),
            lambda: _run("-m", "xetrack", "--version"),
            lambda: _run("-m", "xetrack", "head", db),
        )
    floor = f'python -c "import typer", {typer_s * 1e3:.0f} ms'
    return [
        Figure("xt --version", version_s / typer_s, "x", _ALLOWED_RATIO, f"{version_s * 1e3:.0f} ms", floor),
        Figure(
            f"xt head of {rows:,} rows, past {_ALLOWED_RATIO:g} times that",
            (head_s - _ALLOWED_RATIO * typer_s) * 1e3,
            "ms",
            _ALLOWED_MS,
            f"{head_s * 1e3:.0f} ms",
            floor,
        ),
    ]


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def write(db: str, rows: int) -> dict[str, float]:
    from xetrack import Tracker

    with Tracker(db, track_id="bench-run-1") as tracker:
        for start in range(0, rows, _BATCH_ROWS):
            tracker.log_batch([row(step) for step in range(start, min(start + _BATCH_ROWS, rows))])
        return {"rows": float(len(tracker))}
