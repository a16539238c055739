"""`xt skills`: copied to where an agent looks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call


def test_skills_are_listed_and_installed(call: Call, tmp_path: Path) -> None:
    names = json.loads(call("skills", "list", "--json").stdout)
    assert names == ["benchmark", "git-versioning", "xetrack"]
    result = call("skills", "install", "xetrack", "--to", tmp_path)
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "xetrack"))
    assert (tmp_path / "xetrack" / "SKILL.md").exists()
    assert call("skills", "install", "--to", tmp_path).exit_code == 0


def test_what_python_compiled_is_not_installed(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skill = tmp_path / "package" / "mine"
    (skill / "assets" / "__pycache__").mkdir(parents=True)
    (skill / "SKILL.md").write_text("mine")
    monkeypatch.setattr("xetrack.workflow.skills._PLACES", (skill.parent,))
    assert call("skills", "install", "--to", tmp_path / "to").exit_code == 0
    assert list((tmp_path / "to" / "mine" / "assets").iterdir()) == []


def test_a_skill_that_is_not_there_is_refused(call: Call, tmp_path: Path) -> None:
    result = call("skills", "install", "nope", "--to", tmp_path)
    assert result.exit_code == 2
    assert "benchmark" in result.stderr
