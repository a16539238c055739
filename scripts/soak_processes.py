"""Processes of the soak: forked, each a group of its own, heard over a pipe, killed on cue, none left behind."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

#: A process that has said nothing for so long hangs.
SILENCE_S = 240.0
#: What would leave a process to itself while it is being forked.
_SIGNALS = {signal.SIGINT, signal.SIGTERM}
Said = list[Any]
#: Processes that were not waited for yet.
_living: set[Child] = set()


class Child:
    """A process and what it has acknowledged. Where ``kill_at`` is set it is killed after so many messages."""

    def __init__(
        self, name: str, target: Callable[[Callable[..., None]], None], errors: Path, kill_at: int | None = None
    ) -> None:
        self.name, self.kill_at = name, kill_at
        self.heard: list[Said] = []
        self.killed = self.hung = False
        #: When it is killed, by the monotonic clock; 0 if it is not.
        self.doomed_s = 0.0
        self._rest = b""
        reading, writing = os.pipe()
        sys.stdout.flush()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self.pid = os.fork()
            if not self.pid:
                os.close(reading)
                _be(target, writing, errors, mask)
            os.close(writing)
            self.fd = reading
            self.last_heard = time.monotonic()
            _living.add(self)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def kill(self) -> None:
        self.killed = True
        self._signal(signal.SIGKILL)

    def dump(self) -> None:
        """Have it write where its threads are, and end."""
        self.hung = True
        self._signal(signal.SIGABRT)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def hear(self, pause_s: float = 0.0) -> bool:
        """Take what is in the pipe; false at its end."""
        piece = os.read(self.fd, 1 << 16)
        self.last_heard = time.monotonic()
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self.heard += map(json.loads, lines)
        if self.kill_at is not None and len(self.heard) >= self.kill_at and not self.doomed_s:
            self.doomed_s = self.last_heard + (pause_s if self.kill_at == 1 else 0.0)
        return bool(piece)

    def end(self) -> None:
        """See that it is gone, and all that it started."""
        _living.discard(self)
        os.close(self.fd)
        status = os.waitpid(self.pid, 0)[1]
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if not self.killed and status:
            self.heard.append(["error", f"{self.name} ended with {status}" + " after hanging" * self.hung])

    def said(self, word: str) -> Iterator[Said]:
        return (message[1:] for message in self.heard if message[0] == word)


def end_all() -> None:
    """Kill those that live, wherever they are."""
    for child in list(_living):
        child.kill()
        child.end()


def _be(target: Callable[[Callable[..., None]], None], writing: int, errors: Path, mask: Iterable[int]) -> None:
    """What the child does; it never returns."""
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        err = os.open(errors, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        os.dup2(err, 2)
        os.dup2(err, 1)
        sys.stderr = open(2, "w", buffering=1, closefd=False)
        faulthandler.enable(sys.stderr)

        def ack(*message: Any) -> None:
            line = json.dumps(message).encode() + b"\n"
            while line:
                line = line[os.write(writing, line) :]

        try:
            target(ack)
        except BaseException:  # noqa: BLE001  # whatever it is, the parent judges it
            ack("error", traceback.format_exc())
    finally:
        os._exit(0)


def wait_for(children: list[Child], pause_s: float = 0.0) -> None:
    """Hear all of them to their end; who is silent for too long is stopped.

    With a pause, one that is to be killed after its first message lives that much longer, wherever it is by then.
    """
    try:
        with selectors.DefaultSelector() as selector:
            for child in children:
                selector.register(child.fd, selectors.EVENT_READ, child)
            while selector.get_map():
                for key, _ in selector.select(0.02 if any(child.doomed_s for child in children) else 1.0):
                    if not key.data.hear(pause_s):
                        selector.unregister(key.fd)
                for key in list(selector.get_map().values()):
                    child = key.data
                    if child.doomed_s and time.monotonic() >= child.doomed_s and not child.killed:
                        child.kill()
                    if time.monotonic() - child.last_heard > SILENCE_S:
                        (child.kill if child.hung else child.dump)()
                        child.last_heard = time.monotonic()
    except BaseException:
        for child in children:
            child.kill()
        raise
    finally:
        for child in children:
            child.end()
