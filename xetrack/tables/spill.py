"""Where copies of a store's values lie for a while: nobody else can look there, and no killed process leaves them.

In a temporary folder that many users share, this user has one folder, closed to all others, which stays. In it each
use has a path of its own, named after its process.
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
from collections.abc import Iterator
from pathlib import Path

from xetrack.errors import storage_error

_STALE_S = 3600


def spill_path() -> str:
    """A path for the ``temp_directory`` of one instance of DuckDB's. Nothing is there yet.

    Each has its own, as those of DuckDB 1.2 take each other's files for their own. DuckDB makes a folder there only
    when it has to, which by itself all may read, and removes it with the instance.
    """
    return os.path.join(_home(), f"{os.getpid()}-{secrets.token_hex(8)}")


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for a while.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=_home(), ignore_cleanup_errors=True)
    except OSError as error:
        raise storage_error(error, tempfile.gettempdir()) from error
    with folder as path:
        yield Path(path)


def _home() -> str:
    """This user's folder, without what was left there; of another name if somebody else has put something there."""
    own = os.path.join(tempfile.gettempdir(), "xetrack-spill" + (f"-{os.geteuid()}" if os.name == "posix" else ""))
    with contextlib.suppress(OSError):
        os.mkdir(own, 0o700)
    for path in itertools.chain([own], glob.iglob(f"{glob.escape(own)}-*")):
        if _is_private(path):
            _remove_stale(path)
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
    """Remove what killed processes left, an hour after: one that cannot be seen from here may live."""
    with contextlib.suppress(OSError), os.scandir(home) as entries:
        for entry in entries:
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_S and not _lives(
                entry.name.partition("-")[0]
            ):
                shutil.rmtree(entry.path, ignore_errors=True)


def _lives(pid: str) -> bool:
    import psutil

    return pid.isdecimal() and psutil.pid_exists(int(pid))
