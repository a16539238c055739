"""`xt validate`: 0 for a sound table, 1 for one with problems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from xetrack import Tracker


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_validate_says_what_it_found(call: Call, store: str, engine: str) -> None:
    assert call("validate", store, "--engine", engine).exit_code == 0
    with Tracker(store, track_id="third", params={"model": "bert"}) as tracker:
        tracker.log_batch([{"epoch": 0, "loss": 0.5}, {"epoch": 0, "loss": 0.5}])
    result = call("validate", store, "--engine", engine)
    assert result.exit_code == 1
    assert "duplicates: 1 of 6 rows repeat an earlier one" in result.stdout
    assert "not checked" in result.stderr
    assert json.loads(call("validate", store, "--json").stdout)["ok"] is False


def test_what_is_not_there(call: Call, store: str, tmp_path: Path) -> None:
    assert call("validate", tmp_path / "nope.db").exit_code == 3
    assert call("validate", store, "--table", "metricz").exit_code == 3
    result = call("validate", store, "--split", "modle")
    assert result.exit_code == 3
    assert "model" in result.stderr
