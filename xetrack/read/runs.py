"""Runs and how they are doing: read from the log, never written as a status.

A run is ``running`` while a writer of its rows lives. Else the writer that gave
the last sign of life decides: ``finished``, ``failed`` (an exception, a signal),
or ``died`` where it ended without a word (docs/live.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from xetrack.config import HEARTBEAT_S
from xetrack.log.clock import wall_us
from xetrack.log.liveness import Origin, is_alive
from xetrack.log.past import PastLog
from xetrack.tables.runs import Part, WriterFacts

if TYPE_CHECKING:
    import pandas as pd

    from xetrack.store import Store, Table

COLUMNS = ("track_id", "state", "started", "ended", "duration_s", "rows", "host", "user", "script", "commit")
#: A writer on another host that was silent for so many heartbeats is taken for dead.
_MISSED_BEATS = 3
_SHOWN = {"finished": "finished", "failed": "failed", "stopped": "failed"}


class RunInfo(NamedTuple):
    """One run. ``started`` and ``ended`` are readings in microseconds since 1970 UTC."""

    track_id: str
    state: str
    started_us: int
    ended_us: int | None
    duration_s: float
    rows: int
    host: str | None
    user: str | None
    script: str | None
    commit: str | None


def runs_of(store: Store, table: Table) -> list[RunInfo]:
    """The runs that have rows in a table, in the order of their first rows."""
    counts, parts, writers = table.run_facts()
    past = store.log if isinstance(store.log, PastLog) else None
    now_us = wall_us() if past is None else past.now_us(wall_us())
    silence_us = int(_MISSED_BEATS * (store.settings.heartbeat_s or HEARTBEAT_S) * 1e6)
    names = {info.name.partition(".")[0]: info.name for info in store.log.segments(table.name)}
    living: dict[str, bool] = {}

    def lives(writer: str) -> bool:
        if past is not None and writer in past.went_on.get(table.name, ()):
            return True
        if writer not in living:
            facts = writers.get(writer, WriterFacts())
            origin = Origin(facts.host, facts.pid, facts.started)
            last_us = max([facts.last, *(own[writer].last for own in parts.values() if writer in own)])
            path = store.log.where(table.name, names.get(writer, writer))
            living[writer] = is_alive(path, origin, last_us=last_us, now_us=now_us, silence_us=silence_us)
        return living[writer]

    return [_run_info(run, count, parts.get(run, {}), writers, lives, now_us) for run, count in counts.items()]


def _run_info(
    run: str, count: int, parts: dict[str, Part], writers: dict[str, WriterFacts], lives: Any, now_us: int
) -> RunInfo:
    """What the parts of a run, one a writer, say together."""
    told = []
    for writer, part in parts.items():
        facts = writers.get(writer, WriterFacts())
        end = _end_of(part, facts)
        if end is not None:
            told.append((0, end[0], _SHOWN.get(end[1], "finished"), writer))
        elif lives(writer):
            told.append((1, part.last, "running", writer))
        else:
            told.append((0, max(part.last, facts.last), "died", writer))
    if not told:  # rows of a store whose bookkeeping says nothing of them
        return RunInfo(run, "died", now_us, None, 0.0, count, None, None, None, None)
    _, last_us, state, writer = max(told)
    started_us = min(part.first for part in parts.values())
    ended_us = None if state == "running" else last_us
    facts = writers.get(writer, WriterFacts())
    return RunInfo(
        run,
        state,
        started_us,
        ended_us,
        max((now_us if ended_us is None else ended_us) - started_us, 0) / 1e6,
        count,
        facts.host,
        facts.user,
        facts.script,
        facts.commit,
    )


def _end_of(part: Part, facts: WriterFacts) -> tuple[int, str] | None:
    """How a writer's part of a run ended: by an end that names the run, unless rows followed, else with the writer."""
    if part.ended is not None and part.ended[0] >= part.last:
        return part.ended
    return facts.ended


def runs_frame(store: Store, table: Table) -> pd.DataFrame:
    """``runs_of`` as a frame: one row a run, columns ``COLUMNS``."""
    import pandas as pd

    found = runs_of(store, table)
    frame: pd.DataFrame = pd.DataFrame(found, columns=list(COLUMNS))
    for name in ("started", "ended"):
        frame[name] = pd.to_datetime(frame[name].astype("Int64"), unit="us", utc=True).astype("datetime64[us, UTC]")
    frame["duration_s"] = frame["duration_s"].astype("float64")
    frame["rows"] = frame["rows"].astype("int64")
    for name in ("host", "user", "script", "commit"):
        frame[name] = pd.Series([getattr(run, name) for run in found], index=frame.index, dtype=object)
    return frame
