"""A signal handler, or a finalizer, at each step of a call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def stepped(operation: Callable[[], Any], handler: Callable[[], Any], step: int) -> int:
    """Run an operation, and before or after one of the calls that it makes a handler; return how many steps it had.

    Python runs signal handlers there, too. After calls of Python's own functions it is the next step.
    """
    count = 0

    def profile(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal count
        if event != "return":
            count += 1
            if count == step:
                handler()

    sys.setprofile(profile)
    try:
        operation()
    finally:
        sys.setprofile(None)
    return count
