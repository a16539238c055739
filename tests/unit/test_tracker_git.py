"""The commit of the code beside the results: in every row with ``git_root``, in the log's header always."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Git
from xetrack.log.events import WriterStarted
from xetrack.log.log import FileLog
from xetrack.track.tracker import Tracker


def header(db: Path) -> WriterStarted:
    log = FileLog(f"{db}.events")
    (segment,) = log.segments("default")
    first = next(log.scan("default", segment.name)).events[0]
    assert isinstance(first, WriterStarted)
    return first


def repository(git: Git, folder: Path) -> str:
    git(folder, "init", "-q")
    (folder / "train.py").write_text("print()")
    git(folder, "add", "train.py")
    git(folder, "commit", "-qm", "first")
    return git(folder, "rev-parse", "HEAD")


def test_commit_is_in_every_row_and_commit_branch_and_changes_in_the_header(tmp_path: Path, git: Git) -> None:
    commit = repository(git, tmp_path / "repo")
    (tmp_path / "repo" / "train.py").write_text("print(1)")
    db = tmp_path / "track.db"
    with Tracker(str(db), params={"model": "bert"}, git_root=str(tmp_path / "repo")) as tracker:
        tracker.log({"x": 1})
        tracker.track(len, args=[[]])
        assert tracker.to_df()["git_commit_hash"].tolist() == tracker.to_df()["git_commit"].tolist() == [commit] * 2
        assert tracker.conn.execute("SELECT DISTINCT git_commit_hash, git_commit FROM events").fetchall() == [
            (commit, commit)
        ]
    started = header(db)
    assert (started.commit, started.branch, started.dirty) == (commit, "main", True)


def test_header_tells_the_commit_of_the_current_folder_without_git_root(
    tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository(git, tmp_path)
    monkeypatch.chdir(tmp_path)
    for number in range(2):  # what the first one logged does not make the tree dirty
        with Tracker(f"{number}.db") as tracker:
            assert set(tracker.log({"x": 1})) == {"x", "timestamp", "track_id"}
        git(tmp_path, "add", f"{number}.db.events")
        started = header(tmp_path / f"{number}.db")
        assert (started.commit, started.dirty) == (commit, False)


@pytest.mark.parametrize("place", ["no repository", "empty repository", "no folder", "no git", "detached"])
def test_git_that_cannot_tell_stops_nothing(
    tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    folder, expected = tmp_path / "here", None
    if place == "empty repository":
        git(folder, "init", "-q")
    elif place == "detached":
        expected = repository(git, folder)
        git(folder, "checkout", "-q", "--detach")
    elif place == "no git":
        expected = repository(git, folder)
        monkeypatch.setenv("PATH", os.devnull)
    elif place == "no repository":
        folder.mkdir()
    with Tracker(str(tmp_path / "track.db"), git_root=str(folder)) as tracker:
        row: dict[str, Any] = tracker.log({"x": 1})
    assert row.get("git_commit_hash") == expected
    assert header(tmp_path / "track.db").commit == expected
    told = [record.getMessage() for record in caplog.records]
    assert [str(folder) in text for text in told] == ([True] if expected is None else [])
