"""Tracked functions: what a call looks like as a row."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import functools
import gc
import inspect
import logging
import threading
import time
import types
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from unittest import mock

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import v1

from tests.conftest import ROOT
from xetrack.errors import UsageError
from xetrack.track.functions import AUTOMATIC, MAX_FIELDS, as_text, track_call
from xetrack.track.sampling import NETWORK_COLUMNS, SYSTEM_COLUMNS
from xetrack.track.tracker import Tracker


@dataclass(frozen=True)
class Optimizer:
    name: str = "adam"
    lr: float = 0.1


@dataclass
class Config:
    epochs: int
    optimizer: Optimizer = field(default_factory=Optimizer)
    itself: Any = None


class Model(pydantic.BaseModel):
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


# the room itself: rows go to a list


def calls(func: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    """What a tracked call gives, and its one row."""
    rows: list[dict[str, Any]] = []
    result = track_call(func, args, kwargs, rows.append)
    (row,) = rows
    return result, row


def test_row_of_a_call_has_these_columns_and_no_others() -> None:
    def train(x: int, y: int = 2) -> None:
        pass

    assert calls(train, 1, y=3) == (
        None,
        {
            "function_name": "train",
            "args": [1],
            "kwargs": {"y": 3},
            "error": "",
            "function_time": mock.ANY,
            "function_result": None,
        },
    )


@pytest.mark.parametrize("result", [1, 0.5, "text", "x" * 10_000, True, b"bytes", 2**70, datetime(2026, 1, 2)])
def test_primitive_result_stays_what_it_is(result: Any) -> None:
    returned, row = calls(lambda: result)
    assert returned is result
    assert row["function_result"] == result and type(row["function_result"]) is type(result)


@pytest.mark.parametrize(
    ("result", "text"), [([1, "a"], "[1, 'a']"), ((1,), "(1,)"), ({1}, "{1}"), (Optimizer(), str(Optimizer()))]
)
def test_other_result_is_its_text(result: Any, text: str) -> None:
    assert calls(lambda: result)[1]["function_result"] == text


def test_result_takes_no_automatic_column_and_the_warning_names_each(caplog: pytest.LogCaptureFixture) -> None:
    result = {name: "mine" for name in AUTOMATIC} | {"x": 1}
    _, row = calls(lambda: result)
    assert row["x"] == 1 and row["args"] == [] and "mine" not in row.values()
    assert all(any(repr(name) in message for message in caplog.messages) for name in AUTOMATIC)
    caplog.clear()
    track_call(lambda: result, (), {}, lambda row: None, warn=False)
    assert caplog.messages == []


def test_result_may_name_columns_that_this_call_does_not_fill_in() -> None:
    assert calls(lambda: {"cache": "mine", "function_items": "mine"})[1]["cache"] == "mine"


class Rude(enum.Enum):
    ERROR = "error"


def test_result_with_keys_that_are_not_text_is_left_to_the_log() -> None:
    row: dict[Any, Any] = calls(lambda: {1: 2, Rude.ERROR: 3})[1]
    assert (row[1], row[Rude.ERROR], row["error"]) == (2, 3, "")


class Unfriendly:
    """Can be a key, until it must not be hashed any more."""

    friendly = True

    def __hash__(self) -> int:
        if not self.friendly:
            raise RuntimeError("hash")
        return 1


def test_result_dict_that_cannot_be_read_is_text(caplog: pytest.LogCaptureFixture) -> None:
    key = Unfriendly()
    result: dict[Any, Any] = {"x": 1, key: 1}
    key.friendly = False

    class Broken(dict[str, int]):
        def items(self) -> Any:
            raise OSError("no")

    for unreadable in (result, Broken(x=1)):
        returned, row = calls(lambda unreadable=unreadable: unreadable)
        assert returned is unreadable
        assert row["function_result"].startswith("{'x': 1") and row["error"] == ""
        assert "x" not in row
    assert caplog.text.count("is logged as text") == 2


def test_tracker_warns_once_of_what_every_call_does(tracker: Tracker, caplog: pytest.LogCaptureFixture) -> None:
    class Key(str):
        def __repr__(self) -> str:
            raise RuntimeError("repr")

        __str__ = __repr__

    for _ in range(3):
        tracker.track(lambda: {"function_name": 1})
        tracker.track(lambda: {"": 1})
        tracker.track(lambda: {"args": 1})
        tracker.track(lambda: {Key("kwargs"): 1})
    assert len(caplog.records) == 4
    assert "function_result" not in tracker.latest and tracker.latest["kwargs"] == {}
    Tracker(":memory:").track(lambda: {"args": 1})
    assert len(caplog.records) == 5


def test_arguments_may_be_any_sequence(tracker: Tracker) -> None:
    import numpy as np

    array: Any = np.array([1, 3, 2])
    assert tracker.track(max, args=array) == 3
    assert tracker.track(sorted, args=[range(3)], kwargs=types.MappingProxyType({"reverse": True})) == [2, 1, 0]
    assert tracker.track(max, args=range(3)) == 2
    assert tracker.latest["args"] == [0, 1, 2]


# arguments


def names_of(row: dict[str, Any]) -> set[str]:
    return row.keys() - AUTOMATIC - {"function_result"}


class OldModel(v1.BaseModel):
    depth: int = 1
    optimizer: Optimizer = Optimizer()


FIELDS = [
    (Optimizer(), {"name", "lr"}),
    (Config(1), {"epochs", "optimizer_name", "optimizer_lr", "itself"}),
    (Model(depth=2, optimizer=Optimizer()), {"depth", "optimizer_name", "optimizer_lr"}),
    (OldModel(), {"depth", "optimizer_name", "optimizer_lr"}),
    (Config(1, itself=Model(depth=2, optimizer=Optimizer())), None),
    (Config(1, itself=OldModel()), None),
]


@pytest.mark.parametrize(("value", "fields"), FIELDS, ids=lambda value: type(value).__name__)
def test_fields_of_an_argument_are_columns_however_it_is_passed(value: Any, fields: set[str] | None) -> None:
    if fields is None:
        inner = {"depth", "optimizer_name", "optimizer_lr"}
        fields = {"epochs", "optimizer_name", "optimizer_lr", *(f"itself_{name}" for name in inner)}

    def plain(a: int, config: Any = None) -> None: ...
    def defaulted(a: int, config: Any = value) -> None: ...
    def keyword(a: int, *, config: Any = value) -> None: ...
    def positional(a: int, config: Any, /) -> None: ...
    def variable(a: int, *rest: Any, **config: Any) -> None: ...

    expected = {f"config_{name}" for name in fields}
    for func, args, kwargs in [
        (plain, (1, value), {}),
        (plain, (1,), {"config": value}),
        (defaulted, (1,), {}),
        (keyword, (1,), {}),
        (keyword, (1,), {"config": value}),
        (positional, (1, value), {}),
        (variable, (1,), {"config": value}),
        (functools.partial(plain, 1), (value,), {}),
        (functools.partial(plain, 1, value), (), {}),
        (functools.partial(plain, config=value), (1,), {}),
        (functools.wraps(plain)(lambda *args, **kwargs: None), (1, value), {}),
        (functools.lru_cache(defaulted), (1,), {}),
        (mock.create_autospec(plain), (1, value), {}),
    ]:
        _, row = calls(func, *args, **kwargs)
        assert names_of(row) == expected, func
        assert all(isinstance(row[name], (int, float, str, type(None))) for name in expected)
    _, row = calls(variable, 1, 2, value)
    assert names_of(row) == {f"rest_1_{name}" for name in fields}


def test_fields_of_arguments_of_methods_classes_and_objects_are_columns() -> None:
    @dataclass
    class Net:
        config: Optimizer

        def fit(self, config: Optimizer = Optimizer()) -> None: ...

        @classmethod
        def make(cls, config: Optimizer) -> None: ...

        @staticmethod
        def check(config: Optimizer) -> None: ...

        def __call__(self, config: Optimizer = Optimizer()) -> None: ...

    net, config = Net(Optimizer()), Optimizer()
    fit: Any = Net.fit
    cases: list[tuple[Any, tuple[Any, ...]]] = [(net.fit, ()), (net, ()), (fit, (net,)), (fit, (net, config))]
    cases += [(func, (config,)) for func in (net.fit, net, Net, Net.make, Net.check, Net.__dict__["check"])]
    for func, args in cases:
        _, row = calls(func, *args)
        assert names_of(row) == {"config_name", "config_lr"}, func
        assert len(row["args"]) == (config in args)


def test_plain_arguments_are_in_args_and_kwargs_alone() -> None:
    def train(lr: float, epochs: int, *rest: int, seed: int = 0) -> None: ...

    _, row = calls(train, 0.1, 3, 4, seed=5)
    assert names_of(row) == set()
    assert (row["args"], row["kwargs"]) == ([0.1, 3, 4], {"seed": 5})


def test_field_whose_column_is_taken_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    @dataclass
    class Field:
        name: str = "mine"
        b_c: int = 1

    @dataclass
    class Other:
        c: int = 2

    @dataclass
    class Named:
        id: int = 3

    _, row = calls(lambda function, a, a_b, track: None, Field(), Field(), Other(), Named())
    assert row["function_name"] == "<lambda>" and row["a_b_c"] == 1 and "track_id" not in row
    for name in ("function_name", "a_b_c", "track_id"):
        assert f"'{name}' is left out" in caplog.text


def test_fields_past_a_thousand_or_with_names_too_long_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    wide = dataclasses.make_dataclass("Wide", [(f"field_{number}", int, number) for number in range(600)])
    _, row = calls(lambda *rest: None, wide(), wide())
    assert len(names_of(row)) == MAX_FIELDS and "more than 1000 fields" in caplog.text
    long = dataclasses.make_dataclass("Long", [("x" * 300, int, 1), ("y", int, 2)])
    _, row = calls(lambda config: None, long())
    assert names_of(row) == {"config_y"} and "too long" in caplog.text


def test_long_texts_and_lists_are_cut_at_the_limit() -> None:
    rows: list[dict[str, Any]] = []
    args = ["x" * 3_000_000, list(range(30))]
    track_call(lambda *args, **kwargs: {1, "y" * 40}, args, {"a": "z" * 40}, rows.append, text_limit=20)
    assert rows[0]["args"] == ["x" * 20 + "…[3000000 characters]", [*range(18), "…[30 items]"]]
    assert rows[0]["kwargs"] == {"a": "z" * 20 + "…[40 characters]"}
    assert len(rows[0]["function_result"]) < 50 and "…" in rows[0]["function_result"]


# calls that are hard to describe


class Raises:
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __get__(self, instance: Any, owner: Any) -> Any:
        raise self.error("no")


def odd_callables() -> Iterator[Any]:
    def plain(*args: Any, **kwargs: Any) -> str:
        return "done"

    for signature in (inspect.Signature(), "nonsense", None, 5):
        func = functools.partial(plain)
        func.__signature__ = signature  # type: ignore[attr-defined]
        yield func
        lying = functools.wraps(plain)(lambda *args, **kwargs: "done")
        lying.__signature__ = signature  # type: ignore[attr-defined]
        yield lying
    circle = functools.wraps(plain)(lambda *args, **kwargs: "done")
    circle.__wrapped__ = circle
    yield circle

    class Weird(BaseException):
        pass

    for error in (RuntimeError, AttributeError, RecursionError, Weird):

        class Odd:
            __signature__ = Raises(error)
            __name__ = Raises(error)
            func = Raises(error)
            failing = error

            def __call__(self, *args: Any, **kwargs: Any) -> str:
                return "done"

            def __getattr__(self, name: str) -> Any:
                raise self.failing(name)

        yield Odd()
        yield types.MethodType(Odd(), 3)
        hidden = functools.wraps(plain)(lambda *args, **kwargs: "done")
        hidden.__wrapped__ = Odd()
        yield hidden
    yield mock.MagicMock(return_value="done")


@pytest.mark.parametrize("func", list(odd_callables()), ids=lambda func: type(func).__name__)
def test_odd_callable_still_runs_and_is_logged(func: Any) -> None:
    result, row = calls(func, 1, Optimizer(), key=Optimizer())
    assert result == "done" == row["function_result"]
    assert isinstance(row["function_name"], str) and row["error"] == ""
    assert row["args"] == [1, repr(Optimizer())]
    assert {name.rpartition("_")[2] for name in names_of(row)} == {"name", "lr"} and len(names_of(row)) == 4


def test_odd_arguments_do_not_hinder_the_call() -> None:
    class Odd:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __repr__(self) -> str:
            raise RuntimeError("repr")

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("eq")

        def __hash__(self) -> int:
            raise RuntimeError("hash")

        def __bool__(self) -> bool:
            raise RuntimeError("bool")

    odd = Odd()
    result, row = calls(lambda *args, **kwargs: args[0], odd, [odd], {"a": odd}, key=odd)
    assert result is odd
    said = "<Odd, its text raised RuntimeError>"
    assert (row["args"], row["kwargs"]) == ([said, [said], {"a": said}], {"key": said})
    assert row["function_result"] == said


def test_argument_is_described_before_the_call_and_once() -> None:
    seen: list[str] = []

    class Noisy:
        def __repr__(self) -> str:
            seen.append("described")
            return "noisy"

    calls(lambda noisy: seen.append("called"), Noisy())
    assert seen == ["described", "called"]


# errors


class Boom(Exception):
    pass


def chained() -> None:
    try:
        raise KeyError("cause")
    except KeyError as cause:
        raise Boom("it") from cause


@pytest.mark.parametrize("fails", [False, True], ids=["reported", "report fails"])
def test_exception_is_raised_as_without_tracking(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    def report(row: dict[str, Any]) -> None:
        if fails:
            raise OSError("disk")

    with pytest.raises(Boom) as plain:
        chained()
    with pytest.raises(Boom) as tracked:
        track_call(chained, (), {}, report)
    assert isinstance(tracked.value.__cause__, KeyError) and tracked.value.__context__ is tracked.value.__cause__
    assert tracked.value.__cause__.__context__ is None
    names = [entry.name for entry in tracked.traceback]
    assert names[-1] == "chained" and tracked.traceback[-1].lineno == plain.traceback[-1].lineno
    assert names[1:-1] == ["track_call"]
    assert ("disk" in caplog.text) is fails


def test_exception_object_is_the_same_and_gets_no_context() -> None:
    error = Boom("it")

    def fail() -> None:
        raise error

    def report(row: dict[str, Any]) -> None:
        try:
            raise OSError("ours")
        except OSError:
            pass

    with pytest.raises(Boom) as raised:
        track_call(fail, (), {}, report)
    assert raised.value is error and error.__context__ is None and error.__cause__ is None


@pytest.mark.parametrize("swallows", [False, True])
def test_failed_report_of_a_call_that_raises_nothing_is_raised(swallows: bool) -> None:
    def report(row: dict[str, Any]) -> None:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        track_call(chained if swallows else dict, (), {}, report, raise_on_error=False)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError("x"), "ValueError: x"),
        (ValueError(), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(3), "SystemExit: 3"),
        (StopIteration(4), "StopIteration: 4"),
        (GeneratorExit(), "GeneratorExit"),
        (ValueError("x" * 5000), "ValueError: " + "x" * 1000 + "…[5000 characters]"),
        (ValueError("\ud800"), "ValueError: \\ud800"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_error_is_logged_by_type_and_message_and_only_exceptions_are_swallowed(error: BaseException, text: str) -> None:
    def fail() -> None:
        raise error

    rows: list[dict[str, Any]] = []
    with pytest.raises(type(error)) as raised:
        track_call(fail, (), {}, rows.append)
    assert raised.value is error
    if isinstance(error, Exception):
        assert track_call(fail, (), {}, rows.append, raise_on_error=False) is None
    else:
        with pytest.raises(type(error)):
            track_call(fail, (), {}, rows.append, raise_on_error=False)
    assert [row["error"] for row in rows] == [text, text]
    assert all("function_result" not in row for row in rows)


def test_error_without_a_text_is_logged_by_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    def fail() -> None:
        raise Mute

    rows: list[dict[str, Any]] = []
    track_call(fail, (), {}, rows.append, raise_on_error=False)
    assert rows[0]["error"] == "Mute: <Mute, its text raised RuntimeError>"


def test_interrupt_before_the_function_runs_is_logged_and_raised() -> None:
    class Interrupted:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    ran: list[int] = []
    rows: list[dict[str, Any]] = []
    with pytest.raises(KeyboardInterrupt):
        track_call(ran.append, [Interrupted()], {}, rows.append)
    assert ran == []
    assert [(row["error"], row["function_time"]) for row in rows] == [("KeyboardInterrupt", 0.0)]


def test_error_leaves_nothing_that_only_the_collector_frees() -> None:
    class Payload:
        pass

    @wrapped_into_nothing
    def items(payload: Payload) -> Iterator[int]:
        yield 1
        raise Boom

    def use() -> weakref.ref[Payload]:
        payload = Payload()
        running = items(payload)
        next(running)
        running.close()
        with contextlib.suppress(Boom):
            list(items(payload))
        return weakref.ref(payload)

    gc.collect()
    gc.disable()
    try:
        assert use()() is None
    finally:
        gc.enable()


def wrapped_into_nothing(func: Any) -> Any:
    return lambda *args, **kwargs: track_call(func, args, kwargs, lambda row: None)


# coroutines and generators


def test_coroutine_is_timed_and_its_error_logged_while_it_is_awaited() -> None:
    rows: list[dict[str, Any]] = []

    async def fetch(x: int) -> dict[str, int]:
        await asyncio.sleep(0)
        if x < 0:
            raise Boom("negative")
        return {"y": x}

    async def main() -> None:
        waiting = track_call(fetch, [1], {}, rows.append)
        assert inspect.iscoroutine(waiting) and rows == []
        assert await waiting == {"y": 1}
        with pytest.raises(Boom):
            await track_call(fetch, [-1], {}, rows.append)
        assert await track_call(fetch, [-1], {}, rows.append, raise_on_error=False) is None

    asyncio.run(main())
    assert [(row["args"], row.get("y"), row["error"]) for row in rows] == [
        ([1], 1, ""),
        ([-1], None, "Boom: negative"),
        ([-1], None, "Boom: negative"),
    ]


def test_cancelled_coroutine_is_logged_and_stays_cancelled() -> None:
    rows: list[dict[str, Any]] = []

    async def wait() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        for steps in (0, 1):
            task = asyncio.ensure_future(track_call(wait, (), {}, rows.append, raise_on_error=False))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert [row["error"] for row in rows] == ["CancelledError"]  # the first one never ran


def test_coroutines_at_once_have_rows_of_their_own() -> None:
    rows: list[dict[str, Any]] = []

    async def twice(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    async def main() -> Any:
        return await asyncio.gather(*(track_call(twice, [x], {}, rows.append) for x in range(50)))

    assert asyncio.run(main()) == [2 * x for x in range(50)]
    assert sorted((row["args"][0], row["function_result"]) for row in rows) == [(x, 2 * x) for x in range(50)]


def test_async_partial_method_and_object_are_awaited() -> None:
    class Client:
        async def fetch(self, x: int) -> int:
            return x

        async def __call__(self, x: int) -> int:
            return x

    rows: list[dict[str, Any]] = []

    async def main() -> None:
        for func in (Client().fetch, Client(), functools.partial(Client().fetch), functools.partial(Client())):
            assert await track_call(func, [3], {}, rows.append) == 3

    asyncio.run(main())
    assert [row["function_result"] for row in rows] == [3] * 4
    assert track_call(Client, (), {}, rows.append).__class__ is Client  # its objects are async, it is not


def talk(log: list[Any]) -> Generator[Any, Any, str]:
    """A generator that shows all that is done to it."""
    sent = None
    for number in range(5):
        try:
            sent = yield (number, sent)
        except GeneratorExit:
            log.append("closed")
            raise
        except ValueError as error:
            log.append(error)
            sent = "thrown"
        if sent == "fail":
            raise Boom("asked for")
        if sent == "end":
            return "early"
    return "late"


async def talk_later(log: list[Any]) -> AsyncGenerator[Any, Any]:
    """The same, awaiting in between."""
    sent = None
    for number in range(5):
        await asyncio.sleep(0)
        try:
            sent = yield (number, sent)
        except GeneratorExit:
            await asyncio.sleep(0)
            log.append("closed")
            raise
        except ValueError as error:
            log.append(error)
            sent = "thrown"
        if sent == "fail":
            raise Boom("asked for")
        if sent == "end":
            return


ACTIONS = st.lists(
    st.sampled_from(["next", "send", "end", "fail", "throw", "throw other", "throw stop", "throw exit", "close"]),
    max_size=8,
)


def act(generator: Any, actions: list[str]) -> list[Any]:
    """What each action gives: an item, or an exception."""
    outcomes: list[Any] = []
    for action in actions:
        try:
            if action == "next":
                outcomes.append(next(generator))
            elif action == "close":
                outcomes.append(generator.close())
            elif action.startswith("throw"):
                kinds: dict[str, Any] = {"other": KeyError, "stop": StopIteration, "exit": GeneratorExit}
                outcomes.append(generator.throw(kinds.get(action.partition(" ")[2], ValueError)("thrown")))
            else:
                outcomes.append(generator.send(action))
        except BaseException as error:  # noqa: BLE001 - an outcome like another
            outcomes.append((type(error), str(error), getattr(error, "value", None), repr(error.__context__)))
    return outcomes


async def act_later(generator: Any, actions: list[str]) -> list[Any]:
    outcomes: list[Any] = []
    for action in actions:
        try:
            if action == "next":
                outcomes.append(await generator.__anext__())
            elif action == "close":
                outcomes.append(await generator.aclose())
            elif action.startswith("throw"):
                kinds: dict[str, Any] = {"other": KeyError, "stop": StopAsyncIteration, "exit": GeneratorExit}
                outcomes.append(await generator.athrow(kinds.get(action.partition(" ")[2], ValueError)("thrown")))
            else:
                outcomes.append(await generator.asend(action))
        except BaseException as error:  # noqa: BLE001 - an outcome like another
            outcomes.append((type(error), str(error), repr(error.__context__)))
    return outcomes


def shown(log: list[Any]) -> list[str]:
    return [repr(entry) for entry in log]


@given(ACTIONS)
def test_tracked_generator_behaves_like_the_original(actions: list[str]) -> None:
    plain_log: list[Any] = []
    tracked_log: list[Any] = []
    rows: list[dict[str, Any]] = []
    plain, tracked = talk(plain_log), track_call(talk, [tracked_log], {}, rows.append)
    assert inspect.isgenerator(tracked)
    outcomes = act(tracked, actions)
    assert outcomes == act(plain, actions)
    plain.close()
    tracked.close()
    assert shown(tracked_log) == shown(plain_log)
    items = [outcome for outcome in outcomes if isinstance(outcome, tuple) and isinstance(outcome[0], int)]
    assert [row["function_items"] for row in rows] == ([len(items)] if rows else [])
    assert len(rows) == (1 if "next" in actions[:1] or items else len(rows))
    if rows and "error" in rows[0] and rows[0]["error"]:
        assert any(isinstance(outcome, tuple) and isinstance(outcome[0], type) for outcome in outcomes)


@given(ACTIONS)
def test_tracked_async_generator_behaves_like_the_original(actions: list[str]) -> None:
    plain_log: list[Any] = []
    tracked_log: list[Any] = []
    rows: list[dict[str, Any]] = []

    async def main() -> None:
        plain, tracked = talk_later(plain_log), track_call(talk_later, [tracked_log], {}, rows.append)
        assert inspect.isasyncgen(tracked)
        outcomes = await act_later(tracked, actions)
        assert outcomes == await act_later(plain, actions)
        await plain.aclose()
        await tracked.aclose()
        items = [outcome for outcome in outcomes if isinstance(outcome, tuple) and isinstance(outcome[0], int)]
        assert [row["function_items"] for row in rows] == ([len(items)] if rows else [])

    asyncio.run(main())
    assert shown(tracked_log) == shown(plain_log)


def test_generator_row_has_items_result_and_error() -> None:
    rows: list[dict[str, Any]] = []

    def go(*actions: str) -> None:
        generator = track_call(talk, [[]], {}, rows.append)
        act(generator, list(actions))
        generator.close()

    assert list(track_call(talk, [[]], {}, rows.append)) == [(number, None) for number in range(5)]
    go("next", "end")
    go("next", "next")
    go("next", "fail")
    go("next", "throw other")
    go()
    assert [(row["function_items"], row.get("function_result"), row["error"]) for row in rows] == [
        (5, "late", ""),
        (1, "early", ""),
        (2, None, ""),
        (1, None, "Boom: asked for"),
        (1, None, "KeyError: 'thrown'"),
    ]
    assert all("function_result" not in row for row in rows[2:])


def test_generator_is_timed_to_its_end_with_what_the_consumer_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    rows: list[dict[str, Any]] = []
    for _ in track_call(talk, [[]], {}, rows.append):
        now[0] += 2.0
    assert rows[0]["function_time"] == 10.0


def test_generator_error_is_swallowed_if_asked_and_dict_results_are_columns() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise Boom("it")

    def ending() -> Generator[int, None, dict[str, int]]:
        yield 1
        return {"total": 1, "function_items": 7}

    rows: list[dict[str, Any]] = []
    assert list(track_call(failing, (), {}, rows.append, raise_on_error=False)) == [1]
    assert list(track_call(ending, (), {}, rows.append)) == [1]
    assert rows[0]["error"] == "Boom: it" and rows[1]["total"] == 1
    assert [row["function_items"] for row in rows] == [1, 1]


def test_async_generator_left_open_is_closed_by_the_loop_without_noise(caplog: pytest.LogCaptureFixture) -> None:
    rows: list[dict[str, Any]] = []
    log: list[Any] = []
    kept: list[Any] = []

    async def main() -> None:
        kept.append(track_call(talk_later, [log], {}, rows.append))
        async for number, _ in kept[0]:
            if number == 2:
                break

    asyncio.run(main())
    assert log == ["closed"]
    assert [(row["function_items"], row["error"]) for row in rows] == [(3, "")]
    assert caplog.messages == []


def test_what_a_plain_function_returns_is_not_touched() -> None:
    generator = talk([])
    result, row = calls(lambda: generator)
    assert result is generator and row["function_result"].startswith("<generator")
    assert "function_items" not in row
    generator.close()


# measuring


def test_measured_columns_are_in_the_row_and_belong_to_it(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def end() -> dict[str, Any]:
        seen.append("ended")
        return {"cpu_percent": 1.5}

    def begin() -> Any:
        seen.append("begun")
        return end

    def work() -> dict[str, Any]:
        seen.append("run")
        return {"cpu_percent": "mine", "x": 1}

    rows: list[dict[str, Any]] = []
    track_call(work, (), {}, rows.append, measure=begin)
    assert seen == ["begun", "run", "ended"]
    assert (rows[0]["cpu_percent"], rows[0]["x"]) == (1.5, 1)
    assert "'cpu_percent' is left out" in caplog.text


def test_measuring_ends_whatever_the_call_does() -> None:
    ended: list[int] = []
    rows: list[dict[str, Any]] = []

    def begin() -> Any:
        return lambda: {"sample": ended.append(1) or len(ended)}  # type: ignore[func-returns-value]

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track_call(stop, (), {}, rows.append, measure=begin)
    track_call(chained, (), {}, rows.append, measure=begin, raise_on_error=False)
    left = track_call(talk, [[]], {}, rows.append, measure=begin)
    assert len(ended) == 2
    next(left)
    left.close()
    assert [row["sample"] for row in rows] == [1, 2, 3]


def fail_to_begin() -> Any:
    raise OSError("no sensors")


@pytest.mark.parametrize("measure", [fail_to_begin, lambda: fail_to_begin, lambda: lambda: 5])
def test_measuring_that_fails_is_one_warning(measure: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows: list[dict[str, Any]] = []
    assert track_call(int, ["7"], {}, rows.append, measure=measure) == 7
    assert rows[0]["function_result"] == 7
    assert len(caplog.messages) == 1 and "measure" in caplog.text
    caplog.clear()
    track_call(int, ["7"], {}, rows.append, measure=measure, warn=False)
    assert caplog.messages == []


# caching


class Stored:
    """Results by nothing but time: what was kept last is found."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def find(self) -> tuple[Any, str] | None:
        return (self.kept[-1], "run-1") if self.kept else None

    def keep(self, result: Any) -> None:
        self.kept.append(result)


