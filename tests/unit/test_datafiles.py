"""Merging and rebasing plain data files: every row and value is kept, whatever the formats."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from xetrack import merge, rebase
from xetrack.errors import ColumnNotFound, InvalidArgument, MissingExtra, PathNotFound, StorageError

duckdb = pytest.importorskip("duckdb")


def write(path: Path, query: str) -> Path:
    form = "parquet" if path.suffix == ".parquet" else "csv, header"
    duckdb.connect().execute(f"COPY ({query}) TO '{path}' (FORMAT {form})")
    return path


def read(path: Path) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
    found = duckdb.connect().execute(f"SELECT * FROM read_parquet('{path}')")
    return [(name, str(kind)) for name, kind, *_ in found.description], found.fetchall()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.parquet"


def test_rows_are_appended_and_columns_joined_by_name(tmp_path: Path, out: Path) -> None:
    one = write(tmp_path / "a.parquet", "SELECT 1 AS id, 'x' AS name")
    two = write(tmp_path / "b.parquet", "SELECT 0.5::DOUBLE AS score, 2 AS id")
    report = merge(one, two, into=out)
    columns, rows = read(out)
    assert columns == [("id", "INTEGER"), ("name", "VARCHAR"), ("score", "DOUBLE")]
    assert rows == [(1, "x", None), (2, None, 0.5)]
    table = report.tables[str(out)]
    assert (table.rows_added, table.columns_added, table.columns_widened) == (2, ["id", "name", "score"], [])


def test_rows_of_a_target_that_is_there_stay_in_front(tmp_path: Path, out: Path) -> None:
    write(out, "SELECT 1 AS id")
    report = merge(write(tmp_path / "a.parquet", "SELECT 2 AS id, true AS ok"), into=out)
    assert read(out)[1] == [(1, None), (2, True)]
    assert (report.rows_added, report.tables[str(out)].columns_added) == (1, ["ok"])


def test_all_rows_are_kept_also_equal_ones_and_the_target_among_the_sources_is_no_source(
    tmp_path: Path, out: Path
) -> None:
    write(out, "SELECT 1 AS id")
    one = write(tmp_path / "a.parquet", "SELECT 1 AS id")
    assert merge(out, one, into=out).rows_added == 1
    assert read(out)[1] == [(1,), (1,)]
    assert merge(out, into=out).rows_added == 0


@pytest.mark.parametrize(
    ("one", "two", "kind", "values"),
    [
        ("1::INTEGER", "2.5::DOUBLE", "DOUBLE", [1.0, 2.5]),
        ("9007199254740993::BIGINT", "0.5::DOUBLE", "VARCHAR", ["9007199254740993", "0.5"]),
        ("1::INTEGER", "'007'", "VARCHAR", ["1", "007"]),
        ("true", "2", "BIGINT", [1, 2]),
        ("1::UBIGINT", "2::BIGINT", "BIGINT", [1, 2]),
        ("18446744073709551615::UBIGINT", "-1::BIGINT", "VARCHAR", ["18446744073709551615", "-1"]),
        ("NULL::INTEGER", "'a'", "VARCHAR", [None, "a"]),
        ("DATE '2026-01-02'", "'x'", "VARCHAR", ["2026-01-02", "x"]),
        ("[1, 2]", "'x'", "VARCHAR", ["[1,2]", "x"]),
        ("[1, 2]", "[0.5::DOUBLE]", "DOUBLE[]", [[1.0, 2.0], [0.5]]),
        ("'a'::BLOB", "'b'::BLOB", "BLOB", [b"a", b"b"]),
    ],
)
def test_types_that_differ_are_widened_and_never_truncated(
    tmp_path: Path, out: Path, one: str, two: str, kind: str, values: list[Any]
) -> None:
    first = write(tmp_path / "a.parquet", f"SELECT {one} AS v")
    second = write(tmp_path / "b.parquet", f"SELECT {two} AS v")
    merge(first, second, into=out)
    columns, rows = read(out)
    assert columns[0][1] == kind or (kind == "VARCHAR" and columns[0][1] in ("STRING", "VARCHAR"))
    assert [value for (value,) in rows] == values


def test_csv_into_csv_keeps_every_text_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,v\n007,1.50\n8,""\n')
    (tmp_path / "b.tsv").write_text("v\tid\tw, x\n1e5\t9\t\n")
    merge(tmp_path / "a.csv", tmp_path / "b.tsv", into=tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == 'id,v,"w, x"\n007,1.50,\n8,"",\n9,1e5,\n'


def test_csv_into_parquet_has_numbers_where_all_are_written_as_numbers(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.csv").write_text("i,f,b,t,z,n\n1,1.5,true,007,12345678901234567890,\n-2,2,false,8,1.5,\n")
    merge(tmp_path / "a.csv", into=out)
    columns, rows = read(out)
    assert [kind for _, kind in columns][:4] == ["BIGINT", "DOUBLE", "BOOLEAN", "VARCHAR"]
    assert rows == [(1, 1.5, True, "007", "12345678901234567890", None), (-2, 2.0, False, "8", "1.5", None)]


def test_json_lines_into_json_lines_keep_every_value(tmp_path: Path) -> None:
    lines = ['{"a":1,"d":"2026-01-02","n":{"x":[1,2.0]},"z":12345678901234567890123}', '{"a":2.5,"d":null}']
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, ""]))
    (tmp_path / "b.jsonl").write_text('{"a":"x","new key":true}\n')
    merge(tmp_path / "a.jsonl", tmp_path / "b.jsonl", into=tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text().splitlines() == [
        '{"a":1,"d":"2026-01-02","n":{"x":[1,2.0]},"z":12345678901234567890123,"new key":null}',
        '{"a":2.5,"d":null,"n":null,"z":null,"new key":null}',
        '{"a":"x","d":null,"n":null,"z":null,"new key":true}',
    ]


def test_json_lines_into_parquet_have_types_and_texts_that_look_like_dates_stay(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"i":1,"f":0.5,"d":"2026-01-02","n":{"x":1},"m":1}\n{"i":2,"f":"NaN","d":"x","n":null,"m":"a"}\n'
    )
    merge(tmp_path / "a.jsonl", into=out)
    columns, rows = read(out)
    assert [kind for _, kind in columns][:3] == ["BIGINT", "DOUBLE", "VARCHAR"]
    assert rows[0] == (1, 0.5, "2026-01-02", '{"x":1}', "1")
    assert (rows[1][0], rows[1][1] != rows[1][1], *rows[1][2:]) == (2, True, "x", None, '"a"')


def test_parquet_into_json_lines_has_what_json_has(tmp_path: Path) -> None:
    one = write(
        tmp_path / "a.parquet",
        "SELECT 'nan'::DOUBLE AS f, [1] AS l, {'a': 1} AS s, 'a'::BLOB AS b, TIMESTAMP '2026-01-02 03:04:05' AS t "
        "UNION ALL SELECT 1.5, NULL, NULL, NULL, NULL",
    )
    merge(one, into=tmp_path / "out.jsonl")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found == [
        {"f": "NaN", "l": [1], "s": {"a": 1}, "b": "YQ==", "t": "2026-01-02 03:04:05"},
        {"f": 1.5, "l": None, "s": None, "b": None, "t": None},
    ]


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst", ".jsonl.gz", ".jsonl.zst"])
def test_packed_files_are_read_and_written(tmp_path: Path, out: Path, suffix: str) -> None:
    one = write(tmp_path / "a.parquet", "SELECT 1 AS id, 'é' AS name")
    packed = tmp_path / f"packed{suffix}"
    merge(one, into=packed)
    assert packed.read_bytes()[:2] in (b"\x1f\x8b", b"\x28\xb5")
    merge(packed, into=out)
    assert read(out)[1] == [(1, "é")]


def test_files_without_rows_or_columns_join(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.csv").write_text("id,name\n")
    one = write(tmp_path / "c.parquet", "SELECT 1 AS id")
    assert merge(tmp_path / "a.jsonl", tmp_path / "b.csv", one, into=out).rows_added == 1
    assert read(out) == ([("id", "INTEGER"), ("name", "VARCHAR")], [(1, None)])


# -- rebase ------------------------------------------------------------------


def test_rows_of_the_experiment_win_on_the_key(tmp_path: Path, out: Path) -> None:
    base = write(tmp_path / "base.parquet", "SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (3, 'c')) t(id, v)")
    exp = write(tmp_path / "exp.parquet", "SELECT * FROM (VALUES (2, 'B', 0.5), (4, 'D', 0.1)) t(id, v, new)")
    before = base.read_bytes()
    report = rebase(exp, base, ["id"], out=out)
    assert [row[:2] for row in read(out)[1]] == [(1, "a"), (3, "c"), (2, "B"), (4, "D")]
    assert (report.table, report.rows_replaced, report.rows_added) == (str(out), 1, 2)
    assert base.read_bytes() == before
    rebase(exp, base, ["id"])
    again = rebase(exp, base, ["id"])
    assert (again.rows_replaced, again.rows_added) == (2, 2)
    assert [row[:2] for row in read(base)[1]] == [(1, "a"), (3, "c"), (2, "B"), (4, "D")]


def test_empty_keys_match_nothing_and_duplicates_all_come_and_all_go(tmp_path: Path, out: Path) -> None:
    base = write(
        tmp_path / "base.parquet",
        "SELECT * FROM (VALUES (1.0::DOUBLE, 0), (1, 1), (NULL, 2), ('nan'::DOUBLE, 3), (2, 4)) t(k, n)",
    )
    exp = write(tmp_path / "exp.parquet", "SELECT * FROM (VALUES (1, 10), (1, 11), (NULL, 12)) t(k, n)")
    report = rebase(exp, base, ["k"], out=out)
    assert [row[1] for row in read(out)[1]] == [2, 3, 4, 10, 11, 12]
    assert (report.rows_replaced, report.rows_added) == (2, 3)
    assert (report.null_keys.source, report.null_keys.onto) == (1, 2)
    assert (report.duplicate_keys.source, report.duplicate_keys.onto) == (1, 1)


def test_numbers_of_csv_are_compared_as_numbers_and_written_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "base.csv").write_text("id,v\n1.0,a\n2,b\n")
    (tmp_path / "exp.csv").write_text("v,id\nA,1\n")
    rebase(tmp_path / "exp.csv", tmp_path / "base.csv", ["id"])
    assert (tmp_path / "base.csv").read_text() == "id,v\n2,b\n1,A\n"


def test_order_of_many_rows_is_kept(tmp_path: Path, out: Path) -> None:
    base = write(tmp_path / "base.parquet", "SELECT (i * 7919) % 200003 AS id, i AS n FROM range(200003) t(i)")
    exp = write(tmp_path / "exp.parquet", "SELECT i AS id, -1 AS n FROM range(0, 200003, 2) t(i)")
    rebase(exp, base, ["id"], out=out)
    _, rows = read(out)
    kept = [n for _, n in rows if n >= 0]
    assert kept == sorted(kept) and len(kept) == 100001 and [n for _, n in rows[len(kept) :]] == [-1] * 100002


# -- errors ------------------------------------------------------------------


def test_key_that_a_file_lacks_is_named_with_near_matches(tmp_path: Path, out: Path) -> None:
    base = write(tmp_path / "base.parquet", "SELECT 1 AS idx")
    exp = write(tmp_path / "exp.parquet", "SELECT 1 AS id")
    with pytest.raises(ColumnNotFound, match="idx"):
        rebase(exp, base, ["id"], out=out)
    assert not out.exists()


def test_files_and_stores_do_not_mix(tmp_path: Path) -> None:
    one = write(tmp_path / "a.parquet", "SELECT 1 AS id")
    for call in (
        lambda: merge(one, into=tmp_path / "track.db"),
        lambda: merge(one, "git:main", into=tmp_path / "out.parquet"),
        lambda: rebase(one, tmp_path / "track.db", ["id"]),
        lambda: merge(one, into=tmp_path / "out.parquet", policy="ours"),
    ):
        with pytest.raises(InvalidArgument):
            call()
    assert os.listdir(tmp_path) == ["a.parquet"]


def test_absent_or_damaged_source_leaves_the_target_alone(tmp_path: Path, out: Path) -> None:
    write(out, "SELECT 1 AS id")
    before = out.read_bytes()
    with pytest.raises(PathNotFound, match="out.parquet"):
        merge(tmp_path / "outt.parquet", into=out)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InvalidArgument, match=r"bad\.parquet"):
        merge(tmp_path / "bad.parquet", into=out)
    (tmp_path / "bad.jsonl").write_text('{"id":1}\n{"id":\n')
    with pytest.raises(InvalidArgument, match=r"bad\.jsonl"):
        merge(tmp_path / "bad.jsonl", into=out)
    assert out.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["bad.jsonl", "bad.parquet", "out.parquet"]


def test_dry_run_writes_nothing(tmp_path: Path, out: Path) -> None:
    one = write(tmp_path / "a.parquet", "SELECT 1 AS id")
    assert merge(one, into=out, dry_run=True).rows_added == 1
    assert rebase(one, one, ["id"], dry_run=True, out=out).rows_replaced == 1
    assert os.listdir(tmp_path) == ["a.parquet"]


def test_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    one = write(tmp_path / "a.parquet", "SELECT 1 AS id")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        merge(one, into=tmp_path / "file" / "out.parquet")
    merge(one, into=tmp_path / "new" / "it's.parquet")
    assert (tmp_path / "new" / "it's.parquet").is_file()


def test_without_duckdb_the_extra_is_named(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write(tmp_path / "a.parquet", "SELECT 1 AS id")
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(MissingExtra, match="duckdb"):
        merge(one, into=out)


def test_empty_csv_has_no_columns(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "a.csv").write_text("id\n1\n")
    merge(tmp_path / "empty.csv", tmp_path / "a.csv", into=tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "id\n1\n"
    with pytest.raises(InvalidArgument, match="no file has a column"):
        merge(tmp_path / "empty.csv", into=tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


def test_whole_numbers_of_json_past_64_bits_are_not_rounded(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a":123456789012345678901234567890}\n{"a":0.5}\n')
    merge(tmp_path / "a.jsonl", into=out)
    assert read(out) == ([("a", "VARCHAR")], [("123456789012345678901234567890",), ("0.5",)])
