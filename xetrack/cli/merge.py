"""`xt merge`, `xt rebase`, `xt copy`: what one store has and another lacks."""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, TableName, names_of
from xetrack.cli.output import Format, counted, print_json, print_rows
from xetrack.cli.progress import Quiet, progress
from xetrack.errors import InvalidArgument, MergeConflict

if TYPE_CHECKING:
    from xetrack.exchange.report import MergeReport, Side


class PolicyName(str, enum.Enum):
    """What ``--policy`` may be."""

    LATEST = "latest"
    OURS = "ours"
    THEIRS = "theirs"
    ERROR = "error"


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    command(app)(merge)
    command(app)(rebase)
    command(app)(copy)


def merge(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Stores, or git:<rev>[:<path>]; or data files.")
    ],
    into: Annotated[
        str,
        typer.Option(
            "--into",
            metavar="DB",
            help="Store or data file to merge into, made if it is not there.",
            envvar="XETRACK_DB",
            show_envvar=False,
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the report and write nothing.")] = False,
    policy: Annotated[
        PolicyName,
        typer.Option(
            "--policy",
            help="Whose value stands where two had not seen each other: the later one, ours, theirs, or none.",
            case_sensitive=False,
        ),
    ] = PolicyName.LATEST,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Take over all that the sources have and DB lacks, and report what disagrees.

    Merging again takes over what is new since. With --policy error a conflict ends the command with exit status 1,
    and nothing is taken over. Rows of data files (Parquet, CSV, JSON lines) are appended, columns joined by name.
    """
    import xetrack

    try:
        with progress("Merging", *sources, into, quiet=quiet):
            report = xetrack.merge(*sources, into=into, dry_run=dry_run, policy=policy.value)
    except MergeConflict as error:
        _print_report(error.report, as_json)  # type: ignore[arg-type]  # errors stand below reports
        raise
    _print_report(report, as_json)


def _print_report(report: MergeReport, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
        return
    names = ["table", "rows added", "mutations added", "columns added", "columns widened"]
    rows = [
        (name, one.rows_added, one.mutations_added, ", ".join(one.columns_added), ", ".join(one.columns_widened))
        for name, one in report.tables.items()
    ]
    if rows:
        print_rows(names, rows, Format.TABLE)
    notes = report.notes()
    for line in notes:
        typer.echo(line)
    if not (rows or notes):
        typer.echo("nothing to take over")
    if report.conflicts:
        typer.echo(f"conflicts: {len(report.conflicts)}")
        names = ["kind", "table", "track_id", "column", "rows", "ours", "theirs", "stands"]
        print_rows(
            names,
            [
                (
                    one.kind,
                    one.table,
                    one.track_id,
                    one.column,
                    one.row_count,
                    _said(one.kind, one.ours),
                    _said(one.kind, one.theirs),
                    one.winner,
                )
                for one in report.conflicts
            ],
            Format.TABLE,
        )


def rebase(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A store, or git:<rev>[:<path>]; or a data file.")],
    onto: Annotated[
        str,
        typer.Option(
            "--onto",
            metavar="DB",
            help="Store or data file whose rows are replaced.",
            envvar="XETRACK_DB",
            show_envvar=False,
        ),
    ],
    keys: Annotated[
        list[str], typer.Option("--key", metavar="COL", help="Column of the key, may be repeated; or A,B,C.")
    ],
    table: TableName = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="FILE", help="Of data files: write there instead.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the report and write nothing.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Take over SOURCE; its rows replace those of DB with the same key.

    Replaced rows stay in the log, and `xt undo` of the one event brings them back. A row without a value in a key
    column replaces nothing. Rebasing again changes nothing.
    """
    import xetrack
    from xetrack.config import Settings

    names = [name for key in keys for name in names_of(key)]
    with progress("Rebasing", source, onto, quiet=quiet):
        report = xetrack.rebase(source, onto, names, Settings.resolve(table=table).table, dry_run=dry_run, out=out)
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo(str(report))


def _said(kind: str, side: Side) -> str:
    value: Any = side.value
    if kind != "set/set" and value is None:
        return side.author
    return f"{value if isinstance(value, str) else json.dumps(value, default=str)} by {side.author}"


def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Path of a store, or git:<rev>[:<path>].")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Path of a store, made if it is not there.")],
    assets: Annotated[bool, typer.Option("--assets/--no-assets", help="Take stored objects along.")] = True,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", metavar="NAME", help="Table to copy, may be repeated; else the default table."),
    ] = None,
    all_tables: Annotated[bool, typer.Option("--all-tables", help="Copy every table of the source.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Take over what the source has and the target lacks, and print how many rows became visible.

    Copying again takes over what is new since: rows, and what was set, deleted or undone.
    """
    import xetrack

    if all_tables and table:
        raise InvalidArgument("--all-tables", "it already holds every --table")
    with progress("Copying", source, target, quiet=quiet):
        count = xetrack.copy(source, target, assets=assets, tables="all" if all_tables else table or None)
    if as_json:
        print_json({"rows_copied": count})
    else:
        typer.echo(f"{counted(count, 'row')} copied")