def test_hit_is_the_row_of_the_miss_without_running() -> None:
    ran: list[int] = []
    rows: list[dict[str, Any]] = []
    cached = Stored()

    def train(config: Optimizer, *, extra: Any = Optimizer()) -> dict[str, Any]:
        ran.append(1)
        return {"score": 0.5, "error": "mine"}

    for _ in range(2):
        result = track_call(train, [Optimizer()], {}, rows.append, cached=cached, measure=lambda: lambda: {"cpu": 1.0})
        assert result == {"score": 0.5, "error": "mine"}
    miss, hit = rows
    assert ran == [1] and cached.kept == [result]
    assert (miss.pop("cache"), hit.pop("cache")) == ("", "run-1")
    assert miss.pop("function_time") > 0 and hit.pop("function_time") == 0.0
    assert miss.pop("cpu") == 1.0
    assert miss == hit and hit["config_lr"] == hit["extra_lr"] == 0.1


def test_column_of_the_cache_is_there_only_with_a_cache() -> None:
    rows: list[dict[str, Any]] = []
    track_call(lambda: {"cache": "mine"}, (), {}, rows.append)
    track_call(lambda: {"cache": "mine"}, (), {}, rows.append, cached=Stored())
    track_call(lambda: 1, (), {}, rows.append)
    assert [row.get("cache") for row in rows] == ["mine", "", None]


