"""`xetrack.diff`: rows and cells that differ between stores, moments and revisions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Git
from tests.unit.test_past import RUN, events, needs_git, redact, repository, store, time_of
from xetrack import Reader, Tracker, copy, diff, merge
from xetrack.errors import ColumnNotFound, EventNotFound, InvalidArgument, StoreNotFound, TableNotFound
from xetrack.exchange.diff import DiffReport

__all__ = ["repository", "store"]


def log(db: Path | str, *rows: dict[str, Any], run: str = RUN, table: str = "default") -> str:
    with Tracker(str(db), track_id=run, table=table) as tracker:
        for row in rows:
            tracker.log(row)
    return str(db)


def cells(report: DiffReport) -> list[tuple[str, Any, Any]]:
    return [(change.column, change.a, change.b) for change in report.cells_changed]


def counts(report: DiffReport) -> tuple[int, int, int]:
    return report.rows_added, report.rows_removed, len(report.cells_changed)


def test_store_and_itself_do_not_differ(store: str) -> None:
    report = diff(store, store)
    assert report == DiffReport() and not report.differs
    assert report.to_dict() == {"rows_added": 0, "rows_removed": 0, "cells_changed": []}


def test_copy_that_went_on_differs_in_what_it_did(store: str, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    copy(store, other)
    Reader(other).set_where("a", 8, "b", "x")
    log(other, {"a": 9}, {"a": 10}, run="bold-lynx-2")
    third = events(store)[2].id
    assert diff(store, other).to_dict() == {
        "rows_added": 2,
        "rows_removed": 0,
        "cells_changed": [{"track_id": RUN, "row": third, "column": "a", "a": 2.5, "b": 8}],
    }
    back = diff(other, store)
    assert counts(back) == (0, 2, 1) and cells(back) == [("a", 8, 2.5)]


def test_deleted_run_is_rows_removed(store: str) -> None:
    Reader(store).delete_run(RUN)
    assert counts(diff(f"{store}@-0s", store)) == (0, 0, 0)
    assert counts(diff(f"{store}@{events(store)[2].id}", store)) == (0, 3, 0)


def test_two_moments_of_one_store(store: str) -> None:
    first, second, third = events(store)
    early, late = f"{store}@{second.id}", f"{store}@{time_of(third).isoformat()}"
    report = diff(early, late)
    assert counts(report) == (1, 0, 2)
    assert cells(report) == [("a", 1, 5), ("a", 2, 5)]
    assert [change.row for change in report.cells_changed] == [first.id, second.id]


def test_values_are_compared_as_they_were_logged(tmp_path: Path) -> None:
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    values_a = {"nan": math.nan, "int": 1, "bool": 1, "none": None, "text": "1", "list": [1, {"b": 1, "a": 2}]}
    values_b = {"nan": math.nan, "int": 1.0, "bool": True, "text": 1, "list": [1, {"a": 2, "b": 1}], "new": 3}
    log(one, {"id": 1, **values_a})
    log(two, {"id": 1, **values_b})
    found = {column: (a, b) for column, a, b in cells(diff(one, two, keys=["id"]))}
    assert list(found) == ["int", "bool", "text", "new"]
    assert [list(map(type, pair)) for pair in found.values()] == [
        [int, float], [int, bool], [str, int], [type(None), int],
    ]  # fmt: skip


def test_rows_with_one_key_are_compared_whoever_logged_them(tmp_path: Path) -> None:
    one = log(tmp_path / "one.db", {"model": "a", "seed": 1, "acc": 0.5}, {"model": "a", "seed": 2, "acc": 0.6})
    two = log(
        tmp_path / "two.db", {"seed": 2, "model": "a", "acc": 0.7}, {"seed": 3, "model": "a", "acc": 0.8}, run="r"
    )
    assert counts(diff(one, two)) == (2, 2, 0)
    report = diff(one, two, keys=["model", "seed"])
    assert counts(report) == (1, 1, 1) and cells(report) == [("acc", 0.6, 0.7)]
    assert report.cells_changed[0].track_id == "r"
    assert report.cells_changed[0].row == events(two)[0].id


def test_keys_are_equal_by_value(tmp_path: Path) -> None:
    one = log(tmp_path / "one.db", {"id": 1}, {"id": True}, {"id": "1"})
    two = log(tmp_path / "two.db", {"id": 1.0}, {"id": 1})
    report = diff(one, two, keys=["id"])
    assert counts(report) == (0, 1, 2)


def test_rows_with_one_key_are_paired_in_order_and_with_themselves_first(tmp_path: Path) -> None:
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    log(one, {"id": 1, "x": 1}, {"id": 1, "x": 2}, {"id": 1, "x": 3})
    copy(one, two)
    log(two, {"id": 1, "x": 4})
    assert counts(diff(one, two, keys=["id"])) == (1, 0, 0)
    three = log(tmp_path / "three.db", {"id": 1, "x": 1}, {"id": 1, "x": 7})
    assert counts(diff(one, three, keys=["id"])) == (0, 1, 1)


def test_row_without_a_key_is_compared_with_itself_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    log(one, {"id": None, "x": 1}, {"x": 2}, {"id": math.nan, "x": 3}, {"id": 1, "x": 4})
    copy(one, two)
    assert counts(diff(one, two, keys=["id"])) == (0, 0, 0)
    log(two, {"id": None, "x": 1})
    assert counts(diff(one, two, keys=["id"])) == (1, 0, 0)


def test_key_that_a_side_lacks_is_not_found(tmp_path: Path) -> None:
    one, two = log(tmp_path / "one.db", {"id": 1}), log(tmp_path / "two.db", {"identity": 1})
    with pytest.raises(ColumnNotFound):
        diff(one, two, keys=["id"])
    # A table without rows lacks nothing.
    Reader(two).delete_run(RUN)
    assert counts(diff(one, two, keys=["id"])) == (0, 1, 0)


def test_table_of_one_side_is_empty_on_the_other_and_one_of_none_is_not_found(tmp_path: Path) -> None:
    one, two = log(tmp_path / "one.db", {"x": 1}), log(tmp_path / "two.db", {"x": 1}, table="other")
    assert counts(diff(one, two, table="other")) == (1, 0, 0)
    with pytest.raises(TableNotFound):
        diff(one, two, table="others")


@pytest.mark.parametrize(
    ("a", "error"),
    [("absent.db", StoreNotFound), ("absent.db@-2h", StoreNotFound), ("{db}@yesterday", InvalidArgument),
     ("{db}@", InvalidArgument), ("{db}@abcd-3", EventNotFound)],
)  # fmt: skip
def test_side_that_is_not_there_is_an_error(store: str, tmp_path: Path, a: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        diff(a.format(db=store), store)


def test_path_with_an_at_sign_is_a_path(tmp_path: Path) -> None:
    db = log(tmp_path / "me@home.db", {"x": 1}, {"x": 2})
    assert counts(diff(db, db)) == (0, 0, 0)
    assert counts(diff(f"{db}@{events(db)[0].id}", db)) == (1, 0, 0)


def test_folder_of_the_log_is_a_side(store: str) -> None:
    assert counts(diff(f"{store}.events", store)) == (0, 0, 0)
    assert counts(diff(f"{store}.events@{events(store)[0].id}", store)) == (2, 0, 1)


def test_what_one_side_redacted_is_gone_from_both(store: str, tmp_path: Path) -> None:
    stale = tmp_path / "stale.db"
    copy(store, stale)
    redact(store, events(store)[0].id)
    assert counts(diff(stale, store)) == counts(diff(store, stale)) == (0, 0, 0)


def test_merge_does_what_a_diff_said(tmp_path: Path) -> None:
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    log(one, {"x": 1})
    copy(one, two)
    log(two, {"x": 2})
    Reader(two).set_value("y", "z", track_id=RUN)
    before = diff(one, two)
    merge(two, into=one)
    assert counts(before) == (1, 0, 1) and counts(diff(one, two)) == (0, 0, 0)


@needs_git
def test_revisions_are_compared(repository: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    db = repository / "track.db"
    assert counts(diff("git:one", db)) == (1, 0, 0)
    assert counts(diff(db, "git:other")) == (1, 1, 0)
    assert counts(diff(f"{db}@git:one", f"{db}@git:other")) == (1, 0, 0)
    monkeypatch.chdir(repository)
    assert counts(diff("git:main", "git:other:track.db")) == (1, 1, 0)
    redact(str(db), events(str(db))[0].id)
    assert counts(diff("git:one", db)) == (1, 0, 0)


@needs_git
def test_what_the_work_tree_redacted_is_gone_from_two_revisions(
    repository: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(repository, "mv", "track.db.events", "runs.db.events")  # another name than the default
    git(repository, "commit", "-m", "moved")
    git(repository, "rm", "-r", "-q", "runs.db.events")
    git(repository, "commit", "-m", "gone")
    git(repository, "checkout", "main~1")
    monkeypatch.chdir(repository)
    assert counts(diff("git:one", "git:main~1")) == (1, 0, 0)
    redact("runs.db", events("runs.db")[1].id)
    assert counts(diff("git:one", "git:main~1")) == (0, 0, 0)
