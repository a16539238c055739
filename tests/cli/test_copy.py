"""`xt copy`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Call
from xetrack import Reader


def test_rows_are_copied_and_counted(call: Call, store: str, tmp_path: Path) -> None:
    target = str(tmp_path / "target.db")
    result = call("copy", store, target)
    assert (result.exit_code, result.stdout) == (0, "4 rows copied\n")
    assert len(Reader(target)) == 4
    assert call("copy", store, target).stdout == "0 rows copied\n"


def test_tables_are_chosen_by_name(call: Call, store: str, tmp_path: Path) -> None:
    target = str(tmp_path / "target.db")
    result = call("copy", store, target, "--table=metrics", "--no-assets", "--json")
    assert json.loads(result.stdout) == {"rows_copied": 1}
    result = call("copy", store, target, "--table=default", "--table=metrics", "--assets")
    assert result.stdout == "4 rows copied\n"


def test_all_tables_are_copied(call: Call, store: str, tmp_path: Path) -> None:
    assert call("copy", store, str(tmp_path / "target.db"), "--all-tables").stdout == "5 rows copied\n"
    assert call("copy", store, str(tmp_path / "two.db"), "--all-tables", "--table=metrics").exit_code == 2


def test_absent_source_and_table_exit_3_and_create_nothing(call: Call, store: str, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    result = call("copy", str(tmp_path / "trak.db"), str(tmp_path / "target.db"))
    assert (result.exit_code, result.stdout) == (3, "")
    assert "track.db" in result.stderr
    assert call("copy", store, str(tmp_path / "target.db"), "--table=nope").exit_code == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == before
