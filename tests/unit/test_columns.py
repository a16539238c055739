"""Rows taken by column, not event by event: the same tables, whatever stands in the lines."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from xetrack.config import Settings
from xetrack.log.clock import Clock
from xetrack.log.columns import Parser, by_columns
from xetrack.log.events import Event
from xetrack.log.log import FileLog
from xetrack.store import open_store

pytest.importorskip("pyarrow")
duckdb = pytest.importorskip("duckdb")

ROWS = 900
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
PLAIN = {"step": 1, "loss": 0.5, "name": 'résumé "\\\n', "ok": True, "none": None}


def plain(step: int) -> dict[str, Any]:
    return {**PLAIN, "step": step, "loss": step / 7, "name": f"name {step}", "ok": step % 3 == 0}


def at(place: int, **other: Any) -> Callable[[int], dict[str, Any]]:
    """Plain rows, but for one of them."""
    return lambda step: {**plain(step), **other} if step == place else plain(step)


@pytest.fixture(autouse=True)
def few_lines_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The segments here are short."""
    monkeypatch.setattr("xetrack.log.columns.MIN_LINES", 256)


@pytest.fixture
def log(tmp_path: Path) -> FileLog:
    return FileLog(tmp_path / "s.db.events")


def fill(log: FileLog, row: Callable[[int], dict[str, Any]], count: int = ROWS) -> None:
    writer = log.writer("default")
    writer.acquire()
    for step in range(count):
        writer.append_row(f"run-{step // 300}", row(step))
    writer.release()


def runs(log: FileLog) -> tuple[int, list[Event]]:
    """How many rows come by column, and all events in their order."""
    starts = {segment.name: 0 for segment in log.segments("default")}
    by_column, events = 0, []
    for run in log.merged("default", starts, columns=duckdb.connect):
        by_column += len(run.columns or ())
        events += run.columns.events() if run.columns is not None else run.events
    return by_column, events


def plainly(log: FileLog) -> list[Event]:
    starts = {segment.name: 0 for segment in log.segments("default")}
    return [event for run in log.merged("default", starts) for event in run.events]


def shown(log: FileLog, engine: str, *, remade: bool = False) -> tuple[pd.DataFrame, Any]:
    store = open_store(str(log.path).removesuffix(".events"), settings=Settings.resolve(engine=engine))
    try:
        if remade:
            store.replay()
        table = store.table("default")
        table.catch_up()
        return table.frame(), table.run_facts()
    finally:
        store.close()


def assert_alike(log: FileLog) -> pd.DataFrame:
    """Both engines show the same, SQLite taking rows and DuckDB columns, and so does another replay."""
    rows, runs_of_rows = shown(log, "sqlite")
    for remade in (False, True):
        columns, runs_of_columns = shown(log, "duckdb", remade=remade)
        pd.testing.assert_frame_equal(rows, columns)
        assert runs_of_rows == runs_of_columns
    return rows


def test_plain_rows_come_by_column(log: FileLog) -> None:
    fill(log, plain)
    by_column, events = runs(log)
    assert by_column == ROWS
    assert events == plainly(log)
    assert_alike(log)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(at(500, loss={"$float": "NaN"}), id="a tag"),
        pytest.param(at(500, loss=3), id="an integer among floats"),
        pytest.param(at(500, step=0.25), id="a float among integers"),
        pytest.param(at(500, step="0012"), id="text among integers"),
        pytest.param(at(500, name=7), id="an integer among texts"),
        pytest.param(at(500, ok=1), id="an integer among bools"),
        pytest.param(at(500, none=1.5), id="a value where there was none"),
        pytest.param(at(500, step=2**60), id="an integer past 2**53"),
        pytest.param(at(500, loss=2**60), id="such an integer among floats"),
        pytest.param(at(500, loss=2.0**60), id="a large float"),
        pytest.param(at(500, late={"$bytes": "AAE="}), id="a new key"),
        pytest.param(at(500, name=["a", {"b": 1}]), id="a list"),
        pytest.param(at(0, name={"$asset": DIGEST}), id="an asset"),
        pytest.param(lambda step: {**plain(step), "loss": float(step)}, id="whole floats"),
        pytest.param(lambda step: {**plain(step), "loss": step if step < 400 else step / 7}, id="floats later"),
        pytest.param(lambda step: {**plain(step), "loss": step if step > 400 else step / 7}, id="integers later"),
        pytest.param(lambda step: {"a": step} if step % 2 else {"b": 0.1 * step}, id="two shapes"),
        pytest.param(lambda step: dict(sorted(plain(step).items(), reverse=step % 2 == 0)), id="other key order"),
        pytest.param(lambda step: {"Loss": step, "loss": 0.1, "a b": 1, "a_b": 2} if step else {"loss": 1}, id="names"),
        pytest.param(lambda step: {f"k{step // 3}": step}, id="ever new keys"),
        pytest.param(lambda step: {} if step < 500 else {"x": step}, id="empty rows"),
        pytest.param(lambda step: {"x": 0.1 * 3**step if step < 30 else 5e-324, "y": -0.0}, id="odd floats"),
    ],
)  # fmt: skip
def test_unusual_rows_give_the_same_tables(log: FileLog, row: Callable[[int], dict[str, Any]]) -> None:
    fill(log, row)
    assert runs(log)[1] == plainly(log)
    assert_alike(log)


