"""Run a function and describe the call as a row.

Knows neither tracker nor log: the row goes to a callback. A coroutine or a
generator is described when it ends, so its time and its errors are in the row.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from xetrack.track.rows import is_storable

logger = logging.getLogger("xetrack")

#: Columns that a call fills in by itself; a result cannot replace them.
AUTOMATIC = frozenset({"function_name", "function_time", "args", "kwargs", "error", "track_id", "timestamp"})
_REPR_CHARS = 200

#: Takes the row of a call.
Report = Callable[[dict[str, Any]], object]


def track_call(
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    report: Report,
    *,
    raise_on_error: bool = True,
    warn: bool = True,
) -> Any:
    """Call ``func`` and report one row about it; give back what it returned.

    The row holds ``function_name``, ``function_time`` in seconds, ``args``,
    ``kwargs``, ``error`` (empty if there was none), the fields of dataclass and
    pydantic arguments as ``{param}_{field}``, and the result: the keys of a
    dict, else ``function_result``. With ``raise_on_error=False`` an exception is
    only reported, and ``None`` returned.
    """
    call = _Call(func, args, kwargs, report, raise_on_error, warn)
    for candidate in (func, getattr(func, "__call__", func)):  # noqa: B004 - an object may be called too
        if inspect.iscoroutinefunction(candidate):
            return _awaited(call)
        if inspect.isgeneratorfunction(candidate):
            return _generated(call)
        if inspect.isasyncgenfunction(candidate):
            return _generated_later(call)
    with call:
        call.result = func(*args, **kwargs)
    return call.result


def as_text(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The row of a call with everything but its automatic columns in ``function_result``, as text."""
    rest = {key: value for key, value in row.items() if key not in AUTOMATIC}
    kept = {key: value for key, value in row.items() if key in AUTOMATIC}
    return {**kept, "function_result": _text(rest)}


async def _awaited(call: _Call) -> Any:
    with call:
        call.result = await call.func(*call.args, **call.kwargs)
    return call.result


def _generated(call: _Call) -> Generator[Any, Any, Any]:
    with call:
        call.result = yield from call.func(*call.args, **call.kwargs)
    return call.result


async def _generated_later(call: _Call) -> AsyncIterator[Any]:
    with call:
        async for item in call.func(*call.args, **call.kwargs):
            yield item


class _Call:
    """One call, described before it starts (it may change its arguments) and reported when it ends."""

    def __init__(
        self,
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        report: Report,
        raise_on_error: bool,
        warn: bool,
    ) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.report, self.raise_on_error, self.warn = report, raise_on_error, warn
        self.result: Any = None

    def __enter__(self) -> None:
        bound = _bound(self.func, self.args, self.kwargs)
        shown = list(self.args)
        if shown and bound and bound[0][0] in ("self", "cls") and bound[0][1] is shown[0]:
            del shown[0], bound[0]  # the object of a method is not an argument
        self.row: dict[str, Any] = {
            "function_name": name_of(self.func),
            "args": [described(value) for value in shown],
            "kwargs": {key: described(value) for key, value in self.kwargs.items()},
            "error": "",
        }
        for name, value in bound:
            for key, field in unpack(name, value):
                self._add(key, field)
        self._started = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        self.row["function_time"] = time.perf_counter() - self._started
        stopped = isinstance(error, GeneratorExit)  # the consumer had enough; nothing failed
        if error is not None and not stopped:
            self.row["error"] = f"{type(error).__name__}: {error}"
        elif isinstance(self.result, dict):
            for key, value in self.result.items():
                self._add(key, value, replace=True)
        else:
            self.row["function_result"] = described(self.result, str)
        self.report(self.row)
        return isinstance(error, Exception) and not self.raise_on_error

    def _add(self, key: Any, value: Any, replace: bool = False) -> None:
        if key in AUTOMATIC or (key in self.row and not replace):
            if self.warn:
                logger.warning("%s: %r is left out, the column is taken already", name_of(self.func), key)
        else:
            self.row[key] = value


def name_of(func: Callable[..., Any]) -> str:
    """The name a function is known by, also of a partial or a callable object."""
    while hasattr(func, "func") and not hasattr(func, "__name__"):
        func = func.func
    name: str = getattr(func, "__name__", type(func).__name__)
    return name


def unpack(name: str, value: Any, _within: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Fields of a dataclass or a pydantic model, nested ones too, as ``{name}_{field}``."""
    if id(value) in _within:
        return
    for field in _field_names(value):
        if not hasattr(value, field):
            continue
        key, inner = f"{name}_{field}", getattr(value, field)
        if _field_names(inner):
            yield from unpack(key, inner, (*_within, id(value)))
        else:
            yield key, described(inner)


def described(value: Any, otherwise: Callable[[Any], str] = repr) -> Any:
    """A copy of what a log can hold; of anything else its text, cut at 200 characters."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): described(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [described(item) for item in value]
    if is_storable(value):
        return value
    return _text(value, otherwise)


def _text(value: Any, otherwise: Callable[[Any], str] = repr) -> str:
    """Text of any value, cut at 200 characters, also of one whose ``repr`` fails."""
    try:
        text = otherwise(value)
    except Exception as error:  # noqa: BLE001 - whatever a __repr__ raises, the call itself went well
        text = f"<{type(value).__name__}, its text raised {type(error).__name__}>"
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= _REPR_CHARS else text[: _REPR_CHARS - 1] + "…"


def _field_names(value: Any) -> list[str]:
    if isinstance(value, type):
        return []
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    names = getattr(type(value), "model_fields", None)
    return list(names) if isinstance(names, dict) and hasattr(value, "model_dump") else []


def _bound(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Arguments by parameter name, defaults included; ``*rest`` as ``rest_0``."""
    try:
        bound = inspect.signature(func).bind(*args, **kwargs)
    except (TypeError, ValueError):  # a builtin, or a call that will fail by itself
        return [*((f"arg_{number}", value) for number, value in enumerate(args)), *kwargs.items()]
    bound.apply_defaults()
    named: list[tuple[str, Any]] = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named += [(f"{name}_{number}", item) for number, item in enumerate(value)]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named += value.items()
        else:
            named.append((name, value))
    return named
