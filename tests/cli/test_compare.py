"""`xt compare`."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Call
from xetrack import Tracker

ENGINES = ["sqlite", "duckdb"]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_differs_comes_first_and_metrics_last(call: Call, db: str, engine: str) -> None:
    for run, lr in (("a", 0.1), ("b", 0.2)):
        with Tracker(db, track_id=run, params={"data": "mnist", "lr": lr}) as tracker:
            for step in range(3):
                tracker.log({"step": step, "loss": lr * (3 - step)})
    rows = json.loads(call("compare", db, "a", "b", f"--engine={engine}", "--json").stdout)
    assert [(row["kind"], row["name"], row["differs"]) for row in rows] == [
        ("parameter", "lr", True),
        ("parameter", "data", False),
        ("metric", "step last", False),
        ("metric", "step min", False),
        ("metric", "step max", False),
        ("metric", "loss last", True),
        ("metric", "loss min", True),
        ("metric", "loss max", True),
    ]
    assert (rows[0]["a"], rows[0]["b"], rows[1]["a"]) == (0.1, 0.2, "mnist")
    assert rows[5]["a"] == pytest.approx(0.1) and rows[7]["b"] == pytest.approx(0.6)


def test_runs_of_unlike_columns_have_gaps(call: Call, store: str) -> None:
    result = call("compare", store, "calm-otter-1", "bold-lynx-2", "--csv")
    assert result.exit_code == 0
    assert "parameter,note,true,,first | try\\nsecond line" in result.stdout.replace("\nsecond", "\\nsecond").replace(
        '"', ""
    )
    # One row of it changes nothing: what is a metric in the other run is one here too.
    assert "metric,epoch last,true,2,0" in result.stdout


def test_only_what_differs_is_asked_for(call: Call, store: str) -> None:
    result = call(
        "compare", store, "calm-otter-1", "bold-lynx-2", "--where=differs AND kind = 'metric'", "--n=1", "--md"
    )
    assert result.stdout.splitlines()[2] == "| metric | epoch last | true | 2 | 0 |"


def test_absent_run_exits_3(call: Call, store: str) -> None:
    result = call("compare", store, "calm-otter-1", "bold-lynx")
    assert (result.exit_code, result.stdout) == (3, "") and "bold-lynx-2" in result.stderr
    assert call("compare", store).exit_code == 2
    assert call("compare", "absent.db", "a").exit_code == 3
