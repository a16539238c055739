"""Rows as they arrive: each once, whatever becomes of the files that hold them."""

from __future__ import annotations

import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import xetrack
from xetrack import Reader, Tracker
from xetrack.errors import InvalidArgument

_WRITES = """
import sys
from xetrack import Tracker
with Tracker(sys.argv[1], track_id=sys.argv[2]) as tracker:
    for step in range(int(sys.argv[3])):
        tracker.log({"step": step})
"""


def _log(db: str, run: str, *steps: int, **more: Any) -> None:
    with Tracker(db, track_id=run) as tracker:
        for step in steps:
            tracker.log({"step": step, **more})


def _steps(rows: list[dict[str, Any]]) -> list[int]:
    return [row["step"] for row in rows]


def test_rows_are_dicts_with_values_as_they_were_logged(db: str) -> None:
    with Tracker(db, track_id="a") as tracker:
        shown = tracker.log({"learning rate": 0.1, "big": 2**70, "nan": float("nan"), "m": {1}})
    (row,) = list(Reader(db).follow(wait=False))
    assert str(row) == str({"timestamp": shown["timestamp"], "track_id": "a", **{k: row[k] for k in list(row)[2:]}})
    assert {k: str(v) for k, v in row.items()} == {k: str(v) for k, v in shown.items()}


def test_every_row_once_from_processes_that_log_meanwhile(db: str) -> None:
    _log(db, "first", 0)
    writers = [subprocess.Popen([sys.executable, "-c", _WRITES, db, f"w{n}", "500"]) for n in range(3)]
    found: dict[str, list[int]] = {}
    with Reader(db).follow() as following:
        for number, row in enumerate(following, 1):
            found.setdefault(row["track_id"], []).append(row["step"])
            if number == 1501:
                break
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert found == {"first": [0], **{f"w{n}": list(range(500)) for n in range(3)}}
    assert len(list(Reader(db).follow(wait=False))) == 1501


def test_cursor_goes_on_behind_the_last_row_after_compaction_and_merge(db: str) -> None:
    _log(db, "a", *range(10))
    following = Reader(db).follow()
    assert _steps([next(following) for _ in range(4)]) == [0, 1, 2, 3]
    cursor = following.cursor
    following.close()
    _log(db, "b", 10)
    xetrack.compact(db)
    _log(f"{db}.other.db", "c", 11)
    xetrack.merge(f"{db}.other.db", into=db)
    again = Reader(db).follow(cursor, wait=False)
    assert sorted(_steps(list(again))) == list(range(4, 12))
    xetrack.compact(db)
    assert list(Reader(db).follow(again.cursor, wait=False)) == []


@pytest.mark.parametrize("pieces", [1, 7, 100_000])
def test_cursor_after_any_row_neither_drops_nor_repeats_one(db: str, pieces: int) -> None:
    for run in range(3):
        _log(db, f"run-{run}", *range(40), text="x" * 200)
    xetrack.compact(db)
    _log(db, "run-3", *range(120, 160))
    found: list[int] = []
    cursor = None
    while True:
        following = Reader(db).follow(cursor, wait=False)
        rows = list(islice(following, pieces))
        if not rows:
            break
        found += _steps(rows)
        cursor = following.cursor
    assert found == list(range(40)) * 3 + list(range(120, 160))


def test_end_gives_only_what_comes(db: str) -> None:
    _log(db, "a", 0, 1)
    following = Reader(db).follow("end")
    assert following.ready() == []
    _log(db, "b", 2)
    assert _steps(following.ready()) == [2]
    assert following.ready() == []


def test_mutations_are_events(db: str) -> None:
    _log(db, "a", 0)
    reader = Reader(db)
    reader.set_value("label", "good", track_id="a")
    reader.delete_run("a")
    kinds = [(event["kind"], event["track_id"]) for event in reader.follow(events=True, wait=False)]
    assert kinds == [("row.logged", "a"), ("value.set", "a"), ("run.deleted", "a")]
    assert [event["data"] for event in reader.follow(events=True, wait=False)][1] == {"key": "label", "value": "good"}


def test_other_cursors_are_refused(db: str) -> None:
    _log(db, "a", 0)
    with Tracker(db, table="other") as tracker:
        tracker.log({"x": 1})
    other = Reader(db, table="other").follow("end").cursor
    for cursor in ("nonsense", "", other):
        with pytest.raises(InvalidArgument):
            Reader(db).follow(cursor)


def test_close_ends_a_thread_that_waits(db: str) -> None:
    _log(db, "a", 0)
    following = Reader(db).follow()
    found: list[dict[str, Any]] = []

    def read() -> None:
        for row in following:
            found.append(row)

    thread = threading.Thread(target=read)
    thread.start()
    while not found:
        pass
    following.close()
    thread.join(60)
    assert not thread.is_alive() and _steps(found) == [0]


def test_segment_that_shrinks_for_a_moment_repeats_nothing(db: str) -> None:
    _log(db, "a", *range(5))
    following = Reader(db).follow()
    assert len(following.ready()) == 5
    (path,) = Path(f"{db}.events/default").iterdir()
    raw = path.read_bytes()
    for cut in (len(raw) // 2, 0, len(raw) - 3, len(raw)):
        path.write_bytes(raw[:cut])
        assert following.ready() == []
