"""Makes tables again from the log: those of a store, or a past state as a store of its own.

A past state goes to a new store that holds the events up to then, line for line, in
packs as a merge writes them, so it can be read, copied and merged like any other.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from xetrack.config import Settings
from xetrack.errors import AssetDamaged, AssetNotFound, InvalidArgument, storage_error
from xetrack.exchange.past import At, past_log
from xetrack.log.codec import jsonl
from xetrack.log.events import PayloadStub, split_id
from xetrack.log.log import FileLog
from xetrack.log.packs import lines_of
from xetrack.log.past import PastLog, redactions_of
from xetrack.log.ranges import Frontier
from xetrack.log.redaction import stub_of
from xetrack.read.asset_events import AssetEvents
from xetrack.store import ENGINES, EVENTS_SUFFIX, IN_MEMORY, open_store
from xetrack.tables.files import tables_file

logger = logging.getLogger("xetrack")


def replay(
    db: str | os.PathLike[str],
    at: At | None = None,
    to: str | os.PathLike[str] | None = None,
    *,
    engine: str | None = None,
) -> dict[str, int]:
    """Make the tables again from the log, and return how many rows each has.

    Without ``to`` these are the tables of the store itself, of one engine. With it
    they are those of a new store at that path, which holds what ``at`` names and
    nothing later (by default all there is now): events as they were written, but
    for payloads redacted since, and the stored objects that they name. The store
    ``db`` is only read, and after an error there is no new one.

    Args:
        db: Path of a store.
        at: A moment, as ``Reader(at=...)`` takes it.
        to: Path of the new store; nothing may be there.
        engine: ``"sqlite"`` or ``"duckdb"``.

    Raises:
        InvalidArgument: ``at`` without ``to``; ``at`` is no moment; something is at ``to``.
        StoreNotFound, EventNotFound, RevisionNotFound: nothing to replay.

    >>> replay("track.db", at="2026-03-01T12:00", to="past.db")
    {'default': 2}
    """
    settings = Settings.resolve(engine=engine)
    if to is not None:
        target = _free(os.fspath(to))
        log, release = past_log(db, at if at is not None else "9999-12-31", settings)
        try:
            _write(log, target)
        finally:
            release()
    elif at is not None:
        raise InvalidArgument("at", "a past state needs a place of its own: say `to` as well")
    store = open_store(db if to is None else target, settings=settings)
    try:
        if to is None:
            store.replay()
        else:
            store.flush()
        return {name: store.table(name).count() for name in store.tables()}
    finally:
        store.close()


def _free(to: str) -> Path:
    """The path of a store to be, with nothing there."""
    if to == IN_MEMORY:
        raise InvalidArgument("to", f"{IN_MEMORY} would end with this call")
    target = Path(os.path.abspath(to.removesuffix(EVENTS_SUFFIX)))
    for path in {target, *(tables_file(target, engine) for engine in ENGINES)}:
        if path.is_dir() or (path.exists() and path.stat().st_size):
            raise InvalidArgument("to", f"{path} is there already")
    folder = Path(f"{target}{EVENTS_SUFFIX}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidArgument("to", f"{folder} is there already")
    return target


def _write(log: PastLog, target: Path) -> None:
    """Write a log that holds what another shows: beside its place, then all of it at once."""
    folder = Path(f"{target}{EVENTS_SUFFIX}")
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        made = FileLog(draft)
        made.create()
        for table in log.tables():
            _copy_table(log, made, table)
        _copy_assets(log, made)
        if folder.exists():
            folder.rmdir()
        os.rename(draft, folder)
    except OSError as error:
        raise storage_error(error, folder) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _copy_table(log: PastLog, to: FileLog, table: str) -> None:
    """A pack for each segment, line for line."""
    redacted, seen = Frontier(), Frontier()
    for redaction in redactions_of(log)(table):
        redacted.update(Frontier.from_wire(redaction.events))
    for segment in log.segments(table):
        _copy_segment(log, to, table, segment.name, redacted, seen)


def _copy_segment(log: PastLog, to: FileLog, table: str, name: str, redacted: Frontier, seen: Frontier) -> None:
    digest, draft, folder = hashlib.sha256(), None, to.folder(table)
    for lines in _lines(log, table, name, redacted, seen):
        raw = b"\n".join([*lines, b""])
        digest.update(raw)
        if draft is None:
            folder = to.make_folder(table)
            draft = folder / f".{name}"
        with open(draft, "ab") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
    if draft is not None:
        os.replace(draft, folder / f"{digest.hexdigest()}.jsonl")


def _lines(log: PastLog, table: str, name: str, redacted: Frontier, seen: Frontier) -> Iterator[list[bytes]]:
    """Lines of a segment that count, each id once, some at a time."""
    for chunk in log.scan_whole(table, name):
        found = []
        for event, line in zip(
            chunk.events, lines_of(chunk.raw, name, chunk.events, chunk.damaged, chunk.start), strict=True
        ):
            writer, seq = split_id(event.id)
            if log.counts(event) and not seen.contains(writer, seq):
                seen.add(writer, seq)
                is_redacted = redacted.contains(writer, seq) and not isinstance(event, PayloadStub)
                found.append(jsonl.encode(stub_of(event))[:-1] if is_redacted else line)
        if found:
            yield found


def _copy_assets(log: PastLog, to: FileLog) -> None:
    """The objects that the events name, as far as they are there."""
    events = AssetEvents(log)
    events.catch_up()
    for digest, named in sorted(events.named.items()):
        if named.tables and log.assets.has(digest):
            try:
                to.assets.copy_from(log.assets, digest, to_disk=True)
            except (AssetNotFound, AssetDamaged) as error:
                logger.warning("An object was left out. %s", error)
