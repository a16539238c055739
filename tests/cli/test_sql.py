"""`xt sql`."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from tests.cli.conftest import Call
from xetrack import Reader

#: Those that are installed.
ENGINES = ["sqlite", *(["duckdb"] if find_spec("duckdb") else [])]
COUNT = "SELECT count(*) AS n FROM events"


def test_rows_of_a_query_are_printed(call: Call, store: str) -> None:
    result = call("sql", store, "SELECT model, max(loss) AS worst FROM events GROUP BY model ORDER BY worst", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == [{"model": "bert", "worst": 0.5}, {"model": "resnet", "worst": 1.0}]


@pytest.mark.parametrize("name", ["events", "db.events", '"default"', 'db."default"'])
def test_default_table_goes_by_all_its_names(call: Call, store: str, name: str) -> None:
    result = call("sql", store, f"SELECT count(*) AS n FROM {name}", "--json")
    assert json.loads(result.stdout) == [{"n": 4}]


def test_tables_can_be_joined(call: Call, store: str) -> None:
    query = "SELECT epoch, accuracy FROM events JOIN metrics USING (track_id) ORDER BY epoch"
    assert call("sql", store, query, "--format=csv").stdout == "epoch,accuracy\n0,0.9\n1,0.9\n2,0.9\n"


def test_columns_of_one_name_are_both_printed(call: Call, store: str) -> None:
    result = call("sql", store, "SELECT 1 AS a, 2 AS a", "--json")
    assert json.loads(result.stdout) == [{"a": 1, "a_2": 2}]


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM events",
        'UPDATE "default" SET loss = 0',
        'INSERT INTO "default" (track_id) VALUES (1)',
        'DROP TABLE "default"',
        "CREATE TABLE mine (a)",
        "PRAGMA user_version = 7",
        "ATTACH DATABASE 'other.db' AS other",
        "WITH x AS (SELECT 1) DELETE FROM metrics",
    ],
)
def test_write_is_refused_and_changes_nothing(call: Call, store: str, query: str) -> None:
    before = Reader(store).to_df()
    result = call("sql", store, query)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert Reader(store).to_df().equals(before)


def test_refused_write_names_the_call_to_use(call: Call, store: str) -> None:
    assert "xt set" in call("sql", store, "UPDATE events SET loss = 0").stderr


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("query", ["SELEC 1", "", "SELECT epoch + FROM events"])
def test_query_that_cannot_run_is_wrong_usage(call: Call, store: str, query: str, engine: str) -> None:
    result = call("sql", store, query, f"--engine={engine}")
    assert result.exit_code == 2
    assert result.stderr.startswith("xt: The argument QUERY") and ".." not in result.stderr


def test_second_statement_is_refused(call: Call, store: str) -> None:
    result = call("sql", store, "SELECT 1; SELECT 2")
    assert result.exit_code == 2 and "one statement" in result.stderr and ".." not in result.stderr


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("query", "missing"),
    [
        ("SELECT * FROM nowhere", "no table 'nowhere'. It has:"),
        ("SELECT lss FROM events", "no column 'lss'. Did you mean: loss"),
        ('SELECT epoch FROM events WHERE "lss" > 0', "no column 'lss'. Did you mean: loss"),
    ],
)
def test_table_or_column_that_is_not_there_exits_3(
    call: Call, store: str, query: str, missing: str, engine: str
) -> None:
    result = call("sql", store, query, f"--engine={engine}")
    assert result.exit_code == 3
    assert missing in result.stderr


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_missing_table_and_several_statements_are_told(call: Call, store: str, engine: str) -> None:
    done = call("sql", store, "SELECT 1", "--table=missing", f"--engine={engine}")
    assert (done.exit_code, done.stdout) == (3, "") and "metrics" in done.stderr
    done = call("sql", store, "SELECT 1; SELECT 2", f"--engine={engine}")
    assert (done.exit_code, done.stdout) == (2, "") and "one statement" in done.stderr
    done = call("sql", store, "SELECT accuracy FROM events", "--table=metrics", f"--engine={engine}")
    assert done.exit_code == 3 and "Did you mean: accuracy" not in done.stderr
