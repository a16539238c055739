"""What differs between two states of a table: stores, moments, git revisions.

Both are replayed with values as they were logged, beside each other on disk, and SQL
pairs their rows: by event id, or by key columns. Neither store is touched.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from xetrack.config import Settings
from xetrack.errors import TableNotFound
from xetrack.exchange.keys import canonical, key_of, key_text
from xetrack.exchange.replays import Replay
from xetrack.exchange.report import count_of
from xetrack.exchange.states import opened_states
from xetrack.log.values import decode
from xetrack.tables.spill import scratch_folder


@dataclass(frozen=True)
class CellChange:
    """One cell of a row that both have: ``row`` is its event id, ``a`` and ``b`` are its values, None where empty.

    Where rows were paired by a key, run and event id are those of ``b``.
    """

    track_id: str
    row: str
    column: str
    a: Any
    b: Any


@dataclass
class DiffReport:
    """How ``b`` differs from ``a``."""

    #: Rows that only ``b`` has, and rows that only ``a`` has.
    rows_added: int = 0
    rows_removed: int = 0
    #: In the order of the rows of ``b``, then of the columns.
    cells_changed: list[CellChange] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        return bool(self.rows_added or self.rows_removed or self.cells_changed)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, the fields as they are here."""
        return asdict(self)

    def __str__(self) -> str:
        counts = ((self.rows_added, "row", "added"), (self.rows_removed, "row", "removed"))
        cells = (len(self.cells_changed), "cell", "changed")
        return ", ".join(f"{count_of(number, noun)} {done}" for number, noun, done in (*counts, cells))


def diff(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    keys: Sequence[str] | None = None,
    table: str | None = None,
) -> DiffReport:
    """What one has to do to ``a`` to get ``b``: rows that are only in one of them, and cells that differ.

    Without ``keys`` a row is the row of its event: rows of stores that were copied,
    merged or branched from each other find each other, however often they were set
    since. With ``keys`` rows with the same values in these columns are compared, as
    ``rebase`` does: numbers by value; of several rows with one key the first with the
    first; a row whose key has an empty cell or NaN only with itself. ``timestamp``
    and ``track_id`` tell where a row is from and are not compared.

    Values are compared as they were logged: 1, 1.0 and True differ, NaN is NaN, and an
    empty cell is one that was never logged.

    Args:
        a: Path of a store or of its ``.events`` folder, a moment of it as ``"track.db@-2h"``
            (behind the ``@`` whatever ``Reader(at=...)`` takes), or ``"git:<rev>[:<path>]"``.
        b: Likewise.
        keys: Columns, by name or raw key.
        table: By default the default one. One that only one side has is empty on the other.

    Raises:
        StoreNotFound, EventNotFound, RevisionNotFound: a side is not there.
        TableNotFound: neither side has the table.
        ColumnNotFound: a side with rows lacks a key column; names near matches.

    >>> print(diff("track.db@-2h", "track.db"))
    """
    table = Settings.resolve(table=table).table
    keys = [keys] if isinstance(keys, str) else list(dict.fromkeys(keys or ()))
    with ExitStack() as stack:
        logs = stack.enter_context(opened_states(a, b))
        tables = sorted({name for log in logs for name in log.tables()})
        if tables and table not in tables:
            raise TableNotFound(table, f"{os.fspath(a)} and {os.fspath(b)}", tables)
        scratch = stack.enter_context(scratch_folder())
        sides = []
        for name, log in zip("ab", logs, strict=True):
            (scratch / name).mkdir()
            sides.append(stack.enter_context(Replay(log, table, scratch / name)))
        return _Pairing(scratch / "diff.db", sides, keys).report()


class _Pairing:
    """Two replays in one SQL connection, their rows paired."""

    def __init__(self, path: Path, sides: Sequence[Replay], keys: Sequence[str]) -> None:
        self._path, self._sides, self._keys = path, sides, keys

    def report(self) -> DiffReport:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as conn:
            for name, side in zip("ab", self._sides, strict=True):
                conn.execute(f"ATTACH ? AS {name}", [str(side.path)])
            conn.execute("PRAGMA main.synchronous=OFF")
            conn.execute("BEGIN")
            counts = []
            for name, side in zip("ab", self._sides, strict=True):
                conn.execute(f"CREATE TEMP VIEW rows_{name} AS {side.selection(name)}")
                self._fill(conn, name, side)
                counts += conn.execute(f"SELECT count(*) FROM main.{name}").fetchone()
            conn.execute("CREATE TABLE main.pairs (b INTEGER PRIMARY KEY, a INTEGER UNIQUE)")
            self._pair(conn)
            paired = conn.execute("SELECT count(*) FROM main.pairs").fetchone()[0]
            return DiffReport(counts[1] - paired, counts[0] - paired, list(self._changes(conn)))

    def _fill(self, conn: sqlite3.Connection, name: str, side: Replay) -> None:
        """Have a table of a side's rows: event id, place, and the key they are compared by."""
        conn.execute(f"CREATE TABLE main.{name} (id TEXT PRIMARY KEY, place INTEGER, key TEXT)")
        if not self._keys:
            conn.execute(f"INSERT INTO main.{name} SELECT id, place, NULL FROM rows_{name}")
            return
        conn.execute(f"CREATE TABLE main.keys_{name} (id TEXT PRIMARY KEY, key TEXT)")
        conn.executemany(f"INSERT INTO main.keys_{name} VALUES (?, ?)", self._keyed(side))
        conn.execute(f"INSERT INTO main.{name} SELECT id, place, key FROM rows_{name} JOIN main.keys_{name} USING (id)")

    def _keyed(self, side: Replay) -> Iterator[tuple[str, str | None]]:
        columns: list[str] = []
        for row in side.rows():
            columns = columns or [side.column(key).key for key in self._keys]  # a table without rows lacks none
            key = key_of(row.values, columns)
            yield row.event_id, None if key is None else key_text(key)

    def _pair(self, conn: sqlite3.Connection) -> None:
        conn.execute(
            "INSERT INTO main.pairs SELECT b.place, a.place FROM main.a AS a JOIN main.b AS b "
            "ON a.id = b.id AND a.key IS b.key"
        )
        if not self._keys:
            return
        left = ", ".join(
            f"left_{name} AS (SELECT key, place, row_number() OVER (PARTITION BY key ORDER BY place) AS number "
            f"FROM main.{name} WHERE key IS NOT NULL AND place NOT IN (SELECT {name} FROM main.pairs))"
            for name in "ab"
        )
        conn.execute(
            f"INSERT INTO main.pairs WITH {left} SELECT b.place, a.place FROM left_a AS a JOIN left_b AS b "
            "ON a.key = b.key AND a.number = b.number"
        )

    def _changes(self, conn: sqlite3.Connection) -> Iterator[CellChange]:
        """Cells of paired rows that differ; only rows that are not written alike are looked into."""
        names = {column.key: column.name for side in self._sides for column in side.columns}
        found = conn.execute(
            "SELECT b.run, b.id, a.more, b.more FROM main.pairs JOIN rows_a AS a ON a.place = pairs.a "
            "JOIN rows_b AS b ON b.place = pairs.b WHERE a.more IS NOT b.more ORDER BY pairs.b"
        )
        for run, event_id, *texts in found:
            a, b = (msgspec.json.decode(text) if text else {} for text in texts)
            for key, name in names.items():
                one, two = a.get(key), b.get(key)
                if one is not two and canonical(one) != canonical(two):
                    yield CellChange(run, event_id, name, decode(one), decode(two))
