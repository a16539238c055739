"""`xt replay`, `xt verify`, `xt compact`: make the tables again, check the log, pack it."""

from __future__ import annotations

from typing import Annotated

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, At, Db, EngineName, opened_store
from xetrack.cli.output import Format, print_json, print_rows
from xetrack.cli.progress import Quiet, progress


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    command(app)(replay)
    command(app)(verify)
    command(app)(compact)


def replay(
    db: Db,
    at: At = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="NEW", help="Make a store there with what was there at that moment.")
    ] = None,
    engine: EngineName = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make all tables again from the log, and print how many rows each has.

    With --to these are the tables of a new store, which holds the events up to --at, or all there are.
    """
    import xetrack

    with progress("Replaying", db, quiet=quiet):
        rows = list(xetrack.replay(db, at=at, to=to, engine=engine).items())
    print_rows(["table", "rows"], rows, Format.JSON if as_json else Format.TABLE)


def verify(db: Db, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Check every line and asset of the log, and the tables against it.

    Exit status 1 if anything is damaged, or if one id stands for two events. A torn last line, left by a killed
    process, is told but no damage.
    """
    with opened_store(db, None, None) as (store, _):
        # The log by itself, then for the tables' sake: as they are, and made anew.
        with progress("Verifying", db, passes=2, quiet=quiet):
            report = store.verify()
    if as_json:
        print_json(report.to_json())
    else:
        typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(1)


def compact(
    db: Db,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be packed.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Pack finished segments, line for line, into a few compressed files.

    What a living process writes stays; in a git work tree so does every segment without an end, as another clone may
    be writing to it. Safe at any time: whoever reads or logs meanwhile sees every row.
    """
    with opened_store(db, None, None) as (store, _):
        with progress("Packing", db, passes=2, quiet=quiet):
            report = store.compact(dry_run=dry_run)
    if as_json:
        print_json(report.to_json())
    else:
        typer.echo(str(report))
