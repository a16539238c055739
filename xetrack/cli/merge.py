"""`xt copy`: what one store has and another lacks."""

from __future__ import annotations

from typing import Annotated

import typer

from xetrack.cli.options import AsJson
from xetrack.cli.output import print_json


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    app.command()(copy)


def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Path of a store. It is only read.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Path of a store, made if it is not there.")],
    assets: Annotated[bool, typer.Option("--assets/--no-assets", help="Take stored objects along.")] = True,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", metavar="NAME", help="Table to copy, may be repeated; else the default table."),
    ] = None,
    all_tables: Annotated[bool, typer.Option("--all-tables", help="Copy every table of the source.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take over what the source has and the target lacks, and print how many rows became visible.

    Copying again takes over what is new since: rows, and what was set, deleted or undone.
    """
    import xetrack
    from xetrack.errors import InvalidArgument

    if all_tables and table:
        raise InvalidArgument("--all-tables", "it already holds every --table")
    count = xetrack.copy(source, target, assets=assets, tables="all" if all_tables else table or None)
    if as_json:
        print_json({"rows_copied": count})
    else:
        typer.echo(f"{count} rows copied")