def test_a_damaged_line_in_the_middle_is_counted_and_all_others_read(log: FileLog) -> None:
    fill(log, plain)
    (segment,) = log.segments("default")
    path = log.folder("default") / segment.name
    lines = path.read_bytes().split(b"\n")
    lines[450] = lines[450].replace(b"name 4", b"name 5")
    path.write_bytes(b"\n".join(lines))
    merged = log.merged("default", {segment.name: 0}, columns=duckdb.connect)
    assert sum(run.damaged for run in merged) == 1
    assert len(assert_alike(log)) == ROWS - 1


def test_a_line_that_checks_but_holds_no_event_is_damage(log: FileLog) -> None:
    from zlib import crc32

    fill(log, plain)
    (segment,) = log.segments("default")
    path = log.folder("default") / segment.name
    lines = path.read_bytes().split(b"\n")
    body = lines[450].replace(b'"run":"run-1"', b'"run":7')[:-18]
    lines[450] = b'%b,"crc":"%08x"}' % (body, crc32(body))
    path.write_bytes(b"\n".join(lines))
    assert sum(run.damaged for run in log.merged("default", {segment.name: 0}, columns=duckdb.connect)) == 1
    assert len(assert_alike(log)) == ROWS - 1


def test_rows_of_two_writers_at_the_same_time_are_put_in_order(log: FileLog) -> None:
    time = itertools.count(1_767_322_800_000_000, 7)
    logs = [FileLog(log.path, clock=Clock(lambda: next(time))) for _ in range(2)]
    writers = [one.writer("default") for one in logs]
    for step in range(ROWS):
        for writer in writers:
            writer.append_row(f"run-{step % 2}", plain(step))
    starts = {segment.name: 0 for segment in log.segments("default")}
    merged = [run.columns for run in log.merged("default", starts, columns=duckdb.connect) if run.columns is not None]
    assert any(len(columns.writers) == 2 for columns in merged)
    assert runs(log)[1] == plainly(log)
    assert_alike(log)


def test_rows_that_share_a_reading_keep_their_order(log: FileLog) -> None:
    writer = log.writer("default")
    for first in range(0, ROWS, 300):
        writer.append_rows("run", [plain(first + step) for step in range(300)])
    assert runs(log)[0] > 0
    assert list(assert_alike(log)["step"]) == list(range(ROWS))


def test_rows_that_two_files_hold_come_once(log: FileLog) -> None:
    fill(log, plain)
    (segment,) = log.segments("default")
    path = log.folder("default") / segment.name
    (path.parent / f"{'a' * 16}.jsonl").write_bytes(path.read_bytes())
    assert len(assert_alike(log)) == ROWS


def test_mutations_between_rows_apply_in_their_place(db: str) -> None:
    frames = {}
    for engine in ("duckdb", "sqlite"):
        store = open_store(db, settings=Settings.resolve(engine=engine), create=engine == "duckdb")
        table = store.table("default")
        if engine == "duckdb":
            writer = store.log.writer("default")
            writer.acquire()
            for turn in range(3):
                for step in range(ROWS):
                    writer.append_row(f"run-{step // 300}", plain(step))
                if turn == 0:
                    table.set_value(writer, "name", "one", "run-0")
                elif turn == 1:
                    table.delete_run(writer, "run-1")
            writer.release()
            store.replay()
        table.catch_up()
        frames[engine] = table.frame()
        store.close()
    pd.testing.assert_frame_equal(frames["duckdb"], frames["sqlite"])
    assert len(frames["duckdb"]) == 3 * ROWS - 600


def test_chunks_that_never_fit_are_tried_less_and_less(log: FileLog, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(Parser):
        tries = 0

        def submit(self, raw: bytes, kinds: dict[str, str]) -> Any:
            self.tries += 1
            return super().submit(raw, kinds)

    monkeypatch.setattr("xetrack.log.columns._AHEAD_BYTES", 1)
    fill(log, lambda step: {"x": 1 if step % 50 else {"$float": "NaN"}, "pad": "x" * 100}, 10 * ROWS)
    (segment,) = log.segments("default")
    with closing(Counting(duckdb.connect)) as parser:
        chunks = list(by_columns(log.scan("default", segment.name, undecoded=lambda: 100_000), parser))
    assert len(chunks) > 20
    assert all(chunk.decoded for chunk in chunks)
    assert 1 < parser.tries < len(chunks) // 3
