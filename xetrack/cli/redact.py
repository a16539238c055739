"""`xt redact`: the payload of rows, for good."""

from __future__ import annotations

from typing import Annotated

import typer

from xetrack.cli.asking import ask
from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, Db, TableName, Where
from xetrack.cli.output import print_json
from xetrack.config import Settings
from xetrack.errors import InvalidArgument


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    command(app)(redact)


def redact(
    db: Db,
    track_id: Annotated[
        str | None, typer.Option("--track-id", metavar="RUN", help="All rows of this run, deleted ones too.")
    ] = None,
    where: Where = None,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="Why, for those who miss the rows. It stays in the log."),
    ] = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="Finish what earlier redactions, or those that a merge brought, left.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would go, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    table: TableName = None,
    as_json: AsJson = False,
) -> None:
    """Take the payload of rows out of the store for good, and out of every store that merges with it.

    With the rows go what was set on them alone and the stored objects that no other row refers to. Nothing brings
    them back, no undo, no merge and no copy. What git's history holds is git's to rewrite.
    """
    import xetrack

    name = Settings.resolve(table=table).table
    if not (reason or pending or dry_run):
        raise InvalidArgument("--reason", "a redaction needs one, for those who miss the rows")
    if not (yes or dry_run):
        planned = xetrack.redact(db, track_id, where, reason, name, pending=pending, dry_run=True)
        ask("xt redact", f"{planned}\nNobody can take this back. Go on?", planned.nothing)
    report = xetrack.redact(db, track_id, where, reason, name, pending=pending, dry_run=dry_run)
    if as_json:
        print_json(report.to_dict())
        return
    typer.echo(str(report))
    if not report.nothing:
        typer.echo("What git's history, other copies, logs, caches and exports hold is still there.", err=True)
