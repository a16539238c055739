"""Frames as pandas, polars or Arrow, chosen for all or for one reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import xetrack
from xetrack import Reader, Tracker
from xetrack.errors import InvalidArgument


@pytest.fixture(autouse=True)
def pandas_again() -> Iterator[None]:
    yield
    xetrack.set_backend("pandas")


@pytest.fixture(params=["sqlite", "duckdb"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    tracker = Tracker(str(tmp_path / "track.db"), engine=request.param)
    tracker.log_batch([{"n": 1, "ok": True}, {"n": 2, "text": "b"}, {"n": 3}])
    return tracker


@pytest.mark.parametrize(("backend", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame), ("arrow", pa.Table)])
def test_every_frame_is_of_the_kind_that_was_set(tracker: Tracker, backend: Any, kind: type) -> None:
    xetrack.set_backend(backend)
    assert xetrack.get_backend() == backend
    reader, told = Reader(tracker.db), Reader(tracker.db, backend="pandas")
    frames: list[Any] = [tracker.to_df(), tracker.head(2), tracker.tail(2), reader.to_df(), reader.latest()]
    frames.append(reader.sql("SELECT n FROM events WHERE n > ?", [1]))
    assert [type(frame) for frame in frames] == [kind] * 6
    assert [len(frame) for frame in frames] == [3, 2, 2, 3, 3, 2]
    assert type(told.to_df()) is pd.DataFrame
    # What is written or shown is the same whatever was set.
    assert tracker["n"].tolist() == [1, 2, 3]
    tracker.to_csv(f"{tracker.db}.csv")
    assert len(pd.read_csv(f"{tracker.db}.csv")) == 3
    assert "<table" in tracker._repr_html_() and "text" in str(tracker)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="pandas, polars, arrow"):
        xetrack.set_backend("dask")
    assert xetrack.get_backend() == "pandas"
