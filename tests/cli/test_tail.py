"""`xt tail`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from xetrack import Reader, Tracker


def test_last_rows_come_oldest_first(call: Call, store: str) -> None:
    rows = json.loads(call("tail", store, "--n=2", "--json").stdout)
    assert [(row["track_id"], row["epoch"]) for row in rows] == [("calm-otter-1", 2), ("bold-lynx-2", 0)]


def test_more_rows_than_there_are_give_all(call: Call, store: str) -> None:
    assert len(json.loads(call("tail", store, "--n=100", "--json").stdout)) == 4


def test_no_rows_print_the_header_alone(call: Call, store: str) -> None:
    result = call("tail", store, "--n=0", "--format=csv")
    assert result.exit_code == 0
    assert result.stdout == "timestamp,track_id,model,epoch,loss,ok,note\n"


def test_follow_prints_the_last_rows_and_what_comes_each_once(store: str) -> None:
    command = [sys.executable, "-m", "xetrack", "tail", store, "-f", "-n", "1", "--json", "--where", "loss < 0.45"]
    following = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert following.stdout is not None
    assert json.loads(following.stdout.readline())["epoch"] == 2
    with Tracker(store, track_id="new") as tracker:
        for loss in (0.4, 0.5, 0.3):
            tracker.log({"loss": loss})
    assert [json.loads(following.stdout.readline())["loss"] for _ in range(2)] == [0.4, 0.3]
    following.terminate()
    rest, _ = following.communicate()
    assert (following.returncode, rest) == (0, "")


def test_cursor_file_goes_on_where_the_last_one_ended(call: Call, store: str, tmp_path: Path) -> None:
    follow = ("tail", store, "-f", "--once", "--csv", "--columns", "epoch", "--cursor", tmp_path / "place")
    assert call(*follow).stdout.split() == ["epoch", "0", "1", "2", "0"]
    assert call(*follow).stdout == ""
    with Tracker(store, track_id="new") as tracker:
        tracker.log({"epoch": 7})
    assert call(*follow).stdout.split() == ["epoch", "7"]
    Reader(store).delete_run("new")
    events = call(*follow[:4], "--events", "--json", "--cursor", tmp_path / "place").stdout
    assert [json.loads(line)["kind"] for line in events.splitlines()] == ["run.deleted"]


def test_condition_on_a_column_that_comes_later(call: Call, store: str, tmp_path: Path) -> None:
    assert call("tail", store, "-f", "--once", "--where", "later > 1").stdout == ""
    assert call("tail", store, "-f", "--once", "--where", "loss <").exit_code == 2
    line = call("tail", store, "-f", "--once", "-n", "1", "--columns", "loss,ok").stdout
    assert line == "loss=0.5  ok=true\n"


def test_followed_values_do_not_steer_a_terminal(call: Call, tmp_path: Path) -> None:
    db = str(tmp_path / "track.db")
    with Tracker(db, track_id="calm-otter-1") as tracker:
        tracker.log({"note": "\x1b[31mred\nnext", "raw": b"\0", "ok": True})
    (line,) = call("tail", db, "-f", "--once", "--columns=note,raw,ok").stdout.splitlines()
    assert line == r"note=\x1b[31mred\nnext  raw=AA==  ok=true"


@pytest.mark.parametrize(
    "options", [("-f", "--at=-1h"), ("-f", "--sort=loss"), ("--events",), ("--once",), ("--cursor=c",)]
)
def test_options_that_have_no_effect_are_wrong_usage(call: Call, store: str, options: tuple[str, ...]) -> None:
    done = call("tail", store, *options)
    assert (done.exit_code, done.stdout) == (2, "") and "--follow" in done.stderr
