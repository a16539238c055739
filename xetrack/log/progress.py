"""How far long work has come: whoever started it may listen in.

All that takes long reads a log or takes in rows, so the rooms that do either tell
what they have done; with nobody listening that costs a look. A listener belongs to
the thread that asked for the work: what others do meanwhile is none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeVar

T = TypeVar("T")
Unit = Literal["bytes", "rows"]
#: Is told how much more was done.
Listener = Callable[[int, Unit], None]

_listener: ContextVar[Listener | None] = ContextVar("xetrack-progress", default=None)
_ROWS = 256


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have the listener told of what is done inside."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def advanced(count: int, unit: Unit) -> None:
    """Tell that so much more was done."""
    listener = _listener.get()
    if listener is not None:
        listener(count, unit)


def counted(rows: Iterable[T]) -> Iterator[T]:
    """The same rows, told of as they pass."""
    passed = 0
    for row in rows:
        yield row
        passed += 1
        if passed == _ROWS:
            advanced(passed, "rows")
            passed = 0
    advanced(passed, "rows")
