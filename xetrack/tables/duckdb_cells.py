"""Wire values as DuckDB columns: which type a column has, and Arrow arrays to fill it with.

A column has the type of its kind, but for two: integers past 64 bits are HUGEINT
until one does not fit, datetimes are TIMESTAMP until one has an offset. Both are the
text that SQLite has from then on, so the type depends on the set of values only (law 5).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from xetrack.log.cells import cell
from xetrack.log.values import decode

#: The type of a column without a value, as DuckDB has it; no other column has it.
NOTHING = "INTEGER"
SQL_TYPES = {
    "null": NOTHING,
    "bool": "BOOLEAN",
    "int": "BIGINT",
    "bigint": "HUGEINT",
    "float": "DOUBLE",
    "text": "VARCHAR",
    "bytes": "BLOB",
    "datetime": "TIMESTAMP",
    "json": "JSON",
    "asset": "VARCHAR",
}
HUGEST = 2**127 - 1


class DoesNotFit(Exception):  # a signal between two rooms, never a user's error
    """A value that only text can hold stands in a HUGEINT or TIMESTAMP column."""


def duckdb_cell(wire: Any, kind: str, sql_type: str) -> Any:
    """What a DuckDB cell holds for a wire value, as a Python value.

    Raises:
        DoesNotFit: the column must become text.
    """
    if wire is None or kind == "null":
        return None
    if kind == "float":
        return float(decode(wire))
    made = cell(wire, kind)
    if kind == "bool":
        return bool(made)
    if kind == "bytes":
        return made.encode() if isinstance(made, str) else made
    if kind == "bigint":
        if sql_type == "VARCHAR":
            return str(made)
        if isinstance(made, str) and len(made) > 41 or abs(int(made)) > HUGEST:
            raise DoesNotFit
        return int(made)
    if kind == "datetime" and sql_type == "TIMESTAMP":
        try:
            moment = dt.datetime.fromisoformat(made)
        except ValueError as error:
            raise DoesNotFit from error
        if moment.tzinfo is not None:
            raise DoesNotFit
        return moment
    return made


#: Python types of wire values that Arrow takes as they are, by SQL type.
_AS_THEY_ARE: dict[str, set[type]] = {
    "BOOLEAN": {bool, type(None)},
    "BIGINT": {int, type(None)},
    "DOUBLE": {int, float, type(None)},
}


def series(wires: Sequence[Any], types: set[type], kind: str, sql_type: str) -> Any:
    """An Arrow array of the cells of a column; HUGEINT goes as text.

    Raises:
        DoesNotFit: see ``duckdb_cell``.
    """
    import pyarrow as pa

    arrow_types = {
        NOTHING: pa.int32(),
        "BOOLEAN": pa.bool_(),
        "BIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "BLOB": pa.binary(),
        "TIMESTAMP": pa.timestamp("us"),
    }
    if types <= _AS_THEY_ARE.get(sql_type, set()) or (kind == "text" and types <= {str, type(None)}):
        cells = wires
    else:
        cells = [duckdb_cell(wire, kind, sql_type) for wire in wires]
        if sql_type == "HUGEINT":
            cells = [None if number is None else str(number) for number in cells]
    return pa.array(cells, arrow_types.get(sql_type, pa.string()))
