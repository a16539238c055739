"""`xt head`, `xt tail`, `xt ls`, `xt columns`: what a table holds."""

from __future__ import annotations

from typing import Annotated

import typer

from xetrack.cli.options import AsJson, Db, EngineName, FormatName, TableName, TrackId, chosen, opened_table
from xetrack.cli.output import Format, print_list, print_rows

Count = Annotated[int, typer.Option("--n", "-n", min=0, help="How many rows.")]


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    app.command()(head)
    app.command()(tail)
    app.command()(ls)
    app.command()(columns)


def head(
    db: Db,
    n: Count = 10,
    track_id: TrackId = None,
    table: TableName = None,
    engine: EngineName = None,
    form: FormatName = Format.TABLE,
    as_json: AsJson = False,
) -> None:
    """Print the first rows of a table."""
    _print_some(db, n, track_id, table, engine, chosen(form, as_json), last=False)


def tail(
    db: Db,
    n: Count = 10,
    track_id: TrackId = None,
    table: TableName = None,
    engine: EngineName = None,
    form: FormatName = Format.TABLE,
    as_json: AsJson = False,
) -> None:
    """Print the last rows of a table, oldest first."""
    _print_some(db, n, track_id, table, engine, chosen(form, as_json), last=True)


def ls(
    db: Db,
    column: Annotated[str | None, typer.Argument(metavar="[COLUMN]", help="Print its values.")] = None,
    unique: Annotated[bool, typer.Option("--unique", help="Each value once, in order of appearance.")] = False,
    track_id: TrackId = None,
    table: TableName = None,
    engine: EngineName = None,
    form: FormatName = Format.TABLE,
    as_json: AsJson = False,
) -> None:
    """Print the names of a table's columns, or the values of one, a line each."""
    with opened_table(db, engine, table) as handle:
        if track_id is not None:
            require_run(handle.runs(), track_id)
        if column is None:
            print_list("column", handle.columns, chosen(form, as_json))
            return
        values = handle.column(column, track_id)
        if unique:
            values = list({(type(value), value): value for value in values}.values())
        print_list(column, values, chosen(form, as_json))


def columns(
    db: Db,
    table: TableName = None,
    engine: EngineName = None,
    form: FormatName = Format.TABLE,
    as_json: AsJson = False,
) -> None:
    """Print the columns of a table and their types."""
    with opened_table(db, engine, table) as handle:
        types = handle.dtypes
        rows = [(name, types[name].__name__) for name in handle.columns]
        print_rows(["column", "type"], rows, chosen(form, as_json))


def _print_some(
    db: str, n: int, track_id: str | None, table: str | None, engine: str | None, form: Format, *, last: bool
) -> None:
    with opened_table(db, engine, table) as handle:
        if track_id is not None:
            require_run(handle.runs(), track_id)
        names = handle.columns
        records = handle.records(track_id, limit=n, last=last)
        print_rows(names, [[record.get(name) for name in names] for record in records], form)


def require_run(runs: list[str], track_id: str) -> None:
    """Raise ``RunNotFound`` with near matches unless the run is there."""
    if track_id not in runs:
        from difflib import get_close_matches

        from xetrack.errors import RunNotFound

        raise RunNotFound(track_id, get_close_matches(track_id, runs))