def test_errors_and_what_is_used_up_once_are_not_kept() -> None:
    async def fetch() -> int:
        return 1

    rows: list[dict[str, Any]] = []
    cached = Stored()
    with pytest.raises(Boom):
        track_call(chained, (), {}, rows.append, cached=cached)
    track_call(chained, (), {}, rows.append, cached=cached, raise_on_error=False)
    made = track_call(lambda: talk([]), (), {}, rows.append, cached=cached)
    assert next(made) == (0, None)
    waiting = track_call(lambda: fetch(), (), {}, rows.append, cached=cached)
    waiting.close()
    assert cached.kept == [] and [row["cache"] for row in rows] == [""] * 4


def test_none_is_a_result_to_keep_and_find() -> None:
    ran: list[int] = []
    cached = Stored()
    for _ in range(2):
        assert track_call(ran.append, [1], {}, lambda row: None, cached=cached) is None
    assert ran == [1]


def test_awaited_result_is_kept_and_found() -> None:
    ran: list[int] = []
    rows: list[dict[str, Any]] = []
    cached = Stored()

    async def fetch(x: int) -> int:
        ran.append(x)
        return x + 1

    for _ in range(2):
        assert asyncio.run(track_call(fetch, [1], {}, rows.append, cached=cached)) == 2
    assert ran == [1] and cached.kept == [2]
    assert [(row["cache"], row["function_result"]) for row in rows] == [("", 2), ("run-1", 2)]
    assert rows[1]["function_time"] == 0.0


