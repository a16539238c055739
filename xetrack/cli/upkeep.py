"""`xt replay`, `xt verify`: make the tables again, check the log."""

from __future__ import annotations

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, Db, EngineName, opened_store
from xetrack.cli.output import Format, print_json, print_rows


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    command(app)(replay)
    command(app)(verify)


def replay(db: Db, engine: EngineName = None, as_json: AsJson = False) -> None:
    """Make all tables again from the log, and print how many rows each has."""
    with opened_store(db, engine, None) as (store, _):
        store.replay()
        rows = [(name, store.table(name).count()) for name in store.tables()]
    print_rows(["table", "rows"], rows, Format.JSON if as_json else Format.TABLE)


def verify(db: Db, as_json: AsJson = False) -> None:
    """Check every line and asset of the log, and the tables against it.

    Exit status 1 if anything is damaged. A torn last line, left by a killed process, is told but no damage.
    """
    with opened_store(db, None, None) as (store, _):
        report = store.verify()
    if as_json:
        print_json(report.to_json())
    else:
        typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(1)
