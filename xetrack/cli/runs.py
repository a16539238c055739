"""`xt runs`: which runs there are and how they are doing."""

from __future__ import annotations

from datetime import datetime, timezone

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import Output, Place


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    command(app)(runs)


def runs(place: Place, output: Output) -> None:
    """Print the runs of a table: running, finished, failed or died, since when, how many rows, from where.

    In the order of their first rows. What a state follows from: docs/live.md.
    """
    from xetrack.read.runs import COLUMNS, runs_of

    with place.opened() as table:
        found = runs_of(table.store, table)
    output.show(list(COLUMNS), [(*run[:2], _time(run.started_us), _time(run.ended_us), *run[4:]) for run in found])


def _time(time_us: int | None) -> datetime | None:
    return None if time_us is None else datetime.fromtimestamp(time_us / 1e6, timezone.utc)
