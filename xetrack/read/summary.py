"""One run in a few lines: what it was given, how its metrics went, where it came from.

A parameter is a column with one value in all rows of the run, a metric one of
numbers that change. Both follow from the rows, nobody declares them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
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
_MOST_AT_ONCE = 500


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
    numbers = [column for column in table.layout() if column.type in _NUMBERS]
    if not numbers or not table.count():
        return []
    changing: set[str] = set()
    for part in _parts([column.name for column in numbers if column.stored]):
        changes = ", ".join(f"min({quote(name)}) < max({quote(name)}) AS c{n}" for n, name in enumerate(part))
        told = ", ".join(f"max(c{n})" for n in range(len(part)))
        sql = f"SELECT {told} FROM (SELECT {changes} FROM {quote(table.name)} GROUP BY track_id)"
        (row,) = table.connection().execute(sql).fetchall()
        changing.update(name for name, changes_ in zip(part, row, strict=True) if changes_)
    for name, cells in _past_the_limit(table, [column.name for column in numbers]):
        if any(min(own) < max(own) for own in cells.values()):
            changing.add(name)
    if not changing:
        return [column.name for column in numbers if column.type == "float"]
    return [column.name for column in numbers if column.name in changing]


def last_values(table: Table, metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The last value of each metric in each run, of those rows that have one."""
    found: dict[str, dict[str, Any]] = {}
    stored = {column.name for column in table.layout() if column.stored}
    for part in _parts([name for name in metrics if name in stored]):
        for names, rows in _last_in_duckdb(table, part) if table.engine == "duckdb" else _last_in_sqlite(table, part):
            for run, *values in rows:
                told = found.setdefault(run, {})
                told.update((name, value) for name, value in zip(names, values, strict=True) if value is not None)
    for name, cells in _past_the_limit(table, metrics):
        for run, own in cells.items():
            found.setdefault(run, {})[name] = own[-1]
    return found


#: Names of some metrics, and rows: a run and a value of each.
_Last = Iterator[tuple[Sequence[str], list[tuple[Any, ...]]]]


def _last_in_duckdb(table: Table, metrics: Sequence[str]) -> _Last:
    last = ", ".join(f"arg_max({quote(name)}, _rowid_)" for name in metrics)
    source = f"(SELECT *, row_number() OVER () AS _rowid_ FROM {quote(table.name)})"
    yield metrics, table.connection().execute(f"SELECT track_id, {last} FROM {source} GROUP BY track_id").fetchall()


def _last_in_sqlite(table: Table, metrics: Sequence[str]) -> _Last:
    """From the last row of each run; then, of each metric that is empty in one of these, the last that is not."""
    conn, source = table.connection(), quote(table.name)
    # SQLite takes a bare column from the row that has the maximum.
    sql = f"SELECT track_id, {', '.join(map(quote, metrics))}, max(_rowid_) FROM {source} GROUP BY track_id"
    ends = [row[:-1] for row in conn.execute(sql).fetchall()]
    yield metrics, ends
    for place, name in enumerate(metrics, 1):
        if any(row[place] is None for row in ends):
            own = quote(name)
            sql = f"SELECT track_id, {own}, max(_rowid_) FROM {source} WHERE {own} IS NOT NULL GROUP BY track_id"
            yield [name], [row[:-1] for row in conn.execute(sql).fetchall()]


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """So many columns at once as an engine takes well: SQLite has a limit, and DuckDB plans for long."""
    return (names[start : start + _MOST_AT_ONCE] for start in range(0, len(names), _MOST_AT_ONCE))


def _past_the_limit(table: Table, names: Sequence[str]) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """Of those columns that SQL does not see, the numbers by run, in order; NaN is none, as it is in SQL."""
    stored = {column.name for column in table.layout() if column.stored}
    unseen = [name for name in names if name not in stored]
    if not unseen:
        return
    columns = dict(zip(*select_columns(table), strict=True))
    for name in unseen:
        cells: dict[str, list[Any]] = {}
        for run, value in zip(columns["track_id"], columns[name], strict=True):
            if value is not None and value == value:
                cells.setdefault(run, []).append(value)
        yield name, cells
