"""Every command that looks at rows, over a million of them.

Those that go through the log event by event take minutes; `XETRACK_LARGE=all` tries them too.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.cli.test_matrix import CASES, takes
from xetrack import Tracker

#: Looked at here, since each test begins without variables of xetrack.
ALL = os.environ.get("XETRACK_LARGE") == "all"
LARGE = 1_000_000
HALF = LARGE // 2
LAST = HALF - 1
#: What is asked, in this order, and what stdout then has. `DB` is the store of the runs ``a`` and ``b``.
LINES = {
    "head DB -n 1 --csv": r"^timestamp,.*\n.*,a,0,1\.0\n$",
    "tail DB -n 1 --csv": rf",b,{LAST},",
    "ls DB track_id --unique": r"^a\nb\n$",
    "columns DB --csv": r"\nstep,int\nloss,float\n$",
    "sql DB 'SELECT count(*) AS n FROM events' --csv": rf"^n\n{LARGE}\n$",
    "runs DB --csv --columns track_id,rows,step": rf"^track_id,rows,step\na,{HALF},{LAST}\nb,{HALF},{LAST}\n$",
    "show DB b": rf"^b: finished, {HALF:,} rows in table default\n(.|\n)*step +0 +{LAST} +0 +{LAST} ",
    "best DB loss --min -n 1 --csv": rf"^track_id,loss,.*\na,.*,{LAST}\n$",
    "stats describe DB --columns step --csv": rf"\nstep,int,{LARGE},0,{HALF},{LAST / 2},",
    "stats top DB step --csv": rf",a,{LAST},",
    "plot hist DB loss": rf"loss histogram(.|\n)*observations: {LARGE} ",
    "summary DB": rf"\| b \| {HALF} \|",
    "validate DB": rf"^{LARGE:,} rows in 2 runs of table 'default'\nduplicates: {HALF} of ",
    "set DB loss 1 --track-id a": rf"^{HALF:,} rows changed\n$",
    "protect DB b": rf"^b is protected: {HALF:,} rows\n$",
    "delete DB a": rf"^{HALF:,} rows deleted\n$",
    "watch DB --once": r"^$",
    "cache hits DB": r"^$",
}
#: The same of those that read the log, and a few that are much like others.
SLOW = {
    "undo DB --run a": rf"\n{HALF:,} rows changed by ",
    "compare DB a b": rf"metric +step max +false +{LAST} +{LAST}\n",
    "stats bottom DB loss --csv": rf",b,{LAST},",
    "plot scatter DB step loss": r"loss against step",
    "plot line DB loss": r"^• a   \+ b\n",
    "log DB -n 1 --csv": r"event\.undone",
    "blame DB b loss -n 1 --csv": r"row\.logged",
    "export DB DB.csv": rf"{LARGE} rows",
    "import DB.csv DB.in": rf"\ndefault +{LARGE} +0 +0\n$",
    "diff DB DB.theirs": rf"^0 rows added, 0 rows removed, {LAST} cells changed\n",
    "merge DB.theirs --into DB": r"\ndefault +0 +0\n",
    "copy DB DB.copy": rf"^{LARGE:,} rows copied\n$",
    "rebase DB.theirs --onto DB --key step": r"0 rows replaced",
    "assets ls DB": r"^hash [^\n]*\n$",
    "assets gc DB --yes": r"^freed 0 bytes",
    "assets du DB": r"total +0 +0\n",
    "compact DB": r"default: \d files of \d+ bytes are now \d of ",
    "redact DB --track-id a --reason private --yes": rf": {HALF} rows of a, .* redacted\n",
    "replay DB": rf"\ndefault +{HALF}\n",
    "verify DB": r"\nok\n$",
}
#: What has no table to look at, or no store.
WITHOUT_ROWS = re.compile(r"(cache (ls|delete)|versions|models|skills|git|assets (export|delete))\b")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A million rows of two runs, up to date in SQLite."""
    db = str(tmp_path_factory.mktemp("large") / "large.db")
    for run in ("a", "b"):
        with Tracker(db, track_id=run) as tracker:
            for start in range(0, LARGE // 2, 100_000):
                tracker.log_batch([{"step": start + n, "loss": 1 / (start + n + 1)} for n in range(100_000)])
    return db


def test_every_command_is_asked_or_has_no_rows() -> None:
    asked = {name for name in CASES for line in [*LINES, *SLOW] if line.startswith(f"{name} ")}
    assert [name for name in CASES if name not in asked and not WITHOUT_ROWS.match(name)] == []


def test_every_command(large: str, call: Call, tmp_path: Path) -> None:
    """In one test, so that the store is made once, whoever runs it."""
    lines = {**LINES, **(SLOW if ALL else {})}
    for engine in ("sqlite", "duckdb"):
        db = str(tmp_path / engine / "large.db")
        for name in (db, f"{db}.theirs"):
            shutil.copytree(f"{large}.events", f"{name}.events")
        shutil.copy(large, db)
        for line, said in lines.items():
            name = next(name for name in CASES if line.startswith(f"{name} "))
            words = [f"{db}{word[2:]}" if word.startswith("DB") else word for word in shlex.split(line)]
            done = call(*words, *(["--engine", engine] if takes(name, "--engine") else []))
            assert re.search(said, done.stdout), (line, engine, done.stdout, done.stderr)
            wanted = {"validate": 1, "cache hits": 3}.get(name, 0)  # both runs have the same rows; no column `cache`
            assert done.exit_code == wanted, (line, engine, done.stderr)
