"""Opens two states to be compared: stores, moments of stores, git revisions.

A state is written as a source is (``exchange/sources.py``), with a moment of a store
behind an ``@``. What either side has redacted is gone from both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from xetrack.config import store_of_environment
from xetrack.errors import InvalidArgument, NotAStore, StoreNotFound, TablesWithoutLog
from xetrack.exchange.past import moment_of
from xetrack.exchange.revisions import PREFIX, open_revision
from xetrack.exchange.sources import opened_sources
from xetrack.log.events import PayloadRedacted, event_key
from xetrack.log.log import Log
from xetrack.log.past import PastLog, Redactions, redactions_of
from xetrack.store import EVENTS_SUFFIX

#: Where revisions are looked for when nothing else says it.
_DEFAULT_STORE = "track.db"


@contextmanager
def opened_states(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> Iterator[list[PastLog]]:
    """The logs of two states, read-only.

    Raises:
        StoreNotFound, EventNotFound, RevisionNotFound: one is not there.
        InvalidArgument: what stands behind the ``@`` is no moment.
    """
    sides = [_parsed(os.fspath(side)) for side in (a, b)]
    paths = [path for path, _ in sides if not path.startswith(PREFIX)]
    near = paths[0] if paths else store_of_environment() or _DEFAULT_STORE
    with ExitStack() as stack:
        logs: list[Log] = []
        extra: list[Redactions] = []
        for path, at in sides:
            if path.startswith(PREFIX) or at is not None and at.startswith(PREFIX):
                revision = open_revision(path if at is None else at, near if at is None else path)
                stack.callback(revision.close)
                extra += _redactions_at(os.fspath(revision.here) if at is None else path)
                log: Log = revision
            else:
                log = stack.enter_context(opened_sources([path], path))[0].log
            logs.append(log)
        redactions = _together([*extra, *map(redactions_of, logs)])
        found = []
        for (path, at), log in zip(sides, logs, strict=True):
            upto = None if at is None or at.startswith(PREFIX) else moment_of(log, at)
            found.append(PastLog(log, at or path, upto, redactions))
        yield found


def _parsed(text: str) -> tuple[str, str | None]:
    """The path of a store and a moment of it: the first ``@`` that has a store before it parts them."""
    if text.startswith(PREFIX) or _is_there(text):
        return text, None
    at = text.find("@")
    while at >= 0:
        path, moment = text[:at], text[at + 1 :]
        if path and (_is_there(path) or moment.startswith(PREFIX)):
            if not moment:
                raise InvalidArgument("at", f"{text!r} names no moment behind the @")
            return path, moment
        at = text.find("@", at + 1)
    return text, None


def _is_there(path: str) -> bool:
    return os.path.exists(path) or os.path.exists(f"{path}{EVENTS_SUFFIX}")


def _redactions_at(path: str) -> list[Redactions]:
    """Those of the store that stands there now, if one does."""
    try:
        with opened_sources([path], path) as (source,):
            return [redactions_of(source.log)]
    except (StoreNotFound, TablesWithoutLog, NotAStore):
        return []


def _together(all_redactions: Sequence[Redactions]) -> Redactions:
    def redactions(table: str) -> list[PayloadRedacted]:
        events = {event.id: event for one in all_redactions for event in one(table)}
        return sorted(events.values(), key=event_key)

    return redactions
