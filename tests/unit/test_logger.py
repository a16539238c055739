"""`tracker.logger`: rows and messages for the sinks alone."""

from __future__ import annotations

import datetime as dt
import decimal
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.faults import FullDisk
from xetrack.errors import DiskFull, InvalidArgument, InvalidValue, KeyCollision, StorageError
from xetrack.read.files import read_jsonl, read_logs
from xetrack.track.logger import Logger
from xetrack.track.sinks import Sinks

NOON = int(dt.datetime(2023, 12, 14, 12).timestamp()) * 1_000_000
HEAD = "2023-12-14 12:00:00.000 | "


@pytest.fixture
def sinks(tmp_path: Path) -> Sinks:
    made = Sinks.open(logs_path=tmp_path / "logs", jsonl=tmp_path / "a.jsonl", now_us=lambda: NOON)
    assert made is not None
    return made


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "2023-12-14.log"


def texts(path: Path) -> list[tuple[str, str]]:
    """Level and text of each line of a log file."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        level, _, rest = line.removeprefix(HEAD).partition(" | ")
        found.append((level.strip(), rest.partition("!📁!")[2]))
    return found


def test_a_monitored_row_stands_as_it_was_given(sinks: Sinks, tmp_path: Path, log_file: Path) -> None:
    Logger(sinks).monitor({"a": 1, "track_id": "mine"})
    assert log_file.read_text(encoding="utf-8") == (
        f'{HEAD}MONITOR  | xetrack.logging:log:176!📁!{{"a":1,"track_id":"mine"}}\n'
    )
    line = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert line.endswith('"level":"MONITOR","a":1,"track_id":"mine"}\n')


def frames() -> list[Any]:
    polars = pytest.importorskip("polars")
    arrow = pytest.importorskip("pyarrow")
    columns = {"a": [1, 2], "b": ["x", None], "c": [0.5, 1.5]}
    rows = [{"a": 1, "b": "x", "c": 0.5}, {"a": 2, "b": None, "c": 1.5}]
    return [rows, tuple(rows), pd.DataFrame(columns), polars.DataFrame(columns), arrow.table(columns)]


@pytest.mark.parametrize("kind", range(5), ids=["list", "tuple", "pandas", "polars", "arrow"])
def test_rows_come_from_lists_and_frames(sinks: Sinks, log_file: Path, kind: int) -> None:
    Logger(sinks).monitor(frames()[kind])
    assert texts(log_file) == [("MONITOR", '{"a":1,"b":"x","c":0.5}'), ("MONITOR", '{"a":2,"b":null,"c":1.5}')]


def test_nan_in_a_column_of_floats_stays_nan(sinks: Sinks, tmp_path: Path) -> None:
    Logger(sinks).monitor(pd.DataFrame({"a": [math.nan, 1.0], "b": [pd.Timestamp("2024-01-02"), pd.NaT]}))
    first, second = read_jsonl(tmp_path / "a.jsonl").to_dict("records")
    assert math.isnan(first["a"])
    assert first["b"] == "2024-01-02T00:00:00"
    assert pd.isna(second["b"])


def test_an_experiment_is_spread_for_the_eye_and_one_row_to_a_reader(
    sinks: Sinks, tmp_path: Path, log_file: Path
) -> None:
    logger = Logger(sinks)
    logger.experiment({"lr": 0.1, "net": {"layers": [1, 2]}, "text": "a\nb"})
    logger.monitor({"lr": 0.2})
    text = log_file.read_text(encoding="utf-8")
    assert text.startswith(f'{HEAD}EXPERIMENT | xetrack.logging:log:176!📁!{{\n  "lr": 0.1,\n  "net": {{\n')
    first, _ = read_logs(log_file).to_dict("records")
    assert first == {"lr": 0.1, "net": {"layers": [1, 2]}, "text": "a\nb"}
    assert len((tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_track_and_log_take_their_level(sinks: Sinks, log_file: Path) -> None:
    logger = Logger(sinks)
    logger.track({"a": 1})
    logger.log({"a": 2})
    logger.log([{"a": 3}], "DRIFT")
    assert texts(log_file) == [("TRACKING", '{"a":1}'), ("MONITOR", '{"a":2}'), ("DRIFT", '{"a":3}')]
    assert read_logs(log_file)["a"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("level", ["two words", "a|b", "", "a\nb", 3])
def test_a_level_is_a_word(sinks: Sinks, level: Any) -> None:
    with pytest.raises(InvalidArgument, match="level"):
        Logger(sinks).log({"a": 1}, level)


def test_values_are_those_that_a_log_takes(sinks: Sinks, tmp_path: Path) -> None:
    Logger(sinks).monitor({"n": np.float64(0.5), 3: np.int64(4), "d": decimal.Decimal("1.5"), "t": (1, math.nan)})
    (row,) = read_jsonl(tmp_path / "a.jsonl").to_dict("records")
    assert (row["n"], row["3"], row["d"]) == (0.5, 4, "1.5")
    assert row["t"][0] == 1 and math.isnan(row["t"][1])


def test_a_rows_own_time_and_level_win(sinks: Sinks, tmp_path: Path) -> None:
    Logger(sinks).monitor({"timestamp": "then", "level": 3})
    assert read_jsonl(tmp_path / "a.jsonl").to_dict("records") == [{"timestamp": "then", "level": 3}]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("text", InvalidArgument),
        (None, InvalidArgument),
        ([1], InvalidArgument),
        ([{"a": 1}, "b"], InvalidArgument),
        ({"a": object()}, InvalidValue),
        ({"a": "\ud800"}, InvalidValue),
        ({1: "a", "1": "b"}, KeyCollision),
    ],
)
def test_what_is_no_row_is_refused_and_nothing_is_written(
    sinks: Sinks, tmp_path: Path, data: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        Logger(sinks).monitor(data)
    assert not list(tmp_path.iterdir())


def test_messages_have_their_level_and_are_in_no_dataset(sinks: Sinks, tmp_path: Path, log_file: Path) -> None:
    logger = Logger(sinks)
    logger.debug("d")
    logger.info("i")
    logger.warning("w")
    logger.error(ValueError("e"))
    assert texts(log_file) == [("DEBUG", "d"), ("INFO", "i"), ("WARNING", "w"), ("ERROR", "e")]
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.parametrize(
    ("message", "args", "kwargs", "text"),
    [
        ("{} and {x}", (1,), {"x": 2}, "1 and 2"),
        ("%s and %d", ("a", 2), {}, "a and 2"),
        ("{json} 100%", (), {}, "{json} 100%"),
        ("plain", (1,), {}, "plain 1"),
        ("{} {} {", (1,), {"x": "y"}, "{} {} { 1 x='y'"),
        ("lone \ud800", (), {}, "lone \\ud800"),
    ],
)
def test_arguments_fill_a_message_and_never_stop_a_program(
    sinks: Sinks, log_file: Path, message: str, args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    Logger(sinks).info(message, *args, **kwargs)
    assert texts(log_file) == [("INFO", text)]


def test_no_line_of_a_message_passes_for_a_row(sinks: Sinks, log_file: Path) -> None:
    Logger(sinks).error(f'boom\n{HEAD}TRACKING | a:b:1!📁!{{"acc":1.0}}\n')
    Logger(sinks).monitor({"a": 1})
    assert read_logs(log_file).to_dict("records") == [{"a": 1}]


def test_without_sinks_messages_go_to_logging_and_rows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    logger = Logger(None)
    with caplog.at_level(logging.DEBUG, logger="xetrack"):
        logger.warning("100% of {}", "it")
        logger.monitor({"a": 1})
    assert caplog.record_tuples == [("xetrack", logging.WARNING, "100% of it")]


def test_a_full_disk_is_raised_or_handed_to_who_counts(sinks: Sinks) -> None:
    sinks._log_file._put = FullDisk(0)
    with pytest.raises(DiskFull):
        Logger(sinks).info("lost")
    lost: list[tuple[type[StorageError], int]] = []
    logger = Logger(sinks, lambda error, count: lost.append((type(error), count)))
    logger.monitor([{"a": 1}, {"a": 2}])
    logger.info("lost")
    assert lost == [(DiskFull, 2), (DiskFull, 1)]
