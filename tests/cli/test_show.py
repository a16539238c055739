"""`xt show`."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from fractions import Fraction
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.conftest import Git
from xetrack import Tracker
from xetrack.read.summary import sparkline

ENGINES = ["sqlite", "duckdb"]


@pytest.mark.parametrize("engine", ENGINES)
def test_run_is_told_in_full(call: Call, store: str, engine: str) -> None:
    shown = json.loads(call("show", store, "calm-otter-1", f"--engine={engine}", "--json").stdout)
    assert (shown["track_id"], shown["state"], shown["rows"]) == ("calm-otter-1", "finished", 3)
    assert shown["parameters"] == {"model": "resnet"}
    assert shown["metrics"]["loss"] == {
        **{"count": 3, "first": 1.0, "last": 1 / 3, "min": 1 / 3, "max": 1.0},
        "trend": "█▃▁",
    }
    assert shown["others"] == {"ok": {"unique": 2, "last": True}}
    (writer,) = shown["provenance"]
    assert writer["pid"] == os.getpid() and writer["python"]


def test_provenance_has_the_commit(
    call: Call, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, db: str
) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    monkeypatch.chdir(tmp_path)
    with Tracker(db, track_id="r") as tracker:
        tracker.log({"loss": 1.0})
    (writer,) = json.loads(call("show", db, "r", "--json").stdout)["provenance"]
    assert writer["commit"] == git(tmp_path, "rev-parse", "HEAD") and writer["branch"] == "main"


def test_assets_of_the_run_are_listed(call: Call, db: str) -> None:
    with Tracker(db, track_id="r") as tracker:
        digest = tracker.log({"weights": Fraction(1, 3)})["weights"]
    with Tracker(db, track_id="other") as tracker:
        tracker.log({"weights": Fraction(2, 3)})
    (asset,) = json.loads(call("show", db, "r", "--json").stdout)["assets"]
    assert (asset["column"], asset["hash"], asset["keys"]) == ("weights", digest, ["weights"])


def test_table_and_rows_say_the_same(call: Call, store: str) -> None:
    text = call("show", store, "calm-otter-1").stdout
    assert text.startswith("calm-otter-1: finished, 3 rows in table default\n")
    assert all(f"\n{title}\n" in text for title in ("Parameters", "Metrics", "Other columns", "Provenance"))
    rows = list(csv.DictReader(io.StringIO(call("show", store, "calm-otter-1", "--csv").stdout)))
    assert {"part": "parameter", "name": "model", "value": "resnet"}.items() <= rows[7].items()
    only = call("show", store, "calm-otter-1", "--where=part = 'metric'", "--columns=name,max", "--csv")
    assert only.stdout == "name,max\nepoch,2\nloss,1.0\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_that_are_none_are_left_out_of_the_figures(call: Call, db: str, engine: str) -> None:
    with Tracker(db, track_id="r") as tracker:
        for value in (1.0, math.nan, math.inf, 3.0):
            tracker.log({"loss": value, "gone": math.nan if value == 1.0 else math.inf})
    shown = json.loads(call("show", db, "r", f"--engine={engine}", "--json").stdout)
    assert (shown["metrics"]["loss"]["last"], shown["metrics"]["loss"]["max"]) == (3.0, 3.0)


def test_absent_run_exits_3_and_names_the_near_one(call: Call, store: str) -> None:
    result = call("show", store, "calm-oter-1")
    assert (result.exit_code, result.stdout) == (3, "") and "calm-otter-1" in result.stderr
    assert call("show", "absent.db", "r").exit_code == 3
    assert call("show", store, "calm-otter-1", "--table=metric").exit_code == 3


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([5], "▁"), ([0, 7], "▁█"), ([2, 2, 2], "▁▁▁"), ([10**400, 1], ""), (list(range(8)), "▁▂▃▄▅▆▇█")],
)
def test_sparkline(values: list[int], line: str) -> None:
    assert sparkline(values) == line


def test_long_sparkline_is_cut_to_its_width() -> None:
    line = sparkline(list(range(1000)), 10)
    assert len(line) == 10 and line == "".join(sorted(line))
