"""`xt replay`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Call
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
