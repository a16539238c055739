"""`xt` without a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.conftest import Xt
from xetrack import Tracker


def test_stores_of_the_folder_are_listed_newest_first(
    call: Call, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Tracker(tmp_path / "newer.db", track_id="r") as tracker:
        tracker.log({"x": 1})
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    found = json.loads(call("--json").stdout)
    assert [(one["store"], one["runs"], one["rows"]) for one in found] == [("newer.db", 1, 1), ("track.db", 2, 5)]
    assert all(one["size_bytes"] > 0 and one["last_activity"] for one in found)


def test_hint_goes_to_stderr(xt: Xt, store: str) -> None:
    result = xt()
    assert result.returncode == 0
    assert result.stdout.splitlines()[1].split()[:3] == ["track.db", "2", "5"]
    assert "xt --help" in result.stderr and "xt runs track.db" in result.stderr


def test_folder_without_stores_says_so(xt: Xt) -> None:
    result = xt()
    assert (result.returncode, result.stdout) == (0, "") and "no store" in result.stderr


def test_store_that_cannot_be_read_is_listed_with_the_reason(xt: Xt, store: str, tmp_path: Path) -> None:
    (tmp_path / "later.db.events").mkdir()
    (tmp_path / "later.db.events" / "store.json").write_text('{"format":99}\n')
    result = xt()
    assert result.returncode == 0
    assert "later.db" in result.stdout and "format 99" in result.stderr
