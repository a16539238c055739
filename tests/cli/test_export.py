"""`xt export`."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.conftest import Xt
from xetrack import Reader, Tracker


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_rows_of_a_table_become_a_file_with_a_manifest(call: Call, store: str, here: Path) -> None:
    result = call("export", store, "data.jsonl", "--columns", "model,epoch", "--where", "loss < 0.9")
    assert result.exit_code == 0
    assert result.stdout == "        3 rows  data.jsonl\nmanifest:       data.jsonl.manifest.json\n"
    assert (here / "data.jsonl").read_text().splitlines() == [
        '{"model":"resnet","epoch":1}',
        '{"model":"resnet","epoch":2}',
        '{"model":"bert","epoch":0}',
    ]


def test_run_and_table_are_chosen(call: Call, store: str, here: Path) -> None:
    assert call("export", store, "a.csv", "--track-id=bold-lynx-2", "--columns=epoch,note").exit_code == 0
    with open("a.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["epoch", "note"], ["0", "first | try\nsecond line"]]
    assert call("export", store, "b.csv", "--table=metrics", "--columns=accuracy").exit_code == 0
    assert Path("b.csv").read_bytes() == b"accuracy\r\n0.9\r\n"


def test_report_is_json_with_the_hashes(call: Call, store: str, here: Path) -> None:
    result = call("export", store, "a.jsonl", "--split=0.5,0.5", "--seed=3", "--by=model", "--json")
    report = json.loads(result.stdout)
    assert (report["ok"], report["rows"], report["manifest"]) == (True, 4, "a.jsonl.manifest.json")
    assert [file["path"] for file in report["files"]] == ["a-train.jsonl", "a-test.jsonl"]
    for file in report["files"]:
        assert file["sha256"] == hashlib.sha256(Path(file["path"]).read_bytes()).hexdigest()
    assert sorted(file["rows"] for file in report["files"]) in ([1, 3], [0, 4])


def test_no_row_is_told(call: Call, store: str, here: Path) -> None:
    result = call("export", store, "a.csv", "--where", "loss > 5", "--columns", "loss")
    assert result.exit_code == 0
    assert "empty" in result.stdout
    assert Path("a.csv").read_bytes() == b"loss\r\n"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["a.jsonl", "--columns=los"], 3, "loss"),
        (["a.jsonl", "--where=los < 1"], 3, "loss"),
        (["a.jsonl", "--table=nope"], 3, "metrics"),
        (["a.jsonl", "--track-id=nope"], 3, "nope"),
        (["a.jsonl", "--where=loss <"], 2, "syntax error"),
        (["a.jsonl", "--where=1; DELETE FROM events"], 2, "where"),
        (["a.xlsx"], 2, "parquet"),
        (["a.jsonl", "--format=xlsx"], 2, "parquet"),
        (["a.jsonl", "--split=0.9,0.2"], 2, "1.1"),
        (["a.jsonl", "--seed=x"], 2, "seed"),
        (["a.jsonl", "--by=model"], 2, "split"),
        (["a.jsonl", "--engine=oracle"], 2, "oracle"),
        ([], 2, "OUT"),
        (["--again=nope.manifest.json"], 3, "nope.manifest.json"),
        (["-", "--format=csv"], 2, "xt sql"),
        (["--again=track.db.events/store.json"], 2, "manifest"),
        (["--again=a", "--check=b"], 2, "manifest"),
        (["--again=a", "--where=1"], 2, "manifest"),
        (["a.jsonl", "--check=b"], 2, "OUT"),
    ],
)
def test_what_cannot_be_is_refused(call: Call, store: str, here: Path, args: list[str], code: int, words: str) -> None:
    before = sorted(path.name for path in here.iterdir())
    result = call("export", store, *args)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert sorted(path.name for path in here.iterdir()) == before


def test_store_that_is_not_there_exits_3(call: Call, here: Path) -> None:
    assert call("export", "nope.db", "a.jsonl").exit_code == 3
    assert not list(here.iterdir())


def test_file_that_exists_needs_force(call: Call, store: str, here: Path) -> None:
    Path("a.jsonl").write_text("precious")
    result = call("export", store, "a.jsonl")
    assert (result.exit_code, Path("a.jsonl").read_text()) == (2, "precious")
    assert "force" in result.stderr
    assert call("export", store, "a.jsonl", "--force").exit_code == 0
    assert len(Path("a.jsonl").read_text().splitlines()) == 4


def test_data_set_is_built_again_after_changes(call: Call, store: str, here: Path) -> None:
    call("export", store, "a.csv", "--split=0.5,0.5", "--where=epoch < 2")
    Reader(store).delete_run("calm-otter-1")
    with Tracker(store, track_id="late") as tracker:
        tracker.log({"epoch": "text now"})
    assert call("export", store, "--check=a.csv.manifest.json").exit_code == 0
    result = call("export", store, "--again=a.csv.manifest.json", "b/a.csv")
    assert result.exit_code == 0
    assert result.stdout.endswith("The rows are those of the manifest.\n")
    for name in ("a-train.csv", "a-test.csv", "a.csv.manifest.json"):
        assert Path("b", name).read_bytes() == Path(name).read_bytes()


def test_data_set_that_differs_exits_1_and_says_why(call: Call, store: str, here: Path) -> None:
    call("export", store, "a.csv")
    Path("a.csv").write_bytes(Path("a.csv").read_bytes()[:-3])
    result = call("export", store, "--check=a.csv.manifest.json")
    assert result.exit_code == 1
    assert "differs: a.csv was changed" in result.stdout
    report = json.loads(call("export", store, "--check=a.csv.manifest.json", "--json").stdout)
    assert (report["ok"], report["manifest"]) == (False, None)


def test_engine_of_the_tables_makes_no_difference(call: Call, store: str, here: Path, xt: Xt) -> None:
    call("export", store, "a.jsonl")
    assert xt("export", store, "b.jsonl", XETRACK_ENGINE="duckdb").returncode == 0
    assert xt("export", store, "c.jsonl", "--engine=duckdb").returncode == 0
    assert Path("a.jsonl").read_bytes() == Path("b.jsonl").read_bytes() == Path("c.jsonl").read_bytes()
