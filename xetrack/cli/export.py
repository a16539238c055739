"""`xt export`: rows as a data set, and a data set built again from its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, At, Db, EngineName, TableName, TrackId
from xetrack.cli.output import print_json
from xetrack.cli.progress import Quiet, progress
from xetrack.config import Settings
from xetrack.errors import InvalidArgument

if TYPE_CHECKING:
    from xetrack.exchange.manifest import ExportReport


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    command(app)(export)


def export(
    db: Db,
    out: Annotated[
        str | None,
        typer.Argument(metavar="[OUT]", help="File to write: .jsonl, .csv, .tsv, .parquet, text also .gz, .zst."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="A,B,C", help="Only these, in this order.")
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", metavar="SQL", help="Only rows where this condition holds.")
    ] = None,
    track_id: TrackId = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="SHARES", help="A file for each part: 0.9,0.1 or train=0.8,val=0.1,test=0.1."),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="COLUMN", help="Rows equal in it stay together.")] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Another number, another split.")] = 0,
    form: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="Where the suffix does not say it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    again: Annotated[
        str | None, typer.Option("--again", metavar="MANIFEST", help="Build the data set of this manifest again.")
    ] = None,
    check: Annotated[
        str | None, typer.Option("--check", metavar="MANIFEST", help="Whether that can be built again; write nothing.")
    ] = None,
    table: TableName = None,
    engine: EngineName = None,
    at: At = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write rows to files as a data set, with a manifest beside them.

    The manifest, OUT.manifest.json, says what was asked for, up to which event the log was read, and the hash of
    each file. --again builds the same files from it, whatever was logged or changed since; --check says whether it can.
    Exit status 1 if the rows come out otherwise; then nothing is written without --force.
    """
    Settings.resolve(engine=engine)  # rows come from the log: any engine will do, if it is one
    from xetrack.exchange import exporters

    manifest = again or check
    if manifest is None:
        if out is None:
            raise InvalidArgument("OUT", "it is not given")
        if out == "-":
            raise InvalidArgument("OUT", "a data set is files; `xt sql DB QUERY --format csv` prints rows")
        with progress("Exporting", db, quiet=quiet):
            report = exporters.export(
                db,
                out,
                table=table,
                columns=columns,
                where=where,
                track_id=track_id,
                split=split,
                by=by,
                seed=seed,
                form=form,
                force=force,
                at=at,
            )
    else:
        if (columns, where, track_id, split, by, form, table, at) != (None,) * 8 or seed or (again and check):
            raise InvalidArgument(
                "--again" if again else "--check", "the manifest says what to export, nothing else may"
            )
        if again:
            with progress("Exporting", db, quiet=quiet):
                report = exporters.export_again(db, again, out, force=force)
        else:
            if out is not None:
                raise InvalidArgument("OUT", "--check writes nothing")
            with progress("Checking", db, quiet=quiet):
                report = exporters.check_export(db, manifest)
    if as_json:
        print_json(report.to_json())
    else:
        _print(report, checked=bool(manifest))
    if not report.ok:
        raise typer.Exit(1)


def _print(report: ExportReport, *, checked: bool) -> None:
    for path, file in zip(report.paths, report.files, strict=True):
        typer.echo(f"{file.rows:>9} rows  {path}")
    if not report.rows:
        typer.echo("No row was asked for, or there is none: the files are empty.")
    if report.manifest is not None:
        typer.echo(f"manifest:       {report.manifest}")
    if checked and report.ok:
        typer.echo("The rows are those of the manifest.")
    for note in report.notes:
        typer.echo(f"note: {note}")
    for difference in report.differences:
        typer.echo(f"differs: {difference}")
