"""`xt sql`: one read-only query over the tables."""

from __future__ import annotations

import sqlite3
from typing import Annotated

import typer

from xetrack.cli.options import AsJson, Db, EngineName, FormatName, TableName, chosen, opened_store
from xetrack.cli.output import Format, print_rows
from xetrack.errors import ColumnNotFound, InvalidArgument, TableNotFound


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
        except (sqlite3.Error, sqlite3.Warning) as error:
            missing, _, name = str(error).partition(": ")
            if missing == "no such table":
                raise TableNotFound(name, handle.store.db, handle.store.tables()) from error
            if missing == "no such column":
                raise ColumnNotFound(name, []) from error
            raise InvalidArgument("QUERY", str(error)) from error
