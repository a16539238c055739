"""How rows are printed: every format, odd values, a terminal."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT
from xetrack.cli.output import Format, print_list, print_rows

ODD: list[Any] = [
    None,
    True,
    1,
    2**70,
    0.1,
    math.nan,
    -math.inf,
    b"\x00\xff",
    "a,b\t\"c\"\n'd' | é 🎈",
    datetime.datetime(2026, 1, 2, 3, 4, 5, 6),
]


def _printed(capsys: pytest.CaptureFixture[str], form: Format) -> str:
    print_rows(["n", "value"], [[number, value] for number, value in enumerate(ODD)], form)
    return capsys.readouterr().out


def test_json_and_jsonl_hold_the_same_values(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(_printed(capsys, Format.JSON))
    assert rows == [json.loads(line) for line in _printed(capsys, Format.JSONL).splitlines()]
    assert [row["value"] for row in rows] == [
        None,
        True,
        1,
        2**70,
        0.1,
        "NaN",
        "-Infinity",
        "AP8=",
        ODD[8],
        "2026-01-02 03:04:05.000006",
    ]


def test_json_has_no_spelling_that_only_python_reads(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    json.loads(_printed(capsys, Format.JSON), parse_constant=refuse)


def test_csv_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(_printed(capsys, Format.CSV), newline="")))
    assert [row["value"] for row in rows] == [
        "",
        "true",
        "1",
        str(2**70),
        "0.1",
        "NaN",
        "-Infinity",
        "AP8=",
        ODD[8],
        "2026-01-02 03:04:05.000006",
    ]


@pytest.mark.parametrize(("form", "header"), [(Format.TSV, 1), (Format.MARKDOWN, 2), (Format.TABLE, 1)])
def test_line_formats_keep_a_row_on_one_line(capsys: pytest.CaptureFixture[str], form: Format, header: int) -> None:
    assert len(_printed(capsys, form).splitlines()) == header + len(ODD)


def test_markdown_escapes_its_separator(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(["a|b"], [["c|d"]], Format.MARKDOWN)
    assert capsys.readouterr().out == "| a\\|b |\n| --- |\n| c\\|d |\n"


def test_no_rows_are_still_valid_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(["a"], [], Format.JSON)
    assert json.loads(capsys.readouterr().out) == []


def test_list_in_csv_has_its_name_as_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_list("epoch", [1, None], Format.CSV)
    assert capsys.readouterr().out == 'epoch\n1\n""\n'


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="pseudo-terminals are missing on this system")
def test_terminal_gets_a_frame_and_no_markup_or_control_characters() -> None:
    code = (
        "from xetrack.cli.output import *\n"
        "print_rows(['name', 'n'], [['[red]x[/red]', 1], ['\\x1b[2J', 2]], Format.TABLE)"
    )
    ours, theirs = os.openpty()
    env = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", code], stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT, env=env)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0, done.stderr
    assert "[red]x[/red]" in shown
    assert r"\x1b[2J" in shown
    assert "\x1b[2J" not in shown
    assert "─" in shown or "━" in shown
