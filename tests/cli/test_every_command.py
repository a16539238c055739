"""What holds for every command that reads: both engines, an empty store, what is not there."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.conftest import Call
from tests.conftest import ROOT, Xt
from xetrack import Reader, Tracker
from xetrack.cli import app
from xetrack.cli.root import FAMILIES, family

ENGINES = ["sqlite", "duckdb"]

#: Each reading command behind DB, with what it needs.
READING = [
    ("head",),
    ("tail",),
    ("ls",),
    ("ls", "loss"),
    ("columns",),
    ("sql", "SELECT * FROM events"),
    ("runs",),
    ("show", "calm-otter-1"),
    ("compare", "calm-otter-1", "bold-lynx-2"),
    ("best", "loss"),
    ("stats describe",),
    ("stats top", "loss"),
    ("stats bottom", "loss"),
    ("assets ls",),
    ("assets du",),
]
#: Those that look at one table.
OF_A_TABLE = [command for command in READING if command[0] not in ("sql", "assets ls", "assets du")]
#: Those that show what the table has, if only nothing.
GENERAL = [command for command in READING if len(command) == 1]


def _line(command: tuple[str, ...], db: str, *options: str) -> list[str]:
    return [*command[0].split(), db, *command[1:], *options]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_output_is_valid_json_and_csv_on_both_engines(
    call: Call, store: str, command: tuple[str, ...], engine: str
) -> None:
    result = call(*_line(command, store, f"--engine={engine}", "--json"))
    assert (result.exit_code, result.stderr) == (0, "")
    json.loads(result.stdout)
    for form in ("jsonl", "csv", "tsv", "markdown", "table"):
        printed = call(*_line(command, store, f"--engine={engine}", f"--format={form}"))
        assert (printed.exit_code, printed.stderr) == (0, "")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("command", GENERAL, ids=lambda command: command[0])
def test_empty_store_is_no_error(call: Call, db: str, command: tuple[str, ...], engine: str) -> None:
    Tracker(db, engine=engine).close()  # type: ignore[arg-type]
    result = call(*_line(command, db, f"--engine={engine}", "--json"))
    assert (result.exit_code, result.stderr) == (0, "")
    json.loads(result.stdout)


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_missing_path_exits_3_and_creates_nothing(xt: Xt, tmp_path: Path, command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, _line(command, str(tmp_path / "absent.db")))
    assert (result.exit_code, result.stdout) == (3, "") and "absent.db" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "command",
    [one for one in READING if one[0] not in ("sql", "assets ls", "assets du")],
    ids=lambda command: command[0],
)
def test_missing_table_exits_3_and_names_the_others(
    call: Call, store: str, command: tuple[str, ...], engine: str
) -> None:
    result = call(*_line(command, store, f"--engine={engine}", "--table=metric"))
    assert (result.exit_code, result.stdout) == (3, "") and "metrics" in result.stderr


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_missing_column_exits_3(call: Call, store: str, command: tuple[str, ...]) -> None:
    result = call(*_line(command, store, "--columns=nothing_like_it"))
    assert (result.exit_code, result.stdout) == (3, "") and "nothing_like_it" in result.stderr


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_environment_names_the_store(
    call: Call, store: str, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_db = call(*_line(command, store, "--csv")).stdout
    monkeypatch.setenv("XETRACK_DB", store)
    without = call(*command[0].split(), *command[1:], "--csv")
    assert without.exit_code == 0, without.stderr
    assert without.stdout == with_db


def test_environment_names_the_target_of_imports_and_merges(
    call: Call, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("loss\n0.5\n")
    monkeypatch.setenv("XETRACK_DB", str(tmp_path / "new.db"))
    assert call("import", str(rows)).exit_code == 0
    assert call("merge", store).exit_code == 0
    assert len(Reader(tmp_path / "new.db")) == 5


def test_every_command_documents_every_option() -> None:
    for module in FAMILIES:
        made = family(module)
        groups = [made, *(group.typer_instance for group in made.registered_groups)]
        for info in (info for group in groups if group for info in group.registered_commands):
            assert info.callback is not None and info.callback.__doc__


@pytest.mark.parametrize("engine", ENGINES)
def test_csv_of_a_table_imports_back(call: Call, store: str, tmp_path: Path, engine: str) -> None:
    printed = call("head", store, "--n=100", "--csv", f"--engine={engine}")
    new = str(tmp_path / "new.db")
    piped = subprocess.run(
        [sys.executable, "-m", "xetrack", "import", "-", new, "--kind=csv"],
        input=printed.stdout,
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert piped.returncode == 0, piped.stderr
    columns = "track_id,timestamp,epoch,loss,ok,model"
    first = call("head", store, "--n=100", "--json", f"--columns={columns}").stdout
    assert json.loads(call("head", new, "--n=100", "--json", f"--columns={columns}").stdout) == json.loads(first)


@pytest.mark.parametrize("engine", ENGINES)
def test_json_says_what_json_cannot_hold(call: Call, db: str, engine: str) -> None:
    odd: dict[str, Any] = {"nan": math.nan, "up": math.inf, "down": -math.inf, "raw": b"\x00\xff", "text": "é 🎈"}
    with Tracker(db, engine=engine) as tracker:  # type: ignore[arg-type]
        tracker.log(odd)
    (row,) = json.loads(call("head", db, "--json", f"--engine={engine}").stdout)
    told = {name: row[name] for name in odd}
    nan = "NaN" if engine == "duckdb" else None  # SQLite has none
    assert told == {"nan": nan, "up": "Infinity", "down": "-Infinity", "raw": "AP8=", "text": "é 🎈"}
    assert io.StringIO(call("head", db, "--csv", f"--engine={engine}").stdout).readline()
