"""Rows from elsewhere as lines of a log, with ids derived from their content.

The same rows give the same lines on every machine and at every try, so that an
import that is repeated, or made on two machines and merged, doubles nothing. Each
run becomes a writer of its own, named by the hash of what it wrote.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import msgspec

from xetrack.log.clock import MAX_CLOCK_US
from xetrack.log.codec import jsonl
from xetrack.log.events import AssetAdded, Event, RowLogged, WriterEnded, WriterStarted, event_key
from xetrack.log.log import FileLog, Log
from xetrack.log.packs import draft_pack, id_of
from xetrack.log.progress import counted
from xetrack.log.segment import FORMAT

#: Events of one writer that may share a reading.
_MAX_SAME_CLOCK = 1000
_WRITER_BYTES = 10
_encode = msgspec.json.Encoder(order="deterministic").encode


class ImportedRow(NamedTuple):
    """A row: ``data`` are wire values by raw key, ``timestamp`` is the text that its column shows."""

    run: str
    clock_us: int
    timestamp: str | None
    data: dict[str, object]


class ImportedAsset(NamedTuple):
    """An object whose bytes are in the store already, and the key that names it."""

    digest: str
    key: str
    size: int
    codec: str


class Found(NamedTuple):
    """What a source has for one table."""

    rows: list[ImportedRow]
    assets: list[ImportedAsset] = []


class Taken(NamedTuple):
    """What became of one table's rows: ``changed`` are those of ``added`` that stand where a known one did."""

    added: int
    known: int
    changed: int


def take_in(log: FileLog, found: Mapping[str, Found], source: str, *, dry_run: bool = False) -> dict[str, Taken]:
    """Add what a log lacks of these rows, by table: one pack each, all of it or nothing.

    The bytes of the assets must be in the log already (law 3). Whoever shows the
    tables catches them up.

    Raises:
        DiskFull: nothing was taken in.
    """
    result, drafts = {}, []
    try:
        for table, one in found.items():
            known = KnownRows(log, table)
            rows, known_count, changed = known.without(counted(one.rows))
            result[table] = Taken(len(rows), known_count, changed)
            # Of all rows, so that it does not depend on what was known already.
            first_us = min((row.clock_us for row in one.rows), default=0)
            lines = [] if dry_run else lines_of(rows, one.assets, source, first_us)
            lines = [line for line in lines if id_of(line).decode() not in known.ids]
            if lines:
                drafts.append(draft_pack(log, table, lines))
        for draft in drafts:
            draft.place()
    except BaseException:
        for draft in drafts:
            draft.path.unlink(missing_ok=True)
            draft.discard()
        raise
    return result


class KnownRows:
    """Rows that a table took over in earlier imports, however they were changed or deleted since."""

    def __init__(self, log: Log, table: str) -> None:
        self.ids: set[str] = set()
        self._rows: Counter[bytes] = Counter()
        self._places: set[tuple[str, str]] = set()
        starts = {segment.name: 0 for segment in log.segments(table)}
        for run in log.merged(table, starts):
            for event in run.events:
                self._note(event)

    def _note(self, event: Event) -> None:
        if isinstance(event, RowLogged):
            if event.source is None or event.id in self.ids:
                return
            self._rows[_fingerprint(event.run, event.timestamp, event.data)] += 1
            if event.timestamp is not None:
                self._places.add((event.run, event.timestamp))
        self.ids.add(event.id)

    def without(self, rows: Iterable[ImportedRow]) -> tuple[list[ImportedRow], int, int]:
        """Rows that are new, how many are known, and how many of the new ones stand where a known one did.

        Equal rows count: of three in the source, two of which are known, one is new.
        """
        left, known, changed = self._rows.copy(), 0, 0
        new: list[ImportedRow] = []
        for row in rows:
            print_ = _fingerprint(row.run, row.timestamp, row.data)
            if left[print_] > 0:
                left[print_] -= 1
                known += 1
                continue
            changed += row.timestamp is not None and (row.run, row.timestamp) in self._places
            new.append(row)
        return new, known, changed


