"""Keys past the column limit as columns for one query of SQLite's, with the types that all its columns have.

What a comparison means in SQLite depends on how its columns are declared, so a
condition has the same answer on either side of the limit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from xetrack.tables.frames import stitched
from xetrack.tables.layout import FIXED, OVERFLOW, Column, quote
from xetrack.tables.sqlite_door import TablesConnection

#: The SQL type that a column of each kind is declared with.
DECLARED = {
    "null": "",
    "bool": "BOOLEAN",
    "int": "INTEGER",
    "bigint": "TEXT",
    "float": "REAL",
    "text": "TEXT",
    "bytes": "BLOB",
    "datetime": "TIMESTAMP",
    "json": "JSON",
    "asset": "TEXT",
}
_BESIDE = "temp._xetrack_beside"


@contextmanager
def all_beside(conn: TablesConnection, table: str, columns: Sequence[Column]) -> Iterator[str]:
    """What selects ``_rowid_``, the fixed columns and these of a table, whether or not they are stored as columns."""
    stored, more = [c for c in columns if c.stored], [c for c in columns if not c.stored]
    listed = ", ".join(
        [f"t.{quote(name)}" for name in ("_rowid_", *FIXED, *(c.name for c in stored))]
        + [f"m.{quote(column.name)}" for column in more]
    )
    if not more:
        yield f"(SELECT {listed} FROM {quote(table)} AS t)"
        return
    conn.run("PRAGMA query_only=OFF")
    try:
        conn.run(f"DROP TABLE IF EXISTS {_BESIDE}")
        declared = ", ".join(f"{quote(column.name)} {DECLARED[column.type]}" for column in more)
        conn.run(f"CREATE TEMP TABLE {_BESIDE} (_xetrack_row INTEGER PRIMARY KEY, {declared})")
        rows = conn.run(f"SELECT _rowid_, {OVERFLOW} FROM {quote(table)}")
        conn.insert(f"INSERT INTO {_BESIDE}", len(more) + 1, map(stitched(more), rows))
        conn.run("PRAGMA query_only=ON")
        yield f"(SELECT {listed} FROM {quote(table)} AS t JOIN {_BESIDE} AS m ON t._rowid_=m._xetrack_row)"
    finally:
        conn.run("PRAGMA query_only=OFF")
        with suppress(sqlite3.OperationalError):  # it is still being read: the next one takes its place
            conn.run(f"DROP TABLE IF EXISTS {_BESIDE}")
        conn.run("PRAGMA query_only=ON")
