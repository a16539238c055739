"""The README's Python and console blocks run, in order, and print what it says they print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import run_page
from xetrack.cli.root import FAMILIES

README = ROOT / "README.md"


def test_readme_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_page(README) >= 8


def test_readme_names_every_command() -> None:
    text = README.read_text(encoding="utf-8")
    for names in FAMILIES.values():
        assert all(f"xt {name} " in text for name in names.split())


def test_readme_names_only_files_that_exist() -> None:
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / target).exists()
