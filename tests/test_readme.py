"""The README's Python and console blocks run, in order, and print what it says they print."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT
from xetrack.cli import app
from xetrack.cli.root import FAMILIES

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def _matches(expected: str, printed: str) -> bool:
    """``...`` stands for anything, as in a doctest."""
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)


def _run_console(block: str) -> None:
    for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, expected = command.partition("\n")
        program, *args = shlex.split(line)
        assert program == "xt"
        result = CliRunner().invoke(app, args)
        assert result.exit_code == 0, result.stderr
        assert _matches(expected, result.stdout), f"$ {line}\n{result.stdout}"


def test_readme_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    printed = ""
    checked = 0
    for language, body in blocks:
        if language == "python":
            assert not printed, f"output without a text block: {printed}"
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(body, "README.md", "exec"), names)
            printed = out.getvalue()
        elif language == "text":
            assert _matches(body, printed), printed
            printed = ""
            checked += 1
        elif language == "console":
            _run_console(body)
            checked += 1
    assert checked >= 8
    names["tracker"].close()


def test_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for names in FAMILIES.values():
        assert all(f"xt {name} " in text for name in names.split())


def test_readme_names_only_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / target).exists()
