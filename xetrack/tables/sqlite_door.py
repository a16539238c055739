"""The read-only door to SQLite tables: what ``tracker.conn`` and ``xt sql`` are handed.

It catches up before each statement and refuses to write, as the next rebuild
would undo a change made here. A name in double quotes is a name: one that is not
there is an error, where SQLite alone takes it for text and chooses every row.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from xetrack.errors import ReadOnlyTables, StorageFailed

#: Another projector may be replaying a large log; it is waited for.
BUSY_TIMEOUT_S = 600.0

#: Rows that one statement inserts, while there are so many: few sizes, as each is a statement that is kept.
_ROWS_AT_ONCE = (1024, 512, 256, 128, 64, 32, 16)
#: Values that a statement may have. SQLite took 999 at most before 3.32.
_MOST_VALUES = 16384 if sqlite3.sqlite_version_info >= (3, 32) else 999

#: Pragmas that only tell.
_PRAGMAS = frozenset(
    "collation_list compile_options database_list foreign_key_list function_list index_info index_list index_xinfo "
    "module_list pragma_list table_info table_list table_xinfo".split()
)
#: How SQLite words the refusal of a write.
_REFUSALS = ("readonly database", "because it is a view", "not authorized", "authorization denied", "prohibited")
#: What SQLite says of a name that is not there.
NO_COLUMN = "no such column: "

#: What is one piece in SQL, whatever stands in it: texts, quoted names, comments. A doubled quote makes two texts of
#: one, which is as good. What is not closed goes to the end.
_PIECE = r"""(?sx) '[^']*' | "[^"]*(?:""[^"]*)*" | `[^`]*` | \[[^]]*\] | --[^\n]* | /\*.*?(?:\*/|\Z) | ['"`[].*"""
#: A statement that asks, behind comments.
_QUESTION = r"(?ix) (?: [\s;] | --[^\n]*\n | /\*[^*]*(?:\*(?!/)[^*]*)*\*/ )* (?= (?:select|with|values|explain)\b )"


def as_names(sql: str) -> str:
    """The SQL with names in backticks instead of double quotes: SQLite never takes those for text.

    >>> as_names('"loss" > 1')
    '`loss` > 1'
    """

    def name(piece: re.Match[str]) -> str:
        text = piece[0]
        if len(text) < 2 or text[0] != '"' or text[-1] != '"':
            return text
        return "`" + text[1:-1].replace('""', '"').replace("`", "``") + "`"

    return re.sub(_PIECE, name, sql) if '"' in sql else sql


class TablesConnection(sqlite3.Connection):
    """A connection for users: catches up before every statement, refuses to write.

    ``run``, ``run_many`` and ``insert`` are the package's own way in, without either.
    """

    before: Callable[[], None] | None = None
    #: Whose connection it is, kept alive by it.
    owner: object = None
    #: A user's statement is being prepared: what it may do is decided by ``permits``.
    asking = False

    def permits(self, action: int, first: str | None, *_: str | None) -> int:
        """An authorizer: users may not attach files, nor change settings of the connection."""
        if self.asking and (
            action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH)
            or (action == sqlite3.SQLITE_PRAGMA and first not in _PRAGMAS)
        ):
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def run(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return sqlite3.Connection.cursor(self).execute(sql, values)
        except sqlite3.DatabaseError as error:
            if not self.asking and str(error).endswith(("not authorized", "is prohibited")):
                # All of the package's own is permitted: Ctrl-C came while SQLite asked, which makes a refusal of it.
                raise KeyboardInterrupt from error
            raise

    def check_names(self, sql: str, values: Any) -> None:
        """Refuse a question with a name in double quotes that is not there; all else SQLite says when it is asked.

        The question itself stays as it is, as its result may be named after its text.
        """
        begins = re.match(_QUESTION, sql) if '"' in sql else None
        if begins is None or (strict := as_names(sql)) == sql:
            return
        prefix = "" if strict[begins.end() :][:7].lower() == "explain" else "EXPLAIN "
        cursor = sqlite3.Cursor(self)
        try:
            cursor.execute(prefix + strict[begins.end() :], values)
        except (sqlite3.Error, sqlite3.Warning) as error:
            if any(words in str(error) for words in (NO_COLUMN, *_REFUSALS)):
                raise
        finally:
            cursor.close()

    def __del__(self) -> None:
        """Close, as dropping a store without closing it is no mistake of the user's."""
        with contextlib.suppress(sqlite3.Error):
            self.close()

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        sqlite3.Connection.cursor(self).executemany(sql, rows)

    def insert(self, into: str, width: int, rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows of so many values, hundreds by one statement.

        SQLite works without the interpreter's lock, and whoever logs meanwhile would wait for it at each statement.
        """
        left = iter(rows)
        marks = f"({','.join('?' * width)})"
        for count in _ROWS_AT_ONCE:
            if count * width <= _MOST_VALUES:
                sql = f"{into} VALUES {','.join([marks] * count)}"
                while len(some := list(itertools.islice(left, count))) == count:
                    self.run(sql, list(itertools.chain.from_iterable(some)))
                left = iter(some)
        self.run_many(f"{into} VALUES {marks}", left)

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or TablesCursor)

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        if self.before is None:
            return super().execute(sql, values)
        cursor: sqlite3.Cursor = self.cursor()
        return cursor.execute(sql, values)

    def executemany(self, sql: str, values: Any, /) -> sqlite3.Cursor:
        raise ReadOnlyTables()

    def executescript(self, script: str, /) -> sqlite3.Cursor:
        raise ReadOnlyTables()


class TablesCursor(sqlite3.Cursor):
    """The cursor of a ``TablesConnection``."""

    def execute(self, sql: str, values: Any = (), /) -> TablesCursor:
        conn: Any = self.connection
        if conn.before is not None:
            conn.before()
        conn.asking = True
        try:
            conn.check_names(sql, values)
            sqlite3.Cursor.execute(self, sql, values)
        except sqlite3.DatabaseError as error:
            if any(words in str(error) for words in _REFUSALS):
                raise ReadOnlyTables() from error
            raise
        finally:
            conn.asking = False
        return self

    def executemany(self, sql: str, values: Any, /) -> TablesCursor:
        raise ReadOnlyTables()


def open_for_users(path: Path, before: Callable[[], None]) -> TablesConnection:
    """Open the tables read-only, as schema ``db`` and unqualified alike."""
    conn = sqlite3.connect(
        ":memory:", uri=True, isolation_level=None, check_same_thread=False, factory=TablesConnection
    )
    try:
        conn.run("ATTACH ? AS db", (path.absolute().as_uri() + "?mode=ro",))
        conn.run(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
        conn.run("PRAGMA query_only=ON")
        conn.set_authorizer(conn.permits)
    except sqlite3.Error as error:
        conn.close()
        raise StorageFailed(path, str(error)) from error
    conn.before = before
    return conn
