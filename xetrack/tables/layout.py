"""Which column a key gets: a pure function of the set of events.

Keys stand in the total order of their first appearance, so every copy of a
log gives out the same columns, whatever order its files arrived in (law 5).
Only the projector calls this room; backends receive finished layouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from xetrack.log.cells import column_type
from xetrack.log.values import column_name

#: Columns every table has, in front of the user's.
FIXED = ("timestamp", "track_id")

#: Where keys past the column limit live, one JSON object a row.
OVERFLOW = "_xetrack_more"

#: What counts the rows that a query is asked about, from 0; no user's column can have this name.
NUMBER = "_xetrack_number"

Position = tuple[int, str, int]
"""Place of an event in the total order: clock, writer, seq."""

#: Names a user's column may not take, lower case. ``_rowid_`` is how SQLite rows are addressed.
_TAKEN = (*FIXED, OVERFLOW, "_rowid_")


def quote(name: str) -> str:
    """An SQL identifier for any text, in either engine."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """An SQL text literal, in either engine."""
    return "'" + str(value).replace("'", "''") + "'"


class KeyFacts(msgspec.Struct):
    """What the live events say about one key: type flags and first appearance."""

    mask: int
    first: tuple[int, str, int, int]


class Column(NamedTuple):
    """One column: the user's raw key, its name in the table, its type.

    ``stored`` is false for a key past the column limit.
    """

    key: str
    name: str
    type: str
    stored: bool = True


class _Columns(msgspec.Struct):
    columns: list[Column] = []


_decoder = msgspec.msgpack.Decoder(_Columns)


def columns_of(state: bytes) -> list[Column]:
    """The columns in a saved ``TableState``; none in one of another layout."""
    try:
        return _decoder.decode(state).columns
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []


def arrange(facts: Mapping[str, KeyFacts], limit: int) -> list[Column]:
    """Give every key a column, in the order of first appearance.

    Names that differ only in case count as equal: the later key gets a
    suffix ``_2``, ``_3`` …; so do keys that normalise alike.
    """
    taken = set(_TAKEN)
    columns = []
    for index, key in enumerate(sorted(facts, key=lambda key: facts[key].first)):
        plain = column_name(key) or "_"  # another program may write an empty key; no engine takes it for a name
        name, count = plain, 1
        while name.casefold() in taken:
            count += 1
            name = f"{plain}_{count}"
        taken.add(name.casefold())
        columns.append(Column(key, name, column_type(facts[key].mask), index < limit))
    return columns


#: Type changes that keep every stored cell right: a copy into a column of the new type is exact.
_EXACT = {
    ("bool", "int"),
    ("bool", "float"),
    ("int", "float"),
}


def keeps_cells(old: str, new: str) -> bool:
    """Whether cells stored under type ``old`` may be copied into type ``new`` as they are."""
    return old == new or old == "null" or (old, new) in _EXACT
