"""A log as it was at a moment, read-only, whatever was logged, set or undone since.

``PastLog`` stands in for the log behind it, so that tables, assets and exports of a
past state are made by the same rooms as those of today. Only redactions count
whenever they were made: a payload that is gone does not come back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from operator import attrgetter
from typing import Any, BinaryIO, NoReturn

from xetrack.errors import PastIsReadOnly
from xetrack.log.assets import Assets, StoredFile
from xetrack.log.clock import Clock
from xetrack.log.codec import codec_for, jsonl
from xetrack.log.events import Event, PayloadRedacted, event_key
from xetrack.log.log import Log, SegmentInfo
from xetrack.log.packs import all_lines
from xetrack.log.scan import Chunk
from xetrack.log.segment import Writer

#: A place in the total order: reading, writer, seq.
Moment = tuple[int, str, int]
Redactions = Callable[[str], Sequence[PayloadRedacted]]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_SPAN = re.compile(r"-(\d+(?:\.\d+)?)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:[T ](?P<time>\d\d:\d\d(?::\d\d)?)(?:[.,](?P<fraction>\d{1,9}))?\s?(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?)?"
)
_clock = attrgetter("clock")
_LATEST = "\U0010ffff"
_REDACTED = b'{"kind":"payload.redacted"'
#: A pack that no log has: it shows the redactions that a log lacks.
_EXTRA = f"{'0' * 64}.jsonl"


def moment_of_time(when: object, now: datetime) -> Moment | None:
    """The last place in the order up to a time: ISO 8601, local unless it says a zone, or ``-2h`` before ``now``.

    A day alone is its midnight. None for what is neither. Spans are in s, m, h, d or w.
    """
    if isinstance(when, date):
        time = _plain(when)
    elif not isinstance(when, str):
        return None
    elif (span := _SPAN.fullmatch(when)) is not None:
        try:
            time = now - timedelta(**{_UNITS[span[2]]: float(span[1])})
        except OverflowError:
            return (0, "", -1)
    else:
        time = _time_of(when)
    if time is None:
        return None
    try:
        clock_us = (time.astimezone(timezone.utc) - _EPOCH) // _MICROSECOND
    except (OverflowError, OSError, ValueError):  # a day beyond what local time is known for
        clock_us = (time.replace(tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
    return (clock_us, _LATEST, 0)


def _plain(when: date) -> datetime | None:
    """A ``datetime`` and no more than that: a pandas ``Timestamp`` is one that knows no local time; NaT is none."""
    if not isinstance(when, datetime):
        return datetime(when.year, when.month, when.day)
    try:
        return datetime.combine(when.date(), when.timetz())
    except ValueError:
        return None


def _time_of(text: str) -> datetime | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    time, zone = found["time"] or "00:00", found["zone"] or ""
    if zone:
        digits = zone[1:].replace(":", "").ljust(4, "0")
        zone = "+00:00" if zone in "Zz" else f"{zone[0]}{digits[:2]}:{digits[2:]}"
    seconds = time if time.count(":") == 2 else f"{time}:00"
    try:
        return datetime.fromisoformat(f"{found['day']}T{seconds}.{(found['fraction'] or '0')[:6].ljust(6, '0')}{zone}")
    except ValueError:
        return None


def redactions_of(log: Log | None) -> Redactions:
    """Tells the redactions that a log has of a table, in order; reads again only what changed since."""
    found: dict[tuple[str, str], tuple[SegmentInfo, list[PayloadRedacted]]] = {}

    def redactions(table: str) -> list[PayloadRedacted]:
        events: dict[str, PayloadRedacted] = {}
        for info in log.segments(table) if log is not None else ():
            known = found.get((table, info.name))
            if known is None or known[0] != info:
                known = found[table, info.name] = (info, list(_redactions_in(log, table, info.name)))
            events.update((event.id, event) for event in known[1])
        return sorted(events.values(), key=event_key)

    return redactions


def _redactions_in(log: Log | None, table: str, name: str) -> Iterator[PayloadRedacted]:
    assert log is not None
    for lines in all_lines(log, table, name):
        for line in lines:
            if line.startswith(_REDACTED) and isinstance(event := jsonl.decode(line), PayloadRedacted):
                yield event


def _none(table: str) -> Sequence[PayloadRedacted]:
    return ()


class PastLog(Log):
    """What another log held up to a moment, or all of it, with redactions that it may lack.

    Segments have the names and offsets that they have there; what came later is
    left out on the way. Nothing can be written.
    """

    def __init__(self, log: Log, at: str, upto: Moment | None = None, redactions: Redactions = _none) -> None:
        """``at`` is what the user said, for errors."""
        self.log, self.at, self.upto, self._redactions = log, at, upto, redactions
        self.clock = Clock()
        self.assets: Assets = _PastAssets(log.assets, at)
        self.unsorted = log.unsorted
        #: Writers that went on after the moment, by table, as far as their segments were scanned.
        self.went_on: dict[str, set[str]] = {}

    def exists(self) -> bool:
        return self.log.exists()

    def create(self) -> None:
        """It is there as long as the log is."""

    def check_format(self) -> None:
        self.log.check_format()

    def tables(self) -> list[str]:
        """Those of the log today: at the moment they may have been empty."""
        return self.log.tables()

    def segments(self, table: str) -> list[SegmentInfo]:
        found, extra = self.log.segments(table), self._redactions(table)
        return sorted([*found, SegmentInfo(_EXTRA, len(extra), 0, 0)]) if extra and found else found

    def writer(self, table: str, codec: str = "jsonl") -> Writer:
        raise PastIsReadOnly(self.at)

    def look(self, table: str) -> None:
        self.log.look(table)

    def where(self, table: str, name: str) -> str:
        return self.log.where(table, name)

    def now_us(self, now_us: int) -> int:
        """The time that it is there: that of the moment, unless that is yet to come."""
        return now_us if self.upto is None else min(now_us, self.upto[0])

    def counts(self, event: Event) -> bool:
        """Whether the event was there by then, or is a redaction."""
        return self.upto is None or event_key(event) <= self.upto or isinstance(event, PayloadRedacted)

    def scan(
        self,
        table: str,
        name: str,
        offset: int = 0,
        end: int | None = None,
        *,
        undecoded: Callable[[], int] | None = None,
    ) -> Iterator[Chunk]:
        for chunk in self.scan_whole(table, name, offset, end):
            clocks = list(map(_clock, chunk.events))
            if name == _EXTRA or self.upto is None or max(clocks, default=0) < self.upto[0]:
                yield chunk
                continue
            if min(clocks, default=0) > self.upto[0]:
                events: list[Event] = [event for event in chunk.events if isinstance(event, PayloadRedacted)]
            else:
                events = [event for event in chunk.events if self.counts(event)]
            kept = {event.id for event in events}
            dropped = {event.id.rpartition("-")[0] for event in chunk.events if event.id not in kept}
            self.went_on.setdefault(table, set()).update(dropped)
            yield chunk._replace(events=events, raw=_raw(name, events))

    def scan_whole(self, table: str, name: str, offset: int = 0, end: int | None = None) -> Iterator[Chunk]:
        """Events as the log has them, later ones too."""
        if name != _EXTRA:
            yield from self.log.scan(table, name, offset, end)
        elif extra := list(self._redactions(table))[offset:end]:
            yield Chunk([*extra], offset, offset + len(extra), [], len(extra), _raw(name, extra))

    def first_clock(self, table: str, name: str, offset: int = 0) -> int | None:
        if name == _EXTRA:
            return 0  # due at once
        return self.log.first_clock(table, name, offset)

    def find(self, table: str, event_id: str) -> Event | None:
        found = self.log.find(table, event_id)
        if found is None:
            return next((event for event in self._redactions(table) if event.id == event_id), None)
        return found if self.counts(found) else None

    def pieces(self, table: str, name: str) -> Iterator[bytes]:
        for chunk in self.scan(table, name):
            yield chunk.raw

    def read(self, table: str, name: str, offset: int, size: int = -1) -> bytes:
        if name == _EXTRA:
            return b""
        return self.log.read(table, name, offset, size)

    def tail(self, table: str, name: str, offset: int, size: int) -> bytes:
        if name == _EXTRA:
            ids = " ".join(event.id for event in list(self._redactions(table))[:offset])
            return hashlib.sha256(ids.encode()).digest()[:size]
        return self.log.tail(table, name, offset, size)

    def sha256(self, table: str, name: str) -> str:
        return name.partition(".")[0] if name == _EXTRA else self.log.sha256(table, name)

    def _open(self, table: str, name: str) -> BinaryIO | None:
        return self.log._open(table, name)


def _raw(name: str, events: Sequence[Event]) -> bytes:
    encode = codec_for(name).encode
    return b"".join([encode(event) for event in events])


class _PastAssets(Assets):
    """The stored objects of a log, which stay as they are."""

    def __init__(self, assets: Assets, at: str) -> None:
        self._assets, self._at = assets, at

    def has(self, digest: str) -> bool:
        return self._assets.has(digest)

    def files(self) -> list[StoredFile]:
        return self._assets.files()

    def where(self, digest: str) -> str:
        return self._assets.where(digest)

    def discard(self, file: StoredFile, min_age_s: float) -> bool:
        self._refuse()

    def _open(self, digest: str) -> BinaryIO | None:
        return self._assets._open(digest)

    def renew(self, digest: str, *, to_disk: bool = False) -> bool:
        self._refuse()

    def _write(self, digest: str, *rest: Any) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise PastIsReadOnly(self._at)
