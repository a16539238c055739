"""Run a function and describe the call as a row.

Knows neither tracker nor log: the row goes to a callback. A coroutine or a
generator is described when it starts and reported when it ends, so its time and
its errors are in the row. How arguments are shown: ``describe.py``.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain, islice
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Protocol

from xetrack.config import TEXT_LIMIT
from xetrack.track.describe import STOPS, describe, describe_result, error_text, is_column, text_of, unpack
from xetrack.track.signatures import Kind, kind_of, name_of, records_of, takes_object

logger = logging.getLogger("xetrack")

#: Columns that a call fills in by itself; a result cannot replace them.
AUTOMATIC = frozenset({"function_name", "function_time", "args", "kwargs", "error", "track_id", "timestamp"})
#: Columns that the fields of one call's arguments may become.
MAX_FIELDS = 1000

#: Warnings remembered as told.
_MAX_TOLD = 1000

#: What can be used up only once is never kept in a cache.
_USED_ONCE = (GeneratorType, CoroutineType, AsyncGeneratorType)

#: Takes the row of a call.
Report = Callable[[dict[str, Any]], object]
#: Begins to measure; what it gives ends that and has the columns.
Measure = Callable[[], Callable[[], dict[str, Any]]]


class Cached(Protocol):
    """The stored result of one call, if there is one."""

    def find(self) -> tuple[Any, str] | None:
        """The result and the run that computed it."""

    def keep(self, result: Any) -> None:
        """Store what was just computed."""


def track_call(
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    report: Report,
    *,
    raise_on_error: bool = True,
    warn: bool = True,
    told: set[str] | None = None,
    text_limit: int = TEXT_LIMIT,
    measure: Measure | None = None,
    cached: Cached | None = None,
) -> Any:
    """Call ``func``, report one row about it and give back what it returned.

    The row holds ``function_name``, ``function_time`` in seconds, ``args`` and
    ``kwargs`` as they were passed, ``error`` (``KeyError: 'x'``, empty if there
    was none), the fields of dataclass and pydantic arguments as
    ``{param}_{field}``, and the result: the keys of a dict, else
    ``function_result``: scalars whole, of all else the text. Texts are cut after
    ``text_limit`` characters and lists after as many values, with a mark.

    Coroutine functions are timed while they are awaited. Generators, also async
    ones, from the first item to the end or to ``close``, with what the consumer
    took; ``function_items`` counts the items. Their errors, of wrong arguments
    too, come when they start.

    What the function raises is reported and raised unchanged, and wins over a
    report that fails, which is then a logged warning. With
    ``raise_on_error=False`` an ``Exception`` is only reported, and ``None``
    returned; ``KeyboardInterrupt`` and the like are always raised.

    ``measure`` is begun just before the function runs and adds its columns to
    the row. With ``cached`` the row says in ``cache`` which run computed the
    result, empty if this one did; a stored result is returned in
    ``function_time`` 0 without running. Only results are kept, never errors, nor
    what can be used up only once, such as a generator. No failure of either
    reaches the caller: it is a logged warning. One whose text is in ``told`` is not
    repeated, for a function that returns an odd key returns it every time.
    """
    kind = kind_of(func)
    call = _Call(func, args, kwargs, report, kind, raise_on_error, warn, told, text_limit, measure, cached)
    if kind == "plain":
        with call:
            if not call.found:
                call.result = func(*args, **kwargs)
        return call.result
    if kind == "coroutine":
        return _awaited(call)
    return _generated(call) if kind == "generator" else relaying(func, call)(*args, **kwargs)


def as_text(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The row of a call with everything but its automatic columns in ``function_result``, as text."""
    kept = {key: value for key, value in row.items() if key in AUTOMATIC}
    kept |= {key: row[key] for key, kind in (("cache", str), ("function_items", int)) if type(row.get(key)) is kind}
    rest = {key: value for key, value in row.items() if key not in kept}
    return {**kept, "function_result": text_of(rest, TEXT_LIMIT)}


async def _awaited(call: _Call) -> Any:
    with call:
        if not call.found:
            call.result = await call.func(*call.args, **call.kwargs)
    return call.result


def _generated(call: _Call) -> Generator[Any, Any, Any]:
    """What ``yield from`` does, counting."""
    with call:
        generator = call.func(*call.args, **call.kwargs)
        try:
            item = next(generator)
            while True:
                call.items += 1
                thrown: BaseException | None = None
                try:
                    sent = yield item
                except BaseException as error:  # noqa: BLE001 - whatever it is, it goes into the generator
                    thrown = error
                try:
                    item = generator.send(sent) if thrown is None else generator.throw(thrown)
                finally:
                    thrown = None  # its traceback holds this frame
        except StopIteration as stop:
            call.result = stop.value
    return call.result


