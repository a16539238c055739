"""`xt sql`: one read-only query over the tables."""

from __future__ import annotations

from typing import Annotated

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import Output, Place
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

    `events` is the default table; a name such as "default" that is an SQL keyword goes in double quotes.
    """
    from xetrack.read.selection import sql_errors, translated

    with place.store() as (_, table):
        try:
            cursor = table.connection().execute(query)
            if cursor.description is None:
                raise InvalidArgument("QUERY", "it returns no rows")
            output.show([column[0] for column in cursor.description], cursor)
        except sql_errors() as error:
            raise translated(error, "QUERY", table) from error
