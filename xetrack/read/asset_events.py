"""Which assets the events of a log name, under which keys, and which were removed.

Kept up with the log, a segment at a time; nothing is unpickled. What counts is
decided as in a replay: events that are undone or redacted name nothing, and a
removal reaches what its author had seen (law 6), so an object that is logged
again is there again. Rows count as much as ``asset.added``, for it tells of an
object once, however often it is logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from xetrack.log.assets import digests_in
from xetrack.log.cells import DIGEST_DIGITS
from xetrack.log.events import AssetAdded, AssetRemoved, Event, RowLogged, UnknownEvent, ValueSet, event_key, wall_us_of
from xetrack.log.ranges import Frontier
from xetrack.tables.state import settle, verdict

if TYPE_CHECKING:
    from xetrack.log.log import Log, SegmentInfo

_DIGEST = re.compile(r"[0-9a-f]{64}")
Position = tuple[int, str, int]


@dataclass
class NamedAsset:
    """What the log says of one digest."""

    #: Tables with an event that names it and that no removal had seen; without one it was removed.
    tables: set[str] = field(default_factory=set)
    #: Keys it was logged under, each with the last place in the order.
    keys: dict[str, Position] = field(default_factory=dict)
    first: Position | None = None
    first_us: int = 0
    removed_us: int = 0
    size: int | None = None
    codec: str | None = None
    name: str | None = None
    told: Position = (-1, "", 0)


class Fault(NamedTuple):
    """A line that could not be read, so nobody knows what it names."""

    path: str
    line: int
    reason: str


class _Removal(NamedTuple):
    place: Position
    time_us: int
    digest: str
    keeps_keys: bool
    seen: Frontier


class _Gone(NamedTuple):
    """Events of one table that name nothing: at all, or not the digest."""

    cancelled: Frontier
    removed: dict[str, Frontier]
    forgotten: dict[str, Frontier]


class AssetEvents:
    """What the log of a store says of its assets. Its owner holds a lock around every call."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._gone: dict[str, _Gone] = {}
        self._start_over()

    def _start_over(self) -> None:
        self.named: dict[str, NamedAsset] = {}
        self._by_short: dict[str, list[str]] = {}
        self.faults: list[Fault] = []
        #: Each segment as it was listed when it was read, and how far that went, in bytes and lines.
        self._read: dict[tuple[str, str], tuple[SegmentInfo, int, int]] = {}
        self._verdicts: dict[str, list[tuple[Position, str, dict[str, str], str]]] = {}
        self._removals: dict[str, list[_Removal]] = {}

    def catch_up(self) -> None:
        """Take in everything that was logged before this call."""
        while True:
            for table in self._log.tables():
                self._log.look(table)
            listed = {(table, info.name): info for table in self._log.tables() for info in self._log.segments(table)}
            if any(_replaced(listed.get(place), info) for place, (info, _, _) in self._read.items()):
                self._start_over()
            for (table, name), info in listed.items():
                before, offset, line_count = self._read.get((table, name), (None, 0, 0))
                if before is None or before.size != info.size:
                    self._read[table, name] = (info, *self._take(table, name, offset, line_count))
            gone = {table: self._decide(table) for table in {*self._verdicts, *self._removals}}
            if gone == self._gone:
                return
            # A removal, an undo or a redaction is new: what it reaches was counted already.
            self._gone = gone
            self._start_over()

    def beginning(self, name: str) -> list[str]:
        """Digests that begin so, in alphabetical order, those of removed assets included: a cell may mean either."""
        return sorted(d for d in self._by_short.get(name[:DIGEST_DIGITS], []) if d.startswith(name))

    def _take(self, table: str, name: str, offset: int, line_count: int) -> tuple[int, int]:
        path, lines_before = self._log.where(table, name), line_count
        for chunk in self._log.scan(table, name, offset):
            for damage in chunk.damaged[: not self.faults]:
                self.faults.append(Fault(path, lines_before + damage.line + 1, damage.reason))
            for event in chunk.events:
                if type(event) is RowLogged:
                    for key, wire in event.data.items():
                        if type(wire) is dict or type(wire) is list:
                            self._name(table, event, digests_in(wire), key)
                else:
                    self._note(table, event)
            offset = chunk.end
            line_count += chunk.line_count
        return offset, line_count

    def _note(self, table: str, event: Event) -> None:
        match event:
            case AssetAdded():
                self._name(table, event, [event.digest], event.key)
                named = None if self._is_cancelled(table, event) else self.named.get(event.digest)
                if named is not None and named.told < event_key(event):
                    named.told = event_key(event)
                    named.size, named.codec, named.name = event.size, event.codec, event.name
            case ValueSet():
                self._name(table, event, digests_in(event.value), event.key)
            case AssetRemoved():
                seen = Frontier.from_wire(event.seen)
                if event.base is not None:
                    seen.update(Frontier.from_wire(getattr(self._log.find(table, event.base), "seen", None)))
                removal = _Removal(event_key(event), wall_us_of(event), event.digest, bool(event.keeps_keys), seen)
                self._removals.setdefault(table, []).append(removal)
            case UnknownEvent():  # a newer release may name assets in ways that are not known here
                self._name(table, event, _DIGEST.findall(event.raw.decode(errors="replace")), None)
            case _:
                found = verdict(event)
                if found is not None:
                    self._verdicts.setdefault(table, []).append(found)

    def _name(self, table: str, event: Event, digests: Iterable[str], key: str | None) -> None:
        """Note that an event names these, unless it does not count."""
        gone = self._gone.get(table)
        for digest in digests:
            place = event_key(event)
            if not _DIGEST.fullmatch(digest) or self._is_cancelled(table, event):
                continue
            named = self.named.get(digest)
            if named is None:
                named = self.named[digest] = NamedAsset()
                self._by_short.setdefault(digest[:DIGEST_DIGITS], []).append(digest)
            if key is not None and not _covers(gone and gone.forgotten.get(digest), place):
                named.keys[key] = max(place, named.keys.get(key, place))
            if _covers(gone and gone.removed.get(digest), place):
                continue
            named.tables.add(table)
            if named.first is None or place < named.first:
                named.first, named.first_us = place, wall_us_of(event)

    def _is_cancelled(self, table: str, event: Event) -> bool:
        gone = self._gone.get(table)
        return gone is not None and gone.cancelled.contains(*event_key(event)[1:])

    def _decide(self, table: str) -> _Gone:
        settlement = settle(self._verdicts.get(table, []))
        cancelled = Frontier.from_wire(settlement.cancelled)
        cancelled.update(Frontier.from_wire(settlement.redacted))
        gone = _Gone(cancelled, {}, {})
        for removal in self._removals.get(table, []):
            if cancelled.contains(*removal.place[1:]):
                continue
            gone.removed.setdefault(removal.digest, Frontier()).update(removal.seen)
            if not removal.keeps_keys:
                gone.forgotten.setdefault(removal.digest, Frontier()).update(removal.seen)
            if (named := self.named.get(removal.digest)) is not None:
                named.removed_us = max(named.removed_us, removal.time_us)
        return gone


def _replaced(now: SegmentInfo | None, then: SegmentInfo) -> bool:
    """Whether a segment vanished, shrank or is another file than the one that was read."""
    return now is None or now.inode != then.inode or now.size < then.size


def _covers(frontier: Frontier | None, place: Position) -> bool:
    return frontier is not None and frontier.contains(place[1], place[2])
