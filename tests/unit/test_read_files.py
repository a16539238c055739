"""`read_logs` and `read_jsonl`: rows come back, damage is passed over, nothing is created."""

from __future__ import annotations

import logging
import math
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from xetrack import Reader
from xetrack.errors import InvalidArgument, PathNotFound, StorageError
from xetrack.log.values import encode
from xetrack.read.files import read_jsonl, read_logs
from xetrack.track.sinks import Sinks

#: Written by xetrack 0.7.0.
OLD = """\
2026-11-24 22:29:08.988 | TRACKING | xetrack.logging:log:177!📁!{"accuracy":0.9,"u":"é","track_id":"t","timestamp":"x"}
2026-11-24 22:29:08.988 | MONITOR  | xetrack.logging:log:177!📁!{"a":1}
2026-11-24 22:29:08.990 | EXPERIMENT | xetrack.logging:log:177!📁!{
  "lr": 0.1,
  "n": {
    "k": 1
  }
}
2026-11-24 22:29:08.991 | WARNING  | xetrack.logging:warning:189!📁!warn 3
2026-11-24 22:29:08.991 | INFO     | xetrack.logging:info:193!📁!inf
multi
2026-11-24 22:29:08.991 | MONITOR  | xetrack.logging:log:177!📁!{"q":2}
"""


def line(text: str, time: str = "2024-01-01 00:00:00.000", level: str = "TRACKING") -> str:
    return f"{time} | {level: <8} | a.b:<module>:1!📁!{text}\n"


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "run.log"


def test_files_of_the_original_are_read(log_file: Path) -> None:
    log_file.write_text(OLD, encoding="utf-8")
    frame = read_logs(log_file)
    assert [
        {k: v for k, v in row.items() if v is not None and v == v} for row in frame.astype(object).to_dict("records")
    ] == [
        {"accuracy": 0.9, "u": "é", "track_id": "t", "timestamp": "x"},
        {"a": 1},
        {"lr": 0.1, "n": {"k": 1}},
        {"q": 2},
    ]


def test_the_reader_has_both(tmp_path: Path) -> None:
    sinks = Sinks.open(logs_path=tmp_path / "logs", jsonl=tmp_path / "a.jsonl")
    assert sinks is not None
    sinks.write("run", [{"a": 1}], [0])
    assert Reader.read_logs(tmp_path / "logs")["a"].tolist() == [1]
    assert Reader.read_logs(str(tmp_path / "logs"), limit=0).empty
    frame = Reader.read_jsonl(str(tmp_path / "a.jsonl"))
    assert frame.columns.tolist() == ["timestamp", "level", "a", "track_id"]
    assert frame["timestamp"].tolist() == ["1970-01-01T00:00:00.000000+00:00"]


