"""A short round of scripts/soak_live.py: real processes, every row once for everybody."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.conftest import ROOT


def test_everybody_sees_every_row_once_while_the_watcher_is_killed() -> None:
    command = [sys.executable, "-m", "scripts.soak_live", "--seconds", "2", "--rate", "3000", "--kills", "2", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["rows_in_file"] == 6000 and found["rows_of_followers"] == [6000, 6000]
    assert found["staleness_max_s"] is not None and found["log_p99_us_alone"] > 0
