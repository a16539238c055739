"""A tracker's hold on its segment: taken at the first write, let go at the end.

It outlives the tracker object, so that one dropped without ``close()`` (or left
open when the program ends, or when a worker process of ``multiprocessing`` does)
still seals its segment and leaves the tables caught up, silently.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import sqlite3
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xetrack.config import TEXT_LIMIT
from xetrack.errors import InvalidValue, TablesInUse, XetrackError
from xetrack.log.assets import FILE_CODEC, OBJECT_CODEC
from xetrack.log.events import AssetAdded
from xetrack.track.describe import error_text
from xetrack.track.pulse import note_signals, pulse

if TYPE_CHECKING:
    from xetrack.log.segment import Writer
    from xetrack.store import Store
    from xetrack.track.losses import Losses

_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
#: Those closed in the middle of a use of their tables, which are to be caught up, whoever still has the tracker.
_late: set[Session] = set()
#: The worker process whose end is being waited for.
_worker = 0


class Session:
    """The writing side of one tracker. Thread-safe; a forked child starts a new one."""

    def __init__(
        self, store: Store, table: str, codec: str, losses: Losses | None = None, run: str | None = None
    ) -> None:
        """``run`` is the tracker's, whose end is noted; a reader's session has none."""
        self.store, self.table, self.codec, self.losses, self.run = store, table, codec, losses, run
        self.current: Writer | None = None
        #: Whether a segment was sealed that the tables were not caught up with.
        self._unshown = False
        #: When its next heartbeat is due, on the monotonic clock.
        self.due_s = 0.0
        #: Objects and file names that this session has told the log of.
        self._announced: set[tuple[str, str | None]] = set()
        self._lock = threading.RLock()
        _sessions.add(self)

    @property
    def writer(self) -> Writer:
        """The segment's writer, opened when first asked for."""
        with self._lock:
            if self.current is None:
                writer = self.store.log.writer(self.table, self.codec)
                writer.acquire()
                self.current = writer
                _close_with_worker()
                if not self.store.memory:
                    pulse.join(self)
                    note_signals()
            return self.current

    @property
    def to_disk(self) -> bool:
        """Whether what is written has to be on the device when a call returns."""
        return self.store.settings.durability == "disk"

    def put(self, key: str, value: Any) -> str:
        """Store an object and give its digest. See ``stored``."""
        return self.stored(key, value)[0]

    def stored(self, key: str, value: Any) -> tuple[str, int]:
        """Store an object, bytes first, then the event naming it (law 3), and give its digest and size.

        A ``Path`` stands for its file, which is streamed. One event per session and
        object: logging it again costs the pickling and hashing only.
        """
        assets, to_disk = self.store.log.assets, self.to_disk
        codec, name = OBJECT_CODEC, None
        try:
            if isinstance(value, Path):
                # A name that is no text on this system is told as well as text can.
                codec, name = FILE_CODEC, value.name.encode(errors="replace").decode()
                digest, size_bytes = assets.put_file(value, to_disk=to_disk)
            else:
                digest, size_bytes = assets.put(value, to_disk=to_disk)
        except InvalidValue as error:
            raise InvalidValue(key, error.reason) from error
        self._announce(key, digest, size_bytes, codec, name)
        return digest, size_bytes

    def put_again(self, key: str, digest: str, size_bytes: int) -> bool:
        """Name an object that was stored before, if it still is here, as ``put`` would without pickling it."""
        if size_bytes < 0 or not self.store.log.assets.renew(digest, to_disk=self.to_disk):
            return False
        self._announce(key, digest, size_bytes, OBJECT_CODEC, None)
        return True

    def _announce(self, key: str, digest: str, size_bytes: int, codec: str, name: str | None) -> None:
        if (digest, name) not in self._announced:
            self.writer.append(AssetAdded, digest=digest, key=key, size=size_bytes, codec=codec, name=name)
            self._announced.add((digest, name))

    def close(self, error: BaseException | None = None) -> None:
        """Seal the segment if this was its last user, and catch the tables up.

        ``error`` is what ended the work. A later write opens a new segment, a
        later read the tables again. A store that was deleted is left deleted.
        """
        if self.losses is not None:
            self.losses.report()
        with self._lock:
            writer, self.current = self.current, None
            pulse.leave(self)
            if writer is not None:
                self._unshown = not self.store.memory
                writer.release(**_ending(error), run=self.run)
        if self._unshown and self.store.log.exists():
            try:
                self.store.flush()
            except TablesInUse:  # by a call that a signal interrupted: the next close, or the end of the program, does
                _late.add(self)
                return
            self._unshown = False
            _late.discard(self)
            self.store.compact_if_many(self.table)
        self.store.close()

    def keep_up(self, limit_bytes: int) -> bool:
        """Project some of what was logged, while this session is open; tell if there was any."""
        return self.store.keep_up(self.table, lambda: self.current is not None, limit_bytes)

    def stop(self, number: int) -> None:
        """Seal the segment, because of a signal that ends the process; the tables are left to the next reader."""
        with self._lock:
            writer, self.current = self.current, None
            if writer is not None:
                writer.release("stopped", signal=number, run=self.run)

    def close_silently(self, error: BaseException | None = None) -> None:
        """Close where there is nobody left to tell: the tracker or the program is gone."""
        # A tracker may be let go while duckdb is on its way in: then it holds nothing of it.
        duckdb_error = getattr(sys.modules.get("duckdb"), "Error", None)
        errors = () if duckdb_error is None else (duckdb_error,)
        with contextlib.suppress(XetrackError, OSError, sqlite3.Error, *errors):
            self.close(error)

    def _forked(self) -> None:
        self.current, self._unshown, self._lock = None, False, threading.RLock()


def _ending(error: BaseException | None) -> dict[str, Any]:
    match error:
        case None | GeneratorExit() | SystemExit(code=None | 0):
            return {"state": "finished"}
        case KeyboardInterrupt():
            return {"state": "stopped", "signal": int(signal.SIGINT)}
        case _:
            return {"state": "failed", "error": error_text(error, TEXT_LIMIT)}


def _uncaught() -> BaseException | None:
    """The exception that ends this program; a prompt outlives its errors."""
    error: BaseException | None = getattr(sys, "last_value", None)
    return None if hasattr(sys, "ps1") else error


def _close_with_worker() -> None:
    """Worker processes skip ``atexit``: they run multiprocessing's own finalizers."""
    global _worker
    process = sys.modules.get("multiprocessing.process")
    if _worker != os.getpid() and process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        _worker = os.getpid()
        Finalize(None, _close_all, exitpriority=10)


def _close_all() -> None:
    """Close what is open when the program or the worker ends."""
    error = sys.exc_info()[1] or _uncaught()
    for session in {*_sessions, *_late}:
        session.close_silently(error)
    pulse.rest(math.inf)


def _forked() -> None:
    _late.clear()
    for session in list(_sessions):
        session._forked()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
