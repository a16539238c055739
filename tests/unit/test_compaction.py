"""Packing what is finished: the same rows from fewer bytes, whatever happens on the way."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

import xetrack
from tests.conftest import Git
from tests.faults import kill_at_every_call
from xetrack import Reader, Tracker
from xetrack.log.codec import jsonl
from xetrack.log.compaction import compact, fcntl, only_one
from xetrack.log.events import PayloadStub, RowLogged
from xetrack.log.log import FileLog
from xetrack.store import open_store
from xetrack.tables.projector import Projector


def _fill(db: str, runs: int = 5, rows: int = 4, first: int = 0, **options: Any) -> None:
    for run in range(first, first + runs):
        with Tracker(db, track_id=f"run-{run}", **options) as tracker:
            for step in range(rows):
                tracker.log({"step": step, "loss": 1 / (step + 1)})


def _files(db: str, table: str = "default") -> list[Path]:
    return sorted(Path(f"{db}.events", table).iterdir())


def _rows(db: str, engine: str = "sqlite") -> list[dict[str, Any]]:
    return Reader(db, engine=engine).to_df().to_dict("records")  # type: ignore[arg-type,return-value]


def _fresh_rows(db: str) -> list[dict[str, Any]]:
    """What a reader makes who has nothing but the log."""
    copied = db + ".copy"
    shutil.copytree(f"{db}.events", f"{copied}.events")
    try:
        return _rows(copied)
    finally:
        for path in Path(db).parent.glob(f"{Path(copied).name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _dead_writer(db: str) -> None:
    code = (
        "import os, sys\nfrom xetrack import Tracker\n"
        "t = Tracker(sys.argv[1], track_id='dead')\nt.log({'step': 9})\nos.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, db]).returncode == -signal.SIGKILL


@pytest.fixture
def no_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that were there are not made again from nothing."""

    def rebuild(*args: Any) -> None:
        raise AssertionError("the table is made again")

    monkeypatch.setattr(Projector, "_rebuild", rebuild)


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_finished_segments_become_one_pack_named_by_its_lines(db: str, engine: str) -> None:
    _fill(db, engine=engine)
    lines = sorted(line for path in _files(db) for line in path.read_bytes().splitlines())
    before, size = _rows(db, engine), sum(path.stat().st_size for path in _files(db))
    report = xetrack.compact(db)
    (pack,) = _files(db)
    with pack.open("rb") as file:
        raw = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    assert pack.name == f"{hashlib.sha256(raw).hexdigest()}.jsonl.zst"
    assert sorted(raw.splitlines()) == lines
    keys = [(event.clock, event.id) for line in raw.splitlines() if (event := jsonl.decode(line)) is not None]
    assert keys == sorted(keys)
    assert _rows(db, engine) == before == _fresh_rows(db)
    assert report.to_json()["tables"]["default"]["segments_packed"] == 5
    assert report.to_json()["tables"]["default"]["bytes_before"] == size
    assert open_store(db).verify().ok


def test_dry_run_says_the_same_and_changes_nothing(db: str) -> None:
    _fill(db)
    before = [(path, path.read_bytes()) for path in _files(db)]
    told = xetrack.compact(db, dry_run=True)
    assert [(path, path.read_bytes()) for path in _files(db)] == before
    assert told.dry_run and told.tables == xetrack.compact(db).tables


def test_second_time_there_is_nothing_to_pack(db: str) -> None:
    _fill(db)
    xetrack.compact(db)
    files = _files(db)
    assert xetrack.compact(db).tables == {} and _files(db) == files


