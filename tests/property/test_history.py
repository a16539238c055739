"""The laws of history: its last word on a cell is the table's, and an undo of an undo restores the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.model import tables
from tests.property.test_projection import STEPS, history, write
from xetrack import Reader
from xetrack.errors import InvalidArgument, RunProtected
from xetrack.log.cells import cell
from xetrack.log.events import RowLogged
from xetrack.log.log import FileLog
from xetrack.read.history import events_of
from xetrack.read.steps import Steps
from xetrack.read.undo import undo
from xetrack.store import open_store


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_last_entry_of_every_cell_is_what_the_table_shows(tmp_path_factory: Any, steps: list[Any]) -> None:
    root = tmp_path_factory.mktemp("log") / "t.db.events"
    authors = history(steps)
    for author, made in enumerate(authors):
        if made:
            write(root, author, len(made), made)
    events = events_of(FileLog(root), "default")
    assert {event.id for event in events.ordered} == {event.id for made in authors for event in made}
    played = Steps(events.redacted)
    last: dict[tuple[str | None, str | None], Any] = {}
    for event in events.ordered:
        for entry in played.take(event):
            if entry.row is not None:
                before = last.get((entry.row, entry.key))
                assert repr(entry.old) == repr(before)
                last[entry.row, entry.key] = entry.new
    columns, rows = tables(events.ordered)
    visible = [row for row in played.rows.values() if row.visible]
    assert [row.event.run for row in visible] == [row[0] for row in rows]
    keys = _keys_in_order(events.ordered, played, len(columns))
    for row, shown in zip(visible, rows, strict=True):
        for key, (_, kind), value in zip(keys, columns, shown[1:], strict=True):
            wire = last.get((row.event.id, key))
            assert repr(None if wire is None else cell(wire, kind)) == repr(value)


def _keys_in_order(ordered: list[Any], played: Steps, count: int) -> list[str]:
    """Raw keys of the events that count, in the order of their first appearance: the columns."""
    keys: dict[str, None] = {}
    for event in ordered:
        if isinstance(event, RowLogged):
            row = next((row for row in played.rows.values() if row.event.id == event.id), None)
            if row is not None and not row.off:
                keys |= dict.fromkeys(event.data)
        elif hasattr(event, "key") and event.id not in played.off and played.is_active(event):
            keys.setdefault(event.key)
    assert len(keys) == count
    return list(keys)


@given(steps=STEPS, number=st.integers(0, 50), engine=st.sampled_from(["sqlite", "sqlite", "duckdb"]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_undo_of_an_undo_restores_the_table(tmp_path_factory: Any, steps: list[Any], number: int, engine: Any) -> None:
    path = tmp_path_factory.mktemp("log") / "t.db"
    for author, made in enumerate(history(steps)):
        if made:
            write(path.parent / "t.db.events", author, len(made), made)
    ids = [event.id for event in events_of(FileLog(path.parent / "t.db.events"), "default").ordered]
    if not ids:
        return
    store = open_store(path)
    reader = Reader(path, engine=engine)
    before = _content(reader)
    try:
        first = undo(store, ids[number % len(ids)], ["default"], engine)
    except (InvalidArgument, RunProtected):  # a header, a redaction, a protected run
        assert _content(reader) == before
        return
    if first.event_id is not None:
        after = _content(reader)
        try:
            second = undo(store, first.event_id, ["default"], engine)
        except RunProtected as error:  # rows that came back may belong to a run that is protected by now
            assert error.track_id in store.table("default", engine).protected()
            assert _content(reader) == after
            return
        assert second.rows_changed == first.rows_changed
    assert _content(reader) == before
    store.close()


def test_undo_of_an_undo_that_brought_a_protected_run_back_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    # A clone that knew of no protection reset the table; that is undone here, where the run is protected.
    steps: list[Any] = [
        (0, False, 0, ("protect", "r1", None)),
        (0, False, 0, ("log", "r1", {})),
        (0, False, 0, ("reset", None, None)),
    ]
    (made,) = [made for made in history(steps) if made]
    write(tmp_path / "t.db.events", 0, len(made), made)
    store = open_store(path)
    reader = Reader(path)
    assert len(reader) == 0
    undone = undo(store, made[-1].id, ["default"], "sqlite")
    assert undone.rows_changed == len(reader) == 1
    assert undone.event_id is not None
    with pytest.raises(RunProtected, match="r1"):
        undo(store, undone.event_id, ["default"], "sqlite")
    assert len(reader) == 1
    store.close()


def _content(reader: Reader) -> str:
    return repr((reader.columns, reader.to_df().to_dict("records")))