def relaying(make: Callable[..., AsyncGenerator[Any, Any]], call: _Call | None = None) -> Callable[..., Any]:
    """An async generator function that hands on what ``make`` makes, and all that is sent and thrown into it."""

    async def relay(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with call or nullcontext():
            generator = make(*args, **kwargs)
            try:
                item = await _unregistered(generator)
                while True:
                    if call:
                        call.items += 1
                    thrown: BaseException | None = None
                    try:
                        sent = yield item
                    except BaseException as error:  # noqa: BLE001 - as above
                        thrown = error
                    try:
                        item = await (generator.asend(sent) if thrown is None else generator.athrow(thrown))
                    finally:
                        thrown = None
            except StopAsyncIteration:
                pass

    return relay


def _unregistered(generator: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """The first item of a generator that an event loop need not close: its relay does, both at once would clash."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.__anext__()
    finally:
        sys.set_asyncgen_hooks(*hooks)


class _Call:
    """One call, described before it starts (it may change its arguments) and reported when it ends."""

    def __init__(
        self,
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        report: Report,
        kind: Kind,
        raise_on_error: bool,
        warn: bool,
        told: set[str] | None,
        limit: int,
        measure: Measure | None,
        cached: Cached | None,
    ) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.report, self.kind, self.raise_on_error, self.warn = report, kind, raise_on_error, warn
        self.limit, self.measure, self.cached, self.told = limit, measure, cached, told
        self.result: Any = None
        self.found = False
        self.items = 0
        self._started: float | None = None
        self._end_measure: Callable[[], dict[str, Any]] | None = None

    def __enter__(self) -> None:
        self.row: dict[str, Any] = {
            "function_name": name_of(self.func),
            "args": [],
            "kwargs": {},
            "error": "",
            "function_time": 0.0,
        }
        self._taken: set[str] = set(AUTOMATIC)
        try:
            self._describe()
            if self.cached is not None:
                self._find(self.cached)
            if not self.found:
                if self.measure is not None:
                    self._end_measure = self._tried("begin to measure", self.measure)
                self._started = time.perf_counter()
        except BaseException as error:
            self.__exit__(type(error), error, None)  # only a stop comes here, before the function ran
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        ended, row = time.perf_counter(), self.row
        if self._started is not None:
            row["function_time"] = ended - self._started
        if self._end_measure is not None:
            self._tried("end to measure", functools.partial(self._add_measured, self._end_measure))
        if "generator" in self.kind:
            row["function_items"] = self.items
            self._taken |= {"function_items"}
        if error is None:
            self._add_result()
        elif not (isinstance(error, GeneratorExit) and self.kind != "plain"):  # else the consumer had enough
            row["error"] = error_text(error, self.limit)
        swallowed = isinstance(error, Exception) and not self.raise_on_error
        try:
            self.report(row)
        except Exception as failed:
            if error is None or swallowed:
                raise
            # The user's own error is worth more than ours.
            logger.warning("%s raised, and its row is lost: %s", row["function_name"], error_text(failed, self.limit))
        if error is None and self.cached is not None and not self.found:
            self._keep(self.cached)
        return swallowed

    def _describe(self) -> None:
        func, args, kwargs, limit = self.func, self.args, self.kwargs, self.limit
        if args:
            self.row["args"] = describe(args[1:] if takes_object(func, args) else args, limit)
        if kwargs:
            self.row["kwargs"] = describe(kwargs, limit)
        records = records_of(func, args, kwargs)
        if not records:  # as in most calls
            return
        columns = chain.from_iterable(unpack(name, value, limit) for name, value in records)
        row = self.row
        for key, value in islice(columns, MAX_FIELDS):
            if key in row or key in AUTOMATIC:
                self._warn("%r is left out, the column is taken already", key)
            elif not is_column(key):
                self._warn("%r is left out, the name is too long for a column", key)
            else:
                row[key] = value
        if next(columns, None) is not None:
            self._warn("its arguments have more than %d fields, the others are left out", MAX_FIELDS)

    def _find(self, cached: Cached) -> None:
        self.row["cache"] = ""
        self._taken |= {"cache"}
        if "generator" in self.kind:
            return
        stored = self._tried("find a stored result", cached.find)
        if stored is not None:
            (self.result, self.row["cache"]), self.found = stored, True

    def _keep(self, cached: Cached) -> None:
        if "generator" not in self.kind and not isinstance(self.result, _USED_ONCE):
            self._tried("store its result", lambda: cached.keep(self.result))

    def _add_measured(self, end: Callable[[], dict[str, Any]]) -> None:
        measured = dict(end())
        self.row.update(measured)
        self._taken |= measured.keys()

    def _add_result(self) -> None:
        result = self.result
        if issubclass(type(result), dict):
            try:
                columns = {key: value for key, value in result.items() if not self._is_taken(key)}
            except STOPS:
                raise
            except BaseException as error:  # noqa: BLE001 - a dict of one's own, or keys that cannot be compared
                self._warn("its result is logged as text: %s", error_text(error, self.limit))
            else:
                self.row.update(columns)
                return
        self.row["function_result"] = describe_result(result, self.limit)

    def _is_taken(self, key: Any) -> bool:
        taken = key in self._taken
        if taken:
            self._warn("%s is left out, the column is taken already", text_of(key, self.limit))
        return taken

    def _tried(self, what: str, function: Callable[[], Any]) -> Any:
        """What a function of the tracker gives; None if it fails, for the call goes on."""
        try:
            return function()
        except Exception as error:  # noqa: BLE001 - whatever it was, no row and no result may be lost for it
            self._warn("could not %s: %s", what, error_text(error, self.limit))
            return None

    def _warn(self, message: str, *facts: object) -> None:
        if self.warn:
            warn_once(self.told, "%s: " + message, self.row["function_name"], *facts)


def warn_once(told: set[str] | None, message: str, *facts: object) -> None:
    """Log a warning unless ``told`` has its text, and note it there."""
    text = message % facts
    if told is not None:
        if text in told:
            return
        if len(told) >= _MAX_TOLD:  # texts that differ each time must not fill the memory
            told.clear()
        told.add(text)
    logger.warning("%s", text)
