"""`xt best`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from xetrack import Tracker

ENGINES = ["sqlite", "duckdb"]


@pytest.fixture
def trials(db: str) -> str:
    """Four runs of two models; the metric is missing or NaN in some rows."""
    for run, model, values in (
        ("a", "bert", [0.5, 0.9, None]),
        ("b", "bert", [0.7]),
        ("c", "resnet", [0.8, math.nan]),
        ("d", "resnet", [None]),
    ):
        with Tracker(db, track_id=run, params={"model": model}) as tracker:
            for step, value in enumerate(values):
                tracker.log({"step": step, "acc": value})
    return db


@pytest.mark.parametrize("engine", ENGINES)
def test_best_row_of_each_run_comes_best_first(call: Call, trials: str, engine: str) -> None:
    rows = json.loads(call("best", trials, "acc", "--max", f"--engine={engine}", "--json").stdout)
    assert [(row["track_id"], row["acc"], row["step"]) for row in rows] == [("a", 0.9, 1), ("c", 0.8, 0), ("b", 0.7, 0)]
    rows = json.loads(call("best", trials, "acc", "--min", f"--engine={engine}", "--json").stdout)
    assert [(row["track_id"], row["acc"]) for row in rows] == [("a", 0.5), ("b", 0.7), ("c", 0.8)]


@pytest.mark.parametrize("engine", ENGINES)
def test_best_row_of_each_group(call: Call, trials: str, engine: str) -> None:
    result = call(
        "best", trials, "acc", "--group-by=model", f"--engine={engine}", "--columns=model,acc,track_id", "--csv"
    )
    assert result.stdout == "model,acc,track_id\nbert,0.9,a\nresnet,0.8,c\n"
    assert call("best", trials, "acc", "--group-by=model", "--n=1", "--csv").stdout.count("\n") == 2


def test_group_and_metric_are_the_first_columns(call: Call, trials: str) -> None:
    assert call("best", trials, "acc", "--group-by=model", "--csv").stdout.startswith("model,acc,track_id,timestamp,")


def test_conditions_apply_before_the_best_is_chosen(call: Call, trials: str) -> None:
    assert " 0.9 " not in call("best", trials, "acc", "--where=acc < 0.9").stdout


def test_absent_column_exits_3(call: Call, trials: str) -> None:
    for args in (("ac",), ("acc", "--group-by=mode")):
        result = call("best", trials, *args)
        assert (result.exit_code, result.stdout) == (3, "") and "Did you mean" in result.stderr
    assert call("best", "absent.db", "acc").exit_code == 3
    assert call("best", trials, "acc", "--table=nope").exit_code == 3


def test_columns_and_order_are_raw_keys_too(call: Call, tmp_path: Path) -> None:
    db = str(tmp_path / "track.db")
    with Tracker(db, track_id="calm-otter-1") as tracker:
        tracker.log({"Loss": 1.0, "loss": 0.5})
    assert call("best", db, "loss", "--columns=track_id,loss", "--sort=-loss", "--csv").stdout == (
        "track_id,loss_2\ncalm-otter-1,0.5\n"
    )
