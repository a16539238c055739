"""What a hostile store, repository or neighbour can do (docs/security.md): nothing that is not asked for."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT
from xetrack import Reader, Tracker, copy, merge
from xetrack.cli import app
from xetrack.errors import XetrackError
from xetrack.log.names import table_from_folder
from xetrack.tables.duckdb_file import instance
from xetrack.tables.spill import spill_path

POSIX = pytest.mark.skipif(os.name == "nt", reason="file modes and links of POSIX")


def _store(db: Path, **row: Any) -> Path:
    with Tracker(db, track_id="r") as tracker:
        tracker.log({"x": 1, **row})
    return db


# -- paths -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", ".", "...", "a/b", "../evil", "%2E%2E", "nul\x00", "a\\b", "~", "-rf"])
def test_a_table_of_any_name_stays_inside_its_store(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    try:
        with Tracker(home / "t.db", table=name, track_id="r") as tracker:
            tracker.log({"x": 1})
    except XetrackError:
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert all(path.name.startswith("t.db") for path in home.iterdir())
    folders = (
        [path for path in (home / "t.db.events").iterdir() if path.is_dir()] if (home / "t.db.events").exists() else []
    )
    assert all(table_from_folder(path.name) == name for path in folders)


def test_folders_that_no_writer_makes_are_no_tables(tmp_path: Path) -> None:
    db = _store(tmp_path / "t.db")
    for odd in ("%2e%2e", "%2F", "a%2Fb%", "..%2F", "%00"):
        shutil.copytree(tmp_path / "t.db.events" / "default", tmp_path / "t.db.events" / odd)
    report = merge(db, into=tmp_path / "new.db")
    assert all("/" in name or table_from_folder(name) for name in report.tables if name != "default")
    outside = {path.name for path in tmp_path.iterdir()} - {"t.db", "t.db.events", "new.db", "new.db.events"}
    assert not {name for name in outside if not name.startswith(("t.db", "new.db"))}


@POSIX
def test_a_segment_that_links_to_a_secret_gives_nothing_of_it_away(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("password=hunter2\n" * 3)
    db = _store(tmp_path / "t.db")
    (tmp_path / "t.db.events" / "default" / f"{'a' * 16}.jsonl").symlink_to(secret)
    merge(db, into=tmp_path / "new.db")
    said = ""
    for args in (
        ["head", str(db), "--json"],
        ["verify", str(db)],
        ["verify", str(db), "--json"],
        ["log", str(db), "--json"],
    ):
        result = CliRunner().invoke(app, args)
        said += result.output + getattr(result, "stderr", "")
    assert "hunter2" not in said
    assert not any(
        b"hunter2" in path.read_bytes() for path in (tmp_path / "new.db.events").rglob("*") if path.is_file()
    )
    assert len(Reader(db)) == 1


@POSIX
def test_a_linked_asset_is_read_only_if_it_is_what_its_name_says(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("password=hunter2\n")
    db = _store(tmp_path / "t.db", model={1, 2})
    (asset,) = (tmp_path / "t.db.events" / "_assets").rglob("*.zst")
    asset.unlink()
    asset.symlink_to(secret)
    with pytest.raises(XetrackError):
        Reader(db).get("model")
    copy(db, tmp_path / "new.db")
    assert not list((tmp_path / "new.db.events").rglob("*.zst"))


# -- repositories ------------------------------------------------------------


@POSIX
def test_a_repository_with_traps_runs_nothing_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = tmp_path / "canary"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\necho \"$0\" >> '{canary}'\ncat\n")
    trap.chmod(0o755)
    repo = tmp_path / "repo"
    repo.mkdir()
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    environ = {**os.environ, **names}

    def git(*command: str) -> None:
        subprocess.run(["git", *command], cwd=repo, check=True, env=environ, capture_output=True)

    git("init", "-q", "-b", "main")
    _store(repo / "t.db")
    git("add", "t.db.events")
    git("commit", "-qm", "one")
    (repo / ".gitattributes").write_text("*.jsonl diff=trap filter=trap merge=trap\n")
    git("add", ".gitattributes")
    git("commit", "-qm", "traps")
    for key in ("core.fsmonitor", "core.pager", "diff.trap.textconv", "filter.trap.smudge", "filter.trap.clean"):
        git("config", key, str(trap))
    for key in ("core.sshCommand", "credential.helper", "core.editor", "uploadpack.packObjectsHook"):
        git("config", key, str(trap))
    for hook in ("post-checkout", "pre-commit", "post-index-change", "reference-transaction", "fsmonitor-watchman"):
        shutil.copy(trap, repo / ".git" / "hooks" / hook)
    monkeypatch.chdir(repo)
    copy("git:main:t.db", repo / "new.db")
    assert len(Reader(repo / "new.db")) == 1
    assert len(Reader(repo / "t.db", at="git:HEAD")) == 1
    with Tracker(repo / "t.db", git_root=".") as tracker:
        tracker.log({"x": 2})
    assert not canary.exists()


def test_a_revision_that_looks_like_an_option_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    for name in ("--upload-pack=touch evil", "--output=evil", "-h", "$(touch evil)", "`touch evil`"):
        with pytest.raises(XetrackError):
            merge(f"git:{name}", into=tmp_path / "new.db")
    assert not (tmp_path / "evil").exists()


# -- neighbours --------------------------------------------------------------


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder."""
    pytest.importorskip("duckdb")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def _spilling() -> Any:
    """An instance with more rows than its memory takes."""
    conn = instance()
    conn.execute("SET memory_limit='20MB'; SET threads=1")
    conn.execute("CREATE TEMP TABLE spilled AS SELECT x, hash(x)::VARCHAR AS y FROM range(1000000) AS r(x)")
    return conn


