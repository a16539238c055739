"""The read-only door to DuckDB tables: what ``tracker.conn`` and ``xt sql`` are handed.

It catches up before each statement, goes on from the newest generation, and
refuses to write, as the next rebuild would undo a change made here.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from xetrack.errors import ReadOnlyTables
from xetrack.tables.duckdb_file import Native

#: Pragmas that only tell.
_PRAGMA = re.compile(
    r"\s*pragma\s+(database_list|database_size|collations|functions|metadata_info|platform|show|show_databases|"
    r"show_tables|show_tables_expanded|storage_info|table_info|user_agent|version)\b",
    re.IGNORECASE,
)
_EXPLAIN = re.compile(r"\s*explain\s*(\([^)]*\)\s*)?(analyze\s+)?", re.IGNORECASE)


class DuckdbConnection(Native):
    """A DuckDB connection for reading, with the methods of the original that read.

    ``execute``, ``sql`` and ``query`` take one statement or several. What was
    executed stays as it is while it is fetched, whatever is logged meanwhile;
    the next statement sees everything.
    """

    def __init__(
        self, tables: Callable[[], Any], before: Callable[[], None], locked: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._tables, self._before, self._locked = tables, before, locked
        self._instance: Any = None
        self._cursor: Any = None
        self._besides: list[tuple[Any, Any]] = []
        self._pid = os.getpid()
        self.closed = False
        #: Whose connection it is, kept alive by it.
        self.owner: object = None
        super().__init__()

    def natives(self) -> Iterator[object]:
        yield from (self._instance, self._cursor)
        for pair in self._besides:
            yield from pair

    def _native(self) -> Any:
        """A cursor of the instance that has everything logged so far."""
        import duckdb

        if self.closed:
            raise duckdb.ConnectionException("Connection Error: Connection already closed!")
        if self._pid != os.getpid():
            self._pid, self._cursor, self._instance, self._besides = os.getpid(), None, None, []
        with self._locked():
            self._before()
            conn = self._tables().conn
            if conn is not self._instance:
                self._instance, self._cursor = conn, conn.cursor()
                self._cursor.execute("USE db")
            return self._cursor

    def execute(self, query: str, parameters: Any = None, /) -> DuckdbConnection:
        """Run a query, to fetch from.

        Raises:
            ReadOnlyTables: it would change something.
        """
        native = self._native()
        refuse_writes(native, query)
        if parameters is None:
            native.execute(query)
        else:
            native.execute(query, parameters)
        return self

    def sql(self, query: str, *, params: Any = None) -> Any:
        """A relation, as ``duckdb.sql`` gives; same errors as ``execute``."""
        refuse_writes(self._native(), query)
        return self._beside().sql(query, params=params)

    query = sql

    def table(self, name: str) -> Any:
        """A relation of a table or view."""
        return self._beside().table(name)

    def _beside(self) -> Any:
        """A cursor for relations: what was executed may not have been fetched to its end."""
        self._native()
        if not self._besides or self._besides[-1][0] is not self._instance:
            beside = self._instance.cursor()
            beside.execute("USE db")
            # A relation needs its cursor, which it does not hold; one of the last generation may still be in use.
            self._besides = [*self._besides[-1:], (self._instance, beside)]
        return self._besides[-1][1]

    view = table

    def cursor(self) -> DuckdbConnection:
        """Another connection to the same tables, to fetch from at the same time."""
        other = DuckdbConnection(self._tables, self._before, self._locked)
        other.owner = self.owner
        return other

    duplicate = cursor

    def executemany(self, query: str, parameters: Any = None, /) -> DuckdbConnection:
        raise ReadOnlyTables()

    def close(self) -> None:
        self.closed = True
        if self._cursor is not None and self._pid == os.getpid():
            self._cursor.close()
        self._cursor = self._instance = None
        self._besides = []

    # fetching, from what was executed last

    def _executed(self) -> Any:
        import duckdb

        if self._cursor is None or self._pid != os.getpid():
            raise duckdb.InvalidInputException("Invalid Input Error: No open result set")
        return self._cursor

    @property
    def description(self) -> Any:
        return None if self._cursor is None else self._cursor.description

    @property
    def rowcount(self) -> int:
        return -1

    def fetchone(self) -> Any:
        return self._executed().fetchone()

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._executed().fetchmany(size)
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._executed().fetchall()
        return rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def arrow(self, *args: Any) -> Any:
        """What was executed as an Arrow table."""
        from xetrack.tables.duckdb_read import fetch_arrow

        with warnings.catch_warnings():
            # DuckDB 2 would have the query asked for by ``sql``, which is no help to who executed it.
            warnings.filterwarnings("ignore", message="Arrow output")
            return fetch_arrow(self._executed())

    fetch_arrow_table = to_arrow_table = arrow

    def __getattr__(self, name: str) -> Any:
        if name in _FETCHING:
            return getattr(self._executed(), name)
        if name in _WRITING:
            raise ReadOnlyTables()
        raise AttributeError(f"a read-only connection has no {name!r}")

    def __enter__(self) -> DuckdbConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_FETCHING = frozenset(
    "df fetchdf fetch_df fetch_df_chunk fetchnumpy pl torch tf fetch_record_batch to_arrow_reader".split()
)
_WRITING = frozenset(
    "append register unregister begin commit rollback checkpoint create_function remove_function install_extension "
    "load_extension register_filesystem from_df from_arrow appender".split()
)


def refuse_writes(native: Any, query: Any) -> None:
    """Raise ``ReadOnlyTables`` if a statement would do anything but tell."""
    import duckdb

    if not isinstance(query, str):
        raise ReadOnlyTables()
    for statement in native.extract_statements(query):
        kind, text = statement.type, statement.query
        if kind == duckdb.StatementType.EXPLAIN:
            refuse_writes(native, text[_EXPLAIN.match(text).end() :])  # type: ignore[union-attr]  # it begins so
        elif kind == duckdb.StatementType.PRAGMA and _PRAGMA.match(text):
            continue
        elif kind != duckdb.StatementType.SELECT:
            raise ReadOnlyTables()
