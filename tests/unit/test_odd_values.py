"""What stands in a row for values that trackers stumble over, logged and as arguments of a tracked call."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from xetrack.errors import UsageError
from xetrack.track.tracker import Tracker


class Hostile:
    """Raises wherever Python asks it something, and can be pickled all the same."""

    def __init__(self) -> None:
        self.kept = 7

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __bool__(self) -> bool:
        raise RuntimeError("bool")

    def __len__(self) -> int:
        raise RuntimeError("len")


@pytest.fixture(params=["jsonl", "msgpack"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    return Tracker(str(tmp_path / "track.db"), events=request.param)


def test_hostile_object_is_an_asset_and_comes_back(tracker: Tracker) -> None:
    shown = tracker.log({"x": Hostile(), "n": 1})
    assert len(shown["x"]) == 16
    assert tracker.get(shown["x"]).kept == 7
    assert tracker.track(lambda value: {"out": value}, args=[Hostile()])["out"].kept == 7
    assert len(tracker.latest["out"]) == 16
    assert "Hostile" in tracker.latest["args"][0] and tracker.latest["error"] == ""


def test_object_that_cannot_be_pickled_is_refused_by_log_and_text_in_a_call(tracker: Tracker) -> None:
    unpicklable = (number for number in range(3))
    with pytest.raises(UsageError, match="cannot be stored"):
        tracker.log({"x": unpicklable})
    assert len(tracker) == 0
    assert tracker.track(lambda: {"out": unpicklable, "n": 1})["out"] is unpicklable
    assert "generator" in tracker.latest["function_result"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(-3), -3),
        (np.bool_(True), True),
        (np.array(2.5), 2.5),
        (np.datetime64("2026-01-02T03:04:05"), dt.datetime(2026, 1, 2, 3, 4, 5)),
        (pd.Timestamp("2026-01-02 03:04:05.000006"), dt.datetime(2026, 1, 2, 3, 4, 5, 6)),
        (pd.Timedelta("1.5s"), dt.timedelta(seconds=1.5)),
        (pd.NA, None),
        (pd.NaT, None),
        ("x" * 3_000_000, "x" * 3_000_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_scalar_is_logged_as_the_python_value(tracker: Tracker, given: Any, expected: Any) -> None:
    assert tracker.log({"x": given})["x"] == expected
    assert type(tracker.latest["x"]) is type(expected)
    assert len(tracker) == 1


def test_dict_with_keys_that_are_no_text_keeps_them_in_the_log_and_is_json_in_the_table(tracker: Tracker) -> None:
    given = {"cfg": {1: "a", (2, 3): {None: 0.5}}}
    assert tracker.log(given)["cfg"] == given["cfg"]
    assert tracker["cfg"].tolist() == ['{"1": "a", "[2, 3]": {"null": 0.5}}']


def test_keys_of_a_row_that_are_no_text_become_text(tracker: Tracker) -> None:
    assert tracker.log({1: "a", 2.5: "b"})["1"] == "a"
    with pytest.raises(UsageError):
        tracker.log({(1, 2): "a"})
    assert len(tracker) == 1


def test_torch_scalar_is_a_number(tracker: Tracker) -> None:
    torch = pytest.importorskip("torch")
    row = tracker.log({"loss": torch.tensor(0.5), "n": torch.tensor(3), "ok": torch.tensor(True)})
    assert (row["loss"], row["n"], row["ok"]) == (0.5, 3, True)
    assert tracker.dtypes["loss"] is float


class Lying:
    """Answers no question at all."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_result_that_answers_no_question_reaches_the_caller_and_is_text(tracker: Tracker) -> None:
    given = Lying()
    for result in ({"x": given, "n": 1}, {given: 1}, given):
        returned = tracker.track(lambda result=result: result)
        assert returned is result
    assert tracker.count_all() == 3
    assert "Lying" in str(tracker.latest["function_result"])


def test_params_that_would_take_an_automatic_column_are_refused_before_the_call(tracker: Tracker) -> None:
    ran: list[int] = []
    with pytest.raises(UsageError, match="function_name"):
        tracker.track(ran.append, args=[1], params={"function name": 1})
    assert ran == []
