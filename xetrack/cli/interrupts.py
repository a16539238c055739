"""Ctrl-C, also in the middle of a call that Python cannot leave: an engine's query, a large sort.

What a command has half done the next one completes, as after a kill. So a command that does not end by itself is
ended: some time after Ctrl-C, or at once by a second one.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

INTERRUPTED = 130
_GRACE_S = 2.0
_pressed = threading.Event()


def pressed() -> bool:
    """Whether Ctrl-C was: what fails after it fails for that, in whose words ever."""
    return _pressed.is_set()


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Have Ctrl-C end what runs here, unless a command takes it for itself."""
    is_main = threading.current_thread() is threading.main_thread()
    # A shell has what runs in the background ignore it.
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler or os.name == "nt":
        yield
        return
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    before: Any = signal.signal(signal.SIGINT, _interrupt)
    wakeup = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(ours,), name="xetrack-interrupts", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGINT, before)
        os.close(theirs)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    raise KeyboardInterrupt


def _wait(fd: int) -> None:
    """See every signal as it comes, while Python may be at something else."""
    asked = False
    while select.select([fd], [], [], _GRACE_S if asked else None)[0]:
        number = os.read(fd, 1)
        if not number:
            os.close(fd)
            return
        if number[0] == signal.SIGINT and signal.getsignal(signal.SIGINT) is _interrupt:
            if asked:
                break
            asked = True
    _end()


def _end() -> None:
    with contextlib.suppress(OSError, ValueError):
        # A bar may have hidden the cursor.
        sys.stderr.write("\x1b[?25hxt: interrupted\n" if sys.stderr.isatty() else "xt: interrupted\n")
        sys.stderr.flush()
    os._exit(INTERRUPTED)
