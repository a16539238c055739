"""`xt set`."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.cli.conftest import Call
from xetrack import Reader
from xetrack.cli.change import typed_as, typed_by_look


def _values(db: str, column: str) -> list[Any]:
    frame = Reader(db).to_df()
    return [None if value is None or value != value else value for value in frame[column].tolist()]


def test_whole_table_is_set_and_the_rows_are_counted(call: Call, store: str) -> None:
    result = call("set", store, "score", "0.5")
    assert (result.exit_code, result.stdout) == (0, "4 rows changed\n")
    assert _values(store, "score") == [0.5] * 4


def test_one_run_is_set(call: Call, store: str) -> None:
    result = call("set", store, "score", "-0.5", "--track-id=bold-lynx-2", "--json")
    assert json.loads(result.stdout) == {"rows_changed": 1}
    assert _values(store, "score") == [None, None, None, -0.5]


def test_condition_chooses_the_rows(call: Call, store: str) -> None:
    result = call("set", store, "label", "good", "--where-key=epoch", "--where-value=0")
    assert result.stdout == "2 rows changed\n"
    assert _values(store, "label") == ["good", None, None, "good"]


def test_condition_and_run_both_apply(call: Call, store: str) -> None:
    args = ("label", "good", "--where-key=epoch", "--where-value=0", "--track-id=bold-lynx-2")
    assert call("set", store, *args).stdout == "1 row changed\n"


def test_condition_that_matches_nothing_changes_nothing(call: Call, store: str) -> None:
    result = call("set", store, "loss", "0", "--where-key=epoch", "--where-value=99")
    assert (result.exit_code, result.stdout) == (0, "0 rows changed\n")


@pytest.mark.parametrize("where", ["1=1 or model", 'epoch" OR "1"="1'])
def test_condition_on_a_column_that_is_not_there_changes_nothing(call: Call, store: str, where: str) -> None:
    before = _values(store, "loss")
    result = call("set", store, "loss", "0", f"--where-key={where}", "--where-value=1")
    assert result.exit_code in (2, 3) or result.stdout == "0 rows changed\n"
    assert _values(store, "loss") == before


def test_half_a_condition_is_wrong_usage(call: Call, store: str) -> None:
    assert call("set", store, "loss", "0", "--where-key=epoch").exit_code == 2


def test_value_takes_the_type_of_its_column(call: Call, store: str) -> None:
    call("set", store, "model", "5")
    call("set", store, "loss", "5")
    assert _values(store, "model") == ["5"] * 4
    assert Reader(store).dtypes["loss"] is float


def test_type_option_decides(call: Call, store: str) -> None:
    call("set", store, "build", "5", "--type=str")
    assert _values(store, "build") == ["5"] * 4
    call("set", store, "model", "x", "--type=null")
    assert _values(store, "model") == [None] * 4


def test_value_that_is_not_of_the_type_is_wrong_usage(call: Call, store: str) -> None:
    result = call("set", store, "build", "five", "--type=int")
    assert result.exit_code == 2
    assert "build" not in Reader(store).columns


def test_absent_run_exits_3(call: Call, store: str) -> None:
    result = call("set", store, "loss", "0", "--track-id=nope")
    assert result.exit_code == 3


@pytest.mark.parametrize("key", ["track_id", "timestamp", ""])
def test_key_of_the_store_is_wrong_usage(call: Call, store: str, key: str) -> None:
    assert call("set", store, key, "x").exit_code == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("0.5", 0.5),
        ("-.5", -0.5),
        ("1e3", 1000.0),
        ("1.", 1.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("007", "007"),
        ("1_000", "1_000"),
        ("", ""),
        ("e5", "e5"),
        ("1-2", "1-2"),
        ("18446744073709551616", 2**64),
        ("inf", math.inf),
    ],
)
def test_value_is_typed_by_its_look(text: str, value: Any) -> None:
    typed = typed_by_look(text)
    assert typed == value
    assert type(typed) is type(value)


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("5", float, 5.0),
        ("0.5", int, 0.5),
        ("1", bool, True),
        ("two", int, "two"),
        ("null", float, None),
        ("null", str, "null"),
    ],
)
def test_value_follows_its_column_where_it_fits(text: str, column: type, value: Any) -> None:
    typed = typed_as(text, column)
    assert typed == value
    assert type(typed) is type(value)


@pytest.mark.parametrize("args", [("note", "--trackid=calm-otter-1"), ("--trackid=calm-otter-1", "5")])
def test_mistyped_option_is_no_value(call: Call, store: str, args: tuple[str, str]) -> None:
    before = Reader(store).to_df()
    result = call("set", store, *args)
    assert result.exit_code == 2 and "looks like an option" in result.stderr
    assert Reader(store).to_df().equals(before)


def test_text_that_looks_like_an_option_takes_a_type(call: Call, store: str) -> None:
    assert call("set", store, "note", "--type=str", "--", "--fast").exit_code == 0
    assert set(Reader(store).to_df()["note"]) == {"--fast"}


def test_value_that_changes_the_type_of_its_column_is_told(call: Call, store: str) -> None:
    assert call("set", store, "loss", "0.5").stderr == ""
    done = call("set", store, "loss", "0,5")
    assert done.stdout == "4 rows changed\n"
    assert "'loss' holds str now, and held float" in done.stderr
