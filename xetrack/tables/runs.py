"""What the log says about the life of runs and their writers, kept with the tables' state.

Facts only, from events, so that a replay finds the same: who wrote, since when,
the last sign of life, how it ended. Whether a writer lives is asked elsewhere.
"""

from __future__ import annotations

import msgspec

from xetrack.log.events import Event, WriterEnded, WriterStarted

#: Clock and state of a ``writer.ended``.
End = tuple[int, str]


class WriterFacts(msgspec.Struct, array_like=True):
    """One writer: its header, its last event that was no row, its end."""

    host: str | None = None
    pid: int | None = None
    user: str | None = None
    script: str | None = None
    commit: str | None = None
    started: int = 0
    last: int = 0
    ended: End | None = None


class Part(msgspec.Struct, array_like=True):
    """The rows of one run by one writer: clocks of the first and the last, and the end that named the run."""

    first: int
    last: int
    ended: End | None = None


Parts = dict[str, dict[str, Part]]


def saw_rows(parts: Parts, run: str, writer: str, first_us: int, last_us: int) -> None:
    """Note that a writer logged rows of a run from one clock reading to another."""
    writers = parts.setdefault(run, {})
    part = writers.get(writer)
    if part is None:
        writers[writer] = Part(first_us, last_us)
    else:
        part.first, part.last = min(part.first, first_us), max(part.last, last_us)


def saw_event(writers: dict[str, WriterFacts], parts: Parts, writer: str, event: Event) -> None:
    """Note what an event that is no row says about its writer."""
    facts = writers.get(writer)
    if facts is None:
        facts = writers[writer] = WriterFacts()
    facts.last = max(facts.last, event.clock)
    if isinstance(event, WriterStarted):
        facts.host, facts.pid, facts.user = event.host, event.pid, event.user
        facts.script, facts.commit, facts.started = event.script, event.commit, event.clock
    elif isinstance(event, WriterEnded):
        end = (event.clock, event.state)
        if event.run is None:
            facts.ended = max(facts.ended or end, end)
        else:
            part = parts.setdefault(event.run, {}).setdefault(writer, Part(event.clock, event.clock))
            part.ended = max(part.ended or end, end)
