"""`xt rebase`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from xetrack import Reader, Tracker


@pytest.fixture
def exp(tmp_path: Path) -> str:
    db = str(tmp_path / "exp.db")
    with Tracker(db, track_id="dawn-mole-3") as tracker:
        tracker.log({"model": "bert", "epoch": 0, "loss": 0.1})
    return db


def test_report_counts(call: Call, store: str, exp: str) -> None:
    result = call("rebase", exp, "--onto", store, "--key", "model", "--key", "epoch")
    assert (result.exit_code, result.stdout) == (
        0,
        "table 'default', by model, epoch: 1 row replaced, 1 row added\n",
    )
    frame = Reader(store).to_df()
    assert frame["track_id"].tolist() == ["calm-otter-1"] * 3 + ["dawn-mole-3"]
    assert "0 rows replaced, 0 rows added" in call("rebase", exp, "--onto", store, "--key", "model,epoch").stdout


def test_json_is_the_report_and_a_dry_run_writes_nothing(call: Call, store: str, exp: str) -> None:
    result = call("rebase", exp, "--onto", store, "--key", "model", "--dry-run", "--json")
    report = json.loads(result.stdout)
    assert (report["table"], report["keys"], report["rows_replaced"], report["rows_added"]) == (
        "default",
        ["model"],
        1,
        1,
    )
    assert report["dry_run"] is True
    assert Reader(store).to_df()["track_id"].tolist() == ["calm-otter-1"] * 3 + ["bold-lynx-2"]


def test_what_is_not_there_exits_3(call: Call, store: str, exp: str, tmp_path: Path) -> None:
    result = call("rebase", exp, "--onto", store, "--key", "modell")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "model" in result.stderr
    assert call("rebase", exp, "--onto", str(tmp_path / "trac.db"), "--key", "model").exit_code == 3
    assert call("rebase", str(tmp_path / "x.db"), "--onto", store, "--key", "model").exit_code == 3
    assert call("rebase", exp, "--onto", store, "--key", "model", "--table", "metrics").exit_code == 3
    assert call("rebase", str(tmp_path / "x.csv"), "--onto", str(tmp_path / "y.csv"), "--key", "model").exit_code == 3


def test_wrong_use_exits_2(call: Call, store: str, exp: str, tmp_path: Path) -> None:
    assert call("rebase", exp, "--onto", store).exit_code == 2
    assert call("rebase", exp, "--key", "model").exit_code == 2
    assert call("rebase", exp, "--onto", store, "--key", ",").exit_code == 2
    assert call("rebase", exp, "--onto", store, "--key", "model", "--out", "x.db").exit_code == 2
    result = call("rebase", exp, "--onto", str(tmp_path / "base.csv"), "--key", "model")
    assert result.exit_code == 2
    assert "xt import" in result.stderr


def test_data_files_are_rebased_into_another_or_in_place(call: Call, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    base, exp, out = tmp_path / "base.jsonl", tmp_path / "exp.csv", tmp_path / "out.csv"
    base.write_text('{"id":1,"v":"a"}\n{"id":2,"v":"b"}\n')
    exp.write_text("id,v\n2,B\n")
    result = call("rebase", str(exp), "--onto", str(base), "--key", "id", "--out", str(out))
    assert result.exit_code == 0, result.stderr
    assert "1 row replaced, 1 row added" in result.stdout
    assert out.read_text() == "id,v\n1,a\n2,B\n"
    assert (
        json.loads(call("rebase", str(exp), "--onto", str(base), "--key", "id", "--json").stdout)["rows_replaced"] == 1
    )
    assert base.read_text() == '{"id":1,"v":"a"}\n{"id":2,"v":"B"}\n'


def test_undo_of_the_rebase_brings_the_replaced_rows_back_and_the_past_still_shows_them(
    call: Call, store: str, exp: str
) -> None:
    call("rebase", exp, "--onto", store, "--key", "model")
    event = json.loads(call("log", store, "--n", "1", "--json").stdout)[0]
    assert event["kind"] == "rows.replaced"
    writer, _, _ = event["event_id"].rpartition("-")
    earlier = json.loads(call("head", store, "--at", f"{writer}-0", "--json", "--n", "9").stdout)
    assert [row["track_id"] for row in earlier] == ["calm-otter-1"] * 3 + ["bold-lynx-2", "dawn-mole-3"]
    assert call("undo", store, event["event_id"]).exit_code == 0
    assert Reader(store).to_df()["track_id"].tolist() == [row["track_id"] for row in earlier]


def test_protected_run_exits_1_and_is_named(call: Call, store: str, exp: str) -> None:
    assert call("protect", store, "bold-lynx-2").exit_code == 0
    result = call("rebase", exp, "--onto", store, "--key", "model")
    assert (result.exit_code, "'bold-lynx-2'" in result.stderr) == (1, True)
    assert len(Reader(store)) == 4