@POSIX
@pytest.mark.parametrize(("umask", "file", "folder"), [(0o077, 0o600, 0o700), (0o022, 0o644, 0o755)])
def test_files_get_the_modes_that_the_umask_leaves(tmp_path: Path, umask: int, file: int, folder: int) -> None:
    program = (
        "import sys, xetrack\n"
        "with xetrack.Tracker('t.db', track_id='r') as t: t.log({'x': 1, 'model': {1, 2}}); t.to_csv('out.csv')\n"
        "xetrack.merge('t.db', into='new.db'); xetrack.compact('new.db'); xetrack.export('t.db', 'data.jsonl')\n"
        "xetrack.Reader('t.db', engine='duckdb').to_df(); xetrack.replay('t.db')\n"
    )
    subprocess.run(
        ["sh", "-c", f'umask {umask:03o}; exec "$0" "$@"', sys.executable, "-c", program],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    wrong = {
        name: oct(mode) for name, mode in modes.items() if mode != (folder if (tmp_path / name).is_dir() else file)
    }
    assert not wrong


def test_a_draft_that_somebody_left_is_neither_followed_nor_taken(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    with Tracker(tmp_path / "t.db", track_id="r") as tracker:
        folder = tmp_path / "t.db.events" / "_assets"
        tracker.log({"x": 1})
        for first in range(256):
            (folder / f"{first:02x}").mkdir(parents=True, exist_ok=True)
            (folder / f"{first:02x}" / f"{first:02x}{'0' * 62}.zst.draft").write_text("left")
        tracker.log({"model": {1, 2}})
    assert Reader(tmp_path / "t.db").get("model") == {1, 2}
    assert victim.read_text() == "mine"


@POSIX
def test_what_duckdb_spills_lies_where_nobody_else_can_look_or_wait(temporary: Path) -> None:
    instances = [_spilling() for _ in range(2)]
    (home,) = temporary.iterdir()
    assert home.stat().st_mode & 0o777 == 0o700
    one, two = home.iterdir()  # what one holds stays when the other goes
    instances.pop()
    assert len(list(home.iterdir())) == 1
    assert instances.pop().execute("SELECT sum(x) FROM spilled").fetchall() == [(999_999 * 500_000,)]
    assert list(home.iterdir()) == []


@POSIX
def test_a_spill_folder_that_somebody_else_may_look_into_is_not_used(temporary: Path) -> None:
    own = temporary / f"xetrack-spill-{os.geteuid()}"
    own.mkdir()
    own.chmod(0o777)
    other = Path(spill_path()).parent
    assert other != own and other.stat().st_mode & 0o777 == 0o700
    own.rmdir()
    (temporary / "elsewhere").mkdir(0o700)
    own.symlink_to(temporary / "elsewhere")
    assert Path(spill_path()).parent == other  # one such folder, not one each time


@POSIX
def test_links_to_nowhere_in_the_spill_folder_keep_nothing_there(temporary: Path) -> None:
    home = Path(spill_path()).parent
    for link in ("one", "two"):
        (home / link).symlink_to(home / "nowhere")
    left = [home / f"left-{number}" for number in range(8)]
    for folder in left:
        folder.mkdir()
        os.utime(folder, (1e9, 1e9))
    spill_path()
    gc.collect()  # a folder that is still being read is told of here
    assert not any(folder.exists() for folder in left)


# -- values ------------------------------------------------------------------


def test_values_do_not_steer_a_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp"
    with Tracker(tmp_path / "t.db", track_id=f"run{evil}") as tracker:
        tracker.log({f"key{evil}": evil, "x": 1})
    db = str(tmp_path / "t.db")
    for args in (["head", db], ["tail", db], ["ls", db], ["runs", db], ["columns", db], ["log", db], ["summary", db]):
        out = CliRunner().invoke(app, args).output
        assert not {"\x1b", "\x07", "\x9b"} & set(out), args


def test_names_of_runs_do_not_steer_a_terminal(tmp_path: Path) -> None:
    evil = "run\x1b]0;owned\x07\x9b31m"
    db = str(tmp_path / "t.db")
    for run in (evil, "other"):
        with Tracker(db, track_id=run) as tracker:
            for step in range(3):
                tracker.log({"x": step, "y": -step})
    asked = [
        ["show", db, evil],
        ["show", db, evil[:-1]],
        ["compare", db, evil, "other"],
        ["plot", "line", db, "x"],
        ["plot", "hist", db, "x", "--group-by", "track_id"],
        ["plot", "scatter", db, "x", "y", "--group-by", "track_id"],
        ["protect", db, evil],
        ["delete", db, evil],
        ["protect", db, evil, "--unprotect"],
        ["delete", db, evil[:-1]],
        ["head", db, "--track-id", evil[:-1]],
    ]
    for args in asked:
        out = CliRunner().invoke(app, args, env={"NO_COLOR": "1"}).output
        assert out and not {"\x1b", "\x07", "\x9b"} & set(out), args


class Canary:
    def __reduce__(self) -> Any:
        return os.mkdir, ("canary",)


def test_a_hostile_object_runs_only_by_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Tracker("t.db", track_id="r") as tracker:
        tracker.log({"x": 1})
        digest, size = tracker._session.store.log.assets.put_pieces(lambda: [pickle.dumps(Canary())])
        tracker._session.put("model", {1})
        from xetrack.log.events import AssetAdded

        tracker._session.writer.append(AssetAdded, digest=digest, key="evil", size=size, codec="cloudpickle+zstd")
    merge("t.db", into="new.db")
    for args in (
        ["verify", "t.db"],
        ["replay", "t.db"],
        ["assets", "ls", "t.db"],
        ["assets", "du", "t.db"],
        ["log", "t.db"],
        ["assets", "export", "t.db", "evil", "out.pkl"],
        ["show", "t.db", "r"],
        ["compact", "t.db"],
        ["replay", "t.db", "--at", "-0s", "--to", "past.db"],
        ["summary", "t.db"],
        ["validate", "t.db"],
    ):
        CliRunner().invoke(app, args)
    for engine in ("sqlite", "duckdb"):
        reader = Reader("new.db", engine=engine)
        reader.to_df(), reader.history(), list(reader.assets.keys())
    assert not Path("canary").exists()
    Reader("new.db").get("evil")
    assert Path("canary").exists()
