"""`xt cache ls` and `xt cache delete`."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import diskcache
import pytest

from tests.cli.conftest import Call
from xetrack.track.cache import FunctionCache


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two results of one run and one of another."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "cached_jobs", raising=False)
    job = tmp_path / "cached_jobs.py"
    job.write_text("def job(x, y=2):\n    return x * y\n\ndef other():\n    return 1\n")
    module = loaded(job)
    cache = FunctionCache(tmp_path / "cache")
    for func, args, run in ((module.job, [1], "calm-otter-1"), (module.job, ["a" * 50_000], "calm-otter-1")):
        made = cache.call(func, args, {}, {}, run)
        assert made is not None
        made.keep(func(*args))
    made = cache.call(module.other, [], {}, {}, "bold-lynx-2")
    assert made is not None
    made.keep(1)
    cache.close()
    return str(tmp_path / "cache")


def test_results_are_listed_with_their_run(call: Call, folder: str) -> None:
    result = call("cache", "ls", folder, "--json")
    rows = json.loads(result.stdout)
    assert result.exit_code == 0
    assert [(row["function"], row["track_id"], row["stale"]) for row in rows] == [
        ("cached_jobs.job", "calm-otter-1", False),
        ("cached_jobs.job", "calm-otter-1", False),
        ("cached_jobs.other", "bold-lynx-2", False),
    ]
    assert rows[0]["args"] == "x=1, y=2"
    assert rows[0]["key"].startswith("cached_jobs.job:")
    assert rows[0]["size_bytes"] < 1000 < 100_000 < rows[1]["size_bytes"] < 101_000
    assert 0 <= rows[0]["age_s"] < 600


def test_every_format_lists(call: Call, folder: str) -> None:
    assert len(call("cache", "ls", folder).stdout.splitlines()) == 4
    assert call("cache", "ls", folder, "--format", "csv").stdout.startswith("key,function,args,track_id,size_bytes,")
    assert len(call("cache", "ls", folder, "--format", "jsonl").stdout.splitlines()) == 3


def test_results_of_an_edited_function_are_stale(call: Call, folder: str) -> None:
    Path(folder).with_name("cached_jobs.py").write_text(
        "def job(x, y=2):\n    return x + y\n\ndef other():\n    return 1\n"
    )
    rows = json.loads(call("cache", "ls", folder, "--json").stdout)
    assert [row["stale"] for row in rows] == [True, True, False]


def test_a_damaged_entry_is_listed_as_such(call: Call, folder: str) -> None:
    with diskcache.Cache(folder) as disk:
        disk["cached_jobs.job:0"] = b"no entry at all"
    rows = json.loads(call("cache", "ls", folder, "--json").stdout)
    assert [row["function"] for row in rows].count("damaged") == 1


def test_delete_counts_the_results_of_the_run(call: Call, folder: str) -> None:
    result = call("cache", "delete", folder, "calm-otter-1")
    assert (result.exit_code, result.stdout) == (0, "2 entries deleted\n")
    assert [row["track_id"] for row in json.loads(call("cache", "ls", folder, "--json").stdout)] == ["bold-lynx-2"]
    assert json.loads(call("cache", "delete", folder, "bold-lynx-2", "--json").stdout) == {"entries_deleted": 1}
    assert json.loads(call("cache", "ls", folder, "--json").stdout) == []


def test_a_run_without_results_exits_3(call: Call, folder: str) -> None:
    result = call("cache", "delete", folder, "nope")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "nope" in result.stderr
    assert len(json.loads(call("cache", "ls", folder, "--json").stdout)) == 3


@pytest.mark.parametrize("command", [["ls"], ["delete"]])
def test_an_absent_folder_exits_3_and_is_not_made(call: Call, tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "absent"
    result = call("cache", *command, path, *["run-1"] * (command == ["delete"]))
    assert result.exit_code == 3
    assert "absent" in result.stderr
    assert not path.exists()


def test_without_diskcache_the_extra_is_named(call: Call, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diskcache", None)
    result = call("cache", "ls", folder)
    assert result.exit_code == 1
    assert "xetrack[cache]" in result.stderr
