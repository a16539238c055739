"""``kill -9`` of a program that logs: what ``log`` acknowledged is in the tables."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xetrack.read.reader import Reader
from xetrack.store import open_store

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")

# The number goes to the pipe only after log() returned: that is the acknowledgement.
LOGGER = """
import os, sys
from xetrack.track.tracker import Tracker
tracker = Tracker(sys.argv[1], durability=sys.argv[2], events=sys.argv[3], track_id=sys.argv[4])
number = 0
while True:
    if number % 7 == 3:
        tracker.log_batch([{"number": number + step, "text": "x" * 50} for step in range(5)])
        number += 4
    else:
        tracker.log({"number": number, "text": "x" * 50})
    os.write(1, b"%d\\n" % number)
    if number % 50 == 0:
        tracker.count_run()
    number += 1
"""


def kill_after(db: Path, lines: int, *arguments: str) -> int:
    """Kill a logging program at a moment after it acknowledged some rows; give the last acknowledged."""
    program = subprocess.Popen([sys.executable, "-c", LOGGER, str(db), *arguments], stdout=subprocess.PIPE)
    assert program.stdout is not None
    with program:
        for _ in range(lines):
            assert program.stdout.readline(), "the program died by itself"
        os.kill(program.pid, signal.SIGKILL)
        rest = program.stdout.read()
    acknowledged = [int(line) for line in rest.split(b"\n")[:-1]]
    return acknowledged[-1] if acknowledged else lines - 1


@pytest.mark.parametrize(
    ("durability", "events", "kills"), [("process", "jsonl", 6), ("process", "msgpack", 2), ("disk", "jsonl", 2)]
)
def test_killed_program_loses_no_acknowledged_row(tmp_path: Path, durability: str, events: str, kills: int) -> None:
    db = tmp_path / "track.db"
    expected = {}
    for number in range(kills):
        run = f"run-{number}"
        expected[run] = kill_after(db, random.randrange(1, 200), durability, events, run)
        if number % 2:
            db.unlink(missing_ok=True)
    frame = Reader(db).to_df()
    for run, acknowledged in expected.items():
        numbers = frame[frame["track_id"] == run]["number"].tolist()
        assert numbers == list(range(len(numbers))), run
        assert len(numbers) > acknowledged, run
    with contextlib.closing(open_store(db)) as store:
        assert store.verify().ok
        store.replay()
    assert Reader(db).to_df().equals(frame)
