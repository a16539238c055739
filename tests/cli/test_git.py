"""`xt git init`: what git is told, once, and nobody's lines are lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.conftest import ROOT, Git
from xetrack import Reader, Tracker
from xetrack.exchange.worktrees import HOOKS

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


@pytest.fixture
def tree(tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work tree, and the current folder in it."""
    folder = tmp_path / "tree"
    git(folder, "init", "-q")
    monkeypatch.chdir(folder)
    return folder


def log(db: Path, run: str = "a") -> None:
    with Tracker(str(db), track_id=run) as tracker:
        tracker.log({"x": 1})


def untracked(git: Git, tree: Path) -> set[str]:
    return set(git(tree, "ls-files", "--others", "--exclude-standard", "--directory").splitlines())


def test_tables_are_ignored_logs_are_not_and_doing_it_again_changes_nothing(call: Call, tree: Path, git: Git) -> None:
    for db in (tree / "track.db", tree / "runs" / "my [1] store.db", tree / "cold.duckdb"):
        db.parent.mkdir(exist_ok=True)
        log(db)
        Reader(db, engine="duckdb").to_df()
        Reader(db, engine="sqlite").to_df()
    (tree / "other.db").write_text("mine")
    result = call("git", "init")
    assert (result.exit_code, result.stdout) == (0, "written: .gitignore\nwritten: .gitattributes\n")
    for name in ("track.db-wal", "track.duckdb.wal", "track.duckdb.12.0.tmp", "track.db.damaged-1", "runs/track.db"):
        (tree / name).write_text("")
    (tree / "track.db.events" / "default" / ".abc.jsonl.12.34").write_text("")
    expected = {".gitignore", ".gitattributes", "other.db", "track.db.events/", "cold.duckdb.events/", "runs/"}
    assert untracked(git, tree) == expected
    assert set(os.listdir(tree / "runs")) >= {"my [1] store.db", "my [1] store.duckdb"}
    git(tree, "add", ".")
    staged = git(tree, "diff", "--cached", "--name-only").splitlines()
    assert {name for name in staged if ".events/" not in name} == {
        *(".gitignore", ".gitattributes", "other.db", "runs/track.db")
    }
    assert ".abc.jsonl" not in git(tree, "ls-files")
    before = (tree / ".gitignore").read_bytes(), (tree / ".gitattributes").read_bytes()
    assert call("git", "init", str(tree / "runs")).stdout == "nothing to change\n"
    assert ((tree / ".gitignore").read_bytes(), (tree / ".gitattributes").read_bytes()) == before


def test_new_store_is_added_to_the_lines_that_are_there(call: Call, tree: Path, git: Git) -> None:
    (tree / ".gitignore").write_bytes(b"*.pyc\r\n/build")
    call("git", "init")
    assert "\ntrack.db\n" in (tree / ".gitignore").read_text().replace("\r\n", "\n")
    (tree / ".gitignore").write_bytes((tree / ".gitignore").read_bytes() + b"late\r\n")
    log(tree / "second.db")
    assert call("git", "init").stdout == "written: .gitignore\n"
    text = (tree / ".gitignore").read_bytes()
    assert text.startswith(b"*.pyc\r\n/build\r\n") and text.endswith(b"\r\nlate\r\n")
    assert text.count(b"\n") == text.count(b"\r\n")
    assert text.count(b">>> xetrack >>>") == 1
    assert git(tree, "check-ignore", "second.db", "track.db", "x.pyc", "late").splitlines() == [
        *("second.db", "track.db", "x.pyc", "late")
    ]


def test_lines_of_a_log_are_neither_converted_nor_merged_but_shown(call: Call, tree: Path, git: Git) -> None:
    git(tree, "config", "core.autocrlf", "true")
    call("git", "init")
    (tree / "deep").mkdir()
    log(tree / "deep" / "track.db")
    said = git(tree, "check-attr", "text", "merge", "diff", "--", "deep/track.db.events/default/a.jsonl")
    assert [line.rpartition(": ")[2] for line in said.splitlines()] == ["unset", "unset", "unspecified"]
    said = git(tree, "check-attr", "diff", "--", "track.db.events/_assets/aa/b.zst")
    assert said.endswith("unset")
    segment = next((tree / "deep" / "track.db.events" / "default").glob("*.jsonl"))
    raw = segment.read_bytes()
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "results")
    segment.unlink()
    git(tree, "checkout", "--", ".")
    assert segment.read_bytes() == raw
    assert '"kind":"row.logged"' in git(tree, "show", "HEAD")


def test_committed_tables_and_ignored_logs_are_told(call: Call, tree: Path, git: Git) -> None:
    (tree / ".gitignore").write_text("*.events\n")
    log(tree / "track.db")
    git(tree, "add", "track.db")
    result = call("git", "init", "--json")
    report = json.loads(result.stdout)
    assert (report["stores"], report["changed"]) == (["track.db"], [".gitignore", ".gitattributes"])
    committed, ignored = report["notes"]
    assert committed.endswith("git rm --cached -- track.db")
    assert ".gitignore:1:*.events" in ignored


