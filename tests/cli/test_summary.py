"""`xt summary`: a table as Markdown."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Call


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_summary_is_a_page_of_markdown(call: Call, store: str, engine: str) -> None:
    page = call("summary", store, "--engine", engine).stdout
    assert page.startswith(f"# {store}: default\n\n4 rows in 2 runs")
    assert "| loss | 0.583333 | 0.333333 | 1 | 0.5 | bold-lynx-2 |" in page
    assert "| model | 2 | resnet, bert |" in page


def test_summary_as_json(call: Call, store: str) -> None:
    facts = json.loads(call("summary", store, "--table", "metrics", "--json").stdout)
    assert (facts["rows"], facts["best"]["accuracy"]["track_id"]) == (1, "calm-otter-1")


def test_a_table_that_is_not_there(call: Call, store: str) -> None:
    result = call("summary", store, "--table", "metricz")
    assert (result.exit_code, result.stdout) == (3, "")
