"""`xt head --csv | xt import - new.db`, with two processes and a pipe: what a cell holds survives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call
from tests.conftest import ROOT
from xetrack import Tracker

COLUMNS = "track_id,timestamp,text,whole,part,flag"
ROWS: list[dict[str, Any]] = [
    {"text": 'a, b "c"\nd\te', "whole": 1, "part": 0.1, "flag": True},
    {"text": "é 🎈", "whole": -(2**40), "part": 1e300, "flag": False},
    {"text": " kept ", "whole": None, "part": None, "flag": None},
    {"text": None, "whole": 0, "part": float("inf"), "flag": True},
    {"text": "007", "whole": 7, "part": float("nan"), "flag": False},
]


@pytest.mark.skipif(sys.platform == "win32", reason="it has no sh")
@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_csv_through_a_pipe_gives_equal_rows(call: Call, tmp_path: Path, engine: str) -> None:
    old, new = str(tmp_path / "old.db"), str(tmp_path / "new.db")
    with Tracker(old, engine=engine, track_id="calm-otter-1") as tracker:  # type: ignore[arg-type]
        tracker.log_batch(ROWS)
    xt = f"'{sys.executable}' -m xetrack"
    done = subprocess.run(
        ["sh", "-c", f"{xt} head '{old}' --columns {COLUMNS} --csv | {xt} import - '{new}' --kind=csv"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XETRACK_ENGINE": engine},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [
        json.loads(call("head", db, "--json", f"--engine={engine}", f"--columns={COLUMNS}").stdout) for db in (old, new)
    ]
    assert rows[0] == rows[1] and len(rows[0]) == len(ROWS)
