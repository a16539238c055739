"""The options that every command shares: which store, which rows, how and where to."""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from tests.cli.conftest import Call
from xetrack import Reader, Tracker
from xetrack.cli.commands import command
from xetrack.cli.options import Output
from xetrack.tables.duckdb import DuckdbTables
from xetrack.tables.sqlite import SqliteTables

ENGINES = ["sqlite", "duckdb"]


def _rows(text: str) -> Any:
    return json.loads(text)


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_are_chosen_sorted_and_cut(call: Call, store: str, engine: str) -> None:
    options = ("--where=epoch < 2", "--sort=-loss,-epoch", "--columns=loss,ok,model", "--n=2", "--json")
    assert _rows(call("head", store, f"--engine={engine}", *options).stdout) == [
        {"loss": 1.0, "ok": False, "model": "resnet"},
        {"loss": 0.5, "ok": True, "model": "resnet"},
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_last_rows_of_an_order_come_in_that_order(call: Call, store: str, engine: str) -> None:
    result = call("tail", store, f"--engine={engine}", "--sort=note,loss", "--columns=loss,note", "--n=2", "--csv")
    # Empty cells come last, whichever end is asked for.
    assert [row["loss"] for row in csv.DictReader(io.StringIO(result.stdout))] == ["0.5", "1.0"]


@pytest.mark.parametrize("engine", ENGINES)
def test_run_and_condition_both_apply(call: Call, store: str, engine: str) -> None:
    result = call("head", store, f"--engine={engine}", "--track-id=calm-otter-1", "--where=loss<=0.5 OR 1=1", "--json")
    assert {row["track_id"] for row in _rows(result.stdout)} == {"calm-otter-1"}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("option", ["--columns=los", "--sort=-los", "--where=los > 1", '--where="los" > 1'])
def test_mistyped_column_exits_3_and_names_the_near_one(call: Call, store: str, engine: str, option: str) -> None:
    result = call("head", store, f"--engine={engine}", option)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "Did you mean: loss?" in result.stderr


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("where", ["loss <", "1) UNION SELECT (1", "1); DROP TABLE events; SELECT (1", "nofunction(1)"])
def test_condition_that_is_none_is_wrong_usage(call: Call, store: str, engine: str, where: str) -> None:
    result = call("head", store, f"--engine={engine}", f"--where={where}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert call("verify", store).exit_code == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_table_has_columns_and_no_rows(call: Call, store: str, engine: str) -> None:
    for run in ("calm-otter-1", "bold-lynx-2"):
        call("delete", store, run)
    result = call("head", store, f"--engine={engine}", "--where=epoch>0", "--columns=loss", "--csv")
    assert (result.exit_code, result.stdout) == (0, "loss\n")


def test_keys_past_the_column_limit_are_chosen_all_the_same(call: Call, db: str) -> None:
    with Tracker(db, track_id="r") as tracker:
        for number in range(2):
            tracker.log({f"m{metric}": number for metric in range(2100)})
    result = call("head", db, "--columns=m2099,m0", "--where=m0 = 1", "--json")
    assert _rows(result.stdout) == [{"m2099": 1, "m0": 1}]
    result = call("head", db, '--where="m2O99" > 0')
    assert (result.exit_code, result.stdout) == (3, "") and ", m2099" in result.stderr


def test_rows_of_any_command_are_chosen_the_same_way(call: Call, store: str) -> None:
    assert call("columns", store, "--where=type = 'int'", "--csv").stdout == "column,type\nepoch,int\n"
    assert call("sql", store, "SELECT epoch FROM events", "--sort=-epoch", "--n=1", "--md").stdout.endswith("| 2 |\n")
    assert call("ls", store, "--sort=-column", "--n=1").stdout == "track_id\n"
    assert call("ls", store, "epoch", "--where=ok", "--sort=-epoch").stdout == "2\n1\n0\n"
    assert call("columns", store, "--where=kind = 1").exit_code == 3
    assert call("columns", store, '--where="kind" > 1').exit_code == 3
    quoted = call("columns", store, """--where="type" = '"bool"' OR "type" = 'int'""", "--csv")
    assert quoted.stdout == "column,type\nepoch,int\n"


@pytest.mark.parametrize(
    "flags", [("--json", "--csv"), ("--csv", "--format=tsv"), ("--md", "--json"), ("--json", "--format=jsonl")]
)
def test_two_formats_are_wrong_usage(call: Call, store: str, flags: tuple[str, str]) -> None:
    result = call("head", store, *flags)
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("flags", [("--json",), ("--csv",), ("--md",)])
def test_short_forms_are_the_formats(call: Call, store: str, flags: tuple[str]) -> None:
    names = {"--json": "json", "--csv": "csv", "--md": "markdown"}
    assert call("head", store, *flags).stdout == call("head", store, f"--format={names[flags[0]]}").stdout


def test_file_takes_its_format_from_its_suffix(call: Call, store: str, tmp_path: Path) -> None:
    for suffix in ("json", "jsonl", "csv", "tsv", "md"):
        out = tmp_path / f"rows.{suffix}"
        result = call("head", store, f"--out={out}")
        assert (result.exit_code, result.stdout) == (0, "")
        form = "markdown" if suffix == "md" else suffix
        assert out.read_text() == call("head", store, f"--format={form}").stdout


def test_file_that_cannot_be_written_is_told_and_nothing_is_left(call: Call, store: str, tmp_path: Path) -> None:
    result = call("head", store, f"--out={tmp_path / 'absent' / 'rows.csv'}")
    assert result.exit_code == 1 and "rows.csv" in result.stderr


def test_failed_command_leaves_the_file_as_it_was(call: Call, store: str, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    out.write_text("old")
    assert call("head", store, "--columns=los", f"--out={out}").exit_code == 3
    assert out.read_text() == "old" and list(tmp_path.glob(".xetrack-*")) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_parquet_keeps_types(call: Call, store: str, tmp_path: Path, engine: str) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "rows.parquet"
    assert call("head", store, f"--engine={engine}", "--columns=epoch,loss,ok,note", f"--out={out}").exit_code == 0
    table = pq.read_table(out)
    assert [str(field.type) for field in table.schema] == ["int64", "double", "bool", "string"]
    assert table.column("epoch").to_pylist() == [0, 1, 2, 0]
    piped = call("head", store, "--format=parquet")
    assert pq.read_table(io.BytesIO(piped.stdout_bytes)).num_rows == 4


def test_environment_names_the_store_and_an_argument_goes_first(
    call: Call, store: str, db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = str(tmp_path / "other")
    with Tracker(other, track_id="r") as tracker:
        tracker.log({"x": 1})
    monkeypatch.setenv("XETRACK_DB", store)
    assert call("ls", "epoch").stdout == "0\n1\n2\n0\n"
    assert call("ls", "--n=1").stdout == "timestamp\n"
    assert call("set", "label", "good", "--track-id", "bold-lynx-2").stdout == "1 row changed\n"
    assert call("set", "--track-id", "bold-lynx-2", "score", "-1").stdout == "1 row changed\n"
    assert call("sql", "SELECT count(*) AS n FROM events", "--csv").stdout == "n\n4\n"
    assert call("delete", "bold-lynx-2").stdout == "1 row deleted\n"
    assert call("ls", other, "x").stdout == "1\n"  # it is there, though its name has no suffix
    absent = call("head", str(tmp_path / "absent.db"))
    assert absent.exit_code == 3 and "absent.db" in absent.stderr


def test_no_store_named_is_wrong_usage(call: Call) -> None:
    result = call("head")
    assert result.exit_code == 2 and "DB" in result.stderr


def test_mistyped_command_is_wrong_usage_with_the_near_one(call: Call) -> None:
    result = call("haed", "track.db")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "head" in result.stderr


def test_bundle_stands_for_its_options_and_arguments_come_first() -> None:
    app = typer.Typer()

    def show(
        output: Output, names: Annotated[list[str], typer.Argument()], loud: Annotated[bool, typer.Option()] = False
    ) -> None:
        typer.echo(f"{names} {loud} {output.n} {output.as_json}")

    command(app)(show)
    result = CliRunner().invoke(app, ["a", "b", "--loud", "--n", "3", "--json"])
    assert result.stdout == "['a', 'b'] True 3 True\n"


@pytest.mark.parametrize("target", ["segment", "store.json", "tables", "tables of duckdb", "asset"])
@pytest.mark.parametrize(
    "command", ["head {db} --out {to}", "sql {db} 'SELECT 1' --out {to}", "assets export {db} net {to} --force"]
)
def test_nothing_is_written_over_a_file_of_a_store(call: Call, tmp_path: Path, command: str, target: str) -> None:
    db = str(tmp_path / "track.db")
    with Tracker(db, track_id="calm-otter-1") as tracker:
        tracker.log({"net": {1, 2}})
    Reader(db, engine="duckdb").to_df()
    call("replay", db, "--engine", "duckdb")
    files = {
        "segment": next(Path(f"{db}.events", "default").glob("*.jsonl")),
        "store.json": Path(f"{db}.events", "store.json"),
        "tables": Path(db),
        "tables of duckdb": tmp_path / "track.duckdb",
        "asset": next(Path(f"{db}.events", "_assets").rglob("*.zst")),
    }
    before = {name: path.read_bytes() for name, path in files.items()}
    done = call(*shlex.split(command.format(db=db, to=files[target])))
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    assert "belongs to a store" in done.stderr
    assert {name: path.read_bytes() for name, path in files.items()} == before


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("head", "DB", "--where", "loss <"), "The argument --where "),
        (("head", "DB", "--out", "DB"), "The argument --out "),
        (("export", "DB", "rows.xyz"), "The argument OUT "),
        (("export", "DB", "rows.csv", "--split", "train=2"), "The argument --split "),
    ],
)
def test_what_was_typed_is_named_as_it_is_typed(call: Call, store: str, args: tuple[str, ...], named: str) -> None:
    done = call(*(store if arg == "DB" else arg for arg in args))
    assert (done.exit_code, done.stdout) == (2, "")
    assert named in done.stderr


@pytest.mark.parametrize("limit", [1, 1000])
@pytest.mark.parametrize("engine", ENGINES)
def test_nan_sorts_like_an_empty_cell_and_is_one_in_sqlite_alone(
    call: Call, db: str, engine: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tables in (SqliteTables, DuckdbTables):
        monkeypatch.setattr(tables, "limit", limit)
    with Tracker(db, track_id="r") as tracker:
        for n, loss in enumerate([math.nan, 1.0, None, 0.5, math.inf, -math.inf]):
            tracker.log({"n": n, "loss": loss})

    def numbers(*options: str) -> list[int]:
        done = call("head", db, f"--engine={engine}", "--json", *options)
        return [row["n"] for row in _rows(done.stdout)]

    assert numbers("--sort=loss") == [5, 3, 1, 4, 0, 2]
    assert numbers("--sort=-loss") == [4, 1, 3, 5, 0, 2]
    assert numbers("--sort=-loss", "--n=2") == [4, 1]
    result = call("tail", db, f"--engine={engine}", "--sort=loss", "--n=3", "--columns=n", "--csv")
    assert result.stdout == "n\n4\n0\n2\n"
    shown = [row["loss"] for row in _rows(call("head", db, f"--engine={engine}", "--json").stdout)]
    assert shown == [None if engine == "sqlite" else "NaN", 1.0, None, 0.5, "Infinity", "-Infinity"]
    assert numbers("--where=loss IS NULL") == ([0, 2] if engine == "sqlite" else [2])
    assert numbers("--where=loss > 0.7") == ([1, 4] if engine == "sqlite" else [0, 1, 4])
