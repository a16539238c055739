"""`xt skills`: what tells coding agents how to use xetrack."""

from __future__ import annotations

from typing import Annotated

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson
from xetrack.cli.output import print_json


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    family = typer.Typer(no_args_is_help=True, help="Skills for coding agents: API, benchmarks, versions.")
    command(family, "list")(list_)
    command(family)(install)
    app.add_typer(family, name="skills")


def list_(as_json: AsJson = False) -> None:
    """List the skills that come with this release."""
    from xetrack.workflow.skills import skills

    if as_json:
        print_json(list(skills()))
    else:
        for name in skills():
            typer.echo(name)


def install(
    names: Annotated[list[str] | None, typer.Argument(metavar="[SKILL]...", help="Which; all without.")] = None,
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder of skills.")] = "~/.claude/skills",
    as_json: AsJson = False,
) -> None:
    """Copy skills to where an agent looks for them; older ones of the same name are replaced."""
    from xetrack.workflow.skills import install as installed

    places = [str(place) for place in installed(names or None, to)]
    if as_json:
        print_json(places)
    else:
        for place in places:
            typer.echo(place)
