"""The bookkeeping of DuckDB tables: in Python until the next generation is written, and in that afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from xetrack.tables import duckdb_file
from xetrack.tables.base import Block, Checkpoint, Naming
from xetrack.tables.duckdb_file import OWN
from xetrack.tables.duckdb_layers import Layers
from xetrack.tables.duckdb_read import fetch_arrow
from xetrack.tables.packing import packed, unpacked

_BLOCK_ROWS = 4096
#: So many of a table wait for the end of a projection that goes into a draft.
_BLOCKS_IN_MEMORY = 256


class DuckdbBooks(ABC):
    """The verbs of ``DuckdbTables`` for what the projector remembers."""

    conn: Any
    layers: Mapping[str, Layers]

    @abstractmethod
    def _writing(self, table: str) -> Any:
        """The connection that writes a table."""

    def _open_books(self) -> None:
        self._states: dict[str, bytes] = {}
        self._checkpoints: dict[str, dict[str, Checkpoint]] = {}
        self._seen: dict[str, dict[str, tuple[int, str]]] = {}
        self._blocks: dict[str, dict[int, list[Block]]] = {}

    def _load_books(self) -> None:
        for name, segment, *checkpoint in self._base(f"SELECT * FROM base.{OWN}._xetrack_segments"):
            self._checkpoints.setdefault(name, {})[segment] = Checkpoint(*checkpoint)
        for name, writer, number, seqs in self._base(f"SELECT * FROM base.{OWN}._xetrack_seen"):
            self._seen.setdefault(name, {})[writer] = (number, seqs)
        if self._base("SELECT 1 FROM duckdb_tables() WHERE database_name='base' AND table_name='_xetrack_assets'"):
            self.conn.execute(f"INSERT INTO db.{OWN}._xetrack_assets SELECT * FROM base.{OWN}._xetrack_assets")

    def _base(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.conn.execute(sql, list(values)).fetchall()
        return rows

    def states(self) -> dict[str, bytes]:
        return dict(self._states)

    def save_state(self, table: str, state: bytes) -> None:
        self._states[table] = state

    def checkpoints(self, table: str) -> dict[str, Checkpoint]:
        return dict(self._checkpoints.get(table, {}))

    def save_checkpoints(self, table: str, checkpoints: Mapping[str, Checkpoint]) -> None:
        self._checkpoints.setdefault(table, {}).update(checkpoints)

    def drop_checkpoints(self, table: str, segments: Iterable[str]) -> None:
        for segment in segments:
            self._checkpoints.get(table, {}).pop(segment, None)

    def seen(self, table: str) -> dict[str, tuple[int, str]]:
        return dict(self._seen.get(table, {}))

    def save_seen(self, table: str, seen: Mapping[str, tuple[int, str]]) -> None:
        self._seen.setdefault(table, {}).update(seen)

    def blocks(self, table: str, low: int | None = None, high: int | None = None) -> Iterator[Block]:
        for own in self._blocks.get(table, {}).values():
            for block in own:
                if (high is None or block.rows[0] <= high) and (low is None or block.rows[-1] >= low):
                    yield block
        layers = self.layers.get(table)
        if layers is None or not (layers.drafted or layers.base is not None):
            return
        catalog = "work" if layers.drafted else "base"
        sql = f'SELECT writer, "rows", seqs FROM {catalog}.{OWN}._xetrack_blocks WHERE name=?'
        values: list[Any] = [table]
        if high is not None:
            sql += " AND low<=?"
            values.append(high)
        if low is not None:
            sql += " AND high>=?"
            values.append(low)
        for writer, rows, seqs in self._writing(table).execute(sql, values).fetchall():
            yield Block(writer, unpacked(rows), unpacked(seqs))

    def add_blocks(self, table: str, blocks: Iterable[Block]) -> None:
        own = self._blocks.setdefault(table, {})
        for block in blocks:
            before = own.setdefault(block.writer, [])
            last = before[-1] if before else None
            if last is not None and len(last.rows) + len(block.rows) <= _BLOCK_ROWS and last.rows[-1] < block.rows[0]:
                before[-1] = Block(
                    block.writer,
                    array("q", last.rows) + array("q", block.rows),
                    array("q", last.seqs) + array("q", block.seqs),
                )
            else:
                before.append(block)
        if self.layers[table].drafted and sum(map(len, own.values())) > _BLOCKS_IN_MEMORY:
            self._write_blocks(self._writing(table), table)

    def namings(self, table: str, digest: str | None = None) -> list[Naming]:
        sql, values = f"SELECT * EXCLUDE name FROM db.{OWN}._xetrack_assets WHERE name=?", [table]
        if digest is not None:
            sql += " AND digest=?"
            values.append(digest)
        return [Naming(*row) for row in self._base(sql, values)]

    def add_namings(self, table: str, namings: Sequence[Naming]) -> None:
        import pyarrow as pa

        if namings:
            columns = [pa.array(column) for column in zip(*((table, *naming) for naming in namings), strict=True)]
            made = pa.table(columns, names=["name", *Naming._fields])
            duckdb_file.fill(self.conn, f"db.{OWN}._xetrack_assets", made)

    def drop_namings(self, table: str, digest: str) -> None:
        self.conn.execute(f"DELETE FROM db.{OWN}._xetrack_assets WHERE name=? AND digest=?", [table, digest])

    # the next generation

    def _write_books(self, conn: Any) -> None:
        import pyarrow as pa

        tables = [
            (
                name,
                state,
                self.layers[name].count if name in self.layers else 0,
                self.layers[name].last if name in self.layers else -1,
            )
            for name, state in self._states.items()
        ]
        segments = [
            (name, segment, *point) for name, own in self._checkpoints.items() for segment, point in own.items()
        ]
        seen = [(name, writer, *facts) for name, own in self._seen.items() for writer, facts in own.items()]
        for name, rows in (("_xetrack_tables", tables), ("_xetrack_segments", segments), ("_xetrack_seen", seen)):
            if rows:
                columns = [pa.array(column) for column in zip(*rows, strict=True)]
                duckdb_file.fill(
                    conn, f"work.{OWN}.{name}", pa.table(columns, names=[f"c{i}" for i in range(len(columns))])
                )
        # By way of Arrow: what this transaction wrote, the draft's does not see.
        assets = fetch_arrow(self.conn.sql(f"SELECT * FROM db.{OWN}._xetrack_assets"))
        duckdb_file.fill(conn, f"work.{OWN}._xetrack_assets", assets)
        for name, layers in self.layers.items():
            if layers.base is not None:
                sql = f"INSERT INTO work.{OWN}._xetrack_blocks SELECT * FROM base.{OWN}._xetrack_blocks WHERE name=?"
                conn.execute(sql, [name])
            self._write_blocks(conn, name)

    def _write_blocks(self, conn: Any, table: str) -> None:
        import pyarrow as pa

        blocks = [block for own in self._blocks.pop(table, {}).values() for block in own]
        if blocks:
            columns = [
                [table] * len(blocks),
                [block.writer for block in blocks],
                [block.rows[0] for block in blocks],
                [block.rows[-1] for block in blocks],
                pa.array([packed(array("q", block.rows)) for block in blocks], pa.binary()),
                pa.array([packed(array("q", block.seqs)) for block in blocks], pa.binary()),
            ]
            made = pa.table(columns, names=["name", "writer", "low", "high", "rows", "seqs"])
            duckdb_file.fill(conn, f"work.{OWN}._xetrack_blocks", made)
