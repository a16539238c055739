"""What a tracker shows of its run, the reading side of ``Tracker``, and what a reader shows as well.

Rows come from the tables, which catch up first, so a view always has everything
that was logged before the call.
"""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from xetrack.exchange.frames import write_frame
from xetrack.read.asset_events import AssetEvents
from xetrack.read.assets import AssetsView
from xetrack.read.backends import get_backend, rows_of
from xetrack.store import Table

if TYPE_CHECKING:
    import pandas as pd

    from xetrack.tables.duckdb_door import DuckdbConnection
    from xetrack.tables.sqlite_door import TablesConnection


class TableView:
    """What a tracker and a reader both show of a table. Up to date at every call."""

    _table: Table
    _asset_events: AssetEvents

    @property
    def table_name(self) -> str:
        return self._table.name

    @property
    def columns(self) -> list[str]:
        """Columns of the table, ``timestamp`` and ``track_id`` first."""
        return self._table.columns

    @property
    def dtypes(self) -> dict[str, type]:
        """Python type of each column."""
        return self._table.dtypes

    @property
    def conn(self) -> TablesConnection | DuckdbConnection:
        """A read-only connection that sees everything logged before each query.

        For one thread at a time, and not while another one forks; several may call ``Reader.sql``.

        Raises:
            StorageFailed: at a statement, after damaged tables were put aside: take the connection again.
        """
        conn = self._table.connection()
        conn.owner = self  # one that nobody else holds must not close under it
        return conn

    @property
    def assets(self) -> AssetsView:
        """The objects and files stored with the rows of all tables, by hash and by key."""
        return AssetsView(self._table, self._asset_events, self)

    def remove_asset(self, hash_value: str, column: str | None = None, remove_keys: bool = True) -> bool:
        """Take an asset off the list; False if there is none. ``column`` also empties its cells there.

        See ``AssetsView.remove``. Its bytes go with ``assets.gc()``.
        """
        return self.assets.remove(hash_value, column=column, remove_keys=remove_keys)

    def __bool__(self) -> bool:
        """True, also of an empty table."""
        return True


class RunView(TableView):
    """The rows of one run in a table, and of the whole table where asked."""

    track_id: str

    def get(self, key: str) -> Any:
        """The object stored under a hash or key. It is unpickled: only from stores that you trust.

        Raises:
            AssetNotFound: there is none, or it was removed.
        """
        return self.assets[key]

    def to_df(self, all: bool = False) -> pd.DataFrame:
        """Rows of this run, or of every run, in the order of the log."""
        return rows_of(self._table, get_backend(), None if all else self.track_id)

    def head(self, n: int = 5) -> pd.DataFrame:
        """First rows of this run."""
        return rows_of(self._table, get_backend(), self.track_id, head=n)

    def tail(self, n: int = 5) -> pd.DataFrame:
        """Last rows of this run, in time order."""
        return rows_of(self._table, get_backend(), self.track_id, tail=n)

    def count_all(self) -> int:
        """Number of rows of every run."""
        return self._table.count()

    def count_run(self) -> int:
        """Number of rows of this run."""
        return self._table.count(self.track_id)

    def __len__(self) -> int:
        return self._table.count(self.track_id)

    @overload
    def __getitem__(self, item: str) -> pd.Series[Any]: ...
    @overload
    def __getitem__(self, item: int) -> dict[str, Any] | None: ...
    def __getitem__(self, item: str | int) -> pd.Series[Any] | dict[str, Any] | None:
        """A column of this run, or one of its rows as a dict.

        Rows count from 1, and from the end if negative: ``tracker[1]`` is the
        first, ``tracker[-1]`` the last. ``None`` where there is no such row.
        """
        if isinstance(item, str):
            return self._table.frame(self.track_id)[self._table.resolve(item)]
        number = operator.index(item)
        if number == 0:
            return None
        offset, last = (number - 1, False) if number > 0 else (-number - 1, True)
        rows = self._table.records(self.track_id, offset=offset, limit=1, last=last)
        return rows[0] if rows else None

    def to_csv(self, path: str | Path, all: bool = False) -> None:
        """Write the rows of this run, or of every run, as CSV. A file there is replaced once the new one is whole."""
        write_frame(self._table.frame(None if all else self.track_id), path, "csv")

    def to_parquet(self, path: str | Path, all: bool = False) -> None:
        """Write the rows of this run, or of every run, as Parquet, likewise.

        Raises:
            MissingExtra: neither pyarrow nor duckdb is installed.
        """
        write_frame(self._table.frame(None if all else self.track_id), path, "parquet")

    def __str__(self) -> str:
        return str(self.to_df())

    def _repr_html_(self) -> str:
        """The rows of this run for a notebook, as many as pandas would show of them."""
        import pandas as pd

        rows, columns = pd.get_option("display.max_rows"), pd.get_option("display.max_columns")
        html: str = self._table.frame(self.track_id).to_html(max_rows=rows, max_cols=columns, show_dimensions=True)
        return html
