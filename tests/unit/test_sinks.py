"""Sinks: the lines of log files, stdout and JSONL, and who may share a file."""

from __future__ import annotations

import datetime as dt
import decimal
import errno
import io
import json
import logging
import math
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import loguru
import pandas as pd
import pytest
from hypothesis import given

from tests.conftest import ROOT
from tests.faults import FullDisk, Script
from tests.strategies import values
from xetrack.errors import DiskFull, InvalidArgument, InvalidValue, PermissionDenied, StorageError, StorageFailed
from xetrack.log.values import encode
from xetrack.read.files import read_jsonl, read_logs
from xetrack.track.lines import HEAD, as_json, restored
from xetrack.track.sinks import Sinks

RUN = "marvellous-stork-4885"


def at(text: str) -> int:
    """Microseconds since 1970 of a local time."""
    moment = dt.datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond


NOON = at("2023-12-14 12:00:00.290098")


def opened(now_us: Callable[[], int] = lambda: NOON, **asked: Any) -> Sinks:
    sinks = Sinks.open(now_us=now_us, **asked)
    assert sinks is not None
    return sinks


def wired(**row: Any) -> dict[str, Any]:
    return {key: encode(value, key) for key, value in row.items()}


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file, read as strictly as JSON is."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), f"a key is doubled: {pairs}"
        return dict(pairs)

    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse, object_pairs_hook=distinct) for line in text.splitlines()]


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# -- lines -------------------------------------------------------------------


def test_a_log_line_has_the_form_of_the_original(tmp_path: Path) -> None:
    opened(logs_path=tmp_path).write(RUN, [{"accuracy": 0.9}], [NOON])
    assert (tmp_path / "2023-12-14.log").read_text(encoding="utf-8") == (
        "2023-12-14 12:00:00.290 | TRACKING | xetrack.logging:log:176!📁!"
        '{"accuracy":0.9,"timestamp":"2023-12-14 12:00:00.290098","track_id":"marvellous-stork-4885"}\n'
    )


def test_a_jsonl_line_is_flat_with_time_and_level_first(tmp_path: Path, new_york: None) -> None:
    clock_us = int(dt.datetime(2024, 1, 15, 10, 30, tzinfo=dt.timezone.utc).timestamp()) * 1_000_000 + 123456
    opened(jsonl=tmp_path / "a.jsonl").write(RUN, [{"accuracy": 0.95, "subject": "тема"}], [clock_us])
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == (
        '{"timestamp":"2024-01-15T10:30:00.123456+00:00","level":"TRACKING",'
        '"accuracy":0.95,"subject":"тема","track_id":"marvellous-stork-4885"}\n'
    )


def test_a_log_line_shows_local_time(tmp_path: Path, new_york: None) -> None:
    clock_us = int(dt.datetime(2024, 1, 15, 2, 30, tzinfo=dt.timezone.utc).timestamp()) * 1_000_000
    opened(logs_path=tmp_path).write(RUN, [{"a": 1}], [clock_us])
    assert (tmp_path / "2024-01-14.log").read_text(encoding="utf-8").startswith("2024-01-14 21:30:00.000 | ")


def test_the_fields_of_the_tracker_take_the_place_of_those_in_the_row(tmp_path: Path) -> None:
    row = {"a": 1, "timestamp": "2023-12-14 12:00:00.290098", "track_id": RUN}
    opened(jsonl=tmp_path / "a.jsonl", logs_path=tmp_path).write(RUN, [row], [NOON])
    (line,) = lines_of(tmp_path / "a.jsonl")
    assert dt.datetime.fromisoformat(line["timestamp"]).tzinfo is not None
    assert read_logs(tmp_path).to_dict("records") == [row]


def test_a_key_named_level_is_the_users(tmp_path: Path) -> None:
    opened(jsonl=tmp_path / "a.jsonl").write(RUN, [{"level": 7}], [NOON])
    (line,) = lines_of(tmp_path / "a.jsonl")
    assert line["level"] == 7


