"""`xt redact`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.conftest import ROOT
from tests.unit.test_redaction import files, holding
from xetrack import Reader

RUN = "bold-lynx-2"


def test_run_is_redacted_without_a_question(call: Call, store: str) -> None:
    result = call("redact", store, "--track-id", RUN, "--reason", "names a patient", "--yes")
    assert result.exit_code == 0
    assert result.stdout == ("table 'default': 1 row of bold-lynx-2, 0 set values redacted\n1 file rewritten\n")
    assert "git's history" in result.stderr
    assert holding(store, "second line") == []
    assert len(Reader(store)) == 3


def test_condition_chooses_rows(call: Call, store: str) -> None:
    result = call("redact", store, "--where", "epoch = 0", "--reason", "r", "--yes", "--json")
    report = json.loads(result.stdout)
    assert (report["rows"], report["runs"], report["dry_run"]) == (2, ["bold-lynx-2", "calm-otter-1"], False)
    assert len(Reader(store)) == 2


def test_dry_run_asks_nothing_and_changes_nothing(call: Call, store: str) -> None:
    before = files(store)
    result = call("redact", store, "--track-id", RUN, "--dry-run")
    assert result.exit_code == 0
    assert "1 row of bold-lynx-2, 0 set values would be redacted\n1 file would be rewritten\n" in result.stdout
    assert files(store) == before


def test_without_a_terminal_and_without_yes_it_is_refused(call: Call, store: str) -> None:
    before = files(store)
    result = call("redact", store, "--track-id", RUN, "--reason", "r")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--yes" in result.stderr
    assert files(store) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--reason", "r", "--yes"], 2),
        (["--track-id", RUN, "--yes"], 2),
        (["--track-id", RUN, "--pending", "--yes"], 2),
        (["--where", "epoch >", "--reason", "r", "--yes"], 2),
        (["--where", "absent > 1", "--reason", "r", "--yes"], 3),
        (["--track-id", "bold-lynx-3", "--reason", "r", "--yes"], 3),
        (["--track-id", RUN, "--reason", "r", "--yes", "--table", "absent"], 3),
    ],
)
def test_wrong_use_and_what_is_not_there(call: Call, store: str, arguments: list[str], code: int) -> None:
    before = files(store)
    assert call("redact", store, *arguments).exit_code == code
    assert files(store) == before


def test_absent_store_exits_3(call: Call, tmp_path: Path) -> None:
    assert call("redact", tmp_path / "absent.db", "--track-id", RUN, "--reason", "r", "--yes").exit_code == 3


def test_what_a_stale_copy_brought_is_finished(call: Call, store: str, tmp_path: Path) -> None:
    shutil.copytree(f"{store}.events", tmp_path / "stale")
    call("redact", store, "--track-id", RUN, "--reason", "r", "--yes")
    assert call("redact", store, "--pending", "--yes").stdout == "nothing to redact\n"
    shutil.copytree(tmp_path / "stale", f"{store}.events", dirs_exist_ok=True)
    assert holding(store, "second line")
    assert call("redact", store, "--pending", "--yes").stdout == "1 file rewritten\n"
    assert holding(store, "second line") == []


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal of POSIX")
@pytest.mark.parametrize(("answer", "code", "rows"), [("y", 0, 3), ("n", 1, 4)])
def test_at_a_terminal_it_asks(store: str, answer: str, code: int, rows: int) -> None:
    import pty

    master, terminal = pty.openpty()
    try:
        command = [sys.executable, "-m", "xetrack", "redact", store, "--track-id", RUN, "--reason", "r"]
        program = subprocess.Popen(
            command, cwd=ROOT, stdin=terminal, stderr=terminal, stdout=subprocess.PIPE, text=True
        )
        os.write(master, f"{answer}\n".encode())
        out, _ = program.communicate(timeout=60)
    finally:
        os.close(terminal)
        os.close(master)
    assert program.returncode == code, out
    assert len(Reader(store)) == rows
