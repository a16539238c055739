"""The question before a command that cannot be taken back."""

from __future__ import annotations

import sys

import typer

from xetrack.errors import NotConfirmed


def ask(command: str, question: str, yes: bool) -> None:
    """Go on only if ``yes`` was given or somebody at the terminal says so; else end the command with status 1.

    Raises:
        NotConfirmed: there is no terminal.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NotConfirmed(command)
    if not typer.confirm(question, err=True):
        typer.echo("Nothing was changed.", err=True)
        raise typer.Exit(1)
