"""Data sets: what was logged comes out, splits stay, and a manifest builds the same files again."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import hashlib
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow.json
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import strategies
from tests.conftest import ROOT
from xetrack import Reader, Tracker
from xetrack.errors import (
    ColumnNotFound,
    InvalidArgument,
    MissingExtra,
    PathNotFound,
    RunNotFound,
    StorageError,
    StoreNotFound,
    TableNotFound,
)
from xetrack.exchange import exporters
from xetrack.exchange.exporters import check_export, export, export_again
from xetrack.exchange.manifest import ExportReport, read_manifest
from xetrack.exchange.splits import parse_split, part_of
from xetrack.log.codec import jsonl
from xetrack.log.events import PayloadRedacted, RowLogged
from xetrack.log.log import FileLog
from xetrack.tables.sqlite import SqliteTables

UTC = dt.timezone.utc
FORMS = ["jsonl", "csv", "tsv", "parquet", "jsonl.gz", "csv.zst"]


@pytest.fixture
def out(tmp_path: Path) -> Callable[[str], Path]:
    """A path of this name in a folder of its own."""
    return lambda name: tmp_path / "out" / name


Out = Callable[[str], Path]


def log_rows(db: str, *rows: dict[Any, Any], run: str = "calm-otter-1") -> None:
    with Tracker(db, track_id=run) as tracker:
        tracker.log_batch(list(rows))


def lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file, by a reader that takes strict JSON only."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = path.read_bytes().decode("utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.split("\n")[:-1]]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# -- values ------------------------------------------------------------------


def test_values_keep_type_and_nesting_in_json_lines(db: str, out: Out) -> None:
    row = {
        "list": ["a", {"deep": [1, None]}],
        "tuple": (1, 2),
        "looks": "[1, 2]",
        "one": 1,
        "float": 1.0,
        "yes": True,
        "empty": "",
        "none": None,
        "words": 'ünï "quoted"\nnext 🎉',
        "bytes": b"\x00\xff",
        "aware": dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.timezone(dt.timedelta(hours=1))),
        "naive": dt.datetime(2026, 1, 2),
    }
    log_rows(db, row)
    export(db, out("a.jsonl"))
    (found,) = lines(out("a.jsonl"))
    assert found.pop("track_id") == "calm-otter-1"
    assert dt.datetime.fromisoformat(found.pop("timestamp")).utcoffset() is not None
    assert list(found) == list(row)
    assert [type(value) for value in (found["one"], found["float"], found["yes"])] == [int, float, bool]
    assert found == {
        **row,
        "tuple": [1, 2],
        "bytes": base64.b64encode(b"\x00\xff").decode(),
        "aware": "2026-01-02T03:04:05.000006+01:00",
        "naive": "2026-01-02T00:00:00",
    }
    assert "🎉" in out("a.jsonl").read_text("utf-8")


def test_each_value_of_a_widened_column_comes_out_as_it_went_in(db: str, out: Out) -> None:
    given = [1, 2.5, "three", [4], True, None, "[5]"]
    log_rows(db, *({"x": value} for value in given))
    export(db, out("a.jsonl"), columns="x")
    found = [row["x"] for row in lines(out("a.jsonl"))]
    assert found == given
    assert [type(value) for value in found] == [type(value) for value in given]


def test_values_that_were_set_later_are_exported(db: str, out: Out) -> None:
    log_rows(db, {"x": 1}, {"x": 2})
    Reader(db).set_value("tags", ["a", 1])
    Reader(db).set_where("x", {"new": True}, "x", 2)
    export(db, out("a.jsonl"), columns="x,tags")
    assert lines(out("a.jsonl")) == [{"x": 1, "tags": ["a", 1]}, {"x": {"new": True}, "tags": ["a", 1]}]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_readers_take_every_line_with_nan_and_infinities(db: str, out: Out, suffix: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    log_rows(db, {"x": 1.5}, {"x": math.nan}, {"x": math.inf}, {"x": -math.inf}, {"x": None})
    export(db, path := out(f"a.{suffix}"), columns="x")
    readers: dict[str, list[Callable[[], Any]]] = {
        "jsonl": [
            lambda: pd.read_json(path, lines=True),
            lambda: pl.read_ndjson(path),
            lambda: pyarrow.json.read_json(path),
            lambda: duckdb.sql(f"SELECT * FROM read_json('{path}')").fetchall(),
        ],
        "csv": [
            lambda: pd.read_csv(path),
            lambda: pl.read_csv(path),
            lambda: duckdb.sql(f"SELECT * FROM read_csv('{path}')").fetchall(),
        ],
        "parquet": [
            lambda: pd.read_parquet(path),
            lambda: pl.read_parquet(path),
            lambda: duckdb.sql(f"SELECT * FROM '{path}'").fetchall(),
        ],
    }
    for read in readers[suffix]:
        assert len(read()) == 5
    if suffix != "jsonl":
        assert readers[suffix][0]()["x"].tolist()[2:4] == [math.inf, -math.inf]


def test_jsonl_file_reads_back_with_nan_and_big_integers(db: str, out: Out) -> None:
    log_rows(db, {"x": math.nan, "big": 2**70}, {"x": -math.inf, "big": 1})
    export(db, out("a.jsonl"))
    frame = Reader.read_jsonl(out("a.jsonl"))
    assert math.isnan(frame["x"][0]) and frame["x"][1] == -math.inf
    assert frame["big"].tolist() == [2**70, 1]


@pytest.mark.parametrize("offset_s", [0, 3600, -12600])
def test_timestamps_have_the_offset_of_their_writer(
    db: str, out: Out, monkeypatch: pytest.MonkeyPatch, offset_s: int
) -> None:
    log = FileLog(f"{db}.events", facts=lambda: {"utc_offset_s": offset_s})
    _, clock_us, _ = log.writer("default").append_row("run", {"x": 1})
    export(db, out("a.jsonl"))
    (row,) = lines(out("a.jsonl"))
    moment = dt.datetime.fromisoformat(row["timestamp"])
    assert moment.utcoffset() == dt.timedelta(seconds=offset_s)
    assert moment == dt.datetime(1970, 1, 1, tzinfo=UTC) + dt.timedelta(microseconds=clock_us)


def test_csv_is_rfc_4180_and_tells_none_from_empty_text(db: str, out: Out) -> None:
    texts = ["", None, "a,b", 'say "hi"', "two\r\nlines", " padded ", "plain", "tab\there"]
    log_rows(db, *({"n": number, "x": text} for number, text in enumerate(texts)))
    export(db, out("a.csv"), columns="n,x")
    raw = out("a.csv").read_bytes()
    assert raw.startswith(b'n,x\r\n0,""\r\n1,\r\n2,"a,b"\r\n')
    with open(out("a.csv"), newline="", encoding="utf-8") as file:
        assert [row[1] for row in csv.reader(file, strict=True)][1:] == [text or "" for text in texts]


def test_csv_row_without_a_value_is_still_a_row(db: str, out: Out) -> None:
    log_rows(db, {"x": 1}, {"x": None}, {"x": 3})
    export(db, out("a.csv"), columns="x")
    assert len(pd.read_csv(out("a.csv"))) == 3


def test_tsv_has_tabs(db: str, out: Out) -> None:
    log_rows(db, {"a": "x\ty", "b": "1,5"})
    export(db, out("a.tsv"), columns="a,b")
    assert out("a.tsv").read_bytes() == b'a\tb\r\n"x\ty"\t1,5\r\n'


def test_parquet_has_the_types_of_the_table(db: str, out: Out) -> None:
    paris = dt.timezone(dt.timedelta(hours=1))
    row = {
        "yes": True,
        "int": 2**62,
        "float": 0.5,
        "text": "é",
        "bytes": b"\x00",
        "when": dt.datetime(2026, 1, 2, 3, tzinfo=paris),
        "naive": dt.datetime(2026, 1, 2),
        "list": [1, {"a": 2}],
        "big": 2**64,
        "nothing": None,
    }
    log_rows(db, row, {"int": True, "float": math.nan, "big": 1})
    export(db, out("a.parquet"))
    table = pq.read_table(out("a.parquet"))
    assert {field.name: str(field.type) for field in table.schema} == {
        "timestamp": "timestamp[us, tz=UTC]",
        "track_id": "string",
        "yes": "bool",
        "int": "int64",
        "float": "double",
        "text": "string",
        "bytes": "binary",
        "when": "timestamp[us, tz=UTC]",
        "naive": "timestamp[us]",
        "list": "string",
        "big": "string",
        "nothing": "null",
    }
    first, second = table.to_pylist()
    assert first["when"] == row["when"]
    assert (first["naive"], first["bytes"], json.loads(first["list"])) == (row["naive"], b"\x00", row["list"])
    assert (first["big"], second["big"], second["int"], second["yes"]) == (str(2**64), "1", 1, None)
    assert math.isnan(second["float"])


def test_parquet_times_of_which_some_have_an_offset_are_text(db: str, out: Out) -> None:
    log_rows(db, {"t": dt.datetime(2026, 1, 2)}, {"t": dt.datetime(2026, 1, 2, tzinfo=UTC)})
    export(db, out("a.parquet"), columns="t")
    assert pq.read_table(out("a.parquet"))["t"].to_pylist() == ["2026-01-02T00:00:00", "2026-01-02T00:00:00+00:00"]


def test_keys_past_the_column_limit_are_exported(db: str, out: Out) -> None:
    log_rows(db, {f"k{number}": [number] for number in range(2100)}, {"k2099": "last", "k0": 1})
    for form in ("jsonl", "csv", "parquet"):
        export(db, out(f"a.{form}"), where="k0 = 1", columns="k0,k2099", force=True)
    assert lines(out("a.jsonl")) == [{"k0": 1, "k2099": "last"}]
    assert out("a.csv").read_bytes() == b"k0,k2099\r\n1,last\r\n"
    assert pq.read_table(out("a.parquet")).to_pylist() == [{"k0": "1", "k2099": "last"}]
    export(db, out("all.jsonl"))
    assert [len(row) for row in lines(out("all.jsonl"))] == [2102, 2102]


@pytest.mark.parametrize("limit", [1, 1000])
def test_condition_has_the_same_answer_past_the_column_limit(
    db: str, out: Out, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteTables, "limit", limit)
    log_rows(db, *({"x": 0, "n": number, "t": str(number), "b": 2**70 + number} for number in range(1, 4)))
    wheres = {"n > '1'": [2, 3], "t > 1": [2, 3], "\"n\" = '2'": [2], "b > '5'": [], "n > x AND t + n = 4": [2]}
    for where, found in wheres.items():
        export(db, out("a.jsonl"), where=where, columns="n", force=True)
        assert [row["n"] for row in lines(out("a.jsonl"))] == found, where
    with pytest.raises(ColumnNotFound):
        export(db, out("b.jsonl"), where='"nn" > 1')


def test_export_does_not_warn_of_an_overflow_that_is_none(db: str, out: Out, caplog: pytest.LogCaptureFixture) -> None:
    log_rows(db, {"x": 1})
    with caplog.at_level(logging.WARNING, "xetrack"):
        export(db, out("a.jsonl"))
    assert not caplog.records
    logging.getLogger("xetrack").warning("Others are heard.")
    assert caplog.messages == ["Others are heard."]


@given(rows=st.lists(st.dictionaries(strategies.keys, strategies.wires, max_size=3), min_size=1, max_size=4))
@settings(max_examples=25)
def test_any_value_goes_into_any_format(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    writer = FileLog(folder / "track.db.events").writer("default")
    for row in rows:
        writer.append_row("run", row)
    for form in FORMS:
        report = export(folder / "track.db", folder / f"a.{form}")
        assert report.rows == len(rows)
        assert check_export(folder / "track.db", folder / f"a.{form}.manifest.json").ok
    names = [set(row) for row in lines(folder / "a.jsonl")]
    assert all(name - {"_exact"} == names[0] - {"_exact"} for name in names)
    with open(folder / "a.csv", newline="", encoding="utf-8") as file:
        assert [len(row) for row in csv.reader(file, strict=True)] == [len(names[0] - {"_exact"})] * (len(rows) + 1)
    assert pq.read_table(folder / "a.parquet").num_rows == len(rows)


# -- which rows and columns --------------------------------------------------


def test_columns_come_in_the_order_asked_for_by_name_or_key(db: str, out: Out) -> None:
    log_rows(db, {"a b": 1, "Loss": 2, "loss": 3})
    export(db, out("a.jsonl"), columns=["loss", "a b", "track_id"])
    assert out("a.jsonl").read_text() == '{"loss_2":3,"a_b":1,"track_id":"calm-otter-1"}\n'
    export(db, out("b.jsonl"), columns="a_b, a b")
    assert lines(out("b.jsonl")) == [{"a_b": 1}]


@pytest.mark.parametrize("columns", ["x,", "", [], " "])
def test_column_without_a_name_is_refused(db: str, out: Out, columns: Any) -> None:
    log_rows(db, {"x": 1})
    with pytest.raises(InvalidArgument):
        export(db, out("a.jsonl"), columns=columns)


def test_unknown_column_names_near_matches(db: str, out: Out) -> None:
    log_rows(db, {"accuracy": 1})
    quoted = {"where": '"acuracy" > 0'}
    for ask in ({"columns": "acuracy"}, {"where": "acuracy > 0"}, quoted, {"by": "acuracy", "split": "0.5,0.5"}):
        with pytest.raises(ColumnNotFound) as error:
            export(db, out("a.jsonl"), **ask)  # type: ignore[arg-type]
        assert error.value.near == ["accuracy"]
    assert not list(out("a.jsonl").parent.iterdir())


def test_condition_and_run_choose_rows(db: str, out: Out) -> None:
    log_rows(db, *({"x": number, "model": "bert"} for number in range(5)))
    log_rows(db, {"x": 3, "model": "resnet"}, run="bold-lynx-2")
    export(db, out("a.jsonl"), where="x > 2 -- a comment", columns="x,model")
    assert lines(out("a.jsonl")) == [
        {"x": 3, "model": "bert"},
        {"x": 4, "model": "bert"},
        {"x": 3, "model": "resnet"},
    ]
    export(db, out("b.jsonl"), where="x > 2", track_id="bold-lynx-2", columns="x")
    assert lines(out("b.jsonl")) == [{"x": 3}]
    export(db, out("c.jsonl"), where="x = (SELECT max(x) FROM events)", columns="x")
    assert lines(out("c.jsonl")) == [{"x": 4}]


@pytest.mark.parametrize(
    "where",
    [
        "x <",
        "",
        "1; DROP TABLE events",
        "1) UNION SELECT (2",
        "SELECT 1) UNION SELECT (2",
        "1)) UNION SELECT ((2",
        "1 LIMIT 1",
        "1 /*",
        "max(x) > 1",
        "x = ?",
        "x = '\0'",
        "load_extension('evil')",
        "EXISTS (DELETE FROM events)",
        "x IN (SELECT accuracy FROM metrics)",
    ],
)
def test_condition_that_is_none_is_refused_and_nothing_is_written(db: str, out: Out, where: str) -> None:
    log_rows(db, {"x": 1}, {"x": 2})
    before = Reader(db).to_df()
    with pytest.raises(InvalidArgument) as error:
        export(db, out("a.jsonl"), where=where)
    assert error.value.name == "where"
    assert not list(out("a.jsonl").parent.iterdir())
    assert Reader(db).to_df().equals(before)


@pytest.mark.parametrize("form", FORMS)
def test_no_row_makes_a_valid_file(db: str, out: Out, form: str) -> None:
    log_rows(db, {"x": 1})
    report = export(db, path := out(f"a.{form}"), where="x > 1")
    assert (report.rows, report.ok) == (0, True)
    if form == "jsonl":
        assert path.read_bytes() == b""
        assert pd.read_json(path, lines=True).empty
    elif form == "csv":
        assert path.read_bytes() == b"timestamp,track_id,x\r\n"
    elif form == "parquet":
        assert pd.read_parquet(path).columns.tolist() == ["timestamp", "track_id", "x"]
    assert check_export(db, f"{path}.manifest.json").ok


def test_store_without_a_table_makes_a_file_without_rows(db: str, out: Out) -> None:
    FileLog(f"{db}.events").create()
    export(db, out("a.csv"))
    assert out("a.csv").read_bytes() == b"timestamp,track_id\r\n"


def test_what_is_not_there_is_told(db: str, out: Out, tmp_path: Path) -> None:
    log_rows(db, {"x": 1})
    with pytest.raises(TableNotFound):
        export(db, out("a.jsonl"), table="nope")
    with pytest.raises(RunNotFound) as error:
        export(db, out("a.jsonl"), track_id="calm-otter-2")
    assert error.value.near == ["calm-otter-1"]
    for absent in (tmp_path / "nope.db", ":memory:"):
        with pytest.raises(StoreNotFound):
            export(absent, out("a.jsonl"))


# -- where it goes -----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.xlsx", None),
        ("a", None),
        ("a.parquet.gz", None),
        ("a.jsonl", "xlsx"),
        ("a.jsonl", "parquet.gz"),
        ("a.jsonl", ""),
        ("a.jsonl", "x.csv"),
        ("a\0.jsonl", None),
        ("a\udc80.jsonl", None),
    ],
)
def test_unknown_format_is_refused_before_anything_is_made(db: str, out: Out, name: str, form: str | None) -> None:
    log_rows(db, {"x": 1})
    with pytest.raises(InvalidArgument):
        export(db, out(name), form=form)
    assert not out(name).parent.exists()


def test_output_may_have_any_name(db: str, out: Out) -> None:
    log_rows(db, {"x": 1})
    for name in ("values.db", "table.db", "drafts", "ü b.csv"):
        export(db, out(name), form="csv", columns="x", where="x = 1")
        assert check_export(db, out(f"{name}.manifest.json")).ok


def test_suffix_or_form_says_the_format(db: str, out: Out) -> None:
    log_rows(db, {"x": 1})
    for name, form in (("a.NDJSON", None), ("b.data", "jsonl"), ("c.csv", "ndjson")):
        export(db, out(name), form=form, columns="x")
        assert out(name).read_text() == '{"x":1}\n'
    export(db, out("d.data"), form="csv", split="0.5,0.5")
    assert out("d-train.data").exists()


@pytest.mark.parametrize("packed", ["gz", "zst"])
def test_packed_text_is_read_by_pandas(db: str, out: Out, packed: str) -> None:
    log_rows(db, {"x": 1}, {"x": 2})
    export(db, out(f"a.jsonl.{packed}"))
    export(db, out(f"a.csv.{packed}"))
    assert pd.read_json(out(f"a.jsonl.{packed}"), lines=True)["x"].tolist() == [1, 2]
    assert pd.read_csv(out(f"a.csv.{packed}"))["x"].tolist() == [1, 2]


def test_what_exists_is_replaced_by_force_only(db: str, out: Out) -> None:
    log_rows(db, {"x": 1})
    out("a").parent.mkdir()
    for name in ("a.jsonl", "b.jsonl.manifest.json", "c-test.jsonl"):
        out(name).write_text("precious")
    with pytest.raises(InvalidArgument, match=r"a\.jsonl exists"):
        export(db, out("a.jsonl"))
    with pytest.raises(InvalidArgument, match="manifest"):
        export(db, out("b.jsonl"))
    with pytest.raises(InvalidArgument, match="c-test"):
        export(db, out("c.jsonl"), split="0.5,0.5")
    assert set(files(out("a").parent).values()) == {b"precious"}
    export(db, out("a.jsonl"), columns="x", force=True)
    assert lines(out("a.jsonl")) == [{"x": 1}]


def test_store_and_what_is_no_file_are_never_replaced(db: str, out: Out, tmp_path: Path) -> None:
    log_rows(db, {"x": 1})
    out("folder.jsonl").mkdir(parents=True)
    os.symlink(db, tmp_path / "link.csv")
    for target in (db, f"{db}.events/a.csv", f"{db}.events/default/a.csv", out("folder.jsonl"), tmp_path / "link.csv"):
        with pytest.raises(InvalidArgument):
            export(db, target, form="csv", force=True)
    assert len(Reader(db)) == 1


def test_what_a_link_names_is_written(db: str, out: Out, tmp_path: Path) -> None:
    log_rows(db, {"x": 1})
    (tmp_path / "real.jsonl").write_text("old")
    os.symlink(tmp_path / "real.jsonl", tmp_path / "link.jsonl")
    export(db, tmp_path / "link.jsonl", columns="x", force=True)
    assert (tmp_path / "link.jsonl").is_symlink()
    assert lines(tmp_path / "real.jsonl") == [{"x": 1}]


@pytest.mark.parametrize("fails", [1, 2, 3])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_files_come_all_or_none(
    db: str, out: Out, monkeypatch: pytest.MonkeyPatch, fails: int, error: BaseException
) -> None:
    log_rows(db, *({"x": number} for number in range(20)))
    export(db, out("a.jsonl"), split="0.5,0.5", where="x < 10")
    export(db, out("b.jsonl"))
    before = files(out("a").parent)
    renames = iter(range(1, 100))
    replace = os.replace

    def failing(source: Any, target: Any) -> None:
        if next(renames) == fails:
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    for name, force in (("a.jsonl", True), ("c.jsonl", False)):
        with pytest.raises(StorageError if isinstance(error, OSError) else KeyboardInterrupt):
            export(db, out(name), split="0.5,0.5", force=force)
        assert files(out("a").parent) == before
        renames = iter(range(1, 100))


def test_export_interrupted_among_the_rows_leaves_nothing(db: str, out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    log_rows(db, {"x": 1}, {"x": 2})
    calls = iter([b"{}"])
    monkeypatch.setattr(exporters, "as_json", lambda row: next(calls, None) or interrupt())

    def interrupt() -> bytes:
        raise KeyboardInterrupt

    for form in ("jsonl", "csv.gz", "parquet"):
        with pytest.raises(KeyboardInterrupt):
            export(db, out(f"a.{form}"))
        assert not list(out("a").parent.iterdir())
        calls = iter([b"{}"])


def test_full_disk_is_told_and_leaves_nothing(db: str, tmp_path: Path) -> None:
    log_rows(db, *({f"k{number}": "x" * 50} for number in range(150)))
    code = (
        "import resource, signal, sys\n"
        "from xetrack.errors import StorageError\n"
        "from xetrack.exchange.exporters import export\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "try:\n    export(sys.argv[1], sys.argv[2])\n"
        "except StorageError as error:\n    print(error)\n"
    )
    (tmp_path / "out").mkdir()
    run = subprocess.run(
        [sys.executable, "-c", code, db, str(tmp_path / "out" / "a.jsonl")],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "a.jsonl" in run.stdout, run.stderr
    assert not list((tmp_path / "out").iterdir())


def test_parquet_without_pyarrow_names_the_extra_before_anything_is_made(
    db: str, out: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_rows(db, {"x": 1})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra) as error:
        export(db, out("a.parquet"))
    assert error.value.extra == "arrow"
    assert error.value.__suppress_context__
    assert not out("a").parent.exists()


# -- splits ------------------------------------------------------------------


def parts(report: ExportReport) -> dict[str, set[int]]:
    return {
        str(file.part): {row["n"] for row in lines(path)} for path, file in zip(report.paths, report.files, strict=True)
    }


def test_split_parts_are_disjoint_complete_and_about_their_share(db: str, out: Out) -> None:
    log_rows(db, *({"n": number} for number in range(2000)))
    found = parts(export(db, out("a.jsonl"), split="0.8,0.1,0.1", seed=3))
    assert list(found) == ["train", "val", "test"]
    assert out("a-val.jsonl").exists() and not out("a.jsonl").exists()
    assert sorted(number for part in found.values() for number in part) == list(range(2000))
    assert 1500 < len(found["train"]) < 1700


def test_row_stays_in_its_part_whatever_happens(db: str, out: Out) -> None:
    log_rows(db, *({"n": number} for number in range(100)))
    before = parts(export(db, out("a.jsonl"), split="0.7,0.3", seed=1))
    log_rows(db, *({"n": 100 + number, "new": "text"} for number in range(100)), run="new")
    Reader(db).set_value("label", "x", track_id="calm-otter-1")
    after = parts(export(db, out("b.jsonl"), split="0.7,0.3", seed=1, where="n % 3 = 0 OR n >= 100"))
    assert {name: {n for n in part if n < 100} for name, part in after.items()} == {
        name: {n for n in part if n % 3 == 0} for name, part in before.items()
    }
    assert parts(export(db, out("c.jsonl"), split="0.7,0.3", seed=2)) != before


def test_larger_share_keeps_the_rows_of_a_smaller_one(db: str, out: Out) -> None:
    log_rows(db, *({"n": number} for number in range(200)))
    small = parts(export(db, out("a.jsonl"), split="0.5,0.5"))["train"]
    assert small < parts(export(db, out("b.jsonl"), split="0.6,0.4"))["train"]


def test_rows_equal_in_a_column_stay_together(db: str, out: Out) -> None:
    subjects: list[Any] = [1, 1.0, True, None, "ann", ["a"], 2, "bob", b"x", 3.5, "cem", 7]
    log_rows(db, *({"n": number, "who": subjects[number % len(subjects)]} for number in range(240)))
    for seed in range(6):
        found = parts(export(db, out("a.jsonl"), split="0.5,0.5", by="who", seed=seed, force=True))
        for number, subject in enumerate(subjects):
            same = {n for n in range(240) if n % len(subjects) == number}
            assert any(same <= part for part in found.values()), subject
        assert any({0, 1, 2} <= part for part in found.values())
        assert all(found.values())
    runs = parts(export(db, out("b.jsonl"), split="0.5,0.5", by="track_id"))
    assert sorted(map(len, runs.values())) == [0, 240]


def test_part_is_what_the_page_says() -> None:
    digest = hashlib.blake2b(b"7:k4w7aq2mzb3xn5ty-12", digest_size=8).digest()
    fraction = int.from_bytes(digest, "big") / 2**64
    for share in (0.1, 0.5, 0.9):
        expected = "train" if fraction < share else "test"
        assert part_of({"train": share, "test": 1 - share}, 7, "k4w7aq2mzb3xn5ty-12") == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0.9,0.1", {"train": 0.9, "test": 0.1}),
        ([0.8, 0.1, 0.1], {"train": 0.8, "val": 0.1, "test": 0.1}),
        ("0.25,0.25,0.25,0.25", {"1": 0.25, "2": 0.25, "3": 0.25, "4": 0.25}),
        (" a = 0.3, b-2 = 0.7", {"a": 0.3, "b-2": 0.7}),
        ({"x": 0.5, "y": 0.5}, {"x": 0.5, "y": 0.5}),
        ([0.1] * 10, {str(number): 0.1 for number in range(1, 11)}),
        (None, None),
    ],
)
def test_split_is_read(given: Any, expected: dict[str, float] | None) -> None:
    assert parse_split(given) == expected


@pytest.mark.parametrize(
    "given",
    ["0.9,0.2", "1.0", "", "0.9", "0.5,x", "nan,0.5", "inf,0.5", "1,0", "-0.5,1.5", "a=0.5,0.5", "a=0.5,A=0.5",
     "../a=0.5,b=0.5", "a/b=0.5,c=0.5", "0.9,0.1000001", [0.5], {"": 0.5, "b": 0.5}, [None, 0.5]],
)  # fmt: skip
def test_split_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_split(given)
    assert error.value.name == "split"


@pytest.mark.parametrize("seed", ["1", 1.5, None, 2**63])
def test_seed_that_is_no_whole_number_is_refused(db: str, out: Out, seed: Any) -> None:
    log_rows(db, {"x": 1})
    with pytest.raises(InvalidArgument) as error:
        export(db, out("a.jsonl"), split="0.5,0.5", seed=seed)
    assert error.value.name == "seed"


def test_column_to_split_by_needs_a_split(db: str, out: Out) -> None:
    log_rows(db, {"x": 1})
    with pytest.raises(InvalidArgument):
        export(db, out("a.jsonl"), by="x")


# -- built again -------------------------------------------------------------


@pytest.fixture
def changed(db: str, out: Out) -> Iterator[Callable[[], None]]:
    """A store with 40 rows; a call logs more, sets cells and deletes all rows that were there."""
    log_rows(db, *({"n": number, "loss": 1 / (number + 1), "tags": [number]} for number in range(40)))

    def change() -> None:
        log_rows(db, *({"n": f"text {number}", "new": number} for number in range(10)), run="later")
        reader = Reader(db)
        reader.set_value("loss", "gone", track_id="calm-otter-1")
        reader.set_where("tags", None, "new", 3)
        reader.delete_run("calm-otter-1")

    yield change


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "ask",
    [
        {},
        {"where": "n % 2 = 0 AND loss < 0.5", "columns": "n,tags"},
        {"split": "a=0.5,b=0.5", "seed": 9},
        {"split": "0.5,0.5", "by": "n", "track_id": "calm-otter-1"},
    ],
)
def test_same_files_are_built_whatever_happened_since(
    db: str, out: Out, changed: Callable[[], None], form: str, ask: dict[str, Any]
) -> None:
    first = export(db, out(f"a.{form}"), **ask)
    changed()
    assert check_export(db, out(f"a.{form}.manifest.json")).ok
    again = out("again/x").parent / f"a.{form}"
    report = export_again(db, out(f"a.{form}.manifest.json"), again)
    assert (report.ok, report.notes, report.files) == (True, [], first.files)
    assert files(again.parent) == files(out("a").parent)


def test_all_parts_of_a_data_set_can_be_built_at_their_own_place(
    db: str, out: Out, changed: Callable[[], None]
) -> None:
    export(db, out("a.jsonl"), split="0.5,0.5")
    before = files(out("a").parent)
    changed()
    with pytest.raises(InvalidArgument, match="exists"):
        export_again(db, out("a.jsonl.manifest.json"))
    out("a-test.jsonl").unlink()
    report = export_again(db, out("a.jsonl.manifest.json"), force=True)
    assert report.ok
    assert files(out("a").parent) == before


def test_manifest_says_what_was_asked_and_what_came_out(db: str, out: Out, changed: Callable[[], None]) -> None:
    report = export(db, out("a.csv"), where="n < 3", columns="n", split={"x": 0.5, "y": 0.5}, seed=4)
    assert report.manifest == out("a.csv.manifest.json")
    made = json.loads(report.manifest.read_bytes())
    assert made["query"] == {
        "table": "default",
        "columns": ["n"],
        "where": "n < 3",
        "track_id": None,
        "split": {"x": 0.5, "y": 0.5},
        "by": None,
        "seed": 4,
        "format": "csv",
    }
    (segment,) = FileLog(f"{db}.events").segments("default")
    assert made["position"] == {segment.name.removesuffix(".jsonl"): "0-41"}  # its header, 40 rows, its end
    assert [file["name"] for file in made["files"]] == ["a-x.csv", "a-y.csv"]
    assert sum(file["rows"] for file in made["files"]) == report.rows == 3
    for file in made["files"]:
        raw = out(file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(raw), hashlib.sha256(raw).hexdigest())


def test_hash_of_the_rows_is_the_same_in_any_format(db: str, out: Out, changed: Callable[[], None]) -> None:
    found = {export(db, out(f"a.{form}")).files[0].rows_sha256 for form in FORMS}
    assert found == {hashlib.sha256(out("a.jsonl").read_bytes()).hexdigest()}


def test_file_that_was_changed_or_is_gone_is_found(db: str, out: Out, changed: Callable[[], None]) -> None:
    export(db, out("a.jsonl"), split="0.5,0.5")
    out("a-train.jsonl").write_bytes(out("a-train.jsonl").read_bytes() + b"{}\n")
    out("a-test.jsonl").unlink()
    report = check_export(db, out("a.jsonl.manifest.json"))
    assert not report.ok
    assert report.differences == ["a-train.jsonl was changed after it was exported"]
    assert report.notes == ["a-test.jsonl is not there"]


def test_redacted_rows_stay_away_and_the_report_says_so(db: str, out: Out) -> None:
    log_rows(db, *({"n": number} for number in range(5)))
    export(db, out("a.jsonl"))
    log = FileLog(f"{db}.events")
    (segment,) = log.segments("default")
    writer = segment.name.removesuffix(".jsonl")
    log.writer("default").append(PayloadRedacted, events={writer: "2-3"}, reason="names a patient")
    report = export_again(db, out("a.jsonl.manifest.json"), out("b.jsonl"))
    assert report.differences == ["a.jsonl: 5 rows then, 3 now"]
    assert report.notes == ["2 events were redacted since"]
    assert report.manifest is None and not out("b.jsonl").exists()
    export_again(db, out("a.jsonl.manifest.json"), out("b.jsonl"), force=True)
    assert [row["n"] for row in lines(out("b.jsonl"))] == [0, 3, 4]


def test_events_that_are_gone_are_told(db: str, out: Out) -> None:
    log_rows(db, {"n": 1})
    log_rows(db, {"n": 2})
    export(db, out("a.jsonl"))
    log = FileLog(f"{db}.events")
    os.unlink(log.folder("default") / log.segments("default")[0].name)
    report = check_export(db, out("a.jsonl.manifest.json"))
    assert report.differences == ["a.jsonl: 2 rows then, 1 now"]
    assert report.notes == ["3 of 6 events are not in the log any more"]


def test_damaged_line_is_left_out_and_told(db: str, out: Out) -> None:
    log_rows(db, {"n": 1}, {"n": 2})
    log = FileLog(f"{db}.events")
    path = log.folder("default") / log.segments("default")[0].name
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":7'))
    report = export(db, out("a.jsonl"), columns="n")
    assert lines(out("a.jsonl")) == [{"n": 2}]
    assert report.notes == ["1 damaged lines of the log were left out; `xt verify` names them"]


def test_same_rows_in_other_bytes_are_a_note(db: str, out: Out, changed: Callable[[], None]) -> None:
    export(db, out("a.parquet"))
    manifest = out("a.parquet.manifest.json")
    made = json.loads(manifest.read_bytes())
    made["files"][0]["sha256"], made["written_by"] = "0" * 64, "pyarrow 1.0.0"
    manifest.write_text(json.dumps(made))
    report = export_again(db, manifest, out("b.parquet"))
    assert report.ok and out("b.parquet").exists()
    assert "pyarrow 1.0.0 then" in report.notes[0]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../evil.jsonl"},
        {"name": ""},
        {"name": ".."},
        {"files": []},
        {"manifest": 2},
        {"manifest": "x"},
        {"position": 3},
    ],
)
def test_manifest_that_is_none_is_refused(db: str, out: Out, change: dict[str, Any]) -> None:
    log_rows(db, {"n": 1})
    export(db, out("a.jsonl"))
    manifest = out("a.jsonl.manifest.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_bytes()), **change}))
    with pytest.raises(InvalidArgument) as error:
        export_again(db, manifest, force=True)
    assert error.value.name == "manifest"


def test_manifest_of_another_format_than_the_name_says_is_refused(db: str, out: Out) -> None:
    log_rows(db, {"n": 1})
    export(db, out("a.jsonl"))
    with pytest.raises(InvalidArgument):
        export_again(db, out("a.jsonl.manifest.json"), out("b.csv"))
    with pytest.raises(PathNotFound):
        export_again(db, out("nope.manifest.json"))
    export_again(db, out("a.jsonl.manifest.json"), out("b.data"))
    assert out("b.data").read_bytes() == out("a.jsonl").read_bytes()


def test_export_reads_the_log_alone(db: str, out: Out) -> None:
    log_rows(db, {"n": 1})
    if os.path.exists(db):
        os.unlink(db)
    export(db, out("a.jsonl"), where="n = 1")
    assert not os.path.exists(db)


def test_rows_of_several_writers_come_in_one_order_with_imported_times(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "track.db.events")
    log.create()
    folder = log.folder("default")
    folder.mkdir(parents=True)
    times = {("a", 0): "2024-05-01 10:00:00.000000", ("b", 1): "somewhen"}
    for writer, clocks in (("a", (10, 30)), ("b", (20, 40))):
        rows = [
            RowLogged(
                id=f"{writer * 16}-{seq}", clock=clock, run="r", data={"n": clock}, timestamp=times.get((writer, seq))
            )
            for seq, clock in enumerate(clocks)
        ]
        (folder / f"{writer * 16}.jsonl").write_bytes(b"".join(map(jsonl.encode, rows)))
    export(tmp_path / "track.db", tmp_path / "a.jsonl", columns="timestamp,n")
    assert lines(tmp_path / "a.jsonl") == [
        {"timestamp": "2024-05-01T10:00:00.000000", "n": 10},
        {"timestamp": "1970-01-01T00:00:00.000020+00:00", "n": 20},  # its header is lost, its offset with it
        {"timestamp": "1970-01-01T00:00:00.000030+00:00", "n": 30},
        {"timestamp": "somewhen", "n": 40},
    ]
    export(tmp_path / "track.db", tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet")["timestamp"][3].as_py() == "somewhen"


def test_manifest_with_a_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.manifest.json"
    path.write_bytes(b'{"manifest":1,"name":"\xff"}')
    with pytest.raises(InvalidArgument, match="is no manifest of an export"):
        read_manifest(path)
