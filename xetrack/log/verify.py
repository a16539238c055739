"""Are lines, segments, assets and tables what they should be? Reads, never repairs.

Everything found goes into a report (law 8): a damaged line or asset is a failure,
a torn last line or a clock far ahead is worth telling, no more.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from xetrack.errors import AssetNotFound, StorageError
from xetrack.log.assets import StoredFile, digests_in
from xetrack.log.clock import wall_us
from xetrack.log.codec import MAX_LINE_BYTES, TOO_LONG, Damage, codec_for
from xetrack.log.events import (
    AssetAdded,
    AssetRemoved,
    Event,
    PayloadRedacted,
    PayloadStub,
    RowLogged,
    UnknownEvent,
    ValueSet,
    split_id,
)
from xetrack.log.names import is_pack
from xetrack.log.packs import lines_of
from xetrack.log.ranges import Frontier, RangeSet

if TYPE_CHECKING:
    from xetrack.log.log import Log

DAY_US = 86_400_000_000
#: So many damages of a file are named one by one.
MAX_NAMED = 10_000
#: Where in a damaged line its id is, if it has one.
_ID_WITHIN_BYTES = 1 << 16
_EVENT_ID = re.compile(rb"[a-z2-7]{16}-[0-9]{1,15}")


class Fault(NamedTuple):
    """Bytes that are no event: which file, which line (from 1), and why. ``event_id`` if it can still be read."""

    path: str
    line: int
    offset: int
    length: int
    reason: str
    event_id: str | None = None


class VerifyReport:
    """What was checked and what was found. ``ok`` if nothing that was logged is lost or wrong."""

    def __init__(self) -> None:
        self.segments = 0
        self.events = 0
        self.damaged: list[Fault] = []
        #: Ids that stand for two different events, each with the files that have the one and the other.
        self.conflicting: list[tuple[str, str, str]] = []
        #: Segments that the system would not read, or that are no files, and why. Without them nothing is said of
        #: tables, nor of which assets are named.
        self.unreadable: list[str] = []
        #: Last lines that were not finished: a killed process, or one about to write the rest.
        self.torn: list[Fault] = []
        #: Segments that hold readings more than a day ahead, with the largest.
        self.future_clocks: dict[str, int] = {}
        self.assets_checked = 0
        self.assets_damaged: list[str] = []
        #: Digests that events name and no file has, but for those that were removed.
        self.missing_assets: list[str] = []
        #: Files of assets that no event names, and unfinished ones: a killed process, or one about to name them.
        self.orphans: list[str] = []
        #: Kinds of a newer release, with how many events.
        self.unknown_kinds: dict[str, int] = {}
        #: Differences between the tables and a replay of the log.
        self.tables: list[str] = []

    @property
    def ok(self) -> bool:
        found = self.damaged or self.conflicting or self.unreadable
        return not (found or self.assets_damaged or self.missing_assets or self.tables)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "segments": self.segments,
            "events": self.events,
            "damaged": [fault._asdict() for fault in self.damaged],
            "conflicting": [{"event_id": found[0], "paths": list(found[1:])} for found in self.conflicting],
            "unreadable": self.unreadable,
            "torn": [fault._asdict() for fault in self.torn],
            "future_clocks": self.future_clocks,
            "assets_checked": self.assets_checked,
            "assets_damaged": self.assets_damaged,
            "missing_assets": self.missing_assets,
            "orphans": self.orphans,
            "unknown_kinds": self.unknown_kinds,
            "tables": self.tables,
        }

    def __str__(self) -> str:
        lines = [f"events: {self.events}, segments: {self.segments}, assets: {self.assets_checked}"]
        for fault in self.damaged:
            named = f" (event {fault.event_id})" if fault.event_id else ""
            lines.append(f"damaged: {fault.path}, line {fault.line}{named}: {fault.reason}")
        lines += [
            f"two different events have the id {event_id}: one is in {first}, another in {second}"
            for event_id, first, second in self.conflicting
        ]
        lines += [f"unreadable: {said}" for said in self.unreadable]
        lines += [f"torn last line, not read: {fault.path}, line {fault.line}" for fault in self.torn]
        lines += [f"damaged asset: {path}" for path in self.assets_damaged]
        lines += [f"missing asset: {digest}" for digest in self.missing_assets]
        lines += [f"named by no event, `xt assets gc` takes it: {path}" for path in self.orphans]
        for kind, count in self.unknown_kinds.items():
            lines.append(f"unknown kind {kind!r}, events that are not applied: {count}")
        lines += [f"clock more than a day ahead: {path}" for path in self.future_clocks]
        lines += [f"tables: {difference}" for difference in self.tables]
        lines.append("ok" if self.ok else "not ok")
        return "\n".join(lines)


def verify(log: Log, tables_check: Callable[[], list[str]] | None = None) -> VerifyReport:
    """Check every line, segment and asset; ``tables_check`` tells differences of the tables.

    Raises:
        FormatTooNew: a later release wrote the log.
    """
    report = VerifyReport()
    log.check_format()
    # Before the log is read: what is stored meanwhile may be named after it was.
    files = log.assets.files()
    assets = _AssetsNamed()
    for table in log.tables():
        ids = _Ids()
        for segment in log.segments(table):
            report.segments += 1
            try:
                _verify_segment(log, table, segment.name, report, assets, ids)
            except StorageError as error:
                report.unreadable.append(error.summary)
        if ids.again:
            report.conflicting += ids.conflicting(log, table)
    _verify_assets(log, report, assets, files)
    if tables_check is not None and not report.unreadable:
        report.tables = tables_check()
    return report


def _verify_segment(log: Log, table: str, name: str, report: VerifyReport, assets: _AssetsNamed, ids: _Ids) -> None:
    path = log.where(table, name)
    horizon = wall_us() + DAY_US
    position = line_count = 0
    damaged: list[Damage] = []
    unnamed = 0
    for chunk in log.scan(table, name):
        report.events += len(chunk.events)
        position = chunk.end
        line_count += chunk.line_count
        for damage in chunk.damaged:
            last = damaged[-1] if damaged else damage
            if damage.reason == last.reason and damage.offset == last.offset + last.length:
                damaged[-1] = last._replace(length=last.length + damage.length)
            elif len(damaged) < MAX_NAMED:
                damaged.append(damage)
            else:
                unnamed += 1
        ids.note(chunk.events)
        for event in chunk.events:
            assets.note(table, event)
            if event.clock > horizon:
                report.future_clocks[path] = max(report.future_clocks.get(path, 0), event.clock)
            if isinstance(event, UnknownEvent):
                report.unknown_kinds[event.kind_name] = report.unknown_kinds.get(event.kind_name, 0) + 1
    for damage in damaged:
        event_id = _event_id(log, table, name, damage)
        report.damaged.append(Fault(path, damage.line + 1, damage.offset, damage.length, damage.reason, event_id))
    if unnamed:
        reason = f"{unnamed} more damages behind it are not named"
        report.damaged.append(report.damaged[-1]._replace(reason=reason, event_id=None))
    packed = is_pack(name)
    if packed and damaged:
        return
    rest = log.read(table, name, position, MAX_LINE_BYTES)
    if rest and not packed:
        # Whole lines that a living writer appended meanwhile are for the next look; so is all, if this is not the end.
        consumed = codec_for(name).split(rest).consumed
        rest = b"" if consumed and len(rest) == MAX_LINE_BYTES else rest[consumed:]
    if len(rest) == MAX_LINE_BYTES:
        rest_bytes = sum(map(len, log.pieces(table, name))) - position
        report.damaged.append(Fault(path, line_count + 1, position, rest_bytes, TOO_LONG))
    elif rest and (packed or codec_for(name).is_damage(rest)):
        report.damaged.append(Fault(path, line_count + 1, position, len(rest), "its line end is damaged"))
    elif rest:
        report.torn.append(Fault(path, line_count + 1, position, len(rest), "it has no line end"))
    elif packed and log.sha256(table, name) != name.partition(".")[0]:
        report.damaged.append(Fault(path, 1, 0, position, "the pack holds other bytes than its name says"))


def _event_id(log: Log, table: str, name: str, damage: Damage) -> str | None:
    """The event id in a damaged line, if one can be made out; it may be what is damaged."""
    if name.endswith(".zst"):
        return None
    found = _EVENT_ID.search(log.read(table, name, damage.offset, min(damage.length, _ID_WITHIN_BYTES)))
    return found[0].decode() if found else None


class _Ids:
    """Ids of a table's events, and those that came again: the same line may stand in two files for a while."""

    def __init__(self) -> None:
        self._seen = Frontier()
        self.again = Frontier()

    def note(self, events: list[Event]) -> None:
        if not events:
            return
        writer, first = split_id(events[0].id)
        seqs = self._seen.ranges.setdefault(writer, RangeSet())
        if first > seqs.last and [e.id for e in events] == [f"{writer}-{first + n}" for n in range(len(events))]:
            seqs.add_range(first, first + len(events) - 1)  # as a writer wrote them
            return
        for event in events:
            writer, seq = split_id(event.id)
            (self.again if self._seen.contains(writer, seq) else self._seen).add(writer, seq)

    def conflicting(self, log: Log, table: str) -> Iterator[tuple[str, str, str]]:
        """Of those that came again each that is two events, and the files of both. Reads the log again.

        Lines are held against each other as a merge does it: a stub is equal to what it stands for.
        """
        known: dict[str, tuple[int, str]] = {}
        told: set[str] = set()
        for segment in log.segments(table):
            with contextlib.suppress(StorageError):  # told already
                path = log.where(table, segment.name)
                for chunk in log.scan(table, segment.name):
                    lines = lines_of(chunk.raw, segment.name, chunk.events, chunk.damaged, chunk.start)
                    for event, line in zip(chunk.events, lines, strict=True):
                        if not self.again.contains(*split_id(event.id)) or isinstance(event, PayloadStub):
                            continue
                        content = hash(line)
                        first, where = known.setdefault(event.id, (content, path))
                        if first != content and event.id not in told:
                            told.add(event.id)
                            yield event.id, where, path


