"""Tracked functions: what a call looks like as a row."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from xetrack.errors import UsageError
from xetrack.track.tracker import Tracker

pydantic = pytest.importorskip("pydantic")


@dataclass(frozen=True)
class Optimizer:
    name: str = "adam"
    lr: float = 0.1


@dataclass
class Config:
    epochs: int
    optimizer: Optimizer = field(default_factory=Optimizer)
    itself: Any = None


class Model(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    depth: int
    optimizer: Optimizer


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(Tracker.IN_MEMORY, params={"experiment": "e1"})


def last(tracker: Tracker) -> dict[str, Any]:
    row = tracker[-1]
    assert row is not None
    return row


def test_call_is_one_row_with_its_result(tracker: Tracker) -> None:
    def foo(a: int, b: str) -> int:
        return a + len(b)

    assert tracker.track(foo, args=[1], kwargs={"b": "hello"}, params={"name": "foofoo"}) == 6
    row = tracker.latest
    assert (row["function_name"], row["args"], row["kwargs"], row["error"]) == ("foo", [1], {"b": "hello"}, "")
    assert (row["function_result"], row["name"], row["experiment"]) == (6, "foofoo", "e1")
    assert 0 <= row["function_time"] < 60
    assert len(tracker) == 1


def test_dict_result_becomes_columns(tracker: Tracker) -> None:
    assert tracker.track(lambda: {"accuracy": 0.9, "loss": 0.1}) == {"accuracy": 0.9, "loss": 0.1}
    assert tracker["accuracy"].tolist() == [0.9]
    assert "function_result" not in tracker.latest


def test_result_none_is_empty_and_result_that_no_cell_holds_is_text(tracker: Tracker) -> None:
    assert tracker.track(lambda: None) is None
    assert last(tracker)["function_result"] is None
    tracker.track(lambda: {1, 2})
    assert last(tracker)["function_result"] == "{1, 2}"


def test_automatic_columns_stay_and_the_result_key_is_named_once(
    tracker: Tracker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="xetrack"):
        result = tracker.track(lambda: {"function_name": "mine", "track_id": "mine", "x": 1})
    assert result["function_name"] == "mine"
    assert tracker.latest["function_name"] == "<lambda>" and tracker.latest["x"] == 1
    assert tracker.latest["track_id"] == tracker.track_id
    assert [message for message in caplog.messages if "'function_name'" in message] != []


def test_error_is_logged_with_its_type_and_raised(tracker: Tracker) -> None:
    def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        tracker.track(broken)
    assert last(tracker)["error"] == "KeyError: 'x'"
    quiet = Tracker(Tracker.IN_MEMORY, raise_on_error=False)
    assert quiet.track(broken) is None
    assert last(quiet)["error"] == "KeyError: 'x'"


def test_wrong_arguments_fail_as_without_tracking_and_are_logged(tracker: Tracker) -> None:
    with pytest.raises(TypeError):
        tracker.track(lambda a: a, args=[1, 2, 3])
    assert last(tracker)["error"].startswith("TypeError")


def test_dataclass_and_pydantic_arguments_are_unpacked_at_any_depth(tracker: Tracker) -> None:
    def train(config: Config, model: Model, *rest: Config, other: Config | None = None) -> dict[str, float]:
        return {"score": 1.0}

    tracker.track(
        train, args=[Config(3), Model(depth=2, optimizer=Optimizer("sgd")), Config(4)], kwargs={"other": Config(5)}
    )
    row = last(tracker)
    assert (row["config_epochs"], row["config_optimizer_lr"], row["config_optimizer_name"]) == (3, 0.1, "adam")
    assert (row["model_depth"], row["model_optimizer_name"]) == (2, "sgd")
    assert (row["rest_0_epochs"], row["other_epochs"], row["score"]) == (4, 5, 1.0)


def test_default_dataclass_argument_is_unpacked(tracker: Tracker) -> None:
    def train(config: Config = Config(7)) -> None:  # noqa: B008
        pass

    tracker.track(train)
    assert last(tracker)["config_epochs"] == 7


def test_dataclass_that_holds_itself_ends(tracker: Tracker) -> None:
    config = Config(1)
    config.itself = config
    tracker.track(lambda config: 1, args=[config])
    assert last(tracker)["config_epochs"] == 1


def test_argument_changed_by_the_function_is_logged_as_it_was_passed(tracker: Tracker) -> None:
    tracker.track(lambda items: items.clear(), args=[[1, 2]])
    assert tracker.latest["args"] == [[1, 2]]


def test_arguments_that_no_cell_holds_are_shown_not_stored(tracker: Tracker) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    tracker.track(lambda *things: 1, args=[object(), Odd(), "\ud800", {(1, 2): object()}])
    assert "<object object" in tracker.latest["args"][0]
    assert tracker._store.log.assets.digests() == [] or not list(tracker._store.log.assets.digests())


def test_wrapped_function_keeps_name_and_signature(tracker: Tracker) -> None:
    @tracker.wrap(params={"kind": "wrapped"})
    def double(x: int) -> int:
        """Twice."""
        return x * 2

    assert (double(4), double.__name__, double.__doc__) == (8, "double", "Twice.")
    assert list(inspect.signature(double).parameters) == ["x"]
    assert last(tracker)["kind"] == "wrapped"


def test_wrapped_method_gets_its_object_and_does_not_log_it(tracker: Tracker) -> None:
    class Net:
        scale = 3

        @tracker.wrap()
        def predict(self, x: int) -> int:
            return self.scale * x

    assert Net().predict(2) == 6
    assert tracker.latest["args"] == [2] and tracker.latest["function_name"] == "predict"
    assert tracker.track(Net().predict, args=[1]) == 3


def test_partial_builtin_and_callable_object_have_names(tracker: Tracker) -> None:
    class Adder:
        def __call__(self, x: int) -> int:
            return x + 1

    assert tracker.wrap()(functools.partial(int, base=2))("101") == 5
    assert last(tracker)["function_name"] == "int"
    assert tracker.track(Adder(), args=[1]) == 2
    assert last(tracker)["function_name"] == "Adder"
    assert tracker.track(max, args=[1, 2]) == 2


def test_coroutine_is_logged_when_it_ends(tracker: Tracker) -> None:
    @tracker.wrap()
    async def fetch(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    assert inspect.iscoroutinefunction(fetch)
    assert asyncio.run(fetch(1)) == 2
    assert last(tracker)["function_result"] == 2


def test_generators_are_logged_when_they_end_or_are_left(tracker: Tracker) -> None:
    @tracker.wrap()
    def count() -> Iterator[int]:
        yield 1
        yield 2

    assert list(count()) == [1, 2]
    assert (len(tracker), last(tracker)["error"]) == (1, "")
    left = count()
    assert next(left) == 1
    left.close()  # type: ignore[attr-defined]
    assert (len(tracker), last(tracker)["error"]) == (2, "")

    async def later() -> AsyncIterator[int]:
        yield 1
        raise ValueError("late")

    async def consume() -> None:
        async for _ in tracker.track(later):
            pass

    with pytest.raises(ValueError, match="late"):
        asyncio.run(consume())
    assert last(tracker)["error"] == "ValueError: late"


@pytest.mark.parametrize(
    "result",
    [{"train loss": 1, "train_loss": 2}, {"": 1}, {"s": "\ud800"}, {"lock": threading.Lock()}],
    ids=["keys alike", "empty key", "surrogate", "lock"],
)
def test_result_that_no_column_holds_is_returned_and_logged_as_text(
    tracker: Tracker, result: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert tracker.track(lambda: result) is result
    row = last(tracker)
    assert row["function_result"].startswith("{") and row["error"] == ""
    assert "is logged as text" in caplog.text


@pytest.mark.parametrize("params", [{"": 1}, {"track_id": "q"}])
def test_params_that_cannot_be_are_refused_before_the_call(tracker: Tracker, params: dict[str, Any]) -> None:
    calls: list[int] = []
    with pytest.raises(UsageError):
        tracker.track(lambda: calls.append(1), params=params)
    assert calls == [] and len(tracker) == 0
