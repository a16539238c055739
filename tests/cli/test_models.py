"""`xt models`: promote asks nothing, prune does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models" / "candidates"
    folder.mkdir(parents=True)
    for name in ("a", "b", "c"):
        (folder / f"{name}.bin").write_text(name)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_candidate_is_promoted_and_listed_first(call: Call) -> None:
    assert call("models", "promote", "b", "--metric", "f1", "--score", "0.5").exit_code == 0
    listed = json.loads(call("models", "list", "--json").stdout)
    assert [(one["name"], one["place"], one["score"]) for one in listed][0] == ("b.bin", "production", 0.5)


def test_prune_refuses_where_nobody_can_answer(call: Call, models: Path) -> None:
    result = call("models", "prune", "--keep", "1")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert len(list(models.iterdir())) == 3
    assert call("models", "prune", "--keep", "1", "--yes").exit_code == 0
    assert len(list(models.iterdir())) == 1


def test_a_model_that_is_not_there(call: Call) -> None:
    assert call("models", "promote", "zzz").exit_code == 3


@pytest.mark.parametrize("command", ["list", "prune"])
def test_store_that_was_named_must_be_there(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("models", command).exit_code == 0
    done = call("models", command, "--db", "absent.db")
    assert (done.exit_code, done.stdout) == (3, "") and "absent.db" in done.stderr
