"""Cells back to Python values, and rows to data frames.

Rule for frames: a column has the dtype of its type, whatever is missing.
``bool`` is ``bool`` (``boolean`` with gaps), ``int`` is ``int64`` (``Int64`` with gaps),
``bigint`` holds Python ints (digits of more than Python reads stay text), ``float`` is ``float64``, ``datetime`` holds
``datetime64`` where all have one offset, text is pandas' ``str`` (objects before
pandas 3), and pandas' own mark of a missing value stands where nothing was logged.
"""

from __future__ import annotations

import datetime as dt
import gc
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from xetrack.log.cells import (
    ASSET,
    BIGINT,
    BOOL,
    BYTES,
    DATETIME,
    FLOAT,
    INT,
    INT64,
    JSON,
    NONFINITE,
    TEXT,
    cell,
    flag,
    is_beyond_floats,
)
from xetrack.tables.layout import Column

if TYPE_CHECKING:
    import pandas as pd

PYTHON_TYPES: dict[str, type] = {
    "null": type(None),
    "bool": bool,
    "int": int,
    "bigint": int,
    "float": float,
    "text": str,
    "bytes": bytes,
    "datetime": dt.datetime,
    "json": str,
    "asset": str,
}


def _whole(cell: Any) -> Any:
    try:
        return int(cell)
    except ValueError:  # a log of an earlier release may have so many digits
        return cell


#: How a stored cell of each type becomes a Python value; types not named come out as stored.
_FROM_CELL: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "bigint": _whole,
    "float": float,
    "datetime": dt.datetime.fromisoformat,
}


def value(cell: Any, kind: str) -> Any:
    """The Python value of one stored cell; None stays None."""
    if cell is None:
        return None
    convert = _FROM_CELL.get(kind)
    return cell if convert is None else convert(cell)


def python_columns(rows: Sequence[Sequence[Any]], kinds: Sequence[str]) -> list[Sequence[Any]]:
    """The Python values of stored rows, column by column; a column of such values is taken as it is."""
    columns = list(zip(*rows, strict=True)) or [()] * len(kinds)
    return [_python_values(cells, kind) for cells, kind in zip(columns, kinds, strict=True)]


def python_rows(rows: list[tuple[Any, ...]], kinds: Sequence[str]) -> list[tuple[Any, ...]]:
    """The Python values of stored rows."""
    if _FROM_CELL.keys().isdisjoint(kinds):
        return rows
    return list(zip(*python_columns(rows, kinds), strict=True))


def _python_values(cells: Sequence[Any], kind: str) -> Sequence[Any]:
    known = {PYTHON_TYPES[kind], type(None)}
    if kind not in _FROM_CELL or known.issuperset(map(type, cells)):
        return cells
    return [cell if type(cell) in known else value(cell, kind) for cell in cells]


def stitched(more: Sequence[Column]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Takes the overflow, the last cell of a row, apart into the cells of these columns."""

    def take_apart(row: Sequence[Any]) -> tuple[Any, ...]:
        keys = msgspec.json.decode(row[-1]) if row[-1] else {}
        return (*row[:-1], *(cell(keys.get(column.key), column.type) for column in more))

    return take_apart


_NUMBER = BOOL | INT | INT64 | BIGINT | FLOAT | NONFINITE
_OWN_FLAGS = {"bytes": BYTES, "datetime": DATETIME, "json": JSON, "asset": ASSET}


def comparable(kind: str, wire: Any) -> str:
    """The cell type in which a value is compared with a column of type ``kind``; text where no cell can be equal."""
    mask = flag(wire)
    if kind in ("bool", "int", "bigint", "float"):
        if not mask & _NUMBER or (kind == "float" and is_beyond_floats(wire)):
            return "text"
        if kind != "float" and mask & (FLOAT | NONFINITE):
            return "float"
        return "bigint" if mask & BIGINT and kind != "float" else kind
    if kind == "asset" and mask == TEXT:
        return kind  # it shows a hash, which is a text
    return kind if _OWN_FLAGS.get(kind) == mask else "text"


def frame(names: Sequence[str], kinds: Sequence[str], rows: Iterable[Sequence[Any]], chunk: int = 2048) -> pd.DataFrame:
    """Make a data frame of stored rows, column by column.

    ``rows`` is a cursor with ``fetchmany`` or any iterable; ``kinds`` are column
    types. Small chunks keep the cells of one in the processor's cache.
    """
    import numpy as np
    import pandas as pd

    dtypes = [_DTYPES.get(kind, np.dtype(object)) for kind in kinds]
    parts: list[list[Any]] = [[] for _ in names]
    fetch = getattr(rows, "fetchmany", None)
    pieces: Iterable[Sequence[Sequence[Any]]] = iter(lambda: fetch(chunk), []) if fetch else [list(rows)]
    columns = list(zip(parts, dtypes, kinds, strict=True))
    collecting = gc.isenabled()
    gc.disable()
    try:
        for piece in pieces:
            for (part, dtype, kind), cells in zip(columns, zip(*piece, strict=True), strict=False):
                if kind in ("int", "bool") and None in cells:
                    dtype = object
                part.append(np.array(cells, dtype=dtype) if cells else cells)
    finally:
        if collecting:
            gc.enable()
    series = {name: column_series(part, kind) for name, part, kind in zip(names, parts, kinds, strict=True)}
    made: pd.DataFrame = pd.DataFrame(series, columns=list(names), copy=False)
    return made


def kind_of(cells: Sequence[Any]) -> str:
    """The column type of what an SQLite query gave; "mixed" where its values have no type in common."""
    types = {type(cell) for cell in cells} - {type(None)}
    if types == {int, float}:
        return "float"
    if len(types) > 1:
        return "mixed"
    return {int: "int", float: "float", str: "text", bytes: "bytes"}[types.pop()] if types else "null"


#: NumPy types of columns without gaps; all others go as objects.
_DTYPES: dict[str, Any] = {"int": "int64", "bool": "bool", "float": "float64"}


def column_series(parts: list[Any], kind: str) -> Any:
    """One column from its chunks."""
    import numpy as np
    import pandas as pd

    if not parts:
        parts = [np.array([], dtype=_DTYPES.get(kind, object))]
    cells = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if kind == "float":
        return cells
    if kind in ("int", "bool"):
        if cells.dtype != object:
            return cells
        # Without a gap in one chunk, its integers are NumPy's.
        wholes = [None if cell is None else int(cell) for cell in cells]
        return pd.array(wholes, dtype="Int64").astype("Int64" if kind == "int" else "boolean")
    if kind == "datetime":
        moments = [value(cell, kind) for cell in cells]
        if len({moment.utcoffset() for moment in moments if moment is not None}) <= 1:
            return pd.Series(moments, dtype=None if any(moments) else "datetime64[us]")
        return pd.Series(moments, dtype=object)
    if kind in ("text", "json", "asset") and int(pd.__version__.partition(".")[0]) >= 3:
        return pd.array(cells, dtype="str")
    if kind == "bigint":
        return pd.Series([value(cell, kind) for cell in cells], dtype=object)
    return pd.Series(cells, dtype=object)
