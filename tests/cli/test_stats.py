"""`xt stats describe`, `top`, `bottom`."""

from __future__ import annotations

import json
import math

import pytest

from tests.cli.conftest import Call
from xetrack import Tracker
from xetrack.cli.stats import _of_numbers

ENGINES = ["sqlite", "duckdb"]


@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_and_texts_are_described_each_in_their_way(call: Call, store: str, engine: str) -> None:
    result = call("stats", "describe", store, f"--engine={engine}", "--columns=epoch,loss,model,ok,note", "--json")
    epoch, loss, model, ok, note = json.loads(result.stdout)
    assert (epoch["type"], epoch["count"], epoch["min"], epoch["50%"], epoch["max"]) == ("int", 4, 0, 0.5, 2)
    assert (epoch["mean"], epoch["25%"], epoch["75%"]) == (0.75, 0, 1.25)
    assert loss["mean"] == pytest.approx((1 + 0.5 + 1 / 3 + 0.5) / 4)
    assert (model["unique"], model["top"], model["freq"], model["mean"]) == (2, "resnet", 3, None)
    assert (ok["type"], ok["top"], ok["freq"]) == ("bool", True, 3)
    assert (note["count"], note["missing"]) == (1, 3)


def test_figures_are_those_of_pandas() -> None:
    import pandas as pd

    values = [3.5, -1.0, 2.25, 8.0, 0.125]
    expected = pd.Series(values).describe()
    assert _of_numbers(values) == pytest.approx(expected.drop("count").tolist())


def test_infinities_and_huge_integers_are_described_all_the_same(call: Call, db: str) -> None:
    with Tracker(db) as tracker:
        for value in (2**70, 1, 10**400):
            tracker.log({"big": value, "wild": math.inf if value == 1 else -math.inf})
    result = call("stats", "describe", db, "--columns=big,wild", "--json")
    assert result.exit_code == 0
    big, wild = json.loads(result.stdout)
    assert wild["max"] == "Infinity" and big["count"] == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_ends_are_whole_rows(call: Call, store: str, engine: str) -> None:
    (top,) = json.loads(call("stats", "top", store, "loss", f"--engine={engine}", "--json").stdout)
    assert (top["loss"], top["track_id"], top["epoch"], top["ok"]) == (1.0, "calm-otter-1", 0, False)
    bottom = call("stats", "bottom", store, "epoch", f"--engine={engine}", "--n=2", "--columns=model,epoch", "--csv")
    assert bottom.stdout == "model,epoch\nresnet,0\nbert,0\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_not_a_number_is_at_neither_end(call: Call, db: str, engine: str) -> None:
    with Tracker(db, engine=engine) as tracker:  # type: ignore[arg-type]
        for value in (math.nan, 2.0, None, 1.0):
            tracker.log({"loss": value})
    for end, value in (("top", 2.0), ("bottom", 1.0)):
        (row,) = json.loads(call("stats", end, db, "loss", f"--engine={engine}", "--json").stdout)
        assert row["loss"] == value


def test_table_option_chooses_the_table(call: Call, store: str) -> None:
    (row,) = json.loads(call("stats", "top", store, "accuracy", "--table=metrics", "--json").stdout)
    assert row["accuracy"] == 0.9
    assert call("stats", "describe", store, "--table=metrics", "--where=accuracy > 1", "--csv").exit_code == 0


def test_empty_table_is_described(call: Call, db: str) -> None:
    Tracker(db).close()
    result = call("stats", "describe", db, "--csv")
    assert result.exit_code == 0 and result.stdout.splitlines()[1] == "timestamp,str,0,0,0,,,,,,,,,"


@pytest.mark.parametrize("args", [("describe", "--columns=los"), ("top", "los"), ("bottom", "los")])
def test_absent_column_exits_3(call: Call, store: str, args: tuple[str, ...]) -> None:
    result = call("stats", args[0], store, *args[1:])
    assert (result.exit_code, result.stdout) == (3, "") and "loss" in result.stderr


@pytest.mark.parametrize("args", [("describe",), ("top", "loss"), ("bottom", "loss")])
def test_absent_store_and_table_exit_3(call: Call, store: str, args: tuple[str, ...]) -> None:
    assert call("stats", args[0], "absent.db", *args[1:]).exit_code == 3
    assert call("stats", args[0], store, *args[1:], "--table=metric").exit_code == 3
