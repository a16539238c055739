"""Pickled trackers: the same run in another process, the tracker itself in its own."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from xetrack.errors import UsageError
from xetrack.read.reader import Reader
from xetrack.track.tracker import Tracker

#: Reads pickles of functions and calls each with its place in the list.
WORKER = """
import pickle, sys
for number, task in enumerate(pickle.load(sys.stdin.buffer)):
    print(pickle.loads(task)(number))
"""


def run_elsewhere(tasks: list[bytes], cwd: Path, **environ: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=pickle.dumps(tasks),
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **environ},
        check=True,
        timeout=60,
    )
    assert done.stderr == b""
    return done.stdout.decode().split()


def test_function_pickled_by_value_logs_to_its_run_from_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Tracker("track.db", track_id="earlier").log({"x": 0})
    tracker = Tracker(
        "track.db",
        track_id="run",
        reset=True,
        jsonl="rows.jsonl",
        params={"lr": 0.1, "model": Fraction},
        table="default",
    )
    tracker.log({"x": 0})

    def double(x: int) -> int:
        return 2 * x

    double.__module__ = "__main__"  # so that it is pickled by value
    wrapped = tracker.wrap(double)
    first = cloudpickle.dumps(wrapped)
    tracker.set_param("lr", 0.5)
    assert (
        run_elsewhere([first, first, cloudpickle.dumps(wrapped)], elsewhere, XETRACK_TABLE="other") == "0 2 4".split()
    )
    rows = tracker.to_df()
    assert rows["function_result"].tolist()[1:] == [0, 2, 4]
    assert rows["lr"].tolist() == [0.1, 0.1, 0.1, 0.5]
    assert rows["model"].nunique() == 1 and tracker.get(rows["model"][1]) is Fraction
    assert Reader("track.db").to_df()["track_id"].unique().tolist() == ["run"]
    assert len(Reader.read_jsonl("rows.jsonl")) == 4
    assert list(elsewhere.iterdir()) == []
    segments = [path.read_text().splitlines() for path in Path("track.db.events/default").iterdir()]
    assert sorted(sum('"row.logged"' in line for line in lines) for lines in segments) == [1, 1, 3]


def test_copy_in_its_own_process_is_the_tracker_itself(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path / "track.db", params={"lr": 0.1})
    pickled = pickle.dumps(tracker)
    tracker.set_param("lr", 0.5)
    assert pickle.loads(pickled) is tracker
    assert tracker.params == {"lr": 0.5}
    held: Any = {"tracker": tracker}
    assert copy.deepcopy(held)["tracker"] is tracker and copy.copy(tracker) is tracker
    memory = Tracker(":memory:")
    assert copy.deepcopy(memory) is memory


def test_tracker_in_memory_stays_in_its_process() -> None:
    with pytest.raises(UsageError, match="memory"):
        pickle.dumps(Tracker(":memory:"))
    assert pickle.dumps(Tracker(Tracker.SKIP_INSERT))
