"""One run in a few lines: what it was given, how its metrics went, where it came from.

A parameter is a column with one value in all rows of the run, a metric one of
numbers that change. Both follow from the rows, nobody declares them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xetrack.errors import RunNotFound
from xetrack.log.events import WriterStarted
from xetrack.read.selection import select_columns
from xetrack.tables.layout import FIXED, quote

if TYPE_CHECKING:
    from xetrack.read.assets import AssetInfo
    from xetrack.store import Table

_BLOCKS = "▁▂▃▄▅▆▇█"
_NUMBERS = ("int", "bigint", "float")


@dataclass(frozen=True)
class Metric:
    """Numbers of one column of a run, in order. ``first`` and the others leave NaN and infinities out."""

    name: str
    count: int
    first: Any
    last: Any
    min: Any
    max: Any
    trend: str


@dataclass
class Summary:
    """What the rows of a run say."""

    track_id: str
    rows: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    #: Columns of anything else that changes: how many different values, and the last.
    others: dict[str, tuple[int, Any]] = field(default_factory=dict)
    #: Hashes in its cells, by column.
    hashes: dict[str, list[str]] = field(default_factory=dict)


def summarise(table: Table, track_id: str) -> Summary:
    """The summary of a run.

    Raises:
        RunNotFound: the table has no rows of it; names near matches.
    """
    names, columns = select_columns(table, track_id=track_id)
    count = len(columns[0])
    if not count:
        raise RunNotFound(track_id, difflib.get_close_matches(track_id, table.runs()))
    found = Summary(track_id, rows=count)
    assets = {column.name for column in table.layout() if column.type == "asset"}
    for name, cells in zip(names, columns, strict=True):
        types = set(map(type, cells))
        values = [cell for cell in cells if cell is not None] if type(None) in types else cells
        types.discard(type(None))
        if name in FIXED or not values:
            continue
        if name in assets:
            found.hashes[name] = list(dict.fromkeys(map(str, values)))
        if len(values) == count and len(types) == 1 and _are_same(values):
            found.parameters[name] = values[0]
        elif types <= {int, float}:
            found.metrics.append(_metric(name, values))
        else:
            # Texts are told apart by themselves, anything else by how it is written.
            unique = set(values) if types == {str} else {(type(value), repr(value)) for value in values}
            found.others[name] = (len(unique), values[-1])
    return found


def _are_same(values: Sequence[Any]) -> bool:
    """Whether values of one type are the same; NaN is like NaN."""
    first = values[0]
    return values.count(first) == len(values) or all(value == first or repr(value) == repr(first) for value in values)


def _metric(name: str, values: Sequence[Any]) -> Metric:
    finite = [value for value in values if type(value) is int or math.isfinite(value)]
    if not finite:
        return Metric(name, len(values), values[0], values[-1], None, None, "")
    return Metric(name, len(values), finite[0], finite[-1], min(finite), max(finite), sparkline(finite))


def sparkline(values: Sequence[Any], width: int = 24) -> str:
    """Numbers as a line of blocks, each the mean of its share of them.

    >>> sparkline([0, 1, 2, 3])
    '▁▃▆█'
    """
    width = min(width, len(values))
    try:
        means = []
        for place in range(width):
            part = values[place * len(values) // width : (place + 1) * len(values) // width]
            means.append(math.fsum(part) / len(part))
        low, high = min(means), max(means)
        step = (high - low) / (len(_BLOCKS) - 1)
        return "".join(_BLOCKS[round((mean - low) / step)] if step else _BLOCKS[0] for mean in means)
    except (OverflowError, ValueError):  # integers past what a float can hold
        return ""


def provenance(table: Table, track_id: str) -> list[WriterStarted]:
    """The headers of the segments with rows of a run, those that can be read, oldest first."""
    _, parts, _ = table.run_facts()
    found = [table.store.log.find(table.name, f"{writer}-0") for writer in parts.get(track_id, {})]
    return sorted((event for event in found if isinstance(event, WriterStarted)), key=lambda event: event.clock)


def assets_of(table: Table, summary: Summary) -> list[tuple[str, str, AssetInfo | None]]:
    """Column and hash of every asset in a run's cells, with what is known of it."""
    if not summary.hashes:
        return []
    from xetrack.read.asset_events import AssetEvents
    from xetrack.read.assets import AssetsView

    known = {info.hash: info for info in AssetsView(table, AssetEvents(table.store.log)).listing()}
    return [(name, own, known.get(own)) for name, hashes in summary.hashes.items() for own in hashes]


# -- all runs ----------------------------------------------------------------


def metrics_of(table: Table) -> list[str]:
    """Columns of numbers that change within some run; where none does, columns of fractions."""
    numbers = [column for column in table.layout() if column.type in _NUMBERS and column.stored]
    if not numbers or not table.count():
        return []
    changes = ", ".join(f"min({quote(c.name)}) < max({quote(c.name)}) AS c{n}" for n, c in enumerate(numbers))
    told = ", ".join(f"max(c{n})" for n in range(len(numbers)))
    sql = f"SELECT {told} FROM (SELECT {changes} FROM {quote(table.name)} GROUP BY track_id)"
    (row,) = table.connection().execute(sql).fetchall()
    changing = [column.name for column, changes_ in zip(numbers, row, strict=True) if changes_]
    return changing or [column.name for column in numbers if column.type == "float"]


def last_values(table: Table, metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The last value of each metric in each run, of those rows that have one."""
    found: dict[str, dict[str, Any]] = {}
    source, row = quote(table.name), "_rowid_"
    if table.engine == "duckdb":
        source = f"(SELECT *, row_number() OVER () AS {row} FROM {source})"
    for name in metrics:
        own = quote(name)
        # SQLite takes a bare column from the row that has the maximum.
        last = f"arg_max({own}, {row})" if table.engine == "duckdb" else f"{own}, max({row})"
        sql = f"SELECT track_id, {last} FROM {source} WHERE {own} IS NOT NULL GROUP BY track_id"
        for run, value, *_ in table.connection().execute(sql).fetchall():
            found.setdefault(run, {})[name] = value
    return found
