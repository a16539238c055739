"""Frames in files, with pyarrow, with duckdb alone, and with neither."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import ROOT
from xetrack import Reader, Tracker
from xetrack.errors import MissingExtra, StorageError
from xetrack.exchange.frames import write_frame

PARIS = dt.timezone(dt.timedelta(hours=1))
UTC = dt.timezone.utc


@pytest.fixture
def frame(db: str) -> pd.DataFrame:
    """Every type of column, each with a gap."""
    with Tracker(db, track_id="calm-otter-1") as tracker:
        tracker.log(
            {
                "int": 1,
                "big": 2**70,
                "float": 0.5,
                "yes": True,
                "text": "é",
                "bytes": b"\x00\xff",
                "list": [1, 2],
                "when": dt.datetime(2026, 1, 2, tzinfo=UTC),
                "zones": dt.datetime(2026, 1, 2, tzinfo=PARIS),
                "nothing": None,
                "wide": 1,
            }
        )
        tracker.log({"zones": dt.datetime(2026, 1, 2, tzinfo=UTC), "wide": "two"})
    return Reader(db).to_df()


def rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return [{key: None if pd.isna(value) else value for key, value in row.items()} for row in frame.to_dict("records")]


@pytest.mark.parametrize("pyarrow", [True, False])
def test_every_column_goes_into_parquet(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pyarrow: bool
) -> None:
    with monkeypatch.context() as patch:
        if not pyarrow:
            patch.setitem(sys.modules, "pyarrow", None)
        write_frame(frame, tmp_path / "a.parquet", "parquet")
    back = pd.read_parquet(tmp_path / "a.parquet")
    assert back.columns.tolist() == frame.columns.tolist()
    first, second = rows(back)
    assert first.pop("when") == dt.datetime(2026, 1, 2, tzinfo=UTC)
    assert first | {"timestamp": ""} == {
        "timestamp": "",
        "track_id": "calm-otter-1",
        "int": 1,
        "big": str(2**70),
        "float": 0.5,
        "yes": True,
        "text": "é",
        "bytes": b"\x00\xff",
        "list": "[1, 2]",
        "zones": "2026-01-02T00:00:00+01:00",
        "nothing": None,
        "wide": "1",
    }
    assert {key for key, value in second.items() if value is not None} == {"timestamp", "track_id", "zones", "wide"}


@pytest.mark.parametrize("pyarrow", [True, False])
def test_type_that_shows_late_is_no_surprise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pyarrow: bool) -> None:
    late = {"x": "text", "y": b"\x00", "z": 2**40}
    frame = pd.DataFrame({key: pd.Series([None] * 9 + [1] * 5000 + [late[key]], dtype=object) for key in late})
    frame[["x", "y"]] = frame[["x", "y"]].map(lambda value: None if value == 1 else value)
    with monkeypatch.context() as patch:
        if not pyarrow:
            patch.setitem(sys.modules, "pyarrow", None)
        write_frame(frame, tmp_path / "a.parquet", "parquet")
    back = pd.read_parquet(tmp_path / "a.parquet")
    assert back.loc[5009].to_dict() == late


@pytest.mark.parametrize("pyarrow", [True, False])
def test_frame_without_rows_keeps_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pyarrow: bool) -> None:
    frame = pd.DataFrame({"timestamp": pd.Series([], dtype="str"), "x": pd.Series([], dtype="float64")})
    with monkeypatch.context() as patch:
        if not pyarrow:
            patch.setitem(sys.modules, "pyarrow", None)
        write_frame(frame, tmp_path / "a.parquet", "parquet")
    write_frame(frame, tmp_path / "a.csv", "csv")
    assert pd.read_parquet(tmp_path / "a.parquet").columns.tolist() == ["timestamp", "x"]
    assert pd.read_csv(tmp_path / "a.csv").columns.tolist() == ["timestamp", "x"]


def test_csv_has_bytes_as_base64_and_no_index(frame: pd.DataFrame, tmp_path: Path) -> None:
    write_frame(frame, tmp_path / "a.csv", "csv")
    back = pd.read_csv(tmp_path / "a.csv")
    assert back.columns.tolist() == frame.columns.tolist()
    assert back["bytes"][0] == "AP8="
    assert back["timestamp"].tolist() == frame["timestamp"].tolist()


def test_neither_pyarrow_nor_duckdb_names_the_extra_in_one_line(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = sys.modules['duckdb'] = None\n"
        "import pandas\n"
        "from xetrack.exchange.frames import write_frame\n"
        f"write_frame(pandas.DataFrame({{'x': [1]}}), {str(tmp_path / 'a.parquet')!r}, 'parquet')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.stderr.count("Traceback") == 1
    assert run.stderr.splitlines()[-1].startswith("xetrack.errors.MissingExtra: ")
    assert "xetrack[arrow]" in run.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_refusal_of_the_file_system_is_an_error_of_ours(frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        write_frame(frame, tmp_path / "nowhere" / "a.csv", "csv")


def test_what_was_there_stays_when_the_frame_cannot_be_written(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_text("precious")
    for name in ("pyarrow", "duckdb"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra):
        write_frame(frame, tmp_path / "a.parquet", "parquet")
    assert (tmp_path / "a.parquet").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".parquet") == ["a.parquet"]
    assert not list(tmp_path.glob(".xetrack-*"))


def test_link_and_pipe_stay_what_they_are(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1]})
    (tmp_path / "real.csv").write_text("old")
    os.symlink(tmp_path / "real.csv", tmp_path / "link.csv")
    write_frame(frame, tmp_path / "link.csv", "csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "x\n1\n"
    write_frame(frame, os.devnull, "csv")
    assert not Path(os.devnull).is_file()
