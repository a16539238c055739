"""Make a function that is tracked out of one that is not.

The new function looks like the old one and is of its kind, so that whatever
inspects it (a framework, an event loop, a class) treats both alike.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from xetrack.errors import InvalidArgument
from xetrack.track.describe import STOPS
from xetrack.track.functions import relaying
from xetrack.track.signatures import kind_of, name_of

F = TypeVar("F")

#: Calls a function with its arguments, tracks that and gives back what it returned.
Track = Callable[[Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]


def wrapped(func: F, track: Track) -> F:
    """A function that calls ``track(func, args, kwargs)`` and returns what that gives.

    It keeps name, docstring, signature and attributes, and is a coroutine or
    generator function if ``func`` is. Methods, static and class methods and
    properties stay what they are, with the decorator above or below the others.
    A class becomes a function that makes its objects; to keep the class, wrap
    its ``__init__``. Nothing is shared between calls, so threads may call it.

    Raises:
        InvalidArgument: ``func`` is nothing that can be called.
    """
    if isinstance(func, (staticmethod, classmethod)):
        return cast(F, type(func)(wrapped(func.__func__, track)))
    if isinstance(func, property):
        make: Any = type(func)
        accessors = (func.fget, func.fset, func.fdel)
        return cast(F, make(*(each and wrapped(each, track) for each in accessors), func.__doc__))
    if not callable(func):
        raise InvalidArgument("func", f"{type(func).__name__} is nothing that can be called")
    return cast(F, _like(_tracked(func, track), func))


def _tracked(func: Callable[..., Any], track: Track) -> Callable[..., Any]:
    def plain(*args: Any, **kwargs: Any) -> Any:
        return track(func, args, kwargs)

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await track(func, args, kwargs)

    def generated(*args: Any, **kwargs: Any) -> Any:
        return (yield from track(func, args, kwargs))

    kinds = {"plain": plain, "coroutine": awaited, "generator": generated, "async generator": relaying(plain)}
    return kinds[kind_of(func)]


def _like(new: Callable[..., Any], func: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function the looks of another."""
    looks: Any = func
    while isinstance(looks, functools.partial):
        looks = looks.func
    try:
        # The attributes of an object or a class would be copies that soon are wrong.
        functools.update_wrapper(new, looks, updated=("__dict__",) if inspect.isroutine(looks) else ())
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - an object may answer anything; its class has a name too
        functools.update_wrapper(new, type(looks), updated=())
    new.__name__ = name_of(func)
    if not new.__qualname__.endswith(new.__name__):
        new.__qualname__ = new.__name__
    new.__wrapped__ = func  # type: ignore[attr-defined]
    return new
