"""``xetrack.rebase``: whose rows go, whose stay, and that it is all or nothing."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.conftest import Git
from tests.strategies import signed
from tests.unit.test_merge import events, files, log
from xetrack import Reader, Tracker, merge, rebase
from xetrack.errors import ColumnNotFound, DiskFull, InvalidArgument, RunProtected, StoreNotFound, TableNotFound
from xetrack.log.clock import wall_us
from xetrack.log.events import Event, EventUndone, RowsReplaced
from xetrack.log.events import RunProtected as Protection
from xetrack.store import open_store


def rows(db: str, *columns: str, engine: str = "sqlite", table: str = "default") -> list[tuple[Any, ...]]:
    with contextlib.closing(open_store(db)) as store:
        return [tuple(row[name] for name in columns) for row in store.table(table, engine).records()]


def append(db: str, kind: type[Event], **fields: Any) -> None:
    """One more event of the default table, by a writer that has read everything."""
    with contextlib.closing(open_store(db)) as store:
        store.table("default").catch_up()
        seen = store.projector().frontier("default").to_wire()
        store.log.writer("default").append(kind, seen=seen, **fields)


@pytest.fixture
def base(tmp_path: Path) -> str:
    db = str(tmp_path / "base.db")
    log(db, {"model": "a", "seed": 1, "acc": 0.1}, {"model": "b", "seed": 1, "acc": 0.2}, run="old")
    return db


@pytest.fixture
def exp(tmp_path: Path) -> str:
    db = str(tmp_path / "exp.db")
    log(db, {"model": "b", "seed": 1, "acc": 0.9}, {"model": "c", "seed": 1, "acc": 0.8, "lr": 0.1}, run="new")
    return db


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_rows_of_the_source_replace_those_with_the_same_key(
    base: str, exp: str, engine: Literal["sqlite", "duckdb"]
) -> None:
    Reader(base, engine=engine).to_df()
    report = rebase(exp, onto=base, keys=["model", "seed"])
    assert report.to_dict() == {
        "table": "default",
        "keys": ["model", "seed"],
        "rows_replaced": 1,
        "rows_added": 2,
        "null_keys": {"source": 0, "onto": 0},
        "duplicate_keys": {"source": 0, "onto": 0},
        "mutations_added": 0,
        "assets_added": 0,
        "assets_missing": [],
        "damaged_lines": 0,
        "dry_run": False,
    }
    assert rows(base, "model", "acc", "lr", engine=engine) == [("a", 0.1, None), ("b", 0.9, None), ("c", 0.8, 0.1)]
    (event,) = [event for event in events(base) if isinstance(event, RowsReplaced)]
    assert (event.keys, event.source) == (["model", "seed"], "exp.db")


def test_rebasing_again_changes_nothing(base: str, exp: str) -> None:
    rebase(exp, onto=base, keys=["model"])
    before = files(base)
    report = rebase(exp, onto=base, keys=["model"])
    assert (report.rows_replaced, report.rows_added) == (0, 0)
    assert files(base) == before


def test_all_of_it_lands_in_one_pack(base: str, exp: str) -> None:
    before = set(files(base))
    rebase(exp, onto=base, keys=["model"])
    (pack,) = set(files(base)) - before
    assert files(base)[pack].count(b'"kind":"rows.replaced"') == 1
    assert files(base)[pack].count(b'"kind":"row.logged"') == 2


def test_undo_of_the_event_brings_the_replaced_rows_back(base: str, exp: str) -> None:
    rebase(exp, onto=base, keys=["model"])
    (event,) = [event for event in events(base) if isinstance(event, RowsReplaced)]
    writer, _, seq = event.id.rpartition("-")
    append(base, EventUndone, events={writer: seq})
    assert rows(base, "model", "acc") == [("a", 0.1), ("b", 0.2), ("b", 0.9), ("c", 0.8)]


def test_empty_key_and_nan_match_nothing(tmp_path: Path) -> None:
    base, exp = str(tmp_path / "base.db"), str(tmp_path / "exp.db")
    log(base, {"k": None, "n": 0}, {"n": 1}, {"k": math.nan, "n": 2}, {"k": 1.5, "n": 3}, run="old")
    log(exp, {"k": None, "n": 10}, {"k": math.nan, "n": 11}, {"k": 1.5, "n": 12}, run="new")
    report = rebase(exp, base, ["k"])
    assert (report.rows_replaced, report.rows_added) == (1, 3)
    assert (report.null_keys.source, report.null_keys.onto) == (2, 3)
    assert [n for (n,) in rows(base, "n")] == [0, 1, 2, 10, 11, 12]


def test_of_duplicate_keys_all_of_the_source_come_in_and_all_of_the_target_go(tmp_path: Path) -> None:
    base, exp = str(tmp_path / "base.db"), str(tmp_path / "exp.db")
    log(base, {"k": "x", "n": 0}, {"k": "x", "n": 1}, {"k": "y", "n": 2}, run="old")
    log(exp, {"k": "x", "n": 10}, {"k": "x", "n": 11}, {"k": "x", "n": 12}, run="new")
    report = rebase(exp, base, ["k"])
    assert (report.rows_replaced, report.rows_added) == (2, 3)
    assert (report.duplicate_keys.source, report.duplicate_keys.onto) == (2, 1)
    assert [n for (n,) in rows(base, "n")] == [2, 10, 11, 12]


def test_row_that_both_hold_is_not_replaced(base: str, tmp_path: Path) -> None:
    exp = str(tmp_path / "exp.db")
    shutil.copytree(f"{base}.events", f"{exp}.events")
    log(exp, {"model": "a", "seed": 1, "acc": 0.7}, run="new")
    log(base, {"model": "a", "seed": 1, "acc": 0.3}, run="mine")
    report = rebase(exp, base, ["model"])
    assert (report.rows_replaced, report.rows_added) == (1, 1)
    assert rows(base, "acc") == [(0.1,), (0.2,), (0.7,)]


def test_row_that_the_target_has_hidden_replaces_nothing(base: str, exp: str, tmp_path: Path) -> None:
    older = str(tmp_path / "older.db")
    shutil.copytree(f"{base}.events", f"{older}.events")
    rebase(exp, base, ["model"])
    shown = rows(base, "model", "acc")
    report = rebase(older, base, ["model"])
    assert (report.rows_replaced, report.rows_added) == (0, 0)
    assert rows(base, "model", "acc") == shown


def test_row_deleted_in_the_source_replaces_nothing_and_changes_come_along(base: str, exp: str) -> None:
    log(exp, {"model": "a", "seed": 1, "acc": 0.5}, run="bad")
    Reader(exp).delete_run("bad")
    Reader(exp).set_value("label", "good", track_id="new")
    report = rebase(exp, base, ["model"])
    assert (report.rows_replaced, report.rows_added, report.mutations_added) == (1, 2, 2)
    assert rows(base, "model", "label") == [("a", None), ("b", "good"), ("c", "good")]


def test_keys_are_what_the_tables_show_after_a_set(base: str, exp: str) -> None:
    Reader(exp).set_value("model", "a", track_id="new")
    assert rebase(exp, base, ["model"]).rows_replaced == 1
    assert rows(base, "model", "acc") == [("b", 0.2), ("a", 0.9), ("a", 0.8)]


WHEN = datetime(2026, 1, 2, 3, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("one", "two", "alike"),
    [
        (1, 1.0, True),
        (1, True, True),
        (1, "1", False),
        ("a", "A", False),
        (2**70, 2**70, True),
        (2**53 + 1, float(2**53), False),
        (b"a", b"a", True),
        ([1, 2], [1, 2], True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        (WHEN, WHEN.astimezone(timezone(timedelta(hours=1))), True),
        (WHEN, WHEN.replace(tzinfo=None), False),
        (math.inf, math.inf, True),
        ("", "", True),
    ],
)
def test_values_are_equal_as_in_sql(tmp_path: Path, one: Any, two: Any, alike: bool) -> None:
    log(str(tmp_path / "base.db"), {"k": one}, run="old")
    log(str(tmp_path / "exp.db"), {"k": two}, run="new")
    assert rebase(tmp_path / "exp.db", tmp_path / "base.db", ["k"]).rows_replaced == alike


def test_run_and_raw_keys_are_keys_too(tmp_path: Path) -> None:
    base, exp = str(tmp_path / "base.db"), str(tmp_path / "exp.db")
    log(base, {"learning rate": 1, "n": 0}, run="r")
    log(exp, {"learning rate": 1, "n": 1}, run="r")
    report = rebase(exp, base, ["learning rate", "track_id"], dry_run=True)
    assert (report.rows_replaced, rows(base, "n")) == (1, [(0,)])
    rebase(exp, base, ["learning_rate"])
    assert rows(base, "n") == [(1,)]


@pytest.mark.parametrize("side", ["source", "onto"])
def test_missing_column_is_an_error_before_anything_is_taken_over(base: str, exp: str, side: str) -> None:
    log(base if side == "source" else exp, {"fold": 1})
    before = files(base)
    with pytest.raises(ColumnNotFound) as caught:
        rebase(exp, base, ["fold"])
    assert caught.value.column == "fold"
    assert files(base) == before


def test_protected_run_is_not_replaced(base: str, exp: str) -> None:
    append(base, Protection, run="old")
    before = files(base)
    with pytest.raises(RunProtected, match="'old'"):
        rebase(exp, base, ["model"])
    assert files(base) == before
    log(base, {"model": "z"}, run="free")
    assert rebase(exp, base, ["acc"]).rows_replaced == 0


def test_absent_stores_tables_and_keys_are_errors_that_create_nothing(base: str, exp: str, tmp_path: Path) -> None:
    listing = sorted(os.listdir(tmp_path))
    with pytest.raises(StoreNotFound, match="base.db"):
        rebase(exp, tmp_path / "bas.db", ["model"])
    with pytest.raises(StoreNotFound):
        rebase(tmp_path / "ex.db", base, ["model"])
    with pytest.raises(TableNotFound):
        rebase(exp, base, ["model"], table="metrics")
    with pytest.raises(InvalidArgument, match="keys"):
        rebase(exp, base, [])
    with pytest.raises(InvalidArgument, match="out"):
        rebase(exp, base, ["model"], out=tmp_path / "out.db")
    assert sorted(name for name in os.listdir(tmp_path) if not name.endswith(".db")) == [
        name for name in listing if not name.endswith(".db")
    ]


def test_target_without_the_table_takes_all_rows(base: str, exp: str) -> None:
    log(exp, {"k": 1}, table="metrics")
    report = rebase(exp, base, ["k"], table="metrics")
    assert (report.rows_replaced, report.rows_added) == (0, 1)
    assert rows(base, "model") == [("a",), ("b",)]


def test_store_onto_itself_changes_nothing(base: str) -> None:
    before = files(base)
    assert rebase(f"{base}.events", base, ["seed"]).rows_replaced == 0
    assert files(base) == before


def test_new_row_of_the_target_is_replaced_by_the_next_rebase(base: str, exp: str) -> None:
    rebase(exp, base, ["model"])
    log(base, {"model": "b", "seed": 1, "acc": 0.4}, run="late")
    report = rebase(exp, base, ["model"])
    assert (report.rows_replaced, report.rows_added) == (1, 0)
    assert rows(base, "model", "acc") == [("a", 0.1), ("b", 0.9), ("c", 0.8)]


def test_what_was_rebased_merges_like_anything_else(base: str, exp: str, tmp_path: Path) -> None:
    clone = str(tmp_path / "clone.db")
    shutil.copytree(f"{base}.events", f"{clone}.events")
    log(clone, {"model": "b", "seed": 1, "acc": 0.6}, run="meanwhile")
    rebase(exp, base, ["model"])
    merge(base, into=clone)
    merge(clone, into=base)
    # The row that was logged meanwhile was not seen by the rebase, so it stays.
    assert rows(base, "model", "acc") == rows(clone, "model", "acc")
    assert (rows(base, "acc").count((0.6,)), rows(base, "acc").count((0.2,))) == (1, 0)


def test_objects_come_along(base: str, exp: str) -> None:
    with Tracker(exp, track_id="new") as tracker:
        tracker.log({"model": "b", "seed": 1, "weights": {1, 2}})
    assert rebase(exp, base, ["model"]).assets_added == 1
    digest = next(value for (value,) in rows(base, "weights") if value is not None)
    assert Reader(base).get(digest) == {1, 2}


def test_full_disk_leaves_the_target_as_it_was(base: str, exp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(base)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xetrack.log.packs.os.fsync", full)
    with pytest.raises(DiskFull):
        rebase(exp, base, ["model"])
    assert files(base) == before


def test_source_in_a_revision(tmp_path: Path, git: Git, base: str) -> None:
    git(tmp_path, "init", "-q")
    log(base, {"model": "a", "seed": 1, "acc": 0.9}, run="branch")
    git(tmp_path, "add", "base.db.events")
    git(tmp_path, "commit", "-qm", "results")
    other = str(tmp_path / "other.db")
    log(other, {"model": "a", "seed": 1, "acc": 0.0}, run="other")
    assert rebase("git:HEAD:base.db", other, ["model"]).rows_replaced == 1
    (event,) = [event for event in events(other) if isinstance(event, RowsReplaced)]
    assert event.source == "git:HEAD:base.db"


def test_event_sorts_behind_a_clock_that_runs_ahead(base: str, exp: str) -> None:
    ahead = wall_us() + 10**12
    path = next(Path(f"{base}.events/default").glob("*.jsonl"))
    name = path.stem
    line = f'{{"kind":"value.set","id":"{name}-99","clock":{ahead},"run":"old","key":"x","value":1}}'
    path.write_bytes(path.read_bytes() + signed(line.encode()) + b"\n")
    rebase(exp, base, ["model"])
    assert rows(base, "model") == [("a",), ("b",), ("c",)]
    assert next(event for event in events(base) if isinstance(event, RowsReplaced)).clock > ahead
