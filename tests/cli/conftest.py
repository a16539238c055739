"""A small store that every command's tests start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from xetrack import Tracker
from xetrack.cli import app

Call = Callable[..., Any]


@pytest.fixture
def call() -> Call:
    """Run `xt` in this process: quick, and its result has stdout, stderr and exit_code."""

    def run(*args: str) -> Any:
        return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="xt")

    return run


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """Two runs of the default table and one row in table `metrics`."""
    db = str(tmp_path / "track.db")
    with Tracker(db, track_id="calm-otter-1", params={"model": "resnet"}) as tracker:
        for epoch in range(3):
            tracker.log({"epoch": epoch, "loss": 1 / (epoch + 1), "ok": epoch > 0})
    with Tracker(db, track_id="bold-lynx-2", params={"model": "bert"}) as tracker:
        tracker.log({"epoch": 0, "loss": 0.5, "ok": True, "note": "first | try\nsecond line"})
    with Tracker(db, track_id="calm-otter-1", table="metrics") as tracker:
        tracker.log({"accuracy": 0.9})
    yield db
