"""`xt validate`, `xt summary`: is a benchmark sound, and what came out of it?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, At, Db, EngineName, TableName
from xetrack.cli.output import counted, print_json, visible
from xetrack.config import Settings

Split = Annotated[str | None, typer.Option("--split", metavar="COLUMN", help="Column that says the split of a row.")]
Item = Annotated[str | None, typer.Option("--item", metavar="COLUMN", help="Column that says what a row is about.")]


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    for function in (validate, summary):
        command(app)(function)


def validate(
    db: Db,
    table: TableName = None,
    engine: EngineName = None,
    split: Split = None,
    item: Item = None,
    as_json: AsJson = False,
    at: At = None,
) -> None:
    """Check a table for what spoils a benchmark; exit status 1 if something was found.

    Failed rows, work that was done twice, items in both training and test rows, parameters that some runs lack,
    columns that were renamed on the way, and parameters that are not rounded.
    """
    from xetrack.workflow.validate import validate as check

    settings = Settings.resolve(engine=engine, table=table)
    report = check(db, settings.table, engine=settings.engine, split=split, item=item, at=at)
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo(f"{counted(report.rows, 'row')} in {counted(report.runs, 'run')} of table {report.table!r}")
        for problem in report.problems:
            typer.echo(visible(f"{problem.check}: {problem.message}"))
            for example in problem.examples:
                typer.echo(visible(f"    {_shown(example)}"))
        for name, reason in report.skipped.items():
            typer.echo(f"{name}: not checked, {reason}", err=True)
        typer.echo("ok" if report.ok else counted(len(report.problems), "problem"))
    if not report.ok:
        raise typer.Exit(1)


def summary(db: Db, table: TableName = None, engine: EngineName = None, as_json: AsJson = False, at: At = None) -> None:
    """Print a table as a page of Markdown: parameters, metrics with the best runs, and a line for each run."""
    from xetrack.workflow.summary import as_markdown, summarize

    settings = Settings.resolve(engine=engine, table=table)
    facts = summarize(db, settings.table, engine=settings.engine, at=at)
    if as_json:
        print_json(facts)
    else:
        typer.echo("\n".join(map(visible, as_markdown(facts).split("\n"))))


def _shown(example: Any) -> str:
    if isinstance(example, dict):
        return ", ".join(f"{key}={_shown(value)}" for key, value in example.items())
    return ", ".join(map(_shown, example)) if isinstance(example, list) else str(example)
