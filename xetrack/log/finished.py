"""Which segments nobody will write to any more: closed, or their writer is provably dead.

Who rewrites or packs segments asks here. In doubt a writer lives: another host's
cannot be seen, and a copy of a segment says nothing of the one that grows.
"""

from __future__ import annotations

import os

from xetrack.log.events import Event, PayloadStub, WriterEnded, WriterStarted
from xetrack.log.liveness import Origin, is_dead
from xetrack.log.names import is_pack


def is_finished(path: str | os.PathLike[str], first: Event | None, last: Event | None) -> bool:
    """Whether a segment that begins and ends with these events will not grow."""
    if is_pack(os.path.basename(path)) or has_ended(last):
        return True
    return isinstance(first, WriterStarted) and is_dead(path, Origin(first.host, first.pid, first.clock))


def has_ended(last: Event | None) -> bool:
    """Whether the last event of a segment says that its writer closed it."""
    if isinstance(last, WriterEnded):
        return last.run is None  # else only that run has ended
    # A segment gets stubs when it is finished.
    return isinstance(last, PayloadStub) and last.was == "writer.ended"
