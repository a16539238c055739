"""Runs the blocks of a page of documentation, as a reader would type them.

``python`` blocks share their names, a ``text`` block is what the last of them printed,
``console`` blocks are commands (``$ …``), each with what it prints below it, where
``...`` stands for anything. ``xt`` runs in this process, all else in a shell.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from xetrack.cli import app

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def run_page(page: Path) -> int:
    """Run all blocks in the current folder; return how many outputs were compared."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed, checked = "", 0
    for language, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            assert not printed, f"{page.name}: output without a text block: {printed}"
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(body, str(page), "exec"), names)
            printed = out.getvalue()
        elif language == "text":
            assert matches(body, printed), f"{page.name}: {printed}"
            printed = ""
            checked += 1
        elif language == "console":
            checked += run_console(body)
    assert not printed, f"{page.name}: output without a text block: {printed}"
    return checked


def run_console(block: str) -> int:
    """Run the commands of a block; return how many there are."""
    commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    for command in commands:
        line, _, expected = command.partition("\n")
        said = _output(line)
        assert matches(expected, said), f"$ {line}\n{said}"
    return len(commands)


def matches(expected: str, printed: str) -> bool:
    """Whether it is what was printed; ``...`` stands for anything, as in a doctest."""
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)


def _output(line: str) -> str:
    program, *args = shlex.split(line)
    if program == "xt":
        result = CliRunner().invoke(app, args)
        assert result.exit_code == 0, f"$ {line}\n{result.output}"
        return result.stdout
    done = subprocess.run(line, shell=True, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, f"$ {line}\n{done.stderr}"
    return done.stdout
