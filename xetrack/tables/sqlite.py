"""SQLite tables: the backend verbs as SQL.

Rows sit under ``_rowid_``, which is their place in the total order. The file is
derived: it is written without waiting for the device, and whatever becomes of
it, a replay of the log makes it again (law 1).
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from xetrack.errors import ForeignFile
from xetrack.log.cells import cell
from xetrack.tables.asset_views import sqlite_assets, sqlite_hashes
from xetrack.tables.base import SLOT_BITS, Ailment, Block, Checkpoint, ColumnRows, Naming, Rows
from xetrack.tables.layout import FIXED, OVERFLOW, Column, quote
from xetrack.tables.packing import packed, unpacked
from xetrack.tables.sqlite_door import BUSY_TIMEOUT_S, TablesConnection
from xetrack.tables.sqlite_limit import DECLARED
from xetrack.tables.sqlite_read import SqliteReading, is_no_text

#: In the header of every tables file (``PRAGMA application_id``): "xtrk".
APPLICATION_ID = 0x7874726B
_MAGIC = b"SQLite format 3\x00"
_BLOCK_ROWS = 4096
#: SQLITE_IOERR_SHORT_READ, told as a "disk I/O error": the file was cut off. Python 3.10 does not say which it is.
_SHORT_READ = 522

_BOOKKEEPING = """
CREATE TABLE IF NOT EXISTS {schema}._xetrack_tables (name TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS {schema}._xetrack_segments (
    name TEXT, segment TEXT, "offset" INTEGER, size INTEGER, mtime_ns INTEGER, inode INTEGER, tail BLOB,
    damaged INTEGER, PRIMARY KEY (name, segment)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS {schema}._xetrack_seen (
    name TEXT, writer TEXT, number INTEGER, seqs TEXT, PRIMARY KEY (name, writer)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS {schema}._xetrack_blocks (
    name TEXT, writer INTEGER, low INTEGER, high INTEGER, "rows" BLOB, seqs BLOB);
CREATE INDEX IF NOT EXISTS {schema}._xetrack_blocks_low ON _xetrack_blocks (name, low);
CREATE TABLE IF NOT EXISTS {schema}._xetrack_assets (
    name TEXT, digest TEXT, "key" TEXT, writer TEXT, seqs TEXT, first TEXT, last TEXT, first_logged TEXT,
    listed INTEGER, told INTEGER, size INTEGER, codec TEXT, file TEXT);
CREATE INDEX IF NOT EXISTS {schema}._xetrack_assets_digest ON _xetrack_assets (name, digest);
"""
#: Codes of SQLite where the system, not a statement, has failed: of the disk, the file, and of a lock that was waited
#: for long. The words of the same, for Python 3.10, which does not tell codes.
_SYSTEM_CODES = frozenset({5, 6, 8, 10, 13, 14, 15})
_SYSTEM_WORDS = (
    "disk I/O error",
    "unable to open database file",
    "disk is full",
    "readonly database",
    "is locked",
    "locking protocol",
)
#: What it says of a statement whatever the tables are.
_NO_DAMAGE = re.compile("interrupted|syntax error")
#: What it says of a table of ours that is not there.
_LACKING_BOOKS = re.compile(r"no such table: (\w+\.)?_xetrack_(tables|segments|seen|blocks|assets)$")
#: Begins the names of views, one a table, of what may be hashes in its cells.
_HASHES = "_xetrack_hashes_"


#: A power cut leaves the tables of some earlier moment, not torn ones; a commit does not wait for the device.
_SYNCED = "PRAGMA synchronous=NORMAL"


def is_tables_file(path: Path) -> bool:
    """Whether the file's header says that it holds tables of ours, sound or damaged.

    SQLite looks itself: a descriptor of ours on the file would, when closed, take the
    locks of every connection that this process has to it, as POSIX has it.
    """
    if not path.stat().st_size:
        return True
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as conn:
            return bool(conn.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)
    except sqlite3.Error:  # nothing that SQLite can lock either
        with path.open("rb") as file:
            header = file.read(100)
        return header[:16] == _MAGIC and header[68:72] == APPLICATION_ID.to_bytes(4, "big")


class SqliteTables(SqliteReading):
    """The tables of one store in one SQLite file, or in memory (``path`` None)."""

    limit = 1900
    json_connection = None

    def __init__(self, path: Path | None, *, limit: int | None = None) -> None:
        self.path = path
        if limit is not None:
            self.limit = limit
        # In memory the tables are the schema ``db`` too, so that users' queries read alike.
        self.schema = "db" if path is None else "main"
        target = ":memory:" if path is None else str(path)
        self._version = -1
        self.conn = sqlite3.connect(
            target, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, factory=TablesConnection
        )
        try:
            self._prepare()
        except BaseException:
            self.conn.close()
            raise
        self.inode = 0  # of a file that somebody removed since: it is not current, and is opened anew
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                self.inode = path.stat().st_ino

    def _prepare(self) -> None:
        execute = self.conn.run
        # Rows go in at the end and are read in order, so pages that were kept would be kept for nothing.
        execute("PRAGMA cache_size=-4096")
        execute("PRAGMA temp_store=MEMORY")
        self.conn.set_authorizer(self.conn.permits)
        self.conn.create_function("_xetrack_put", 3, _put, deterministic=True)
        if self.path is None:
            execute("ATTACH ':memory:' AS db")
        elif execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID and self._kind("assets") == "view":
            execute(_SYNCED)
            return
        execute("BEGIN IMMEDIATE")
        names = [name for (name,) in execute(f"SELECT name FROM {self.schema}.sqlite_master")]
        if names and not any(name.startswith("_xetrack_") for name in names):
            execute("ROLLBACK")
            assert self.path is not None
            raise ForeignFile(self.path)
        execute(f"PRAGMA application_id={APPLICATION_ID}")
        for statement in _BOOKKEEPING.split(";"):
            execute(statement.format(schema=self.schema))
        self._show_assets()
        execute("COMMIT")
        execute(_SYNCED)

    @staticmethod
    def diagnose(error: Exception, *, own: bool = False) -> Ailment | None:
        code, words = getattr(error, "sqlite_errorcode", None), str(error)
        if code == _SHORT_READ or is_no_text(error) or (own and isinstance(error, UnicodeDecodeError)):
            return "damaged"
        if isinstance(error, sqlite3.OperationalError):
            if any(some in words for some in _SYSTEM_WORDS) if code is None else code & 0xFF in _SYSTEM_CODES:
                return "unwritable"
            # By the same kind of error SQLite says that a statement does not fit the tables. Ours fit those we made.
            is_damage = not _NO_DAMAGE.search(words) if own else _LACKING_BOOKS.search(words)
            return "damaged" if is_damage else None
        # Its other kinds are about the statement or its values.
        return "damaged" if type(error) in (sqlite3.DatabaseError, sqlite3.IntegrityError) else None

    def close(self) -> None:
        self.conn.close()

    def current(self) -> bool:
        """Whether the path still names the file that is open here."""
        if self.path is None:
            return True
        try:
            return os.stat(self.path).st_ino == self.inode
        except FileNotFoundError:
            return False

    # transaction

    def begin(self, *, large: bool = False) -> None:
        self.conn.run("PRAGMA query_only=OFF")
        if large and self.path is not None:
            # New pages go straight into the file then, not by way of the write-ahead log.
            # It takes a moment in which nobody else has the file open; without one it stays as it is.
            self.conn.run("PRAGMA busy_timeout=0")
            with contextlib.suppress(sqlite3.OperationalError):
                self.conn.run("PRAGMA journal_mode=DELETE")
            self.conn.run(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
        self.conn.run("BEGIN IMMEDIATE")

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """One consistent view for several reads. May be nested."""
        if self.conn.in_transaction:
            yield
            return
        try:
            self.conn.run("BEGIN")
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # damaged tables may have been closed meanwhile
                self.conn.run("ROLLBACK")
            raise
        self.conn.run("COMMIT")

    def changed_elsewhere(self) -> bool:
        """Whether another connection committed since this was last asked, or may have."""
        before, self._version = self._version, self.conn.run("PRAGMA data_version").fetchone()[0]
        return bool(before != self._version)

    def commit(self) -> None:
        self.conn.run("COMMIT")
        if self.path is not None:
            with contextlib.suppress(sqlite3.OperationalError):
                self.conn.run("PRAGMA journal_mode=WAL")
        self.conn.run("PRAGMA query_only=ON")

    def rollback(self) -> None:
        if self.conn.in_transaction:
            self.conn.run("ROLLBACK")
        self.conn.run("PRAGMA query_only=ON")

    def publish(self, *, always: bool = False) -> bool:
        """Have the rows in the file itself, also while somebody's connection keeps the write-ahead log beside it."""
        if self.path is not None:
            with contextlib.suppress(sqlite3.OperationalError):
                self.conn.run("PRAGMA wal_checkpoint(PASSIVE)")
        return True

    # rows

    def create(self, table: str, columns: Sequence[Column], *, size_bytes: int = 0) -> None:
        self.drop(table)
        self._make(table, columns)
        self._views(table)

    def _make(self, table: str, columns: Sequence[Column]) -> None:
        declared = [f"{name} TEXT" for name in FIXED]
        declared += [f"{quote(column.name)} {DECLARED[column.type]}" for column in columns if column.stored]
        if not all(column.stored for column in columns):
            declared.append(f"{OVERFLOW} JSON")
        self.conn.run(f"CREATE TABLE {self.schema}.{quote(table)} ({', '.join(declared)})")

    def _views(self, table: str) -> None:
        """``events`` stands for the default table unless a table has that name."""
        if table.casefold() == "default" and not self._kind("events"):
            self.conn.run(f"CREATE VIEW {self.schema}.events AS SELECT * FROM {quote(table)}")

    def drop(self, table: str) -> None:
        if table.casefold() in ("default", "events"):
            self._drop_view()
        self.conn.run(f"DROP TABLE IF EXISTS {quote(table)}")

    def _drop_view(self) -> None:
        if self._kind("events") == "view":
            self.conn.run(f"DROP VIEW {self.schema}.events")

    def restore_view(self) -> None:
        """Bring the ``events`` view back after a table of that name went."""
        if self._kind("default") == "table" and not self._kind("events"):
            self._views("default")

    def add_column(self, table: str, column: Column) -> None:
        if column.stored:
            self.conn.run(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(column.name)} {DECLARED[column.type]}")
        elif OVERFLOW not in self.names(table):
            self.conn.run(f"ALTER TABLE {quote(table)} ADD COLUMN {OVERFLOW} JSON")

    def reshape(self, table: str, old: Sequence[Column], new: Sequence[Column]) -> None:
        names = {column.key: column.name for column in old if column.stored}
        target, source = list(FIXED), list(FIXED)
        for column in new:
            if column.stored and column.key in names:
                target.append(quote(column.name))
                source.append(quote(names[column.key]))
        if OVERFLOW in self.names(table):
            target.append(OVERFLOW)
            source.append(OVERFLOW)
        aside = "_xetrack_aside"
        if table.casefold() == "default":
            self._drop_view()
        self.conn.run("PRAGMA legacy_alter_table=ON")
        self.conn.run(f"ALTER TABLE {quote(table)} RENAME TO {aside}")
        self._make(table, new)
        self.conn.run(
            f"INSERT INTO {quote(table)} (_rowid_, {', '.join(target)}) "
            f"SELECT _rowid_, {', '.join(source)} FROM {aside} ORDER BY _rowid_"
        )
        self.conn.run(f"DROP TABLE {aside}")
        self._views(table)

    def insert_columns(self, table: str, rows: ColumnRows) -> None:
        """Never asked for: SQLite takes rows."""
        raise TypeError("SQLite takes rows, not columns")

    def insert(self, table: str, rows: Rows) -> None:
        names = ["_rowid_", *FIXED]
        series: list[Sequence[Any]] = [rows.places, rows.timestamps, rows.runs]
        for column, wires, types in rows.cells:
            names.append(column.name)
            series.append(_cells(wires, types, column.type))
        if rows.more is not None:
            names.append(OVERFLOW)
            series.append(rows.more)
        into = f"INSERT INTO {quote(table)} ({','.join(map(quote, names))})"
        self.conn.insert(into, len(names), zip(*series, strict=True))

    def set_cells(self, table: str, column: Column, wire: Any, run: str | None, rows: Sequence[int] | None) -> int:
        if column.stored:
            change, values = f"{quote(column.name)}=?", [cell(wire, column.type)]
        else:
            change = f"{OVERFLOW}=_xetrack_put({OVERFLOW}, ?, ?)"
            values = [column.key, msgspec.json.encode(wire).decode()]
        sql = f"UPDATE {quote(table)} SET {change}"
        return self._on_rows(sql, values, run, rows)

    def hide(self, table: str, run: str | None, rows: Sequence[int] | None) -> int:
        return self._on_rows(f"DELETE FROM {quote(table)}", [], run, rows)

    def _on_rows(self, sql: str, values: list[Any], run: str | None, rows: Sequence[int] | None) -> int:
        conditions = []
        if run is not None:
            conditions.append("track_id=?")
        if rows is not None:
            # No user's table can have this name: SQLite would take the temporary one for it.
            self.conn.run("CREATE TEMP TABLE IF NOT EXISTS _xetrack_chosen (row INTEGER PRIMARY KEY)")
            self.conn.run("DELETE FROM temp._xetrack_chosen")
            self.conn.run_many("INSERT INTO temp._xetrack_chosen VALUES (?)", ((row,) for row in rows))
            conditions.append("_rowid_ IN (SELECT row FROM temp._xetrack_chosen)")
        if conditions:
            sql += " WHERE " + " AND ".join(conditions)
        if run is not None:
            values = [*values, run]
        return self.conn.run(sql, values).rowcount

    def taken(self, table: str, clocks: Sequence[int]) -> list[int]:
        sql = f"SELECT _rowid_ FROM {quote(table)} WHERE _rowid_ BETWEEN ? AND ? ORDER BY _rowid_"
        ranges = ((clock << SLOT_BITS, ((clock + 1) << SLOT_BITS) - 1) for clock in clocks)
        return [row for bounds in ranges for (row,) in self.conn.run(sql, bounds)]

    # bookkeeping

    def states(self) -> dict[str, bytes]:
        return dict(self.conn.run("SELECT name, state FROM _xetrack_tables").fetchall())

    def save_state(self, table: str, state: bytes) -> None:
        self.conn.run("INSERT OR REPLACE INTO _xetrack_tables VALUES (?, ?)", (table, state))

    def checkpoints(self, table: str) -> dict[str, Checkpoint]:
        sql = 'SELECT segment, "offset", size, mtime_ns, inode, tail, damaged FROM _xetrack_segments WHERE name=?'
        return {row[0]: Checkpoint(*row[1:]) for row in self.conn.run(sql, (table,))}

    def save_checkpoints(self, table: str, checkpoints: Mapping[str, Checkpoint]) -> None:
        rows = ((table, segment, *checkpoint) for segment, checkpoint in checkpoints.items())
        self.conn.run_many("INSERT OR REPLACE INTO _xetrack_segments VALUES (?,?,?,?,?,?,?,?)", rows)

    def drop_checkpoints(self, table: str, segments: Iterable[str]) -> None:
        rows = ((table, segment) for segment in segments)
        self.conn.run_many("DELETE FROM _xetrack_segments WHERE name=? AND segment=?", rows)

    def seen(self, table: str) -> dict[str, tuple[int, str]]:
        sql = "SELECT writer, number, seqs FROM _xetrack_seen WHERE name=?"
        return {writer: (number, seqs) for writer, number, seqs in self.conn.run(sql, (table,))}

    def save_seen(self, table: str, seen: Mapping[str, tuple[int, str]]) -> None:
        rows = ((table, writer, number, seqs) for writer, (number, seqs) in seen.items())
        self.conn.run_many("INSERT OR REPLACE INTO _xetrack_seen VALUES (?,?,?,?)", rows)

    def blocks(self, table: str, low: int | None = None, high: int | None = None) -> Iterator[Block]:
        sql = 'SELECT writer, "rows", seqs FROM _xetrack_blocks WHERE name=?'
        values: list[Any] = [table]
        if high is not None:
            sql += " AND low<=?"
            values.append(high)
        if low is not None:
            sql += " AND high>=?"
            values.append(low)
        for writer, rows, seqs in self.conn.run(sql, values):
            yield Block(writer, unpacked(rows), unpacked(seqs))

    def add_blocks(self, table: str, blocks: Iterable[Block]) -> None:
        for writer, rows, seqs in blocks:
            new_rows, new_seqs = array("q", rows), array("q", seqs)
            last = self.conn.run(
                'SELECT rowid, "rows", seqs, high FROM _xetrack_blocks WHERE name=? AND writer=? '
                "ORDER BY rowid DESC LIMIT 1",
                (table, writer),
            ).fetchone()
            if last and last[3] < new_rows[0] and len(old := unpacked(last[1])) + len(new_rows) <= _BLOCK_ROWS // 4:
                new_rows = old + new_rows
                new_seqs = unpacked(last[2]) + new_seqs
                self.conn.run("DELETE FROM _xetrack_blocks WHERE rowid=?", (last[0],))
            self.conn.run(
                "INSERT INTO _xetrack_blocks VALUES (?,?,?,?,?,?)",
                (table, writer, new_rows[0], new_rows[-1], packed(new_rows), packed(new_seqs)),
            )

    def namings(self, table: str, digest: str | None = None) -> list[Naming]:
        sql = (
            'SELECT digest, "key", writer, seqs, first, last, first_logged, listed, told, size, codec, file '
            "FROM _xetrack_assets WHERE name=?"
        )
        values = [table]
        if digest is not None:
            sql += " AND digest=?"
            values.append(digest)
        return [Naming(*row) for row in self.conn.run(sql, values)]

    def add_namings(self, table: str, namings: Sequence[Naming]) -> None:
        rows = ((table, *naming) for naming in namings)
        self.conn.run_many("INSERT INTO _xetrack_assets VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", rows)

    def drop_namings(self, table: str, digest: str) -> None:
        self.conn.run("DELETE FROM _xetrack_assets WHERE name=? AND digest=?", (table, digest))

    def count_references(self, table: str, columns: Sequence[Column]) -> None:
        view = f"{_HASHES}{table}"
        sql = f"CREATE VIEW {self.schema}.{quote(view)} AS {sqlite_hashes(table, columns)}"
        # SQLite keeps the text but for the schema's name.
        kept = sql.replace(f"{self.schema}.", "", 1)
        found = self.conn.run(f"SELECT sql FROM {self.schema}.sqlite_master WHERE name=?", (view,)).fetchone()
        if found is None or found[0] != kept:
            self.conn.run(f"DROP VIEW IF EXISTS {self.schema}.{quote(view)}")
            self.conn.run(sql)
        if found is None:
            self._show_assets()

    def _show_assets(self) -> None:
        """Make the view ``assets`` anew, over all tables."""
        names = self.conn.run(f"SELECT name FROM {self.schema}.sqlite_master WHERE type='view' ORDER BY name")
        hashes = [quote(name) for (name,) in names if name.startswith(_HASHES)]
        self.conn.run(f"DROP VIEW IF EXISTS {self.schema}.assets")
        self.conn.run(f"CREATE VIEW {self.schema}.assets AS {sqlite_assets(hashes)}")

    def _hide_references(self, table: str) -> None:
        if self._kind(f"{_HASHES}{table}"):
            self.conn.run(f"DROP VIEW {self.schema}.{quote(_HASHES + table)}")
            self._show_assets()

    def forget(self, table: str) -> None:
        self._hide_references(table)
        self.drop(table)
        self.forget_bookkeeping(table)
        self.restore_view()

    def forget_bookkeeping(self, table: str) -> None:
        for name in ("tables", "segments", "seen", "blocks", "assets"):
            self.conn.run(f"DELETE FROM _xetrack_{name} WHERE name=?", (table,))


def _put(overflow: str | None, key: str, value: str) -> str:
    """One key of an overflow object set to a value in JSON."""
    keys = msgspec.json.decode(overflow) if overflow else {}
    keys[key] = msgspec.json.decode(value)
    return msgspec.json.encode(keys).decode()


_NUMBERS = {float, int, bool, type(None)}
_WORDS = {str, type(None)}


def _cells(wires: Sequence[Any], types: set[type], kind: str) -> Sequence[Any]:
    """Cells of one column from wire values, as they are wherever that will do."""
    if (types <= _NUMBERS and kind in ("int", "float", "bool")) or (types <= _WORDS and kind == "text"):
        return wires
    return [cell(wire, kind) for wire in wires]
