"""`xt sql`: one read-only query over the tables."""

from __future__ import annotations

import re
import sqlite3
import sys
from typing import Annotated

import typer

from xetrack.cli.options import AsJson, Db, EngineName, FormatName, TableName, chosen, opened_store
from xetrack.cli.output import Format, print_rows
from xetrack.errors import ColumnNotFound, InvalidArgument, TableNotFound

#: How SQLite and DuckDB say what they do not find.
_MISSING_TABLE = re.compile(r"no such table: (.+)|Table with name (.+?) does not exist")
_MISSING_COLUMN = re.compile(r'no such column: (.+)|Referenced column "(.+?)" not found')


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    app.command()(sql)


def sql(
    db: Db,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="For example: SELECT * FROM events LIMIT 5")],
    table: TableName = None,
    engine: EngineName = None,
    form: FormatName = Format.TABLE,
    as_json: AsJson = False,
) -> None:
    """Run a query and print its rows. The tables are read-only: a write is refused.

    `events` is the default table; a name such as "default" that is an SQL keyword goes in double quotes.
    """
    with opened_store(db, engine, table) as (_, handle):
        try:
            cursor = handle.connection().execute(query)
            if cursor.description is None:
                raise InvalidArgument("QUERY", "it returns no rows")
            names = [column[0] for column in cursor.description]
            print_rows(names, cursor, chosen(form, as_json))
        except _sql_errors() as error:
            said = str(error).partition("\n")[0]
            if missing := _MISSING_TABLE.search(said):
                raise TableNotFound(missing[1] or missing[2], handle.store.db, handle.store.tables()) from error
            if missing := _MISSING_COLUMN.search(said):
                raise ColumnNotFound(missing[1] or missing[2], []) from error
            raise InvalidArgument("QUERY", said.rstrip(".")) from error


def _sql_errors() -> tuple[type[Exception], ...]:
    """What the engines raise; DuckDB's only where it is in use."""
    duckdb = sys.modules.get("duckdb")
    return (sqlite3.Error, sqlite3.Warning, *(() if duckdb is None else (duckdb.Error,)))
