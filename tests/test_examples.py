"""The examples run, each in a temporary folder, and show what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
#: A line that only the right result prints.
SHOWN = {
    "01_quickstart.py": "rows without the table file: 5",
    "02_track_functions.py": "ZeroDivisionError: integer division or modulo by zero",
    "03_dataclass_unpacking.py": "sgd",
    "04_track_assets.py": "it predicts as before: True\nobjects: 1 keys: True",
    "05_function_caching.py": "first-run-1",
    "06_logging_integration.py": "Help me with my moves",
    "07_data_analysis.py": "rows of the best run: 2 float",
    "08_sql_queries.py": "refused: ReadOnlyTables",
    "09_model_monitoring.py": "drift!",
}


def test_every_example_is_listed_and_tested() -> None:
    listed = (ROOT / "examples" / "README.md").read_text()
    assert [path.name for path in EXAMPLES] == list(SHOWN)
    assert all(f"`{path.name}`" in listed for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path, tmp_path: Path) -> None:
    folder, temporary = tmp_path / "here", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    env = {**os.environ, "TMPDIR": str(temporary), "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, str(path)], cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert SHOWN[path.name] in done.stdout
    assert done.stderr == ""
    assert list(folder.iterdir()) == [], "left files in the current folder"


def test_run_all_reports_what_fails(tmp_path: Path) -> None:
    script = tmp_path / "run_all.py"
    script.write_text((ROOT / "examples" / "run_all.py").read_text())
    (tmp_path / "01_good.py").write_text("print('good')")
    (tmp_path / "02_bad.py").write_text("raise SystemExit(3)")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "failed: 02_bad.py" in done.stdout and "good" in done.stdout
