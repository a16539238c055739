"""`xt ls`."""

from __future__ import annotations

import json

from tests.cli.conftest import Call


def test_columns_are_listed_a_line_each(call: Call, store: str) -> None:
    result = call("ls", store)
    assert result.exit_code == 0
    assert result.stdout.split() == ["timestamp", "track_id", "model", "epoch", "loss", "ok", "note"]


def test_values_of_a_column_are_listed_in_order(call: Call, store: str) -> None:
    assert call("ls", store, "model").stdout.split() == ["resnet", "resnet", "resnet", "bert"]


def test_unique_gives_each_value_once_in_order_of_appearance(call: Call, store: str) -> None:
    assert call("ls", store, "track_id", "--unique").stdout.split() == ["calm-otter-1", "bold-lynx-2"]


def test_json_is_an_array_of_values(call: Call, store: str) -> None:
    assert json.loads(call("ls", store, "epoch", "--json").stdout) == [0, 1, 2, 0]
    assert json.loads(call("ls", store, "note", "--unique", "--json").stdout) == [None, "first | try\nsecond line"]


def test_absent_column_exits_3_with_the_near_one(call: Call, store: str) -> None:
    result = call("ls", store, "epok")
    assert result.exit_code == 3
    assert "epoch" in result.stderr


def test_value_with_a_newline_stays_on_its_line(call: Call, store: str) -> None:
    assert len(call("ls", store, "note").stdout.splitlines()) == 4


def test_run_that_is_not_there_exits_3(call: Call, store: str) -> None:
    result = call("ls", store, "loss", "--track-id=calm-oter-1")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "calm-otter-1" in result.stderr
