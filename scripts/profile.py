"""Samples of a process that logs, or that replays, summed up by function.

The workloads are those of the bench. ``self`` is the share of samples in which a function was
running, ``inclusive`` also those in which it had called another. A system call counts for its caller.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from scripts.bench_tools import ROOT, row

SECONDS, ROWS = 15, 300_000
#: The function whose samples count, of each workload.
_WITHIN = {"log": "log (xetrack/track/tracker.py)", "replay": "replay (xetrack/exchange/materialise.py)"}


def log(folder: str) -> None:
    from xetrack import Tracker

    tracker = Tracker(f"{folder}/track.db", track_id="profile-run-1")
    rows = [row(step) for step in range(20_000)]
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for data in rows:
            tracker.log(data)


def replay(folder: str) -> None:
    import xetrack

    with xetrack.Tracker(f"{folder}/track.db", track_id="profile-run-1") as tracker:
        for start in range(0, ROWS, 1000):
            tracker.log_batch([row(step) for step in range(start, start + 1000)])
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        xetrack.replay(f"{folder}/track.db")


def shares(raw: str, within: str) -> tuple[int, Counter[str], Counter[str]]:
    """Samples below a function: how many, by the function that ran, and by all that were on the stack."""
    running: Counter[str] = Counter()
    on_stack: Counter[str] = Counter()
    total = 0
    for line in raw.splitlines():
        stack, count = line.rsplit(" ", 1)
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        if not any(frame.endswith(within) for frame in frames):
            continue
        total += int(count)
        running[frames[-1]] += int(count)
        for frame in set(frames):
            on_stack[frame] += int(count)
    return total, running, on_stack


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/profile", description=__doc__)
    parser.add_argument("workload", nargs="?", choices=list(_WITHIN), default="log", help="log, if nothing is said")
    parser.add_argument("--flame", metavar="FILE", help="draw a flame graph there")
    parser.add_argument("--work", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        {"log": log, "replay": replay}[options.workload](options.work)
        return
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        print(f"scripts/profile needs py-spy: {sys.executable} -m pip install py-spy", file=sys.stderr)
        sys.exit(2)
    with tempfile.TemporaryDirectory(prefix="xetrack-profile-") as folder:
        out = options.flame or f"{folder}/samples"
        command = [sys.executable, "-m", "scripts.profile", options.workload, "--work", folder]
        form = "flamegraph" if options.flame else "raw"
        recorded = [spy, "record", "-r", "250", "-f", form, "-o", out, "--", *command]
        done = subprocess.run(recorded, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"py-spy failed: {done.stderr.strip()}")
        if options.flame:
            return
        total, running, on_stack = shares(Path(out).read_text(), _WITHIN[options.workload])
    print(f"{total} samples\n\n| function | self | inclusive |\n|---|---|---|")
    for name, count in running.most_common(12):
        print(f"| {name} | {100 * count / total:.1f} % | {100 * on_stack[name] / total:.1f} % |")


if __name__ == "__main__":
    main()
