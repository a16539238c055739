"""xetrack beside other trackers, each in an environment of its own: ``scripts/bench --peers``.

What does not install is left out and said. Every figure is a median of a few repeats that
take turns, and a task that takes too long is given up, so that one slow peer does not
hold up the others. The result goes to a JSON file, from which the Markdown table and the
picture in docs/performance.md are made.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from scripts.bench_tools import ROOT
from scripts.peer_drivers import PEERS

#: What is installed into the environment of each; those without run in this one.
PACKAGES = {
    "xetrack-0.7.0": ["xetrack==0.7.0", "sqlitedict"],
    "mlflow": ["mlflow"],
    "trackio": ["trackio", "pandas"],
    "aim": ["aim", "pandas"],
    "wandb": ["wandb", "pandas"],
    "dvclive": ["dvclive", "pandas"],
    "tensorboardx": ["tensorboardX", "tensorboard", "pandas"],
}
LIMIT_S = 120
WORKERS = 8
COLUMNS = {
    "release": "release",
    "import_ms": "import, ms",
    "mean_us": "call, µs",
    "p50_us": "p50",
    "p99_us": "p99",
    "max_us": "max",
    "rows_per_s": "rows/s, batch",
    "bytes_per_row": "bytes/row",
    "read_100k_s": "100,000 rows to a frame, s",
    "read_1m_s": "1,000,000, s",
    "workers": "8 processes: rows kept",
    "workers_s": "8 processes, s",
    "killed": "kill -9: rows kept",
}


def python_of(peer: str) -> Path | None:
    """The interpreter of a peer's environment, made if it is not there; None if it does not install."""
    if peer not in PACKAGES:
        return Path(sys.executable)
    venv = ROOT / f".venv-peer-{peer}"
    python = venv / "bin" / "python"
    if not (venv / "done").exists():
        print(f"installing {' '.join(PACKAGES[peer])}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        done = subprocess.run([python, "-m", "pip", "install", "-qq", *PACKAGES[peer]], stdout=sys.stderr)
        if done.returncode:
            return None
        (venv / "done").touch()
    return python


def compared(quick: bool, names: list[str]) -> dict[str, Any]:
    """Everything that is measured, by peer."""
    calls, repeats = (200, 1) if quick else (2_000, 3)
    found: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    pythons = {}
    for name in names:
        python = python_of(name)
        if python is None:
            skipped[name] = "does not install here"
        else:
            pythons[name] = python
            found[name] = _ask(python, name, "about", Path("."), 0)
    for name, python in pythons.items():
        _measure_import(found[name], python, repeats)
    for _ in range(repeats):
        for name, python in pythons.items():
            with tempfile.TemporaryDirectory(prefix="xetrack-peer-") as folder:
                answer = _ask(python, name, "calls", Path(folder), calls)
            for key, value in answer.items():
                found[name].setdefault(f"all_{key}", []).append(value)
    for name, python in pythons.items():
        one = found[name]
        for key in [key for key in one if key.startswith("all_")]:
            one[key.removeprefix("all_")] = statistics.median(one.pop(key))
        _measure_reading(one, python, name, quick)
        _measure_workers(one, python, name, 50 if quick else 500)
        _measure_kill(one, python, name, 100 if quick else 1_000)
        print(f"{name}: done", file=sys.stderr)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "quick": quick,
        "calls": calls,
        "peers": found,
        "skipped": skipped,
    }


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def _environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XETRACK_")}
    return {**kept, "PYTHONWARNINGS": "ignore", "GIT_PYTHON_REFRESH": "quiet"}


