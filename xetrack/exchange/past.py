"""Opens a store as it was: at a time, at an event, or in a git revision.

Its tables are made in a temporary folder and go with it; the store's own tables and
log are not touched. What ``at`` may be: docs/timetravel.md.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from xetrack.config import Settings
from xetrack.errors import EventNotFound, InvalidArgument, StoreNotFound, TablesWithoutLog, storage_error
from xetrack.exchange.revisions import PREFIX, open_revision
from xetrack.log.events import event_key, is_event_id
from xetrack.log.log import Log
from xetrack.log.past import Moment, PastLog, moment_of_time, redactions_of
from xetrack.store import EVENTS_SUFFIX, Store, open_store
from xetrack.tables.keeper import Keeper

At = str | datetime


def open_past(db: str | os.PathLike[str], at: At, settings: Settings | None = None) -> Store:
    """The store at a path as it was. Close it, or let it go, to remove its tables.

    Raises:
        InvalidArgument: ``at`` is no time, event id, revision or span.
        EventNotFound: the store has no event of that id.
        RevisionNotFound: no such revision, or no store in it.
        StoreNotFound: there is no store; a revision may have it all the same.
    """
    settings = settings or Settings.resolve()
    with ExitStack() as stack:
        log, release = past_log(db, at, settings)
        stack.callback(release)
        store = _PastStore(os.fspath(db), log, settings, stack.pop_all().close)
    return store


def past_log(
    db: str | os.PathLike[str], at: At, settings: Settings | None = None
) -> tuple[PastLog, Callable[[], None]]:
    """The log of the store at a path as it was, and what to call when done with it. Raises as ``open_past`` does."""
    if isinstance(at, str) and at.startswith(PREFIX):
        revision = open_revision(at, db)
        try:
            return PastLog(revision, at, None, redactions_of(_present(db, settings))), revision.close
        except BaseException:
            revision.close()
            raise
    store = open_store(db, settings=settings)
    store.close()
    return PastLog(store.log, str(at), moment_of(store.log, at)), _nothing


def _present(db: str | os.PathLike[str], settings: Settings | None) -> Log | None:
    """The log that stands there now, if one does: what it redacted is gone from revisions too."""
    try:
        store = open_store(db, settings=settings)
    except (StoreNotFound, TablesWithoutLog):
        return None
    store.close()
    return store.log


def moment_of(log: Log, at: At) -> Moment:
    """The place in the total order up to which events count.

    Raises:
        InvalidArgument: it is no time, event id or span.
        EventNotFound: no table has an event of that id.
    """
    found = moment_of_time(at, datetime.now(timezone.utc))
    if found is not None:
        return found
    text = str(at)
    if not is_event_id(text) or text[:1].isdecimal() and text[4:5] == "-":
        raise InvalidArgument("at", f"{text!r} is no ISO time, span such as -2h, event id or git:<rev>")
    for table in log.tables():
        event = log.find(table, text)
        if event is not None:
            return event_key(event)
    raise EventNotFound(text)


def _nothing() -> None:
    """There is nothing to let go."""


class _PastStore(Store):
    """A store whose tables lie in a folder of their own, which goes with it."""

    def __init__(self, db: str, log: PastLog, settings: Settings, release: Callable[[], None]) -> None:
        try:
            self._folder = tempfile.mkdtemp(prefix="xetrack-at-")
        except OSError as error:
            raise storage_error(error, tempfile.gettempdir()) from error
        name = Path(db.rpartition(":")[2].removesuffix(EVENTS_SUFFIX)).name or "track.db"
        super().__init__(db, Path(self._folder) / name, log, replace(settings, tables_dir=None))
        self._gone = weakref.finalize(self, _remove, self._folder, os.getpid(), release)

    def keeper(self, engine: str | None = None) -> Keeper:
        os.makedirs(self._folder, exist_ok=True)
        return super().keeper(engine)

    def close(self) -> None:
        super().close()
        self._gone()


def _remove(folder: str, pid: int, release: Callable[[], None]) -> None:
    if pid == os.getpid():  # a forked child leaves it to its parent
        release()
        shutil.rmtree(folder, ignore_errors=True)