def test_small_packs_are_joined_with_what_came_since(db: str) -> None:
    for first in (0, 3, 6):
        _fill(db, runs=3, first=first)
        xetrack.compact(db)
        assert len(_files(db)) == 1
    assert len(_rows(db)) == len(_fresh_rows(db)) == 36


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_tables_that_have_read_what_was_packed_go_on(db: str, engine: str, request: pytest.FixtureRequest) -> None:
    _fill(db, engine=engine)
    reader = Reader(db, engine=engine)  # type: ignore[arg-type]
    assert len(reader) == 20
    request.getfixturevalue("no_rebuild")
    compact(FileLog(f"{db}.events"), in_git=False)  # by somebody who leaves the tables alone
    _fill(db, runs=2, first=5, engine=engine)
    assert len(reader) == 28
    compact(FileLog(f"{db}.events"), in_git=False)
    _fill(db, runs=1, first=7, engine=engine)
    compact(FileLog(f"{db}.events"), in_git=False)  # two packs since somebody looked
    assert len(reader) == 32 and len(_rows(db, engine)) == 32
    assert len(_files(db)) == 1


def test_pack_that_takes_the_place_of_what_was_not_all_read_is_read(db: str) -> None:
    _fill(db)
    reader = Reader(db)
    assert len(reader) == 20
    _fill(f"{db}.other.db", first=5)
    for path in _files(f"{db}.other.db"):
        shutil.move(path, Path(f"{db}.events/default"))
    compact(FileLog(f"{db}.events"), in_git=False)
    assert len(reader) == 40


def test_pack_without_what_was_read_makes_the_table_anew(db: str) -> None:
    _fill(db)
    reader = Reader(db)
    assert len(reader) == 20
    _files(db)[0].unlink()
    compact(FileLog(f"{db}.events"), in_git=False)
    assert len(reader) == 16


def test_living_writer_is_left_alone(db: str) -> None:
    _fill(db)
    tracker = Tracker(db, track_id="alive")
    tracker.log({"step": 0})
    report = xetrack.compact(db)
    assert [entry["reason"] for entry in report.left] == ["its writer lives, or may live on another host"]
    assert len(_files(db)) == 2
    tracker.log({"step": 1})
    tracker.close()
    assert len(_rows(db)) == 22
    xetrack.compact(db)
    assert len(_files(db)) == 1 and len(_rows(db)) == 22


@pytest.mark.skipif(os.name == "nt", reason="no locks")
def test_dead_writer_is_packed_without_its_torn_line(db: str) -> None:
    _dead_writer(db)
    (segment,) = _files(db)
    with segment.open("ab") as file:
        file.write(b'{"kind":"row.lo')
    assert xetrack.compact(db).left == []
    assert [path.suffix for path in _files(db)] == [".zst"]
    assert _rows(db)[0]["step"] == 9 and open_store(db).verify().ok


@pytest.mark.skipif(os.name == "nt", reason="no locks")
def test_dead_writer_stays_in_a_work_tree(tmp_path: Path, git: Git) -> None:
    git(tmp_path, "init", "-q")
    db = str(tmp_path / "track.db")
    _dead_writer(db)
    _fill(db)
    report = xetrack.compact(db)
    assert len(report.left) == 1 and "clone" in report.left[0]["reason"]
    assert len(_files(db)) == 2


def test_damaged_segment_is_left_as_evidence(db: str) -> None:
    _fill(db)
    harmed = _files(db)[0]
    raw = bytearray(harmed.read_bytes())
    raw[-40] ^= 1
    harmed.write_bytes(raw[:-1] + b"\n")
    report = xetrack.compact(db)
    assert [entry["path"] for entry in report.left] == [str(harmed)] and harmed.exists()
    harmed.write_bytes(harmed.read_bytes().replace(b'"step":1', b'"step":7'))
    assert xetrack.compact(db).left and harmed.exists()


def test_messagepack_becomes_the_lines_that_say_the_same(db: str) -> None:
    _fill(db, events="msgpack")
    before = _rows(db)
    xetrack.compact(db)
    assert [path.suffix for path in _files(db)] == [".zst"]
    assert _rows(db) == before == _fresh_rows(db)


def test_mutations_outlive_their_segments(db: str) -> None:
    _fill(db)
    reader = Reader(db)
    reader.delete_run("run-1")
    reader.set_value("label", "good", track_id="run-2")
    before = reader.to_df().to_dict("records")
    reader._session.close()
    xetrack.compact(db)
    assert len(_files(db)) == 1
    assert str(_rows(db)) == str(_fresh_rows(db)) == str(before)