def test_generators_are_never_cached() -> None:
    rows: list[dict[str, Any]] = []
    cached = Stored()
    cached.keep("old")

    async def main() -> list[Any]:
        return [item async for item in track_call(talk_later, [[]], {}, rows.append, cached=cached)]

    assert len(list(track_call(talk, [[]], {}, rows.append, cached=cached))) == len(asyncio.run(main())) == 5
    assert [(row["cache"], row["function_items"]) for row in rows] == [("", 5), ("", 5)]
    assert cached.kept == ["old"]


class Broken(Stored):
    def find(self) -> tuple[Any, str] | None:
        raise OSError("find")

    def keep(self, result: Any) -> None:
        raise OSError("keep")


def test_cache_that_fails_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    rows: list[dict[str, Any]] = []
    assert track_call(int, ["7"], {}, rows.append, cached=Broken()) == 7
    assert (rows[0]["cache"], rows[0]["function_result"]) == ("", 7)
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "could not find a stored result: OSError: find",
        "could not store its result: OSError: keep",
    ]


def test_result_is_kept_only_if_its_row_was_reported() -> None:
    def report(row: dict[str, Any]) -> None:
        raise OSError("disk")

    cached = Stored()
    with pytest.raises(OSError, match="disk"):
        track_call(int, ["7"], {}, report, cached=cached)
    assert cached.kept == []


# the row as text


def test_as_text_keeps_what_the_call_filled_in_and_puts_the_rest_into_text() -> None:
    row = {name: "auto" for name in AUTOMATIC} | {"cache": "", "function_items": 3, "a b": 1, "a_b": object}
    text = as_text(row)
    assert text.keys() == AUTOMATIC | {"cache", "function_items", "function_result"}
    assert text["function_result"].startswith("{'a b': 1, 'a_b': <class 'object'>")
    assert as_text({"cache": object(), "x": object()}).keys() == {"function_result"}


def test_page_about_calls_names_every_column() -> None:
    page = (ROOT / "docs" / "calls.md").read_text(encoding="utf-8")
    own = {"track_id", "timestamp"}
    gpu = {"gpu_percent", "gpu_memory_percent"}
    for name in (AUTOMATIC - own) | gpu | {*SYSTEM_COLUMNS, *NETWORK_COLUMNS, "function_items", "function_result"}:
        assert f"`{name}`" in page, name
