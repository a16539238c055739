"""`xt diff`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.unit.test_past import events
from xetrack import Reader, Tracker, copy


@pytest.fixture
def other(store: str, tmp_path: Path) -> str:
    """The store, with one more row and one cell changed."""
    path = str(tmp_path / "other.db")
    copy(store, path, tables="all")
    Reader(path).set_where("note", "4", "note", "first | try\nsecond line")
    with Tracker(path, track_id="new-run-3") as tracker:
        tracker.log({"epoch": 0})
    return path


def test_json_has_the_counts_and_the_cells(call: Call, store: str, other: str) -> None:
    result = call("diff", store, other, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "rows_added": 1,
        "rows_removed": 0,
        "cells_changed": [
            {
                "track_id": "bold-lynx-2",
                "row": events(store)[3].id,
                "column": "note",
                "a": "first | try\nsecond line",
                "b": "4",
            }
        ],
    }
    assert json.loads(call("diff", other, store, "--format=json").stdout)["rows_removed"] == 1


def test_table_says_the_counts_and_lists_the_cells(call: Call, store: str, other: str) -> None:
    lines = call("diff", store, other).stdout.splitlines()
    assert lines[0] == "1 row added, 0 rows removed, 1 cell changed"
    assert lines[1].split() == ["track_id", "row", "column", "a", "b"]
    assert lines[2].startswith("bold-lynx-2")
    assert call("diff", store, store).stdout == "0 rows added, 0 rows removed, 0 cells changed\n"


def test_markdown_is_fit_for_a_pull_request(call: Call, store: str, other: str) -> None:
    result = call("diff", store, other, "--format", "markdown")
    assert result.stdout == call("diff", store, other, "--md").stdout
    assert result.stdout.splitlines()[:4] == [
        "**1 row added, 0 rows removed, 1 cell changed**",
        "",
        "| track_id | row | column | a | b |",
        "| --- | --- | --- | --- | --- |",
    ]
    assert r"first \| try" in result.stdout


def test_lines_are_the_cells_alone(call: Call, store: str, other: str) -> None:
    assert json.loads(call("diff", store, other, "--format=jsonl").stdout)["b"] == "4"
    assert call("diff", store, other, "--format=csv").stdout.startswith("track_id,row,column,a,b\nbold-lynx-2,")


def test_exit_code_tells_whether_they_differ_where_it_is_asked_for(call: Call, store: str, other: str) -> None:
    assert call("diff", store, other).exit_code == 0
    assert call("diff", store, other, "--exit-code").exit_code == 1
    assert call("diff", store, store, "--exit-code").exit_code == 0


def test_keys_may_be_repeated_or_listed(call: Call, store: str, other: str) -> None:
    for keys in (["--key", "model", "--key", "epoch"], ["--key", "model,epoch"]):
        found = json.loads(call("diff", store, other, *keys, "--json").stdout)
        assert (found["rows_added"], found["rows_removed"], len(found["cells_changed"])) == (1, 0, 1)
    assert call("diff", store, other, "--key", "modle").exit_code == 3


def test_moments_of_one_store_are_compared(call: Call, store: str) -> None:
    found = json.loads(call("diff", f"{store}@{events(store)[1].id}", store, "--json").stdout)
    assert (found["rows_added"], found["cells_changed"]) == (2, [])
    assert json.loads(call("diff", f"{store}@-1h", store, "--table=metrics", "--json").stdout)["rows_added"] == 1


def test_values_that_look_alike_are_told_apart(call: Call, store: str) -> None:
    before = events(store)[3].id
    Reader(store).set_value("epoch", "0", track_id="bold-lynx-2")
    assert call("diff", f"{store}@{before}", store).stdout.splitlines()[-1].endswith('0  "0"')


def test_side_that_is_not_there_exits_3(call: Call, store: str) -> None:
    assert call("diff", store, f"{store}x").exit_code == 3
    assert call("diff", store, f"{store}@yesterday").exit_code == 2
    assert call("diff", store, store, "--table=metric").exit_code == 3
