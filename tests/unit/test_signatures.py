"""What a function is and takes, also where ``inspect`` gives up."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest

from xetrack.track import signatures
from xetrack.track.signatures import kind_of, name_of, records_of, takes_object


@dataclass(frozen=True)
class Config:
    lr: float = 0.1


def plain(config: Config, *rest: Any, **more: Any) -> None: ...


async def awaited() -> None: ...


def generated() -> Iterator[int]:
    yield 1


async def generated_later() -> AsyncIterator[int]:
    yield 1


class Net:
    def fit(self, config: Config) -> None: ...

    @functools.lru_cache  # noqa: B019
    def cached(self, config: Config) -> None: ...

    @classmethod
    def make(cls) -> None: ...

    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (plain, "plain"),
        (lambda: 1, "<lambda>"),
        (len, "len"),
        (Net, "Net"),
        (Net(), "Net"),
        (Net().fit, "fit"),
        (functools.partial(functools.partial(plain, Config()), 2), "plain"),
        (functools.lru_cache(plain), "plain"),
        (mock.Mock(__name__=5), "Mock"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_name_is_the_one_in_the_source(func: Any, name: str) -> None:
    assert name_of(func) == name


@pytest.mark.parametrize(
    ("func", "kind"),
    [
        (plain, "plain"),
        (awaited, "coroutine"),
        (generated, "generator"),
        (generated_later, "async generator"),
        (functools.partial(awaited), "coroutine"),
        (functools.wraps(awaited)(lambda: None), "plain"),
        (Net(), "coroutine"),
        (Net, "plain"),
        (Net().__call__, "coroutine"),
        (functools.partial(Net()), "coroutine"),
        (mock.AsyncMock(), "coroutine"),
        (print, "plain"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_kind_is_what_a_call_makes(func: Any, kind: str) -> None:
    assert kind_of(func) == kind


@pytest.mark.skipif(not hasattr(inspect, "markcoroutinefunction"), reason="needs Python 3.12")
def test_function_that_is_marked_as_a_coroutine_function_is_one() -> None:
    mark: Any = getattr(inspect, "markcoroutinefunction", None)
    assert kind_of(mark(lambda: awaited())) == "coroutine"


def test_object_of_a_method_is_told_by_its_name() -> None:
    net, fit, cached = Net(), Net.__dict__["fit"], Net.__dict__["cached"]
    decorated = functools.wraps(fit)(lambda *args: None)
    assert takes_object(fit, [net]) and takes_object(decorated, [net]) and takes_object(cached, [net])
    assert takes_object(Net.__dict__["make"].__func__, [Net])
    for func in (net.fit, net.cached, Net.make, plain, functools.partial(fit, net), Net, net, len):
        assert not takes_object(func, [net])
    assert not takes_object(fit, [])


def test_records_are_named_by_parameter() -> None:
    config = Config()
    assert records_of(plain, [config, 1, config], {"other": config, "number": 2}) == [
        ("config", config),
        ("rest_1", config),
        ("other", config),
    ]
    assert records_of(plain, [1], {"x": "y"}) == []
    assert records_of(Net.fit, [Config(), config], {}) == [("config", config)]  # a method of a dataclass


def test_arguments_of_a_function_without_a_signature_are_named_by_position() -> None:
    config = Config()
    assert records_of(max, [1, config], {"key": config}) == [("arg_1", config), ("key", config)]
    assert records_of(plain, [], {"other": config}) == [("other", config)]  # a call that will fail by itself
    assert records_of(types.MethodType(plain, config), [config], {}) == [("rest_0", config)]


def _plain(a: Any, b: Any = 2, *, c: Any = 3, d: Any) -> None: ...
def _one(a: Any) -> None: ...
def _none() -> None: ...
def _positional(a: Any, /, b: Any = 2) -> None: ...
def _rest(a: Any, *rest: Any, **more: Any) -> None: ...


@pytest.mark.parametrize("func", [_plain, _one, _none, _positional, _rest])
@pytest.mark.parametrize("args", [(), (1,), (1, 5), (1, 5, 6)])
@pytest.mark.parametrize("kwargs", [{}, {"d": 4}, {"a": 1, "d": 4}, {"b": 7, "c": 8, "d": 9}, {"x": 1}])
def test_short_cut_binds_as_inspect_does_or_not_at_all(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    found = signatures._bound_by_name(func, args, kwargs)
    try:
        bound = inspect.signature(func).bind(*args, **kwargs)
    except TypeError:
        assert found is None
        return
    bound.apply_defaults()
    assert found is None or found == list(bound.arguments.items())
    if func in (_plain, _one, _none):
        assert found is not None
