"""`xt assets`: what is stored, written out, taken off and cleaned away; nothing is unpickled."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from tests.cli.conftest import Call
from tests.unit.test_asset_surface import Bomb, log_files, stored
from xetrack import Reader, Tracker


@pytest.fixture
def hashes(store: str) -> dict[str, str]:
    """The store with two objects, one of them in two tables."""
    with Tracker(store, track_id="calm-otter-1") as tracker:
        row = tracker.log({"model": {"a", "b"}, "other": {1}})
    with Tracker(store, track_id="calm-otter-1", table="metrics") as tracker:
        tracker.log({"kept": {1}})
    return {key: row[key] for key in ("model", "other")}


def age_all(db: str) -> None:
    for file in stored(db).files():
        os.utime(file.path, (time.time() - 7200,) * 2)


def test_ls_prints_what_is_known_of_each_asset(call: Call, store: str, hashes: dict[str, str]) -> None:
    result = call("assets", "ls", store)
    assert result.exit_code == 0
    header, model, other = (line.split() for line in result.stdout.splitlines())
    assert header == "hash keys size_bytes stored_bytes references first_logged codec name".split()
    assert model[:2] == [hashes["model"], "model"] and other[:3] == [hashes["other"], "kept,", "other"]
    rows = json.loads(call("assets", "ls", store, "--json").stdout)
    assert [(row["hash"], row["keys"], row["references"]) for row in rows] == [
        (hashes["model"], ["model"], 1),
        (hashes["other"], ["kept", "other"], 2),
    ]
    assert all(row["size_bytes"] > 0 and row["stored_bytes"] > 0 and row["name"] is None for row in rows)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "markdown"])
def test_ls_prints_every_format(call: Call, store: str, hashes: dict[str, str], form: str) -> None:
    result = call("assets", "ls", store, "--format", form)
    assert result.exit_code == 0 and all(shown in result.stdout for shown in hashes.values())


def test_ls_of_a_store_without_assets_is_empty(call: Call, store: str) -> None:
    assert json.loads(call("assets", "ls", store, "--json").stdout) == []


@pytest.mark.parametrize("command", [("ls",), ("export", "x", "out"), ("delete", "x"), ("gc",), ("du",)])
def test_store_that_is_not_there_exits_3_and_nothing_is_made(
    call: Call, tmp_path: Path, command: tuple[str, ...]
) -> None:
    name, *rest = command
    result = call("assets", name, tmp_path / "typo.db", *rest)
    assert result.exit_code == 3 and "typo.db" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_export_writes_what_cloudpickle_reads(call: Call, store: str, hashes: dict[str, str], tmp_path: Path) -> None:
    for name in (hashes["model"], "model"):
        out = tmp_path / f"{name}.pkl"
        result = call("assets", "export", store, name, out)
        assert (result.exit_code, result.stderr) == (0, "") and str(out) in result.stdout
        with open(out, "rb") as file:
            assert cloudpickle.load(file) == {"a", "b"}


def test_export_replaces_only_with_force(call: Call, store: str, hashes: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.pkl"
    out.write_text("mine")
    result = call("assets", "export", store, "model", out)
    assert result.exit_code == 2 and "force" in result.stderr and out.read_text() == "mine"
    assert call("assets", "export", store, "model", out, "--force").exit_code == 0
    assert cloudpickle.loads(out.read_bytes()) == {"a", "b"}


def test_export_of_a_file(call: Call, store: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(os.urandom(50_000))
    (row,) = log_files(store, {"weights": path})
    raw = call("assets", "export", store, row["weights"], tmp_path / "raw", "--raw")
    assert raw.exit_code == 0 and (tmp_path / "raw").read_bytes() == path.read_bytes()
    pickled = call("assets", "export", store, "weights", tmp_path / "pickled")
    assert pickled.exit_code == 0 and "weights.pt" in pickled.stderr
    assert cloudpickle.loads((tmp_path / "pickled").read_bytes()) == path.read_bytes()


def test_export_of_what_is_not_there_or_no_file_writes_nothing(
    call: Call, store: str, hashes: dict[str, str], tmp_path: Path
) -> None:
    absent = call("assets", "export", store, "0" * 16, tmp_path / "out")
    assert absent.exit_code == 3 and "0" * 16 in absent.stderr
    no_file = call("assets", "export", store, "model", tmp_path / "out", "--raw")
    assert no_file.exit_code == 2 and "object" in no_file.stderr
    assert not (tmp_path / "out").exists()


def test_damaged_asset_is_not_exported(call: Call, store: str, hashes: dict[str, str], tmp_path: Path) -> None:
    path = stored(store).path(Reader(store).assets.info("model").digest)
    path.write_bytes(path.read_bytes()[::-1])
    result = call("assets", "export", store, "model", tmp_path / "out")
    assert result.exit_code == 1 and str(path) in result.stderr and not (tmp_path / "out").exists()
    assert call("verify", store).exit_code == 1


def test_delete_takes_it_off_the_list(call: Call, store: str, hashes: dict[str, str]) -> None:
    result = call("assets", "delete", store, hashes["model"], "--column", "model")
    assert result.exit_code == 0 and "1 asset removed" in result.stdout
    reader = Reader(store)
    assert list(reader.assets) == [hashes["other"]] and reader.to_df()["model"].tolist().count(hashes["model"]) == 0
    again = call("assets", "delete", store, hashes["model"])
    assert again.exit_code == 3 and "removed on" in again.stderr
    assert call("assets", "delete", store, "nope").exit_code == 3
    kept = json.loads(call("assets", "delete", store, hashes["other"], "--keep-keys", "--json").stdout)
    assert kept["assets_removed"] == 1 and kept["digest"].startswith(hashes["other"])
    assert "removed on" in call("assets", "export", store, "other", "out").stderr


def test_gc_frees_bytes_after_a_dry_run(call: Call, store: str, hashes: dict[str, str]) -> None:
    call("assets", "delete", store, hashes["model"], "--column", "model")
    call("assets", "delete", store, hashes["other"])
    young = call("assets", "gc", store)
    assert young.exit_code == 0
    assert young.stdout == "freed 0 bytes, files: 0\nyounger than an hour and left alone, files: 1\n"
    age_all(store)
    dry = json.loads(call("assets", "gc", store, "--dry-run", "--json").stdout)
    assert (dry["dry_run"], [file["hash"] for file in dry["files"]]) == (True, [hashes["model"]])
    assert Path(dry["files"][0]["path"]).stat().st_size == dry["freed_bytes"]
    assert "would free" in call("assets", "gc", store, "--dry-run").stdout
    unasked = call("assets", "gc", store)
    assert unasked.exit_code == 2 and "--yes" in unasked.stderr and len(stored(store).files()) == 2
    done = call("assets", "gc", store, "--yes")
    assert f"freed {dry['freed_bytes']} bytes, files: 1" in done.stdout and hashes["model"] in done.stdout
    assert not Path(dry["files"][0]["path"]).exists() and len(stored(store).files()) == 1
    assert call("assets", "gc", store).stdout == "freed 0 bytes, files: 0\n"
    assert call("verify", store).exit_code == 0


def test_du_counts_files_by_what_they_are_for(call: Call, store: str, hashes: dict[str, str]) -> None:
    call("assets", "delete", store, "model")
    rows = {row["state"]: row for row in json.loads(call("assets", "du", store, "--json").stdout)}
    assert {state: row["files"] for state, row in rows.items() if row["files"]} == {
        "listed": 1,
        "in use": 1,
        "total": 2,
    }
    assert rows["total"]["stored_bytes"] == sum(file.size_bytes for file in stored(store).files())


def test_no_command_runs_the_code_of_an_object(call: Call, store: str, tmp_path: Path) -> None:
    mark: Any = tmp_path / "mark"
    with Tracker(store) as tracker:
        tracker.log({"x": Bomb(str(mark))})
    out = tmp_path / "out"
    for command in (
        ("assets", "ls", store),
        ("assets", "export", store, "x", out),
        ("assets", "du", store),
        ("assets", "gc", store),
        ("verify", store),
        ("replay", store),
        ("head", store),
        ("sql", store, "SELECT * FROM events"),
        ("assets", "delete", store, "x"),
    ):
        assert call(*command).exit_code == 0, command
    assert out.exists() and not mark.exists()


def test_ls_as_it_was_knows_no_later_asset(call: Call, store: str) -> None:
    with Tracker(store, track_id="calm-otter-1") as tracker:
        tracker.log({"early": frozenset({1})})
    before = Reader(store).history().event_id[0]
    with Tracker(store, track_id="calm-otter-1") as tracker:
        tracker.log({"late": frozenset({2})})
    keys = [row["keys"] for row in json.loads(call("assets", "ls", store, f"--at={before}", "--json").stdout)]
    assert keys == [["early"]]


@pytest.mark.parametrize("verb", [("ls",), ("du",), ("delete", "model")])
def test_table_that_is_not_there_is_told(call: Call, store: str, hashes: dict[str, str], verb: tuple[str, ...]) -> None:
    result = call("assets", verb[0], store, *verb[1:], "--table=metric")
    assert (result.exit_code, result.stdout) == (3, "") and "metrics" in result.stderr