def test_what_is_no_row_stops_nothing_and_damage_is_counted_once(
    log_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1\nKeyError: 1\n'
    parts = [
        line('{"n":0}'),
        trace,
        line("a message", level="INFO"),
        "{\n",
        line('{"n":1, "torn'),
        line("{", level="EXPERIMENT") + '  "n": 2,\n',
        line("{", level="EXPERIMENT") + '  "n": 2\ntext of somebody else\n',
        line('{"n":3}'),
        line("[3]"),
        line("{braces} in a message", level="INFO"),
        "\n\n",
        line('{"n":4}')[:-1],
    ]
    log_file.write_bytes("".join(parts).encode() + b"\n\xff\xfe{\n" + line('{"n":5}').encode())
    with caplog.at_level(logging.WARNING, logger="xetrack"):
        assert read_logs(log_file)["n"].tolist() == [0, 3, 4, 5]
    assert [record.getMessage() for record in caplog.records] == [f"{log_file}: 3 damaged lines were skipped."]


def test_a_line_that_ran_into_a_torn_one_is_read(log_file: Path) -> None:
    log_file.write_text(line('{"n":0, "to')[:-1] + line('{"n":1}'), encoding="utf-8")
    assert read_logs(log_file)["n"].tolist() == [1]


def test_a_text_that_holds_the_delimiter_or_a_line_is_read_right(tmp_path: Path) -> None:
    texts = ["a !📁! b", "!📁!", line('{"n":1}'), "x:y:1!📁!{}"]
    sinks = Sinks.open(logs_path=tmp_path)
    assert sinks is not None
    sinks.write("run", [{"text": text} for text in texts], [0] * 4)
    assert read_logs(tmp_path)["text"].tolist() == texts


def test_a_prefix_of_a_collector_does_no_harm(log_file: Path) -> None:
    log_file.write_text("pod-1 stdout F " + line('{"n":1}'), encoding="utf-8")
    assert read_logs(log_file)["n"].tolist() == [1]


@pytest.fixture
def three_days(tmp_path: Path) -> Path:
    """Three files whose names and dates of change say nothing about their order."""
    folder = tmp_path / "logs"
    for name, day in [("b.log", 1), ("c.log", 3), ("sub/a.log", 2)]:
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("".join(line(f'{{"n":{day}{n}}}', f"2024-01-0{day} 00:00:0{n}.000") for n in range(3)), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, [30, 31, 32, 20, 21, 22, 10, 11, 12]),
        (0, []),
        (1, [32]),
        (3, [30, 31, 32]),
        (5, [30, 31, 32, 21, 22]),
        (100, [30, 31, 32, 20, 21, 22, 10, 11, 12]),
    ],
)
def test_the_newest_file_comes_first_and_limit_counts_rows(
    three_days: Path, limit: int | None, expected: list[int]
) -> None:
    frame = read_logs(three_days, limit)
    assert (frame["n"].tolist() if len(frame) else []) == expected
    assert frame.index.tolist() == list(range(len(expected)))


@pytest.mark.parametrize("limit", [-1, 1.5, True, "3"])
def test_a_limit_is_a_number_of_rows(three_days: Path, limit: Any) -> None:
    with pytest.raises(InvalidArgument, match="limit"):
        read_logs(three_days, limit)


def test_a_folder_gives_its_logs_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_text(line('{"n":1}'), encoding="utf-8")
    (tmp_path / "run.log.1").write_text(line('{"n":0}', "2023-01-01 00:00:00.000"), encoding="utf-8")
    (tmp_path / "data.jsonl").write_text('{"n": 5}\n', encoding="utf-8")
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    (tmp_path / "empty.log").write_text("", encoding="utf-8")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.log")
    assert read_logs(tmp_path)["n"].tolist() == [1, 0]


def test_an_empty_folder_is_an_empty_frame(tmp_path: Path) -> None:
    assert read_logs(tmp_path).empty


