"""Disks that fail on cue, put in the place of a writer's system call."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

Put = Callable[[int, bytes], int]


class FullDisk:
    """Room for so many bytes more, then none. Writes what fits, as a real one does."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, fd: int, lines: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(fd, lines[: self.room])
        self.room -= written
        return written


class Script:
    """Fails as it is told, a letter a call: ``R`` writes, ``P`` a part, ``E`` raises EIO, ``I`` is Ctrl-C.

    ``i`` is Ctrl-C right after the whole write, ``p`` after a part of it. At the
    end of the script every call writes.
    """

    def __init__(self, script: str) -> None:
        self.script = list(script)

    def __call__(self, fd: int, lines: bytes) -> int:
        step = self.script.pop(0) if self.script else "R"
        if step == "E":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if step == "I":
            raise KeyboardInterrupt
        written = os.write(fd, lines[: max(len(lines) // 2, 1)] if step in "Pp" else lines)
        if step in "ip":
            raise KeyboardInterrupt
        return written
