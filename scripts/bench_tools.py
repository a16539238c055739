"""What the benches share: figures, the row they log, taking turns, a process of one's own."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
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


def interleaved(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Median seconds of each, taking turns; one round to warm up."""
    return [statistics.median(taken) for taken in turns(repeats, *functions)]


def turns(repeats: int, *functions: Callable[[], object]) -> list[list[float]]:
    """Seconds of each turn of each function, one round to warm up left out."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(repeats + 1):
        for function, taken in zip(functions, times, strict=True):
            started = time.perf_counter()
            function()
            if turn:
                taken.append(time.perf_counter() - started)
    return times


def ratio(above: list[float], below: list[float]) -> float:
    """Median of the ratios of turns that followed one another: a machine that changes its pace is in neither."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


def worker(module: str, name: str, *arguments: object) -> dict[str, float]:
    """Run a function of a bench in a new process; it answers with numbers."""
    command = [sys.executable, "-m", "scripts.bench", "--worker", module, name, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def peak_mib() -> float:
    """Most memory this process ever had; `/proc` first, as rusage remembers the parent's."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (MIB if sys.platform == "darwin" else 1024)
