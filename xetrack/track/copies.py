"""A tracker in another process: the one that a pickled tracker becomes there.

joblib, Dask and Ray pickle a function of the main program by value, and the
tracker that it was wrapped by with it. In a worker that is a tracker of the same
run on the same store, one for all tasks, with a segment of its own. In its own
process a copy is the tracker itself.
"""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

#: Trackers of this process that were pickled or came from a pickle, by the name that they have in it.
_living: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
#: Those that came last, held so that not every task opens and seals a segment.
_held: deque[Any] = deque(maxlen=8)
_lock = threading.RLock()


def name_in_pickle(tracker: object) -> str:
    """A name by which a copy that comes back, or comes a second time, is known."""
    with _lock:
        for name, living in _living.items():
            if living is tracker:
                return name
        name = secrets.token_hex(8)
        _living[name] = tracker
        return name


def revived(name: str, make: Callable[..., Any], made: dict[str, Any], params: Any) -> Any:
    """The tracker of that name in this process, made if there is none, with the params that it had when pickled."""
    with _lock:
        tracker = _living.get(name)
        if tracker is None:
            tracker = _living[name] = make(**made)
            _held.append(tracker)
        if any(held is tracker for held in _held):
            tracker._take_params(params)
        return tracker


def _forked() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
