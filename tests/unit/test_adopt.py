"""Databases made by xetrack 0.7.0: taken over in place, whole, by any number of processes, and never twice."""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from tests.conftest import ROOT
from xetrack import Reader, Tracker
from xetrack.adopt import BACKUP_SUFFIX, take_over
from xetrack.errors import ForeignFile, OldDatabaseRefused, PermissionDenied
from xetrack.log.log import FileLog
from xetrack.log.old_database import OldDatabase, is_old_database

LEGACY = ROOT / "tests" / "fixtures" / "legacy"
NAMES = ("sqlite", "duckdb", "compressed")


@pytest.fixture(params=NAMES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return _copy(request.param, tmp_path)


def _copy(name: str, folder: Path) -> Path:
    return Path(shutil.copy(LEGACY / f"{name}.db", folder / "track.db"))


def _facts(old: Path) -> dict[str, Any]:
    name = next(name for name in NAMES if (LEGACY / f"{name}.db").read_bytes() == old.read_bytes())
    facts: dict[str, Any] = json.loads((LEGACY / f"{name}.json").read_text(encoding="utf-8"))
    return facts


def _cells(path: Path, table: str, columns: list[str]) -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{column}"' for column in columns)
    conn = sqlite3.connect(path)
    try:
        return conn.execute(f'SELECT {names} FROM "{table}" ORDER BY rowid').fetchall()
    finally:
        conn.close()


def _columns(path: Path, table: str) -> list[str]:
    conn = sqlite3.connect(path)
    try:
        return [name for _, name, *_ in conn.execute(f'PRAGMA table_info("{table}")')]
    finally:
        conn.close()


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_an_old_database_opened_in_place_shows_its_rows(old: Path, engine: Any) -> None:
    original = shutil.copy(old, old.with_name("original"))
    for table in _facts(Path(original))["tables"]:
        reader = Reader(old, engine=engine, table=table)
        columns = _columns(Path(original), table)
        assert set(reader.columns) == set(columns)
        names = ", ".join(f'"{column}"' for column in columns)
        assert reader.conn.execute(f'SELECT {names} FROM "{table}"').fetchall() == _cells(
            Path(original), table, columns
        )


def test_the_old_file_is_kept_and_one_line_says_so(old: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = old.read_bytes()
    with caplog.at_level(logging.WARNING, "xetrack"):
        Reader(old)
    kept = old.with_name(old.name + BACKUP_SUFFIX)
    assert kept.read_bytes() == before
    assert [record.name for record in caplog.records] == ["xetrack"]
    assert kept.name in caplog.text
    Reader(old)
    assert len(caplog.records) == 1


def test_stored_objects_are_found_by_their_old_hashes_and_keys(old: Path) -> None:
    facts = _facts(old)["assets"]
    reader = Reader(old)
    assert facts["hashes"]
    for old_hash in facts["hashes"]:
        assert old_hash in reader.assets
        assert reader.get(old_hash) is not None
    for key, old_hash in facts["keys"].items():
        assert cloudpickle.dumps(reader.get(key)) == cloudpickle.dumps(reader.get(old_hash))


def test_an_object_comes_back_as_it_was(tmp_path: Path) -> None:
    reader = Reader(_copy("sqlite", tmp_path))
    rows = reader.to_df()
    assert reader.get(rows["part"].dropna().iloc[0]) == Fraction(1, 3)
    assert {reader.get(shown).values["name"] for shown in rows["artifact"].dropna()} == {"shared"}
    shutil.rmtree(tmp_path / "track.db.events")
    (tmp_path / "track.db").unlink()
    assert Reader(_copy("compressed", tmp_path)).get("part") == Fraction(2, 7)


def test_booleans_come_back_where_the_column_says_so(tmp_path: Path) -> None:
    assert Reader(_copy("duckdb", tmp_path)).to_df()["ok"].tolist()[:2] == [True, False]
    assert Reader(tmp_path / "track.db", table="predictions").dtypes["pred"] is bool


def test_a_tracker_goes_on_in_an_old_database(old: Path) -> None:
    rows = len(_cells(old, "default", ["track_id"]))
    with Tracker(old, track_id="new-run") as tracker:
        tracker.log({"epoch": 4, "loss": 0.1})
        assert tracker.count_all() == rows + 1
    frame = Reader(old).to_df()
    assert frame["track_id"].tolist()[-1] == "new-run"
    assert Reader(old).latest()["track_id"].tolist() == ["new-run"]


def test_taking_over_again_adds_nothing(old: Path, tmp_path: Path) -> None:
    log = FileLog(tmp_path / "new.db.events")
    log.create()
    first = take_over(old, log)
    files = sorted(path.name for path in log.path.rglob("*") if path.is_file())
    second = take_over(old, log)
    assert sum(taken.added for taken in first.tables.values()) > 0
    assert sum(taken.added for taken in second.tables.values()) == 0
    assert [taken.known for taken in second.tables.values()] == [taken.added for taken in first.tables.values()]
    assert sorted(path.name for path in log.path.rglob("*") if path.is_file()) == files


def test_two_machines_that_take_over_the_same_file_write_the_same_lines(old: Path, tmp_path: Path) -> None:
    found = []
    for host in ("one", "two"):
        log = FileLog(tmp_path / f"{host}.db.events")
        log.create()
        take_over(old, log)
        found.append({path.relative_to(log.path): path.read_bytes() for path in log.path.glob("*/*.jsonl")})
    assert found[0] == found[1] != {}


def test_rows_that_an_old_release_added_since_are_added(tmp_path: Path) -> None:
    old = _copy("sqlite", tmp_path)
    log = FileLog(tmp_path / "new.db.events")
    log.create()
    take_over(old, log)
    conn = sqlite3.connect(old)
    conn.execute(
        "INSERT INTO \"default\" (track_id, timestamp, epoch) VALUES ('old-otter-1', '2030-01-01 00:00:00', 9)"
    )
    conn.commit()
    conn.close()
    assert take_over(old, log).tables["default"].added == 1
    assert Reader(tmp_path / "new.db").to_df(track_id="old-otter-1", tail=1)["epoch"].tolist() == [9]


def test_never_refuses_and_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XETRACK_ADOPT", "never")
    before = old.read_bytes()
    with pytest.raises(OldDatabaseRefused, match="xt import"):
        Reader(old)
    assert old.read_bytes() == before
    assert [path.name for path in old.parent.iterdir()] == [old.name]


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE runs (track_id TEXT, timestamp TEXT)")
    conn.commit()
    conn.close()
    assert not is_old_database(path)
    with pytest.raises(ForeignFile):
        Reader(path)
    with pytest.raises(ForeignFile):
        Tracker(path)


def test_one_interrupted_before_the_old_file_was_put_aside_is_completed(old: Path) -> None:
    log = FileLog(Path(f"{old}.events"))
    log.create()
    take_over(old, log)
    rows = len(_cells(old, "default", ["track_id"]))
    assert len(Reader(old)) == rows
    assert old.with_name(old.name + BACKUP_SUFFIX).exists()


def test_several_processes_open_an_old_database_at_once(tmp_path: Path) -> None:
    old = _copy("sqlite", tmp_path)
    rows = len(_cells(old, "default", ["track_id"]))
    program = (
        "import sys; from xetrack import Tracker, Reader\n"
        "sys.stdin.readline()\n"
        "with Tracker(sys.argv[1]) as t: t.log({'epoch': 1})\n"
        "print(len(Reader(sys.argv[1])))"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(old)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(4)
    ]
    answers = []
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        answers.append(child.communicate(timeout=60))
    assert [child.returncode for child in children] == [0] * 4, answers
    assert len(Reader(old)) == rows + 4
    assert old.with_name(old.name + BACKUP_SUFFIX).read_bytes() == (LEGACY / "sqlite.db").read_bytes()


def test_a_name_of_an_object_that_is_no_text_runs_no_code(tmp_path: Path) -> None:
    old = _copy("sqlite", tmp_path)
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> Any:
            return (open, (str(canary), "w"))

    evil = pickle.dumps(Evil())
    conn = sqlite3.connect(old)
    conn.execute("INSERT INTO keys VALUES (?, ?)", (base64.b64encode(evil).decode(), evil))
    conn.execute("INSERT INTO assets VALUES (?, ?)", (base64.b64encode(evil).decode(), evil))
    conn.commit()
    conn.close()
    reader = Reader(old)
    assert len(reader.assets) == 3
    list(reader.assets.keys())
    assert not canary.exists()


def test_texts_that_look_like_structures_stay_texts_unless_parsed(tmp_path: Path) -> None:
    old = _copy("sqlite", tmp_path)
    with OldDatabase(old) as database:
        rows = {row.timestamp: row.data for row in database.rows("default")}
        parsed = {row.timestamp: row.data for row in database.rows("default", parse=True)}
    plain = [row["cfg"] for row in rows.values() if row.get("cfg")]
    structures = [row["cfg"] for row in parsed.values() if row.get("cfg")]
    assert plain == ["{'a': [1, 2]}"]
    assert structures == [{"a": [1, 2]}]


def test_an_old_database_that_was_cut_off_gives_the_tables_before_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "track.db"
    old.write_bytes((LEGACY / "sqlite.db").read_bytes()[:30_000])
    with caplog.at_level(logging.WARNING, "xetrack"):
        assert len(Reader(old)) == 5
    assert "table 'predictions': rows from 0 on cannot be read" in caplog.text
    assert (tmp_path / "track.db.before-1.0").stat().st_size == 30_000


def test_a_damaged_old_database_gives_what_can_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = tmp_path / "track.db"
    shutil.copy(LEGACY / "sqlite.db", old)
    conn = sqlite3.connect(old)
    conn.executemany(
        "INSERT INTO \"default\" (track_id, timestamp, note) VALUES ('many', ?, ?)",
        [(f"2026-01-01 00:00:{i // 100:02}.{i % 100:06}", "x" * 400) for i in range(400)],
    )
    conn.commit()
    (root,) = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = 'default'").fetchone()
    total = conn.execute('SELECT count(*) FROM "default"').fetchone()[0]
    size = conn.execute("PRAGMA page_size").fetchone()[0]
    conn.close()
    raw = bytearray(old.read_bytes())
    page = raw.rindex(b"x" * 400) // size
    middle = (root + page) // 2
    while raw[middle * size] != 0x0D:  # a leaf of a table
        middle += 1
    raw[middle * size : (middle + 1) * size] = b"\xff" * size
    old.write_bytes(raw)
    with caplog.at_level(logging.WARNING, "xetrack"):
        found = len(Reader(old))
    assert total - 40 < found < total
    assert "cannot be read" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_error(old: Path) -> None:
    old.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionDenied):
            Reader(old)
    finally:
        old.parent.chmod(0o700)
