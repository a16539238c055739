"""`xt head`, `xt tail`, `xt ls`, `xt columns`: what a table holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from xetrack.cli import completion
from xetrack.cli.commands import command
from xetrack.cli.options import Count, Output, Place, TrackId, names_of
from xetrack.errors import InvalidArgument


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    for function in (head, tail, ls, columns):
        command(app)(function)


@dataclass(frozen=True)
class Some(Output):
    """A few rows unless more are asked for."""

    n: Count = 10


def head(place: Place, output: Some, track_id: TrackId = None) -> None:
    """Print the first rows of a table."""
    _print_some(place, output, track_id, last=False)


def tail(
    place: Place,
    output: Some,
    track_id: TrackId = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with rows as they arrive.")] = False,
    events: Annotated[
        bool, typer.Option("--events", help="With -f: events instead, changes and deletions too.")
    ] = False,
    cursor: Annotated[
        str | None,
        typer.Option("--cursor", metavar="FILE", help="With -f: go on where FILE says, and keep it up to date."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="With -f: end when there is no more.")] = False,
) -> None:
    """Print the last rows of a table, oldest first; with -f also what comes, a line each, until interrupted.

    Followed rows have the keys they were logged with, and each comes once, in the order of arrival.
    """
    if follow and (place.at is not None or output.sort is not None):
        raise InvalidArgument("--follow", "rows are followed as they arrive: without --at and --sort")
    if not follow and (events or once or cursor is not None):
        raise InvalidArgument("--follow", "--events, --once and --cursor go with it")
    if not follow:
        _print_some(place, output, track_id, last=True)
        return
    from xetrack.cli.follow import follow_to

    with place.opened() as table:
        follow_to(table, output, track_id, last=output.n or 0, events=events, file=cursor, once=once)


def ls(
    place: Place,
    output: Output,
    column: Annotated[
        str | None,
        typer.Argument(metavar="[COLUMN]", help="Print its values.", autocompletion=completion.columns),
    ] = None,
    unique: Annotated[bool, typer.Option("--unique", help="Each value once, in order of appearance.")] = False,
    track_id: TrackId = None,
) -> None:
    """Print the names of a table's columns, or the values of one, a line each."""
    from xetrack.read.selection import select

    with place.opened() as table:
        if track_id is not None:
            require_run(table.runs(), track_id)
        if column is None:
            output.show_list("column", table.columns)
            return
        for name in names_of(output.columns):
            table.resolve(name)  # one column is printed, but a mistyped name is told
        names, rows = select(table, columns=[column], where=output.where, sort=output.order, track_id=track_id)
    values = [row[0] for row in rows]
    if unique:
        values = list({(type(value), value): value for value in values}.values())
    output.write_list(names[0], values[: output.n])


def columns(place: Place, output: Output) -> None:
    """Print the columns of a table and their types."""
    with place.opened() as table:
        types = table.dtypes
        output.show(["column", "type"], [(name, types[name].__name__) for name in table.columns])


def _print_some(place: Place, output: Some, track_id: str | None, *, last: bool) -> None:
    from xetrack.read.selection import select

    with place.opened() as table:
        if track_id is not None:
            require_run(table.runs(), track_id)
        output.write(*select(table, track_id=track_id, last=last, **output.wanted()))


def require_run(runs: list[str], track_id: str) -> None:
    """Raise ``RunNotFound`` with near matches unless the run is there."""
    if track_id not in runs:
        from difflib import get_close_matches

        from xetrack.errors import RunNotFound

        raise RunNotFound(track_id, get_close_matches(track_id, runs))
