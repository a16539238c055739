"""`--at`: reading commands show a store as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.conftest import Git
from tests.unit.test_past import events
from xetrack import Reader, Tracker


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["head", "{db}", "--json"], [0, 1]),
        (["tail", "{db}", "-n", "1", "--json"], [1]),
        (["ls", "{db}", "epoch", "--json"], [0, 1]),
        (["sql", "{db}", "SELECT epoch FROM events", "--json"], [0, 1]),
    ],
)
def test_reading_commands_show_the_moment(
    call: Call, store: str, engine: str, command: list[str], expected: list[int]
) -> None:
    Reader(store).set_value("epoch", 7)
    args = [arg.format(db=store) for arg in command]
    result = call(*args, f"--engine={engine}", "--at", events(store)[1].id)
    assert result.exit_code == 0, result.stderr
    assert [row["epoch"] if isinstance(row, dict) else row for row in json.loads(result.stdout)] == expected


def test_columns_are_those_of_the_moment(call: Call, store: str) -> None:
    result = call("columns", store, "--json", "--at", events(store)[0].id)
    assert [row["column"] for row in json.loads(result.stdout)] == [
        "timestamp", "track_id", "model", "epoch", "loss", "ok",
    ]  # fmt: skip


def test_text_that_is_no_moment_exits_2(call: Call, store: str) -> None:
    result = call("head", store, "--at", "yesterday")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "yesterday" in result.stderr


def test_event_that_is_not_there_exits_3(call: Call, store: str) -> None:
    assert call("head", store, "--at", "k4w7aq2mzb3xn5ty-12").exit_code == 3


def test_span_goes_back_from_now(call: Call, store: str) -> None:
    assert json.loads(call("head", store, "--at", "-1h", "--json").stdout) == []
    assert json.loads(call("head", store, "--at=-1h", "--json").stdout) == []


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to ask")
def test_revision_is_read_from_git(call: Call, tmp_path: Path, git: Git) -> None:
    git(tmp_path, "init")
    db = str(tmp_path / "track.db")
    for step in (1, 2):
        with Tracker(db, track_id="calm-otter-1") as tracker:
            tracker.log({"step": step})
        if step == 1:
            git(tmp_path, "add", "track.db.events")
            git(tmp_path, "commit", "-m", "one")
    for when in ("git:HEAD", "git:main:track.db"):
        result = call("ls", db, "step", "--json", "--at", when)
        assert (result.exit_code, json.loads(result.stdout)) == (0, [1])


def test_every_command_that_prints_a_table_takes_it(call: Call, store: str) -> None:
    moment = events(store)[1].id
    Reader(store).delete_run("calm-otter-1")
    for args in (["summary", store], ["validate", store], ["runs", store], ["stats", "describe", store]):
        result = call(*args, "--at", moment, "--json")
        assert result.exit_code in (0, 1) and result.stdout, (args, result.stderr)
        assert result.stdout != call(*args, "--json").stdout, args
    log = json.loads(call("log", store, "--at", moment, "--json").stdout)
    assert {row["event_id"] for row in log} == {event.id for event in events(store)[:2]}


def test_data_set_of_the_past_is_built_again(call: Call, store: str, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    assert call("export", store, str(out), "--at", events(store)[1].id).exit_code == 0
    assert [json.loads(line)["epoch"] for line in out.read_text().splitlines()] == [0, 1]
    Reader(store).delete_run("calm-otter-1")
    result = call("export", store, "--check", f"{out}.manifest.json")
    assert result.exit_code == 0, result.stdout
    inside = f"{store}.events/rows.jsonl"
    assert call("export", store, inside, "--at", events(store)[1].id).exit_code == 2


def test_object_of_the_past_is_written_to_a_file(call: Call, db: str, tmp_path: Path) -> None:
    with Tracker(db, track_id="calm-otter-1") as tracker:
        tracker.log({"weights": {1}})
        tracker.log({"weights": {2}})
    out = tmp_path / "weights.pickle"
    assert call("assets", "export", db, "weights", str(out), "--at", events(db)[0].id).exit_code == 0
    import cloudpickle

    assert cloudpickle.loads(out.read_bytes()) == {1}
