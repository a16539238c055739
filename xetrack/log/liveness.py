"""Does the writer of a segment still live? Asked of its lock, its process, or its last sign.

On the writer's own host the advisory lock that it holds says so, and where there
are no locks, the process of that number. Another host can only go by the age of
the last event. Nothing here waits, and nothing is changed.
"""

from __future__ import annotations

import os
import platform
from types import ModuleType
from typing import NamedTuple

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None

#: How far before a process's first event its clock may say that it was started.
_SLACK_US = 2_000_000


class Origin(NamedTuple):
    """Where a writer ran and when it wrote its header, as that says."""

    host: str | None
    pid: int | None
    started_us: int


def is_held(path: str | os.PathLike[str]) -> bool | None:
    """Whether somebody holds the lock of a segment; None if that cannot be told."""
    if fcntl is None:
        return None
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        # A writer locks its file before its first byte, so a free lock on a file with a header was let go.
        if not os.fstat(fd).st_size:
            return None
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(fd)


def is_here(origin: Origin) -> bool:
    """Whether the writer ran on this host."""
    return origin.host is not None and origin.host == platform.node()


def is_dead(path: str | os.PathLike[str], origin: Origin) -> bool:
    """Whether the writer is provably dead: it ran here, nobody holds its lock, its process is gone."""
    return is_here(origin) and is_held(path) is not True and not _process_lives(origin)


def is_alive(path: str | os.PathLike[str], origin: Origin, *, last_us: int, now_us: int, silence_us: int) -> bool:
    """Whether the writer lives, as far as can be told from here.

    ``last_us`` is its last event's reading. On another host it is taken for dead
    after ``silence_us`` without one.
    """
    if is_here(origin):
        return not is_dead(path, origin)
    return now_us - last_us < silence_us


def _process_lives(origin: Origin) -> bool:
    """Whether the process that wrote the header is there: one of its number that was started before it."""
    if origin.pid is None:
        return False
    import psutil

    try:
        started_us = psutil.Process(origin.pid).create_time() * 1e6
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return started_us <= origin.started_us + _SLACK_US
