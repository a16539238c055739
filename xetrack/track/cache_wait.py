"""Who computes a result that several want at once, so that the others can wait for it.

A turn is a row in the cache that names its owner and expires: one whose process
died, or that takes longer than others wait, holds up nobody for longer.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from contextlib import AbstractContextManager
from typing import Any, Protocol

import psutil

_FIRST_STEP_S, _STEP_S = 0.005, 0.1


class Opened(Protocol):
    """A cache on disk, for one step of work."""

    def opened(self) -> AbstractContextManager[Any]: ...


class Turn:
    """The right to compute one key, from when nobody else has it to ``end`` or the end of this object."""

    def __init__(self, cache: Opened, key: str, wait_s: float) -> None:
        self._cache, self._wait_s = cache, wait_s
        self._name = f"turn {key}"
        self._deadline = time.monotonic() + wait_s
        self._step_s = _FIRST_STEP_S
        self._end: weakref.finalize[..., Turn] | None = None

    def is_taken(self) -> bool:
        """Whether somebody else is computing; then a short while has passed. If not, it is our turn now."""
        me = f"{socket.gethostname()} {os.getpid()} {threading.get_ident()}"
        try:
            with self._cache.opened() as disk:
                if disk.add(self._name, me, expire=self._wait_s):
                    self._end = weakref.finalize(self, _end, self._cache, self._name, me)
                    self._end.atexit = False
                    return False
                owner = disk.get(self._name)
                if owner is not None and _cannot_end(owner, me):
                    disk.delete(self._name)
        except Exception:  # noqa: BLE001 - what a damaged cache raises: then everybody computes
            return False
        left_s = self._deadline - time.monotonic()
        if left_s <= 0 or owner == me:  # a coroutine or a generator of our thread goes on only if we do
            return False
        time.sleep(min(self._step_s, left_s))
        self._step_s = min(self._step_s * 2, _STEP_S)
        return True

    def end(self) -> None:
        """Let the others go on."""
        if self._end is not None:
            self._end()


def _cannot_end(owner: object, me: str) -> bool:
    """Whether the owner was a process of this host that is gone."""
    if not isinstance(owner, str) or owner.count(" ") != 2:
        return True
    host, pid, _ = owner.split(" ")
    return host == me.split(" ")[0] and pid.isdecimal() and not psutil.pid_exists(int(pid))


def _end(cache: Opened, name: str, me: str) -> None:
    try:
        with cache.opened() as disk, disk.transact():
            if disk.get(name) == me:  # an expired turn may have been taken by another
                disk.delete(name)
    except Exception:  # noqa: BLE001 - it expires by itself
        pass
