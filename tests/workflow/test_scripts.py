"""The programs of ``scripts/`` on a real benchmark, in a repository of its own: tags, work trees, a promoted model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

SCRIPTS = ROOT / "scripts"
BENCHMARK = """
import sys, cloudpickle
from pathlib import Path
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from xetrack import Tracker

c = float(sys.argv[1])
x, y = load_digits(return_X_y=True)
x, test_x, y, test_y = train_test_split(x[:300], y[:300], test_size=0.3, random_state=0)
model = LogisticRegression(C=c, max_iter=200).fit(x, y)
predictions = Tracker("bench.db", table="predictions", params={"model": "logistic", "c": c}, cache="cache")
def predict(index):
    return {"pred": int(model.predict(test_x[index:index + 1])[0]), "label": int(test_y[index]), "item_id": index}
for index in range(20):
    predictions.track(predict, args=[index])
predictions.close()
with Tracker("bench.db", table="metrics", params={"model": "logistic", "c": c}) as metrics:
    metrics.log({"accuracy": float(model.score(test_x, test_y))})
Path("models/candidates").mkdir(parents=True, exist_ok=True)
Path(f"models/candidates/logistic-{c}.pkl").write_bytes(cloudpickle.dumps(model))
"""

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a benchmark of scikit-learn's digits, tagged."""
    folder = tmp_path_factory.mktemp("work") / "bench"
    folder.mkdir()
    _git(folder, "init", "-q", "-b", "main")
    (folder / "benchmark.py").write_text(BENCHMARK)
    (folder / ".gitignore").write_text("*.db\n*.db-wal\n*.db-shm\ncache/\n")
    for version, c in (("e0.1.0", "0.001"), ("e0.2.0", "1.0")):
        subprocess.run([sys.executable, "benchmark.py", c], cwd=folder, check=True, env=_environ())
        _git(folder, "add", "-A")
        _git(folder, "commit", "-q", "-m", f"c={c}")
        _script(folder, "version_tag.py", "--version", version, "--db", "bench.db", "--table", "metrics")
    return folder


def _environ() -> dict[str, str]:
    names = {"GIT_AUTHOR_NAME": "ada", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "ada"}
    return {**os.environ, **names, "GIT_COMMITTER_EMAIL": "a@b.c", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def _git(folder: Path, *command: str) -> str:
    done = subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True, text=True, env=_environ())
    return done.stdout


def _script(folder: Path, name: str, *args: str, status: int = 0) -> Any:
    command = [sys.executable, str(SCRIPTS / name), *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=_environ())
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout) if "--json" in args and status in (0, 1) else done.stdout


def test_tags_say_parameters_and_metrics(repo: Path) -> None:
    listed = _script(repo, "experiment_explorer.py", "list", "--json")
    assert [version["name"] for version in listed] == ["e0.1.0", "e0.2.0"]
    assert {"model", "c", "accuracy"} <= listed[0]["facts"].keys()
    accuracies = [float(version["facts"]["accuracy"]) for version in listed]
    best = _script(repo, "experiment_explorer.py", "list", "--sort", "accuracy", "--json")
    assert float(best[0]["facts"]["accuracy"]) == max(accuracies)
    assert "model=logistic | c=0.001 | accuracy=" in _git(repo, "tag", "-l", "-n9")
    assert _script(repo, "version_tag.py", "--suggest").strip() == "e0.2.1"


def test_a_dry_run_tags_nothing_and_a_taken_version_is_refused(repo: Path) -> None:
    out = _script(repo, "version_tag.py", "--version", "e0.3.0", "--db", "bench.db", "--table", "metrics", "--dry-run")
    assert out.startswith("e0.3.0  model=logistic | c=1.0")
    assert "e0.3.0" not in _git(repo, "tag")
    _script(repo, "version_tag.py", "--version", "e0.2.0", status=2)
    _script(repo, "version_tag.py", "--show", "--version", "e9.9.9", status=3)
    _script(repo, "version_tag.py", "--show", "e9.9.9", status=3)


def test_past_versions_are_shown_and_compared_from_their_commits(repo: Path) -> None:
    shown = _script(
        repo,
        "experiment_explorer.py",
        "show",
        "--version",
        "e0.1.0",
        "--db",
        "bench.db",
        "--table",
        "metrics",
        "--json",
    )
    assert shown["summary"]["rows"] == 1
    both = _script(
        repo,
        *("experiment_explorer.py", "diff", "--v1", "e0.1.0", "--v2", "e0.2.0"),
        *("--db", "bench.db", "--table", "metrics", "--json"),
    )
    assert both["rows"] == {"v1": 1, "v2": 2}
    assert both["facts"]["c"] == {"v1": "0.001", "v2": "1.0"}
    assert both["metrics"]["accuracy"]["v1"] != both["metrics"]["accuracy"]["v2"]


@pytest.mark.parametrize("strategy", ["auto", "worktree"])
def test_a_model_of_a_past_version_comes_back(repo: Path, tmp_path: Path, strategy: str) -> None:
    import cloudpickle

    output = tmp_path / "old.pkl"
    _script(
        repo,
        *("experiment_explorer.py", "get", "--version", "e0.1.0", "--artifact", "models/candidates/logistic-0.001.pkl"),
        *("--output", str(output), "--strategy", strategy),
    )
    assert cloudpickle.loads(output.read_bytes()).C == 0.001
    _script(
        repo,
        "experiment_explorer.py",
        "get",
        "--version",
        "e0.1.0",
        "--artifact",
        "models/candidates/nope.pkl",
        status=3,
    )
    assert len(_git(repo, "worktree", "list").splitlines()) == 1


