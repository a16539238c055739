"""SQL of the view ``assets`` in either engine: what is listed, and which cells show it.

A cell counts once for each hash that it is, or that stands in it as a text of its JSON.
Backends say where their tables are; nothing here is run.
"""

from __future__ import annotations

from collections.abc import Sequence

from xetrack.log.assets import OBJECT_CODEC
from xetrack.log.cells import DIGEST_DIGITS
from xetrack.tables.layout import OVERFLOW, Column, quote

#: SQLite takes no more SELECTs in one compound than 500.
_COMPOUND = 400
#: A quoted hash in what begins as JSON does; so few cells must be taken apart.
_GLOB = f"""'[[{{]*"{"[0-9a-f]" * DIGEST_DIGITS}*'"""
_REGEX = f"""'"([0-9a-f]{{{DIGEST_DIGITS}}})(?:[0-9a-f]{{{64 - DIGEST_DIGITS}}})?"'"""
_NOTHING = "SELECT NULL AS hash WHERE 1=0"


def sqlite_hashes(table: str, columns: Sequence[Column]) -> str:
    """A query for every text in a table's cells that may be a hash, as column ``hash``."""
    source = quote(table)
    parts = [f"SELECT {name} AS hash FROM {source} WHERE length({name})={DIGEST_DIGITS}" for name in _plain(columns)]
    for name in _nested(columns):
        json = f"CASE WHEN t.{name} GLOB {_GLOB} AND json_valid(t.{name}) THEN t.{name} END"
        text = "CASE side.key WHEN 0 THEN found.atom ELSE found.key END"
        parts.append(
            f"SELECT hash FROM (SELECT DISTINCT t._rowid_, substr({text}, 1, {DIGEST_DIGITS}) AS hash "
            f"FROM {source} AS t CROSS JOIN json_tree({json}) AS found "
            f"CROSS JOIN (SELECT 0 AS key UNION ALL SELECT 1) AS side "
            f"WHERE typeof({text})='text' AND length({text}) IN ({DIGEST_DIGITS}, 64))"
        )
    return _union(parts)


def duckdb_hashes(source: str, columns: Sequence[Column]) -> str:
    """The same of a table or view ``source`` in DuckDB, whose rows are looked at as texts."""
    parts = []
    if plain := _plain(columns):
        parts.append(f"SELECT cell AS hash FROM ({_cells(source, plain)}) WHERE length(cell)={DIGEST_DIGITS}")
    if nested := _nested(columns):
        found = f"list_distinct(regexp_extract_all(cell, {_REGEX}, 1))"
        begins = """cell LIKE '[%"%' OR cell LIKE '{%"%'"""
        parts.append(f"SELECT unnest({found}) AS hash FROM ({_cells(source, nested)}) WHERE {begins}")
    return " UNION ALL ".join(parts) or _NOTHING


def _cells(source: str, names: Sequence[str]) -> str:
    """The cells of some columns below one another: a SELECT a column takes DuckDB long where there are many."""
    texts = ", ".join(f"CAST({name} AS VARCHAR)" for name in names)
    return f"SELECT unnest([{texts}]) AS cell FROM {source}"


def _plain(columns: Sequence[Column]) -> list[str]:
    """Columns whose cell may be a hash."""
    return [quote(column.name) for column in columns if column.stored and column.type in ("asset", "text")]


def _nested(columns: Sequence[Column]) -> list[str]:
    """Columns in whose cells hashes may stand."""
    names = [quote(column.name) for column in columns if column.stored and column.type in ("json", "text")]
    return names if all(column.stored for column in columns) else [*names, OVERFLOW]


def _union(parts: Sequence[str]) -> str:
    while len(parts) > _COMPOUND:
        groups = [parts[start : start + _COMPOUND] for start in range(0, len(parts), _COMPOUND)]
        parts = [f"SELECT hash FROM ({' UNION ALL '.join(group)})" for group in groups]
    return " UNION ALL ".join(parts) or _NOTHING


def sqlite_assets(hashes: Sequence[str]) -> str:
    """The query behind ``assets``; ``hashes`` are sources of hashes. Next to min and max, SQLite gives their row."""
    union = _union([f"SELECT hash FROM {source}" for source in hashes])
    return _assets(
        f"SELECT digest, {_SHORT} AS short, first_logged, min(first) AS first "
        "FROM _xetrack_assets WHERE listed GROUP BY digest",
        "SELECT digest, key, max(last) FROM _xetrack_assets WHERE key IS NOT NULL GROUP BY digest",
        "SELECT digest, size, codec, max(first) FROM _xetrack_assets WHERE told GROUP BY digest",
        "_xetrack_assets",
        union,
    )


def duckdb_assets(bookkeeping: str, hashes: Sequence[str]) -> str:
    """The same in DuckDB, over the bookkeeping of assets and queries for hashes."""
    return _assets(
        f"SELECT digest, {_SHORT} AS short, arg_min(first_logged, first) AS first_logged, min(first) AS first "
        f"FROM {bookkeeping} WHERE listed GROUP BY digest",
        f"SELECT digest, arg_max(key, last) AS key FROM {bookkeeping} WHERE key IS NOT NULL GROUP BY digest",
        f"SELECT digest, arg_max(size, first) AS size, arg_max(codec, first) AS codec "
        f"FROM {bookkeeping} WHERE told GROUP BY digest",
        bookkeeping,
        " UNION ALL ".join(hashes) or _NOTHING,
    )


_SHORT = f"substr(digest, 1, {DIGEST_DIGITS})"


def _assets(listed: str, keys: str, told: str, bookkeeping: str, union: str) -> str:
    return (
        f"WITH listed AS ({listed}), keys AS ({keys}), told AS ({told}), "
        f"alike AS (SELECT {_SHORT} AS short, count(DISTINCT digest) AS digests FROM {bookkeeping} GROUP BY 1), "
        f"shown AS (SELECT hash AS short, count(*) AS cells FROM ({union}) AS cells "
        "WHERE hash IN (SELECT short FROM listed) GROUP BY hash) "
        "SELECT CASE WHEN alike.digests=1 THEN listed.short ELSE listed.digest END AS hash, keys.key AS key, "
        'told.size AS size_bytes, coalesce(shown.cells, 0) AS "references", '
        f"coalesce(told.codec, '{OBJECT_CODEC}') AS codec, listed.first_logged AS first_logged "
        "FROM listed JOIN alike ON alike.short=listed.short LEFT JOIN keys ON keys.digest=listed.digest "
        "LEFT JOIN told ON told.digest=listed.digest LEFT JOIN shown ON shown.short=listed.short "
        "ORDER BY listed.first, listed.digest"
    )
