"""One table of a store: read up to date, changed by events.

Every method first applies what was logged before the call. A mutation catches
up, records what it has read as its frontier, and is projected before it returns
(law 6).
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from xetrack.errors import ColumnNotFound, RunNotFound, RunProtected
from xetrack.log.cells import TEXT, cell, flag
from xetrack.log.events import RunDeleted, TableReset, ValueSet
from xetrack.tables.frames import PYTHON_TYPES, frame, value
from xetrack.tables.layout import FIXED, OVERFLOW, Column
from xetrack.tables.sqlite import SqliteTables, TablesConnection, quote

if TYPE_CHECKING:
    import pandas as pd

    from xetrack.log.segment import Writer
    from xetrack.store import Store


#: The largest number that SQLite takes.
_MOST = 2**63 - 1


class Table:
    """One table of a store, read up to date; its mutations are events."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[SqliteTables, list[Column]]]:
        with self.store.locked():
            self.store.catch_up_table(self.name)
            projector, backend = self.store.projector(), self.store.backend
            # Another process may have changed the columns since: what is read and what is known must be one view.
            with backend.reading():
                projector.refresh(self.name)
                yield backend, projector.state(self.name).columns

    def catch_up(self) -> None:
        with self._open():
            pass

    # reading

    @property
    def columns(self) -> list[str]:
        """Names of the columns: ``timestamp``, ``track_id``, the user's in order of first appearance."""
        with self._open() as (_, columns):
            return [*FIXED, *(column.name for column in columns)]

    @property
    def dtypes(self) -> dict[str, type]:
        """Python type of each column."""
        with self._open() as (_, columns):
            return {**dict.fromkeys(FIXED, str), **{column.name: PYTHON_TYPES[column.type] for column in columns}}

    def count(self, track_id: str | None = None) -> int:
        with self._open() as (backend, _):
            if not backend.has(self.name):
                return 0
            where, values = _for_run(track_id)
            return int(backend.conn.run(f"SELECT count(*) FROM {quote(self.name)}{where}", values).fetchone()[0])

    def runs(self) -> list[str]:
        """Track ids, in the order of their first rows."""
        with self._open() as (backend, _):
            if not backend.has(self.name):
                return []
            sql = f"SELECT track_id FROM {quote(self.name)} GROUP BY track_id ORDER BY min(_rowid_)"
            return [run for (run,) in backend.conn.run(sql)]

    def latest_run(self) -> str | None:
        """The run that logged last, by time."""
        with self._open() as (backend, _):
            if not backend.has(self.name):
                return None
            row = backend.conn.run(f"SELECT track_id FROM {quote(self.name)} ORDER BY _rowid_ DESC LIMIT 1").fetchone()
            return row[0] if row else None

    def frame(self, track_id: str | None = None, head: int | None = None, tail: int | None = None) -> pd.DataFrame:
        """Rows in the order they were logged; ``head`` and ``tail`` together take the last of the first."""
        with self._open() as (backend, columns):
            stored = [column for column in columns if column.stored]
            more = [column for column in columns if not column.stored]
            names = [*FIXED, *(column.name for column in stored)]
            kinds = ["text", "text", *(column.type for column in stored)]
            if not backend.has(self.name):
                return frame(names, kinds, [])
            selected = [*names, OVERFLOW] if more else names
            sql, values = self._select(selected, track_id, head, tail)
            cursor = backend.conn.run(sql, values)
            if not more:
                return frame(names, kinds, cursor)
            rows = [_stitch(row, more) for row in cursor]
            return frame([*names, *(c.name for c in more)], [*kinds, *(c.type for c in more)], rows)

    def records(
        self, track_id: str | None = None, offset: int = 0, limit: int | None = None, last: bool = False
    ) -> list[dict[str, Any]]:
        """Rows as dicts of Python values, all columns, None where empty.

        ``last`` counts ``offset`` and ``limit`` from the end; the rows come in order all the same.
        """
        with self._open() as (backend, columns):
            if not backend.has(self.name):
                return []
            stored = [column for column in columns if column.stored]
            more = [column for column in columns if not column.stored]
            names = [*FIXED, *(column.name for column in stored), *([OVERFLOW] if more else [])]
            where, values = _for_run(track_id)
            order = "DESC" if last else "ASC"
            sql = (
                f"SELECT {', '.join(map(quote, names))} FROM {quote(self.name)}{where} "
                f"ORDER BY _rowid_ {order} LIMIT ? OFFSET ?"
            )
            rows = backend.conn.run(sql, [*values, -1 if limit is None else min(limit, _MOST), offset]).fetchall()
            if last:
                rows.reverse()
            ordered = [*stored, *more]
            kinds = ["text", "text", *(column.type for column in ordered)]
            labels = [*FIXED, *(column.name for column in ordered)]
            if more:
                rows = [_stitch(row, more) for row in rows]
            return [
                {name: value(cell, kind) for name, cell, kind in zip(labels, row, kinds, strict=True)} for row in rows
            ]

    def column(self, name: str, track_id: str | None = None) -> list[Any]:
        """Values of one column, in order; ``name`` is a column's or a raw key.

        Raises:
            ColumnNotFound: there is no such column; names near matches.
        """
        chosen = self.resolve(name)
        return [row[chosen] for row in self.records(track_id)]

    def resolve(self, name: str) -> str:
        """The column that a raw key or a column's name means."""
        with self._open() as (_, columns):
            found = _find(columns, name)
            if found is not None:
                return found.name
            if name in FIXED:
                return name
            known = [*FIXED, *(column.name for column in columns)]
            raise ColumnNotFound(name, difflib.get_close_matches(name, known))

    def _select(
        self, names: list[str], track_id: str | None, head: int | None, tail: int | None
    ) -> tuple[str, list[Any]]:
        where, values = _for_run(track_id)
        listed = ", ".join(map(quote, names))
        sql = f"SELECT _rowid_ AS _xetrack_row, {listed} FROM {quote(self.name)}{where} ORDER BY _rowid_"
        if head is not None:
            sql += " LIMIT ?"
            values.append(min(max(head, 0), _MOST))
        if tail is not None:
            sql = f"SELECT * FROM ({sql}) ORDER BY _xetrack_row DESC LIMIT ?"
            values.append(min(max(tail, 0), _MOST))
        if head is None and tail is None:
            return f"SELECT {listed} FROM {quote(self.name)}{where} ORDER BY _rowid_", values
        return f"SELECT {listed} FROM ({sql}) ORDER BY _xetrack_row", values

    def connection(self) -> TablesConnection:
        return self.store.connection()

    # changing

    def set_value(self, writer: Writer, key: str, wire: Any, track_id: str | None = None, to_disk: bool = False) -> int:
        """Set one column of a run's rows, or of all rows; return how many there are.

        Raises:
            RunProtected: a run that it would reach is protected.
        """
        with self.store.locked():
            self.store.catch_up_table(self.name)
            count = self.count(track_id)
            # Rows that are hidden now get the value too, should an undo bring them back.
            if not count and not self.store.projector().state(self.name).hides:
                return 0
            self._refuse_protected(track_id)
            writer.append(
                ValueSet, to_disk=to_disk, run=track_id, key=self._key(key), value=wire, seen=self._frontier()
            )
            self.store.catch_up_table(self.name)
            return count

    def set_where(
        self,
        writer: Writer,
        key: str,
        wire: Any,
        where_key: str,
        where_wire: Any,
        track_id: str | None = None,
        to_disk: bool = False,
    ) -> int:
        """Set one column of the rows where another has a value; return how many.

        The rows are decided now and recorded, so no replay decides again.
        ``None`` finds empty cells.

        Raises:
            ColumnNotFound: there is no column ``where_key``.
        """
        with self.store.locked():
            with self._open() as (backend, columns):
                if where_key in FIXED:
                    where, kind = where_key, "text"
                else:
                    where = self.resolve(where_key)
                    kind = next(column.type for column in columns if column.name == where)
                stored = where in FIXED or next(column.stored for column in columns if column.name == where)
                target = None if where_wire is None else cell(where_wire, _comparable(kind, where_wire))
                run, values = _for_run(track_id)
                compared = quote(where) if stored else OVERFLOW
                selected = f"SELECT _rowid_, track_id, {compared} FROM {quote(self.name)}{run}"
                if not backend.has(self.name):
                    return 0
                if stored:
                    selected += f"{' AND ' if run else ' WHERE '}{quote(where)} IS ?"
                    found = backend.conn.run(selected, [*values, target]).fetchall()
                else:
                    one = [column for column in columns if column.name == where]
                    found = [row for row in backend.conn.run(selected, values) if _stitch(row, one)[-1] == target]
            if not found:
                return 0
            for touched in sorted({touched for _, touched, _ in found}):
                self._refuse_protected(touched)
            projector = self.store.projector()
            rows = projector.ids_of(self.name, [row for row, _, _ in found]).to_wire()
            writer.append(
                ValueSet,
                to_disk=to_disk,
                run=track_id,
                rows=rows,
                key=self._key(key),
                value=wire,
                seen=self._frontier(),
            )
            self.store.catch_up_table(self.name)
            return len(found)

    def delete_run(self, writer: Writer, track_id: str, to_disk: bool = False) -> int:
        """Hide all rows of a run that are there now; return how many.

        Raises:
            RunNotFound: the table has no rows of it; names near matches.
            RunProtected: the run is protected.
        """
        with self.store.locked():
            self.store.catch_up_table(self.name)
            count = self.count(track_id)
            if not count:
                raise RunNotFound(track_id, difflib.get_close_matches(track_id, self.runs()))
            self._refuse_protected(track_id)
            writer.append(RunDeleted, to_disk=to_disk, run=track_id, seen=self._frontier())
            self.store.catch_up_table(self.name)
            return count

    def reset(self, writer: Writer, to_disk: bool = False) -> None:
        """Empty the table: its rows so far and the columns that only they had."""
        with self.store.locked():
            self.store.catch_up_table(self.name)
            frontier = self._frontier()
            if not frontier:
                return
            self._refuse_protected(None)
            writer.append(TableReset, to_disk=to_disk, seen=frontier)
            self.store.catch_up_table(self.name)

    def _frontier(self) -> dict[str, str]:
        return self.store.projector().frontier(self.name).to_wire()

    def _key(self, key: str) -> str:
        """The raw key of the column that a name means; a new key is its own."""
        found = _find(self.store.projector().state(self.name).columns, key)
        return key if found is None else found.key

    def _refuse_protected(self, track_id: str | None) -> None:
        protected = self.store.projector().state(self.name).protected
        for run, (_, standing) in sorted(protected.items()):
            if standing and track_id in (None, run) and self.count(run):
                raise RunProtected(run)


def _find(columns: list[Column], name: str) -> Column | None:
    """The column with this raw key, else the one with this name."""
    for column in columns:
        if column.key == name:
            return column
    for column in columns:
        if column.name == name:
            return column
    return None


def _for_run(track_id: str | None) -> tuple[str, list[Any]]:
    return ("", []) if track_id is None else (" WHERE track_id=?", [track_id])


def _comparable(kind: str, wire: Any) -> str:
    """The cell type in which a value is compared with a column of type ``kind``."""
    if kind in ("int", "bool", "float", "null") and flag(wire) & TEXT:
        return "text"
    if kind in ("int", "bool") and isinstance(wire, float):
        return "float"
    return kind if kind != "null" else "text"


def _stitch(row: tuple[Any, ...], more: list[Column]) -> tuple[Any, ...]:
    """A row with its overflow column taken apart."""
    keys = msgspec.json.decode(row[-1]) if row[-1] else {}
    cells = []
    for column in more:
        wire = keys.get(column.key)
        cells.append(None if wire is None else cell(wire, column.type))
    return (*row[:-1], *cells)
