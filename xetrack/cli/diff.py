"""`xt diff`: what differs between two states of a table."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, AsMarkdown, FormatName, TableName, chosen, names_of
from xetrack.cli.output import Format, print_json, print_rows

_COLUMNS = ["track_id", "row", "column", "a", "b"]


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    command(app)(diff)


def diff(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A store, a moment of it such as track.db@-2h, or git:<rev>[:<path>].")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="COL", help="Compare rows with the same value in it; may be repeated."),
    ] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit status 1 if they differ.")] = False,
    table: TableName = None,
    form: FormatName = Format.TABLE,
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """Print which rows B has and A has not, which A has and B has not, and which cells differ.

    Without --key a row is compared with itself: that of the same event. Behind an @ stands whatever --at takes.
    Markdown is fit for a pull request; csv, tsv and jsonl are the changed cells alone.
    """
    import xetrack

    keys = [name for text in key or () for name in names_of(text)]
    report = xetrack.diff(a, b, keys=keys or None, table=table)
    form = Format.MARKDOWN if as_markdown else chosen(form, as_json)
    rows = [(each.track_id, each.row, each.column, each.a, each.b) for each in report.cells_changed]
    if form is Format.JSON:
        print_json(report.to_dict())
    elif form in (Format.TABLE, Format.MARKDOWN):
        typer.echo(f"**{report}**\n" if form is Format.MARKDOWN else str(report))
        if rows:
            print_rows(_COLUMNS, [(*row[:3], *_told_apart(*row[3:])) for row in rows], form)
    else:
        print_rows(_COLUMNS, rows, form)
    if exit_code and report.differs:
        raise typer.Exit(1)


def _told_apart(a: Any, b: Any) -> tuple[Any, Any]:
    """Two values for the eye: a text that looks like the other value goes in quotes."""
    if type(a) is not type(b) and str(a) == str(b):
        return tuple(json.dumps(one) if isinstance(one, str) else one for one in (a, b))  # type: ignore[return-value]
    return a, b