@pytest.mark.parametrize("read", [read_logs, read_jsonl])
def test_an_absent_path_is_named_with_what_is_near(tmp_path: Path, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(PathNotFound, match="Did you mean: .*data.jsonl"):
        read(tmp_path / "dta.jsonl")
    with pytest.raises(PathNotFound, match="Nothing was created"):
        read(str(tmp_path / "no" / "such" / "folder"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PathNotFound, match="data.jsonl"):
        read("data.json")
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_a_folder_is_no_jsonl_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=tmp_path.name):
        read_jsonl(tmp_path)


def test_reading_disturbs_no_writer(tmp_path: Path) -> None:
    sinks = Sinks.open(logs_path=tmp_path / "logs", jsonl=tmp_path / "a.jsonl")
    assert sinks is not None
    for n in range(5):
        sinks.write("run", [{"n": n}], [0])
        assert read_logs(tmp_path / "logs")["n"].tolist() == list(range(n + 1))
        assert read_jsonl(tmp_path / "a.jsonl")["n"].tolist() == list(range(n + 1))


def test_damaged_lines_of_jsonl_are_skipped_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.jsonl"
    deep = b"[" * 200_000
    path.write_bytes(
        b'{"n":0}\n{"n":\n\n[1]\n"text"\n\xff\n\0\0\0\n' + deep + b'\n{"n":1}\r\n{"n":NaN}\n{"n":2}\n{"n":3, "to'
    )
    with caplog.at_level(logging.WARNING, logger="xetrack"):
        frame = read_jsonl(path)
    assert frame["n"].dropna().tolist() == [0, 1, 2]
    assert len(frame) == 4
    assert [record.getMessage() for record in caplog.records] == [f"{path}: 7 damaged lines were skipped."]


def rows_back(tmp_path: Path, rows: list[dict[str, Any]]) -> pd.DataFrame:
    sinks = Sinks.open(jsonl=tmp_path / "a.jsonl", logs_path=tmp_path / "logs")
    assert sinks is not None
    sinks.write("run", [{key: encode(value, key) for key, value in row.items()} for row in rows], [0] * len(rows))
    frame = read_jsonl(tmp_path / "a.jsonl").drop(columns=["timestamp", "level", "track_id"])
    logged = read_logs(tmp_path / "logs").drop(columns=["timestamp", "track_id"])
    pd.testing.assert_frame_equal(frame, logged)
    both: pd.DataFrame = frame
    return both


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        ([1, 2, 2**63 - 1], "int64"),
        ([1, None, 2**60 + 1], "Int64"),
        ([1, None, 2**70], "object"),
        ([2**63, -1], "object"),
        ([0.5, 1, None], "float64"),
        ([0.5, 2**60 + 1], "object"),
        ([True, False], "bool"),
        ([True, None], "boolean"),
        ([True, 1], "object"),
        (["a", None], "str"),
        ([[1, 2], [3, 4], {"a": None}], "object"),
        ([None, None], "object"),
        ([1, "a"], "object"),
    ],
)
def test_a_column_has_the_dtype_of_its_values(tmp_path: Path, cells: list[Any], dtype: str) -> None:
    column = rows_back(tmp_path, [{"x": cell} for cell in cells])["x"]
    if dtype == "str" and not pd.__version__.startswith("3"):
        dtype = "object"
    assert str(column.dtype) == dtype
    back = [None if not isinstance(cell, list | dict) and pd.isna(cell) else cell for cell in column.tolist()]
    assert list(map(repr, back)) == [
        repr(float(cell) if dtype == "float64" and cell is not None else cell) for cell in cells
    ]


def test_numbers_that_json_lacks_are_back(tmp_path: Path) -> None:
    rows = [{"x": 0.5, "t": "NaN"}, {"x": math.nan, "t": "a"}, {"x": -math.inf, "n": {"a": [math.inf, 2**80]}}]
    frame = rows_back(tmp_path, rows)
    assert frame.columns.tolist() == ["x", "t", "n"]
    assert str(frame["x"].dtype) == "float64"
    assert frame["x"].tolist()[::2] == [0.5, -math.inf]
    assert frame["t"].tolist()[:2] == ["NaN", "a"]
    assert frame["n"].tolist()[2] == {"a": [math.inf, 2**80]}


def test_texts_for_these_numbers_among_numbers_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x":1,"t":"NaN"}\n{"x":"NaN"}\n{"x":"-Infinity"}\n', encoding="utf-8")
    frame = read_jsonl(tmp_path / "a.jsonl")
    assert frame["x"].dtype == "float64"
    assert frame["x"].tolist()[2] == -math.inf
    assert frame["t"].tolist()[0] == "NaN"


@pytest.mark.parametrize(
    "exact", ["3", "[]", '["x"]', '[["y","NaN"]]', '[["x","0","NaN"]]', '[["x","much"]]', '[["NaN"]]', '[["k","NaN"]]']
)
def test_a_column_of_that_name_that_says_nothing_is_left_as_it_is(tmp_path: Path, exact: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"x":null,"k":1,"_exact":{exact}}}\n', encoding="utf-8")
    (row,) = read_jsonl(tmp_path / "a.jsonl").to_dict("records")
    assert row["x"] is None
    assert row["k"] == 1


def test_columns_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"b":1}\n{"a":2,"b":3}\n{"c":4}\n', encoding="utf-8")
    frame = read_jsonl(tmp_path / "a.jsonl")
    assert frame.columns.tolist() == ["b", "a", "c"]
    assert frame["c"].isna().tolist() == [True, True, False]


def test_a_limit_bounds_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "big.log"
    with path.open("w", encoding="utf-8") as file:
        for n in range(2000):
            file.write(line(f'{{"n":{n},"pad":"{"x" * 5000}"}}'))
    pd.DataFrame()  # what loading pandas takes is not the question
    tracemalloc.start()
    try:
        assert read_logs(path, limit=2)["n"].tolist() == [1998, 1999]
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
