"""A past state is the table of a store that never had more: at every event, in every order of arrival."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.test_projection import STEPS, dump, expected, history, write
from xetrack import Reader, diff, replay
from xetrack.log import events as ev
from xetrack.log.log import FileLog
from xetrack.log.past import PastLog
from xetrack.tables.projector import Projector
from xetrack.tables.sqlite import SqliteTables

ONE_FOLDER_EACH = [HealthCheck.function_scoped_fixture]


def until(events: list[ev.Event], last: ev.Event) -> list[ev.Event]:
    """The events up to one of them, and redactions whenever they were made."""
    return [e for e in events if ev.event_key(e) <= ev.event_key(last) or isinstance(e, ev.PayloadRedacted)]


@given(steps=STEPS)
@settings(max_examples=50, deadline=None, suppress_health_check=ONE_FOLDER_EACH)
def test_table_at_every_event_is_that_of_the_events_up_to_it(tmp_path_factory: Any, steps: list[Any]) -> None:
    root = tmp_path_factory.mktemp("past") / "t.db.events"
    authors = history(steps)
    for author, events in enumerate(authors):
        if events:
            write(root, author, len(events), events)
    everything = [event for events in authors for event in events]
    log = FileLog(root)
    for last in everything:
        tables = SqliteTables(None)
        projector = Projector(PastLog(log, last.id, ev.event_key(last)), tables)
        projector.catch_up("default")
        assert dump(projector, tables) == expected(until(everything, last))
        tables.close()


@given(steps=STEPS, cut=st.integers(0, 16), early=st.integers(0, 16))
@settings(max_examples=40, deadline=None, suppress_health_check=ONE_FOLDER_EACH)
def test_table_follows_what_arrives_late_up_to_its_moment(
    tmp_path_factory: Any, steps: list[Any], cut: int, early: int
) -> None:
    root = tmp_path_factory.mktemp("past") / "t.db.events"
    authors = history(steps)
    everything = sorted((event for events in authors for event in events), key=ev.event_key)
    if not everything:
        return
    last = everything[min(cut, len(everything) - 1)]
    tables = SqliteTables(None)
    projector = Projector(PastLog(FileLog(root), last.id, ev.event_key(last)), tables)
    for author, events in enumerate(authors):
        if events:
            write(root, author, min(early, len(events)), events)
    projector.catch_up("default")
    for author, events in enumerate(authors):
        if events:
            write(root, author, len(events), events)
            projector.catch_up("default")
    assert dump(projector, tables) == expected(until(everything, last))
    tables.close()


@given(steps=STEPS, cut=st.integers(0, 16))
@settings(max_examples=12, deadline=None, suppress_health_check=ONE_FOLDER_EACH)
def test_store_made_of_a_moment_shows_what_readers_of_both_engines_see(
    tmp_path_factory: Any, steps: list[Any], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("past")
    authors = history(steps)
    for author, events in enumerate(authors):
        if events:
            write(folder / "t.db.events", author, len(events), events)
    everything = sorted((event for events in authors for event in events), key=ev.event_key)
    if not everything:
        return
    last = everything[min(cut, len(everything) - 1)]
    db, past = str(folder / "t.db"), str(folder / "past.db")
    replay(db, at=last.id, to=past)
    for engine in ("sqlite", "duckdb"):
        then = Reader(db, engine=engine, at=last.id).to_df()
        assert then.equals(Reader(past, engine=engine).to_df())
    assert not diff(f"{db}@{last.id}", past).differs
    assert expected(until(everything, last))[1] == dumped(past)


def dumped(db: str) -> list[tuple[Any, ...]]:
    tables = SqliteTables(None)
    projector = Projector(FileLog(f"{db}.events"), tables)
    projector.catch_up("default")
    rows = dump(projector, tables)[1]
    tables.close()
    return rows
