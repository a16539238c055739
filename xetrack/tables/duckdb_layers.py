"""One DuckDB table as layers: rows of the generation, less those masked, and rows in memory."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from xetrack.tables.duckdb_cells import NOTHING
from xetrack.tables.duckdb_file import ROWS, registered
from xetrack.tables.layout import FIXED, quote

MASKED = "_xetrack_masked"
_FEW_COLUMNS = 16
#: Tables in memory have names of their own each, so that one can take the place of another.
_numbers = itertools.count()
#: The row's number, whose order is the total order. No user's column can have this name.
ROW = "_rowid_"


class Layers:
    """What a table consists of. The SQL for it is made here, the transaction is the caller's."""

    def __init__(self, table: str, leftovers: list[str]) -> None:
        """``leftovers`` gets the tables that are to be dropped when the next transaction begins."""
        self.table = table
        self._leftovers = leftovers
        self._number = next(_numbers)
        #: Name and SQL type of each column as shown, in order; the fixed ones first.
        self.types: dict[str, str] = dict.fromkeys(FIXED, "VARCHAR")
        #: Name and SQL type in the base, by the name shown; None if no row of the base counts.
        self.base: dict[str, tuple[str, str]] | None = None
        self.base_rows = self.masked = self.fresh_rows = 0
        #: The largest row number.
        self.last = -1
        #: Whether the rows lie in order, the base's before those in memory.
        self.in_order = True
        #: Whether the rows go into the draft of the next generation.
        self.drafted = False
        #: SQL and column types of the view that users have.
        self.drawn: tuple[str, ...] = ()
        self._made = False
        #: Whether this transaction changed rows in place or took some away.
        self.changed = False
        #: Columns that the place has not got yet: many are had sooner together.
        self._missing: list[str] = []

    @classmethod
    def of_base(
        cls, table: str, leftovers: list[str], columns: Sequence[tuple[str, str]], row_count: int, last: int
    ) -> Layers:
        """A table as a generation has it."""
        layers = cls(table, leftovers)
        layers.types = {name: sql_type for name, sql_type in columns if name != ROW}
        layers.base = {name: (name, sql_type) for name, sql_type in layers.types.items()}
        layers.base_rows, layers.last = row_count, last
        return layers

    # facts

    @property
    def count(self) -> int:
        return self.base_rows - self.masked + self.fresh_rows

    @property
    def fresh_cells(self) -> int:
        return (self.fresh_rows + self.masked) * len(self.types)

    @property
    def base_cells(self) -> int:
        return self.base_rows * len(self.types)

    @property
    def place(self) -> str:
        """The table of the rows in memory, or in the draft."""
        if self.drafted:
            return f"work.{ROWS}.{quote(self.table)}"
        return f"db.{ROWS}.{quote(f'{self.table}#{self._number}')}"

    @property
    def _masks(self) -> str:
        return f"db.{MASKED}.{quote(self.table)}"

    # SQL

    def relation(self, names: Sequence[str] | None = None) -> str:
        """A query for all rows: their number, then these columns or all."""
        names = list(self.types) if names is None else names
        parts = []
        if self.base is not None and (self.base_rows > self.masked or not self._made):
            parts.append(self._of_base(names))
        if self.fresh_rows or not parts:
            self_names = ", ".join([ROW, *map(quote, names)])
            parts.append(f"SELECT {self_names} FROM {self.place}")
        return " UNION ALL ".join(parts)

    def _of_base(self, names: Sequence[str]) -> str:
        assert self.base is not None
        selected = [f"b.{ROW}"]
        for name in names:
            sql_type = self.types[name]
            own, own_type = self.base.get(name, ("", ""))
            source = _cast(f"b.{quote(own)}", own_type, sql_type) if own else f"CAST(NULL AS {sql_type})"
            selected.append(f"{source} AS {quote(name)}")
        sql = f"SELECT {', '.join(selected)} FROM base.{ROWS}.{quote(self.table)} AS b"
        return f"{sql} ANTI JOIN {self._masks} AS m ON b.{ROW}=m.{ROW}" if self.masked else sql

    def shown(self, source: str) -> str:
        """A query for the columns that users see, in order."""
        listed = ", ".join(map(quote, self.types))
        return f"SELECT {listed} FROM {source}" + ("" if self.in_order else f" ORDER BY {ROW}")

    # changes

    def make(self, conn: Any) -> None:
        """Have a place for rows in memory, or in the draft."""
        if not self._made:
            types = {ROW: "BIGINT", **self.types}
            if self.drafted:  # as DuckDB takes them, after it tried all others
                types[ROW] += " USING COMPRESSION bitpacking"
                types[FIXED[0]] += " USING COMPRESSION fsst"
            columns = ", ".join(f"{quote(name)} {sql_type}" for name, sql_type in types.items())
            conn.execute(f"CREATE TABLE {self.place} ({columns})")
            self._made = True

    def drop(self, conn: Any) -> None:
        if self.drafted:
            self._alterable(conn)
            conn.execute(f"DROP TABLE IF EXISTS {self.place}")
            return
        if self._made:
            self._leftovers.append(self.place)
        conn.execute(f"DROP TABLE IF EXISTS {self._masks}")

    def _alterable(self, conn: Any) -> None:
        """See that the place can be altered or dropped.

        DuckDB 1.3 and 1.4 fail to commit that after an UPDATE or DELETE in the same transaction.
        """
        if not self.changed:
            return
        self.changed = False
        if self.drafted:
            conn.execute("COMMIT")  # nobody sees it yet
            conn.execute("BEGIN")
            return
        old = self.place
        self._leftovers.append(old)
        self._number = next(_numbers)
        conn.execute(f"CREATE TABLE {self.place} AS SELECT * FROM {old}")

    def add(self, name: str, sql_type: str) -> None:
        """Have another column; ``settle`` makes it."""
        self.types[name] = sql_type
        if self._made:
            self._missing.append(name)

    def settle(self, conn: Any) -> None:
        """Let the place have all columns."""
        missing, self._missing = self._missing, []
        if missing:
            self._alterable(conn)
        if len(missing) <= _FEW_COLUMNS:
            for name in missing:
                conn.execute(f"ALTER TABLE {self.place} ADD COLUMN {quote(name)} {self.types[name]}")
            return
        # Each ALTER of a transaction keeps a copy of the whole definition.
        added = set(missing)
        listed = ", ".join([ROW, *(quote(name) for name in self.types if name not in added)])
        aside = f"{'work' if self.drafted else 'db'}.{ROWS}._xetrack_aside"
        if self.fresh_rows:
            conn.execute(f"CREATE TABLE {aside} AS SELECT {listed} FROM {self.place}")
        conn.execute(f"DROP TABLE {self.place}")
        self._made = False
        self.make(conn)
        if self.fresh_rows:
            conn.execute(f"INSERT INTO {self.place} ({listed}) SELECT {listed} FROM {aside}")
            conn.execute(f"DROP TABLE {aside}")

    def rename(self, conn: Any, names: Mapping[str, str]) -> None:
        """Give columns other names, which may be each other's."""
        self.settle(conn)
        changed = {old: new for old, new in names.items() if old != new}
        if changed and self._made:
            self._alterable(conn)
        for index, old in enumerate(changed if self._made else ()):
            conn.execute(f"ALTER TABLE {self.place} RENAME COLUMN {quote(old)} TO _xetrack_aside_{index}")
        for index, new in enumerate(changed.values() if self._made else ()):
            conn.execute(f"ALTER TABLE {self.place} RENAME COLUMN _xetrack_aside_{index} TO {quote(new)}")
        self.types = {changed.get(name, name): sql_type for name, sql_type in self.types.items()}
        if self.base is not None:
            self.base = {changed.get(name, name): own for name, own in self.base.items()}

    def order(self, names: Sequence[str]) -> None:
        """Show the columns in this order, behind the fixed ones; what is not named comes last."""
        ordered = [*FIXED, *names]
        ordered += [name for name in self.types if name not in set(ordered)]
        self.types = {name: self.types[name] for name in ordered}

    def retype(self, conn: Any, name: str, sql_type: str) -> None:
        """Change a column's type; every value must have an exact one in the new."""
        if self._made and name not in self._missing:
            self._alterable(conn)
            using = _cast(quote(name), self.types[name], sql_type)
            conn.execute(f"ALTER TABLE {self.place} ALTER COLUMN {quote(name)} TYPE {sql_type} USING {using}")
        self.types[name] = sql_type

    def append(self, conn: Any, held: Sequence[Mapping[str, Any]]) -> None:
        """Add rows from Arrow arrays by column, of one shape or several; they are put in order."""
        import numpy as np
        import pyarrow as pa

        self.make(conn)
        self.settle(conn)
        names = list(dict.fromkeys(name for arrays in held for name in arrays))
        columns = []
        for name in names:
            chunk_type = next(arrays[name].type for arrays in held if name in arrays)
            columns.append(
                pa.chunked_array(
                    [arrays[name] if name in arrays else pa.nulls(len(arrays[ROW]), chunk_type) for arrays in held]
                )
            )
        # In one piece, or DuckDB compresses each on its own.
        table = pa.table(columns, names=names).combine_chunks()
        rows = table.column(ROW).to_numpy()
        if len(rows) > 1 and not (rows[1:] > rows[:-1]).all():
            order = np.argsort(rows)
            table, rows = table.take(order), rows[order]
        listed = ", ".join(map(quote, names))
        with registered(conn, "_xetrack_rows_in", table):
            conn.execute(f"INSERT INTO {self.place} ({listed}) SELECT {listed} FROM _xetrack_rows_in")
        self.fresh_rows += len(rows)
        self.in_order = self.in_order and int(rows[0]) > self.last
        self.last = max(self.last, int(rows[-1]))

    def lift(self, conn: Any, where: str, values: list[Any]) -> None:
        """Take the rows of the base that a condition picks into memory, to be changed there."""
        self.make(conn)
        self.settle(conn)
        if self.base is None or self.base_rows == self.masked:
            return
        base, listed = self._of_base(list(self.types)), ", ".join([ROW, *map(quote, self.types)])
        sql = f"INSERT INTO {self.place} ({listed}) SELECT * FROM ({base}){where}"
        ((lifted,),) = conn.execute(sql, values).fetchall()
        if lifted:
            self._mask(conn, where, values)
            self.fresh_rows += lifted
            self.in_order = False

    def _mask(self, conn: Any, where: str, values: list[Any]) -> int:
        conn.execute(f"CREATE TABLE IF NOT EXISTS {self._masks} ({ROW} BIGINT)")
        sql = f"INSERT INTO {self._masks} SELECT {ROW} FROM ({self._of_base([FIXED[1]])}){where}"
        ((masked,),) = conn.execute(sql, values).fetchall()
        self.masked += masked
        return int(masked)

    def update(self, conn: Any, change: str, new: list[Any], where: str, values: list[Any]) -> int:
        """Change cells of rows that are in memory; count the rows."""
        self.changed = True
        ((changed,),) = conn.execute(f"UPDATE {self.place} SET {change}{where}", [*new, *values]).fetchall()
        return int(changed)

    def hide(self, conn: Any, where: str, values: list[Any]) -> int:
        """Take rows away; count them."""
        hidden = 0
        if self.base is not None and self.base_rows > self.masked:
            hidden = self._mask(conn, where, values)
        if self._made:
            self.changed = True
            ((deleted,),) = conn.execute(f"DELETE FROM {self.place}{where}", values).fetchall()
            self.fresh_rows -= deleted
            hidden += deleted
        return hidden


def _cast(source: str, old: str, new: str) -> str:
    if old == new:
        return source
    if old == NOTHING:
        return f"CAST(NULL AS {new})"
    if (old, new) == ("TIMESTAMP", "VARCHAR"):
        return f"strftime({source}, '%Y-%m-%d %H:%M:%S.%f')"  # as SQLite has it
    return f"CAST({source} AS {new})"
