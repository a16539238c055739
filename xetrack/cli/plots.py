"""`xt plot`: values of columns as charts, in the terminal or as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer

from xetrack.cli import completion
from xetrack.cli.charts import Chart, Curve, save, text_of
from xetrack.cli.commands import command
from xetrack.cli.options import Place, Where
from xetrack.cli.output import visible
from xetrack.cli.rows import require_run
from xetrack.errors import InvalidArgument

#: Columns that count steps; the first that is there is the x axis of a line.
_STEPS = ("step", "global_step", "iteration", "epoch")
#: More curves are not told apart.
_MOST_CURVES = 12

Runs = Annotated[
    list[str] | None,
    typer.Option("--track-id", metavar="RUN", help="Only this run; may be repeated.", autocompletion=completion.runs),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="COLUMN",
        help="One curve for each of its values.",
        autocompletion=completion.columns,
    ),
]


def _column(metavar: str, text: str) -> Any:
    return typer.Argument(metavar=metavar, help=text, autocompletion=completion.columns)


@dataclass(frozen=True)
class Picture:
    """How large a chart is, and where to."""

    width: Annotated[int | None, typer.Option("--width", min=20, help="Characters in a line.")] = None
    height: Annotated[int | None, typer.Option("--height", min=5, help="Lines.")] = None
    out: Annotated[
        str | None, typer.Option("--save", metavar="FILE", help="Write a .png, .svg or .pdf with matplotlib instead.")
    ] = None

    def show(self, chart: Chart) -> None:
        if not chart.curves:
            typer.echo(f"No numbers to plot: {chart.title}", err=True)
            return
        if self.out is not None:
            save(chart, self.out, self.width, self.height)
            typer.echo(f"wrote {self.out}", err=True)
        else:
            typer.echo(text_of(chart, self.width, self.height), nl=False, color=True)


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    family = typer.Typer(no_args_is_help=True, help="Draw values of columns in the terminal or as a picture.")
    for function in (hist, scatter, line):
        command(family)(function)
    app.add_typer(family, name="plot")


def hist(
    place: Place,
    picture: Picture,
    column: Annotated[str, _column("COLUMN", "Column of numbers.")],
    bins: Annotated[int, typer.Option("--bins", min=1, max=1000, help="Bars.")] = 20,
    track_ids: Runs = None,
    group_by: GroupBy = None,
    where: Where = None,
) -> None:
    """Draw how often values of a column are there, with how many there are, their minimum, mean and maximum."""
    curves = _curves(_points(place, [column], track_ids, [group_by] if group_by else [], where))
    picture.show(Chart("hist", f"{column} histogram", column, "", curves, bins))
    for curve in curves if picture.out is None else []:
        typer.echo(
            f"{f'{curve.name}: ' if curve.name else ''}observations: {len(curve.y)}   min value: {min(curve.y):.6g}   "
            f"mean: {math.fsum(curve.y) / len(curve.y):.6g}   max value: {max(curve.y):.6g}"
        )


def scatter(
    place: Place,
    picture: Picture,
    x: Annotated[str, _column("X", "Column of numbers, or timestamp.")],
    y: Annotated[str, _column("Y", "Column of numbers.")],
    track_ids: Runs = None,
    group_by: GroupBy = None,
    where: Where = None,
) -> None:
    """Draw a point for each row that has both values."""
    groups = _points(place, [x, y], track_ids, [group_by] if group_by else [], where)
    picture.show(Chart("scatter", f"{y} against {x}", x, y, _curves(groups)))


def line(
    place: Place,
    picture: Picture,
    metric: Annotated[str, _column("METRIC", "Column of numbers.")],
    x: Annotated[
        str | None,
        typer.Option(
            "--x",
            metavar="COLUMN",
            help="What it is drawn against; timestamp: seconds since the curve began. Else step or epoch.",
            autocompletion=completion.columns,
        ),
    ] = None,
    track_ids: Runs = None,
    group_by: GroupBy = None,
    where: Where = None,
) -> None:
    """Draw a metric over time, one curve for each run.

    Without --x it is drawn against the first of step, global_step, iteration and epoch that the table has, else
    against the number of the row in its run. With --group-by a curve is the mean of its runs.
    """
    if x is None:
        with place.opened() as table:
            x = next((name for name in _STEPS if name in table.columns and name != metric), None)
    columns = [metric] if x is None else [x, metric]
    runs = _points(place, columns, track_ids, ["track_id", *([group_by] if group_by else [])], where)
    groups: Points = {}
    for name, points in runs.items():
        if x is None:
            points = [(float(number), y) for number, (y,) in enumerate(points, 1)]
        elif x == "timestamp":
            points = [(at - points[0][0], y) for at, y in points]
        groups.setdefault(name[1:] if group_by else name, []).extend(points)
    groups = {name: _mean(points) if group_by else sorted(points) for name, points in groups.items()}
    label = "row" if x is None else "seconds" if x == "timestamp" else x
    picture.show(Chart("line", metric, label, "", _curves(groups)))


#: Points by what their rows have in the columns that tell groups apart; by () if none do.
Points = dict[tuple[Any, ...], list[tuple[float, ...]]]


def _curves(groups: Points) -> list[Curve]:
    if len(groups) > _MOST_CURVES:
        typer.echo(
            f"{len(groups) - _MOST_CURVES} of {len(groups)} curves are not shown: --track-id and --where choose",
            err=True,
        )
        groups = dict(list(groups.items())[-_MOST_CURVES:])
    return [
        Curve(visible(", ".join(map(str, name))), [point[0] for point in points], [point[-1] for point in points])
        for name, points in groups.items()
    ]


def _mean(points: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """One point for each x: the mean of all that are there."""
    at: dict[float, list[float]] = {}
    for x, y in sorted(points):
        at.setdefault(x, []).append(y)
    return [(x, math.fsum(own) / len(own)) for x, own in at.items()]


def _points(
    place: Place, columns: Sequence[str], track_ids: list[str] | None, by: Sequence[str], where: str | None
) -> Points:
    """The rows' numbers in these columns, in order, apart by what they have in the columns ``by``."""
    from xetrack.read.selection import select

    with place.opened() as table:
        if track_ids:
            runs = table.runs()
            for track_id in track_ids:
                require_run(runs, track_id)
        names, rows = select(table, columns=[*columns, "track_id", *by], where=where)
    groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in rows:
        if not track_ids or row[len(columns)] in track_ids:
            groups.setdefault(row[len(columns) + 1 :], []).append(row[: len(columns)])
    found = {name: _numbers(names, own) for name, own in groups.items()}
    return {name: points for name, points in found.items() if points}


def _numbers(names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> list[tuple[float, ...]]:
    """The rows in which every cell is a finite number, or a time in seconds."""
    points = []
    for row in rows:
        if None not in row:
            point = tuple(_number(name, cell) for name, cell in zip(names, row, strict=False))
            if all(map(math.isfinite, point)):
                points.append(point)
    return points


def _number(name: str, cell: Any) -> float:
    if isinstance(cell, int | float):
        try:
            return float(cell)
        except OverflowError:
            return math.inf
    try:
        if name == "timestamp" or isinstance(cell, datetime):
            return (cell if isinstance(cell, datetime) else datetime.fromisoformat(cell)).timestamp()
    except (ValueError, OverflowError):
        pass
    raise InvalidArgument("COLUMN", f"{name!r} holds {cell!r}, which is no number")