ODD = {
    "list": [1, "a", None, True],
    "tuple": (1, (2.5,)),
    "dict": {"a": {"b": [1]}},
    "int_keys": {1: "a", None: "b", 2.5: "d"},
    "alike_keys": {1: "a", "1": "b"},
    "odd_keys": {(1, 2): "a", b"x": "b"},
    "tag_like": {"$float": "NaN"},
    "bytes": b"\x00\xff",
    "moment": dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc),
    "naive": dt.datetime(2024, 1, 2, 3, 4, 5),
    "day": dt.date(2024, 1, 2),
    "time": dt.time(3, 4),
    "span": dt.timedelta(days=1, microseconds=1),
    "decimal": decimal.Decimal("1.10"),
    "uuid": uuid.UUID(int=5),
    "path": Path("a/b"),
    "complex": 1 + 2j,
    "big": 2**64 - 1,
    "small": -(2**63),
    "ends": "a\x85b\u2028c\u2029d\re\nf",
}


def test_values_keep_their_type_and_nesting(tmp_path: Path) -> None:
    opened(jsonl=tmp_path / "a.jsonl").write(RUN, [wired(**ODD)], [NOON])
    (line,) = lines_of(tmp_path / "a.jsonl")
    del line["timestamp"], line["level"], line["track_id"]
    assert line == {
        "list": [1, "a", None, True],
        "tuple": [1, [2.5]],
        "dict": {"a": {"b": [1]}},
        "int_keys": {"1": "a", "null": "b", "2.5": "d"},
        "alike_keys": [[1, "a"], ["1", "b"]],
        "odd_keys": {"[1, 2]": "a", "eA==": "b"},
        "tag_like": {"$float": "NaN"},
        "bytes": "AP8=",
        "moment": "2024-01-02T03:04:05+00:00",
        "naive": "2024-01-02T03:04:05",
        "day": "2024-01-02",
        "time": "03:04:00",
        "span": 86400.000001,
        "decimal": "1.10",
        "uuid": "00000000-0000-0000-0000-000000000005",
        "path": "a/b",
        "complex": "(1+2j)",
        "big": 2**64 - 1,
        "small": -(2**63),
        "ends": "a\x85b\u2028c\u2029d\re\nf",
    }
    assert line["list"][3] is True


def test_a_stored_object_is_the_beginning_of_its_hash(tmp_path: Path) -> None:
    asset = {"$asset": "0123456789abcdef" + "0" * 48}
    opened(jsonl=tmp_path / "a.jsonl").write(RUN, [{"model": asset, "models": [asset]}], [NOON])
    (line,) = lines_of(tmp_path / "a.jsonl")
    assert line["model"] == "0123456789abcdef"
    assert line["models"] == ["0123456789abcdef"]


HARD = {
    "nan": math.nan,
    "up": math.inf,
    "down": -math.inf,
    "huge": 2**64,
    "in": [0.5, {"a.b": (math.nan, -(2**63) - 1)}],
}


def test_numbers_that_json_lacks_are_null_and_told_beside(tmp_path: Path) -> None:
    opened(jsonl=tmp_path / "a.jsonl").write(RUN, [wired(**HARD)], [NOON])
    (line,) = lines_of(tmp_path / "a.jsonl")
    assert list(line)[-1] == "_exact"
    assert line["_exact"] == [
        ["nan", "NaN"],
        ["up", "Infinity"],
        ["down", "-Infinity"],
        ["huge", str(2**64)],
        ["in", "1", "a.b", "0", "NaN"],
        ["in", "1", "a.b", "1", str(-(2**63) - 1)],
    ]
    assert line["nan"] is line["up"] is line["huge"] is None
    assert line["in"] == [0.5, {"a.b": [None, None]}]


@pytest.mark.parametrize("name", ["_exact", "exact"])
def test_a_users_own_key_of_that_name_is_kept(tmp_path: Path, name: str) -> None:
    opened(jsonl=tmp_path / "a.jsonl").write(RUN, [wired(**{name: [["a", "NaN"]]}, x=math.nan)], [NOON])
    (row,) = read_jsonl(tmp_path / "a.jsonl").to_dict("records")
    assert row[name] == [["a", "NaN"]]
    assert math.isnan(row["x"])
    assert set(row) == {"timestamp", "level", name, "x", "track_id"}


READERS: dict[str, Callable[[Path], int]] = {}


def reader(read: Callable[[Path], int]) -> Callable[[Path], int]:
    READERS[read.__name__] = read
    return read


@reader
def by_pandas(path: Path) -> int:
    return len(pd.read_json(path, lines=True))


@reader
def by_polars(path: Path) -> int:
    frame = pytest.importorskip("polars").read_ndjson(path)
    assert frame["loss"].dtype.is_float()
    return int(frame.height)


@reader
def by_arrow(path: Path) -> int:
    table = pytest.importorskip("pyarrow.json").read_json(path)
    assert str(table.schema.field("loss").type) == "double"
    return int(table.num_rows)


