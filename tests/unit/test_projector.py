"""Arrivals that are late, one by one: each must end as if it had come in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.property.test_projection import WRITERS, dump, expected, write
from xetrack.log import events as ev
from xetrack.log.log import FileLog
from xetrack.tables.projector import Projector
from xetrack.tables.sqlite import SqliteTables

A, B, C = WRITERS


def row(id: str, clock: int, data: dict[str, Any], run: str = "r") -> ev.Event:
    return ev.RowLogged(id=id, clock=clock, run=run, data=data)


def put(id: str, clock: int, value: Any, seen: dict[str, str], key: str = "x") -> ev.Event:
    return ev.ValueSet(id=id, clock=clock, run=None, key=key, value=value, seen=seen)


def arrive(root: Path, *steps: tuple[int, list[ev.Event]]) -> list[tuple[Any, ...]]:
    """Let segments arrive (or grow) one after the other, catching up each time; return the rows."""
    log, backend = FileLog(root), SqliteTables(None)
    projector = Projector(log, backend)
    there: dict[int, list[ev.Event]] = {}
    for author, events in steps:
        there[author] = events
        write(root, author, len(events), events)
        projector.catch_up("default")
        assert dump(projector, backend) == expected([event for part in there.values() for event in part])
    rows = backend.conn.run('SELECT * FROM "default" ORDER BY _rowid_').fetchall()
    backend.close()
    return [tuple(cells[1:]) for cells in rows]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "t.db.events"


def test_late_set_does_not_win_over_a_later_one(root: Path) -> None:
    seen = {A: "0"}
    rows = arrive(
        root,
        (0, [row(f"{A}-0", 10, {"x": 0})]),
        (1, [put(f"{B}-0", 30, 30, seen)]),
        (2, [put(f"{C}-0", 20, 20, seen)]),
    )
    assert rows == [("r", 30)]


def test_late_row_takes_its_place_between_others_of_its_microsecond(root: Path) -> None:
    rows = arrive(
        root,
        (0, [row(f"{A}-0", 10, {"x": 1}), row(f"{A}-1", 10, {"x": 2})]),
        (2, [row(f"{C}-0", 10, {"x": 4})]),
        (1, [row(f"{B}-0", 10, {"x": 3})]),
    )
    assert [x for _, x in rows] == [1, 2, 3, 4]


def test_late_rows_in_front_of_a_full_microsecond_still_come_first(root: Path) -> None:
    many = [row(f"{B}-{number}", 10, {"x": number}) for number in range(1024)]
    rows = arrive(root, (1, many), (0, [row(f"{A}-{number}", 10, {"x": -1}) for number in range(1024)]))
    assert [x for _, x in rows] == [-1] * 1024 + list(range(1024))


def test_more_rows_than_a_microsecond_holds_stay_in_order(root: Path) -> None:
    parts = [[row(f"{name}-{number}", 10, {"x": number}) for number in range(1024)] for name in WRITERS]
    rows = arrive(root, (2, parts[2]), (0, parts[0]), (1, parts[1]), (0, [*parts[0], row(f"{A}-1024", 11, {"x": 7})]))
    assert [x for _, x in rows] == [*range(1024), *range(1024), *range(1024), 7]


def test_late_first_appearance_of_a_key_orders_the_columns(root: Path) -> None:
    rows = arrive(root, (0, [row(f"{A}-0", 20, {"b": 1, "a": 2})]), (1, [row(f"{B}-0", 10, {"a": 3})]))
    assert rows == [("r", 3, None), ("r", 2, 1)]


def test_late_key_takes_the_plain_name_from_one_that_looks_alike(root: Path) -> None:
    arrive(root, (0, [row(f"{A}-0", 20, {"a b": 1})]), (1, [row(f"{B}-0", 10, {"a_b": 2})]))


def test_delete_spares_rows_its_author_had_not_seen(root: Path) -> None:
    rows = arrive(
        root,
        (0, [row(f"{A}-0", 10, {"x": 1}), row(f"{A}-1", 11, {"x": 2})]),
        (1, [ev.RunDeleted(id=f"{B}-0", clock=20, run="r", seen={A: "0"})]),
    )
    assert rows == [("r", 2)]


def test_row_that_a_delete_had_seen_stays_hidden_when_it_arrives_after_it(root: Path) -> None:
    rows = arrive(
        root,
        (1, [ev.RunDeleted(id=f"{B}-0", clock=20, run="r", seen={A: "0"})]),
        (0, [row(f"{A}-0", 10, {"x": 1}), row(f"{A}-1", 11, {"x": 2})]),
    )
    assert rows == [("r", 2)]


def test_undone_undo_deletes_again(root: Path) -> None:
    first = [row(f"{A}-0", 10, {"x": 1}), ev.RunDeleted(id=f"{A}-1", clock=11, run="r", seen={A: "0"})]
    undo = ev.EventUndone(id=f"{B}-0", clock=20, events={A: "1"}, seen={A: "0-1"})
    again = ev.EventUndone(id=f"{B}-1", clock=21, events={B: "0"}, seen={A: "0-1", B: "0"})
    assert arrive(root / "1", (0, first), (1, [undo])) == [("r", 1)]
    assert arrive(root / "2", (0, first), (1, [undo]), (1, [undo, again])) == []


def test_set_reaches_hidden_rows_that_come_back(root: Path) -> None:
    rows = arrive(
        root,
        (
            0,
            [
                row(f"{A}-0", 10, {"x": 1}),
                ev.RunDeleted(id=f"{A}-1", clock=11, run="r", seen={A: "0"}),
                put(f"{A}-2", 12, 5, {A: "0-1"}),
            ],
        ),
        (1, [ev.EventUndone(id=f"{B}-0", clock=20, events={A: "1"}, seen={A: "0-2"})]),
    )
    assert rows == [("r", 5)]


def test_reset_spares_rows_it_had_not_seen_and_drops_columns_only_it_saw(root: Path) -> None:
    rows = arrive(
        root,
        (0, [row(f"{A}-0", 10, {"old": 1}), row(f"{A}-1", 11, {"new": 2})]),
        (1, [ev.TableReset(id=f"{B}-0", clock=20, seen={A: "0"})]),
    )
    assert rows == [("r", 2)]


def test_frontier_written_as_a_difference_reaches_what_its_base_had_seen(root: Path) -> None:
    base = ev.ValueSet(id=f"{B}-0", clock=20, run=None, key="y", value=1, seen={A: "0"})
    after = ev.ValueSet(id=f"{B}-1", clock=21, run=None, key="x", value=9, seen={B: "0"}, base=f"{B}-0")
    log, backend = FileLog(root), SqliteTables(None)
    write(root, 0, 1, [row(f"{A}-0", 10, {"x": 1})])
    write(root, 1, 2, [base, after])
    Projector(log, backend).catch_up("default")
    assert backend.conn.run('SELECT x, y FROM "default"').fetchall() == [(9, 1)]
    backend.close()


def test_text_in_a_number_column_shows_every_cell_as_it_was_logged(root: Path) -> None:
    events = [row(f"{A}-{number}", 10 + number, {"x": value}) for number, value in enumerate([1, 0.1 + 0.2, "007"])]
    assert [x for _, x in arrive(root, (0, events[:1]), (0, events[:2]), (0, events))] == ["1", repr(0.1 + 0.2), "007"]


def test_segment_replaced_by_a_longer_one_is_noticed(root: Path) -> None:
    old = [row(f"{A}-{number}", 10 + number, {"x": number}) for number in range(3)]
    new = [row(f"{A}-{number}", 10 + number, {"x": 100 + number}) for number in range(5)]
    assert [x for _, x in arrive(root, (0, old), (0, new))] == [100, 101, 102, 103, 104]


def test_segment_cut_back_is_noticed(root: Path) -> None:
    events = [row(f"{A}-{number}", 10 + number, {"x": number}) for number in range(5)]
    assert [x for _, x in arrive(root, (0, events), (0, events[:2]))] == [0, 1]


def test_rows_of_a_segment_without_its_header_say_that_they_show_utc(root: Path) -> None:
    header = ev.WriterStarted(id=f"{A}-0", clock=10, format="1.0", utc_offset_s=3600)
    log, backend = FileLog(root), SqliteTables(None)
    write(root, 0, 2, [header, row(f"{A}-1", 11, {"x": 1})])
    write(root, 1, 1, [row(f"{B}-1", 12, {"x": 2})])
    projector = Projector(log, backend)
    projector.catch_up("default")
    times = [time for (time,) in backend.conn.run('SELECT timestamp FROM "default" ORDER BY _rowid_')]
    assert times == ["1970-01-01 01:00:00.000011", "1970-01-01 00:00:00.000012+00:00"]
    write(root, 2, 1, [ev.WriterStarted(id=f"{B}-0", clock=9, format="1.0", utc_offset_s=7200)])
    projector.catch_up("default")
    times = [time for (time,) in backend.conn.run('SELECT timestamp FROM "default" ORDER BY _rowid_')]
    assert times == ["1970-01-01 01:00:00.000011", "1970-01-01 02:00:00.000012"]
    backend.close()
