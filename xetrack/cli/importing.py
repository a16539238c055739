"""`xt import`: rows of old databases, data files and other trackers."""

from __future__ import annotations

from typing import Annotated

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, Db
from xetrack.cli.output import Format, print_json, print_rows
from xetrack.cli.progress import Quiet, progress


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    command(app, "import")(import_)


def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What to import, or - for standard input.")],
    db: Db,
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help="What SOURCE is, if not clear.")] = None,
    table: Annotated[
        str | None, typer.Option("--table", metavar="NAME", help="Table to import into; of a database, which to take.")
    ] = None,
    track_id: Annotated[
        str | None, typer.Option("--track-id", metavar="RUN", help="Run of rows that name none.")
    ] = None,
    parse: Annotated[bool, typer.Option("--parse", help="Make lists and dicts of texts that look like one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the report and write nothing.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Take over rows that something else wrote, into a store that is made if it is not there.

    SOURCE is a database of xetrack 0.x, tables whose log is gone, a file of CSV, TSV, JSON lines or Parquet, or what
    another tracker wrote. Importing again adds only what is new.
    """
    import xetrack

    with progress("Importing", quiet=quiet):
        report = xetrack.import_data(
            source, db, kind=kind, table=table, track_id=track_id, parse=parse, dry_run=dry_run
        )
    if as_json:
        print_json(report.to_dict())
        return
    rows = [(name, one.rows_added, one.rows_known, one.rows_changed) for name, one in report.tables.items()]
    print_rows(["table", "rows added", "rows known", "rows changed"], rows, Format.TABLE)
    if report.assets:
        typer.echo(f"{report.assets} stored objects")
    if dry_run:
        typer.echo("nothing was written: this was a dry run")
    for line in report.left_out:
        typer.echo(f"left out: {line}", err=True)
