"""`xt versions`: tags of experiments, in a real repository."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from xetrack import Tracker


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "ada")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "ada@example.org")
    folder = tmp_path / "repo"
    folder.mkdir()
    monkeypatch.chdir(folder)
    subprocess.run(["git", "init", "-q", "-b", "main"], check=True)
    for loss in (0.5, 0.25):
        with Tracker("track.db", params={"model": "bert"}, track_id=f"run-{loss}") as tracker:
            tracker.log({"loss": loss})
        subprocess.run(["git", "add", "track.db.events"], check=True)
        subprocess.run(["git", "commit", "-q", "-m", str(loss)], check=True)
        if loss == 0.5:
            subprocess.run(["git", "tag", "-a", "e0.0.1", "-m", "model=bert | loss=0.5000"], check=True)
    return folder


def test_a_version_is_tagged_listed_and_compared(call: Call, repo: Path) -> None:
    assert call("versions", "suggest").stdout == "e0.0.2\n"
    made = call("versions", "tag", "--db", "track.db", "--level", "minor", "--description", "second")
    assert made.stdout == "e0.1.0  second | model=bert | loss=0.2500\n"
    listed = json.loads(call("versions", "list", "--json").stdout)
    assert [version["facts"]["loss"] for version in listed] == ["0.5000", "0.2500"]
    both = json.loads(call("versions", "diff", "e0.0.1", "e0.1.0", "--db", "track.db", "--json").stdout)
    assert both["metrics"] == {"loss": {"v1": 0.5, "v2": 0.375}}
    assert "loss" in call("versions", "show", "e0.1.0", "--db", "track.db").stdout


def test_what_is_not_there_and_what_is_taken(call: Call, repo: Path) -> None:
    result = call("versions", "show", "e0.0.2")
    assert result.exit_code == 3
    assert "e0.0.1" in result.stderr
    assert call("versions", "tag", "e0.0.1").exit_code == 2
    assert call("versions", "tag", "v1").exit_code == 2
    assert call("versions", "get", "e0.0.1", "nope.txt").exit_code == 3


def test_outside_of_a_repository_git_says_so(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("versions", "list")
    assert result.exit_code == 1
    assert "not a git repository" in result.stderr


def test_a_work_tree_of_a_version_comes_and_goes(call: Call, repo: Path) -> None:
    call("versions", "checkout", "e0.0.1")
    assert (repo.parent / "repo-e0.0.1" / "track.db.events").exists()
    assert len(json.loads(call("versions", "worktrees", "--json").stdout)) == 2
    call("versions", "cleanup")
    assert not (repo.parent / "repo-e0.0.1").exists()