def _fingerprint(run: str, timestamp: str | None, data: dict[str, object]) -> bytes:
    return hashlib.sha256(_encode([run, timestamp, data])).digest()


def lines_of(
    rows: Iterable[ImportedRow], assets: Iterable[ImportedAsset], source: str, assets_clock_us: int = 0
) -> list[bytes]:
    """Lines of these rows and objects in total order, without line ends; ``source`` says where they are from.

    The order of a run's rows is kept: a row whose clock is behind the one before
    it gets that one's.
    """
    by_run: dict[str, list[ImportedRow]] = {}
    for row in rows:
        by_run.setdefault(row.run, []).append(row)
    events: list[Event] = []
    for run, group in by_run.items():
        events += _segment(group[0].clock_us, _row_events(run, group, source))
    added = [
        AssetAdded(id="", clock=assets_clock_us, digest=one.digest, key=one.key, size=one.size, codec=one.codec)
        for one in assets
    ]
    if added:
        events += _segment(assets_clock_us, added)
    return [jsonl.encode(event)[:-1] for event in sorted(events, key=event_key)]


def _row_events(run: str, rows: list[ImportedRow], source: str) -> Iterator[Event]:
    clock, same = 0, 0
    for row in rows:
        wanted = min(max(row.clock_us, 0), MAX_CLOCK_US - len(rows))
        same = 0 if wanted > clock else same + 1
        clock = wanted if wanted > clock else clock + same // _MAX_SAME_CLOCK
        same %= _MAX_SAME_CLOCK
        yield RowLogged(id="", clock=clock, run=run, data=row.data, timestamp=row.timestamp, source=source)


def _segment(clock: int, events: Iterable[Event]) -> list[Event]:
    """The events between a header and an end, with the ids of the writer that their content names."""
    body = list(events)
    digest = hashlib.sha256(b"\n".join(map(_encode, body))).digest()
    writer = base64.b32encode(digest[:_WRITER_BYTES]).decode().lower()
    clock = min(body[0].clock, max(clock, 0))
    return [
        WriterStarted(id=f"{writer}-0", clock=clock, format=FORMAT, utc_offset_s=0),
        *(msgspec.structs.replace(event, id=f"{writer}-{seq}") for seq, event in enumerate(body, 1)),
        WriterEnded(id=f"{writer}-{len(body) + 1}", clock=body[-1].clock, state="finished"),
    ]


def time_text(clock_us: int) -> str:
    """A reading as the column ``timestamp`` shows it, in UTC."""
    time = datetime(1970, 1, 1) + timedelta(microseconds=min(max(clock_us, 0), MAX_CLOCK_US))
    return time.strftime("%Y-%m-%d %H:%M:%S.%f")


def micros(seconds: object) -> int:
    """Seconds since 1970 as a reading; 0 for what is none."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < MAX_CLOCK_US / 1e6:
        return 0
    return int(seconds * 1_000_000)


_FORMATS = ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%d-%m-%Y %H:%M:%S.%f", "%d-%m-%Y %H:%M:%S")


def clock_of(text: object) -> int | None:
    """Microseconds since 1970 of a time as text; None if it is none.

    A time without an offset counts as UTC, since nobody can tell where it was
    taken, and every machine must come to the same order.
    """
    if not isinstance(text, str):
        return None
    found = None
    try:
        found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        for form in _FORMATS:
            try:
                found = datetime.strptime(text.strip(), form)
                break
            except ValueError:
                continue
    if found is None:
        return None
    if found.tzinfo is None:
        found = found.replace(tzinfo=timezone.utc)
    since = found - datetime(1970, 1, 1, tzinfo=timezone.utc)
    clock = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return clock if 0 <= clock < MAX_CLOCK_US else None
