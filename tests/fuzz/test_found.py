"""What fuzzing found and what hostile bytes did, one test for each (docs/reliability.md, Fuzzing)."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.fuzz.targets import signed_lines, signed_records
from tests.strategies import signed
from xetrack import Reader, Tracker, import_data, merge
from xetrack.errors import XetrackError
from xetrack.log.codec import MAX_NESTING, jsonl, msgpack
from xetrack.log.events import RowLogged
from xetrack.log.log import FileLog
from xetrack.log.packs import lines_of
from xetrack.log.verify import verify

WRITER = "k4w7aq2mzb3xn5ty"


def _line(**fields: Any) -> bytes:
    event = {"kind": "row.logged", "id": f"{WRITER}-1", "clock": 1, "run": "r", "data": {}} | fields
    return signed_lines(msgspec.json.encode(event)) + b"\n"


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "x"},
        {"id": "a-b"},
        {"id": f"{WRITER}-{'9' * 5000}"},
        {"id": f"{WRITER}-1234567890123456"},
        {"wall": 2**62},
        {"wall": -(2**62)},
        {"kind": "writer.alive", "id": "-1"},
        {"kind": "writer.started", "id": f"{WRITER}-0", "format": "1.0", "utc_offset_s": 10**13},
    ],
    ids=str,
)
def test_a_line_that_checks_and_names_no_event_is_damage(fields: dict[str, Any]) -> None:
    good = _line()
    found = jsonl.split(good + _line(**fields) + good)
    assert len(found.events) == 2 and [damage.line for damage in found.damaged] == [1]
    assert msgpack.split(signed_records(b"\xc1XT\n" + bytes(8) + _packed(_line(**fields)))).events == []


def _packed(line: bytes) -> bytes:
    fields = msgspec.json.decode(line)
    del fields["crc"]
    return msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(("depth", "read"), [(MAX_NESTING - 2, True), (MAX_NESTING - 1, False), (100_000, False)])
def test_a_line_nested_too_deep_is_damage(tmp_path: Path, depth: int, read: bool) -> None:
    body = b'{"kind":"row.logged","id":"%b-1","clock":1,"run":"r","data":{"x":' % WRITER.encode()
    line = signed(body + b"[" * depth + b"]" * depth + b"}}") + b"\n"
    found = jsonl.split(_line(data={"text": "[" * 400}) + line)
    assert len(found.events) == 1 + read and len(found.damaged) == (not read)
    if read:
        assert len(msgpack.split(msgpack.encode(found.events[1])).events) == 1
        with Tracker(tmp_path / "t.db", track_id="r") as tracker:
            tracker.log({"x": 1})
        (tmp_path / "t.db.events/default" / f"{WRITER}.jsonl").write_bytes(line)
        for engine in ("sqlite", "duckdb"):
            assert len(Reader(tmp_path / "t.db", engine=engine).to_df()) == 2
        assert verify(FileLog(tmp_path / "t.db.events")).ok


def test_bytes_that_look_like_thousands_of_lines_do_not_stop_a_reader() -> None:
    looks = b'{"kind":,"crc":"01234567"}' * 40_000
    marks = b"\xc1XT\n\x00\x00\xff\xff0000" * 80_000
    started = time.process_time()
    found = jsonl.split(_line() + looks + b"\n" + _line())
    assert (len(found.events), len(found.damaged)) == (2, 1)
    msgpack.split(marks)
    # All tries would take hours.
    assert time.process_time() - started < 60


def test_ranges_that_claim_any_number_of_rows_reach_those_that_are_there(tmp_path: Path) -> None:
    db = tmp_path / "t.db"
    with Tracker(db, track_id="r") as tracker:
        tracker.log({"x": 1})
    writer = next((tmp_path / "t.db.events/default").glob("*.jsonl")).stem
    claimed = {writer: "0-999999999999999"}
    common = {"clock": 2**51, "seen": claimed, "data": None}
    lines = [
        _line(kind="value.set", id=f"{WRITER}-2", rows=claimed, key="x", value=2, **common),
        _line(kind="event.undone", id=f"{WRITER}-3", events={WRITER: "2,9-999999999999999"}, **common),
        _line(kind="run.deleted", id=f"{WRITER}-4", run="r", **common),
    ]
    (tmp_path / "t.db.events/default" / f"{WRITER}.jsonl").write_bytes(b"".join(lines))
    reader = Reader(db)
    assert reader.to_df().empty
    assert len(reader.history())
    merge(db, into=tmp_path / "m.db")


def test_a_record_with_a_field_that_no_line_can_hold_is_taken_over_without_it() -> None:
    payload = _packed(_line())
    odd = bytes([payload[0] + 1]) + payload[1:] + msgspec.msgpack.encode("more") + b"\xa1\xff"
    raw = signed_records(b"\xc1XT\n" + bytes(8) + odd)
    found = msgpack.split(raw)
    assert len(found.events) == 1
    assert lines_of(raw, f"{WRITER}.msgpack", found.events, found.damaged) == [_line()[:-1]]


@pytest.mark.parametrize(
    "value",
    [
        b"raw",
        float("nan"),
        datetime(2026, 1, 2, tzinfo=timezone.utc),
        {1: 2},
        {None: 1},
        [{"a": b""}],
        msgspec.msgpack.Ext(5, b"x"),
    ],
)
def test_a_record_that_says_what_no_line_can_is_damage(value: Any) -> None:
    good = msgpack.encode(RowLogged(id=f"{WRITER}-1", clock=1, run="r", data={"x": 1}))
    for kind in (
        {"kind": "row.logged", "run": "r", "data": {"x": value}},
        {"kind": "value.set", "key": "x", "value": value},
    ):
        payload = msgspec.msgpack.encode({**kind, "id": f"{WRITER}-2", "clock": 1})
        found = msgpack.split(good + signed_records(b"\xc1XT\n" + bytes(8) + payload) + good)
        assert len(found.events) == 2 and len(found.damaged) == 1


def test_a_file_of_mlflow_that_is_no_text_or_number_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    run = tmp_path / "mlruns/0/abc"
    (run / "metrics").mkdir(parents=True)
    (run.parent / "meta.yaml").write_bytes(b"name: \xff\n")
    (run / "meta.yaml").write_bytes(b"run_id: abc\nstart_time: soon\nstatus: 9\xc3\n")
    (run / "metrics/loss").write_bytes(b"1 0.5 0\n\xff\xfe\n")
    report = import_data(tmp_path / "mlruns", tmp_path / "t.db", kind="mlflow")
    assert report.rows_added == 1 and any("line 2" in said for said in report.left_out)


def test_cells_of_any_type_in_a_database_of_mlflow_are_read(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "m.db") as conn:
        conn.executescript(
            "CREATE TABLE alembic_version (v); CREATE TABLE experiments (experiment_id, name);"
            "CREATE TABLE runs (run_uuid, name, experiment_id, status, start_time, lifecycle_stage);"
            "CREATE TABLE metrics (key, value, timestamp, step, is_nan, run_uuid);"
            "CREATE TABLE params (key, value, run_uuid); CREATE TABLE tags (key, value, run_uuid);"
            "INSERT INTO runs VALUES ('a', 7, 0, x'3341', 'soon', 'active');"
            "INSERT INTO params VALUES ('lr', 0.5, 'a'), (NULL, 1, 'a'), (3, NULL, 'a');"
            "INSERT INTO metrics VALUES ('loss', 'much', 'late', x'00', 0, 'a'), ('loss', NULL, NULL, NULL, 0, 'a');"
        )
    conn.close()
    assert import_data(tmp_path / "m.db", tmp_path / "t.db").rows_added == 2


@pytest.mark.parametrize("kind", ["mlflow", "xetrack-0.x", "tables", None])
def test_a_database_with_a_damaged_name_in_its_schema_is_read_or_refused(tmp_path: Path, kind: str | None) -> None:
    path = tmp_path / "m.db"
    with sqlite3.connect(path) as conn:
        conn.execute("CREATE TABLE zzzz (a)")
    conn.close()
    path.write_bytes(path.read_bytes().replace(b"zzzz", b"\x83\xff(("))
    with contextlib.suppress(XetrackError):
        assert import_data(path, tmp_path / "t.db", kind=kind).rows_added == 0


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_an_empty_key_has_a_column(tmp_path: Path, engine: Any) -> None:
    folder = tmp_path / "t.db.events" / "default"
    folder.mkdir(parents=True)
    (folder / f"{WRITER}.jsonl").write_bytes(_line(data={"": 1, "_": 2}))
    assert Reader(tmp_path / "t.db", engine=engine).to_df()[["_", "__2"]].iloc[0].tolist() == [1, 2]
