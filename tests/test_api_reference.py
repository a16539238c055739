"""The whole surface of the API reference: every name, argument, default, property and return value."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import xetrack
from xetrack import Reader, Tracker

REQUIRED = inspect.Parameter.empty

#: Callable and its arguments with their defaults, in order, as the reference lists them.
SIGNATURES: list[tuple[str, dict[str, Any]]] = [
    (
        "Tracker",
        {
            "db": "track.db",
            "params": None,
            "reset": False,
            "log_system_params": False,
            "log_network_params": False,
            "raise_on_error": True,
            "measurement_interval": 1,
            "track_id": None,
            "logs_path": None,
            "logs_file_format": None,
            "logs_stdout": False,
            "jsonl": None,
            "cache": None,
            "compress": False,
            "warnings": True,
            "git_root": None,
            "engine": "sqlite",
            "table": "default",
        },
    ),
    ("Tracker.log", {"data": REQUIRED}),
    ("Tracker.track", {"func": REQUIRED, "params": None, "args": None, "kwargs": None, "cache_force": False}),
    ("Tracker.wrap", {"params": None}),
    ("Tracker.log_batch", {"data": REQUIRED}),
    ("Tracker.set_param", {"key": REQUIRED, "value": REQUIRED}),
    ("Tracker.set_params", {"params": REQUIRED}),
    ("Tracker.set_value", {"key": REQUIRED, "value": REQUIRED}),
    ("Tracker.set_where", {"key": REQUIRED, "value": REQUIRED, "where_key": REQUIRED, "where_value": REQUIRED}),
    ("Tracker.to_df", {"all": False}),
    ("Tracker.head", {"n": 5}),
    ("Tracker.tail", {"n": 5}),
    ("Tracker.count_all", {}),
    ("Tracker.count_run", {}),
    ("Tracker.to_csv", {"path": REQUIRED, "all": False}),
    ("Tracker.to_parquet", {"path": REQUIRED, "all": False}),
    ("Tracker.get", {"key": REQUIRED}),
    ("Tracker.generate_track_id", {}),
    ("Reader", {"db": REQUIRED, "engine": "sqlite", "table": "default"}),
    ("Reader.to_df", {"track_id": None, "head": None, "tail": None}),
    ("Reader.latest", {}),
    ("Reader.delete_run", {"track_id": REQUIRED}),
    ("Reader.set_value", {"key": REQUIRED, "value": REQUIRED, "track_id": None}),
    (
        "Reader.set_where",
        {"key": REQUIRED, "value": REQUIRED, "where_key": REQUIRED, "where_value": REQUIRED, "track_id": None},
    ),
    ("Reader.remove_asset", {"hash_value": REQUIRED, "column": None, "remove_keys": True}),
    (
        "Reader.read_db",
        {"db": REQUIRED, "engine": "sqlite", "table": "default", "track_id": None, "head": None, "tail": None},
    ),
    ("Reader.read_logs", {"path": REQUIRED, "limit": None}),
    ("Reader.read_jsonl", {"path": REQUIRED}),
    ("Reader.read_cache", {"cache": REQUIRED, "key": REQUIRED}),
    ("Reader.scan_cache", {"cache": REQUIRED}),
    ("Reader.delete_cache_by_track_id", {"cache": REQUIRED, "track_id": REQUIRED}),
    ("copy", {"source": REQUIRED, "target": REQUIRED, "assets": True, "tables": None}),
]


@pytest.mark.parametrize(("name", "expected"), SIGNATURES, ids=[name for name, _ in SIGNATURES])
def test_signature(name: str, expected: dict[str, Any]) -> None:
    found: Any = xetrack
    for part in name.split("."):
        found = getattr(found, part)
    parameters = {key: value for key, value in inspect.signature(found).parameters.items() if key != "self"}
    listed = {key: parameters[key].default for key in list(parameters)[: len(expected)]}
    assert listed == expected
    assert list(listed) == list(expected) or name == "copy"
    # What is not in the reference can be left out.
    assert all(parameters[key].default is not REQUIRED for key in list(parameters)[len(expected) :])


@pytest.fixture(params=["sqlite", "duckdb"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def tracker(tmp_path: Path, engine: Any) -> Tracker:
    tracker = Tracker(str(tmp_path / "exp.db"), params={"model": "bert"}, table="metrics", engine=engine)
    tracker.log({"accuracy": 0.5, "epoch": 1, "ok": True})
    tracker.log({"accuracy": 0.9, "epoch": 2, "ok": False})
    return tracker


def test_tracker_properties(tracker: Tracker, tmp_path: Path) -> None:
    columns = ["timestamp", "track_id", "model", "accuracy", "epoch", "ok"]
    assert tracker.db == str(tmp_path / "exp.db")
    assert tracker.conn.execute("SELECT count(*) FROM metrics").fetchone() == (2,)
    assert tracker.table_name == "metrics"
    assert tracker.columns == columns
    assert tracker.dtypes == dict(zip(columns, [str, str, str, float, int, bool], strict=True))
    assert len(tracker.assets) == 0
    assert tracker.params == {"model": "bert"}
    assert tracker.latest["accuracy"] == 0.9 and tracker.latest["track_id"] == tracker.track_id
    assert (Tracker.IN_MEMORY, bool(Tracker.SKIP_INSERT)) == (":memory:", True)


def test_tracker_returns(tracker: Tracker, tmp_path: Path) -> None:
    row = tracker.log({"accuracy": 1.0})
    assert set(row) == {"accuracy", "model", "timestamp", "track_id"}
    assert tracker.track(lambda lr: {"accuracy": lr}, args=[0.01], params={"note": "x"}) == {"accuracy": 0.01}
    assert tracker.latest["note"] == "x" and tracker.latest["error"] == ""
    assert set(tracker.log_batch([{"step": 1}, {"step": 2}])) == {"step", "model", "timestamp", "track_id"}
    assert tracker.set_param("lr", 0.1) == 0.1
    assert tracker.set_params({"lr": 0.2}) == {"model": "bert", "lr": 0.2}
    assert tracker.set_value("done", True) == 6
    assert tracker.set_where("label", "good", "accuracy", 0.9) == 1
    assert (len(tracker), tracker.count_run(), tracker.count_all()) == (6, 6, 6)
    for frame in (tracker.to_df(), tracker.to_df(all=True), tracker.head(), tracker.head(2), tracker.tail(n=3)):
        assert isinstance(frame, pd.DataFrame)
    assert isinstance(tracker["accuracy"], pd.Series)
    first = tracker[1]
    assert first is not None and first["accuracy"] == 0.5
    tracker.to_csv(str(tmp_path / "out.csv"))
    tracker.to_parquet(str(tmp_path / "out.parquet"), all=True)
    assert len(pd.read_csv(tmp_path / "out.csv")) == len(pd.read_parquet(tmp_path / "out.parquet")) == 6
    words = Tracker.generate_track_id().split("-")
    assert len(words) >= 3 and words[-1].isdecimal() and len(words[-1]) == 4


def test_reader_properties_and_returns(tracker: Tracker, engine: Any) -> None:
    reader = Reader(tracker.db, engine=engine, table="metrics")
    assert (reader.db, reader.columns, reader.dtypes) == (tracker.db, tracker.columns, tracker.dtypes)
    assert reader.conn.execute("SELECT max(accuracy) FROM metrics").fetchone() == (0.9,)
    assert len(reader.assets) == 0
    assert len(reader.to_df(track_id=tracker.track_id, head=1)) == len(reader.to_df(tail=1)) == 1
    assert len(reader.latest()) == len(reader) == 2
    assert reader.set_value("note", "x", track_id=tracker.track_id) == 2
    assert reader.set_where("note", "y", "epoch", 1, track_id=tracker.track_id) == 1
    assert len(Reader.read_db(tracker.db, engine=engine, table="metrics", track_id=tracker.track_id, head=5)) == 2
    assert reader.delete_run(tracker.track_id) == 2


def test_system_and_network_columns(tmp_path: Path) -> None:
    tracker = Tracker(str(tmp_path / "exp.db"), log_system_params=True, log_network_params=True)
    tracker.track(len, args=[[1]])
    expected = {"cpu_percent", "ram_percent", "p_memory_percent", "disk_percent", "bytes_sent", "bytes_recv"}
    assert expected <= set(tracker.columns)
    assert expected <= set(tracker.log({"x": 1}))
