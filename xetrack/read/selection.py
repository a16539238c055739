"""Rows of one table that a condition chooses, in an order asked for, as Python values.

The engine chooses and sorts, so a million rows are not fetched to show ten. What
the engines say about a condition they do not understand becomes an error here.
"""

from __future__ import annotations

import difflib
import re
import sqlite3
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from xetrack.errors import ColumnNotFound, ColumnPastLimit, InvalidArgument, TableNotFound, XetrackError
from xetrack.tables.frames import python_columns, python_rows
from xetrack.tables.layout import FIXED, NUMBER, OVERFLOW, literal, quote
from xetrack.tables.sqlite_door import NO_COLUMN, as_names

if TYPE_CHECKING:
    from xetrack.table import Table
    from xetrack.tables.layout import Column

#: How SQLite and DuckDB say what they do not find.
_MISSING_TABLE = re.compile(r"no such table: (.+)|Table with name (.+?) does not exist")
_MISSING_COLUMN = re.compile(
    rf'{NO_COLUMN}(.+)|Referenced column "(.+?)" not found|does not have a column named "(.+?)"'
)
#: What addresses a row; no user's column can have this name.
_ROW = "_rowid_"
_PLACE = "_xetrack_place"
#: SQLite takes no more in one table.
_MOST_COLUMNS = 2000

Rows = list[tuple[Any, ...]]


class _Wanted(NamedTuple):
    """What ``select`` was asked for."""

    columns: Sequence[str] | None
    where: str | None = None
    sort: Sequence[str] = ()
    track_id: str | None = None
    limit: int | None = None
    last: bool = False
    filled: str | None = None
    first_of: Sequence[str] | None = None


def select(
    table: Table,
    *,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    sort: Sequence[str] = (),
    track_id: str | None = None,
    limit: int | None = None,
    last: bool = False,
    filled: str | None = None,
    first_of: Sequence[str] | None = None,
) -> tuple[list[str], Rows]:
    """Names of columns, and rows in the order of the log or of ``sort``.

    ``columns`` and ``sort`` are names or raw keys, ``-loss`` sorts downwards, empty
    cells and NaN come last. ``where`` is an SQL condition over the table. ``last`` gives the
    last ``limit`` rows of that order instead of the first. ``filled``: only rows with a
    value there, which NaN is not. ``first_of``: of rows alike in these only the first.

    Raises:
        ColumnNotFound: names near matches.
        InvalidArgument: the engine does not understand ``where``.
    """
    wanted = _Wanted(columns, where, tuple(sort), track_id, limit, last, filled, first_of)
    layout = table.layout()
    if any(not column.stored for column in layout):
        return _past_the_limit(table, layout, wanted)
    if wanted == _Wanted(None, track_id=track_id, limit=limit, last=last):
        return table.rows(track_id, limit=limit, last=last)
    names, kinds, found = _fetched(table, layout, wanted)
    if not names:
        return names, [()] * len(found)
    return names, python_rows(found, kinds)


def select_columns(
    table: Table, *, columns: Sequence[str] | None = None, where: str | None = None, track_id: str | None = None
) -> tuple[list[str], list[Sequence[Any]]]:
    """What ``select`` gives, column by column. Raises what it does."""
    layout = table.layout()
    if any(not column.stored for column in layout):
        names, rows = select(table, columns=columns, where=where, track_id=track_id)
        return names, list(zip(*rows, strict=True)) or [()] * len(names)
    names, kinds, found = _fetched(table, layout, _Wanted(columns, where, track_id=track_id))
    return names, python_columns(found, kinds)


def _fetched(table: Table, layout: Sequence[Column], wanted: _Wanted) -> tuple[list[str], list[str], Rows]:
    """Names and types of the columns, and the rows as the engine has them; no column: one that numbers the rows."""
    types = {**dict.fromkeys(FIXED, "text"), **{column.name: column.type for column in layout}}
    names = list(types) if wanted.columns is None else [table.resolve(name) for name in wanted.columns]
    source = quote(table.name)
    if table.engine == "duckdb":
        source = f"(SELECT *, row_number() OVER () AS {_ROW} FROM {source})"
    of_run = ["track_id=?"] if wanted.track_id is not None else []
    sql = _query(table, types, wanted, source, ", ".join(map(quote, names)) or _ROW, table.resolve, of_run)
    try:
        with table.store.locked():  # one thread at a time, and none while the process forks
            cursor = table.connection().execute(sql, [] if wanted.track_id is None else [wanted.track_id])
            found = cursor.fetchall()
    except sql_errors() as error:
        if not table.count():
            return names, [types[name] for name in names], []  # a table without rows is not there in SQL
        raise translated(error, "--where", table) from error
    if wanted.last:
        found.reverse()
    return names, [types[name] for name in names], found


