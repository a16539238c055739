"""`xt merge`, on stores and on data files."""

from __future__ import annotations

import contextlib
import io
import json
import platform
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call
from tests.conftest import ROOT, Git
from tests.pages import BLOCK, matches, run_console
from xetrack import Reader, Tracker


@pytest.fixture
def other(store: str, tmp_path: Path) -> str:
    """A copy of the store in which somebody changed what was changed in the store as well."""
    db = str(tmp_path / "other.db")
    shutil.copytree(f"{store}.events", f"{db}.events")
    Reader(store).set_value("label", "good", track_id="calm-otter-1")
    Reader(db).set_value("label", "bad", track_id="calm-otter-1")
    with Tracker(db, track_id="dawn-mole-3") as tracker:
        tracker.log({"epoch": 0, "lr": 0.1})
    return db


def test_report_counts_and_names_the_conflict(call: Call, store: str, other: str) -> None:
    result = call("merge", other, "--into", store)
    assert result.exit_code == 0
    assert "default  1           1                lr" in result.stdout
    assert "1 new run: dawn-mole-3\n1 run touched: calm-otter-1\nconflicts: 1\n" in result.stdout
    line = result.stdout.splitlines()[-1].split()
    assert line[:6] == ["set/set", "default", "calm-otter-1", "label", "3", "good"]
    assert line[-1] == "theirs"
    assert Reader(store).to_df("calm-otter-1")["label"].tolist() == ["bad"] * 3


def test_merge_that_has_nothing_to_take_over_says_so(call: Call, store: str) -> None:
    result = call("merge", f"{store}.events", "--into", store)
    assert (result.exit_code, result.stdout) == (0, "nothing to take over\n")


def test_json_is_the_report(call: Call, store: str, other: str) -> None:
    report = json.loads(call("merge", other, "--into", store, "--json", "--dry-run").stdout)
    assert report["dry_run"] is True
    assert report["tables"]["default"] == {
        "rows_added": 1,
        "mutations_added": 1,
        "columns_added": ["lr"],
        "columns_widened": [],
    }
    (conflict,) = report["conflicts"]
    assert (conflict["kind"], conflict["track_id"], conflict["column"]) == ("set/set", "calm-otter-1", "label")
    assert (conflict["ours"]["value"], conflict["theirs"]["value"], conflict["winner"]) == ("good", "bad", "theirs")
    assert len(Reader(store)) == 4


def test_policy_error_exits_1_prints_the_report_and_writes_nothing(call: Call, store: str, other: str) -> None:
    result = call("merge", other, "--into", store, "--policy", "error")
    assert result.exit_code == 1
    assert "conflicts: 1" in result.stdout
    assert "Nothing was taken over" in result.stderr
    assert len(Reader(store)) == 4


@pytest.mark.parametrize(("policy", "value"), [("ours", "good"), ("theirs", "bad"), ("latest", "bad")])
def test_policy_decides(call: Call, store: str, other: str, policy: str, value: str) -> None:
    assert call("merge", other, "--into", store, "--policy", policy).exit_code == 0
    assert Reader(store).to_df("calm-otter-1")["label"].tolist() == [value] * 3


def test_wrong_use_exits_2(call: Call, store: str, other: str) -> None:
    assert call("merge", "--into", store).exit_code == 2
    assert call("merge", other).exit_code == 2
    assert call("merge", other, "--into", store, "--policy", "mine").exit_code == 2
    assert call("merge", other, other, "--into", store, "--policy", "ours").exit_code == 2


def test_absent_source_exits_3_and_names_nearmatches(call: Call, store: str, tmp_path: Path) -> None:
    result = call("merge", str(tmp_path / "trak.db"), "--into", str(tmp_path / "new.db"))
    assert (result.exit_code, result.stdout) == (3, "")
    assert "track.db" in result.stderr
    assert not (tmp_path / "new.db.events").exists()


def test_page_about_merging_does_what_it_says(tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(platform, "node", lambda: "lab")
    names: dict[str, Any] = {}
    printed, checked = "", 0
    for language, body in BLOCK.findall((ROOT / "docs" / "merge.md").read_text(encoding="utf-8")):
        if language == "python":
            who = body.partition("\n")[0].removeprefix("# ")
            assert who in ("ada", "bob")
            monkeypatch.setenv("LOGNAME", who)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(body, "merge.md", "exec"), names)
            printed = out.getvalue()
        elif language == "text":
            assert matches(body, printed), printed
            checked += 1
        else:
            checked += run_console(body)
    assert checked >= 7
