"""The tables in the hands of a signal handler or a finalizer: refused while they are in use, and nothing is harmed."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.interrupts import stepped
from xetrack import Reader, Tracker
from xetrack.errors import TablesInUse
from xetrack.log.progress import listening
from xetrack.store import open_store

ENGINES = ["sqlite", "duckdb"]
OPERATIONS: dict[str, Callable[[Tracker], Any]] = {
    "log": lambda tracker: tracker.log({"x": -1}),
    "read": lambda tracker: len(tracker.to_df()),
    "set": lambda tracker: tracker.set_value("state", "preempted"),
    "set where": lambda tracker: tracker.set_where("state", "preempted", "x", 1),
    "flush": Tracker.flush,
    "close": Tracker.close,
}


def _prepared(db: str, engine: Any) -> Tracker:
    """A tracker with open tables that lack some rows."""
    tracker = Tracker(db, engine=engine, track_id="run")
    tracker.log({"x": 0})
    assert len(tracker.to_df()) == 1
    tracker.log_batch([{"x": 1, f"k{number}": number} for number in range(20)])
    return tracker


# A segment that is closed in the middle of an append is another matter: the log's.
@pytest.mark.parametrize(
    "outer, inner",
    [(o, i) for o in ("read", "set where", "flush") for i in OPERATIONS if (o, i) != ("set where", "close")],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_call_in_the_middle_of_another_works_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any, outer: str, inner: str
) -> None:
    monkeypatch.setenv("XETRACK_LIVE", "0")
    count = 0
    for name in ("warm.db", "count.db"):
        with _prepared(str(tmp_path / name), engine) as tracker:
            count = stepped(functools.partial(OPERATIONS[outer], tracker), lambda: None, -1)
    refused = [
        _interrupted(str(tmp_path / f"{step}.db"), engine, outer, inner, step)
        for step in range(count // 8, count, count // 4)
    ]
    assert any(refused) is (inner not in ("log", "close"))
    assert not [path.name for path in tmp_path.iterdir() if "damaged" in path.name or "tmp" in path.name]


def _interrupted(db: str, engine: Any, outer: str, inner: str, step: int) -> bool:
    """Whether one operation in the middle of another was refused; either way the rows are what they should be."""
    tracker = _prepared(db, engine)
    refused, done = [], []

    def handler() -> None:
        try:
            OPERATIONS[inner](tracker)
        except TablesInUse as error:
            refused.append(error)

    stepped(lambda: done.append(OPERATIONS[outer](tracker)), handler, step)
    added = 1 if inner == "log" else 0
    expected = {"read": 21, "set where": 20, "flush": None}[outer]
    assert done[0] in (expected, expected and expected + added)
    tracker.close()
    assert Reader(db, engine=engine).to_df()["x"].tolist() == [0] + [1] * 20 + [-1] * added
    return bool(refused)


@pytest.mark.parametrize("engine", ENGINES)
def test_other_store_on_the_same_tables_is_refused_too(db: str, engine: Any) -> None:
    """It would wait for a transaction of its own thread."""
    said: list[str] = []

    def handler(*_: object) -> None:
        if not said:
            with pytest.raises(TablesInUse) as refused:
                Reader(db, engine=engine).to_df()
            said.append(str(refused.value))

    with Tracker(db, engine=engine) as tracker:
        tracker.log_batch([{"x": number} for number in range(100)])
        with listening(handler):
            assert len(tracker.to_df()) == 100
    assert db.removesuffix(".db") in said[0] and "log()" in said[0]


def test_tables_in_memory_are_refused_without_a_word_of_where_they_lie() -> None:
    said: list[str] = []

    def handler(*_: object) -> None:
        with pytest.raises(TablesInUse) as refused:
            tracker.to_df()
        said.append(str(refused.value))

    with Tracker(Tracker.IN_MEMORY) as tracker:
        tracker.log({"x": 1})
        with listening(handler):
            assert len(tracker.to_df()) == 1
    assert said[0].startswith("The tables of :memory: are in use")


def test_tables_in_memory_of_another_store_are_not_in_use() -> None:
    found: list[int] = []
    with Tracker(Tracker.IN_MEMORY) as other, Tracker(Tracker.IN_MEMORY) as tracker:
        other.log({"x": 1})
        assert len(other) == 1
        tracker.log_batch([{"x": 1}, {"x": 2}])
        with listening(lambda *_: found.append(len(other))):
            assert len(tracker) == 2
    assert found[0] == 1


def test_tracker_that_a_handler_closed_shows_its_rows_at_the_next_close(db: str) -> None:
    tracker = _prepared(db, "sqlite")
    with listening(lambda *_: tracker.close()):
        assert len(tracker.to_df()) == 21
    tracker.close()
    store = open_store(db)
    try:
        assert store.keeper().exists() and store.keeper().has_rows()
    finally:
        store.close()
    assert Reader(db).runs()["state"].tolist() == ["finished"]


def test_mark_of_a_use_goes_with_an_interrupt(db: str) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with Tracker(db) as tracker:
        tracker.log({"x": 1})
        with pytest.raises(KeyboardInterrupt), listening(interrupt):
            tracker.to_df()
        assert len(tracker.to_df()) == 1


def test_row_can_be_logged_while_the_writer_of_the_first_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XETRACK_LIVE", "0")

    def first(tracker: Tracker) -> None:
        assert tracker._session.writer

    count = 0
    for name in ("warm.db", "count.db"):
        with Tracker(str(tmp_path / name)) as tracker:
            count = stepped(functools.partial(first, tracker), lambda: None, -1)
    for step in range(1, count, 2):
        with Tracker(str(tmp_path / f"{step}.db")) as tracker:
            logged: list[Any] = []  # empty where it took fewer calls than the one that was counted

            def handler(tracker: Tracker = tracker, logged: list[Any] = logged) -> None:
                logged.append(tracker.log({"x": 1})["x"])

            stepped(functools.partial(first, tracker), handler, step)
            tracker.log({"x": 2})
            assert tracker.to_df()["x"].tolist() == [*logged, 2]


def test_tracker_that_is_dropped_in_the_middle_of_its_tables_is_caught_up_at_the_end(tmp_path: Path) -> None:
    db = tmp_path / "track.db"
    code = """
import sys
from xetrack import Tracker
tracker = Tracker(sys.argv[1])
tracker.log({"x": 1})
assert len(tracker.to_df()) == 1
tracker.log({"x": 2})
keeper = tracker._session.store.keeper()
with tracker._session.store.locked(), keeper.used():
    del tracker
"""
    subprocess.run([sys.executable, "-c", code, str(db)], check=True, env={**os.environ, "XETRACK_LIVE": "0"})
    with contextlib.closing(sqlite3.connect(db)) as other:
        assert other.execute('SELECT x FROM "default"').fetchall() == [(1,), (2,)]
