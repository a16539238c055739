"""`xt sql`: one read-only query over the tables."""

from __future__ import annotations

from typing import Annotated

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import Output, Place, require_table
from xetrack.errors import InvalidArgument


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    command(app)(sql)


def sql(
    place: Place,
    output: Output,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="For example: SELECT * FROM events LIMIT 5")],
) -> None:
    """Run a query and print its rows. The tables are read-only: a write is refused.

    `events` is the default table; a name such as "default" that is an SQL keyword goes in double quotes, text in
    single ones: in double quotes it is a name, also in SQLite.

    SQL has columns for the first 1,900 keys of a table (DuckDB: 4,000); json_extract(_xetrack_more, '$."key"') has the
    others, and the error for such a name says so. --where, --sort and --columns of other commands know them all.
    """
    from xetrack.read.selection import sql_errors, translated

    with place.store() as (store, table):
        if place.table is not None:
            require_table(store, place.table)
        try:
            conn = table.connection()
            if table.engine == "duckdb" and _count(query) > 1:  # SQLite refuses it itself
                raise InvalidArgument("QUERY", "it is more than one statement")
            cursor = conn.execute(query)
            if cursor.description is None:
                raise InvalidArgument("QUERY", "it returns no rows")
            output.show([column[0] for column in cursor.description], cursor)
        except sql_errors() as error:
            raise translated(error, "QUERY", table) from error


def _count(query: str) -> int:
    import duckdb

    return len(duckdb.extract_statements(query))