def _query(
    table: Table,
    types: Mapping[str, str],
    wanted: _Wanted,
    source: str,
    listed: str,
    resolve: Callable[[str], str],
    conditions: Sequence[str] = (),
) -> str:
    """What asks the engine for the rows wanted, backwards where they are the last ones.

    ``resolve`` gives the column that a raw key or a name means.
    """
    _, where, _, _, limit, last, filled, first_of = wanted
    conditions = [*conditions, *([f"(\n{where}\n)"] if where else [])]
    if filled is not None:
        filled = resolve(filled)
        conditions.append(f"{quote(filled)} IS NOT NULL")
        if table.engine == "duckdb" and types[filled] == "float":
            conditions.append(f"NOT isnan({quote(filled)})")
    if conditions or first_of is not None:
        source = f"(SELECT *, {_ROW} FROM {source} WHERE {' AND '.join(conditions) or 'true'})"
    by = []
    for name, down in map(direction, wanted.sort):
        own = quote(name := resolve(name))
        # To DuckDB NaN is the largest number; here it has the place of an empty cell, which it is in SQLite.
        is_odd = table.engine == "duckdb" and types[name] == "float"
        by.append((f"CASE WHEN isnan({own}) THEN NULL ELSE {own} END" if is_odd else own, down))
    if first_of is not None:
        alike = ", ".join(quote(resolve(name)) for name in first_of) or "1"
        place = f"row_number() OVER (PARTITION BY {alike} ORDER BY {_order(by, False)}) AS {_PLACE}"
        source = f"(SELECT * FROM (SELECT *, {place} FROM {source}) WHERE {_PLACE}=1)"
    sql = f"SELECT {listed} FROM {source} ORDER BY {_order(by, last)}"
    return sql if limit is None else f"{sql} LIMIT {min(limit, 2**62)}"


def choose(
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    sort: Sequence[str] = (),
    limit: int | None = None,
    last: bool = False,
) -> tuple[list[str], Rows]:
    """The same from rows that are in memory already, whatever they are about.

    The condition is SQLite's; a value that SQLite has no type for is compared as text.
    """
    kept = [tuple(row) for row in rows]
    if where is not None or sort:
        kept = [kept[number] for number in _matching(names, kept, where, sort)]
    if limit is not None:
        kept = kept[max(len(kept) - limit, 0) :] if last else kept[:limit]
    if columns is None:
        return list(names), kept
    numbers = {name: number for number, name in enumerate(names)}
    places = [numbers[_named(name, numbers)] for name in columns]
    return [names[place] for place in places], [tuple(row[place] for place in places) for row in kept]


def direction(name: str) -> tuple[str, bool]:
    """A column to sort by, and whether downwards: ``-loss`` is."""
    return (name[1:], True) if name.startswith("-") else (name, False)


def sql_errors() -> tuple[type[Exception], ...]:
    """What the engines raise; DuckDB's only where it is in use."""
    duckdb = sys.modules.get("duckdb")
    return (sqlite3.Error, sqlite3.Warning, *(() if duckdb is None else (duckdb.Error,)))


def translated(error: Exception, argument: str, table: Table) -> XetrackError:
    """What an engine said about SQL of the user's, as an error of ours.

    Raises:
        StorageFailed: it was not about the SQL, the tables are damaged.
    """
    table.heal(error)
    said = str(error).partition("\n")[0]
    return not_found(error, table) or InvalidArgument(argument, said.rstrip("."))


def not_found(error: Exception, table: Table) -> XetrackError | None:
    """The same where it is about a name that is not there; else nothing."""
    said = str(error).partition("\n")[0]
    if missing := _MISSING_TABLE.search(said):
        return TableNotFound(missing[1] or missing[2], table.store.db, table.store.tables())
    if missing := _MISSING_COLUMN.search(said):
        return _no_column(next(filter(None, missing.groups())), table)
    return None


def _no_column(name: str, table: Table) -> XetrackError:
    """What to say of a name that SQL does not know; the engine may name its table, too."""
    own, layout = name.rpartition(".")[2], table.layout()
    for column in layout:
        if column.key in (name, own) or column.name.casefold() == own.casefold():
            if not column.stored:
                return ColumnPastLimit(column.name, _in_overflow(column, table.engine))
            if column.name != own:
                return ColumnNotFound(name, [column.name])
    return ColumnNotFound(name, difflib.get_close_matches(own, [one for one in table.columns if one != own]))


