"""What a tracker with ``on_error="warn"`` could not write: counted, and said.

The training goes on whatever the disk does. The first loss is told at once, with
its reason; how many there were, when the tracker closes or the program ends.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref

from xetrack.errors import StorageError

logger = logging.getLogger("xetrack")
_all: weakref.WeakSet[Losses] = weakref.WeakSet()


class Losses:
    """Counts the rows and changes of one run that were dropped. Threads may share it; a forked child counts its own."""

    def __init__(self, track_id: str) -> None:
        self.track_id = track_id
        self._warned = False
        self._reset_process()
        _all.add(self)

    def _reset_process(self) -> None:
        self.count = self._told = 0
        self._lock = threading.Lock()

    def add(self, error: StorageError, count: int = 1) -> None:
        """Note what was dropped; the first one is warned of with its reason."""
        with self._lock:
            first, self._warned, self.count = not self._warned, True, self.count + count
        if first:
            logger.warning("Run %s goes on without being written: %s", self.track_id, error)

    def report(self) -> None:
        """Say how many were dropped, unless that was said already."""
        with self._lock:
            dropped, self._told = self.count > self._told, self.count
        if dropped:
            logger.warning("Run %s: %d rows or changes could not be written.", self.track_id, self.count)


def _forked() -> None:
    for losses in list(_all):
        losses._reset_process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
