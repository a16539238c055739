"""`xt log`."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Call
from xetrack import Reader

COLUMNS = "event_id time kind table track_id column old new user host pid script commit".split()


def test_log_is_newest_first_with_every_column(call: Call, store: str) -> None:
    Reader(store).set_value("note", float("nan"), track_id="bold-lynx-2")
    lines = json.loads(call("log", store, "--json").stdout)
    assert list(lines[0]) == COLUMNS
    assert (lines[0]["kind"], lines[0]["new"]) == ("value.set", "NaN")
    assert lines[0]["old"] == "first | try\nsecond line"
    assert len(lines) == 1 + 3 * 4 + 5


def test_log_of_one_column_of_one_run(call: Call, store: str) -> None:
    result = call("log", store, "--track-id=calm-otter-1", "--column=epoch", "--n=2", "--columns=new", "--csv")
    assert result.stdout == "new\n2\n1\n"


@pytest.mark.parametrize("form", ["table", "jsonl", "csv", "tsv", "markdown"])
def test_log_prints_in_every_format(call: Call, store: str, form: str) -> None:
    result = call("log", store, "--format", form)
    assert (result.exit_code, "row.logged" in result.stdout) == (0, True), result.stderr


def test_log_of_a_deleted_run_is_there(call: Call, store: str) -> None:
    call("delete", store, "bold-lynx-2")
    lines = json.loads(call("log", store, "--track-id=bold-lynx-2", "--json").stdout)
    assert (lines[0]["kind"], lines[0]["column"], lines[0]["new"]) == ("run.deleted", None, None)


def test_log_of_what_is_not_there_exits_3_and_names_near_matches(call: Call, store: str) -> None:
    for option, near in (("--track-id=calm-otter", "calm-otter-1"), ("--column=epochs", "epoch")):
        result = call("log", store, option)
        assert (result.exit_code, result.stdout) == (3, "")
        assert near in result.stderr
