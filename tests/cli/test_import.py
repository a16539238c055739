"""`xt import`: what another program wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Call
from tests.conftest import ROOT


def test_import_reports_what_was_taken(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,a\n2,b\n")
    result = call("import", tmp_path / "a.csv", tmp_path / "t.db")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == ["default", "2", "0", "0"]
    again = json.loads(call("import", tmp_path / "a.csv", tmp_path / "t.db", "--json").stdout)
    assert (again["rows_added"], again["tables"]["default"]["rows_known"]) == (0, 2)


def test_csv_that_head_prints_comes_back_through_a_pipe(call: Call, store: str, tmp_path: Path) -> None:
    printed = call("head", store, "--format", "csv", "--n", "100").stdout
    new = tmp_path / "new.db"
    done = subprocess.run(
        [sys.executable, "-m", "xetrack", "import", "-", new], input=printed, text=True, cwd=ROOT, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert call("head", new, "--format", "csv", "--n", "100").stdout == printed


def test_import_of_an_old_database_by_table(call: Call, tmp_path: Path) -> None:
    old = ROOT / "tests/fixtures/legacy/duckdb.db"
    result = call("import", old, tmp_path / "new.db", "--table", "predictions", "--json")
    assert list(json.loads(result.stdout)["tables"]) == ["predictions"]
    assert call("ls", tmp_path / "new.db", "pred", "--table", "predictions", "--json").exit_code == 0


def test_what_is_not_there_is_not_found(call: Call, tmp_path: Path) -> None:
    result = call("import", tmp_path / "nope.csv", tmp_path / "t.db")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "nope.csv" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing_and_says_so(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n')
    result = call("import", tmp_path / "a.jsonl", tmp_path / "t.db", "--dry-run")
    assert "dry run" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_source_of_no_known_kind_is_a_usage_error(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"?")
    result = call("import", tmp_path / "a.bin", tmp_path / "t.db")
    assert result.exit_code == 2
    assert call("import", tmp_path / "a.bin", tmp_path / "t.db", "--kind", "nope").exit_code == 2
