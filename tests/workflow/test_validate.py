"""Checks of a benchmark: each finds what it is for, and nothing in a sound one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xetrack import Tracker
from xetrack.errors import ColumnNotFound, StoreNotFound
from xetrack.workflow.validate import Validation, validate


def _checked(folder: Path, rows: dict[str, list[dict[str, Any]]], **options: Any) -> Validation:
    db = str(folder / "b.db")
    for run, group in rows.items():
        with Tracker(db, track_id=run) as tracker:
            tracker.log_batch(group)
    return validate(db, **options)


def _found(report: Validation) -> dict[str, int]:
    return {problem.check: problem.count for problem in report.problems}


def _row(i: int, **more: Any) -> dict[str, Any]:
    return {"item_id": i, "split": "test", "model": "a", "correct": i % 3 == 0, **more}


def test_a_sound_benchmark_has_no_problems(tmp_path: Path) -> None:
    rows = {"one": [_row(i) for i in range(5)], "two": [_row(i, model="b") for i in range(5)]}
    report = _checked(tmp_path, rows)
    assert report.ok, report.problems
    assert (report.rows, report.runs) == (10, 2)
    assert list(report.skipped) == ["failures"]


def test_work_that_was_done_twice_is_found(tmp_path: Path) -> None:
    rows = {"one": [_row(1), _row(2)], "two": [_row(1), _row(3)]}
    report = _checked(tmp_path, rows)
    assert _found(report) == {"duplicates": 1}
    assert report.problems[0].examples == [{"rows": 2, "runs": ["one", "two"]}]


def test_tracked_calls_with_the_same_arguments_are_duplicates_unless_cached(tmp_path: Path) -> None:
    db = str(tmp_path / "b.db")
    plain = Tracker(db, table="plain")
    for x in (1, 2, 1):
        plain.track(pow, args=[x, 2])
    cached = Tracker(db, table="cached", cache=str(tmp_path / "cache"))
    for x in (1, 2, 1):
        cached.track(pow, args=[x, 2])
    assert _found(validate(db, "plain")) == {"duplicates": 1}
    assert validate(db, "cached").ok


def test_items_in_training_and_test_rows_are_a_leak(tmp_path: Path) -> None:
    rows = {"one": [_row(i, split="train") for i in range(4)], "two": [_row(i) for i in (3, 4, 5)]}
    report = _checked(tmp_path, rows)
    assert _found(report)["leaks"] == 1
    assert report.problems[0].examples == ["3"]
    assert "leaks" not in _found(validate(str(tmp_path / "b.db"), item="correct", split="model"))


def test_without_a_split_column_the_leak_check_says_so(tmp_path: Path) -> None:
    report = _checked(tmp_path, {"one": [{"item_id": 1, "x": 1.5}]})
    assert "--split" in report.skipped["leaks"]


def test_parameters_that_some_runs_lack_are_found(tmp_path: Path) -> None:
    rows = {"one": [_row(1, seed=3), _row(2, seed=3)], "two": [_row(3), _row(4)], "three": [_row(5, seed=1), _row(6)]}
    messages = [problem.message for problem in _checked(tmp_path, rows).problems if problem.check == "missing"]
    assert messages == ["1 run has no 'seed'", "1 run has 'seed' in some rows only"]


@pytest.mark.parametrize("names", [("lr", "learning_rate"), ("batch_size", "batchsize"), ("optim", "optimizer")])
def test_a_parameter_renamed_between_runs_is_found(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = {"one": [_row(1, **{names[0]: 3})], "two": [_row(2, **{names[1]: 4})]}
    renamed = [problem.examples for problem in _checked(tmp_path, rows).problems if problem.check == "renames"]
    assert renamed == [list(names)]


def test_floats_that_are_not_rounded_are_found(tmp_path: Path) -> None:
    rows = {"one": [_row(1, lr=0.1 + 0.2), _row(2, lr=0.1 + 0.2)], "two": [_row(3, lr=1e-05), _row(4, lr=1e-05)]}
    floats = [problem for problem in _checked(tmp_path, rows).problems if problem.check == "floats"]
    assert [problem.examples for problem in floats] == [[0.1 + 0.2]]


def test_failed_calls_are_counted_by_error(tmp_path: Path) -> None:
    tracker = Tracker(str(tmp_path / "b.db"), raise_on_error=False)
    for x in ("1", "x", "y"):
        tracker.track(int, args=[x])
    report = validate(str(tmp_path / "b.db"))
    assert _found(report)["failures"] == 2


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        validate(str(tmp_path / "nope.db"))
    with pytest.raises(ColumnNotFound):
        _checked(tmp_path, {"one": [_row(1)]}, split="splitt")


def test_an_empty_table_is_ok(tmp_path: Path) -> None:
    Tracker(str(tmp_path / "b.db")).close()
    assert validate(str(tmp_path / "b.db")).ok


def test_names_of_thousands_of_columns_are_compared_only_where_no_row_has_both(tmp_path: Path) -> None:
    names = [f"metric_{number}" for number in range(3000)]
    keys = {"one": [*names, "learning_rate"], "two": [*names, "learn_rate"]}
    report = _checked(tmp_path, {run: [dict.fromkeys(own, 0.25)] for run, own in keys.items()})
    assert [problem.examples for problem in report.problems if problem.check == "renames"] == [
        ["learning_rate", "learn_rate"]
    ]


def test_too_many_names_are_not_compared_and_that_is_said(tmp_path: Path) -> None:
    report = _checked(tmp_path, {"one": [{f"key_{row}": row} for row in range(700)]})
    assert "244,650 pairs of columns" in report.skipped["renames"]