@reader
def by_duckdb(path: Path) -> int:
    rows = pytest.importorskip("duckdb").sql(f"SELECT loss, typeof(loss) FROM read_json('{path}')").fetchall()
    assert {kind for _, kind in rows} == {"DOUBLE"}
    return len(rows)


@reader
def by_jq(path: Path) -> int:
    if shutil.which("jq") is None:
        pytest.skip("no jq here")
    run = subprocess.run(["jq", "-c", ".track_id", str(path)], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) == {f'"{RUN}"'}
    return len(run.stdout.split())


@reader
def by_json(path: Path) -> int:
    return len(lines_of(path))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_every_line_is_read_by(tmp_path: Path, read: Callable[[Path], int]) -> None:
    rows = [
        wired(loss=0.5, tokens=["a", "é"], meta={"k": 1}),
        wired(loss=math.nan, tokens=[], meta={"k": 2}),
        wired(loss=-math.inf, tokens=["\u2028\x00"], meta={"k": 3}),
        wired(loss=2**70, tokens=["x"], meta={"k": 2**53 + 1}),
        wired(loss=1, tokens=None, meta=None),
    ]
    opened(jsonl=tmp_path / "a.jsonl").write(RUN, rows, [NOON] * 5)
    assert read(tmp_path / "a.jsonl") == 5


@given(values)
def test_any_value_is_one_strict_line_and_its_numbers_come_back(value: Any) -> None:
    wire = encode(value, "value", lambda _: "0" * 64)
    line = as_json({"value": wire})
    assert len(line.decode().splitlines()) == 1
    row = restored(json.loads(line))
    assert list(row) == ["value"]
    if isinstance(value, float | int):
        assert repr(row["value"]) == repr(value)


def test_text_that_no_file_can_hold_is_refused_by_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="'bad'"):
        opened(jsonl=tmp_path / "a.jsonl").write(RUN, [{"bad": "\ud800"}], [NOON])
    assert not (tmp_path / "a.jsonl").exists()


# -- places ------------------------------------------------------------------


def test_nothing_is_asked_for_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Sinks.open() is None
    opened(logs_path="logs", jsonl="data/a.jsonl")
    assert not list(tmp_path.iterdir())


def test_folders_are_made_and_paths_stay_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sinks = opened(logs_path="logs/of/it", jsonl="data/a.jsonl")
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    sinks.write(RUN, [{"a": 1}], [NOON])
    assert (tmp_path / "logs/of/it/2023-12-14.log").exists()
    assert (tmp_path / "data/a.jsonl").exists()
    assert not list((tmp_path / "else").iterdir())


def test_a_day_has_a_file_of_its_own(tmp_path: Path) -> None:
    days = [
        "2024-02-28 23:59:59.999999",
        "2024-02-29 00:00:00.000000",
        "2024-02-29 23:59:59.999999",
        "2024-03-01 00:00",
    ]
    sinks = opened(logs_path=tmp_path)
    sinks.write(RUN, [{"n": n} for n in range(4)], list(map(at, days)))
    for n, day in enumerate(days):
        sinks.write(RUN, [{"n": 10 + n}], [at(day)])
    found = {path.name: read_logs(path)["n"].tolist() for path in tmp_path.iterdir()}
    assert found == {"2024-02-28.log": [0, 10], "2024-02-29.log": [1, 2, 11, 12], "2024-03-01.log": [3, 13]}


def test_messages_go_by_the_clock_that_was_given(tmp_path: Path) -> None:
    clock = iter([at("2024-01-01 23:59:59"), at("2024-01-02 00:00:01")])
    sinks = opened(logs_path=tmp_path, now_us=lambda: next(clock))
    sinks.write_text("INFO", "late")
    sinks.write_text("INFO", "early")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2024-01-01.log", "2024-01-02.log"]


@pytest.mark.parametrize(
    ("file_format", "name"),
    [
        ("run.log", "run.log"),
        ("{time:YYYYMMDD_HHmmss}.log", "20240305_140709.log"),
        ("{time:YY-M-D}T{time:H.m.s}.log", "24-3-5T14.7.9.log"),
        ("{time:DDDD[day]SSS-SSSSSS}.txt", "065day012-012345.txt"),
        ("{time:YYYY}/{time:MM}/{time:DDTHH}.log", "2024/03/05T14.log"),
        ("{time}.log", "2024-03-05_14-07-09_012345.log"),
        ("{{x}}-[{time:DD}].log", "{x}-[05].log"),
        (".log", ".log"),
        ("", "2024-03-05.log"),
    ],
)
def test_time_tokens_name_the_file(tmp_path: Path, file_format: str, name: str) -> None:
    opened(logs_path=tmp_path, logs_file_format=file_format).write(RUN, [{"a": 1}], [at("2024-03-05 14:07:09.012345")])
    assert (tmp_path / name).is_file()
    assert len(read_logs(tmp_path)) == 1


