"""`xt stats`: what the values of columns are like, and the rows with the largest and the smallest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from xetrack.cli import completion
from xetrack.cli.commands import command
from xetrack.cli.options import Count, Output, Place, TrackId, names_of
from xetrack.cli.rows import require_run

Column = Annotated[str, typer.Argument(metavar="COLUMN", help="Column to look at.", autocompletion=completion.columns)]


@dataclass(frozen=True)
class One(Output):
    """A single row unless more are asked for."""

    n: Count = 1


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    family = typer.Typer(no_args_is_help=True, help="Describe columns, and print the rows at their ends.")
    for function in (describe, top, bottom):
        command(family)(function)
    app.add_typer(family, name="stats")


def describe(place: Place, output: Output, track_id: TrackId = None) -> None:
    """Print one line for each column: how many values it has, and what they are like.

    Numbers have mean, standard deviation, minimum, quartiles and maximum; NaN counts as missing. All others have
    their most frequent value and how often it is there. --columns names the columns, --where chooses the rows.
    """
    from xetrack.read.selection import choose, select_columns

    with place.opened() as table:
        if track_id is not None:
            require_run(table.runs(), track_id)
        wanted = names_of(output.columns) or None
        names, cells = select_columns(table, columns=wanted, where=output.where, track_id=track_id)
        types = table.dtypes
    made = [_described(name, types[name].__name__, own) for name, own in zip(names, cells, strict=True)]
    output.write(*choose(_FACTS, made, sort=output.order, limit=output.n))


def top(place: Place, output: One, column: Column, track_id: TrackId = None) -> None:
    """Print the row with the largest value of a column, or the --n rows with the largest."""
    _print_extreme(place, output, column, track_id, "-")


def bottom(place: Place, output: One, column: Column, track_id: TrackId = None) -> None:
    """Print the row with the smallest value of a column, or the --n rows with the smallest."""
    _print_extreme(place, output, column, track_id, "")


def _print_extreme(place: Place, output: One, column: str, track_id: str | None, sign: str) -> None:
    from xetrack.read.selection import select

    with place.opened() as table:
        if track_id is not None:
            require_run(table.runs(), track_id)
        own = table.resolve(column)
        options = {**output.wanted(), "sort": [f"{sign}{own}", *output.order]}
        output.write(*select(table, track_id=track_id, filled=own, **options))


_FACTS = [
    *("column", "type", "count", "missing", "unique"),
    *("mean", "std", "min", "25%", "50%", "75%", "max"),
    *("top", "freq"),
]


_HASHED = {str, int, float, bool, bytes}


def _described(name: str, type_name: str, cells: Sequence[Any]) -> list[Any]:
    values = [cell for cell in cells if cell is not None and cell == cell]
    types = set(map(type, values))
    hashed = [value if type(value) in _HASHED else repr(value) for value in values] if types - _HASHED else values
    counts = Counter(hashed)
    told = [name, type_name, len(values), len(cells) - len(values), len(counts)]
    if types and types <= {int, float}:
        return [*told, *_of_numbers(values), None, None]
    common, count = counts.most_common(1)[0] if hashed else (None, None)
    return [*told, *[None] * 7, common, count]


def _of_numbers(numbers: list[Any]) -> list[Any]:
    """Mean, standard deviation of a sample, minimum, quartiles, maximum. Integers stay what they are."""
    ordered = sorted(numbers)
    std: float | None
    try:
        mean = math.fsum(ordered) / len(ordered)
        std = math.sqrt(math.fsum([(number - mean) ** 2 for number in ordered]) / (len(ordered) - 1))
    except (OverflowError, ValueError):  # infinities, or numbers past what a float can hold
        mean, std = _rough_mean(ordered), math.nan
    except ZeroDivisionError:
        std = None  # of one number there is none
    quartiles = [_quantile(ordered, share) for share in (0.25, 0.5, 0.75)]
    return [mean, std, ordered[0], *quartiles, ordered[-1]]


def _rough_mean(ordered: list[Any]) -> float:
    import statistics

    try:
        return float(statistics.mean(ordered))
    except (OverflowError, ValueError):
        return math.nan


def _quantile(ordered: list[Any], share: float) -> Any:
    """Between two values in proportion to the distance, as pandas and NumPy have it."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    left, right = ordered[low], ordered[min(low + 1, len(ordered) - 1)]
    if place == low or left == right:
        return left
    try:
        return left + (right - left) * (place - low)
    except OverflowError:  # integers past what a float can hold
        return left + (right - left) // 2
