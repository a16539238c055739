"""One table of a store: read up to date, changed by events.

Every method first applies what was logged before the call. A mutation catches
up, records what it has read as its frontier, and is projected before it returns
(law 6).
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xetrack.errors import ColumnNotFound, InvalidArgument, RunNotFound, RunProtected
from xetrack.log import events as ev
from xetrack.log.events import RunDeleted, RunRewound, TableReset, ValueSet
from xetrack.log.ranges import Frontier
from xetrack.log.values import decode
from xetrack.tables.base import Backend, Selection
from xetrack.tables.frames import PYTHON_TYPES, frame, kind_of
from xetrack.tables.layout import FIXED, Column
from xetrack.tables.projector import Projector
from xetrack.tables.runs import Parts, WriterFacts
from xetrack.tables.sqlite_read import is_no_text

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from xetrack.log.segment import Writer
    from xetrack.store import Store
    from xetrack.tables.duckdb_door import DuckdbConnection
    from xetrack.tables.sqlite_door import TablesConnection


class Table:
    """One table of a store in one engine, read up to date; its mutations are events."""

    def __init__(self, store: Store, name: str, engine: str) -> None:
        self.store = store
        self.name = name
        self.engine = engine

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[Backend, list[Column]]]:
        with self.store.locked():
            self._catch_up()
            keeper = self.store.keeper(self.engine)
            with keeper.used():
                projector, backend = self._projector(), keeper.backend
                try:
                    # Another process may have changed the columns: what is read and what is known must be one view.
                    with backend.reading():
                        projector.refresh(self.name)
                        yield backend, projector.state(self.name).columns
                except Exception as error:
                    keeper.heal(error)
                    raise

    def _catch_up(self) -> None:
        self.store.catch_up_table(self.name, self.engine)

    def _projector(self) -> Projector:
        return self.store.keeper(self.engine).ready

    def catch_up(self) -> None:
        with self._open():
            pass

    # reading

    @property
    def columns(self) -> list[str]:
        """Names of the columns: ``timestamp``, ``track_id``, the user's in order of first appearance."""
        with self._open() as (_, columns):
            return [*FIXED, *(column.name for column in columns)]

    def names(self) -> dict[str, str]:
        """Name of the column of each raw key, in their order."""
        with self._open() as (_, columns):
            return {column.key: column.name for column in columns}

    @property
    def dtypes(self) -> dict[str, type]:
        """Python type of each column."""
        with self._open() as (_, columns):
            return {**dict.fromkeys(FIXED, str), **{column.name: PYTHON_TYPES[column.type] for column in columns}}

    def layout(self) -> list[Column]:
        """The user's columns with their keys and types as stored, in order."""
        with self._open() as (_, columns):
            return list(columns)

    def count(self, track_id: str | None = None) -> int:
        with self._open() as (backend, _):
            return backend.count(self.name, track_id) if backend.has(self.name) else 0

    def runs(self) -> list[str]:
        """Track ids, in the order of their first rows."""
        with self._open() as (backend, _):
            return list(backend.run_counts(self.name)) if backend.has(self.name) else []

    def run_facts(self) -> tuple[dict[str, int], Parts, dict[str, WriterFacts]]:
        """Rows of each run, in the order of their first ones; who logged them; what is known of the writers."""
        with self._open() as (backend, _):
            counts = backend.run_counts(self.name) if backend.has(self.name) else {}
            state = self._projector().state(self.name)
            return counts, state.runs, state.writers

    def reach(
        self, track_id: str | None = None, last: int | None = 0
    ) -> tuple[dict[str, int], Frontier, Frontier, list[dict[str, Any]]]:
        """How far each segment is read, ids of all events read and of the redacted ones, and the ``last`` rows."""
        with self._open() as (backend, columns):
            projector = self._projector()
            rows = []
            if last != 0 and backend.has(self.name):
                ordered = [*(c for c in columns if c.stored), *(c for c in columns if not c.stored)]
                labels = [*FIXED, *(column.name for column in ordered)]
                found = backend.records(self.name, columns, track_id, 0, last, True)
                rows = [{k: v for k, v in zip(labels, row, strict=True) if v is not None} for row in found]
            read = {segment.name: segment.size for segment in projector.read_so_far(self.name)}
            redacted = projector.state(self.name).settlement.redacted
            return read, projector.frontier(self.name).copy(), Frontier.from_wire(redacted), rows

    def latest_run(self) -> str | None:
        """The run that logged last, by time."""
        with self._open() as (backend, _):
            return backend.latest_run(self.name) if backend.has(self.name) else None

    def frame(self, track_id: str | None = None, head: int | None = None, tail: int | None = None) -> pd.DataFrame:
        """Rows in the order they were logged; ``head`` and ``tail`` together take the last of the first.

        Raises:
            InvalidArgument: ``head`` or ``tail`` is no count.
        """
        _check_counts(head=head, tail=tail)
        with self._open() as (backend, columns):
            if not backend.has(self.name):
                names, kinds = [c.name for c in columns], [c.type for c in columns]
                return frame([*FIXED, *names], ["text", "text", *kinds], [])
            return backend.frame(self.name, columns, Selection(track_id, head, tail))

    def arrow(self, track_id: str | None = None, head: int | None = None, tail: int | None = None) -> pa.Table:
        """The same rows as an Arrow table.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        _check_counts(head=head, tail=tail)
        from xetrack.tables.arrows import arrow_of_cells

        with self._open() as (backend, columns):
            if not backend.has(self.name):
                return arrow_of_cells(list(FIXED), ["text", "text"], [])
            return backend.arrow(self.name, columns, Selection(track_id, head, tail))

    def records(
        self, track_id: str | None = None, offset: int = 0, limit: int | None = None, last: bool = False
    ) -> list[dict[str, Any]]:
        """Rows as dicts of Python values, all columns, None where empty.

        ``last`` counts ``offset`` and ``limit`` from the end; the rows come in order all the same.
        """
        labels, rows = self.rows(track_id, offset, limit, last)
        return [dict(zip(labels, row, strict=True)) for row in rows]

    def rows(
        self, track_id: str | None = None, offset: int = 0, limit: int | None = None, last: bool = False
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Names of columns, those past the column limit at the end, and the rows that ``records`` has as dicts."""
        with self._open() as (backend, columns):
            ordered = [*(c for c in columns if c.stored), *(c for c in columns if not c.stored)]
            labels = [*FIXED, *(column.name for column in ordered)]
            if not backend.has(self.name):
                return labels, []
            return labels, backend.records(self.name, columns, track_id, offset, limit, last)

    def chosen(
        self, shown: Sequence[Column], asked: Sequence[Column], track_id: str | None, query: Callable[[str], str]
    ) -> list[tuple[Any, ...]]:
        """Rows whose ``NUMBER`` a query gives, in its order: the fixed columns, then those ``shown`` as in ``rows``.

        The engine has the columns ``asked`` beside the fixed ones for the query; see ``Backend.ask``.
        """
        with self._open() as (backend, _):
            if not backend.has(self.name):
                return []
            numbers = backend.ask(self.name, asked, track_id, query)
            rows = backend.records(self.name, shown, track_id, 0, None, False)
            return [rows[number] for (number,) in numbers]

    def column(self, name: str, track_id: str | None = None) -> list[Any]:
        """Values of one column, in order; ``name`` is a column's or a raw key.

        Raises:
            ColumnNotFound: there is no such column; names near matches.
        """
        with self._open() as (backend, columns):
            known = [] if name in FIXED and _find(columns, name) is None else [_known(columns, name)]
            if not backend.has(self.name):
                return []
            place = len(FIXED) if known else FIXED.index(name)
            return [row[place] for row in backend.records(self.name, known, track_id, 0, None, False)]

    def resolve(self, name: str) -> str:
        """The column that a raw key or a column's name means."""
        with self._open() as (_, columns):
            return name if name in FIXED and _find(columns, name) is None else _known(columns, name).name

    def query(self, sql: str, params: Any = None) -> pd.DataFrame:
        """What a read-only query gives, as a frame; types follow from the values, in DuckDB from the columns."""
        if self.engine == "duckdb":
            from xetrack.tables.arrows import frame_of_query

            return frame_of_query(self.query_arrow(sql, params))
        names, kinds, rows = self._queried(sql, params)
        return frame(names, kinds, rows)

    def query_arrow(self, sql: str, params: Any = None) -> pa.Table:
        """The same as an Arrow table."""
        from xetrack.tables.arrows import arrow_of_cells

        if self.engine == "duckdb":
            conn: Any = self.connection()
            return conn.execute(sql, params).arrow()
        return arrow_of_cells(*self._queried(sql, params))

    def _queried(self, sql: str, params: Any) -> tuple[list[str], list[str], list[Any]]:
        with self.store.locked():  # one thread at a time, and none while the process forks
            conn: Any = self.connection()
            try:
                cursor = conn.execute(sql, () if params is None else params)
                rows = cursor.fetchall()
            except Exception as error:
                self.heal(error)
                raise
        names = [column[0] for column in cursor.description or ()]
        return names, [kind_of(cells) for cells in zip(*rows, strict=True)] or ["null"] * len(names), rows

    def connection(self) -> TablesConnection | DuckdbConnection:
        return self.store.connection(self.engine)

    def heal(self, error: Exception) -> None:
        """After a query of the user's failed: put the tables aside if that is because they are damaged.

        Raises:
            StorageFailed: they were; the next call makes them anew.
        """
        with self.store.locked():
            if is_no_text(error):  # the query may have made the text: the rows themselves tell
                self.frame()
            else:
                self.store.keeper(self.engine).heal(error)

    # changing

    def set_value(self, writer: Writer, key: str, wire: Any, track_id: str | None = None, to_disk: bool = False) -> int:
        """Set one column of a run's rows, or of all rows; return how many there are.

        Raises:
            RunProtected: a run that it would reach is protected.
        """
        with self.store.locked():
            self._catch_up()
            count = self.count(track_id)
            # Rows that are hidden now get the value too, should an undo bring them back.
            if not count and not self._projector().state(self.name).hides:
                return 0
            self._refuse_protected(track_id)
            writer.append(
                ValueSet, to_disk=to_disk, run=track_id, key=self._key(key), value=wire, seen=self._frontier()
            )
            self._catch_up()
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
                where = where_key if where_key in FIXED else _known(columns, where_key)
                found = backend.find(self.name, where, where_wire, track_id) if backend.has(self.name) else []
                # In the same view: the next catch-up may number the rows anew.
                rows = self._projector().ids_of(self.name, [row for row, _ in found]).to_wire()
            if not found:
                return 0
            for touched in sorted({touched for _, touched in found}):
                self._refuse_protected(touched)
            writer.append(
                ValueSet,
                to_disk=to_disk,
                run=track_id,
                rows=rows,
                key=self._key(key),
                value=wire,
                seen=self._frontier(),
            )
            self._catch_up()
            return len(found)

    def delete_run(self, writer: Writer, track_id: str, to_disk: bool = False) -> int:
        """Hide all rows of a run that are there now; return how many.

        Raises:
            RunNotFound: the table has no rows of it; names near matches.
            RunProtected: the run is protected.
        """
        with self.store.locked():
            self._catch_up()
            count = self.count(track_id)
            if not count:
                raise RunNotFound(track_id, difflib.get_close_matches(track_id, self.runs()))
            self._refuse_protected(track_id)
            writer.append(RunDeleted, to_disk=to_disk, run=track_id, seen=self._frontier())
            self._catch_up()
            return count

    def reset(self, writer: Writer, to_disk: bool = False) -> None:
        """Empty the table: its rows so far and the columns that only they had."""
        with self.store.locked():
            self._catch_up()
            frontier = self._frontier()
            if not frontier:
                return
            self._refuse_protected(None)
            writer.append(TableReset, to_disk=to_disk, seen=frontier)
            self._catch_up()

    def rewind(self, writer: Writer, track_id: str, condition: Mapping[str, Any], to_disk: bool = False) -> int:
        """Hide the rows of a run that lie past a point, such as ``{"step": 4000}``; return how many.

        Several keys are compared in the order given: a row is past the point if its first
        number is greater, or the same and its second is greater. A row without the number stays.
        Which rows those are is decided now and recorded.

        Raises:
            ColumnNotFound: there is no such column; names near matches.
            InvalidArgument: a column does not hold numbers.
            RunProtected: the run is protected.
        """
        point = [decode(wire) for wire in condition.values()]
        with self.store.locked():
            with self._open() as (backend, columns):
                if not backend.has(self.name) or not backend.count(self.name, track_id):
                    return 0
                chosen = [_of_numbers(columns, key) for key in condition]
                stored = [column for column in chosen if column.stored]
                order = [*stored, *(column for column in chosen if not column.stored)]
                records = backend.records(self.name, order, track_id, 0, None, False)
                places = [len(FIXED) + order.index(column) for column in chosen]
                numbers = [number for number, _ in backend.find(self.name, "track_id", track_id, track_id)]
                past = [
                    number
                    for number, record in zip(numbers, records, strict=True)
                    if _is_past([record[place] for place in places], point)
                ]
                # In the same view: the next catch-up may number the rows anew.
                rows = self._projector().ids_of(self.name, past).to_wire()
            if not past:
                return 0
            self._refuse_protected(track_id)
            writer.append(
                RunRewound,
                to_disk=to_disk,
                run=track_id,
                condition=dict(condition),
                rows=rows,
                seen=self._frontier(),
            )
            self._catch_up()
            return len(past)

    def undo(self, writer: Writer, events: Frontier, to_disk: bool = False) -> str:
        """Cancel events of this table by a new one, and return its id."""
        with self.store.locked():
            self._catch_up()
            made = writer.append(ev.EventUndone, to_disk=to_disk, events=events.to_wire(), seen=self._frontier())
            self._catch_up()
            return made.id

    def protect(self, writer: Writer, track_id: str, to_disk: bool = False) -> int:
        """Refuse changes of a run from now on; return how many rows it has.

        Raises:
            RunNotFound: the table has no rows of it; names near matches.
        """
        return self._guard(writer, ev.RunProtected, track_id, to_disk)

    def unprotect(self, writer: Writer, track_id: str, to_disk: bool = False) -> int:
        """Allow changes of a run again; return how many rows it has. Raises what ``protect`` does."""
        return self._guard(writer, ev.RunUnprotected, track_id, to_disk)

    def _guard(
        self, writer: Writer, kind: type[ev.RunProtected | ev.RunUnprotected], track_id: str, to_disk: bool
    ) -> int:
        with self.store.locked():
            self._catch_up()
            count, standing = self.count(track_id), track_id in self.protected()
            if not count and not standing:
                raise RunNotFound(track_id, difflib.get_close_matches(track_id, self.runs()))
            if standing is not (kind is ev.RunProtected):
                writer.append(kind, to_disk=to_disk, run=track_id, seen=self._frontier())
                self._catch_up()
            return count

    def protected(self) -> list[str]:
        """Runs whose changes are refused, in alphabetical order."""
        with self.store.locked():
            self._catch_up()
            known = self._projector().state(self.name).protected
            return sorted(run for run, (_, standing) in known.items() if standing)

    def has_read(self, writer: str, seq: int) -> bool:
        """Whether an event of that id is in what was read of the log so far."""
        with self.store.locked():
            return self._projector().frontier(self.name).contains(writer, seq)

    def _frontier(self) -> dict[str, str]:
        return self._projector().frontier(self.name).to_wire()

    def _key(self, key: str) -> str:
        """The raw key of the column that a name means; a new key is its own."""
        found = _find(self._projector().state(self.name).columns, key)
        return key if found is None else found.key

    def _refuse_protected(self, track_id: str | None) -> None:
        for run in self.protected():
            if track_id in (None, run) and self.count(run):
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


