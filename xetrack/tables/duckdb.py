"""DuckDB tables: a generation on disk, read-only, with what came since in memory.

Each process has an instance of its own. ``base`` is the generation, shared and
never changed. ``db`` has the views that users see; behind them lie the rows that
are new (schema ``_xetrack_rows``) and the numbers of base rows that a mutation
took over (``_xetrack_masked``). A large table is projected straight into the
draft of the next generation. Why: docs/decisions/0004.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from xetrack.tables import duckdb_file
from xetrack.tables.asset_views import duckdb_assets, duckdb_hashes
from xetrack.tables.base import SLOT_BITS, Ailment, ColumnRows, Rows
from xetrack.tables.duckdb_books import DuckdbBooks
from xetrack.tables.duckdb_cells import SQL_TYPES, DoesNotFit, duckdb_cell, series
from xetrack.tables.duckdb_file import OWN, ROWS, Draft, Native, inode_of, registered
from xetrack.tables.duckdb_layers import MASKED, ROW, Layers
from xetrack.tables.duckdb_read import DuckdbReading
from xetrack.tables.layout import FIXED, OVERFLOW, Column, columns_of, quote

logger = logging.getLogger("xetrack")

#: Rows are handed to DuckDB so many at a time: those of one of its row groups.
_BATCH_ROWS = 122_880
#: And so many parts of them: a small Arrow array takes kilobytes.
_BATCH_PARTS = 256
#: For a projection; queries of users have what DuckDB takes by itself.
_PROJECTION_MEMORY = "768MB"


class DuckdbTables(DuckdbReading, DuckdbBooks, Native):
    """The tables of one store for one process; ``path`` None: in memory only."""

    limit = 4000
    #: A log of so many bytes is projected into a file, a smaller one in memory.
    large_bytes = 32 << 20
    #: Cells that are copied without a thought, when a store is flushed or closed.
    cheap_cells = 5_000_000
    #: Cells in memory that are too many to stay there, if they are a tenth of the base too.
    heavy_cells = 2_000_000

    def __init__(self, path: Path | None, *, limit: int | None = None) -> None:
        self.path = path
        if limit is not None:
            self.limit = limit
        self._told = False
        self._unwritable = False
        self.conn: Any = None
        self._draft: Draft | None = None
        super().__init__()
        self._open()

    def _open(self, path: Path | None = None, instance: Callable[[], Any] = duckdb_file.instance) -> None:
        """Begin an instance on the generation that stands there now, or on one that is about to."""
        path = path or self.path
        self.inode = None if path is None else inode_of(path)
        self.conn = instance()
        self.layers: dict[str, Layers] = {}
        #: Tables in memory that nothing reads any more.
        self._leftovers: list[str] = []
        self._draft = None
        self._pending: dict[str, list[dict[str, Any]]] = {}
        self._open_books()
        #: The table that ``events`` shows.
        self._events: str | None = None
        #: Columns of each table that may hold hashes of assets, and whether ``assets`` counts in these.
        self._references: dict[str, Sequence[Column]] = {}
        self._counted = False
        #: Whether anything was committed that the generation does not have.
        self._ahead = False
        self._failed = False
        try:
            for schema in (ROWS, MASKED):
                self.conn.execute(f"CREATE SCHEMA db.{schema}")
            self.conn.execute(f"CREATE SCHEMA db.{OWN}; CREATE TABLE db.{OWN}.{duckdb_file.ASSETS}")
            if path is not None and self.inode is not None and duckdb_file.attach(self.conn, path):
                self._load()
            self._make_views()
        except BaseException:
            self._let_go()
            raise

    def json_connection(self) -> Any:
        """A connection to the instance in memory; who asked for it closes it."""
        return self.conn.cursor()

    def _let_go(self) -> None:
        """Drop the instance. It goes with the last cursor of it: closing would end what a user is fetching."""
        self.conn = None

    def _load(self) -> None:
        for name, state, row_count, last_row in self._base(f"SELECT * FROM base.{OWN}._xetrack_tables"):
            self._states[name] = state
            columns = self._base(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name='base' AND schema_name=? "
                "AND table_name=? ORDER BY column_index",
                [ROWS, name],
            )
            self.layers[name] = Layers.of_base(name, self._leftovers, columns, row_count, last_row)
        self._load_books()
        for name, state in self._states.items():
            self._references[name] = columns_of(state)

    def close(self) -> None:
        """Write what the generation lacks if that is cheap and its folder still there, and let go."""
        import duckdb

        try:
            if self._ahead and not self._failed and self.path is not None and self.path.parent.is_dir():
                self.publish()
        except (OSError, duckdb.Error):
            logger.debug("no new generation of %s", self.path, exc_info=True)
        finally:
            self._end()

    def _end(self) -> None:
        if self._draft is not None:
            self._draft.abandon()
            self._draft = None
        self._let_go()

    def natives(self) -> Iterator[object]:
        yield self.conn
        if self._draft is not None:
            yield self._draft.conn

    def current(self) -> bool:
        return not self._failed and (self.path is None or inode_of(self.path) == self.inode)

    @staticmethod
    def diagnose(error: Exception, *, own: bool = False) -> Ailment | None:
        import duckdb

        if isinstance(error, OSError):
            return "unwritable"
        if own and isinstance(error, duckdb.ProgrammingError):
            return "damaged"  # our statements fit the tables that we made
        # Names and values of the user's are in what it says of a wrong statement.
        if not isinstance(error, duckdb.Error) or isinstance(error, (duckdb.ProgrammingError, duckdb.DataError)):
            return None
        broken = (duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)
        words = str(error).casefold()
        if isinstance(error, (duckdb.TransactionException, *broken)) and any(sign in words for sign in _OF_THE_DISK):
            return "unwritable"  # a commit that failed, or a checkpoint
        if isinstance(error, broken) or any(sign in words for sign in _DAMAGE):
            return "damaged"
        return "unwritable" if isinstance(error, (duckdb.IOException, duckdb.PermissionException)) else None

    # transaction

    def begin(self, *, large: bool = False) -> None:
        self.conn.execute("BEGIN")
        for layers in self.layers.values():
            layers.changed = False
        while self._leftovers:
            self.conn.execute(f"DROP TABLE {self._leftovers.pop()}")

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Nobody else changes what this process has; its owner's lock is enough."""
        yield

    def changed_elsewhere(self) -> bool:
        """True once: who opens another generation begins anew."""
        told, self._told = self._told, True
        return not told

    def commit(self) -> None:
        self._flush_all()
        self._ahead = True
        if self._draft is not None:
            self._publish(self._draft)
            return
        self._make_views()
        self.conn.execute("COMMIT")
        fresh, kept = self._weight()
        if fresh > max(self.heavy_cells, kept // 10):
            self._try_to_publish()

    def rollback(self) -> None:
        """What was done in memory is dropped with the instance; the log and the generation have it all."""
        self._failed = True

    # generations

    def publish(self, *, always: bool = False) -> bool:
        if self.path is None or not self._ahead:
            return True
        fresh, kept = self._weight()
        if not always and fresh + kept > self.cheap_cells and fresh < kept // 50:
            return True
        return self._try_to_publish()

    def _weight(self) -> tuple[int, int]:
        """Cells in memory, and cells in the base."""
        layers = self.layers.values()
        return sum(one.fresh_cells for one in layers), sum(one.base_cells for one in layers)

    def _try_to_publish(self) -> bool:
        if self.path is None or self._unwritable:
            return True
        try:
            return self._publish(None)
        except Exception as error:
            if self.diagnose(error) != "unwritable":
                raise
            self._unwritable = True
            if self.path.parent.is_dir():  # where the whole folder was deleted, nobody misses its tables
                logger.warning("%s could not be written, its rows stay in memory: %s", self.path, error)
            return True

    def _publish(self, draft: Draft | None) -> bool:
        """Write the next generation and go on from it; False if another process was first."""
        assert self.path is not None
        expected = self.inode
        remade = draft is not None
        if draft is None:
            self.conn.execute("SET memory_limit=?", [_PROJECTION_MEMORY])
            draft = self._draft = Draft(self.conn, self.path)
        following = duckdb_file.soon() if remade else duckdb_file.instance
        try:
            for name, layers in self.layers.items():
                if not layers.drafted:
                    order = "" if layers.in_order else f" ORDER BY {ROW}"
                    draft.conn.execute(f"CREATE TABLE work.{ROWS}.{quote(name)} AS {layers.relation()}{order}")
                draft.conn.execute(f"CREATE VIEW main.{quote(name)} AS {layers.shown(f'{ROWS}.{quote(name)}')}")
            self._write_books(draft.conn)
            if (default := _default_of(self.layers)) is not None:
                draft.conn.execute(f"CREATE VIEW main.events AS SELECT * FROM main.{quote(default)}")
            draft.conn.execute(f"CREATE VIEW main.assets AS {self._assets_in('')}")
            draft.finish()
            if not remade and inode_of(self.path) != expected:
                return False
            # Open first, so that what is open is what was written, whoever replaces it the next moment.
            self._open(draft.path, following)
            os.replace(draft.path, self.path)
            return True
        finally:
            self._draft = None
            draft.abandon()

    def _make_views(self) -> None:
        """Have the users' views show what the layers hold."""
        default, redrawn = _default_of(self.layers), set()
        for name, layers in self.layers.items():
            sql = layers.shown(f"({layers.relation()})")
            drawn = (sql, *layers.types.values())
            if drawn != layers.drawn:
                self.conn.execute(f"CREATE OR REPLACE VIEW db.main.{quote(name)} AS {sql}")
                layers.drawn = drawn
                redrawn.add(name)
        if default is not None and (default != self._events or default in redrawn):
            self.conn.execute(f"CREATE OR REPLACE VIEW db.main.events AS SELECT * FROM db.main.{quote(default)}")
        self._events = default
        if not self._counted:
            self.conn.execute(f"CREATE OR REPLACE VIEW db.main.assets AS {self._assets_in('db.')}")
            self._counted = True

    def _assets_in(self, catalog: str) -> str:
        """The query for ``assets`` over the views of a catalog."""
        known = [(name, self._references.get(name, ())) for name in self.layers]
        hashes = [duckdb_hashes(f"{catalog}main.{quote(name)}", columns) for name, columns in known]
        return duckdb_assets(f"{catalog}{OWN}._xetrack_assets", hashes)

    # rows

    def _writing(self, table: str) -> Any:
        """The connection that writes a table: a transaction of DuckDB's writes one catalog."""
        return self._draft.conn if self._draft is not None and self.layers[table].drafted else self.conn

    def create(self, table: str, columns: Sequence[Column], *, size_bytes: int = 0) -> None:
        self.drop(table)
        layers = Layers(table, self._leftovers)
        if self._draft is None and size_bytes > self.large_bytes and self.path is not None:
            self.conn.execute("SET memory_limit=?", [_PROJECTION_MEMORY])
            # Each piece is parsed, or written, by the thread that has it: others would only look for work.
            self.conn.execute("SET threads=1")
            self._draft = Draft(self.conn, self.path)
        layers.drafted = self._draft is not None and size_bytes > self.large_bytes
        self.layers[table] = layers
        layers.make(self._writing(table))
        for column in columns:
            self.add_column(table, column)

    def drop(self, table: str) -> None:
        self._pending.pop(table, None)
        if table in self.layers:
            layers = self.layers[table]
            layers.drop(self._writing(table))
            del self.layers[table]
            if not layers.drafted:
                self.conn.execute(f"DROP VIEW IF EXISTS db.main.{quote(table)}")
                if table == self._events:
                    self.conn.execute("DROP VIEW IF EXISTS db.main.events")
                    self._events = None

    def add_column(self, table: str, column: Column) -> None:
        name = column.name if column.stored else OVERFLOW
        if name not in self.layers[table].types:
            sql_type = SQL_TYPES[column.type] if column.stored else "JSON"
            self.layers[table].add(name, sql_type)

    def reshape(self, table: str, old: Sequence[Column], new: Sequence[Column]) -> None:
        self._flush(table)
        layers, conn = self.layers[table], self._writing(table)
        names = {column.key: column.name for column in old if column.stored}
        layers.rename(conn, {names[c.key]: c.name for c in new if c.stored and c.key in names})
        for column in new:
            self.add_column(table, column)
            if column.stored:
                self._fit(table, column)
        layers.order([column.name for column in new if column.stored])

    def _fit(self, table: str, column: Column, *, as_text: bool = False) -> str:
        """Let a column's type be that of its kind, or text, and give it; every cell is kept."""
        layers = self.layers[table]
        old, new = layers.types[column.name], "VARCHAR" if as_text else SQL_TYPES[column.type]
        if old == new or (old == "VARCHAR" and column.type in ("bigint", "datetime")):
            return old
        self._flush(table)
        layers.retype(self._writing(table), column.name, new)
        return new

    def insert(self, table: str, rows: Rows) -> None:
        """Rows are held back until there are many, of several shapes in the order of the table."""
        import pyarrow as pa

        arrays = {
            ROW: pa.array(rows.places, pa.int64()),
            FIXED[0]: pa.array(rows.timestamps, pa.string()),
            FIXED[1]: pa.array(rows.runs, pa.string()),
        }
        for column, wires, types in rows.cells:
            sql_type = self._fit(table, column)
            try:
                arrays[column.name] = series(wires, types, column.type, sql_type)
            except DoesNotFit:
                sql_type = self._fit(table, column, as_text=True)
                arrays[column.name] = series(wires, types, column.type, sql_type)
        if rows.more is not None:
            arrays[OVERFLOW] = pa.array(rows.more, pa.string())
        self._hold(table, arrays)

    def insert_columns(self, table: str, rows: ColumnRows) -> None:
        import pyarrow as pa

        arrays = {ROW: pa.array(rows.places, pa.int64()), FIXED[0]: rows.timestamps, FIXED[1]: rows.runs}
        for column, array_ in rows.cells:
            sql_type = self._fit(table, column)
            if array_.null_count < len(array_):
                arrays[column.name] = array_.cast(pa.float64()) if sql_type == "DOUBLE" else array_
        self._hold(table, arrays)

    def _hold(self, table: str, arrays: dict[str, Any]) -> None:
        held = self._pending.setdefault(table, [])
        held.append(arrays)
        surplus = sum(len(one[ROW]) for one in held) - _BATCH_ROWS
        if surplus >= 0 or len(held) >= _BATCH_PARTS:
            cut = len(arrays[ROW]) - surplus
            if 0 < surplus < len(arrays[ROW]):
                held[-1] = {name: array_.slice(0, cut) for name, array_ in arrays.items()}
            self._flush(table)
            if 0 < surplus < len(arrays[ROW]):
                self._hold(table, {name: array_.slice(cut) for name, array_ in arrays.items()})

    def _flush_all(self) -> None:
        for table in list(self._pending):
            self._flush(table)
        for table, layers in self.layers.items():
            layers.settle(self._writing(table))

    def _flush(self, table: str) -> None:
        held = self._pending.pop(table, None)
        if held:
            self.layers[table].append(self._writing(table), held)
            if self._draft is not None and self.layers[table].drafted:
                self._draft.renew()

    def set_cells(self, table: str, column: Column, wire: Any, run: str | None, rows: Sequence[int] | None) -> int:
        self._flush(table)
        layers = self.layers[table]
        if column.stored:
            sql_type = self._fit(table, column)
            try:
                value = duckdb_cell(wire, column.type, sql_type)
            except DoesNotFit:
                sql_type = self._fit(table, column, as_text=True)
                value = duckdb_cell(wire, column.type, sql_type)
        with self._chosen(table, run, rows) as (conn, where, values):
            layers.lift(conn, where, values)
            if column.stored:
                return layers.update(conn, f"{quote(column.name)}=CAST(? AS {sql_type})", [value], where, values)
            return self._put(conn, layers, column.key, wire, where, values)

    def _put(self, conn: Any, layers: Layers, key: str, wire: Any, where: str, values: list[Any]) -> int:
        """Set one key of the overflow of rows that are all in memory."""
        import pyarrow as pa

        if not layers.fresh_rows:
            return 0
        sql = f"SELECT {ROW}, {OVERFLOW} FROM {layers.place}{where}"
        rows, texts = [], []
        for row, more in conn.execute(sql, values).fetchall():
            keys = msgspec.json.decode(more) if more else {}
            keys[key] = wire
            rows.append(row)
            texts.append(msgspec.json.encode(keys).decode())
        with registered(
            conn, "changed", pa.table({ROW: pa.array(rows, pa.int64()), "more": pa.array(texts, pa.string())})
        ):
            layers.changed = True
            conn.execute(
                f"UPDATE {layers.place} AS t SET {OVERFLOW}=changed.more FROM changed WHERE t.{ROW}=changed.{ROW}"
            )
        return len(rows)

    def hide(self, table: str, run: str | None, rows: Sequence[int] | None) -> int:
        self._flush(table)
        with self._chosen(table, run, rows) as (conn, where, values):
            return self.layers[table].hide(conn, where, values)

    @contextlib.contextmanager
    def _chosen(self, table: str, run: str | None, rows: Sequence[int] | None) -> Iterator[tuple[Any, str, list[Any]]]:
        """A condition for a run's rows, for those numbered, or for all, with its values."""
        import pyarrow as pa

        conn = self._writing(table)
        conditions, values = [], []
        with contextlib.ExitStack() as stack:
            if run is not None:
                conditions.append("track_id=?")
                values.append(run)
            if rows is not None:
                numbers = pa.table({"number": pa.array(rows, pa.int64())})
                stack.enter_context(registered(conn, "_xetrack_chosen", numbers))
                conditions.append(f"{ROW} IN (SELECT number FROM _xetrack_chosen)")
            yield conn, f" WHERE {' AND '.join(conditions)}" if conditions else "", values

    def taken(self, table: str, clocks: Sequence[int]) -> list[int]:
        import pyarrow as pa

        self._flush(table)
        conn, layers = self._writing(table), self.layers[table]
        low, high = clocks[0] << SLOT_BITS, ((clocks[-1] + 1) << SLOT_BITS) - 1
        with registered(conn, "_xetrack_chosen", pa.table({"clock": pa.array(clocks, pa.int64())})):
            sql = (
                f"SELECT {ROW} FROM ({layers.relation([])}) WHERE {ROW} BETWEEN ? AND ? "
                f"AND {ROW} >> {SLOT_BITS} IN (SELECT clock FROM _xetrack_chosen) ORDER BY {ROW}"
            )
            return [row for (row,) in conn.execute(sql, [low, high]).fetchall()]

    # bookkeeping: more of it in ``DuckdbBooks``

    def count_references(self, table: str, columns: Sequence[Column]) -> None:
        if self._references.get(table) != columns:
            self._references[table] = list(columns)
            self._counted = False

    def forget(self, table: str) -> None:
        self.drop(table)
        if self._draft is not None:
            self._draft.conn.execute(f"DELETE FROM work.{OWN}._xetrack_blocks WHERE name=?", [table])
        self.conn.execute(f"DELETE FROM db.{OWN}._xetrack_assets WHERE name=?", [table])
        for kept in (self._states, self._checkpoints, self._seen, self._blocks, self._references):
            kept.pop(table, None)
        self._counted = False


_OF_THE_DISK = (
    "could not write",
    "could not sync",
    "no space left",
    "cannot open file",
    "too many open files",
    "file too large",
    "quota exceeded",
)
_DAMAGE = (
    "could not read enough bytes",
    "corrupt",
    "checksum",
    "not a valid duckdb database",
    "serializ",
    "no magic bytes",
    "failed to load metadata",
)


def _default_of(tables: Mapping[str, Any]) -> str | None:
    """The table that ``events`` stands for: the default one, unless a table has that name."""
    folded = {name.casefold(): name for name in tables}
    return None if "events" in folded else folded.get("default")
