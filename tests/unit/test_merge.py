"""``xetrack.merge``: what it takes over, what it reports, and what it leaves alone."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.strategies import signed
from xetrack import Reader, Tracker, copy, merge
from xetrack.errors import (
    DiskFull,
    ForeignFile,
    FormatTooNew,
    InvalidArgument,
    InvalidTable,
    MergeConflict,
    NotAStore,
    SameIdDifferentEvent,
    StoreNotFound,
)
from xetrack.exchange.report import MergeReport
from xetrack.log.clock import wall_us
from xetrack.log.events import Event, EventUndone, RowLogged, RunProtected, ValueSet
from xetrack.store import open_store

RUN = "calm-otter-1"


def files(db: str) -> dict[str, bytes]:
    root = Path(f"{db}.events")
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def log(db: str, *rows: dict[str, Any], run: str = RUN, table: str = "default", **options: Any) -> None:
    with Tracker(db, track_id=run, table=table, **options) as tracker:
        for row in rows:
            tracker.log(row)


def cells(db: str, column: str, table: str = "default") -> list[Any]:
    with contextlib.closing(open_store(db)) as store:
        return store.table(table).column(column)


def events(db: str) -> list[Event]:
    """All events of the default table."""
    with contextlib.closing(open_store(db)) as store:
        chunks = [chunk for s in store.log.segments("default") for chunk in store.log.scan("default", s.name)]
        return [event for chunk in chunks for event in chunk.events]


@pytest.fixture
def ours(tmp_path: Path) -> str:
    db = str(tmp_path / "ours.db")
    log(db, {"step": 0}, {"step": 1})
    return db


@pytest.fixture
def theirs(ours: str, tmp_path: Path) -> str:
    """A copy of ours that somebody else goes on with."""
    db = str(tmp_path / "theirs.db")
    shutil.copytree(f"{ours}.events", f"{db}.events")
    return db


# -- what comes over ---------------------------------------------------------


def test_rows_of_several_sources_and_tables_come_in_at_once(tmp_path: Path) -> None:
    one, two, into = (str(tmp_path / f"{name}.db") for name in ("one", "two", "into"))
    log(one, {"x": 1}, run="r1")
    log(two, {"x": 2}, run="r2")
    log(two, {"y": 3}, run="r2", table="metrics")
    log(into, {"x": 0.5}, run="r0")
    report = merge(one, two, into=into)
    assert {name: table.rows_added for name, table in report.tables.items()} == {"default": 2, "metrics": 1}
    assert (report.runs_new, report.runs_touched, report.conflicts) == (["r1", "r2"], [], [])
    assert sorted(cells(into, "x")) == [0.5, 1, 2]
    assert cells(into, "y", "metrics") == [3]


def test_folder_of_a_log_is_a_source_under_any_name(ours: str, tmp_path: Path) -> None:
    shutil.copytree(f"{ours}.events", tmp_path / "backup")
    sources: list[str | Path] = [f"{ours}.events", f"{ours}.events/", Path(f"{ours}.events"), tmp_path / "backup"]
    for number, source in enumerate(sources):
        assert merge(source, into=tmp_path / f"{number}.db").rows_added == 2


def test_columns_that_come_and_widen_are_named(ours: str, theirs: str) -> None:
    log(theirs, {"step": 0.5, "loss a": 1, "Step": 2}, run="r2")
    report = merge(theirs, into=ours)
    assert report.tables["default"].columns_added == ["loss_a", "Step_2"]
    assert report.tables["default"].columns_widened == ["step"]


@pytest.mark.parametrize(
    ("old", "new", "widened"),
    [(1, [2, 3], []), (1, [2, 0.5], ["v"]), (0.5, [1, 2], []), (0.5, [1, 2**60], ["v"]), (1, [None, "a"], ["v"])],
)
def test_column_is_wider_if_any_of_the_new_values_makes_it_so(
    tmp_path: Path, old: Any, new: list[Any], widened: list[str]
) -> None:
    log(str(tmp_path / "into.db"), {"v": old})
    log(str(tmp_path / "source.db"), *({"v": value} for value in new))
    before = Reader(tmp_path / "into.db").dtypes["v"]
    report = merge(tmp_path / "source.db", into=tmp_path / "into.db")
    assert report.tables["default"].columns_widened == widened
    assert (Reader(tmp_path / "into.db").dtypes["v"] is not before) == bool(widened)


def test_columns_have_the_names_that_the_tables_give_them(tmp_path: Path) -> None:
    """The key that appeared first has the plain name, in whatever segment that was."""
    lines = {
        "source": {
            "a": [b'{"kind":"row.logged","id":"aaaaaaaaaaaaaaaa-0","clock":50,"run":"r","data":{"k 1":1}}'],
            "b": [b'{"kind":"row.logged","id":"bbbbbbbbbbbbbbbb-0","clock":10,"run":"r","data":{"k 1":1}}'],
        },
        "into": {"c": [b'{"kind":"row.logged","id":"cccccccccccccccc-0","clock":30,"run":"r","data":{"k_1":1}}']},
    }
    for name, segments in lines.items():
        folder = tmp_path / f"{name}.db.events" / "default"
        folder.mkdir(parents=True)
        (folder.parent / "store.json").write_text('{"format":1}\n')
        for letter, written in segments.items():
            (folder / f"{letter * 16}.jsonl").write_bytes(b"".join(signed(line) + b"\n" for line in written))
    report = merge(tmp_path / "source.db", into=tmp_path / "into.db")
    assert report.tables["default"].columns_added == ["k_1"]
    assert cells(str(tmp_path / "into.db"), "k_1_2") == [None, 1, None]


def test_runs_are_new_or_touched(ours: str, theirs: str) -> None:
    log(ours, {"step": 5}, run="untouched")
    log(theirs, {"step": 2})
    log(theirs, {"step": 0}, run="new")
    report = merge(theirs, into=ours)
    assert (report.runs_new, report.runs_touched) == (["new"], [RUN])


def test_set_touches_the_runs_that_it_reaches(ours: str, theirs: str) -> None:
    log(ours, {"step": 9}, run="later")
    Reader(theirs).set_value("label", "x")
    Reader(theirs).set_where("label", "y", "step", 1)
    report = merge(theirs, into=ours)
    assert (report.runs_new, report.runs_touched) == ([], [RUN])
    assert report.tables["default"].mutations_added == 2
    assert cells(ours, "label") == ["x", "y", None]


def test_dry_run_says_what_the_merge_says_and_writes_nothing(ours: str, theirs: str, tmp_path: Path) -> None:
    log(theirs, {"step": 2.5, "new": object()})
    Reader(theirs).set_value("label", "x")
    Reader(ours).set_value("label", "y")
    before = files(ours)
    planned = merge(theirs, into=ours, dry_run=True)
    assert planned.dry_run and "dry run" in str(planned)
    assert files(ours) == before
    done = merge(theirs, into=ours)
    assert {**planned.to_dict(), "dry_run": False} == done.to_dict()
    assert (done.assets_added, len(done.conflicts)) == (1, 1)
    merge(theirs, into=tmp_path / "absent.db", dry_run=True)
    assert not (tmp_path / "absent.db.events").exists()


def test_report_is_plain_json_and_survives_pickle(ours: str, theirs: str) -> None:
    Reader(theirs).set_value("label", "x")
    Reader(ours).set_value("label", 1)
    report = merge(theirs, into=ours)
    assert set(report.to_dict()) >= {"dry_run", "tables", "runs_new", "runs_touched", "assets_added", "damaged_lines"}
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    assert pickle.loads(pickle.dumps(report)) == report
    assert str(MergeReport()) == "nothing to take over"


def test_clock_more_than_a_day_ahead_is_reported(ours: str, theirs: str) -> None:
    assert merge(theirs, into=ours).future_clocks == {}
    ahead = wall_us() + 3 * 86_400_000_000
    line = signed(b'{"kind":"row.logged","id":"zzzzzzzzzzzzzzzz-1","clock":%d,"run":"r","data":{"x":1}}' % ahead)
    path = Path(f"{theirs}.events", "default", "z" * 16 + ".jsonl")
    path.write_bytes(line + b"\n")
    report = merge(theirs, into=ours)
    assert report.future_clocks == {str(path): ahead}
    assert "day ahead" in str(report)


def test_damaged_and_torn_lines_are_counted_and_left_out(ours: str, theirs: str) -> None:
    log(theirs, {"step": 2}, {"step": 3}, {"step": 4}, run="r2")
    path = max(Path(f"{theirs}.events", "default").iterdir(), key=os.path.getmtime)
    path.write_bytes(path.read_bytes().replace(b'"step":3', b'"step":8')[:-9])
    report = merge(theirs, into=ours)
    assert (report.damaged_lines, report.rows_added) == (2, 2)
    assert cells(ours, "step") == [0, 1, 2, 4]


def test_torn_copy_brings_nothing_and_says_so(ours: str, theirs: str) -> None:
    for path in Path(f"{theirs}.events", "default").iterdir():
        path.write_bytes(path.read_bytes()[:-7])
    before = files(ours)
    report = merge(theirs, into=ours)
    assert (report.damaged_lines, report.rows_added) == (1, 0)
    assert files(ours) == before
    assert merge(ours, into=theirs).rows_added == 0  # the row lines are whole: only the last line was torn
    assert cells(theirs, "step") == [0, 1]


def test_store_of_another_engine_gets_no_tables_that_nobody_asked_for(theirs: str, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    db = str(tmp_path / "columns.db")
    log(db, {"step": 7}, engine="duckdb")
    before = {path.name for path in tmp_path.iterdir() if path.name.startswith("columns.")}
    Reader(theirs).set_value("label", "x")
    report = merge(theirs, into=db)
    assert (report.rows_added, report.conflicts) == (2, [])
    assert Reader(db, engine="duckdb").to_df()["step"].tolist() == [0, 1, 7]
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith("columns.")} == before
    assert copy(db, theirs) == 1
    assert cells(theirs, "label") == ["x", "x", None]


# -- again, itself, older, empty ---------------------------------------------


def test_merging_again_changes_nothing(ours: str, theirs: str) -> None:
    log(theirs, {"step": 2, "new": object()})
    merge(theirs, into=ours)
    before = files(ours)
    again = merge(theirs, into=ours)
    assert files(ours) == before
    assert (again.rows_added, again.assets_added, again.conflicts, again.runs_touched) == (0, 0, [], [])


def test_merging_a_store_with_itself_changes_nothing(ours: str) -> None:
    before = files(ours)
    assert merge(ours, f"{ours}.events", into=ours).rows_added == 0
    assert files(ours) == before


def test_merging_an_older_copy_changes_nothing(ours: str, theirs: str) -> None:
    log(ours, {"step": 2})
    Reader(ours).delete_run(RUN)
    before = files(ours)
    report = merge(theirs, into=ours)
    assert (report.rows_added, report.conflicts) == (0, [])
    assert files(ours) == before


def test_merging_an_empty_store_changes_nothing(ours: str, tmp_path: Path) -> None:
    open_store(tmp_path / "empty.db", create=True).close()
    before = files(ours)
    report = merge(tmp_path / "empty.db", into=ours)
    assert str(report) == "nothing to take over"
    assert files(ours) == before
    assert merge(ours, into=tmp_path / "empty.db").rows_added == 2


def test_order_of_sources_does_not_matter(ours: str, theirs: str, tmp_path: Path) -> None:
    Reader(ours).set_value("label", "a")
    Reader(theirs).set_value("label", "b")
    log(theirs, {"step": 7})
    merge(ours, theirs, into=tmp_path / "one.db")
    merge(theirs, into=tmp_path / "two.db")
    merge(ours, into=tmp_path / "two.db")
    assert Reader(tmp_path / "one.db").to_df().equals(Reader(tmp_path / "two.db").to_df())


def test_tracker_that_lives_on_both_sides_of_a_merge_goes_on(ours: str, theirs: str) -> None:
    with Tracker(ours, track_id="mine") as mine, Tracker(theirs, track_id="other") as other:
        for number in range(3):
            mine.log({"step": number})
            other.log({"step": number})
            merge(theirs, into=ours)
            merge(ours, into=theirs)
    assert cells(ours, "step") == cells(theirs, "step") == [0, 1, 0, 0, 1, 1, 2, 2]


# -- conflicts ---------------------------------------------------------------


def test_two_values_of_one_cell_are_a_conflict_and_the_later_stands(ours: str, theirs: str) -> None:
    Reader(ours).set_value("label", "good", track_id=RUN)
    Reader(theirs).set_value("label", "bad", track_id=RUN)
    (conflict,) = merge(theirs, into=ours).conflicts
    assert (conflict.kind, conflict.table, conflict.track_id, conflict.column) == ("set/set", "default", RUN, "label")
    assert (conflict.ours.value, conflict.theirs.value, conflict.winner) == ("good", "bad", "theirs")
    assert "@" in conflict.ours.author
    assert (conflict.row, conflict.row_count) == (None, 2)
    assert cells(ours, "label") == ["bad", "bad"]
    assert merge(theirs, into=ours).conflicts == []
    (mirrored,) = merge(ours, into=theirs).conflicts
    assert (mirrored.ours, mirrored.theirs, mirrored.winner) == (conflict.theirs, conflict.ours, "ours")
    assert cells(theirs, "label") == ["bad", "bad"]


def test_conflict_about_one_row_names_it(ours: str, theirs: str) -> None:
    Reader(ours).set_where("label", "good", "step", 1)
    Reader(theirs).set_value("label", "bad", track_id=RUN)
    (conflict,) = merge(theirs, into=ours).conflicts
    assert conflict.row is not None and conflict.row.endswith("-2")


def test_no_conflict_without_a_common_cell_or_with_equal_values(ours: str, theirs: str) -> None:
    Reader(ours).set_where("label", "good", "step", 0)
    Reader(theirs).set_where("label", "bad", "step", 1)
    Reader(ours).set_value("same", 1)
    Reader(theirs).set_value("same", 1)
    assert merge(theirs, into=ours).conflicts == []


def test_one_and_one_point_nought_are_different_values(ours: str, theirs: str) -> None:
    Reader(ours).set_value("label", 1)
    Reader(theirs).set_value("label", 1.0)
    assert len(merge(theirs, into=ours).conflicts) == 1


def test_set_that_had_seen_both_settles_them(ours: str, theirs: str, tmp_path: Path) -> None:
    Reader(ours).set_value("label", "good")
    Reader(theirs).set_value("label", "bad")
    third = str(tmp_path / "third.db")
    merge(ours, theirs, into=third)
    Reader(third).set_value("label", "middling")
    assert merge(third, into=ours).conflicts == []
    assert cells(ours, "label") == ["middling"] * 2


def test_undone_set_is_no_side_of_a_conflict(ours: str, theirs: str) -> None:
    Reader(ours).set_value("label", "good")
    (event,) = [event for event in events(ours) if isinstance(event, ValueSet)]
    writer, _, seq = event.id.rpartition("-")
    with contextlib.closing(open_store(ours)) as store:
        store.log.writer("default").append(EventUndone, events={writer: seq}, seen={writer: f"0-{seq}"})
    Reader(theirs).set_value("label", "bad")
    assert merge(theirs, into=ours).conflicts == []


def test_delete_wins_over_a_set_that_had_not_seen_it(ours: str, theirs: str) -> None:
    Reader(ours).set_value("label", "good")
    Reader(theirs).delete_run(RUN)
    (conflict,) = merge(theirs, into=ours).conflicts
    assert (conflict.kind, conflict.column, conflict.winner) == ("delete/set", "label", "theirs")
    assert (conflict.ours.value, conflict.theirs.value) == ("good", None)
    assert len(Reader(ours)) == 0


def test_row_that_was_undone_is_no_part_of_a_conflict(ours: str, tmp_path: Path) -> None:
    (row,) = [event for event in events(ours) if isinstance(event, RowLogged) and event.data == {"step": 1}]
    writer, _, seq = row.id.rpartition("-")
    with contextlib.closing(open_store(ours)) as store:
        store.log.writer("default").append(EventUndone, events={writer: seq}, seen={writer: "0-3"})
    theirs = str(tmp_path / "theirs.db")
    shutil.copytree(f"{ours}.events", f"{theirs}.events")
    Reader(ours).set_value("label", "good")
    Reader(theirs).delete_run(RUN)
    (conflict,) = merge(theirs, into=ours).conflicts
    assert (conflict.kind, conflict.row_count) == ("delete/set", 1)


@pytest.mark.parametrize("deleted_here", [True, False])
def test_rows_logged_meanwhile_survive_a_delete_and_are_reported(ours: str, theirs: str, deleted_here: bool) -> None:
    Reader(ours if deleted_here else theirs).delete_run(RUN)
    log(theirs if deleted_here else ours, {"step": 2}, {"step": 3})
    report = merge(theirs, into=ours)
    (conflict,) = report.conflicts
    assert (conflict.kind, conflict.track_id, conflict.row_count) == ("delete/rows", RUN, 2)
    assert conflict.winner == ("theirs" if deleted_here else "ours")
    assert cells(ours, "step") == [2, 3]
    assert report.rows_added == (2 if deleted_here else 0)


def test_run_that_goes_on_after_its_deletion_is_no_conflict(ours: str, theirs: str, tmp_path: Path) -> None:
    Reader(theirs).delete_run(RUN)
    log(theirs, {"step": 9})
    assert merge(theirs, into=tmp_path / "fresh.db").conflicts == []
    assert merge(theirs, into=ours).conflicts == []
    assert cells(ours, "step") == [9]


def test_writer_that_goes_on_within_the_reading_of_its_deletion_is_no_conflict(ours: str, tmp_path: Path) -> None:
    lines = [
        signed(b'{"kind":"row.logged","id":"zzzzzzzzzzzzzzzz-0","clock":5,"run":"r","data":{"x":1}}'),
        signed(b'{"kind":"run.deleted","id":"zzzzzzzzzzzzzzzz-1","clock":5,"run":"r","seen":{"zzzzzzzzzzzzzzzz":"0"}}'),
        signed(b'{"kind":"row.logged","id":"zzzzzzzzzzzzzzzz-2","clock":5,"run":"r","data":{"x":2}}'),
    ]
    Path(f"{ours}.events", "default", "z" * 16 + ".jsonl").write_bytes(b"\n".join([*lines, b""]))
    assert merge(ours, into=tmp_path / "fresh.db").conflicts == []


def test_conflict_that_an_event_settles_is_over_in_cells_that_come_back_later(
    ours: str, theirs: str, tmp_path: Path
) -> None:
    sides = []
    for db, value in ((ours, "good"), (theirs, "bad")):
        Reader(db).set_value("label", value, track_id=RUN)
        sides += [event for event in events(db) if isinstance(event, ValueSet)]
    merge(theirs, into=ours)
    settles = {event.id.rpartition("-")[0]: "1" for event in sides}
    (row,) = [event for event in events(ours) if isinstance(event, RowLogged) and event.data == {"step": 0}]
    writer, _, seq = row.id.rpartition("-")
    seen = {event.id.rpartition("-")[0]: "0-9" for event in events(ours)}
    with contextlib.closing(open_store(ours)) as store:
        store.log.writer("default").append(
            ValueSet, rows={writer: seq}, key="label", value="good", settles=settles, seen=seen
        )
    assert merge(ours, into=tmp_path / "fresh.db").conflicts == []


def put(db: Path, *lines: str) -> None:
    """Make a store of one segment with these lines."""
    folder = Path(f"{db}.events", "default")
    folder.mkdir(parents=True)
    (folder.parent / "store.json").write_text('{"format":1}\n')
    (folder / f"{'z' * 16}.jsonl").write_bytes(b"".join(signed(line.encode()) + b"\n" for line in lines))


def test_frontier_that_builds_on_an_earlier_one_is_read_whole(tmp_path: Path) -> None:
    a, b, c = "a" * 16, "b" * 16, "c" * 16
    put(
        tmp_path / "one.db",
        f'{{"kind":"row.logged","id":"{a}-0","clock":1,"run":"r","data":{{"x":1}}}}',
        f'{{"kind":"value.set","id":"{b}-0","clock":2,"run":"r","key":"y","value":7,"seen":{{"{a}":"0"}}}}',
        f'{{"kind":"row.logged","id":"{a}-1","clock":3,"run":"r","data":{{"x":2}}}}',
        f'{{"kind":"value.set","id":"{b}-1","clock":4,"run":"r","key":"x","value":8,"seen":{{"{a}":"1"}},"base":"{b}-0"}}',
    )
    put(
        tmp_path / "two.db",
        f'{{"kind":"value.set","id":"{c}-0","clock":5,"run":"r","key":"x","value":9,"seen":{{"{a}":"0-1"}}}}',
    )
    (conflict,) = merge(tmp_path / "one.db", tmp_path / "two.db", into=tmp_path / "into.db").conflicts
    assert conflict.rows == {a: "0-1"}


def test_cells_that_a_later_set_did_not_reach_are_still_those_of_the_first(tmp_path: Path) -> None:
    """As after a checkout: the author of both had less in view when it set the second time."""
    a, b, c = "a" * 16, "b" * 16, "c" * 16
    put(
        tmp_path / "one.db",
        f'{{"kind":"row.logged","id":"{a}-0","clock":1,"run":"r","data":{{"x":1}}}}',
        f'{{"kind":"row.logged","id":"{a}-1","clock":2,"run":"r","data":{{"x":2}}}}',
        f'{{"kind":"value.set","id":"{b}-0","clock":3,"run":"r","key":"x","value":7,"seen":{{"{a}":"0-1"}}}}',
        f'{{"kind":"value.set","id":"{b}-1","clock":4,"run":"r","key":"x","value":8,"seen":{{"{a}":"0","{b}":"0"}}}}',
    )
    put(
        tmp_path / "two.db",
        f'{{"kind":"value.set","id":"{c}-0","clock":5,"run":"r","key":"x","value":9,"seen":{{"{a}":"0-1"}}}}',
    )
    conflicts = merge(tmp_path / "one.db", tmp_path / "two.db", into=tmp_path / "into.db").conflicts
    assert [(one.ours.value, one.theirs.value, one.row) for one in conflicts] == [(7, 9, f"{a}-1"), (8, 9, f"{a}-0")]


def test_set_of_all_rows_does_not_touch_rows_that_are_merged_in(ours: str, theirs: str) -> None:
    log(theirs, {"step": 7}, run="r2")
    Reader(ours).set_value("label", "mine")
    merge(theirs, into=ours)
    assert cells(ours, "label") == ["mine", "mine", None]


def test_delete_of_a_protected_run_is_applied_and_reported(ours: str, theirs: str) -> None:
    with contextlib.closing(open_store(ours)) as store:
        store.log.writer("default").append(RunProtected, run=RUN, seen={})
    Reader(theirs).delete_run(RUN)
    (conflict,) = merge(theirs, into=ours).conflicts
    assert (conflict.kind, conflict.track_id, conflict.winner) == ("delete/protected", RUN, "theirs")
    assert len(Reader(ours)) == 0


# -- policies ----------------------------------------------------------------


def test_policy_error_takes_nothing_over(ours: str, theirs: str, tmp_path: Path) -> None:
    Reader(ours).set_value("label", "good")
    Reader(theirs).set_value("label", "bad")
    log(theirs, {"step": 2, "new": object()})
    before = files(ours)
    with pytest.raises(MergeConflict) as caught:
        merge(theirs, into=ours, policy="error")
    report = caught.value.report
    assert isinstance(report, MergeReport) and len(report.conflicts) == 1
    assert files(ours) == before
    assert merge(theirs, into=tmp_path / "fresh.db", policy="error").rows_added == 3
    with pytest.raises(MergeConflict):
        merge(ours, theirs, into=tmp_path / "other.db", policy="error")
    assert not (tmp_path / "other.db.events").exists()


@pytest.mark.parametrize("sides", [("ours", "theirs"), ("theirs", "ours")])
@pytest.mark.parametrize("policy", ["ours", "theirs"])
def test_policy_settles_for_good(ours: str, theirs: str, tmp_path: Path, policy: Any, sides: tuple[str, str]) -> None:
    """Whoever set last: the policy decides, everywhere, and nobody is asked again."""
    for side in sides:
        Reader({"ours": ours, "theirs": theirs}[side]).set_value("label", side, track_id=RUN)
    (conflict,) = merge(theirs, into=ours, policy=policy).conflicts
    assert conflict.winner == policy
    assert cells(ours, "label") == [policy] * 2
    assert merge(theirs, into=ours, policy=policy).conflicts == []
    assert merge(ours, into=theirs).conflicts == []
    assert cells(theirs, "label") == [policy] * 2
    assert merge(ours, theirs, into=tmp_path / "third.db").conflicts == []
    with contextlib.closing(open_store(ours)) as store:
        assert store.verify().ok


def test_policy_leaves_other_cells_alone(ours: str, theirs: str) -> None:
    Reader(theirs).set_value("label", "bad", track_id=RUN)
    Reader(ours).set_where("label", "good", "step", 1)
    merge(theirs, into=ours, policy="theirs")
    assert cells(ours, "label") == ["bad", "bad"]
    Reader(theirs).set_value("note", "all", track_id=RUN)
    Reader(ours).set_where("note", "one", "step", 1)
    merge(theirs, into=ours, policy="ours")
    assert cells(ours, "note") == ["all", "one"]


def test_policies_of_one_side_want_one_source(ours: str, theirs: str) -> None:
    for wrong in ({"policy": "ours"}, {"policy": "mine"}):
        with pytest.raises(InvalidArgument):
            merge(theirs, theirs, into=ours, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        merge(into=ours)
    with pytest.raises(InvalidArgument):
        merge(ours, into=":memory:")


# -- errors ------------------------------------------------------------------


def newer(ours: str, theirs: str) -> None:
    Path(f"{theirs}.events", "store.json").write_text('{"format":2}\n')


def newer_segment(ours: str, theirs: str) -> None:
    line = signed(b'{"kind":"writer.started","id":"zzzzzzzzzzzzzzzz-0","clock":5,"format":"2.0"}')
    Path(f"{theirs}.events", "default", "z" * 16 + ".jsonl").write_bytes(line + b"\n")


def edited(ours: str, theirs: str) -> None:
    for path in Path(f"{theirs}.events", "default").iterdir():
        lines = path.read_bytes().splitlines()
        body = lines[2].replace(b'"step":1', b'"step":8')[:-18]
        path.write_bytes(b"\n".join([*lines[:2], signed(body + b"}"), *lines[3:], b""]))


def removed(ours: str, theirs: str) -> None:
    shutil.rmtree(f"{theirs}.events")
    Path(theirs).unlink(missing_ok=True)


def not_a_store(ours: str, theirs: str) -> None:
    removed(ours, theirs)
    Path(theirs).mkdir()


def text_file(ours: str, theirs: str) -> None:
    removed(ours, theirs)
    Path(theirs).write_text("step,loss\n1,2\n")


def foreign_database(ours: str, theirs: str) -> None:
    removed(ours, theirs)
    with contextlib.closing(sqlite3.connect(theirs)) as conn:
        conn.execute("CREATE TABLE mine (x)")


def other_case(ours: str, theirs: str) -> None:
    Path(f"{theirs}.events", "default").rename(f"{theirs}.events/Default")


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (newer, FormatTooNew),
        (newer_segment, FormatTooNew),
        (edited, SameIdDifferentEvent),
        (removed, StoreNotFound),
        (not_a_store, NotAStore),
        (text_file, ForeignFile),
        (foreign_database, ForeignFile),
        (other_case, InvalidTable),
    ],
)
def test_error_leaves_the_target_byte_for_byte_as_it_was(
    ours: str, theirs: str, harm: Callable[[str, str], None], error: type[Exception], tmp_path: Path
) -> None:
    good = str(tmp_path / "good.db")
    log(good, {"x": 1}, {"x": object()}, run="good")
    log(theirs, {"step": 2})
    harm(ours, theirs)
    Reader(ours).to_df()
    before = files(ours), Path(ours).read_bytes()
    for sources in ([theirs], [good, theirs]):
        with pytest.raises(error):
            merge(*sources, into=ours)
        assert (files(ours), Path(ours).read_bytes()) == before
    assert cells(ours, "step") == [0, 1]


def test_two_sources_that_differ_under_one_id_are_refused(ours: str, theirs: str, tmp_path: Path) -> None:
    edited(ours, theirs)
    with pytest.raises(SameIdDifferentEvent):
        merge(ours, theirs, into=tmp_path / "new.db")
    assert not (tmp_path / "new.db.events").exists()


def test_second_source_is_held_against_the_target_too(ours: str, theirs: str, tmp_path: Path) -> None:
    into = str(tmp_path / "into.db")
    copy(ours, into)
    edited(ours, theirs)
    for sources in ((ours, theirs), (theirs, ours)):
        with pytest.raises(SameIdDifferentEvent):
            merge(*sources, into=into)


def test_stub_equals_its_original(ours: str, theirs: str) -> None:
    for path in Path(f"{theirs}.events", "default").iterdir():
        lines = path.read_bytes().splitlines()
        fields = json.loads(lines[2])
        stub = {"kind": "payload.stub", "id": fields["id"], "clock": fields["clock"], "was": "row.logged"}
        path.write_bytes(
            b"\n".join([*lines[:2], signed(json.dumps(stub, separators=(",", ":")).encode()), *lines[3:], b""])
        )
    assert merge(theirs, into=ours).rows_added == 0
    assert merge(ours, into=theirs).rows_added == 0
    assert cells(theirs, "step") == [0]


def test_full_disk_takes_nothing_over(ours: str, theirs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log(theirs, {"step": 2}, table="metrics")
    log(theirs, {"step": 2})
    before = files(ours)
    calls = []
    fsync = os.fsync

    def full(fd: int) -> None:
        calls.append(fd)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        fsync(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull):
            merge(theirs, into=ours)
    assert files(ours) == before
    assert not Path(f"{ours}.events", "metrics").exists()
    assert merge(theirs, into=ours).rows_added == 2


def test_object_of_a_source_is_checked_and_its_absence_reported(ours: str, theirs: str, tmp_path: Path) -> None:
    log(theirs, {"new": {"a": object()}})
    whole = str(tmp_path / "whole.db")
    copy(theirs, whole)
    (path,) = Path(f"{theirs}.events", "_assets").rglob("*.zst")
    path.write_bytes(b"not an object")
    report = merge(theirs, into=ours)
    assert (report.assets_added, report.assets_missing) == (0, [path.stem])
    report = merge(theirs, whole, into=ours)
    assert (report.assets_added, report.assets_missing) == (1, [])
