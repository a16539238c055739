"""Forks wait until no other thread is at the tables, and threads of the package's own rest meanwhile.

A child would inherit the locks of SQLite, and never see them go.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
import weakref
from typing import Any, Protocol

#: How long a fork waits for other threads to finish what they do with tables.
_WAIT_S = 10.0
#: Longer than any fork takes, with what its hooks wait for.
REST_S = 60.0


class Locked(Protocol):
    """What a thread uses under a lock."""

    lock: Any

    def forked(self) -> None:
        """Begin anew, in the child."""


#: By number and not a set: its ``valuerefs`` is a copy, which no other thread changes while it is gone through.
_all: weakref.WeakValueDictionary[int, Locked] = weakref.WeakValueDictionary()
_numbers = itertools.count()


class Rests:
    """Threads that want a room's own thread to rest, as they fork. True while there is one.

    A hook can lose its end to an exception of a signal handler, which Python swallows: a rest is over after a minute.
    """

    def __init__(self) -> None:
        # Each operation on it is atomic: a hook must not wait for a lock that the forking thread may hold.
        self._entries: list[tuple[int, float]] = []

    def __bool__(self) -> bool:
        now_s = time.monotonic()
        return any(until_s > now_s for _, until_s in list(self._entries))

    def begin(self, for_s: float = REST_S) -> None:
        self._entries.append((threading.get_ident(), time.monotonic() + for_s))

    def end(self) -> None:
        """Of the last one that this thread began."""
        now_s, own = time.monotonic(), threading.get_ident()
        entries = list(self._entries)
        over = [entry for entry in entries if entry[1] <= now_s]
        for entry in [*over, *[entry for entry in entries if entry[0] == own and entry not in over][-1:]]:
            with contextlib.suppress(ValueError):  # another thread found it to be over, too
                self._entries.remove(entry)


class _Forking(threading.local):
    """Of a thread: the locks that it took, for its fork and for those of signal handlers in the middle of it."""

    def __init__(self) -> None:
        self.taken: list[list[Any]] = []


_forking = _Forking()


def register(locked: Locked) -> None:
    """Have forks wait for it, as long as it lives."""
    _all[next(_numbers)] = locked


def _hold() -> None:
    until_s = time.monotonic() + _WAIT_S
    locks = [locked.lock for ref in _all.valuerefs() if (locked := ref()) is not None]
    taken: list[Any] = []
    _forking.taken.append(taken)
    try:
        while True:
            busy = None
            for lock in locks:
                # Whoever has the lock that is waited for may itself wait for one of these: then none of them is held.
                wait_s = 0.0 if taken else max(until_s - time.monotonic(), 0.0)
                if lock.acquire(timeout=wait_s):
                    taken.append(lock)
                elif busy is None:
                    busy = lock
            if busy is None or time.monotonic() >= until_s:
                return
            _let_go(taken)
            locks = [busy, *(lock for lock in locks if lock is not busy)]
    except BaseException:  # Ctrl-C, of which Python makes a message: it forks all the same
        _let_go(taken)
        raise


def _let_go(taken: list[Any]) -> None:
    while taken:
        taken.pop().release()


def _release() -> None:
    _let_go(_forking.taken.pop())


def _forked() -> None:
    _forking.taken.clear()
    for ref in _all.valuerefs():
        if (locked := ref()) is not None:
            locked.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forked)
