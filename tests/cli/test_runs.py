"""`xt runs`."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime

import pytest

from tests.cli.conftest import Call
from tests.conftest import ROOT
from xetrack import Reader, Tracker

ENGINES = ["sqlite", "duckdb"]


@pytest.mark.parametrize("engine", ENGINES)
def test_one_line_a_run_with_its_last_metrics(call: Call, store: str, engine: str) -> None:
    rows = json.loads(call("runs", store, f"--engine={engine}", "--json").stdout)
    assert [(row["track_id"], row["state"], row["rows"], row["epoch"], row["loss"]) for row in rows] == [
        ("calm-otter-1", "finished", 3, 2, 1 / 3),
        ("bold-lynx-2", "finished", 1, 0, 0.5),
    ]
    columns = "track_id state started ended duration_s rows host user script commit epoch loss".split()
    assert list(rows[0]) == columns
    assert rows[0]["duration_s"] > 0 and rows[0]["host"]
    started = datetime.fromisoformat(rows[0]["started"])
    assert started.tzinfo is not None
    assert started == Reader(store).runs().started[0].to_pydatetime()


def test_run_that_is_logged_to_is_running(call: Call, db: str) -> None:
    with Tracker(db, track_id="r") as tracker:
        tracker.log({"loss": 1.0})
        (row,) = json.loads(call("runs", db, "--json").stdout)
        assert (row["state"], row["ended"]) == ("running", None)
    (row,) = json.loads(call("runs", db, "--json").stdout)
    assert row["state"] == "finished"


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_run_of_a_process_that_vanished_died(call: Call, db: str) -> None:
    code = (
        "import os, signal, sys; from xetrack import Tracker; tracker = Tracker(sys.argv[1], track_id='r'); "
        "tracker.log({'loss': 1.0}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, db], cwd=ROOT).returncode == -9
    (row,) = json.loads(call("runs", db, "--json").stdout)
    assert row["state"] == "died"


@pytest.mark.parametrize("engine", ENGINES)
def test_last_value_of_a_metric_is_of_the_last_row_that_has_it(call: Call, db: str, engine: str) -> None:
    with Tracker(db, track_id="r") as tracker:
        for row in ({"loss": 2.0}, {"loss": 1.0, "f1": 0.5}, {"f1": 0.75}, {"note": "end"}):
            tracker.log(row)
    (row,) = json.loads(call("runs", db, f"--engine={engine}", "--json").stdout)
    assert (row["loss"], row["f1"], "note" in row) == (1.0, 0.75, False)


def test_runs_of_one_row_show_their_fractions(call: Call, store: str) -> None:
    (row,) = json.loads(call("runs", store, "--table=metrics", "--json").stdout)
    assert row["accuracy"] == 0.9


def test_runs_are_chosen_and_sorted(call: Call, store: str) -> None:
    result = call("runs", store, "--sort=-loss", "--where=rows > 0", "--columns=track_id,loss", "--csv")
    assert result.stdout.splitlines() == ["track_id,loss", "bold-lynx-2,0.5", f"calm-otter-1,{1 / 3}"]


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_store_has_no_runs(call: Call, db: str, engine: str) -> None:
    Tracker(db).close()
    result = call("runs", db, f"--engine={engine}", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])


def test_absent_store_and_table_exit_3(call: Call, store: str) -> None:
    assert call("runs", "absent.db").exit_code == 3
    result = call("runs", store, "--table=metric")
    assert result.exit_code == 3 and "metrics" in result.stderr
