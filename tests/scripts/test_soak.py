"""The soak: a short history ends clean, and what is wrong is found, named and kept."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from scripts import soak, soak_checks
from scripts.soak_worker import row_of
from tests.conftest import ROOT
from xetrack import Tracker
from xetrack.store import open_store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def test_a_short_history_ends_clean_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.soak", "--minutes", "0", "--seed", "7", "--json"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert (result["seed"], result["failures"], result["counts"]["rounds"]) == (7, [], 1)
    assert result["counts"]["acknowledged"] > 0
    assert result["counts"]["checks"] > 3
    assert [path for path in tmp_path.iterdir() if not path.name.startswith("xetrack-spill-")] == []
    assert list(tmp_path.glob("xetrack-spill-*/*")) == []


def test_ctrl_c_ends_all_processes_and_says_how_far_it_got(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "scripts.soak", "--minutes", "1", "--seed", "7"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None and program.stderr is not None
    with program:
        assert program.stderr.readline() == "seed 7\n"
        while not [*tmp_path.glob("xetrack-soak-*/*.db.events")]:
            assert program.poll() is None
            time.sleep(0.02)
        children = psutil.Process(program.pid).children(recursive=True)
        program.send_signal(signal.SIGINT)
        said, trouble = program.communicate(timeout=60)
    assert program.returncode == 130 and trouble == ""
    assert "seed 7" in said and said.endswith("interrupted in round 1, nothing was wrong until then\n")
    assert not [*tmp_path.glob("xetrack-soak-*")]
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_what_is_counted_has_the_names_of_the_page() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    run = page.partition("### The last run of the soak\n")[2].partition("\n### ")[0]
    heads = [line for line in run.splitlines() if line.startswith("| ") and not line[2].isdigit()]
    assert tuple(name.strip() for head in heads for name in head.strip("| ").split("|")) == soak.COUNTED


def test_a_failure_names_its_seed_and_keeps_the_stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def play(self: soak.Round) -> None:
        (self.folder / "a.db").touch()
        if self.seed == 8:
            raise soak.Failed("a row is missing")

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(soak.Round, "play", play)
    (failure,) = soak.soak(7, 60)["failures"]
    assert (failure["seed"], failure["what"]) == (8, "a row is missing")
    (kept,) = tmp_path.iterdir()
    assert failure["folder"] == str(kept)
    assert (kept / "a.db").exists()


@pytest.fixture
def facts(db: str) -> set[soak_checks.Fact]:
    """What was acknowledged of a store with two rows."""
    pytest.importorskip("duckdb")
    with Tracker(db, track_id="calm-otter-1") as tracker:
        tracker.log_batch([row_of("j1-1"), row_of("j1-2")])
    return {("row.logged", "default", "j1-1", "1"), ("row.logged", "default", "j1-2", "2")}


def wrong(db: str, facts: set[soak_checks.Fact]) -> list[str]:
    return soak_checks.check(db, facts, set(), {}).wrong


def test_a_whole_store_is_right(db: str, facts: set[soak_checks.Fact]) -> None:
    assert wrong(db, facts) == []


def test_an_acknowledged_row_that_is_missing_is_found(db: str, facts: set[soak_checks.Fact]) -> None:
    (found,) = wrong(db, {*facts, ("row.logged", "default", "j1-3", "3")})
    assert "j1-3" in found


def test_a_row_that_says_something_else_is_found(db: str, facts: set[soak_checks.Fact]) -> None:
    with Tracker(db, track_id="calm-otter-1") as tracker:
        tracker.log(row_of("j1-3") | {"loss": 2.0})
    assert any("j1-3" in found for found in wrong(db, facts))


def test_tables_that_differ_from_the_log_are_found(db: str, facts: set[soak_checks.Fact]) -> None:
    with contextlib.closing(open_store(db)) as store:
        table = store.table("default", "sqlite")
        table.catch_up()
        with store.locked():
            store.keeper("sqlite").backend.conn.run("UPDATE \"default\" SET n = 'j1-9' WHERE n = 'j1-1'")  # type: ignore[attr-defined]
    assert any("j1-9" in found for found in wrong(db, facts))


def test_a_torn_line_is_right_only_where_its_writer_was_killed(db: str, facts: set[soak_checks.Fact]) -> None:
    (segment,) = Path(f"{db}.events", "default").iterdir()
    with segment.open("ab") as file:
        file.write(b'{"kind":"row.log')
    (found,) = wrong(db, facts)
    assert "torn" in found
    assert soak_checks.check(db, facts, {os.getpid()}, {}).wrong == []
