"""Wrapped functions: like the original to whoever looks, calls, binds, pickles or inspects them."""

from __future__ import annotations

import abc
import asyncio
import copy
import functools
import inspect
import math
import multiprocessing
import pickle
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xetrack.errors import InvalidArgument
from xetrack.track.functions import track_call
from xetrack.track.wrapping import wrapped

ROWS: list[dict[str, Any]] = []


def track(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return track_call(func, args, kwargs, ROWS.append)


def tracked(func: Any) -> Any:
    """What a tracker's decorator does."""
    return wrapped(func, track)


@pytest.fixture(autouse=True)
def no_rows() -> None:
    ROWS.clear()


@dataclass(frozen=True)
class Config:
    lr: float = 0.1


@tracked
def double(x: int, *, twice: bool = False) -> int:
    """Twice, or more."""
    return x * (4 if twice else 2)


def test_looks_are_those_of_the_original() -> None:
    def original(a: int, /, b: str = "b", *rest: float, c: Config = Config(), **more: Any) -> dict[str, int]:
        """What it does."""
        return {}

    original.note = "mine"  # type: ignore[attr-defined]
    new = tracked(original)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "note"):
        assert getattr(new, name) == getattr(original, name)
    assert inspect.signature(new) == inspect.signature(original)
    assert typing.get_type_hints(new)["return"] == dict[str, int]
    assert new.__wrapped__ is original and inspect.unwrap(new) is original
    assert inspect.getsource(new) == inspect.getsource(original)


@given(st.lists(st.integers()), st.dictionaries(st.sampled_from(["func", "track", "self", "args", "x"]), st.integers()))
def test_arguments_arrive_as_they_were_given(args: list[int], kwargs: dict[str, int]) -> None:
    ROWS.clear()
    assert tracked(lambda *args, **kwargs: (args, kwargs))(*args, **kwargs) == (tuple(args), kwargs)
    assert (ROWS[0]["args"], ROWS[0]["kwargs"]) == (args, kwargs)


def test_wrong_arguments_and_errors_are_raised_as_they_are() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        double()
    error = KeyError("x")

    @tracked
    def fail() -> None:
        raise error

    with pytest.raises(KeyError) as raised:
        fail()
    assert raised.value is error
    assert [row["error"] for row in ROWS[1:]] == ["KeyError: 'x'"]


# kinds


