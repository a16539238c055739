"""Reading DuckDB tables: rows as Arrow tables, frames and Python values, column by column."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from xetrack.log.values import decode
from xetrack.tables.base import Selection
from xetrack.tables.duckdb_cells import HUGEST, SQL_TYPES, DoesNotFit, duckdb_cell, series
from xetrack.tables.duckdb_door import refuse_writes
from xetrack.tables.duckdb_file import registered
from xetrack.tables.duckdb_layers import ROW, Layers
from xetrack.tables.frames import comparable, python_rows
from xetrack.tables.layout import FIXED, NUMBER, OVERFLOW, Column, literal, quote

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: The largest number that LIMIT takes.
_MOST = 2**62
_CHUNK_ROWS = 4096
_BESIDE = "_xetrack_beside"


class DuckdbReading:
    """The reading verbs of ``DuckdbTables``."""

    conn: Any
    layers: Mapping[str, Layers]

    def has(self, table: str) -> bool:
        return table in self.layers

    def names(self, table: str) -> Collection[str]:
        return self.layers[table].types if table in self.layers else ()

    def count(self, table: str, run: str | None = None) -> int:
        if run is None:
            return self.layers[table].count
        sql = f"SELECT count(*) FROM ({self.layers[table].relation(['track_id'])}) WHERE track_id=?"
        ((count,),) = self.conn.execute(sql, [run]).fetchall()
        return int(count)

    def run_counts(self, table: str) -> dict[str, int]:
        relation = self.layers[table].relation(["track_id"])
        sql = f"SELECT track_id, count(*) FROM ({relation}) GROUP BY track_id ORDER BY min({ROW})"
        return dict(self.conn.execute(sql).fetchall())

    def latest_run(self, table: str) -> str | None:
        relation = self.layers[table].relation(["track_id"])
        ((run,),) = self.conn.execute(f"SELECT arg_max(track_id, {ROW}) FROM ({relation})").fetchall()
        return run if run is None else str(run)

    def frame(self, table: str, columns: Sequence[Column], which: Selection) -> pd.DataFrame:
        from xetrack.tables.arrows import frame_of_arrow

        found, kinds = self._fetch(table, columns, which)
        return frame_of_arrow(found, kinds)

    def arrow(self, table: str, columns: Sequence[Column], which: Selection) -> pa.Table:
        import pyarrow as pa

        from xetrack.tables.arrows import final

        found, kinds = self._fetch(table, columns, which)
        made = [final(column.chunks, kind) for column, kind in zip(found.columns, kinds, strict=True)]
        return pa.table(made, names=found.column_names)

    def _fetch(self, table: str, columns: Sequence[Column], which: Selection) -> tuple[pa.Table, list[str]]:
        """Columns as DuckDB gives them to Arrow, large integers as text, with their types."""
        import pyarrow as pa

        stored, more = [c for c in columns if c.stored], [c for c in columns if not c.stored]
        names = [*FIXED, *(column.name for column in stored), *([OVERFLOW] if more else [])]
        found = fetch_arrow(self._select(table, names, which.run, which.head, which.tail))
        kinds = ["text", "text", *(column.type for column in [*stored, *more])]
        if more:
            keys = [msgspec.json.decode(text) if text else {} for text in found.column(OVERFLOW).to_pylist()]
            arrays = [*found.columns[:-1], *(_of_overflow([row.get(c.key) for row in keys], c) for c in more)]
            found = pa.table(arrays, names=[*names[:-1], *(column.name for column in more)])
        return found, kinds

    def _select(self, table: str, names: Sequence[str], run: str | None, head: int | None, tail: int | None) -> Any:
        layers = self.layers[table]
        relation = layers.relation(list(dict.fromkeys([*names, "track_id"])))
        where, values = (" WHERE track_id=?", [run]) if run is not None else ("", [])
        listed = ", ".join(
            f"CAST({quote(name)} AS VARCHAR) AS {quote(name)}" if layers.types[name] == "HUGEINT" else quote(name)
            for name in names
        )
        # Rows that lie in order come in order; sorting a million of them takes longer than reading them.
        in_order = layers.in_order and head is None and tail is None
        sql = f"SELECT * FROM ({relation}){where}{'' if in_order else f' ORDER BY {ROW}'}"
        if head is not None:
            sql += f" LIMIT {min(max(head, 0), _MOST)}"
        if tail is not None:
            sql = f"SELECT * FROM ({sql}) ORDER BY {ROW} DESC LIMIT {min(max(tail, 0), _MOST)}"
        order = "" if in_order else f" ORDER BY {ROW}"
        return self.conn.sql(f"SELECT {listed} FROM ({sql}){order}", params=values)

    def records(
        self, table: str, columns: Sequence[Column], run: str | None, offset: int, limit: int | None, last: bool
    ) -> list[tuple[Any, ...]]:
        stored, more = [c for c in columns if c.stored], [c for c in columns if not c.stored]
        names = [*FIXED, *(column.name for column in stored), *([OVERFLOW] if more else [])]
        where, values = (" WHERE track_id=?", [run]) if run is not None else ("", [])
        relation = self.layers[table].relation(list(dict.fromkeys([*names, "track_id"])))
        sql = f"SELECT {', '.join(map(quote, names))} FROM ({relation}){where} ORDER BY {ROW}{' DESC' if last else ''}"
        sql += f" LIMIT {_MOST if limit is None else min(max(limit, 0), _MOST)} OFFSET {min(offset, _MOST)}"
        found = self.conn.execute(sql, values).fetchall()
        if last:
            found.reverse()
        if more:
            found = [(*row[:-1], *_taken_apart(row[-1], more)) for row in found]
        return python_rows(found, ["text", "text", *(column.type for column in [*stored, *more])])

    def find(self, table: str, column: Column | str, wire: Any, run: str | None) -> list[tuple[int, str]]:
        layers = self.layers[table]
        kind = "text" if isinstance(column, str) else column.type
        where, values = (" WHERE track_id=?", [run]) if run is not None else ("", [])
        if not isinstance(column, str) and not column.stored:
            relation = layers.relation(["track_id", OVERFLOW])
            sql = f"SELECT {ROW}, track_id, {OVERFLOW} FROM ({relation}){where} ORDER BY {ROW}"
            target = _text_or_cell(wire, column) if wire is None or comparable(kind, wire) == kind else None
            if wire is not None and target is None:
                return []
            rows = self.conn.execute(sql, values).fetchall()
            wires = [msgspec.json.decode(row[2]).get(column.key) if row[2] else None for row in rows]
            return [row[:2] for row, own in zip(rows, wires, strict=True) if _text_or_cell(own, column) == target]
        name = column if isinstance(column, str) else column.name
        condition, more_values = _equals(quote(name), layers.types[name], kind, wire)
        relation = layers.relation(list(dict.fromkeys([name, "track_id"])))
        where = f"{where} AND {condition}" if where else f" WHERE {condition}"
        sql = f"SELECT {ROW}, track_id FROM ({relation}){where} ORDER BY {ROW}"
        found: list[tuple[int, str]] = self.conn.execute(sql, [*values, *more_values]).fetchall()
        return found

    def ask(
        self, table: str, columns: Sequence[Column], run: str | None, query: Callable[[str], str]
    ) -> list[tuple[Any, ...]]:
        stored, more = [c.name for c in columns if c.stored], [c for c in columns if not c.stored]
        layers = self.layers[table]
        source = layers.relation([*FIXED, *stored])
        conn = self.conn.cursor()
        try:
            conn.execute("USE db")
            if more:
                _put_beside(conn, layers.relation([OVERFLOW]), more)
                source = f"SELECT * FROM ({source}) JOIN {_BESIDE} USING ({ROW})"
            where = "" if run is None else f" WHERE track_id={literal(run)}"
            numbered = f"(SELECT *, row_number() OVER (ORDER BY {ROW}) - 1 AS {NUMBER} FROM ({source}){where})"
            sql = query(numbered)
            refuse_writes(conn, sql)
            found: list[tuple[Any, ...]] = conn.execute(sql).fetchall()
            return found
        finally:
            conn.close()

    def content(self, table: str) -> tuple[list[tuple[str, str]], Iterator[Any]]:
        layers = self.layers[table]
        # Floats as text, since NaN is not equal to itself.
        listed = ", ".join(
            f"CAST({quote(name)} AS VARCHAR)" if sql_type == "DOUBLE" else quote(name)
            for name, sql_type in layers.types.items()
        )
        cursor = self.conn.cursor()
        cursor.execute(f"SELECT {listed} FROM ({layers.relation()}) ORDER BY {ROW}")
        return list(layers.types.items()), iter(lambda: cursor.fetchmany(_CHUNK_ROWS), [])


def fetch_arrow(result: Any) -> Any:
    """What a query gave as an Arrow table; releases of DuckDB call it differently."""
    return result.to_arrow_table() if hasattr(result, "to_arrow_table") else result.fetch_arrow_table()


def _put_beside(conn: Any, relation: str, columns: Sequence[Column]) -> None:
    """Make a temporary table of the keys past the column limit, in the types that columns have."""
    import pyarrow as pa

    found = fetch_arrow(conn.sql(relation))
    keys = [msgspec.json.decode(text) if text else {} for text in found.column(OVERFLOW).to_pylist()]
    typed = [_typed([row.get(column.key) for row in keys], column) for column in columns]
    arrays = pa.table([found.column(ROW), *(array for array, _ in typed)], names=[ROW, *(c.name for c in columns)])
    cells = ", ".join(
        f"CAST({quote(column.name)} AS {sql_type}) AS {quote(column.name)}"
        for column, (_, sql_type) in zip(columns, typed, strict=True)
    )
    with registered(conn, "_xetrack_cells", arrays):
        conn.execute(f"CREATE TEMP TABLE {_BESIDE} AS SELECT {ROW}, {cells} FROM _xetrack_cells")


def _of_overflow(wires: list[Any], column: Column) -> Any:
    return _typed(wires, column)[0]


def _typed(wires: list[Any], column: Column) -> tuple[Any, str]:
    """The cells of a column as an Arrow array, and the type that DuckDB would have them in."""
    types, sql_type = {type(wire) for wire in wires}, SQL_TYPES[column.type]
    try:
        return series(wires, types, column.type, sql_type), sql_type
    except DoesNotFit:
        return series(wires, types, column.type, "VARCHAR"), "VARCHAR"


def _text_or_cell(wire: Any, column: Column) -> Any:
    try:
        return duckdb_cell(wire, column.type, SQL_TYPES[column.type])
    except DoesNotFit:
        return duckdb_cell(wire, column.type, "VARCHAR")


def _taken_apart(overflow: str | None, columns: Sequence[Column]) -> list[Any]:
    """The cells of these columns in the overflow of a row."""
    keys = msgspec.json.decode(overflow) if overflow else {}
    return [_text_or_cell(keys.get(column.key), column) for column in columns]


def _equals(name: str, sql_type: str, kind: str, wire: Any) -> tuple[str, list[Any]]:
    """A condition for the cells that are a value, with its values."""
    if wire is None:
        return f"{name} IS NULL", []
    like = comparable(kind, wire)
    if kind == "null" or (like == "text" and kind != "text"):
        return "false", []
    try:
        if kind in ("bool", "int", "bigint", "float"):
            number = decode(wire)
            if sql_type == "DOUBLE":
                return f"{name}=CAST(? AS DOUBLE)", [float(number)]
            if number != number or number in (float("inf"), float("-inf")) or int(number) != number:
                return "false", []
            if sql_type == "VARCHAR":
                return f"{name}=?", [str(int(number))]
            if abs(int(number)) > HUGEST:
                return "false", []
            return f"CAST({name} AS HUGEINT)=CAST(? AS HUGEINT)", [str(int(number))]
        return f"{name}=CAST(? AS {sql_type})", [duckdb_cell(wire, kind, sql_type)]
    except DoesNotFit:
        return "false", []
