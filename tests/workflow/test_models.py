"""Models in production and candidates: promoted, set back, pruned, and remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from xetrack.errors import InvalidArgument, PathNotFound
from xetrack.workflow.models import Models


@pytest.fixture
def models(tmp_path: Path) -> Models:
    folder = tmp_path / "models" / "candidates"
    folder.mkdir(parents=True)
    for name in ("a.bin", "b.bin", "c.bin"):
        (folder / name).write_bytes(name.encode())
    return Models(tmp_path / "models", str(tmp_path / "track.db"))


def _places(models: Models) -> dict[str, str]:
    return {model.name: model.place for model in models.all()}


def test_a_promotion_sets_the_old_model_back(models: Models) -> None:
    models.promote("a", metric="accuracy", score=0.8, version="e0.1.0")
    assert _places(models) == {"a.bin": "production", "b.bin": "candidates", "c.bin": "candidates"}
    promoted = models.promote("b.bin", metric="accuracy", score=0.9)
    assert (promoted.name, promoted.score) == ("b.bin", 0.9)
    assert _places(models) == {"b.bin": "production", "a.bin": "candidates", "c.bin": "candidates"}
    old = next(model for model in models.all() if model.name == "a.bin")
    assert (old.metric, old.score, old.version) == ("accuracy", 0.8, "e0.1.0")


def test_a_new_model_of_the_old_ones_name_overwrites_nothing(models: Models, tmp_path: Path) -> None:
    for content in (b"one", b"two", b"three"):
        (tmp_path / "model.bin").write_bytes(content)
        models.promote(str(tmp_path / "model.bin"))
    contents = {Path(model.path).read_bytes() for model in models.all()}
    assert {b"one", b"two", b"three"} <= contents
    assert [model.name for model in models.all() if model.place == "production"] == ["model.bin"]


def test_prune_keeps_the_best_by_score(models: Models) -> None:
    for name, loss in (("a", 0.3), ("b", 0.1), ("c", 0.2)):
        models.promote(name, metric="loss", score=loss)
    models.promote("a", metric="loss", score=0.3)
    assert [model.name for model in models.prunable(1)] == ["c.bin"]
    models.prune(models.prunable(1))
    assert _places(models) == {"a.bin": "production", "b.bin": "candidates"}
    assert [row["action"] for row in models.history()][-1] == "pruned"


def test_what_is_not_there_or_promoted_already_is_refused(models: Models) -> None:
    with pytest.raises(PathNotFound, match="a.bin"):
        models.promote("aa.bin")
    models.promote("a")
    with pytest.raises(InvalidArgument, match="already"):
        models.promote("a.bin")
    with pytest.raises(InvalidArgument):
        models.prunable(-1)
