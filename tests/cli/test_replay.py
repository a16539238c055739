"""`xt replay`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Call
from tests.unit.test_past import events
from xetrack import Reader


def test_deleted_tables_come_back_as_they_were(call: Call, store: str) -> None:
    before = Reader(store).to_df()
    Path(store).unlink()
    result = call("replay", store, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == [{"table": "default", "rows": 4}, {"table": "metrics", "rows": 1}]
    assert Reader(store).to_df().equals(before)


def test_replay_over_good_tables_changes_nothing(call: Call, store: str) -> None:
    before = Reader(store).to_df()
    assert call("replay", store).exit_code == 0
    assert Reader(store).to_df().equals(before)


def test_damaged_tables_are_made_anew(call: Call, store: str) -> None:
    before = Reader(store).to_df()
    Path(store).write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    assert call("replay", store).exit_code == 0
    assert Reader(store).to_df().equals(before)


def test_absent_store_exits_3_and_is_not_created(call: Call, tmp_path: Path) -> None:
    assert call("replay", str(tmp_path / "absent.db")).exit_code == 3
    assert not list(tmp_path.iterdir())


def test_foreign_file_is_left_alone(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    assert call("replay", str(path)).exit_code == 1
    assert path.read_text() == "mine"


def test_past_state_goes_to_a_store_of_its_own(call: Call, store: str, tmp_path: Path) -> None:
    past = str(tmp_path / "past.db")
    moment = events(store)[1].id
    result = call("replay", store, "--at", moment, "--to", past, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [{"table": "default", "rows": 2}])
    assert call("head", past, "--csv").stdout == call("head", store, "--at", moment, "--csv").stdout
    assert call("replay", store, "--at", moment, "--to", past).exit_code == 2


def test_moment_without_a_target_exits_2(call: Call, store: str) -> None:
    result = call("replay", store, "--at", "-1h")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--to" in result.stderr or "`to`" in result.stderr
