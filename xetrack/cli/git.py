"""`xt git`: stores in a git work tree."""

from __future__ import annotations

from typing import Annotated

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson
from xetrack.cli.output import print_json

InTree = Annotated[str, typer.Argument(metavar="[PATH]", help="Anything in the work tree.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    family = typer.Typer(no_args_is_help=True, help="Make a git work tree ready for stores.")
    command(family)(init)
    command(family, "catch-up")(catch_up)
    app.add_typer(family, name="git")


def init(
    path: InTree = ".",
    hooks: Annotated[
        bool, typer.Option("--hooks", help="Have tables follow when git checks out, merges or rewrites.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write what git needs to know of stores: .gitignore for tables, .gitattributes for logs.

    Lines of yours are kept, hooks go on doing what they did. Call it again when there is a new store.
    """
    from xetrack.exchange.worktrees import prepare

    report = prepare(path, hooks=hooks)
    if as_json:
        print_json(report.to_dict())
        return
    for name in report.changed:
        typer.echo(f"written: {name}")
    if not report.changed:
        typer.echo("nothing to change")
    for note in report.notes:
        typer.echo(note, err=True)


def catch_up(path: InTree = ".") -> None:
    """Bring the tables of all stores of the work tree up with their logs, as the hooks do.

    No need to: every xt command and Reader does so for its store. Other SQL clients do not.
    """
    from xetrack.exchange.worktrees import catch_up

    failed = catch_up(path)
    for store, said in failed.items():
        typer.echo(f"{store}: {said}", err=True)
    if failed:
        raise typer.Exit(1)
