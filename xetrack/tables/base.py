"""What a table backend must do: the verbs the projector speaks.

A backend knows rows and cells, never events (a wall of the package). Rows are
addressed by an integer whose order is the total order of events. All verbs
between ``begin`` and ``commit`` are one transaction, bookkeeping included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from xetrack.tables.layout import Column

#: Row numbers of one microsecond: 2**SLOT_BITS. The first row of it takes the middle.
SLOT_BITS = 11
SLOTS = 1 << SLOT_BITS


class Checkpoint(NamedTuple):
    """How far the tables have read one segment, and what the file looked like then."""

    offset: int
    size: int
    mtime_ns: int
    inode: int
    tail: bytes
    damaged: int


class Block(NamedTuple):
    """Which events some rows come from: seqs of one writer beside row numbers, both ascending."""

    writer: int
    rows: Sequence[int]
    seqs: Sequence[int]


class Backend(Protocol):
    """Tables of one store in one engine. Not thread-safe: its owner holds a lock."""

    limit: int

    def begin(self, *, large: bool = False) -> None:
        """Start the one writing transaction; waits for another projector. ``large``: a whole table comes."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """One consistent view for several reads of the bookkeeping."""
        ...

    def changed_elsewhere(self) -> bool:
        """Whether another process may have committed since this was last asked."""
        ...

    def commit(self) -> None: ...
    def rollback(self) -> None: ...

    # rows
    def create(self, table: str, columns: Sequence[Column]) -> None:
        """Make the table anew and empty, with exactly these columns."""
        ...

    def drop(self, table: str) -> None: ...
    def add_column(self, table: str, column: Column) -> None: ...
    def reshape(self, table: str, old: Sequence[Column], new: Sequence[Column]) -> None:
        """Give the table the columns ``new``, matched to ``old`` by key, cells copied."""
        ...

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add rows; each begins with its row number, then the cells of ``columns``."""
        ...

    def set_cells(self, table: str, column: Column, cell: Any, run: str | None, rows: Sequence[int] | None) -> int:
        """Set one column of a run's rows, or of the rows numbered; count those that exist."""
        ...

    def hide(self, table: str, run: str | None, rows: Sequence[int] | None) -> int:
        """Take rows out of the table: a run's, those numbered, or all."""
        ...

    def taken(self, table: str, low: int, high: int) -> list[int]:
        """Row numbers in use from ``low`` to ``high``, both included, ascending."""
        ...

    # bookkeeping
    def states(self) -> dict[str, bytes]: ...
    def save_state(self, table: str, state: bytes) -> None: ...
    def checkpoints(self, table: str) -> dict[str, Checkpoint]: ...
    def save_checkpoints(self, table: str, checkpoints: dict[str, Checkpoint]) -> None: ...
    def seen(self, table: str) -> dict[str, tuple[int, str]]: ...
    def save_seen(self, table: str, seen: dict[str, tuple[int, str]]) -> None: ...
    def blocks(self, table: str, low: int | None = None, high: int | None = None) -> Iterator[Block]:
        """Blocks with a row in the range, in no order."""
        ...

    def add_blocks(self, table: str, blocks: Iterable[Block]) -> None: ...
    def forget(self, table: str) -> None:
        """Drop the table with all its bookkeeping."""
        ...
