"""The connection of SQLite tables: what the package runs on it, what users may ask, and Ctrl-C."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from xetrack.errors import ReadOnlyTables
from xetrack.tables.sqlite_door import TablesConnection, as_names, open_for_users


def test_ctrl_c_while_sqlite_asks_for_leave_is_an_interrupt_not_a_refusal() -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    def interrupted_at_a_column(action: int, *_: object) -> int:
        if action == sqlite3.SQLITE_READ:
            raise KeyboardInterrupt
        return sqlite3.SQLITE_OK

    conn = sqlite3.connect(":memory:", isolation_level=None, factory=TablesConnection)
    conn.run("CREATE TABLE t (c)")
    for authorizer in (interrupted, interrupted_at_a_column):
        conn.set_authorizer(authorizer)
        with pytest.raises(KeyboardInterrupt):
            conn.run("SELECT c FROM t")
    conn.close()


@pytest.mark.parametrize(
    ("width", "count"),
    [*((14, count) for count in (0, 1, 15, 16, 17, 1023, 1024, 3000)), (1, 2047), (1025, 17), (1900, 3)],
)
def test_rows_are_inserted_once_each_in_order_however_many_there_are(width: int, count: int) -> None:
    conn = sqlite3.connect(":memory:", isolation_level=None, factory=TablesConnection)
    conn.run(f"CREATE TABLE t ({', '.join(f'c{number}' for number in range(width))})")
    conn.insert("INSERT INTO t", width, (range(number * width, (number + 1) * width) for number in range(count)))
    found = conn.run("SELECT * FROM t ORDER BY rowid").fetchall()
    assert found == [tuple(range(number * width, (number + 1) * width)) for number in range(count)]
    conn.close()


@pytest.mark.parametrize(
    ("sql", "meant"),
    [
        ('"a" > 1', "`a` > 1"),
        ('"a ""b"" `c`" > 1', '`a "b" ``c``` > 1'),
        ("""'"a" ''"b"' = "c" """, """'"a" ''"b"' = `c` """),
        ('["a"] = `"b"` -- "c"\n + "d" /* "e" */ /* "f', '["a"] = `"b"` -- "c"\n + `d` /* "e" */ /* "f'),
        ("""x - 'it''s' || "a""", """x - 'it''s' || "a"""),
        ("""x = ' "a" """, """x = ' "a" """),
        ('"ä\n-- ç" + "/*"', "`ä\n-- ç` + `/*`"),
        ("loss > 1", "loss > 1"),
    ],
)
def test_names_in_double_quotes_become_names_that_are_no_text(sql: str, meant: str) -> None:
    assert as_names(sql) == meant


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[TablesConnection]:
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as plain:
        plain.execute('CREATE TABLE "default" (loss REAL, "a ""b" TEXT, "c]`d" TEXT)')
        plain.execute("""INSERT INTO "default" VALUES (0.5, 'x', 'y')""")
        plain.execute('CREATE VIEW events AS SELECT * FROM "default"')
        plain.commit()
    with contextlib.closing(open_for_users(tmp_path / "a.db", lambda: None)) as made:
        yield made


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT "typo" FROM events',
        'SELECT loss FROM events WHERE "typo" > 1',
        '; /* "loss" */ -- x\n SELECT loss FROM events WHERE loss = (SELECT max("typo") FROM events)',
        'WITH best AS (SELECT "typo" FROM events) SELECT * FROM best',
        'VALUES ("typo")',
        'EXPLAIN SELECT "typo" FROM events',
        'EXPLAIN QUERY PLAN SELECT "typo" FROM events',
        """SELECT '"loss"', "typo" FROM events WHERE loss > ?""",
    ],
)
def test_name_in_double_quotes_that_is_not_there_is_no_text(conn: TablesConnection, sql: str) -> None:
    values = [0] if "?" in sql else []
    with pytest.raises(sqlite3.OperationalError, match="^no such column: typo$"):
        conn.execute(sql, values)
    with pytest.raises(sqlite3.OperationalError, match="^no such column: typo$"):
        conn.cursor().execute(sql, values)


def test_names_in_double_quotes_that_are_there_mean_what_they_did(conn: TablesConnection) -> None:
    cursor = conn.execute(
        'SELECT max("loss"), "a ""b" AS "my name", "c]`d", e."loss", "max"(loss), \'"typo"\', "rowid" '
        'FROM "default" AS "e" GROUP BY "my name" HAVING "e"."loss" < :most ORDER BY "my name" COLLATE "nocase"',
        {"most": 1},
    )
    assert [column[0] for column in cursor.description] == [
        *('max("loss")', "my name", "c]`d", "loss", '"max"(loss)', "'\"typo\"'", "rowid"),
    ]
    assert cursor.fetchall() == [(0.5, "x", "y", 0.5, 0.5, '"typo"', 1)]
    assert conn.execute('PRAGMA table_info("default")').fetchall()[0][1] == "loss"
    assert conn.execute('WITH "b"("z") AS (SELECT 1) SELECT "z" FROM "b"').fetchall() == [(1,)]


def test_what_is_in_comments_before_a_statement_is_passed_over(conn: TablesConnection) -> None:
    with pytest.raises(ReadOnlyTables):
        conn.execute('-- select\n/* with */ UPDATE "default" SET loss = "typo" /* values */')
    many = "-- ; -- /* */ --\n/* select **/ " * 5000
    with pytest.raises(sqlite3.OperationalError, match="^no such column: typo$"):
        conn.execute(f'{many}SELECT "typo" FROM events')
    assert conn.execute(f'{many}SELECT "loss" FROM events').fetchall() == [(0.5,)]
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        conn.execute(f'{many}SELEC "loss" FROM events')


def test_other_errors_are_said_as_they_were(conn: TablesConnection) -> None:
    for sql, said in (
        ('SELECT "loss" FRM events WHERE', 'near "events"'),
        ('SELECT "loss" FROM nowhere', "no such table: nowhere"),
        ('SELECT "loss" "a" "b" FROM events', 'near ""b""'),
        ('SELECT "loss FROM events', "unrecognized token"),
    ):
        with pytest.raises(sqlite3.OperationalError, match=said):
            conn.execute(sql)
    with pytest.raises(sqlite3.ProgrammingError, match="binding"):
        conn.execute('SELECT "loss" FROM events WHERE loss > ?')
    with pytest.raises(ReadOnlyTables):
        conn.execute('UPDATE "default" SET loss = "typo"')