def test_worktrees_of_versions_come_and_go(repo: Path) -> None:
    (made,) = _script(repo, "experiment_explorer.py", "checkout", "--version", "e0.1.0", "--json")
    tree = Path(made["path"])
    assert tree.name == "bench-e0.1.0"
    assert (tree / "benchmark.py").exists()
    assert len(_script(repo, "experiment_explorer.py", "worktrees", "--json")) == 2
    (gone,) = _script(repo, "experiment_explorer.py", "cleanup", "--json")
    assert (gone["path"], tree.exists()) == (made["path"], False)


def test_a_worktree_for_a_parallel_experiment_logs_to_its_own_store(repo: Path) -> None:
    environ = {**_environ(), "XT": f"{sys.executable} -m xetrack"}
    wrapper = repo.parent / "xt"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xetrack "$@"\n')
    wrapper.chmod(0o755)
    environ["XT"] = str(wrapper)
    subprocess.run(["sh", str(SCRIPTS / "setup_worktree.sh"), "wide"], cwd=repo, check=True, env=environ)
    tree = repo.parent / "bench-wide"
    assert _git(tree, "branch", "--show-current").strip() == "wide"
    subprocess.run([sys.executable, "benchmark.py", "10.0"], cwd=tree, check=True, env=_environ())
    _git(tree, "add", "-A")
    _git(tree, "commit", "-q", "-m", "c=10")
    _git(repo, "merge", "-q", "--no-edit", "wide")
    facts = _script(repo, "export_summary.py", "bench.db", "metrics", "--json")
    assert (facts["rows"], facts["parameters"]["c"]) == (3, [0.001, 1.0, 10.0])
    _git(repo, "worktree", "remove", "--force", str(tree))


def test_a_benchmark_is_validated_and_its_cache_counted(repo: Path) -> None:
    report = _script(repo, "validate_benchmark.py", "bench.db", "predictions", "--json")
    assert report["ok"], report
    hits = _script(repo, "analyze_cache_hits.py", "bench.db", "predictions", "--json")
    assert hits["calls"] == hits["misses"] + hits["hits"] >= 40
    page = _script(repo, "export_summary.py", "bench.db", "metrics")
    assert "## Parameters" in page
    assert "| accuracy |" in page
    _script(repo, "validate_benchmark.py", "nope.db", status=3)
    _script(repo, "analyze_cache_hits.py", "bench.db", "metrics", status=3)


def test_results_of_experiments_come_together(tmp_path: Path) -> None:
    import pandas as pd

    from xetrack import Reader, Tracker

    for name, rows in (("base", {1: 0.5, 2: 0.6}), ("one", {2: 0.7}), ("two", {3: 0.8})):
        with Tracker(str(tmp_path / f"{name}.db"), track_id=name) as tracker:
            tracker.log_batch([{"item": item, "score": score} for item, score in rows.items()])
        frame = pd.DataFrame({"item": list(rows), "score": list(rows.values())})
        frame.to_parquet(tmp_path / f"{name}.parquet")
    script, dbs = "merge_artifacts.py", ("--base-db", "base.db", "--exp-db", "one.db", "two.db")
    _script(tmp_path, script, "--strategy", "merge", *dbs, "--output-db", "all.db")
    _script(tmp_path, script, "--strategy", "rebase", *dbs, "--output-db", "new.db", "--key-columns", "item")
    assert len(Reader(str(tmp_path / "all.db"))) == 4
    assert len(Reader(str(tmp_path / "base.db"))) == 2
    joined = Reader(str(tmp_path / "new.db")).sql("SELECT item, score FROM events ORDER BY item")
    assert joined.values.tolist() == [[1, 0.5], [2, 0.7], [3, 0.8]]
    data = ("--base-data", "base.parquet", "--exp-data", "one.parquet", "two.parquet", "--output-data", "out.parquet")
    _script(tmp_path, script, *data)
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == 4
    _script(tmp_path, script, *data, "--data-strategy", "rebase", "--key-columns", "item", "--json")
    assert sorted(pd.read_parquet(tmp_path / "out.parquet")["score"]) == [0.5, 0.7, 0.8]
    _script(tmp_path, script, *dbs, "--strategy", "rebase", status=2)
    _script(tmp_path, script, "--base-db", "nope.db", "--exp-db", "one.db", "--output-db", "x.db", status=3)


def test_a_model_is_promoted_and_the_others_are_pruned(repo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(repo / "models", folder)
    (tmp_path / "models" / "candidates" / "extra.pkl").write_bytes(b"x")
    _script(tmp_path, "model_manager.py", "promote", "logistic-1.0", "--metric", "accuracy", "--score", "0.9")
    listed = _script(tmp_path, "model_manager.py", "list", "--json")
    assert [model["place"] for model in listed if model["name"] == "logistic-1.0.pkl"] == ["production"]
    _script(tmp_path, "model_manager.py", "prune", "--keep", "1", status=2)
    assert len(_script(tmp_path, "model_manager.py", "prune", "--keep", "0", "--dry-run", "--json")) >= 2
    _script(tmp_path, "model_manager.py", "prune", "--keep", "1", "--yes")
    assert len(list((folder / "candidates").iterdir())) == 1
    assert (folder / "production" / "logistic-1.0.pkl").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("validate_benchmark.py", "analyze_cache_hits.py", "export_summary.py"),
        *("version_tag.py", "experiment_explorer.py", "model_manager.py", "merge_artifacts.py"),
    ],
)
def test_every_script_has_help(tmp_path: Path, name: str) -> None:
    assert "Usage" in _script(tmp_path, name, "--help")
