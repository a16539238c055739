"""``kill -9``: what ``log`` acknowledged is there, and whatever else is killed is completed by the next call."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import kill_at_every_call
from xetrack import Tracker, copy, merge, rebase
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


# -- merges and copies -------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
RUN = "calm-otter-1"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Two stores in a folder, with rows, a conflict, objects and tables of their own; gives the one to write to."""
    root = tmp_path / "root"
    root.mkdir()
    ours, theirs = root / "ours.db", root / "theirs.db"
    with Tracker(ours, track_id=RUN) as tracker:
        tracker.log_batch([{"step": step} for step in range(3)])
    shutil.copytree(f"{ours}.events", f"{theirs}.events")
    with Tracker(theirs, track_id="bold-lynx-2") as tracker:
        tracker.log({"step": 0, "new": {"a": object()}})
    with Tracker(theirs, track_id=RUN, table="metrics") as tracker:
        tracker.log({"y": 1})
    Reader(theirs).set_value("label", "theirs", track_id=RUN)
    Reader(ours).set_value("label", "ours", track_id=RUN)
    Reader(ours).to_df()
    return ours


def content(db: Path) -> tuple[list[Any], int]:
    """What the tables show, and the number of events in a log that is whole."""
    with contextlib.closing(open_store(db)) as store:
        report = store.verify()
        assert report.ok, str(report)
        return [store.table(name).records() for name in store.tables()], report.events


@needs_fork
@pytest.mark.parametrize(
    ("operation", "every"),
    [
        (lambda ours, theirs: merge(theirs, into=ours), 1),
        (lambda ours, theirs: merge(theirs, into=ours, policy="theirs"), 7),
        (lambda ours, theirs: copy(theirs, ours, tables="all"), 7),
    ],
    ids=["merge", "policy", "copy"],
)
def test_merge_that_is_killed_is_completed_by_the_next(
    ours: Path, operation: Callable[[Path, Path], Any], every: int
) -> None:
    theirs = ours.with_name("theirs.db")
    whole = ours.parent.with_name("whole.db")
    shutil.copytree(f"{ours}.events", f"{whole}.events")
    operation(whole, theirs)
    expected, before = content(whole), content(ours)
    shown = []

    def check() -> None:
        shown.append(content(ours)[0])
        operation(ours, theirs)
        assert content(ours) == expected
        files = {path: path.read_bytes() for path in Path(f"{ours}.events").rglob("*") if path.is_file()}
        operation(ours, theirs)
        assert {path: path.read_bytes() for path in Path(f"{ours}.events").rglob("*") if path.is_file()} == files

    assert kill_at_every_call(ours.parent, lambda: operation(ours, theirs), check, every=every) > 10
    # A table is as it was until all of it is there; never a part of one.
    assert shown[0] == before[0]
    for one in shown:
        tables = dict(itertools.zip_longest(("default", "metrics"), one))
        assert tables["default"] in (before[0][0], expected[0][0])
        assert tables["metrics"] in (None, [], expected[0][1])


@needs_fork
def test_rebase_that_is_killed_is_completed_by_the_next(ours: Path) -> None:
    theirs, whole = ours.with_name("theirs.db"), ours.parent.with_name("whole.db")
    with Tracker(ours, track_id="mine") as tracker:
        tracker.log({"step": 0})
    shutil.copytree(f"{ours}.events", f"{whole}.events")
    assert rebase(theirs, whole, ["step"]).rows_replaced == 1
    expected, before = content(whole), content(ours)

    def check() -> None:
        assert content(ours)[0] in (before[0], expected[0])
        rebase(theirs, ours, ["step"])
        assert content(ours) == expected

    assert kill_at_every_call(ours.parent, lambda: rebase(theirs, ours, ["step"]), check, every=7) > 10


@needs_fork
def test_merge_into_a_new_store_that_is_killed_is_completed_by_the_next(ours: Path) -> None:
    new = ours.with_name("new.db")
    merge(ours, into=ours.parent.with_name("whole.db"))
    expected = content(ours.parent.with_name("whole.db"))

    def check() -> None:
        merge(ours, into=new)
        assert content(new) == expected

    kill_at_every_call(ours.parent, lambda: merge(ours, into=new), check, every=3)


SPILLER = """
import sys, time
from xetrack import Reader
from xetrack.tables.duckdb_file import instance
reader = Reader(sys.argv[1], engine="duckdb")
print(len(reader), flush=True)
sys.stdin.readline()
conn = instance()
conn.execute("SET memory_limit='20MB'; SET threads=1")
conn.execute("CREATE TEMP TABLE spilled AS SELECT x, hash(x)::VARCHAR AS y FROM range(1000000) AS r(x)")
print("spilled", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("spills", [False, True])
def test_a_killed_process_leaves_no_folder_of_duckdb(
    tmp_path: Path, spills: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xetrack.tables.spill import spill_path

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with Tracker(tmp_path / "track.db", track_id="r") as tracker:
        tracker.log({"x": 1})
    program = subprocess.Popen(
        [sys.executable, "-c", SPILLER, str(tmp_path / "track.db")],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdin is not None and program.stdout is not None
    with program:
        assert program.stdout.readline() == "1\n"
        if spills:
            print(file=program.stdin, flush=True)
            assert program.stdout.readline() == "spilled\n"
        home = next(temporary.glob("xetrack-spill-*"))
        spilled = list(home.iterdir())
        assert len(spilled) == spills
        for path in spilled:
            os.utime(path, (0, 0))
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        assert spill_path() and list(home.iterdir()) == spilled  # as old as can be, but its process lives
        os.kill(program.pid, signal.SIGKILL)
    if spills:
        os.utime(spilled[0])
        spill_path()
        assert list(home.iterdir()) == spilled  # written to a moment ago
        os.utime(spilled[0], (0, 0))
    spill_path()
    assert [*temporary.iterdir(), *home.iterdir()] == [home]


REDACTION = "import sys; from xetrack import redact; redact(sys.argv[1], where='x >= 0', reason='asked for')"


def test_values_that_a_killed_redaction_had_copied_are_removed_by_the_next(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with Tracker(tmp_path / "track.db", track_id="r") as tracker:
        tracker.log_batch([{"x": number, "secret": "Trent"} for number in range(20_000)])
    command = [sys.executable, "-c", REDACTION, str(tmp_path / "track.db")]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    program = subprocess.Popen(command, env=environment)
    while not (copies := list(temporary.glob("xetrack-spill-*/*/*"))):
        assert program.poll() is None
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    folder = copies[0].parent
    assert folder.is_dir() and not folder.stat().st_mode & 0o077
    os.utime(folder, (0, 0))
    subprocess.run(command, env=environment, check=True)
    assert [*temporary.iterdir(), *temporary.glob("*/*")] == [folder.parent]