async def fetch(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


def count(stop: int) -> Generator[int, str, str]:
    yield from range(stop)
    return "done"


async def count_later(stop: int) -> AsyncGenerator[int, str]:
    for number in range(stop):
        yield number


KINDS = [inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction]


@pytest.mark.parametrize("func", [double.__wrapped__, fetch, count, count_later, len, Config])
def test_kind_is_that_of_the_original(func: Any) -> None:
    class Called:
        def __call__(self, x: int) -> int:
            return x

    class Awaited:
        async def __call__(self, x: int) -> int:
            return x

    class Counted:
        def __call__(self, x: int) -> Iterator[int]:
            yield x

    kinds = [kind(func) for kind in KINDS]
    assert [kind(tracked(func)) for kind in KINDS] == kinds
    assert [kind(tracked(tracked(func))) for kind in KINDS] == kinds
    assert [kind(tracked(functools.partial(func))) for kind in KINDS] == kinds
    for number, made in enumerate((Awaited, Counted, Called)):
        assert [kind(tracked(made())) for kind in KINDS] == [number == 0, number == 1, False]
        assert [kind(tracked(made)) for kind in KINDS] == [False] * 3


def test_coroutine_function_is_awaited() -> None:
    assert asyncio.run(tracked(fetch)(1)) == 2
    assert [(row["function_name"], row["function_result"]) for row in ROWS] == [("fetch", 2)]


def test_coroutine_that_nobody_awaits_warns_by_its_name_and_has_no_row() -> None:
    with pytest.warns(RuntimeWarning, match="'fetch' was never awaited") as warned:
        tracked(fetch)(1)
    assert len(warned) == 1 and ROWS == []


def test_generator_function_gives_items_and_its_result() -> None:
    def consume() -> Iterator[Any]:
        result = yield from tracked(count)(3)
        yield result

    assert list(consume()) == [0, 1, 2, "done"]
    assert [(row["function_items"], row["function_result"]) for row in ROWS] == [(3, "done")]


def test_generator_takes_what_is_sent_thrown_and_closed() -> None:
    @tracked
    def echo() -> Generator[Any, Any, None]:
        got: Any = "first"
        while True:
            try:
                got = yield got
            except ValueError as error:
                got = error

    running, error = echo(), ValueError("thrown")
    assert (next(running), running.send("sent"), running.throw(error)) == ("first", "sent", error)
    running.close()
    with pytest.raises(StopIteration):
        next(running)
    assert [(row["function_items"], row["error"]) for row in ROWS] == [(3, "")]


def test_async_generator_takes_what_is_sent_thrown_and_closed() -> None:
    @tracked
    async def echo() -> AsyncGenerator[Any, Any]:
        got: Any = "first"
        while True:
            try:
                got = yield got
            except ValueError as error:
                await asyncio.sleep(0)
                got = error

    async def main() -> None:
        running, error = echo(), ValueError("thrown")
        assert await running.__anext__() == "first"
        assert await running.asend("sent") == "sent"
        assert await running.athrow(error) is error
        await running.aclose()
        with pytest.raises(StopAsyncIteration):
            await running.__anext__()
        assert [item async for item in tracked(count_later)(3)] == [0, 1, 2]

    asyncio.run(main())
    assert [(row["function_items"], row["error"]) for row in ROWS] == [(3, ""), (3, "")]


def test_async_generator_left_open_is_closed_by_the_loop_without_noise(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[int] = []
    kept: list[AsyncIterator[int]] = []

    @tracked
    async def slow() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(1)

    async def main() -> None:
        kept.append(slow())
        async for _ in kept[0]:
            break

    asyncio.run(main())
    assert closed == [1] and [row["function_items"] for row in ROWS] == [1]
    assert caplog.messages == []


# in classes


class Net:
    scale = 3

    @tracked
    def __init__(self, config: Config = Config()) -> None:
        self.config = config

    @tracked
    def method(self, x: int) -> Any:
        return self.scale * x

    @tracked
    @classmethod
    def above_class(cls, x: int) -> Any:
        return cls.scale * x

    @classmethod
    @tracked
    def below_class(cls, x: int) -> Any:
        return cls.scale * x

    @tracked
    @staticmethod
    def above_static(x: int) -> Any:
        return 3 * x

    @staticmethod
    @tracked
    def below_static(x: int) -> Any:
        return 3 * x

    @tracked
    async def awaited(self, x: int) -> Any:
        return self.scale * x

    @tracked
    def generated(self, x: int) -> Iterator[int]:
        yield self.scale * x

    @tracked
    @classmethod
    async def awaited_class(cls, x: int) -> Any:
        return cls.scale * x

    @tracked
    @functools.lru_cache  # noqa: B019
    def cached(self, x: int) -> Any:
        return self.scale * x


METHODS = ["method", "above_class", "below_class", "above_static", "below_static", "cached"]


class Child(Net):
    scale = 3

    def method(self, x: int) -> Any:
        return super().method(x)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("make", [Net, Child])
def test_methods_of_every_kind_work_and_leave_out_their_object(make: type[Net], name: str) -> None:
    net = make()
    ROWS.clear()
    assert getattr(net, name)(2) == 6
    assert getattr(net, name)(x=2) == 6
    if "class" in name or "static" in name:
        assert getattr(make, name)(2) == 6
    for row in ROWS:
        assert row["function_name"] == name
        assert (row["args"], row["kwargs"]) in (([2], {}), ([], {"x": 2}))
    assert inspect.signature(getattr(net, name)) == inspect.Signature(
        [inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="int")], return_annotation="Any"
    )


def test_async_and_generator_methods_work() -> None:
    net = Net()
    ROWS.clear()
    assert asyncio.run(net.awaited(2)) == 6
    assert list(net.generated(2)) == [6]
    assert asyncio.run(Net.awaited_class(2)) == 6
    assert inspect.iscoroutinefunction(net.awaited) and inspect.iscoroutinefunction(Net.awaited_class)
    assert [row["args"] for row in ROWS] == [[2]] * 3


def test_init_is_a_method_whose_config_is_unpacked() -> None:
    assert Net().config == Config() and Net(Config(0.5)).config.lr == 0.5
    assert [(row["function_name"], row["config_lr"]) for row in ROWS] == [("__init__", 0.1), ("__init__", 0.5)]


def test_method_that_already_is_one_is_wrapped_with_its_object() -> None:
    class Plain:
        def method(self, x: int) -> int:
            return x

    plain = Plain()
    new = tracked(plain.method)
    assert new(2) == 2 and ROWS[0]["args"] == [2] and new.__name__ == "method"
    assert tracked(Plain.method)(plain, 2) == 2 and ROWS[1]["args"] == [2]


def test_property_stays_a_property() -> None:
    class Box:
        def __init__(self) -> None:
            self.inside = 1

        @property
        def plain(self) -> int:
            """What is inside."""
            return self.inside

        @plain.setter
        def plain(self, value: int) -> None:
            self.inside = value

        content = tracked(plain)

    box = Box()
    box.content = 5
    assert box.content == 5 == box.inside
    assert inspect.getdoc(Box.content) == "What is inside." and isinstance(Box.content, property)
    assert [(row["function_name"], row["args"]) for row in ROWS] == [("plain", [5]), ("plain", [])]
    with pytest.raises(AttributeError):
        del box.content
    assert tracked(property(lambda self: 1, doc="Said apart.")).__doc__ == "Said apart."


def test_abstract_method_stays_abstract() -> None:
    class Base(abc.ABC):
        @tracked
        @abc.abstractmethod
        def method(self) -> None: ...

    assert Base.__abstractmethods__ == {"method"}


# other callables


def test_partial_object_builtin_and_class_have_names_and_signatures() -> None:
    class Adder:
        """Adds."""

        def __init__(self, by: int) -> None:
            self.by = by

        def __call__(self, x: int) -> int:
            return x + self.by

    cases: list[tuple[Any, tuple[Any, ...], Any, str, str | None]] = [
        (functools.partial(double, twice=True), (2,), 8, "double", "Twice, or more."),
        (functools.partial(int, base=2), ("101",), 5, "int", int.__doc__),
        (Adder(3), (2,), 5, "Adder", "Adds."),
        (len, ([1, 2],), 2, "len", len.__doc__),
        (math.gcd, (4, 6), 2, "gcd", math.gcd.__doc__),
        ("a,b".split, (",",), ["a", "b"], "split", str.split.__doc__),
        (str.upper, ("a",), "A", "upper", str.upper.__doc__),
        (functools.lru_cache(double.__wrapped__), (2,), 4, "double", "Twice, or more."),
        (mock.Mock(return_value=7), (1,), 7, "Mock", mock.ANY),
    ]
    for func, args, result, name, doc in cases:
        ROWS.clear()
        new = tracked(func)
        assert new(*args) == result
        assert (new.__name__, new.__doc__, ROWS[-1]["function_name"]) == (name, doc, name)
        assert new.__qualname__.endswith(name) and new.__wrapped__ is func
        try:
            signature = inspect.signature(func)
        except ValueError:
            continue
        assert inspect.signature(new) == signature
    assert not hasattr(tracked(Adder(3)), "by")


def test_class_becomes_a_function_that_makes_its_objects() -> None:
    make = tracked(Config)
    assert make(0.5) == Config(0.5) and type(make(0.5)) is Config
    assert (make.__name__, inspect.signature(make)) == ("Config", inspect.signature(Config))
    assert [(row["function_name"], row["args"], row["function_result"]) for row in ROWS] == [
        ("Config", [0.5], "Config(lr=0.5)")
    ] * 2


@pytest.mark.parametrize("thing", [5, None, "text", functools.cached_property(lambda self: 1)])
def test_what_cannot_be_called_is_refused(thing: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"{type(thing).__name__} is nothing that can be called"):
        tracked(thing)


def test_object_that_answers_oddly_is_wrapped() -> None:
    class Odd:
        """Odd, but can be called."""

        def __call__(self, x: int) -> int:
            return x

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    new = tracked(Odd())
    assert (new(3), new.__name__, new.__doc__) == (3, "Odd", "Odd, but can be called.")


# copies, threads, processes


def test_wrapped_function_of_a_module_is_pickled_by_name_and_copied_as_itself() -> None:
    assert copy.copy(double) is copy.deepcopy(double) is double
    assert pickle.loads(pickle.dumps(double)) is double
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(double, [1, 2]) == [2, 4]
        pool.close()
        pool.join()


def test_threads_have_rows_of_their_own() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(double, range(400))) == [2 * x for x in range(400)]
    assert sorted((row["args"][0], row["function_result"]) for row in ROWS) == [(x, 2 * x) for x in range(400)]


def test_recursion_has_a_row_per_call_innermost_first() -> None:
    @tracked
    def factorial(x: int) -> int:
        return 1 if x < 2 else x * factorial(x - 1)

    assert factorial(4) == 24
    assert [row["function_result"] for row in ROWS] == [1, 2, 6, 24]


def test_wrapping_twice_gives_two_rows() -> None:
    assert tracked(double)(2) == 4
    assert [row["function_name"] for row in ROWS] == ["double", "double"]


def test_tracking_that_is_switched_off_leaves_the_functions() -> None:
    def only_run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return func(*args, **kwargs)

    async def main() -> list[int]:
        assert await wrapped(fetch, only_run)(1) == 2
        return [item async for item in wrapped(count_later, only_run)(2)]

    assert wrapped(len, only_run)([1]) == 1
    assert list(wrapped(count, only_run)(2)) == asyncio.run(main()) == [0, 1]
