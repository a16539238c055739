"""Rows that something else wrote: kept in order and type, added once, refused by line."""

from __future__ import annotations

import gzip
import math
import shutil
from pathlib import Path

import pytest
import zstandard

from tests.conftest import ROOT
from xetrack import Reader, Tracker, import_data, merge
from xetrack.errors import InvalidArgument, InvalidKey, PathNotFound, TablesWithoutLog


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_of_csv_get_the_type_that_all_their_cells_have(tmp_path: Path) -> None:
    source = _write(
        tmp_path / "runs.csv",
        "track_id,epoch,loss,ok,zip,name,nothing,big\n"
        "b,1,0.5,true,007,x,,9223372036854775808\n"
        "a,2,NaN,false,10,,,1\n"
        "a,3,-Infinity,true,11,é,,2\n",
    )
    import_data(source, tmp_path / "t.db")
    frame = Reader(tmp_path / "t.db").to_df()
    assert frame["track_id"].tolist() == ["b", "a", "a"]
    assert frame["epoch"].tolist() == [1, 2, 3]
    assert frame["ok"].tolist() == [True, False, True]
    assert frame["zip"].tolist() == ["007", "10", "11"]
    assert frame["nothing"].isna().all()
    assert frame["big"].tolist() == [2**63, 1, 2]
    assert frame["name"].dropna().tolist() == ["x", "é"]
    duck = Reader(tmp_path / "t.db", engine="duckdb").to_df()["loss"].tolist()
    assert math.isnan(duck[1])
    assert [duck[0], duck[2]] == [0.5, -math.inf]


def test_what_xt_prints_as_csv_comes_back_equal(tmp_path: Path) -> None:
    for run in ("zz", "aa"):
        with Tracker(tmp_path / "one.db", track_id=run) as tracker:
            for i in range(3):
                tracker.log({"i": i, "f": i / 3, "b": i > 1, "s": f'a,"{i}"\n', "n": None, "mixed": i or "x"})
    first = Reader(tmp_path / "one.db").to_df()
    first.to_csv(tmp_path / "one.csv", index=False)
    import_data(tmp_path / "one.csv", tmp_path / "two.db")
    assert Reader(tmp_path / "two.db").to_df().astype(object).equals(first.astype(object))


def test_importing_again_adds_only_what_is_new(tmp_path: Path) -> None:
    source = _write(tmp_path / "a.csv", "x\n1\n1\n2\n")
    assert import_data(source, tmp_path / "t.db").rows_added == 3
    assert import_data(source, tmp_path / "t.db").rows_added == 0
    _write(source, "x\n1\n1\n1\n2\n")
    report = import_data(source, tmp_path / "t.db")
    assert (report.rows_added, report.tables["default"].rows_known) == (1, 3)
    assert sorted(Reader(tmp_path / "t.db").to_df()["x"]) == [1, 1, 1, 2]


def test_two_machines_that_import_one_file_have_equal_rows_after_a_merge(tmp_path: Path) -> None:
    source = _write(tmp_path / "a.csv", "track_id,timestamp,x\nr,2026-01-01 00:00:00,1\n")
    import_data(source, tmp_path / "one.db")
    import_data(source, tmp_path / "two.db")
    assert merge(tmp_path / "two.db", into=tmp_path / "one.db").tables["default"].rows_added == 0
    assert len(Reader(tmp_path / "one.db")) == 1


def test_json_lines_keep_structure(tmp_path: Path) -> None:
    text = '{"a": [1, {"b": null}], "track_id": "r"}\n\nnot json\n{"a": 2.5}\n'
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    report = import_data(tmp_path / "a.jsonl.gz", tmp_path / "t.db")
    assert report.left_out == ["1 lines that are no JSON object"]
    frame = Reader(tmp_path / "t.db").to_df()
    assert frame["track_id"].tolist() == ["r", "a"]
    assert Reader(tmp_path / "t.db").conn.execute("SELECT a ->> '$[1]' FROM events").fetchone() == ('{"b":null}',)


def test_a_jsonl_sink_is_a_source(tmp_path: Path) -> None:
    with Tracker(Tracker.SKIP_INSERT, jsonl=str(tmp_path / "data.jsonl"), track_id="r") as tracker:
        tracker.log({"x": float("nan"), "big": 2**70, "tokens": ["a"]})
    import_data(tmp_path / "data.jsonl", tmp_path / "t.db")
    row = Reader(tmp_path / "t.db", engine="duckdb").to_df().iloc[0]
    assert math.isnan(row["x"])
    assert (row["big"], row["track_id"]) == (2**70, "r")


