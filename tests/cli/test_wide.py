"""Commands over more keys than the tables of either engine have columns for: those past the limit are columns, too.

Every command is tried with `XETRACK_LARGE=all`, as with a million rows.
"""

from __future__ import annotations

import math
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call
from tests.cli.test_matrix import CASES, takes
from tests.cli.test_million_rows import ALL, LINES, SLOW
from xetrack import Reader, Tracker
from xetrack.errors import ColumnPastLimit, XetrackError
from xetrack.read.selection import select
from xetrack.store import open_store
from xetrack.tables.duckdb import DuckdbTables
from xetrack.tables.sqlite import SqliteTables

KEYS = 4200
#: What is asked, in this order, and what stdout then has; `k4190` is past the limit of both engines, `k9` of none.
ASKED = {
    "head DB --where k4190>4191 --columns track_id,k4190,k9 --csv": r"^track_id,k4190,k9\nb,4192,11\n$",
    "tail DB --sort=-k4190 --columns k4190 --csv": r"^k4190\n4192\n4191\n4191\n4190\n$",
    "ls DB k4190 --unique": r"^4190\n4191\n4192\n$",
    "columns DB --csv": r"\nk4190,int\n",
    "runs DB --csv --columns track_id,k9,k4190,late": r"^track_id,k9,k4190,late\na,10,4191,\nb,11,4192,0\.25\n$",
    "best DB k4190 -n 1 --csv --columns track_id,k4190": r"^track_id,k4190\nb,4192\n$",
    "stats describe DB --columns k4190 --csv": r"\nk4190,int,4,0,3,4191",
    "show DB b": r"\n *k4190 .*4191",
    "validate DB": r"^4 rows in 2 runs",
    "export DB DB.csv --where k4190>4191 --columns k4190,k9": r"1 rows? ",
    "export DB DB.top.csv --where top>1": r"1 rows? ",
    "set DB k4190 7 --track-id a": r"^2 rows changed\n$",
    "redact DB --where k4190=4192 --reason private --yes": r": 1 row",
}


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_keys_past_the_column_limit(tmp_path: Path, call: Call, engine: str) -> None:
    db = str(tmp_path / "large.db")
    for run, first in (("a", 0), ("b", 1)):
        with Tracker(db, track_id=run) as tracker:
            for step in range(first, first + 2):
                late = {"late": 0.5 / step, "top": math.inf if step == 1 else -math.inf} if run == "b" else {}
                tracker.log({f"k{number}": number + step for number in range(KEYS)} | late)
    shutil.copytree(f"{db}.events", f"{db}.theirs.events")
    asked = ASKED if ALL or engine == "sqlite" else {line: ASKED[line] for line in list(ASKED)[:5]}
    for line, said in {**asked, **(dict.fromkeys([*LINES, *SLOW], "") if ALL else {})}.items():
        name = next(name for name in CASES if line.startswith(f"{name} "))
        words = [f"{db}{word[2:]}" if word.startswith("DB") else word for word in shlex.split(line)]
        done = call(*words, *(["--engine", engine] if takes(name, "--engine") else []))
        assert done.exit_code in (0, 1, 3), (line, done.stderr)
        assert "This is a bug" not in done.stderr, (line, done.stderr)
        assert re.search(said, done.stdout), (line, done.stdout[:2000], done.stderr)


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_sql_of_a_key_past_the_column_limit_says_where_it_lies(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    db = str(tmp_path / "track.db")
    for tables in (SqliteTables, DuckdbTables):
        monkeypatch.setattr(tables, "limit", 1)
    with Tracker(db, track_id="a") as tracker:
        tracker.log({"early": 1, "val/loss": 0.5, "step": 1, "say 'hi'": "x"})
        tracker.log({"early": 2, "val/loss": 1.5, "step": 10, "say 'hi'": "y"})
    reader = Reader(db, engine=engine)  # type: ignore[arg-type]
    for name, condition in (
        *((name, "{} > 1") for name in ("val_loss", "e.val_loss", '"val_loss"', 'e."val/loss"', "VAL_LOSS")),
        ("step", "{} > 9"),
        ("say__hi_", "{} = 'y'"),
    ):
        done = call("sql", db, f"SELECT early FROM events AS e WHERE {name} IS NOT NULL", "--engine", engine)
        assert (done.exit_code, done.stdout) == (3, "")
        assert "past the column limit" in done.stderr and "_xetrack_more" in done.stderr, done.stderr
        with pytest.raises(ColumnPastLimit) as error:
            reader.sql(f"SELECT {name} FROM events AS e")
        told = error.value.expression  # can be used as it is
        found = reader.sql(f"SELECT early FROM events WHERE {condition.format(told)}")
        assert found["early"].tolist() == [2], (name, told)
    done = call("sql", db, "SELECT early FROM events WHERE vall_loss > 1", "--engine", engine)
    assert done.exit_code == 3 and "Did you mean: val_loss?" in done.stderr
    done = call("sql", db, 'SELECT "ear/ly" FROM events', "--engine", engine)
    assert done.exit_code == 3 and "Did you mean: early?" in done.stderr


#: Conditions and orders, over columns that may or may not lie past the limit.
CONDITIONS = [
    *("za > '1'", "za > 1", "za = '10'", "za BETWEEN '1' AND '3'", "za || '' = '2'", "za // 2 = 1", "za + zb > 3"),
    *(
        "zb > '1'",
        "zb = 2",
        "zb <> '2'",
        "zn > 1",
        "zn IS NULL",
        "zn < 1",
        "isnan(zn)",
        "zok",
        "zok = 1",
        "zok = 'true'",
    ),
    *("zt > '2024'", "zt > '2024-02'", "zt = '2024-01-01 00:00:00.000000'", "date_trunc('month', zt) > '2024-01-15'"),
    *("zj LIKE '%2%'", "zbig > 5", "zbig = '5'", "zmix > 1", "zmix = '2.5'", "length(zbytes) = 2", "zok = 'true'"),
    *(
        "\"za\" > '1' AND Zb > 0",
        "zempty IS NULL",
        "za > early",
        "starts_with(zb, '1')",
        "zz = 1",
        "nosuch > 1",
        "za >",
    ),
    *("za = (SELECT max(early) FROM events)", 'track_id IN (SELECT track_id FROM "default" WHERE early > 4)'),
    *("1); DROP TABLE events; SELECT (1", "1) UNION SELECT (1", "za > ?", '"nosuch" > 1'),
]


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_conditions_mean_the_same_on_both_sides_of_the_column_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    rows: list[dict[str, Any]] = [
        {"za": 1, "zb": "1", "zn": math.nan, "zok": True, "zt": datetime(2024, 1, 1), "zj": [1, 2], "zbig": 2**70},
        {"za": 2, "zb": "2", "zn": 0.5, "zok": False, "zt": datetime(2024, 3, 1, 12, 30), "zj": {"a": 1}, "zbig": 5},
        {"za": 3, "zb": "10", "zn": math.inf, "zmix": 1, "zbytes": b"ab", "zbig": 6},
        {"za": 10, "zb": "x", "zmix": "2.5", "zn": 2.0, "zt": datetime(2025, 1, 1, 0, 0, 0, 5)},
        {"za": 2, "late": None, "zempty": None},
    ]

    def answers(limit: int) -> Iterator[tuple[Any, Any]]:
        monkeypatch.setattr(SqliteTables, "limit", limit)
        monkeypatch.setattr(DuckdbTables, "limit", limit)
        db = str(tmp_path / f"limit_{limit}.db")
        for run in ("a", "b"):
            with Tracker(db, track_id=run) as tracker:
                for number, row in enumerate(rows):
                    tracker.log({"early": number + (run == "b"), **row})
        with closing(open_store(db)) as store:
            table = store.table("default", engine)
            asked: list[dict[str, Any]] = [{"where": where} for where in CONDITIONS]
            asked += [{"where": where, "track_id": "b", "sort": ["-early"], "limit": 2} for where in CONDITIONS[:8]]
            for column in ("za", "zb", "zn", "zok", "zt", "zbig", "zmix"):
                for name in (column, f"-{column}"):
                    asked += [{"sort": [name]}, {"sort": [name], "limit": 3, "last": True}]
                asked += [{"filled": column}, {"sort": [f"-{column}"], "first_of": ["track_id"], "filled": column}]
                asked.append({"first_of": [column], "limit": 3})
            for ask in asked:
                for columns in (["track_id", "early", "zn"], None):
                    try:
                        names, found = select(table, columns=columns, **ask)
                        told: Any = (
                            [names, repr([row[names.index("track_id") : names.index("zn") + 1] for row in found])]
                            if found
                            else []
                        )
                    except XetrackError as error:
                        told = type(error), getattr(error, "near", None)
                    yield {**ask, "columns": columns}, told[1:] if columns is None else told

    several = 0
    for (ask, small), (same, large) in zip(list(answers(1000)), list(answers(3)), strict=True):
        assert ask == same and small == large, (ask, small, large)
        several += bool(small)
    assert several > 100
