"""Copies of logged files for the time of the program, in one folder of its own.

Every call makes a fresh path, so what a program does to a copy changes no other.
The folder goes when the program ends, or the worker process that made it.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
from pathlib import Path

#: Folder of each process: a forked child has none so far.
_folders: dict[int, Path] = {}
_lock = threading.Lock()


def extraction_path(name: str | None, otherwise: str) -> Path:
    """A path that is not there yet, under the file's own name if that is one and no way out of the folder."""
    last = re.split(r"[/\\]", name or "")[-1].replace("\x00", "")
    folder = _folder() / secrets.token_hex(8)
    folder.mkdir()
    return folder / (otherwise if last in ("", ".", "..") else last)


def _folder() -> Path:
    pid = os.getpid()
    with _lock:
        if pid not in _folders:
            _folders[pid] = Path(tempfile.mkdtemp(prefix="xetrack-"))
            process = sys.modules.get("multiprocessing.process")
            if process is not None and process.parent_process() is not None:
                from multiprocessing.util import Finalize  # worker processes skip atexit

                Finalize(None, _remove, args=(pid,), exitpriority=10)
            else:
                atexit.register(_remove, pid)
        return _folders[pid]


def _remove(pid: int) -> None:
    if pid == os.getpid():
        shutil.rmtree(_folders.pop(pid), ignore_errors=True)


def _forked() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