def test_hours_begin_a_file_and_seconds_only_say_when_it_began(tmp_path: Path) -> None:
    clocks = list(map(at, ["2024-03-05 14:07:09", "2024-03-05 14:07:11", "2024-03-05 15:00:00", "2024-03-06 00:00:03"]))
    for file_format in ("{time:YYYY-MM-DD_HH}.log", "{time:YYYY-MM-DD_HH-mm-ss}.log"):
        opened(logs_path=tmp_path, logs_file_format=file_format).write(RUN, [{"a": 1}] * 4, clocks)
    assert sorted(path.stem for path in tmp_path.iterdir()) == [
        "2024-03-05_14",
        "2024-03-05_14-07-09",
        "2024-03-05_15",
        "2024-03-06_00",
        "2024-03-06_00-00-03",
    ]


@pytest.mark.parametrize(
    ("file_format", "reason"),
    [
        ("{time:YYYY-QQ}.log", "'QQ' is no time token"),
        ("{time:MMMM}.log", "'MMMM' is no time token"),
        ("{time:%Y}.log", "'Y' is no time token"),
        ("{level}.log", "'level' is another"),
        ("{time", "expected '}'"),
        ("../{time:YYYY}.log", "leaves the folder"),
        ("a/../../b.log", "leaves the folder"),
        ("..\\b.log", "leaves the folder"),
        ("/tmp/b.log", "leaves the folder"),
        ("C:\\b.log", "leaves the folder"),
        (".", "names no file"),
        ("logs/", "names no file"),
        ("a\x00.log", "names no file"),
    ],
)
def test_a_format_that_is_none_is_refused_at_once(tmp_path: Path, file_format: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(reason)):
        Sinks.open(logs_path=tmp_path, logs_file_format=file_format)


def test_two_trackers_keep_apart_and_may_share(tmp_path: Path) -> None:
    one = opened(logs_path=tmp_path / "one", jsonl=tmp_path / "both.jsonl")
    two = opened(logs_path=tmp_path / "two", jsonl=tmp_path / "both.jsonl")
    for n in range(5):
        one.write("one", [{"n": n}], [NOON])
        two.write("two", [{"n": n}], [NOON])
    assert read_logs(tmp_path / "one")["track_id"].tolist() == ["one"] * 5
    assert read_logs(tmp_path / "two")["track_id"].tolist() == ["two"] * 5
    assert read_jsonl(tmp_path / "both.jsonl")["track_id"].tolist() == ["one", "two"] * 5


def test_the_programs_own_logging_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard = io.StringIO()
    number = loguru.logger.add(heard, format="{message}")
    handlers, level = list(logging.root.handlers), logging.root.level
    try:
        sinks = opened(logs_path=tmp_path, logs_stdout=True, jsonl=tmp_path / "a.jsonl")
        sinks.write(RUN, [{"a": 1}], [NOON])
        loguru.logger.info("still here")
        sinks.close()
    finally:
        loguru.logger.remove(number)
    assert heard.getvalue() == "still here\n"
    assert (logging.root.handlers, logging.root.level) == (handlers, level)
    assert "still here" not in (tmp_path / "2023-12-14.log").read_text(encoding="utf-8")


