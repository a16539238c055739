"""Which rows the mutations of a table reach, and which events count at all.

From the events themselves, without tables (docs/format.md, reader duties 4 and
5). Pure: sets of ids go in and come out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xetrack.log.events import (
    Event,
    RowsReplaced,
    RunDeleted,
    RunRewound,
    TableReset,
    ValueSet,
    split_id,
)
from xetrack.log.ranges import Frontier
from xetrack.tables.state import settle, verdict

#: Mutations that hide rows.
Hide = RunDeleted | RunRewound | RowsReplaced | TableReset

Rows = Mapping[str, Frontier]
"""Ids of rows by run."""


class Reach:
    """What the events of one table do to its rows.

    ``events`` are all that are no rows, by id. ``rows`` gives the rows; it is
    called once, and only if somebody asks for what depends on them.
    """

    def __init__(self, events: Mapping[str, Event], rows: Callable[[], Rows]) -> None:
        self.events = events
        self._rows = rows
        self._loaded: Rows | None = None
        self._all: Frontier | None = None
        self._seen: dict[str, Frontier] = {}
        self._reach: dict[str, Frontier] = {}
        settlement = settle(found for event in events.values() if (found := verdict(event)) is not None)
        self.redacted = Frontier.from_wire(settlement.redacted)
        self.cancelled = Frontier.from_wire(settlement.cancelled)
        #: Events that are as if they had never been.
        self.gone = self.cancelled.union(self.redacted)
        self.voided = Frontier.from_wire(settlement.voided)
        self.excluded = self.gone.union(self.voided)
        self.sets = [event for event in events.values() if isinstance(event, ValueSet) and self._counts(event)]
        self.hides = [event for event in events.values() if isinstance(event, Hide) and self.is_active(event)]

    def is_active(self, event: Event) -> bool:
        """Whether the event is neither undone nor redacted."""
        return not self.gone.contains(*split_id(event.id))

    def _counts(self, event: Event) -> bool:
        return not self.excluded.contains(*split_id(event.id))

    def rows(self) -> Rows:
        """All rows by run."""
        if self._loaded is None:
            self._loaded = self._rows()
        return self._loaded

    def all_rows(self) -> Frontier:
        if self._all is None:
            self._all = Frontier()
            for ids in self.rows().values():
                self._all.update(ids)
        return self._all

    def seen(self, event: Event) -> Frontier:
        """What the author of a mutation had read."""
        found = self._seen.get(event.id)
        if found is None:
            found = Frontier.from_wire(getattr(event, "seen", None))
            base = getattr(event, "base", None)
            if base is not None:
                found.update(Frontier.from_wire(getattr(self.events.get(base), "seen", None)))
            self._seen[event.id] = found
        return found

    def saw(self, later: Event, earlier: Event) -> bool:
        """Whether the author of ``later`` had read ``earlier``."""
        return self.seen(later).contains(*split_id(earlier.id))

    def of(self, event: ValueSet | Hide) -> Frontier:
        """The rows that a mutation reaches, hidden or not."""
        found = self._reach.get(event.id)
        if found is None:
            run = run_of(event)
            among = self.all_rows() if run is None else self.rows().get(run, Frontier())
            found = among.intersection(self.seen(event))
            if isinstance(event, RunRewound | RowsReplaced) or (isinstance(event, ValueSet) and event.rows is not None):
                found = found.intersection(Frontier.from_wire(event.rows))
            self._reach[event.id] = found
        return found

    def hidden(self) -> Frontier:
        """Ids of the rows that no table shows, with those of events that do not count."""
        found = self.excluded.copy()
        for hide in self.hides:
            found.update(self.of(hide))
        return found


def run_of(event: ValueSet | Hide) -> str | None:
    """The one run that a mutation can reach, None if it may be any."""
    if isinstance(event, ValueSet):
        return event.run if event.rows is None else None
    return event.run if isinstance(event, RunDeleted) else None