class _AssetsNamed:
    """Digests that events name, and what takes them back: removals, and redactions of what named them."""

    def __init__(self) -> None:
        self.named: set[str] = set()
        self.removed: dict[tuple[str, str], Frontier] = {}
        self.redacted: dict[str, Frontier] = {}

    def note(self, table: str, event: Event) -> None:
        self.named.update(_digests(event))
        if isinstance(event, AssetRemoved):
            self.removed.setdefault((table, event.digest), Frontier()).update(Frontier.from_wire(event.seen))
        elif isinstance(event, PayloadRedacted):
            self.redacted.setdefault(table, Frontier()).update(Frontier.from_wire(event.events))

    def wanted(self, log: Log, digests: set[str]) -> set[str]:
        """Those of the digests that an event names which no removal had seen. Reads the log again."""
        found: set[str] = set()
        for table in log.tables():
            for segment in log.segments(table):
                for chunk in log.scan(table, segment.name):
                    for event in chunk.events:
                        found.update(d for d in digests.intersection(_digests(event)) if self._counts(table, d, event))
        return found

    def _counts(self, table: str, digest: str, event: Event) -> bool:
        takers = (self.removed.get((table, digest)), self.redacted.get(table))
        return not any(taker is not None and taker.contains(*split_id(event.id)) for taker in takers)


def _digests(event: Event) -> Iterator[str]:
    """The digests that an event names."""
    if isinstance(event, RowLogged):
        for value in event.data.values():
            if type(value) is dict or type(value) is list:
                yield from digests_in(value)
    elif isinstance(event, AssetAdded):
        yield event.digest
    elif isinstance(event, ValueSet):
        yield from digests_in(event.value)


def _verify_assets(log: Log, report: VerifyReport, assets: _AssetsNamed, files: list[StoredFile]) -> None:
    for file in files:
        if not report.unreadable and (file.digest is None or file.digest not in assets.named):
            report.orphans.append(file.path)
        if file.digest is not None:
            report.assets_checked += 1
            try:
                log.assets.check(file.digest)
            except AssetNotFound:
                continue  # taken away since it was listed
            except StorageError:
                report.assets_damaged.append(file.path)
    if report.unreadable:
        return
    missing = {digest for digest in assets.named if not log.assets.has(digest)}
    if missing and (assets.removed or assets.redacted):
        missing = assets.wanted(log, missing)
    report.missing_assets = sorted(missing)