def _known(columns: list[Column], name: str) -> Column:
    """The column with this raw key or name.

    Raises:
        ColumnNotFound: there is none; names near matches.
    """
    column = _find(columns, name)
    if column is None:
        known = [*FIXED, *(column.name for column in columns)]
        raise ColumnNotFound(name, difflib.get_close_matches(name, known))
    return column


def _of_numbers(columns: list[Column], key: str) -> Column:
    if key in FIXED and _find(columns, key) is None:
        raise InvalidArgument("rewind", f"the column {key!r} does not hold numbers")
    column = _known(columns, key)
    if PYTHON_TYPES[column.type] not in (int, float):
        raise InvalidArgument("rewind", f"the column {column.name!r} does not hold numbers")
    return column


def _is_past(cells: list[Any], point: list[Any]) -> bool:
    """Whether a row's numbers, compared one after the other, are greater."""
    for cell, limit in zip(cells, point, strict=True):
        if cell is None or cell != cell or cell < limit:
            return False
        if cell > limit:
            return True
    return False


def _check_counts(**counts: Any) -> None:
    for name, count in counts.items():
        if count is not None and (isinstance(count, bool) or not hasattr(count, "__index__") or count < 0):
            raise InvalidArgument(name, f"{count!r} is not a number of rows, 0 or more")
