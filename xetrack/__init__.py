"""Experiment tracking whose log is the truth and whose tables are a view of it.

The door of the package: ``Tracker`` writes, ``Reader`` reads. Names load on
first use, so ``import xetrack`` costs no pandas and no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from xetrack.errors import XetrackError

if TYPE_CHECKING:
    from xetrack.config import rank as rank
    from xetrack.exchange.copy import copy as copy
    from xetrack.exchange.diff import diff as diff
    from xetrack.exchange.exporters import export as export
    from xetrack.exchange.importers import import_data as import_data
    from xetrack.exchange.materialise import replay as replay
    from xetrack.exchange.merge import merge as merge
    from xetrack.exchange.rebase import rebase as rebase
    from xetrack.exchange.redaction import redact as redact
    from xetrack.read.backends import get_backend as get_backend
    from xetrack.read.backends import set_backend as set_backend
    from xetrack.read.reader import Reader as Reader
    from xetrack.read.watch import watch as watch
    from xetrack.store import compact as compact
    from xetrack.track.tracker import Tracker as Tracker

__version__ = "1.0.0"
__all__ = [
    "Reader",
    "Tracker",
    "XetrackError",
    "__version__",
    "compact",
    "copy",
    "diff",
    "export",
    "get_backend",
    "import_data",
    "merge",
    "rank",
    "rebase",
    "redact",
    "replay",
    "set_backend",
    "watch",
]

_ROOMS = {
    "Reader": "xetrack.read.reader",
    "Tracker": "xetrack.track.tracker",
    "compact": "xetrack.store",
    "copy": "xetrack.exchange.copy",
    "diff": "xetrack.exchange.diff",
    "export": "xetrack.exchange.exporters",
    "get_backend": "xetrack.read.backends",
    "import_data": "xetrack.exchange.importers",
    "merge": "xetrack.exchange.merge",
    "rank": "xetrack.config",
    "watch": "xetrack.read.watch",
    "rebase": "xetrack.exchange.rebase",
    "redact": "xetrack.exchange.redaction",
    "replay": "xetrack.exchange.materialise",
    "set_backend": "xetrack.read.backends",
}


def __getattr__(name: str) -> object:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(room), name)
    globals()[name] = found  # the next look-up does not come here
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
