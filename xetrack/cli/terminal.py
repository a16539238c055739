"""Tables for eyes: a frame, colours where they are wanted, no more columns than fit.

Only a terminal comes here; whatever is piped is plain and complete.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from xetrack.cli.output import counted
from xetrack.config import forces_color

if TYPE_CHECKING:
    from rich.console import Console

#: A cell's text, and whether it is a number.
Cell = tuple[str, bool]

#: More of a cell is not shown while other columns need the room: the first of these with which all columns fit,
#: and where none does, the first.
_WIDTHS = (40, 28, 20)
#: What a frame takes beside a column's text: a line and two spaces.
_FRAME = 3


def console() -> Console:
    """Standard output as rich writes to it: NO_COLOR, FORCE_COLOR and COLUMNS hold."""
    from rich.console import Console

    colors = forces_color()
    if colors is False:
        return Console(color_system=None, highlight=False)
    return Console(force_terminal=colors, highlight=False, width=None if sys.stdout.isatty() else 10_000)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows in a frame. Columns that do not fit are named beneath, on stderr."""
    from rich.box import ROUNDED
    from rich.table import Table
    from rich.text import Text

    screen = console()
    longest = [max([len(name), *(len(row[place][0]) for row in rows)]) for place, name in enumerate(columns)]
    for wide in (*_WIDTHS, _WIDTHS[0]):
        # A name is shown whole.
        widths = [max(len(name), min(length, wide)) for name, length in zip(columns, longest, strict=True)]
        shown = _fitting(widths, screen.width - 1)
        if len(shown) == len(columns):
            break
    # Alone on the screen, a long text may fold; beside others it is cut.
    alone = len(columns) == 1
    table = Table(box=ROUNDED, header_style="bold", border_style="dim")
    for place in shown:
        numbers = bool(rows) and all(row[place][1] or not row[place][0] for row in rows)
        table.add_column(
            Text(columns[place]),
            justify="right" if numbers else "left",
            no_wrap=not alone,
            overflow="fold" if alone else "ellipsis",
            max_width=None if alone or not sys.stdout.isatty() else widths[place],
        )
    for row in rows:
        # Text, not str: a value is data, never markup.
        table.add_row(*(Text(row[place][0], style="cyan" if row[place][1] else "") for place in shown))
    screen.print(table)
    hidden = columns[len(shown) :]  # `shown` are from the left
    if hidden:
        sys.stdout.flush()
        typer.echo(f"{counted(len(hidden), 'more column')}: {', '.join(hidden)} (--columns chooses)", err=True)


def _fitting(widths: Sequence[int], room: int) -> list[int]:
    """Places of the columns to show: from the left as many as fit, at least one."""
    shown: list[int] = []
    for place, width in enumerate(widths):
        if shown and width + _FRAME > room:
            break
        shown.append(place)
        room -= width + _FRAME
    return shown