#: What DuckDB makes of text in JSON; it compares JSON itself with nothing but JSON.
_CAST = {"bool": "BOOLEAN", "int": "BIGINT", "float": "DOUBLE"}


def _in_overflow(column: Column, engine: str) -> str:
    """The SQL expression for the plain values of a key past the column limit."""
    path = literal(f'$."{column.key}"')
    if engine == "sqlite":
        return f"json_extract({OVERFLOW}, {path})"
    text = f"({OVERFLOW} ->> {path})"
    return f"CAST({text} AS {_CAST[column.type]})" if column.type in _CAST else text


def _order(sort: Sequence[tuple[str, bool]], last: bool) -> str:
    """By expressions; backwards where the last rows are wanted, empty cells at the other end then."""
    terms = [f"{by} {'DESC' if down != last else 'ASC'} NULLS {'FIRST' if last else 'LAST'}" for by, down in sort]
    return ", ".join([*terms, f"{_ROW} {'DESC' if last else 'ASC'}"])


def _past_the_limit(table: Table, layout: Sequence[Column], wanted: _Wanted) -> tuple[list[str], Rows]:
    """For tables with keys past the column limit, of which SQL gets those that are spoken of."""
    types = {**dict.fromkeys(FIXED, "text"), **{column.name: column.type for column in layout}}
    names = list(types) if wanted.columns is None else [table.resolve(name) for name in wanted.columns]
    condition, spoken_of = (wanted.where or "").casefold(), {name for name, _ in map(direction, wanted.sort)}
    spoken_of.update(wanted.first_of or (), [] if wanted.filled is None else [wanted.filled])
    if wanted.where is None and not spoken_of and wanted.first_of is None:
        labels, found = table.rows(wanted.track_id, limit=wanted.limit, last=wanted.last)
    else:
        # Before the query, in which the tables are in use.
        own = {name: table.resolve(name) for name in spoken_of}
        asked = [column for column in layout if column.name in own.values() or column.name.casefold() in condition]
        named = set(names)
        shown = [column for column in layout if column.name in named]
        labels = [*FIXED, *(column.name for column in sorted(shown, key=lambda column: not column.stored))]
        try:
            found = table.chosen(
                shown,
                asked,
                wanted.track_id,
                lambda source: _query(table, types, wanted, source, NUMBER, own.__getitem__),
            )
        except sql_errors() as error:
            raise translated(error, "--where", table) from error
        if wanted.last:
            found.reverse()
    numbers = {label: number for number, label in enumerate(labels)}
    places = [numbers[name] for name in names]
    return names, [tuple(row[place] for place in places) for row in found]


def _matching(names: Sequence[str], rows: Rows, where: str | None, sort: Sequence[str]) -> list[int]:
    """Numbers of the rows that match, in order."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    try:
        by = [(_named(name, names), down) for name, down in map(direction, sort)]
        places = _spoken_of(names, where or "", [name for name, _ in by])
        order = _order([(quote(name), down) for name, down in by], last=False)
        conn.execute(f"CREATE TABLE rows ({', '.join(quote(names[place]) for place in places)})")
        marks = ", ".join("?" * len(places))
        conn.executemany(f"INSERT INTO rows VALUES ({marks})", ([_cell(row[p]) for p in places] for row in rows))
        condition = as_names(where or "true")
        found = conn.execute(f"SELECT {_ROW} FROM rows WHERE (\n{condition}\n) ORDER BY {order}")
        return [number - 1 for (number,) in found]
    except sqlite3.Error as error:
        said = str(error)
        if missing := _MISSING_COLUMN.search(said):
            raise ColumnNotFound(missing[1], difflib.get_close_matches(missing[1], list(names))) from error
        raise InvalidArgument("--where", said) from error
    finally:
        conn.close()


def _spoken_of(names: Sequence[str], where: str, sort: Sequence[str]) -> list[int]:
    """Places of the columns, so many as SQLite takes: those that are named before all others."""
    if len(names) <= _MOST_COLUMNS:
        return list(range(len(names)))
    condition, by = where.casefold(), set(sort)
    named = [name in by or name.casefold() in condition for name in names]
    return sorted(sorted(range(len(names)), key=lambda place: not named[place])[:_MOST_COLUMNS])


def _named(name: str, names: Collection[str]) -> str:
    if name not in names:
        raise ColumnNotFound(name, difflib.get_close_matches(name, list(names)))
    return name


def _cell(item: Any) -> Any:
    if isinstance(item, int) and not -(2**63) <= item < 2**63:
        return str(item)
    return item if item is None or isinstance(item, str | int | float | bytes) else str(item)
