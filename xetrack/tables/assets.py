"""Which events name an asset: the bookkeeping behind the ``assets`` table.

A digest counts as listed while an event names it that no removal had seen. Events of
one writer that name it under one key lie together as one ``Naming``; nothing is deleted
but by a rebuild, since a removal reaches only what its author had seen (law 6). What
counts as a name is said once more, for the log alone, in ``read/asset_events.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from xetrack.log.assets import digests_in
from xetrack.log.events import AssetAdded, AssetRemoved, Event, UnknownEvent, split_id, wall_us_of
from xetrack.log.log import Log
from xetrack.log.ranges import Frontier, RangeSet
from xetrack.tables.base import Backend, Naming
from xetrack.tables.places import RebuildNeeded

#: So many are noted before they are handed on, to bound the memory of a pass.
_MANY = 65_536
_DIGEST = re.compile(r"[0-9a-f]{64}")
_json = msgspec.json.Encoder()


class Namings:
    """Notes what the events of one pass name, and applies removals. ``flush`` before the pass is saved."""

    def __init__(self, log: Log, backend: Backend, table: str, local: Callable[[int, str], str]) -> None:
        """``local`` gives the local time of a writer's microsecond as text."""
        self._log, self._backend, self._table, self._local = log, backend, table, local
        self._noted: dict[tuple[str, str | None, str], _Noted] = {}
        self._told: list[Naming] = []
        self._count = 0

    def rows(self, key: str, events: Sequence[Event], cells: Sequence[Any]) -> None:
        """Note what the cells of one column name."""
        if b'"$asset"' in _json.encode(cells):
            for event, wire in zip(events, cells, strict=True):
                if type(wire) is dict or type(wire) is list:
                    self.note(event, digests_in(wire), key)

    def note(self, event: Event, digests: Iterable[str], key: str | None) -> None:
        """Note that an event names these under a key; what is no digest is passed over."""
        writer, seq = split_id(event.id)
        for digest in digests:
            if _is_digest(digest):
                noted = self._noted.get((digest, key, writer))
                if noted is None:
                    noted = self._noted[digest, key, writer] = _Noted(event, seq)
                noted.add(event, seq)
                self._count += 1
        if self._count >= _MANY:
            self.flush()

    def added(self, event: AssetAdded) -> None:
        """Note what an event tells of an object beside its name."""
        self.note(event, [event.digest], event.key)
        if _is_digest(event.digest):
            writer, seq = split_id(event.id)
            place = _place(event.clock, writer, seq)
            facts = (event.size, event.codec, event.name)
            self._told.append(Naming(event.digest, None, writer, "", place, place, "", False, True, *facts))

    def flush(self) -> None:
        """Hand what was noted to the backend."""
        namings = [self._naming(*named, noted) for named, noted in self._noted.items()]
        if namings or self._told:
            self._backend.add_namings(self._table, namings + self._told)
            self._noted, self._told, self._count = {}, [], 0

    def _naming(self, digest: str, key: str | None, writer: str, noted: _Noted) -> Naming:
        return Naming(
            digest,
            key,
            writer,
            str(noted.seqs),
            _place(noted.first.clock, writer, noted.first_seq),
            _place(noted.last.clock, writer, noted.last_seq),
            self._local(wall_us_of(noted.first), writer),
        )

    def remove(self, event: AssetRemoved, frontier: Frontier) -> None:
        """Take the namings in the frontier off the list, with their keys unless it keeps them."""
        self.flush()
        before = self._backend.namings(self._table, event.digest)
        after = [part for naming in before for part in self._without(naming, frontier, bool(event.keeps_keys))]
        if after != before:
            self._backend.drop_namings(self._table, event.digest)
            self._backend.add_namings(self._table, after)

    def _without(self, naming: Naming, frontier: Frontier, keeps_keys: bool) -> list[Naming]:
        """A naming as a removal leaves it: in two parts where its author had seen only one."""
        seqs = RangeSet.parse(naming.seqs)
        seen = seqs.intersection(frontier.ranges.get(naming.writer, RangeSet()))
        if not seen:
            return [naming]
        rest = seqs.minus(seen)
        gone, left = (self._part(naming, seen), self._part(naming, rest)) if rest else (naming, None)
        gone = gone._replace(listed=False, key=gone.key if keeps_keys else None)
        return [gone] if left is None else [gone, left]

    def _part(self, naming: Naming, seqs: RangeSet) -> Naming:
        """A naming by some of its events only. Their places are in the log."""
        numbers = seqs.ranges()
        first, last = self._event(naming, numbers[0][0]), self._event(naming, numbers[-1][1])
        return naming._replace(
            seqs=str(seqs),
            first=_place(first.clock, naming.writer, numbers[0][0]),
            last=_place(last.clock, naming.writer, numbers[-1][1]),
            first_logged=self._local(wall_us_of(first), naming.writer),
        )

    def _event(self, naming: Naming, seq: int) -> Event:
        event = self._log.find(self._table, f"{naming.writer}-{seq}")
        if event is None:
            raise RebuildNeeded  # it was damaged since it was read: what is left of the log decides
        return event

    def outlive(self, forget: Callable[[], None]) -> None:
        """Keep all namings of the table while its bookkeeping is dropped: who resets a table removes no asset."""
        self.flush()
        kept = self._backend.namings(self._table)
        forget()
        self._backend.add_namings(self._table, kept)


class _Noted:
    """Events of one writer that name one digest under one key, from first to last."""

    __slots__ = ("first", "first_seq", "last", "last_seq", "seqs")

    def __init__(self, event: Event, seq: int) -> None:
        self.first = self.last = event
        self.first_seq = self.last_seq = seq
        self.seqs = RangeSet()

    def add(self, event: Event, seq: int) -> None:
        self.seqs.add(seq)
        if seq < self.first_seq:
            self.first, self.first_seq = event, seq
        elif seq > self.last_seq:
            self.last, self.last_seq = event, seq


def digests_of_unknown(event: UnknownEvent) -> list[str]:
    """What may be digests in an event of a newer release, which may name assets in ways not known here."""
    return _DIGEST.findall(event.raw.decode(errors="replace"))


def _is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def _place(clock: int, writer: str, seq: int) -> str:
    """A place in the total order, as a text that sorts alike."""
    return f"{clock:019d} {writer} {seq:015d}"


def summary(namings: Iterable[Naming]) -> dict[str, Any]:
    """What namings say of each digest, however they are cut into parts: for comparing tables."""
    found: dict[str, dict[str, Any]] = {}
    for naming in namings:
        facts = found.setdefault(naming.digest, {"keys": {}})
        if naming.key is not None:
            facts["keys"][naming.key] = max(naming.last, facts["keys"].get(naming.key, ""))
        if naming.listed:
            facts["first"] = min((naming.first, naming.first_logged), facts.get("first", ("~", "")))
        if naming.told:
            told = (naming.first, naming.size, naming.codec, naming.file)
            facts["told"] = max(told, facts.get("told", told), key=lambda one: one[0])
    return found
