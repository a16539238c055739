"""Every block of the skills runs, their templates too, and what they name is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import BLOCK, run_page
from xetrack import Reader
from xetrack.workflow.skills import install, skills

SKILLS = ROOT / "docs" / "skills"
PAGES = sorted(SKILLS.rglob("*.md"))
TEMPLATES = sorted(SKILLS.rglob("*_template.py"))


def _name(path: Path) -> str:
    return path.relative_to(SKILLS).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_block_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "ada")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "ada@example.org")
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    subprocess.run(["git", "init", "-q", "-b", "main"], check=True)
    assert run_page(page) >= 1


@pytest.mark.parametrize("template", TEMPLATES, ids=_name)
def test_every_template_runs(template: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(template)], cwd=tmp_path, check=True)
    (store,) = tmp_path.glob("*.db")
    metrics = Reader(str(store), table="metrics").to_df()
    assert len(metrics) >= 3
    if template.name.startswith("llm"):
        curve = Reader(str(store), table="training").to_df(track_id="lr-0.0001")
        assert curve["step"].tolist() == list(range(1, 61))


def test_pages_name_only_files_that_exist() -> None:
    for page in PAGES:
        prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)#]+)\)", prose):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_each_skill_says_what_it_is_for() -> None:
    for name, folder in skills().items():
        head = (folder / "SKILL.md").read_text(encoding="utf-8").split("---")[1]
        assert f"name: {name}\n" in head
        assert "description: " in head
        assert "Use when" in head.replace("\n  ", " ")


def test_skills_are_installed_over_older_ones(tmp_path: Path) -> None:
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "stale.md").write_text("old")
    made = install(None, tmp_path)
    assert sorted(path.name for path in made) == ["benchmark", "git-versioning", "xetrack"]
    assert not (tmp_path / "benchmark" / "stale.md").exists()
    assert (tmp_path / "benchmark" / "assets" / "sklearn_benchmark_template.py").exists()


def test_the_marketplace_lists_every_skill() -> None:
    market = json.loads((ROOT / ".claude-plugin" / "marketplace.json").read_text(encoding="utf-8"))
    listed = {plugin["name"]: plugin["skills"] for plugin in market["plugins"]}
    assert listed.keys() == skills().keys()
    assert all((ROOT / path / "SKILL.md").exists() for paths in listed.values() for path in paths)