def test_outside_of_a_work_tree_and_at_no_path_it_is_an_error(call: Call, tmp_path: Path) -> None:
    result = call("git", "init", str(tmp_path))
    assert (result.exit_code, "not a git repository" in result.stderr) == (1, True)
    assert call("git", "init", str(tmp_path / "nowhere")).exit_code == 3
    assert os.listdir(tmp_path) == []


# -- hooks -------------------------------------------------------------------


def tables(db: Path) -> int:
    """Rows as another SQL client sees them."""
    conn = sqlite3.connect(db)
    try:
        return int(conn.execute('SELECT count(*) FROM "default"').fetchone()[0])
    finally:
        conn.close()


@pytest.fixture
def with_xt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`xt` on the path of hooks."""
    import sys

    script = tmp_path / "bin" / "xt"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\nPYTHONPATH='{ROOT}' exec '{sys.executable}' -m xetrack \"$@\"\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")


def test_hooks_keep_tables_up_and_run_beside_those_that_are_there(
    call: Call, tree: Path, git: Git, with_xt: None, tmp_path: Path
) -> None:
    hooks = tree / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "post-checkout").write_text(f'#!/bin/sh\nset -e\necho "$1" >> "{tmp_path}/seen"\nexit 0\n')
    (hooks / "post-checkout").chmod(0o755)
    (hooks / "post-rewrite").write_text(f'#!/bin/bash\ncat > "{tmp_path}/stdin"\n')
    (hooks / "post-rewrite").chmod(0o755)
    result = call("git", "init", "--hooks")
    assert result.exit_code == 0, result.stderr
    assert call("git", "init", "--hooks").stdout == "nothing to change\n"
    assert all((hooks / name).stat().st_mode & stat.S_IXUSR for name in HOOKS)
    log(tree / "track.db")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    git(tree, "checkout", "-qb", "other")
    log(tree / "track.db", "b")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "two")
    assert tables(tree / "track.db") == 2
    git(tree, "checkout", "-q", "main")
    assert tables(tree / "track.db") == 1
    git(tree, "merge", "-q", "other")
    assert tables(tree / "track.db") == 2
    assert len((tmp_path / "seen").read_text().splitlines()) == 2
    git(tree, "commit", "-q", "--amend", "-m", "2")
    assert len((tmp_path / "stdin").read_text().split()) == 2


def test_hook_without_xt_or_that_fails_stops_nothing(call: Call, tree: Path, git: Git) -> None:
    call("git", "init", "--hooks")
    log(tree / "track.db")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    shutil.rmtree(tree / "track.db.events")
    environ = {**os.environ, "PATH": os.path.dirname(shutil.which("git") or "")}
    done = subprocess.run(["git", "checkout", "-qb", "other"], cwd=tree, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["hooksPath", "work tree"])
def test_hooks_are_where_git_looks_for_them(call: Call, tree: Path, git: Git, tmp_path: Path, kind: str) -> None:
    if kind == "hooksPath":
        git(tree, "config", "core.hooksPath", ".githooks")
        result, place = call("git", "init", "--hooks"), tree / ".githooks"
    else:
        git(tree, "commit", "-q", "--allow-empty", "-m", "one")
        git(tree, "worktree", "add", "-q", str(tmp_path / "linked"))
        result, place = call("git", "init", str(tmp_path / "linked"), "--hooks"), tree / ".git" / "hooks"
        assert (tmp_path / "linked" / ".gitignore").exists() and not (tree / ".gitignore").exists()
    assert result.exit_code == 0, result.stderr
    assert {name for name in os.listdir(place) if not name.endswith(".sample")} == set(HOOKS)


@pytest.mark.parametrize("kind", ["shared", "python"])
def test_hooks_that_are_not_for_us_to_write_are_left_alone(
    call: Call, tree: Path, git: Git, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "shared").mkdir()
    if kind == "shared":
        git(tree, "config", "core.hooksPath", str(tmp_path / "shared"))
    else:
        (tree / ".git" / "hooks").mkdir(exist_ok=True)
        (tree / ".git" / "hooks" / "post-merge").write_text("#!/usr/bin/env python3\nprint()\n")
    result = call("git", "init", "--hooks")
    assert result.exit_code == 2
    assert "xt git catch-up" in result.stderr
    assert os.listdir(tmp_path / "shared") == []
    assert not (tree / ".gitignore").exists()


def test_catch_up_tells_of_what_failed_and_does_the_others(call: Call, tree: Path) -> None:
    log(tree / "one.db")
    log(tree / "two.db")
    (tree / "one.db").unlink()
    (tree / "two.db.events" / "store.json").write_text('{"format":99}\n')
    result = call("git", "catch-up")
    assert (result.exit_code, result.stderr.startswith("two.db: ")) == (1, True)
    assert tables(tree / "one.db") == 1