def test_no_room_of_the_package_knows_loguru() -> None:
    code = (
        "import xetrack.track.logger, xetrack.read.files, sys; print('loguru' in sys.modules, 'pandas' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


# -- sharing a file ----------------------------------------------------------


def test_threads_and_processes_never_mix_lines(tmp_path: Path) -> None:
    code = f"""
import sys, threading, random
from xetrack.track.sinks import Sinks
name = sys.argv[1]
folder = {str(tmp_path)!r}
shared = Sinks.open(logs_path=folder + "/logs", logs_file_format="all.log", jsonl=folder + "/a.jsonl")
def work(thread):
    for n in range(100):
        shared.write(name, [{{"thread": thread, "n": n, "pad": "x" * random.randrange(6000)}}] * 2, [10**15] * 2)
threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
"""
    workers = [subprocess.Popen([sys.executable, "-c", code, f"p{n}"], cwd=ROOT) for n in range(4)]
    assert [worker.wait(120) for worker in workers] == [0] * 4
    expected = sorted((f"p{p}", t, n) for p in range(4) for t in range(4) for n in range(100) for _ in range(2))
    rows = lines_of(tmp_path / "a.jsonl")
    assert sorted((row["track_id"], row["thread"], row["n"]) for row in rows) == expected
    for one, two in zip(rows[::2], rows[1::2], strict=True):  # rows of one call stay together
        assert one == two
    logged = read_logs(tmp_path / "logs").to_dict("records")
    assert sorted((row["track_id"], row["thread"], row["n"]) for row in logged) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_while_others_write_writes_too(tmp_path: Path) -> None:
    sinks = opened(jsonl=tmp_path / "a.jsonl")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            sinks.write("parent", [{"a": 1}], [NOON])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for n in range(20):
            child = os.fork()
            if not child:
                try:
                    sinks.write("child", [{"n": n}], [NOON])
                finally:
                    os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [row["n"] for row in lines_of(tmp_path / "a.jsonl") if row["track_id"] == "child"] == list(range(20))


@pytest.mark.parametrize("gone", ["renamed", "removed", "folder removed", "replaced"])
def test_after_a_rotation_lines_go_to_a_new_file(tmp_path: Path, gone: str) -> None:
    path = tmp_path / "logs" / "a.jsonl"
    sinks = opened(jsonl=path)
    sinks.write(RUN, [{"n": 0}], [NOON])
    if gone == "renamed":
        path.rename(path.with_suffix(".1"))
    elif gone == "removed":
        path.unlink()
    elif gone == "folder removed":
        shutil.rmtree(path.parent)
    else:
        path.with_suffix(".new").write_text('{"n": -1}\n', encoding="utf-8")
        path.with_suffix(".new").replace(path)
    sinks.write(RUN, [{"n": 1}], [NOON])
    assert [row["n"] for row in lines_of(path)] == ([-1, 1] if gone == "replaced" else [1])
    if gone == "renamed":
        assert [row["n"] for row in lines_of(path.with_suffix(".1"))] == [0]


def test_a_file_that_was_emptied_in_its_place_goes_on(tmp_path: Path) -> None:
    sinks = opened(jsonl=tmp_path / "a.jsonl")
    for n in range(3):
        os.truncate(tmp_path / "a.jsonl", 0) if n else None
        sinks.write(RUN, [{"n": n}], [NOON])
    assert [row["n"] for row in lines_of(tmp_path / "a.jsonl")] == [2]


@pytest.mark.parametrize("when", ["before", "between"])
def test_after_a_torn_line_ours_stands_alone(tmp_path: Path, when: str) -> None:
    path = tmp_path / "a.jsonl"
    sinks = opened(jsonl=path)
    if when == "between":
        sinks.write(RUN, [{"n": 0}], [NOON])
    with path.open("a") as file:
        file.write('{"timestamp": "2024-01-')
    sinks.write(RUN, [{"n": 1}], [NOON])
    sinks.write(RUN, [{"n": 2}], [NOON])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[-3] == '{"timestamp": "2024-01-'
    assert [json.loads(line)["n"] for line in lines[-2:]] == [1, 2]


def test_a_line_that_somebody_is_still_writing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": ')

    def rest(_: float) -> None:
        with path.open("ab") as file:
            file.write(b"0}\n")

    monkeypatch.setattr("xetrack.track.sinks.time.sleep", rest)
    opened(jsonl=path).write(RUN, [{"n": 1}], [NOON])
    assert [row["n"] for row in lines_of(path)] == [0, 1]


def test_closing_frees_the_files_and_a_later_line_opens_them(tmp_path: Path) -> None:
    sinks = opened(jsonl=tmp_path / "a.jsonl", logs_path=tmp_path / "logs")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for n in range(3):
        sinks.write(RUN, [{"n": n}], [NOON])
        sinks.close()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
    assert [row["n"] for row in lines_of(tmp_path / "a.jsonl")] == [0, 1, 2]


# -- what may go wrong -------------------------------------------------------


def test_short_writes_are_completed(tmp_path: Path) -> None:
    sinks = opened(jsonl=tmp_path / "a.jsonl")
    sinks._jsonl_file._put = Script("PPPR")
    sinks.write(RUN, [{"n": 1}], [NOON])
    assert [row["n"] for row in lines_of(tmp_path / "a.jsonl")] == [1]


def test_a_full_disk_is_named_and_other_lines_stay_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sinks = opened(jsonl=tmp_path / "a.jsonl", logs_path=tmp_path / "logs", logs_stdout=True)
    sinks.write(RUN, [{"n": 0}], [NOON])
    sinks._log_file._put = FullDisk(20)
    with pytest.raises(DiskFull, match="2023-12-14.log"):
        sinks.write(RUN, [{"n": 1}], [NOON])
    sinks._log_file._put = os.write
    sinks.write(RUN, [{"n": 2}], [NOON])
    assert [row["n"] for row in lines_of(tmp_path / "a.jsonl")] == [0, 1, 2]
    assert read_logs(tmp_path / "logs")["n"].tolist() == [0, 2]
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(PermissionDenied, match="locked"):
        opened(jsonl=folder / "a.jsonl").write(RUN, [{"a": 1}], [NOON])


def test_a_refused_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, *_: object) -> int:
        raise PermissionError(errno.EACCES, "no", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionDenied, match="a.jsonl"):
        opened(jsonl=tmp_path / "a.jsonl").write(RUN, [{"a": 1}], [NOON])


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(StorageFailed, match="a.jsonl"):
        opened(jsonl=tmp_path / "a.jsonl").write(RUN, [{"a": 1}], [NOON])


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="logs"):
        opened(logs_path=tmp_path / "logs").write(RUN, [{"a": 1}], [NOON])


