"""`xt` alone: the stores of this folder, and where to go from there."""

from __future__ import annotations

import os
from datetime import datetime

import typer

from xetrack.cli.output import Format, print_json, print_rows
from xetrack.config import store_of_environment


def show(*, as_json: bool) -> None:
    """Print the stores of this folder; the hint that follows is for people, so it goes to stderr."""
    from xetrack.read.stores import stores_in

    found = stores_in(".")
    rows = [
        (info.path, info.runs, info.rows, info.size_bytes, datetime.fromtimestamp((info.last_us or 0) // 1_000_000))
        for info in found
    ]
    columns = ["store", "runs", "rows", "size_bytes", "last_activity"]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    if found:
        print_rows(columns, rows, Format.TABLE)
    else:
        typer.echo("There is no store in this folder; Tracker('track.db') makes one.", err=True)
    for info in found:
        if info.problem:
            typer.echo(f"{info.path}: {info.problem}", err=True)
    named = store_of_environment()
    if named:
        typer.echo(f"$XETRACK_DB names {os.path.relpath(named)}.", err=True)
    listed = f"`xt runs {found[0].path}` lists runs, " if found else ""
    typer.echo(f"{listed}`xt --help` lists all commands.", err=True)
