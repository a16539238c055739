"""Are lines, segments, assets and tables what they should be? Reads, never repairs.

Everything found goes into a report (law 8): a damaged line or asset is a failure,
a torn last line or a clock far ahead is worth telling, no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from xetrack.errors import AssetNotFound, StorageError
from xetrack.log.clock import wall_us
from xetrack.log.codec import Damage, codec_for
from xetrack.log.events import AssetAdded, AssetRemoved, Event, RowLogged, UnknownEvent, ValueSet

if TYPE_CHECKING:
    from xetrack.log.log import Log

DAY_US = 86_400_000_000
_DIGEST_DIGITS = 64
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
        #: Last lines that were not finished: a killed process, or one about to write the rest.
        self.torn: list[Fault] = []
        #: Segments that hold readings more than a day ahead, with the largest.
        self.future_clocks: dict[str, int] = {}
        self.assets_checked = 0
        self.assets_damaged: list[str] = []
        #: Digests that events name and no file has.
        self.missing_assets: list[str] = []
        #: Kinds of a newer release, with how many events.
        self.unknown_kinds: dict[str, int] = {}
        #: Differences between the tables and a replay of the log.
        self.tables: list[str] = []

    @property
    def ok(self) -> bool:
        return not (self.damaged or self.assets_damaged or self.missing_assets or self.tables)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "segments": self.segments,
            "events": self.events,
            "damaged": [fault._asdict() for fault in self.damaged],
            "torn": [fault._asdict() for fault in self.torn],
            "future_clocks": self.future_clocks,
            "assets_checked": self.assets_checked,
            "assets_damaged": self.assets_damaged,
            "missing_assets": self.missing_assets,
            "unknown_kinds": self.unknown_kinds,
            "tables": self.tables,
        }

    def __str__(self) -> str:
        lines = [f"{self.events} events in {self.segments} segments, {self.assets_checked} assets"]
        for fault in self.damaged:
            named = f" (event {fault.event_id})" if fault.event_id else ""
            lines.append(f"damaged: {fault.path}, line {fault.line}{named}: {fault.reason}")
        lines += [f"torn last line, not read: {fault.path}, line {fault.line}" for fault in self.torn]
        lines += [f"damaged asset: {path}" for path in self.assets_damaged]
        lines += [f"missing asset: {digest}" for digest in self.missing_assets]
        lines += [f"unknown kind {kind!r}, not applied: {count} events" for kind, count in self.unknown_kinds.items()]
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
    assets = _AssetsNamed()
    for table in log.tables():
        for segment in log.segments(table):
            report.segments += 1
            _verify_segment(log, table, segment.name, report, assets)
    _verify_assets(log, report, assets)
    if tables_check is not None:
        report.tables = tables_check()
    return report


def _verify_segment(log: Log, table: str, name: str, report: VerifyReport, assets: _AssetsNamed) -> None:
    path = log.where(table, name)
    horizon = wall_us() + DAY_US
    position = line_count = 0
    damaged: list[Damage] = []
    for chunk in log.scan(table, name):
        report.events += len(chunk.events)
        position = chunk.end
        line_count += chunk.line_count
        damaged += chunk.damaged
        for event in chunk.events:
            assets.note(event)
            if event.clock > horizon:
                report.future_clocks[path] = max(report.future_clocks.get(path, 0), event.clock)
            if isinstance(event, UnknownEvent):
                report.unknown_kinds[event.kind_name] = report.unknown_kinds.get(event.kind_name, 0) + 1
    for damage in damaged:
        event_id = _event_id(log, table, name, damage)
        report.damaged.append(Fault(path, damage.line + 1, damage.offset, damage.length, damage.reason, event_id))
    stem = name.partition(".")[0]
    is_pack = len(stem) == _DIGEST_DIGITS
    if is_pack and damaged:
        return
    rest = log.read(table, name, position)
    if rest and not is_pack:
        # Whole lines that a living writer appended meanwhile are for the next look.
        rest = rest[codec_for(name).split(rest, False).consumed :]
    if rest and (is_pack or codec_for(name).is_damage(rest)):
        report.damaged.append(Fault(path, line_count + 1, position, len(rest), "its line end is damaged"))
    elif rest:
        report.torn.append(Fault(path, line_count + 1, position, len(rest), "it has no line end"))
    elif is_pack and log.sha256(table, name) != stem:
        report.damaged.append(Fault(path, 1, 0, position, "the pack holds other bytes than its name says"))


def _event_id(log: Log, table: str, name: str, damage: Damage) -> str | None:
    """The event id in a damaged line, if one can be made out; it may be what is damaged."""
    if name.endswith(".zst"):
        return None
    found = _EVENT_ID.search(log.read(table, name, damage.offset, damage.length))
    return found[0].decode() if found else None


class _AssetsNamed:
    """Digests that events name, and those they take back."""

    def __init__(self) -> None:
        self.added: set[str] = set()
        self.removed: set[str] = set()

    def note(self, event: Event) -> None:
        if isinstance(event, RowLogged):
            for value in event.data.values():
                if type(value) is dict or type(value) is list:
                    self._find(value)
        elif isinstance(event, AssetAdded):
            self.added.add(event.digest)
        elif isinstance(event, AssetRemoved):
            self.removed.add(event.digest)
        elif isinstance(event, ValueSet):
            self._find(event.value)

    def _find(self, wire: Any) -> None:
        if type(wire) is list:
            for item in wire:
                self._find(item)
        elif type(wire) is dict:
            if len(wire) == 1 and isinstance(digest := wire.get("$asset"), str):
                self.added.add(digest)
            elif "$dict" not in wire:
                for item in wire.values():
                    self._find(item)
            else:
                self._find(list(wire["$dict"].values()) if isinstance(wire["$dict"], dict) else wire["$dict"])


def _verify_assets(log: Log, report: VerifyReport, named: _AssetsNamed) -> None:
    there = log.assets.digests()
    for digest in there:
        report.assets_checked += 1
        try:
            log.assets.raw_bytes(digest)
        except (StorageError, AssetNotFound):
            report.assets_damaged.append(log.assets.where(digest))
    report.missing_assets = sorted(named.added - named.removed - set(there))
