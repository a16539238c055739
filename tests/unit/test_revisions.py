"""Merging and copying from git revisions, with the real git."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard

from tests.conftest import Git
from tests.strategies import signed
from xetrack import Reader, Tracker, copy, merge
from xetrack.errors import FormatTooNew, NotAStore, PermissionDenied, RevisionNotFound, StorageFailed, TableNotFound
from xetrack.exchange.revisions import open_revision
from xetrack.store import open_store

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to ask")
RUN = "calm-otter-1"


def log(db: Path, *steps: int, run: str = RUN, table: str = "default", **more: object) -> None:
    with Tracker(str(db), track_id=run, table=table) as tracker:
        for step in steps:
            tracker.log({"step": step, **more})


def steps(db: Path) -> list[int]:
    with contextlib.closing(open_store(db)) as store:
        return sorted(store.table("default").column("step"))


@pytest.fixture
def repository(tmp_path: Path, git: Git) -> Path:
    """A store in a folder, with a branch `other` in which somebody went on; checked out is `main`."""
    folder = tmp_path / "repository"
    git(folder, "init")
    (folder / ".gitignore").write_text("*.db\n")
    log(folder / "exp" / "track.db", 0, 1)
    git(folder, "add", ".")
    git(folder, "commit", "-m", "base")
    git(folder, "checkout", "-b", "other")
    log(folder / "exp" / "track.db", 2, weights=object())
    Reader(str(folder / "exp" / "track.db")).set_value("label", "other", track_id=RUN)
    git(folder, "add", ".")
    git(folder, "commit", "-m", "other")
    git(folder, "checkout", "main")
    return folder


@pytest.fixture
def db(repository: Path) -> Path:
    return repository / "exp" / "track.db"


def test_revision_is_merged_and_nothing_is_checked_out(repository: Path, db: Path, git: Git) -> None:
    log(db, 3)
    Reader(str(db)).set_value("label", "main", track_id=RUN)
    head, status = git(repository, "rev-parse", "HEAD"), git(repository, "status", "--porcelain", "-uno")
    report = merge("git:other", into=db)
    assert (report.rows_added, report.assets_added) == (1, 1)
    assert {one.kind for one in report.conflicts} == {"set/set"}
    assert steps(db) == [0, 1, 2, 3]
    assert (git(repository, "rev-parse", "HEAD"), git(repository, "status", "--porcelain", "-uno")) == (head, status)
    assert merge("git:other", "git:main", "git:HEAD", into=db).rows_added == 0


def test_branch_without_a_store_takes_one_over_where_tables_of_another_branch_lie(
    repository: Path, db: Path, git: Git
) -> None:
    steps(db)
    git(repository, "checkout", "--orphan", "bare")
    git(repository, "rm", "-r", "-f", "-q", "exp")
    assert db.exists() and not Path(f"{db}.events").exists()
    assert merge("git:other", into=db, dry_run=True).rows_added == 3
    assert not Path(f"{db}.events").exists()
    assert merge("git:other", into=db).rows_added == 3
    assert steps(db) == [0, 1, 2]


def test_git_merge_after_a_merge_of_the_branch_doubles_nothing(repository: Path, db: Path, git: Git) -> None:
    log(db, 3)
    merge("git:other", into=db)
    git(repository, "add", ".")
    git(repository, "commit", "-m", "taken over")
    git(repository, "merge", "other", "-m", "merged")
    assert steps(db) == [0, 1, 2, 3]
    with contextlib.closing(open_store(db)) as store:
        assert store.verify().ok


@pytest.mark.parametrize("path", ["exp/track.db", "exp/track.db.events", "exp/./track.db"])
def test_path_in_the_revision_is_that_of_the_tables_or_of_the_log(repository: Path, path: str, tmp_path: Path) -> None:
    into = repository / "elsewhere.db"
    assert merge(f"git:other:{path}", into=into).rows_added == 3


def test_path_with_a_dot_begins_here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository / "exp")
    assert merge("git:other:./track.db", into=repository / "elsewhere.db").rows_added == 3


def test_only_store_of_a_revision_needs_no_path(repository: Path) -> None:
    assert merge("git:other", into=repository / "elsewhere.db").rows_added == 3


def test_repository_of_the_current_folder_serves_a_target_outside(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    assert merge("git:other", into=tmp_path / "outside" / "track.db").rows_added == 3


def test_several_stores_need_a_path(repository: Path, git: Git) -> None:
    log(repository / "second.db", 7)
    git(repository, "add", ".")
    git(repository, "commit", "-m", "second")
    with pytest.raises(RevisionNotFound, match="several stores, .*second.db"):
        merge("git:HEAD", into=repository / "third.db")
    assert merge("git:HEAD:second.db", into=repository / "third.db").rows_added == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("git:nope", "no revision 'nope'"),
        ("git:", "no revision ''"),
        ("git:--all", "no revision '--all'"),
        ("git:other:nope.db", "no store nope.db"),
        ("git:HEAD~99999", "no revision 'HEAD~99999'"),
    ],
)
def test_what_is_not_there_is_named_and_changes_nothing(repository: Path, db: Path, source: str, reason: str) -> None:
    before = sorted(path for path in repository.rglob("*") if ".git/" not in str(path))
    with pytest.raises(RevisionNotFound, match=source) as caught:
        merge(source, into=db)
    assert caught.value.exit_code == 3
    assert caught.value.reason.endswith(reason if "store" in reason else f"{reason} here")
    with pytest.raises(RevisionNotFound):
        merge(source, into=repository / "new.db")
    assert sorted(path for path in repository.rglob("*") if ".git/" not in str(path)) == before


def test_folder_of_something_else_is_no_store(repository: Path, db: Path) -> None:
    with pytest.raises(NotAStore):
        merge("git:other:exp", into=db)


def test_outside_of_a_repository_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(RevisionNotFound):
        merge("git:HEAD", into=tmp_path / "track.db")


def test_copy_takes_a_table_of_a_revision(repository: Path, db: Path) -> None:
    assert copy("git:other", db) == 1
    assert copy("git:other", db) == 0
    with pytest.raises(TableNotFound):
        copy("git:other", db, tables=["nope"])


def test_messagepack_and_odd_names_are_read(repository: Path, git: Git) -> None:
    db = repository / "büro 1" / "spur.db"
    with Tracker(str(db), table="Größe/a b", events="msgpack") as tracker:
        tracker.log({"x": 1})
    git(repository, "add", ".")
    git(repository, "commit", "-m", "odd")
    report = merge("git:HEAD:büro 1/spur.db", into=repository / "new.db")
    assert {name: one.rows_added for name, one in report.tables.items()} == {"Größe/a b": 1}


def test_compressed_packs_are_read(repository: Path, db: Path, git: Git) -> None:
    folder = Path(f"{db}.events", "default")
    raw = b"".join(path.read_bytes() for path in folder.iterdir())
    for path in folder.iterdir():
        path.unlink()
    (folder / f"{hashlib.sha256(raw).hexdigest()}.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(raw))
    git(repository, "add", ".")
    git(repository, "commit", "-m", "compacted")
    assert merge("git:HEAD", into=repository / "new.db").rows_added == 2
    assert merge("git:other", into=db).rows_added == 1


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_link_in_the_place_of_a_segment_is_an_error_that_names_it(repository: Path, db: Path, git: Git) -> None:
    link = Path(f"{db}.events", "default", "z" * 16 + ".jsonl")
    link.symlink_to("../../../.git/annex/objects/not-fetched")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "annexed")
    with pytest.raises(StorageFailed, match=link.name):
        merge("git:HEAD", into=repository / "new.db")
    with pytest.raises(StorageFailed, match=link.name):
        merge(db, into=repository / "new.db")
    assert not (repository / "new.db.events").exists()


def test_newer_format_is_refused(repository: Path, db: Path, git: Git) -> None:
    line = signed(b'{"kind":"writer.started","id":"zzzzzzzzzzzzzzzz-0","clock":5,"format":"2.0"}')
    Path(f"{db}.events", "default", "z" * 16 + ".jsonl").write_bytes(line + b"\n")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "newer line")
    with pytest.raises(FormatTooNew):
        merge("git:HEAD", into=repository / "new.db")
    Path(f"{db}.events", "store.json").write_text('{"format":2}\n')
    git(repository, "add", ".")
    git(repository, "commit", "-m", "newer store")
    with pytest.raises(FormatTooNew):
        merge("git:HEAD", into=repository / "new.db")


def test_line_that_was_not_finished_when_it_was_committed_stays_behind(repository: Path, db: Path, git: Git) -> None:
    (path,) = Path(f"{db}.events", "default").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    git(repository, "add", ".")
    git(repository, "commit", "-m", "torn")
    path.write_bytes(whole)
    report = merge("git:HEAD", into=db)
    assert (report.rows_added, report.damaged_lines) == (0, 1)


def test_shallow_clone_is_read(repository: Path, tmp_path: Path, git: Git) -> None:
    git(tmp_path, "clone", "--depth=1", "--branch=other", f"file://{repository}", "shallow")
    assert merge("git:HEAD", into=tmp_path / "shallow" / "new.db").rows_added == 3
    with pytest.raises(RevisionNotFound):
        merge("git:HEAD~1", into=tmp_path / "shallow" / "new.db")


def test_hundreds_of_segments_take_one_program(repository: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repository / "many.db.events" / "default"
    folder.mkdir(parents=True)
    (folder.parent / "store.json").write_text('{"format":1}\n')
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    for number in range(300):
        writer = "m" * 13 + letters[number // 32] + letters[number % 32] + "a"
        line = b'{"kind":"row.logged","id":"%b-0","clock":%d,"run":"r","data":{"x":%d}}' % (
            writer.encode(),
            number,
            number,
        )
        (folder / f"{writer}.jsonl").write_bytes(signed(line) + b"\n")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "many")
    started: list[object] = []
    popen = subprocess.Popen

    def counted(*args: object, **options: object) -> object:
        started.append(args)
        return popen(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", counted)
    assert merge("git:HEAD:many.db", into=repository / "new.db").rows_added == 300
    assert len(started) < 12


def test_revision_is_only_read(repository: Path, db: Path) -> None:
    log = open_revision("git:other", db)
    try:
        assert log.exists() and log.tables() == ["default"]
        assert log.where("default", "x.jsonl") == "git:other:exp/track.db.events/default/x.jsonl"
        with pytest.raises(PermissionDenied):
            log.writer("default")
        with pytest.raises(PermissionDenied):
            log.assets.put(1)
    finally:
        log.close()
