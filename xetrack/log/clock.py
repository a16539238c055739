"""Hybrid logical clock: the wall clock, but behind everything that was read.

One ``Clock`` per log of a process holds the floor: the largest reading met in
events of others, plus one. A writer's reading is the largest of the wall clock,
its own last reading and this floor (docs/format.md, Clock and order).
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable

#: Readings fit into 52 bits, so that every JSON reader keeps them exact: enough until the year 2112.
MAX_CLOCK_US = 2**52 - 1
#: What a wall clock that is ahead of it is taken for: whoever reads such an event has a million million readings left.
MAX_WALL_US = MAX_CLOCK_US - 2**40


def wall_us() -> int:
    """The wall clock in microseconds since 1970 UTC, ``MAX_WALL_US`` at most."""
    return min(time.time_ns() // 1000, MAX_WALL_US)


class Clock:
    """What the events of others say about the time. Thread-safe.

    ``floor`` never goes down, and a reading must not be below it.
    """

    def __init__(self, now_us: Callable[[], int] = wall_us) -> None:
        self.now_us = now_us
        self.floor = 0
        self._lock = threading.Lock()
        _clocks.add(self)

    def witness(self, clock_us: int) -> None:
        """Take notice of a reading met in an event: later readings are larger.

        The largest reading there is cannot be exceeded, only repeated.
        """
        if clock_us >= self.floor:
            with self._lock:
                self.floor = max(self.floor, min(clock_us + 1, MAX_CLOCK_US))

    def _forked(self) -> None:
        # Another thread of the parent may have held it at the fork.
        self._lock = threading.Lock()


_clocks: weakref.WeakSet[Clock] = weakref.WeakSet()


def _forked() -> None:
    for clock in list(_clocks):
        clock._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