def _ask(python: Path, name: str, task: str, folder: Path, count: int) -> dict[str, Any]:
    """The answer of a driver; ``failed`` says why there is none."""
    # Beside the driver there is no xetrack: each environment has its own.
    command = [str(python), str(ROOT / "scripts" / "peer_drivers.py"), name, task, str(folder), str(count)]
    environ = _environ() | ({"PYTHONPATH": str(ROOT)} if name not in PACKAGES else {})
    try:
        done = subprocess.run(command, capture_output=True, env=environ, timeout=LIMIT_S, cwd=tempfile.gettempdir())
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {LIMIT_S} s"}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return {"failed": said[-1][:200] if said else f"exit status {done.returncode}"}
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _measure_import(one: dict[str, Any], python: Path, repeats: int) -> None:
    def start(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([python, "-c", code], check=True, env=_environ(), stdout=subprocess.DEVNULL, cwd=ROOT)
        return time.perf_counter() - started

    code = f"import {one['module']}"
    start(code)
    taken = [start(code) - start("pass") for _ in range(2 * repeats + 1)]
    one["import_ms"] = 1000 * statistics.median(taken)


def _measure_reading(one: dict[str, Any], python: Path, name: str, quick: bool) -> None:
    for key, count in (("100k", 2_000 if quick else 100_000), ("1m", 0 if quick else 1_000_000)):
        if not count or (key == "1m" and count > one["large"]):
            one[f"read_{key}_s"] = None
            continue
        # Those that would take hours are filled with as many as they take, and the time is told for these.
        rows = min(count, one["large"])
        with tempfile.TemporaryDirectory(prefix="xetrack-peer-") as folder:
            filled = _ask(python, name, "fill", Path(folder), rows)
            if key == "100k":
                one["rows_per_s"] = filled.get("rows_per_s")
            if "failed" in filled or not one["can_read"]:
                one[f"read_{key}_s"] = None
                if "failed" in filled:
                    one["notes"].append(f"filling {rows} rows: {filled['failed']}")
                continue
            answer = _ask(python, name, "read", Path(folder), rows)
            if "failed" in answer:
                one["notes"].append(f"reading {rows} rows: {answer['failed']}")
        one[f"read_{key}_s"] = answer.get("seconds")
        one[f"read_{key}_rows"] = answer.get("rows")


def _measure_workers(one: dict[str, Any], python: Path, name: str, count: int) -> None:
    """Eight processes log into one store at once; how many of the rows are there afterwards?"""
    count = min(count, one["large"] // 10)
    with tempfile.TemporaryDirectory(prefix="xetrack-peer-") as folder:
        command = [str(python), str(ROOT / "scripts" / "peer_drivers.py"), name, "work", folder, str(count)]
        environ = _environ() | ({"PYTHONPATH": str(ROOT)} if name not in PACKAGES else {})
        # Making a store is not what is asked here.
        _ask(python, name, "work", Path(folder), 1)
        started = time.perf_counter()
        workers = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ, cwd=folder)
            for _ in range(WORKERS)
        ]
        for worker in workers:
            try:
                worker.wait(max(1.0, started + LIMIT_S - time.perf_counter()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        one["workers_s"] = time.perf_counter() - started
        one["workers_asked"] = WORKERS * count + 1
        one["workers_failed"] = sum(worker.returncode != 0 for worker in workers)
        answer = _ask(python, name, "read", Path(folder), 0) if one["can_read"] else {}
        one["workers_kept"] = answer.get("rows")
        if "failed" in answer:
            one["notes"].append(f"reading after 8 processes: {answer['failed']}")


def _measure_kill(one: dict[str, Any], python: Path, name: str, count: int) -> None:
    """A process is killed the moment its last call returned; how many of its rows are there?"""
    count = min(count, one["large"] // 2)
    with tempfile.TemporaryDirectory(prefix="xetrack-peer-") as folder:
        _ask(python, name, "endless", Path(folder), count)
        one["killed_asked"] = count
        answer = _ask(python, name, "read", Path(folder), 0) if one["can_read"] else {}
        one["killed_kept"] = answer.get("rows", 0 if "failed" in answer else None)
        if "failed" in answer:
            one["notes"].append(f"reading after kill -9: {answer['failed']}")


# -- showing it --------------------------------------------------------------


def as_markdown(result: dict[str, Any]) -> str:
    """One line for each peer."""
    head = ["", *COLUMNS.values()]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, one in result["peers"].items():
        cells = [name, *(_cell(one, key) for key in COLUMNS)]
        lines.append("| " + " | ".join(cells) + " |")
    facts = f"{result['date']}, {result['machine']}, Python {result['python']}, commit {result['commit']}"
    lines += ["", f"{facts}; {result['calls']} calls each" + ("; a quick run." if result["quick"] else ".")]
    lines += [f"{name}: {why}." for name, why in result["skipped"].items()]
    lines += [f"{name}: {note}." for name, one in result["peers"].items() for note in one.get("notes", [])]
    return "\n".join(lines)


def _cell(one: dict[str, Any], key: str) -> str:
    if key in ("workers", "killed"):
        kept, asked = one.get(f"{key}_kept"), one.get(f"{key}_asked")
        return "–" if kept is None else f"{kept:,} of {asked:,}"
    value = one.get(key)
    if isinstance(value, float):
        rows = one.get(key.removesuffix("_s") + "_rows")
        note = f" ({rows:,} rows)" if key == "read_100k_s" and rows not in (None, 100_000) else ""
        return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + note
    return str(value or "–")


def main(quick: bool, as_json: bool, out: str | None, names: list[str] | None = None) -> None:
    """Measure, print the table, and write the JSON if ``out`` names a file."""
    result = compared(quick, names or list(PEERS))
    if out:
        Path(out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1) if as_json else as_markdown(result))
