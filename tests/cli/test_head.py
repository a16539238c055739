"""`xt head`."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.conftest import ROOT, Xt
from xetrack import Tracker


def test_first_rows_come_in_the_order_they_were_logged(call: Call, store: str) -> None:
    result = call("head", store, "--n=2", "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [(row["track_id"], row["epoch"], row["ok"]) for row in rows] == [
        ("calm-otter-1", 0, False),
        ("calm-otter-1", 1, True),
    ]


def test_one_run_is_shown_alone(call: Call, store: str) -> None:
    rows = json.loads(call("head", store, "--track-id=bold-lynx-2", "--json").stdout)
    assert [row["model"] for row in rows] == ["bert"]


def test_other_table_is_shown(call: Call, store: str) -> None:
    rows = json.loads(call("head", store, "--table=metrics", "--json").stdout)
    assert [row["accuracy"] for row in rows] == [0.9]


def test_piped_output_is_complete(xt: Xt, tmp_path: Path) -> None:
    with Tracker(tmp_path / "wide.db") as tracker:
        tracker.log({f"column_{number}": "x" * 100 for number in range(30)})
    result = xt("head", "wide.db", COLUMNS="40")
    assert result.returncode == 0
    header, line = result.stdout.splitlines()
    assert line.count("x" * 100) == 30
    assert header.split()[2:] == [f"column_{number}" for number in range(30)]


def test_control_characters_do_not_reach_the_terminal(call: Call, db: str) -> None:
    with Tracker(db) as tracker:
        tracker.log({"text": "\x1b[31mred\nnext"})
    result = call("head", db)
    assert "\x1b" not in result.stdout
    assert r"\x1b[31mred\nnext" in result.stdout


def test_json_holds_what_json_cannot(call: Call, db: str) -> None:
    with Tracker(db) as tracker:
        tracker.log({"up": float("inf"), "down": float("-inf"), "raw": b"\x00\x01", "big": 2**70, "none": None})
    (row,) = json.loads(call("head", db, "--json").stdout)
    assert (row["up"], row["down"], row["raw"], row["none"]) == ("Infinity", "-Infinity", "AAE=", None)
    assert row["big"] == 2**70


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "tsv", "markdown", "table"])
def test_every_format_has_every_row(call: Call, store: str, form: str) -> None:
    result = call("head", store, f"--format={form}")
    assert result.exit_code == 0
    epochs: dict[str, Callable[[str], list[int]]] = {
        "json": lambda text: [row["epoch"] for row in json.loads(text)],
        "jsonl": lambda text: [json.loads(line)["epoch"] for line in text.splitlines()],
        "csv": lambda text: [int(row["epoch"]) for row in csv.DictReader(io.StringIO(text))],
        "tsv": lambda text: [int(line.split("\t")[3]) for line in text.splitlines()[1:]],
        "markdown": lambda text: [int(line.split(" | ")[3]) for line in text.splitlines()[2:]],
        "table": lambda text: [int(line.split()[4]) for line in text.splitlines()[1:]],
    }
    assert epochs[form](result.stdout) == [0, 1, 2, 0]


def test_pipe_that_closes_early_is_no_error(xt: Xt, store: str) -> None:
    command = f"{sys.executable} -m xetrack head {store} --format=csv"
    # `true` never reads, so the write meets a closed pipe.
    done = subprocess.run(
        ["sh", "-c", f"{{ {command}; echo status $? >&2; }} | true"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == "status 0\n"


def test_absent_path_exits_3_names_the_near_one_and_creates_nothing(xt: Xt, store: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    result = xt("head", "trak.db")
    assert (result.returncode, result.stdout) == (3, "")
    assert "trak.db" in result.stderr and "track.db" in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_absent_table_exits_3_and_names_the_others(call: Call, store: str) -> None:
    result = call("head", store, "--table=metric")
    assert result.exit_code == 3
    assert "metrics" in result.stderr


def test_absent_run_exits_3(call: Call, store: str) -> None:
    result = call("head", store, "--track-id=calm-otter")
    assert result.exit_code == 3
    assert "calm-otter-1" in result.stderr


def test_unknown_engine_is_wrong_usage(call: Call, store: str) -> None:
    assert call("head", store, "--engine=oracle").exit_code == 2


def test_negative_count_is_wrong_usage(call: Call, store: str) -> None:
    assert call("head", store, "--n=-1").exit_code == 2


def test_debug_shows_the_traceback(xt: Xt) -> None:
    quiet, loud = xt("head", "absent.db"), xt("head", "absent.db", "--debug")
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in loud.stderr
    assert quiet.returncode == loud.returncode == 3