def test_stub_stands_for_its_original(db: str) -> None:
    with Tracker(db, track_id="a") as tracker:
        tracker.log({"name": "Ada"})
    (segment,) = _files(db)
    (row,) = [event for event in map(jsonl.decode, segment.read_bytes().splitlines()) if isinstance(event, RowLogged)]
    raw = jsonl.encode(PayloadStub(id=row.id, clock=row.clock, was="row.logged"))
    (segment.parent / f"{hashlib.sha256(raw).hexdigest()}.jsonl").write_bytes(raw)
    xetrack.compact(db)
    (pack,) = _files(db)
    with pack.open("rb") as file:
        packed = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    assert b"Ada" not in packed and packed.count(b"payload.stub") == 1


def test_large_segments_are_cut_into_packs_of_bounded_size(db: str) -> None:
    _fill(db, runs=3, rows=200)
    before = _rows(db)
    compact(FileLog(f"{db}.events"), in_git=False, pack_bytes=8_000)
    assert 6 < len(_files(db)) < 20
    assert _rows(db) == before == _fresh_rows(db)
    assert open_store(db).verify().ok


def test_two_branches_that_compact_differently_merge_without_conflict(tmp_path: Path, git: Git) -> None:
    git(tmp_path, "init", "-q")
    db = str(tmp_path / "track.db")
    (tmp_path / ".gitignore").write_text("track.db\ntrack.db-*\n")
    _fill(db)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "runs")
    git(tmp_path, "switch", "-qc", "other")
    _fill(db, runs=2, first=5)
    xetrack.compact(db)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "packed, with two runs more")
    git(tmp_path, "switch", "-q", "main")
    _fill(db, runs=2, first=7)
    compact(FileLog(f"{db}.events"), in_git=True, pack_bytes=2_000)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "packed otherwise")
    git(tmp_path, "merge", "-q", "other", "-m", "both")
    rows = _rows(db)
    assert len(rows) == 36 and rows == _fresh_rows(db)
    xetrack.compact(db)
    assert _rows(db) == rows == _fresh_rows(db)


def test_packed_by_itself_only_when_asked_and_never_in_a_work_tree(
    tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xetrack.store.MANY_SEGMENTS", 3)
    db = str(tmp_path / "track.db")
    _fill(db)
    assert len(_files(db)) == 5
    monkeypatch.setenv("XETRACK_AUTOCOMPACT", "1")
    _fill(db, runs=1, first=5)
    assert len(_files(db)) == 1
    git(tmp_path / "repo", "init", "-q")
    _fill(str(tmp_path / "repo/track.db"))
    assert len(_files(str(tmp_path / "repo/track.db"))) == 5


def test_readers_of_a_store_see_every_row_while_it_is_packed(db: str) -> None:
    code = "import sys, xetrack\nfor _ in range(20): xetrack.compact(sys.argv[1])"
    _fill(db)
    process = subprocess.Popen([sys.executable, "-c", code, db])
    reader, run = Reader(db), 5
    while process.poll() is None:
        _fill(db, runs=1, first=run)
        run += 1
        assert len(reader) == run * 4
    assert process.returncode == 0
    assert len(_fresh_rows(db)) == run * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_killed_before_any_call_of_the_system_it_leaves_the_same_rows(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    db = str(root / "track.db")
    _fill(db)
    before = _rows(db)

    def check() -> None:
        assert _rows(db) == before == _fresh_rows(db)
        assert open_store(db).verify().ok

    def pack() -> None:
        compact(FileLog(f"{db}.events"), in_git=False, pack_bytes=2000)

    assert kill_at_every_call(root, pack, check) > 10


@pytest.mark.skipif(fcntl is None, reason="there are no such locks here")
@pytest.mark.parametrize("error", [OSError(errno.EBADF, "of a network file system"), None])
def test_where_folders_have_no_locks_one_works_and_its_own_errors_are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    def refuse(*_: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(fcntl, "flock", refuse)
    with only_one(tmp_path) as alone:
        assert alone
    with pytest.raises(BlockingIOError), only_one(tmp_path):
        raise BlockingIOError
