"""Events that a merge or a rebase adds of its own to what it takes over.

They are a whole segment, from header to ``writer.ended``, in the same pack as the
lines that they are about: all of it is there at once, or nothing.
"""

from __future__ import annotations

from typing import Any

from xetrack.exchange.takeover import TablePlan
from xetrack.log import header
from xetrack.log.clock import MAX_CLOCK_US, wall_us
from xetrack.log.codec import jsonl
from xetrack.log.events import Event, WriterEnded, WriterStarted
from xetrack.log.segment import FORMAT, new_name


class OwnEvents:
    """A writer whose events come after all that the store and the sources have. ``finish`` adds them to the plan."""

    def __init__(self, plan: TablePlan) -> None:
        self._plan = plan
        self._writer = new_name()
        self._made: list[Event] = []
        lines = plan.taken.lines
        self._clock = max(wall_us(), plan.last_clock + 1, lines[-1][0] + 1 if lines else 0)
        self._seen = plan.seen.union(plan.taken.ids)
        self._append(WriterStarted, format=FORMAT, **header.facts({}))

    def add(self, kind: type[Event], **fields: Any) -> None:
        """A mutation whose author has seen the store, what is taken over, and the events added before."""
        self._append(kind, seen=self._seen.to_wire(), **fields)

    def finish(self) -> None:
        self._append(WriterEnded, state="finished")
        self._plan.taken.lines += [
            (event.clock, self._writer, seq, jsonl.encode(event)[:-1]) for seq, event in enumerate(self._made)
        ]

    def _append(self, kind: type[Event], **fields: Any) -> None:
        seq = len(self._made)
        self._made.append(kind(id=f"{self._writer}-{seq}", clock=min(self._clock + seq, MAX_CLOCK_US), **fields))
        self._seen.add(self._writer, seq)