def test_killed_writers_leave_whole_lines_of_all_others(tmp_path: Path) -> None:
    code = f"""
import sys, itertools
from xetrack.track.sinks import Sinks
sinks = Sinks.open(jsonl={str(tmp_path / "a.jsonl")!r})
for n in itertools.count():
    sinks.write(sys.argv[1], [{{"n": n, "pad": "x" * 300_000}}], [10**15])
    print(n, flush=True)
"""
    ours = opened(jsonl=tmp_path / "a.jsonl")
    told = []
    for p in range(6):
        worker = subprocess.Popen([sys.executable, "-c", code, f"p{p}"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        for _ in range(random.randrange(2, 6)):
            last = int(worker.stdout.readline())
            ours.write("ours", [{"n": 0}], [NOON])
        worker.kill()
        last = max([last, *map(int, worker.stdout.read().split())])
        worker.wait()
        worker.stdout.close()
        told.append((f"p{p}", last))
        ours.write("ours", [{"n": 0}], [NOON])
    found = [(row["track_id"], row["n"]) for row in read_jsonl(tmp_path / "a.jsonl").to_dict("records")]
    for name, last in told:
        assert {n for run, n in found if run == name} >= set(range(last + 1))
    assert found[-1] == ("ours", 0)


# -- stdout ------------------------------------------------------------------


class Stream(io.TextIOWrapper):
    """A stdout of an encoding, that counts the calls to write."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="\n")
        self.calls = 0

    def write(self, text: str) -> int:
        self.calls += 1
        return super().write(text)

    @property
    def text(self) -> bytes:
        return self.buffer.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_stdout_is_what_it_is_at_the_time_and_gets_a_write_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    sinks = opened(logs_stdout=True)
    for _ in range(2):
        stream = Stream()
        monkeypatch.setattr(sys, "stdout", stream)
        sinks.write(RUN, [{"a": 1}, {"a": 2}], [NOON, NOON])
        assert [HEAD.match(line) is not None for line in stream.text.splitlines()] == [True, True]
        assert stream.calls == 2


def test_what_the_encoding_of_stdout_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream("ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    opened(logs_stdout=True).write(RUN, [{"a": "é"}], [NOON])
    assert b'!\\U0001f4c1!{"a":"\\xe9"' in stream.text


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "nobody reads")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [Broken(), closed(), None], ids=["broken", "closed", "none"])
def test_a_stdout_that_is_gone_stops_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    opened(logs_stdout=True, jsonl=tmp_path / "a.jsonl").write(RUN, [{"a": 1}], [NOON])
    assert len(lines_of(tmp_path / "a.jsonl")) == 1


def test_a_line_is_out_when_the_call_returns() -> None:
    code = """
import os
from xetrack.track.sinks import Sinks
Sinks.open(logs_stdout=True).write("run", [{}], [0])
os._exit(0)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert HEAD.match(run.stdout)
