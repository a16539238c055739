"""Charts: as text by plotext, as a picture by matplotlib.

A chart is data. Each curve has a mark of its own in text, so that it is told apart
without colours too; the marks are explained above the frame, where they hide nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from xetrack.config import forces_color
from xetrack.errors import InvalidArgument, MissingExtra, storage_error

_MARKS = "•+x*o#@%&=~^"
_BAR = "█"
_COLORS = ["cyan", "orange", "green", "magenta", "yellow", "red", "blue", "lilac"]
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg")
_DPI = 144
#: Width and height of a chart where no terminal says how large it is.
_WIDTH, _HEIGHT = 80, 20


@dataclass(frozen=True)
class Curve:
    """Points of one name, in order; of a histogram only ``y`` counts."""

    name: str
    x: Sequence[float] = ()
    y: Sequence[float] = ()


@dataclass(frozen=True)
class Chart:
    """What there is to see. No curve has a point that is not finite."""

    kind: Literal["line", "scatter", "hist"]
    title: str
    x_label: str = ""
    y_label: str = ""
    curves: list[Curve] = field(default_factory=list)
    bins: int = 10


def text_of(chart: Chart, width: int | None, height: int | None) -> str:
    """The chart as lines of text, with colours if the screen is to have them.

    Raises:
        MissingExtra: plotext is not installed.
    """
    try:
        import plotext
    except ImportError:
        raise MissingExtra("xt plot", "plot") from None

    if not hasattr(plotext, "figure"):  # releases before 6 have another interface
        raise MissingExtra("xt plot", "plot")
    forced = forces_color()
    colorful = sys.stdout.isatty() if forced is None else forced
    columns, lines = _screen()
    width, height = width or columns, height or lines
    if chart.kind == "hist":
        blocks = [_block(plotext, chart, [curve], width, height, colorful) for curve in chart.curves]
    else:
        blocks = [_block(plotext, chart, chart.curves, width, height, colorful)]
    return "\n".join(blocks)


def _screen() -> tuple[int, int]:
    import shutil

    columns, lines = shutil.get_terminal_size((_WIDTH, _HEIGHT + 4))
    return max(columns, 20), max(min(lines - 4, columns // 3), 8) if sys.stdout.isatty() else _HEIGHT


def _block(plotext: Any, chart: Chart, curves: Sequence[Curve], width: int, height: int, colorful: bool) -> str:
    figure = plotext.figure
    figure.clear()
    figure.theme("simple" if colorful else "colorless")
    figure.plot_size(width, height)
    keys = []
    for number, curve in enumerate(curves):
        mark = _BAR if chart.kind == "hist" else _MARKS[number % len(_MARKS)]
        signal_mark: Any = mark
        color = _COLORS[number % len(_COLORS)] if colorful else None
        if color is not None:
            signal_mark = plotext.marker(mark, color)
        if chart.kind == "hist":
            centers, counts = binned(curve.y, chart.bins)
            figure.draw(figure.bar(centers, counts, marker=signal_mark, width=1))
        else:
            x, y = _thinned(chart, curve, width, height)
            signal = figure.signal(x, y, marker=signal_mark)
            if chart.kind == "line":
                signal.lines()
            figure.draw(signal)
        keys.append(f"{mark} {curve.name}" if curve.name else "")
    figure.title(chart.title)
    figure.label(chart.x_label, "x")
    figure.label(chart.y_label, "y")
    text: str = figure.build().string()
    figure.clear()
    if not colorful:
        text = _ESCAPE.sub("", text)
    legend = _folded([key for key in keys if key], width)
    return legend + text.rstrip("\n") + "\n"


def _folded(keys: Sequence[str], width: int) -> str:
    lines: list[str] = []
    for key in keys:
        if lines and len(lines[-1]) + len(key) + 3 <= width:
            lines[-1] += f"   {key}"
        else:
            lines.append(key)
    return "".join(f"{line}\n" for line in lines)


def binned(values: Sequence[float], bins: int) -> tuple[list[float], list[int]]:
    """Centers of equal parts of the range, and how many values are in each."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = high / bins - low / bins  # the difference of two large numbers may be infinite
    counts = [0] * bins
    for value in values:
        counts[min(int((value / 1 - low) / step), bins - 1)] += 1
    return [low + (number + 0.5) * step for number in range(bins)], counts


def _thinned(chart: Chart, curve: Curve, width: int, height: int) -> tuple[list[float], list[float]]:
    """As many points as the characters can show: a million would take minutes and look the same."""
    if len(curve.x) <= 8 * width:
        return list(curve.x), list(curve.y)
    low, high = min(curve.x), max(curve.x)
    bottom, top = min(curve.y), max(curve.y)
    across, up = (high - low) / (2 * width) or 1.0, (top - bottom) / (2 * height) or 1.0
    if chart.kind == "scatter":
        cells = {
            (int((x - low) / across), int((y - bottom) / up)): (x, y) for x, y in zip(curve.x, curve.y, strict=True)
        }
        points = list(cells.values())
    else:
        points = []
        group: list[tuple[float, float]] = []
        place = None
        for point in zip(curve.x, curve.y, strict=True):
            here = int((point[0] - low) / across)
            if here != place and group:
                points += _extremes(group)
                group = []
            place = here
            group.append(point)
        points += _extremes(group)
    return [x for x, _ in points], [y for _, y in points]


def _extremes(group: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """First, lowest, highest and last of neighbours, in their order: a line through all of them looks the same."""
    lowest, highest = (
        min(range(len(group)), key=lambda n: group[n][1]),
        max(range(len(group)), key=lambda n: group[n][1]),
    )
    return [group[n] for n in sorted({0, lowest, highest, len(group) - 1})]


# -- pictures ----------------------------------------------------------------


def save(chart: Chart, out: str, width: int | None, height: int | None) -> None:
    """Write the chart as a picture; a file that is there is replaced once the new one is whole.

    ``width`` and ``height`` are characters, as on a screen.

    Raises:
        InvalidArgument: the suffix says no kind of picture.
        MissingExtra: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    path = Path(out)
    if path.suffix.lower() not in PICTURES:
        raise InvalidArgument("--save", f"the name {path.name!r} ends in none of {', '.join(PICTURES)}")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("--save", "matplotlib") from None
    from xetrack.exchange.frames import draft_of

    figure = Figure(figsize=((width or _WIDTH) / 10, (height or _HEIGHT) / 4), layout="constrained")
    axes = figure.subplots()
    for curve in chart.curves:
        if chart.kind == "hist":
            axes.hist(curve.y, bins=chart.bins, label=curve.name, alpha=0.7)
        elif chart.kind == "scatter":
            axes.scatter(curve.x, curve.y, label=curve.name, s=12)
        else:
            axes.plot(curve.x, curve.y, label=curve.name, marker="." if len(curve.x) < 50 else "")
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    if any(curve.name for curve in chart.curves):
        axes.legend()
    try:
        with draft_of(path.absolute()) as draft:
            figure.savefig(draft, dpi=_DPI)
    except OSError as error:
        raise storage_error(error, path) from error
