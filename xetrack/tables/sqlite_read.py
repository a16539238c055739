"""Reading SQLite tables: rows as frames, Arrow tables and Python values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from xetrack.log.cells import cell
from xetrack.tables.base import Selection
from xetrack.tables.frames import comparable, frame, python_rows, stitched
from xetrack.tables.layout import FIXED, NUMBER, OVERFLOW, Column, literal, quote
from xetrack.tables.sqlite_door import TablesConnection, as_names
from xetrack.tables.sqlite_limit import all_beside

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: The largest number that SQLite takes.
_MOST = 2**63 - 1
_CHUNK_ROWS = 4096


def is_no_text(error: Exception) -> bool:
    """Whether Python says that bytes which SQLite holds for text are none: its own words, and no code of SQLite's."""
    return str(error).startswith("Could not decode to UTF-8")


class SqliteReading:
    """The reading verbs of ``SqliteTables``."""

    conn: TablesConnection
    schema: str

    def _kind(self, name: str) -> str | None:
        """Whether a name is a table's or a view's."""
        row = self.conn.run(
            f"SELECT type FROM {self.schema}.sqlite_master WHERE lower(name)=lower(?)", (name,)
        ).fetchone()
        return row[0] if row else None

    def has(self, table: str) -> bool:
        return self._kind(table) == "table"

    def names(self, table: str) -> list[str]:
        return [row[1] for row in self.conn.run(f"PRAGMA {self.schema}.table_info({quote(table)})")]

    def count(self, table: str, run: str | None = None) -> int:
        where, values = _of_run(run)
        return int(self.conn.run(f"SELECT count(*) FROM {quote(table)}{where}", values).fetchone()[0])

    def run_counts(self, table: str) -> dict[str, int]:
        sql = f"SELECT track_id, count(*) FROM {quote(table)} GROUP BY track_id ORDER BY min(_rowid_)"
        return dict(self.conn.run(sql).fetchall())

    def latest_run(self, table: str) -> str | None:
        row = self.conn.run(f"SELECT track_id FROM {quote(table)} ORDER BY _rowid_ DESC LIMIT 1").fetchone()
        return row[0] if row else None

    def frame(self, table: str, columns: Sequence[Column], which: Selection) -> pd.DataFrame:
        names, kinds, rows = self._rows(table, columns, which)
        return frame(names, kinds, rows)

    def arrow(self, table: str, columns: Sequence[Column], which: Selection) -> pa.Table:
        from xetrack.tables.arrows import arrow_of_cells

        names, kinds, rows = self._rows(table, columns, which)
        return arrow_of_cells(names, kinds, rows)

    def _rows(
        self, table: str, columns: Sequence[Column], which: Selection
    ) -> tuple[list[str], list[str], Iterator[Sequence[Any]] | Any]:
        """Names, types and a cursor over stored cells."""
        ordered, more, listed = _split(columns)
        where, values = _of_run(which.run)
        sql = f"SELECT _rowid_ AS _xetrack_row, {listed} FROM {quote(table)}{where} ORDER BY _rowid_"
        if which.head is None and which.tail is None:
            sql = f"SELECT {listed} FROM {quote(table)}{where} ORDER BY _rowid_"
        else:
            if which.head is not None:
                sql += " LIMIT ?"
                values.append(min(max(which.head, 0), _MOST))
            if which.tail is not None:
                sql = f"SELECT * FROM ({sql}) ORDER BY _xetrack_row DESC LIMIT ?"
                values.append(min(max(which.tail, 0), _MOST))
            sql = f"SELECT {listed} FROM ({sql}) ORDER BY _xetrack_row"
        cursor = self.conn.run(sql, values)
        names, kinds = [*FIXED, *(c.name for c in ordered)], ["text", "text", *(c.type for c in ordered)]
        return names, kinds, map(stitched(more), cursor) if more else cursor

    def records(
        self, table: str, columns: Sequence[Column], run: str | None, offset: int, limit: int | None, last: bool
    ) -> list[tuple[Any, ...]]:
        ordered, more, listed = _split(columns)
        where, values = _of_run(run)
        sql = (
            f"SELECT {listed} FROM {quote(table)}{where} ORDER BY _rowid_ {'DESC' if last else 'ASC'} LIMIT ? OFFSET ?"
        )
        found = self.conn.run(sql, [*values, -1 if limit is None else min(limit, _MOST), min(offset, _MOST)]).fetchall()
        if last:
            found.reverse()
        rows = list(map(stitched(more), found)) if more else found
        return python_rows(rows, ["text", "text", *(column.type for column in ordered)])

    def find(self, table: str, column: Column | str, wire: Any, run: str | None) -> list[tuple[int, str]]:
        where, values = _of_run(run)
        kind = "text" if isinstance(column, str) else column.type
        like = "text" if wire is None else comparable(kind, wire)
        if wire is not None and like == "text" and kind != "text":
            return []  # else SQLite would find the number 2 for the text "2"
        target = None if wire is None else cell(wire, like)
        if isinstance(column, str) or column.stored:
            name = column if isinstance(column, str) else column.name
            where = f"{where} AND {quote(name)} IS ?" if where else f" WHERE {quote(name)} IS ?"
            sql = f"SELECT _rowid_, track_id FROM {quote(table)}{where}"
            return self.conn.run(sql, [*values, target]).fetchall()
        taken_apart = stitched([column])
        sql = f"SELECT _rowid_, track_id, {OVERFLOW} FROM {quote(table)}{where}"
        return [(row[0], row[1]) for row in map(taken_apart, self.conn.run(sql, values)) if row[2] == target]

    def ask(
        self, table: str, columns: Sequence[Column], run: str | None, query: Callable[[str], str]
    ) -> list[tuple[Any, ...]]:
        where = "" if run is None else f" WHERE track_id={literal(run)}"
        with all_beside(self.conn, table, columns) as source:
            numbered = f"(SELECT *, row_number() OVER (ORDER BY _rowid_) - 1 AS {NUMBER} FROM {source}{where})"
            return self.conn.run(as_names(query(numbered))).fetchall()

    def content(self, table: str) -> tuple[list[tuple[str, str]], Iterator[Any]]:
        names = [(row[1], row[2]) for row in self.conn.run(f"PRAGMA table_info({quote(table)})")]
        cursor = self.conn.run(f"SELECT * FROM {quote(table)} ORDER BY _rowid_")
        return names, iter(lambda: cursor.fetchmany(_CHUNK_ROWS), [])


def _split(columns: Sequence[Column]) -> tuple[list[Column], list[Column], str]:
    """Columns as a row has them, those of them in the overflow, and what to select."""
    stored, more = [c for c in columns if c.stored], [c for c in columns if not c.stored]
    names = [*FIXED, *(column.name for column in stored), *([OVERFLOW] if more else [])]
    return [*stored, *more], more, ", ".join(map(quote, names))


def _of_run(run: str | None) -> tuple[str, list[Any]]:
    return ("", []) if run is None else (" WHERE track_id=?", [run])
