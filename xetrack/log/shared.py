"""What a process has once for a store, however often it is opened: its clock and its writers."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

from xetrack.log.clock import Clock
from xetrack.log.segment import Writer


class Shared:
    """Clock and writers of one store in this process."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.lock = threading.RLock()
        self.writers: weakref.WeakValueDictionary[tuple[str, str], Writer] = weakref.WeakValueDictionary()
        _all_shared.add(self)

    def forked(self) -> None:
        self.lock = threading.RLock()
        # Writers that the parent's trackers hold in this copy go on as new ones by themselves.
        self.writers = weakref.WeakValueDictionary()


_all_shared: weakref.WeakSet[Shared] = weakref.WeakSet()
_by_path: weakref.WeakValueDictionary[str, Shared] = weakref.WeakValueDictionary()
_by_path_lock = threading.RLock()


def shared_of(path: Path) -> Shared:
    """What this process has of the store whose log is there."""
    real = os.path.realpath(path)
    with _by_path_lock:
        shared = _by_path.get(real)
        if shared is None:
            shared = _by_path[real] = Shared()
        return shared


def _forked() -> None:
    global _by_path_lock
    _by_path_lock = threading.RLock()
    for shared in list(_all_shared):
        shared.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
