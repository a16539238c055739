"""Where DuckDB puts what does not fit into memory: nobody else can look there, and no killed process fills it up.

In a temporary folder that many users share, this user has one folder, closed to all others, which stays. In it each
instance has a path of its own, as those of DuckDB 1.2 take each other's files for their own. DuckDB makes a folder
there only when it has to, which by itself all may read, and removes it with the instance.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import secrets
import shutil
import stat
import tempfile
import time

_STALE_S = 3600


def spill_path() -> str:
    """A path for the ``temp_directory`` of one instance. Nothing is there yet."""
    home = _home()
    _remove_stale(home)
    return os.path.join(home, f"{os.getpid()}-{secrets.token_hex(8)}")


def _home() -> str:
    """This user's folder; one of another name if somebody else has put something in its place."""
    own = os.path.join(tempfile.gettempdir(), "xetrack-spill" + (f"-{os.geteuid()}" if os.name == "posix" else ""))
    with contextlib.suppress(OSError):
        os.mkdir(own, 0o700)
    for path in itertools.chain([own], glob.iglob(f"{glob.escape(own)}-*")):
        if _is_private(path):
            return path
    return tempfile.mkdtemp(prefix=f"{os.path.basename(own)}-")


def _is_private(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        return False
    return os.name != "posix" or (found.st_uid == os.geteuid() and not found.st_mode & 0o077)


def _remove_stale(home: str) -> None:
    """Remove what killed processes had spilled, an hour after: one that cannot be seen from here may live."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(home):
            if time.time() - entry.stat().st_mtime > _STALE_S and not _lives(entry.name.partition("-")[0]):
                shutil.rmtree(entry.path, ignore_errors=True)


def _lives(pid: str) -> bool:
    import psutil

    return pid.isdecimal() and psutil.pid_exists(int(pid))
