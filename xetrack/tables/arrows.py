"""Cells as Arrow tables, and Arrow tables as data frames.

Types of an Arrow table, on either engine: bool, int64, float64, string (also of JSON
and assets), binary, ``decimal128(38, 0)`` for integers past 64 bits (text if one has more
digits), ``timestamp[us]`` for datetimes (with their offset if they share one, text if
they do not), null for a column without a value. Missing values are Arrow's nulls.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from xetrack.errors import MissingExtra
from xetrack.tables.frames import column_series, value

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_CHUNK_ROWS = 8192
_DIGITS = 38


def pyarrow() -> Any:
    """The package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra("An Arrow table", "arrow") from error
    return pyarrow


def arrow_of_cells(names: Sequence[str], kinds: Sequence[str], rows: Iterable[Sequence[Any]]) -> pa.Table:
    """An Arrow table of rows as SQLite stores them; ``kinds`` are column types."""
    pa = pyarrow()
    parts: list[list[Any]] = [[] for _ in names]
    piece: list[Sequence[Any]] = []
    iterator = iter(rows)
    while True:
        piece = [row for row, _ in zip(iterator, range(_CHUNK_ROWS), strict=False)]
        if not piece:
            break
        for part, kind, cells in zip(parts, kinds, zip(*piece, strict=True), strict=True):
            part.append(_stored(cells, kind))
    return pa.table([final(part, kind) for part, kind in zip(parts, kinds, strict=True)], names=list(names))


def _stored(cells: Sequence[Any], kind: str) -> Any:
    """One chunk of a column as SQLite stores it; datetimes and large integers still as text."""
    pa = pyarrow()
    match kind:
        case "bool":
            return pa.array([None if cell is None else bool(cell) for cell in cells], pa.bool_())
        case "int":
            return pa.array(cells, pa.int64())
        case "float":
            return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
        case "bytes":
            return pa.array([cell.encode() if type(cell) is str else cell for cell in cells], pa.binary())
        case "bigint":
            return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())
        case "null":
            return pa.nulls(len(cells))
    if kind == "mixed":
        cells = [cell if cell is None or isinstance(cell, str) else str(cell) for cell in cells]
    return pa.array(cells, pa.string())


def final(chunks: Sequence[Any], kind: str) -> Any:
    """A column from its chunks, in the type that Arrow tables promise."""
    pa = pyarrow()
    if kind == "null":
        return pa.nulls(sum(map(len, chunks)))
    types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "bytes": pa.binary()}
    if kind == "datetime" and any(pa.types.is_timestamp(chunk.type) for chunk in chunks):
        return pa.chunked_array(chunks, pa.timestamp("us"))
    column = pa.chunked_array(chunks, types.get(kind, pa.string()))
    if kind == "bigint":
        if all(cell is None or len(cell.lstrip("-")) <= _DIGITS for cell in column.to_pylist()):
            return column.cast(pa.decimal128(_DIGITS, 0))
    elif kind == "datetime":
        return _datetimes(column)
    return column


def _datetimes(column: Any) -> Any:
    pa = pyarrow()
    moments: list[dt.datetime | None] = [value(cell, "datetime") for cell in column.to_pylist()]
    offsets = {moment.utcoffset() for moment in moments if moment is not None}
    if len(offsets) > 1:
        return column
    zone = next((moment.isoformat()[-6:] for moment in moments if moment is not None and moment.tzinfo), None)
    if zone is not None and any(offset is not None and offset.total_seconds() % 60 for offset in offsets):
        return column  # Arrow's offsets have minutes at most
    return pa.array(moments, pa.timestamp("us", zone))


def frame_of_arrow(table: pa.Table, kinds: Sequence[str]) -> pd.DataFrame:
    """The data frame that ``frames.frame`` makes of the same rows. Large integers come as text."""
    import pandas as pd

    series = {name: _series(table.column(name), kind) for name, kind in zip(table.column_names, kinds, strict=True)}
    made: pd.DataFrame = pd.DataFrame(series, columns=table.column_names, copy=False)
    return made


def frame_of_query(table: pa.Table) -> pd.DataFrame:
    """The data frame of what a DuckDB query gave, by the rule of ``frames.py``."""
    import pandas as pd

    pa = pyarrow()
    series = []
    for column in table.columns:
        kind = ""
        if pa.types.is_decimal(column.type) and not column.type.scale:  # a sum of integers is a HUGEINT
            try:
                column = column.cast(pa.int64())
            except pa.ArrowInvalid:
                column, kind = column.cast(pa.string()), "bigint"
        if not kind:
            kind = next((kind for kind, belongs in _KINDS.items() if belongs(column.type)), "")
        series.append(_series(column, kind) if kind else column.to_pandas())
    made: pd.DataFrame = pd.DataFrame(dict(enumerate(series)), copy=False)
    made.columns = pd.Index(table.column_names)
    return made


def _is(name: str) -> Callable[[Any], bool]:
    return lambda arrow_type: bool(getattr(pyarrow().types, f"is_{name}")(arrow_type))


_KINDS = {
    "bool": _is("boolean"),
    "int": _is("integer"),
    "float": _is("floating"),
    "text": _is("string"),
    "bytes": _is("binary"),
    "null": _is("null"),
}


def _series(column: Any, kind: str) -> Any:
    import numpy as np
    import pandas as pd

    pa = pyarrow()
    modern = int(pd.__version__.partition(".")[0]) >= 3
    if kind == "float":
        return column.to_numpy()
    if kind in ("int", "bool"):
        if not column.null_count:
            return column.to_numpy()
        gaps = column.is_null().to_numpy()
        if kind == "int":
            return pd.arrays.IntegerArray(column.fill_null(0).to_numpy(), gaps)
        return pd.arrays.BooleanArray(column.fill_null(False).to_numpy(), gaps)
    if kind in ("text", "json", "asset") and modern:
        return pd.array(column, dtype="str")
    if kind == "datetime" and modern and pa.types.is_timestamp(column.type):
        return column.to_pandas()
    cells = np.empty(len(column), dtype=object)
    cells[:] = [str(cell) if isinstance(cell, dt.datetime) else cell for cell in column.to_pylist()]
    return column_series([cells], kind)
