"""The pages of docs/: their blocks run, their links lead somewhere, and what is made from code has not drifted."""

from __future__ import annotations

import codeop
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.docs import performance_page
from scripts.docs_api import api_page
from scripts.docs_architecture import architecture_page
from tests.conftest import ROOT
from tests.pages import BLOCK, run_page

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *(DOCS / "decisions").glob("*.md")])


@pytest.mark.parametrize(
    "name", ["assets", "datasets", "guide", "history", "live", "migrating", "redaction", "timetravel"]
)
def test_every_block_does_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results.csv").write_text("epoch,loss\n1,0.5\n")
    assert run_page(DOCS / f"{name}.md") >= 1


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_python_blocks_can_be_typed_at_a_prompt(page: Path) -> None:
    for language, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        typed: list[str] = []
        for line in [*body.splitlines(), ""] if language == "python" else []:
            typed.append(line)
            # A prompt ends a block at an empty line only, and takes nothing else for its end.
            if codeop.compile_command("\n".join(typed), page.name) is not None:
                typed = []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_pages_that_are_there(page: Path) -> None:
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_pages_that_are_made_from_docstrings_have_not_drifted() -> None:
    assert (DOCS / "api.md").read_text(encoding="utf-8") == api_page(), "run scripts/docs"
    assert (DOCS / "architecture.md").read_text(encoding="utf-8") == architecture_page(), "run scripts/docs"


def test_the_table_of_peers_is_the_one_that_was_measured() -> None:
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert text == performance_page(text), "run scripts/docs"
    for name, peer in json.loads((DOCS / "peers.json").read_text(encoding="utf-8"))["peers"].items():
        assert f"| {name} | {peer['release'] or '–'} |" in text
        assert f">{name}</text>" in (DOCS / "images" / "peers.svg").read_text(encoding="utf-8")


def test_the_way_of_an_event_leads_through_rooms_that_are_there() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for room in re.findall(r"`([a-z_/]+\.py)`", text):
        assert (ROOT / "xetrack" / room).exists() or (ROOT / room).exists(), room


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(DOCS), str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "guide.html").exists()


def test_the_site_lists_every_page() -> None:
    listed = (DOCS / "index.md").read_text(encoding="utf-8").split()
    assert {page.stem for page in DOCS.glob("*.md")} - set(listed) == {"index"}