def test_parquet_keeps_types(tmp_path: Path) -> None:
    with Tracker(tmp_path / "one.db", track_id="r") as tracker:
        tracker.log({"i": 1, "f": 0.5, "b": True, "t": "x", "raw": b"\x00\xff"})
        tracker.log({"i": 2**40, "f": None})
        tracker.to_parquet(tmp_path / "one.parquet")
    import_data(tmp_path / "one.parquet", tmp_path / "two.db")
    assert Reader(tmp_path / "one.db").to_df().equals(Reader(tmp_path / "two.db").to_df())


def test_texts_become_structures_only_if_asked(tmp_path: Path) -> None:
    source = _write(tmp_path / "a.csv", "cfg\n\"{'a': (1, 2)}\"\n[broken\n")
    import_data(source, tmp_path / "plain.db")
    import_data(source, tmp_path / "parsed.db", parse=True)
    assert Reader(tmp_path / "plain.db").to_df()["cfg"].tolist() == ["{'a': (1, 2)}", "[broken"]
    assert Reader(tmp_path / "parsed.db").to_df()["cfg"].tolist() == ['{"a": [1, 2]}', "[broken"]


def test_rows_of_tables_without_a_log_are_rescued(tmp_path: Path) -> None:
    with Tracker(tmp_path / "t.db", track_id="r") as tracker:
        tracker.log({"x": 1, "ok": True})
    with Tracker(tmp_path / "t.db", table="other", track_id="r") as tracker:
        tracker.log({"y": 2})
    shutil.rmtree(tmp_path / "t.db.events")
    with pytest.raises(TablesWithoutLog):
        Reader(tmp_path / "t.db")
    report = import_data(tmp_path / "t.db", tmp_path / "new.db")
    assert {name: one.rows_added for name, one in report.tables.items()} == {"default": 1, "other": 1}
    assert Reader(tmp_path / "new.db").to_df()["ok"].tolist() == [True]


def test_a_database_of_0x_is_imported_without_being_touched(tmp_path: Path) -> None:
    source = tmp_path / "old.db"
    shutil.copy(ROOT / "tests/fixtures/legacy/sqlite.db", source)
    before = source.read_bytes()
    report = import_data(source, tmp_path / "new.db")
    assert report.kind == "xetrack-0.x"
    assert (report.rows_added, report.assets) == (11, 2)
    assert source.read_bytes() == before
    assert import_data(source, tmp_path / "new.db").rows_added == 0
    assert import_data(source, tmp_path / "one.db", table="calls").tables.keys() == {"calls"}


def test_a_dry_run_reports_and_makes_nothing(tmp_path: Path) -> None:
    source = _write(tmp_path / "a.csv", "x\n1\n")
    assert import_data(source, tmp_path / "t.db", dry_run=True).rows_added == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("name", "text", "error", "said"),
    [
        ("a.csv", "x,y\n1\n", InvalidArgument, "line 2"),
        ("a.csv", "x,x\n1,2\n", InvalidArgument, "header"),
        ("a.csv", 'x\n"1\n', InvalidArgument, "not CSV"),
        ("a.csv", "a b,a_b\n1,2\n", Exception, "a_b"),
        ("a.jsonl", "[1]\n", InvalidArgument, "line 1"),
        ("a.parquet", "PAR1", InvalidArgument, "Parquet"),
        ("a.jsonl", '{"": 1}\n', InvalidKey, "empty"),
        ("a.bin", "?", InvalidArgument, "--kind"),
        ("missing", "", PathNotFound, "missing"),
    ],
)
def test_what_cannot_be_imported_is_refused_before_anything_is_made(
    tmp_path: Path, name: str, text: str, error: type[Exception], said: str
) -> None:
    if name != "missing":
        _write(tmp_path / name, text)
    with pytest.raises(error, match=said):
        import_data(tmp_path / name, tmp_path / "t.db")
    assert not (tmp_path / "t.db.events" / "default").exists()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.csv.gz"])
def test_a_damaged_file_is_told_as_such(tmp_path: Path, name: str) -> None:
    text = b'{"x": 1}\n' * 500 if "jsonl" in name else b"x\n" + b"1\n" * 500
    packed = (
        gzip.compress(text) if name.endswith(".gz") else zstandard.compress(text) if name.endswith(".zst") else text
    )
    half = len(packed) // 2
    (tmp_path / name).write_bytes(packed[:half] + b"\xff\xfe" + packed[half + 2 :])
    with pytest.raises(InvalidArgument):
        import_data(tmp_path / name, tmp_path / "t.db")
    assert not (tmp_path / "t.db.events" / "default").exists()


def test_every_frame_of_a_packed_file_is_read(tmp_path: Path) -> None:
    frames = [zstandard.compress(b'{"x": %d}\n' % number) for number in range(3)]
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(frames))
    assert import_data(tmp_path / "a.jsonl.zst", tmp_path / "t.db").rows_added == 3
