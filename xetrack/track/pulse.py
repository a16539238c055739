"""The one thread of a process that lives beside its trackers: heartbeats, tables that others read, calls for later.

It begins with the first event, ends by itself with the last tracker, never keeps
a program alive and is not there while the process forks. `log()` does not wait
for it: what it projects it does in slices, and rests longer than it works.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from xetrack.config import handles_signals
from xetrack.errors import XetrackError
from xetrack.forks import REST_S, Rests  # whose hook comes first, so that the locks are taken once this thread rests

if TYPE_CHECKING:
    from xetrack.track.session import Session

#: Time from one look at what is new to the next.
_INTERVAL_S = 0.5
#: Bytes of a segment that are projected at a time, some thousand rows.
_SLICE_BYTES = 256 << 10
#: How long it rests after a slice, in terms of what the slice took: the program has the rest of the time.
_REST = 3.0
#: A slice that took so long was a table made anew: then it rests longer, or a log that needs it often costs too much.
_LONG_S, _LONG_REST = 1.0, 10.0
#: How long a fork waits for the thread to finish what it is doing.
_FORK_WAIT_S = 10.0
#: What asks a program to stop and by default does so at once. Ctrl-C is an exception already.
_STOPPING = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


class Pulse:
    """Heartbeats for the sessions that joined. Thread-safe."""

    def __init__(self) -> None:
        # A session may be closed by the garbage collector in the middle of any line here: the lock is reentrant.
        self._changed = threading.Condition(threading.RLock())
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        #: Forks, of several threads or one in the middle of another, and the end of the program.
        self._resting = Rests()
        self._tables_due_s = 0.0
        #: What is to be called at the time beside it; and when the thread wakes by itself.
        self._soon: set[Callable[[], None]] = set()
        self._soon_due_s = self._wakes_s = 0.0

    def join(self, session: Session) -> None:
        """Look after a session from now on."""
        with self._changed:
            now_s = time.monotonic()
            session.due_s = now_s + session.store.settings.heartbeat_s
            if not self._sessions:
                self._tables_due_s = now_s + _INTERVAL_S
            self._sessions.add(session)
            self._changed.notify_all()
        self._start()

    def leave(self, session: Session) -> None:
        """Look after it no longer. The thread ends with its last session."""
        with self._changed:
            self._sessions.discard(session)
            self._changed.notify_all()

    def call_soon(self, function: Callable[[], None]) -> bool:
        """Have the thread call something in half a second, once however often it is told; False if there is no thread.

        Later where it is at a table that takes long.
        """
        with self._changed:
            if self._thread is None or self._resting:
                return False
            if not self._soon:
                self._soon_due_s = time.monotonic() + _INTERVAL_S
                if self._wakes_s > self._soon_due_s:
                    self._changed.notify_all()
            self._soon.add(function)
            return True

    def sessions(self) -> list[Session]:
        with self._changed:
            return list(self._sessions)

    def _start(self) -> None:
        """Have the thread run if anyone needs it.

        Not under the lock: a new thread is waited for, and the garbage collector may close a session in it.
        """
        with self._changed:
            if self._thread is not None or self._resting or not any(map(_wanted, self._sessions)):
                return
            thread = self._thread = threading.Thread(target=self._run, name="xetrack-pulse", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            with self._changed:
                self._thread = None

    def _run(self) -> None:
        while True:
            with self._changed:
                sessions = [session for session in self._sessions if _wanted(session)]
                if self._resting or not sessions:
                    self._thread = None
                    break
                due_s = [session.due_s for session in sessions if session.store.settings.heartbeat_s]
                if any(map(_projected, sessions)):
                    due_s.append(self._tables_due_s)
                if self._soon:
                    due_s.append(self._soon_due_s)
                self._wakes_s = min(due_s)
                wait_s = self._wakes_s - time.monotonic()
                del sessions  # a tracker that nobody holds any more may go while this waits
                if wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
            if time.monotonic() >= self._soon_due_s:
                self._call()
            self._beat()
            if time.monotonic() >= self._tables_due_s:
                rest_s = self._keep_up()
                self._tables_due_s = time.monotonic() + rest_s

        if not self._resting:
            self._call()

    def _call(self) -> None:
        with self._changed:
            functions, self._soon = self._soon, set()
        for function in functions:
            function()

    def _beat(self) -> None:
        """A heartbeat for each writer that is due; sessions of one process may share one."""
        beaten = set()
        for session in self.sessions():
            now_s = time.monotonic()
            if now_s < session.due_s or not session.store.settings.heartbeat_s:
                continue
            session.due_s = now_s + session.store.settings.heartbeat_s
            writer = session.current
            if writer is not None and id(writer) not in beaten:
                beaten.add(id(writer))
                with contextlib.suppress(XetrackError, OSError, sqlite3.Error):
                    writer.beat()

    def _keep_up(self) -> float:
        """Project a slice of what is new in each table, and tell how long to rest."""
        started_s = time.monotonic()
        is_behind = False
        done = set()
        for session in self.sessions():
            place = (str(session.store.path), session.table)
            if not _projected(session) or place in done or self._resting:
                continue
            done.add(place)
            with contextlib.suppress(XetrackError, OSError, sqlite3.Error):
                is_behind |= session.keep_up(_SLICE_BYTES)
        took_s = time.monotonic() - started_s
        if took_s > _LONG_S:
            return _LONG_REST * took_s
        return _REST * took_s if is_behind else _INTERVAL_S

    # -- forks

    def rest(self, for_s: float = REST_S) -> None:
        """No thread until ``go_on``, or for so long.

        A child that is forked then gets no lock that nobody would ever give back.
        """
        with self._changed:
            self._resting.begin(for_s)
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            with contextlib.suppress(RuntimeError):  # it is about to be started, and will find that it is to rest
                thread.join(_FORK_WAIT_S)

    def go_on(self) -> None:
        """After ``rest``, as often as it was called."""
        with self._changed:
            self._resting.end()
            if self._resting:
                return
        self._start()
        if self._thread is None:
            self._call()


def _wanted(session: Session) -> bool:
    return session.store.settings.heartbeat_s > 0 or _projected(session)


def _projected(session: Session) -> bool:
    """Whether other clients may read the session's tables: DuckDB's are files that are replaced, not kept up."""
    return session.store.settings.live and session.store.settings.engine == "sqlite"


pulse = Pulse()


def _forked() -> None:
    pulse.__init__()  # type: ignore[misc]  # the child begins with no session
    # Whoever forked it may stop it at any moment, and a handler of Python's can come too late for a worker that
    # is about to wait for a semaphore: it would wait for ever.
    for number in _STOPPING:
        if signal.getsignal(number) is _stopped:
            with contextlib.suppress(ValueError):  # forked by another thread
                signal.signal(number, signal.SIG_DFL)


# -- signals -----------------------------------------------------------------


def note_signals() -> None:
    """Have a signal that ends the program noted in the log, where the program leaves it to the system.

    A handler of the program's own stays, and one that it sets later takes the place of this one.
    Workers of ``multiprocessing`` die as before: their pool stops them while they wait for each other.
    """
    if threading.current_thread() is not threading.main_thread() or not handles_signals() or _is_worker():
        return
    for number in _STOPPING:
        if signal.getsignal(number) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # not the main interpreter
                signal.signal(number, _stopped)


def _is_worker() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _stopped(number: int, frame: FrameType | None) -> None:
    """Note the end of every run, touch nothing else, and let the system do what it does."""
    for session in pulse.sessions():
        with contextlib.suppress(XetrackError, OSError):
            session.stop(number)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=pulse.rest, after_in_parent=pulse.go_on, after_in_child=_forked)
