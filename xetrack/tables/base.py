"""What a table backend must do: the verbs the projector speaks.

A backend knows rows and cells, never events (a wall of the package). Rows are
addressed by an integer whose order is the total order of events. All verbs
between ``begin`` and ``commit`` are one transaction, bookkeeping included.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from xetrack.tables.layout import Column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

#: Row numbers of one microsecond: 2**SLOT_BITS. The first row of it takes the middle.
SLOT_BITS = 11
SLOTS = 1 << SLOT_BITS


class ChangedElsewhere(Exception):  # a signal between rooms, never a user's error
    """Another program took away what the tables had."""


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


class Naming(NamedTuple):
    """Events of one writer that name an asset under one key, or one that ``told`` what an object is.

    ``seqs`` are ranges; ``first`` and ``last`` places in the total order, as texts that sort
    alike; ``first_logged`` is local time. Not ``listed``: a removal had seen them.
    """

    digest: str
    key: str | None
    writer: str
    seqs: str
    first: str
    last: str
    first_logged: str
    listed: bool = True
    told: bool = False
    size: int | None = None
    codec: str | None = None
    file: str | None = None


#: What a failure of an engine means for the tables: they cannot be read, or cannot be kept where they are.
Ailment = Literal["damaged", "unwritable"]


class Rows(NamedTuple):
    """Rows of one shape on their way into a table, column by column.

    ``cells`` are wire values, with the set of their Python types; ``more`` is the JSON of
    the keys past the column limit.
    """

    places: Sequence[int]
    timestamps: Sequence[str]
    runs: Sequence[str]
    cells: Sequence[tuple[Column, Sequence[Any], set[type]]]
    more: Sequence[str] | None


class ColumnRows(NamedTuple):
    """Rows on their way into a table as Arrow arrays, for a backend with a ``json_connection``.

    Cells are null, bool, int64, double or string, in columns of a type that holds them as they are.
    """

    places: np.ndarray
    timestamps: pa.Array
    runs: pa.Array
    cells: Sequence[tuple[Column, pa.Array]]


class Selection(NamedTuple):
    """Which rows are asked for: of a run or of all, the last ``tail`` of the first ``head``."""

    run: str | None = None
    head: int | None = None
    tail: int | None = None


class Backend(Protocol):
    """Tables of one store in one engine. Not thread-safe: its owner holds a lock."""

    limit: int

    @property
    def json_connection(self) -> Callable[[], Any] | None:
        """Gives connections of DuckDB's to read JSON by, where it takes rows as Arrow arrays too."""
        ...

    @staticmethod
    def diagnose(error: Exception, *, own: bool = False) -> Ailment | None:
        """What an exception of the engine's means; None if the statement was wrong, or it is no such exception.

        ``own`` says that no user had a part in the statement.
        """
        ...

    def current(self) -> bool:
        """Whether the path still names what is open here."""
        ...

    def begin(self, *, large: bool = False) -> None:
        """Start the one writing transaction; waits for another projector. ``large``: a whole table comes."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """One consistent view for several reads."""
        ...

    def changed_elsewhere(self) -> bool:
        """Whether another process may have committed since this was last asked."""
        ...

    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def publish(self, *, always: bool = False) -> bool:
        """Let other SQL clients see what was committed, if that is cheap or ``always``; False: try again, caught up."""
        ...

    def close(self) -> None: ...

    # rows
    def create(self, table: str, columns: Sequence[Column], *, size_bytes: int = 0) -> None:
        """Make the table anew and empty, with exactly these columns; ``size_bytes`` of log will follow."""
        ...

    def add_column(self, table: str, column: Column) -> None: ...
    def reshape(self, table: str, old: Sequence[Column], new: Sequence[Column]) -> None:
        """Give the table the columns ``new``, matched to ``old`` by key, cells copied."""
        ...

    def insert(self, table: str, rows: Rows) -> None: ...
    def insert_columns(self, table: str, rows: ColumnRows) -> None:
        """Rows as Arrow arrays, if it has a ``json_connection``."""
        ...

    def set_cells(self, table: str, column: Column, wire: Any, run: str | None, rows: Sequence[int] | None) -> int:
        """Set one column of a run's rows, or of the rows numbered; count those that exist."""
        ...

    def hide(self, table: str, run: str | None, rows: Sequence[int] | None) -> int:
        """Take rows out of the table: a run's, those numbered, or all."""
        ...

    def taken(self, table: str, clocks: Sequence[int]) -> list[int]:
        """Row numbers in use in these microseconds, which ascend; ascending."""
        ...

    # reading
    def has(self, table: str) -> bool:
        """Whether the table is there."""
        ...

    def names(self, table: str) -> Collection[str]:
        """Names of the columns that are there; none if the table is not."""
        ...

    def count(self, table: str, run: str | None = None) -> int: ...
    def run_counts(self, table: str) -> dict[str, int]:
        """Rows of each run, in the order of their first ones."""
        ...

    def latest_run(self, table: str) -> str | None:
        """The run of the last row."""
        ...

    def frame(self, table: str, columns: Sequence[Column], which: Selection) -> pd.DataFrame:
        """Rows in order, the fixed columns and these; dtypes as ``frames.py`` says."""
        ...

    def arrow(self, table: str, columns: Sequence[Column], which: Selection) -> pa.Table:
        """The same as an Arrow table; types as ``arrows.py`` says."""
        ...

    def records(
        self, table: str, columns: Sequence[Column], run: str | None, offset: int, limit: int | None, last: bool
    ) -> list[tuple[Any, ...]]:
        """Rows in order as Python values, the fixed columns and these. ``last`` counts from the end."""
        ...

    def find(self, table: str, column: Column | str, wire: Any, run: str | None) -> list[tuple[int, str]]:
        """Number and run of the rows whose cell is this value, empty if None. A name is that of a fixed column."""
        ...

    def ask(
        self, table: str, columns: Sequence[Column], run: str | None, query: Callable[[str], str]
    ) -> list[tuple[Any, ...]]:
        """What a query gives over a run's rows or all, with these columns, those past the column limit too.

        ``query`` gets what to select from, which has ``_rowid_``, by which the rows are in order, and ``NUMBER``,
        too. What a user wrote may be part of it: it can do no more than ask.
        """
        ...

    def content(self, table: str) -> tuple[list[tuple[str, str]], Iterator[Any]]:
        """Names with types of the columns, and all rows in order, some thousand at a time, as they are stored."""
        ...

    # bookkeeping
    def states(self) -> dict[str, bytes]: ...
    def save_state(self, table: str, state: bytes) -> None: ...
    def count_references(self, table: str, columns: Sequence[Column]) -> None:
        """Have the view ``assets`` count the hashes in these columns of a table, which are all it has."""
        ...

    def checkpoints(self, table: str) -> dict[str, Checkpoint]: ...
    def save_checkpoints(self, table: str, checkpoints: Mapping[str, Checkpoint]) -> None: ...
    def drop_checkpoints(self, table: str, segments: Iterable[str]) -> None:
        """Know nothing more of these segments, whose lines are elsewhere."""
        ...

    def seen(self, table: str) -> dict[str, tuple[int, str]]: ...
    def save_seen(self, table: str, seen: Mapping[str, tuple[int, str]]) -> None: ...
    def blocks(self, table: str, low: int | None = None, high: int | None = None) -> Iterator[Block]:
        """Blocks with a row in the range, in no order."""
        ...

    def add_blocks(self, table: str, blocks: Iterable[Block]) -> None: ...
    def namings(self, table: str, digest: str | None = None) -> list[Naming]:
        """What names one asset, or any, in no order."""
        ...

    def add_namings(self, table: str, namings: Sequence[Naming]) -> None: ...
    def drop_namings(self, table: str, digest: str) -> None: ...
    def forget(self, table: str) -> None:
        """Drop the table with all its bookkeeping."""
        ...
