"""Columns of data files: what they hold, and the type that several files have in common.

As in stores a column is widened, never truncated: int, float, text. Text of CSV is
a number only where it is written as one (``007`` is text). CSV into CSV keeps every
text as it is written, JSON lines into JSON lines keep values of any type in a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xetrack.errors import InvalidArgument
from xetrack.exchange.formats import suffix_form
from xetrack.tables.layout import literal, quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_INTS = {
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "HUGEINT",
    "UHUGEINT",
}
_WIDE = {"UBIGINT", "HUGEINT", "UHUGEINT"}
_FLOATS = {"FLOAT", "DOUBLE"}
_NO_NUMBERS = "('NaN', 'nan', 'Infinity', '-Infinity', 'inf', '-inf')"
_INT_TEXT = "'-?(0|[1-9][0-9]{0,18})'"
_FLOAT_TEXT = r"'-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?'"
#: Whole numbers beyond this are not all floats.
_EXACT = 2**53


class FileColumn(NamedTuple):
    """A column of a file: its name, what DuckDB reads it as, and the type of what it holds.

    ``low`` and ``high`` are the ends of whole numbers, None where it holds others, or nothing.
    """

    name: str
    read_as: str
    kind: str
    low: int | None = None
    high: int | None = None

    def cast_to(self, kind: str) -> str:
        """SQL for its values in another type."""
        source = quote(self.name)
        if kind == self.read_as:
            return source
        if self.read_as == "JSON":
            if kind == "VARCHAR":  # a text without its quotes, all else as it is written
                return f"CASE WHEN json_type({source}) = 'NULL' THEN NULL ELSE {source}->>'$' END"
            return f"CAST({source}->>'$' AS {kind})"
        if kind == "JSON":
            return f"to_json({source})"
        if kind == "VARCHAR" and _is_nested(self.read_as):
            return f"CAST(to_json({source}) AS VARCHAR)"
        if kind == "VARCHAR" and self.read_as == "BLOB":
            return f"to_base64({source})"
        return f"CAST({source} AS {kind})"

    def is_wider(self, kind: str) -> bool:
        """Whether another type holds more than what this column holds."""
        return self.kind not in ("NULL", kind) and kind not in ("JSON", self.read_as)


class File:
    """A data file that DuckDB reads: the name of its view, and its columns by name, lower case."""

    def __init__(self, name: str, form: str, columns: dict[str, FileColumn]) -> None:
        self.name, self.form, self.columns = name, form, columns
        self._count: int | None = None

    def count(self, conn: DuckDBPyConnection) -> int:
        if self._count is None:
            found: Any = conn.execute(f"SELECT count(*) FROM {self.name}").fetchone()
            self._count = int(found[0])
        return self._count

    def select(self, names: Sequence[str], types: dict[str, str], form: str, source: str | None = None) -> str:
        """A query for the columns in their types, empty ones where the file has none, for a file of a format."""
        made = []
        for name in names:
            kind = types[name.casefold()]
            column = self.columns.get(name.casefold())
            expression = f"CAST(NULL AS {kind})" if column is None else column.cast_to(kind)
            made.append(f"{_written(expression, kind, form)} AS {quote(name)}")
        return f"SELECT {', '.join(made)} FROM {source or self.name}"


def _written(expression: str, kind: str, form: str) -> str:
    """What text can hold: JSON has no NaN, CSV no structures, neither has bytes."""
    if form == "parquet":
        return f"CAST({expression} AS VARCHAR)" if kind == "JSON" else expression
    if kind == "BLOB":
        return f"to_base64({expression})"
    if form.startswith("jsonl") and kind in _FLOATS:
        odd = f"CASE WHEN isnan({expression}) THEN 'NaN' WHEN {expression} > 0 THEN 'Infinity' ELSE '-Infinity' END"
        return (
            f"CASE WHEN {expression} IS NULL THEN NULL WHEN isfinite({expression}) THEN to_json({expression}) "
            f"ELSE to_json({odd}) END"
        )
    if not form.startswith("jsonl"):
        if _is_nested(kind):
            return f"CAST(to_json({expression}) AS VARCHAR)"
        if kind in _FLOATS:
            return (
                f"CASE WHEN isfinite({expression}) THEN CAST({expression} AS VARCHAR) "
                f"WHEN isnan({expression}) THEN 'NaN' WHEN {expression} > 0 THEN 'Infinity' "
                f"WHEN {expression} < 0 THEN '-Infinity' END"
            )
    return expression


def opened_file(conn: DuckDBPyConnection, path: Path, number: int) -> File:
    """A view of a file, with what its columns hold; of text formats this reads it once.

    Raises:
        InvalidArgument: it cannot be read; says why.
    """
    import duckdb

    form = suffix_form(path.name) or ""
    kind = form.partition(".")[0]
    name = f"_xetrack_file{number}"
    place = literal(path)
    try:
        if kind == "parquet":
            reading = f"read_parquet({place})"
        elif kind == "jsonl":
            reading = _json_reading(conn, place)
        elif not path.stat().st_size:
            reading = f"(SELECT '' AS {_NOTHING} WHERE false)"
        else:
            reading = (
                f"read_csv({place}, all_varchar=true, header=true, delim='{chr(9) if kind == 'tsv' else ','}', "
                "quote='\"', escape='\"', nullstr='', allow_quoted_nulls=false, "
                "auto_detect=true, skip=0, comment='', sample_size=-1)"
            )
        conn.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {reading}")
        described = conn.execute(f"DESCRIBE {name}").fetchall()
        described = [row for row in described if row[0] != _NOTHING]
        columns = {
            column.casefold(): _column(conn, name, column, str(read_as), kind) for column, read_as, *_ in described
        }
    except duckdb.Error as error:
        raise InvalidArgument("sources", f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    return File(name, form, columns)


#: The column of a file without any.
_NOTHING = "_xetrack_nothing"


def _json_reading(conn: DuckDBPyConnection, place: str) -> str:
    """Every value as JSON."""
    import duckdb

    options = "format='newline_delimited', maximum_object_size=134217728"
    sniffed = f"DESCRIBE SELECT * FROM read_json({place}, {options}, sample_size=-1, maximum_depth=1, records=true)"
    try:
        names = [row[0] for row in conn.execute(sniffed).fetchall()]
    except duckdb.BinderException:
        if _one(conn, f"SELECT count(*) FROM read_json({place}, {options}, records=false)") != (0,):
            raise
        names = []  # an empty file
    shape = ", ".join(f"{literal(name)}: 'JSON'" for name in names) or f"'{_NOTHING}': 'JSON'"
    return f"read_json({place}, {options}, records=true, columns={{{shape}}})"


def _column(conn: DuckDBPyConnection, view: str, name: str, read_as: str, form: str) -> FileColumn:
    """What a column holds; the text formats have it found out value by value."""
    source = quote(name)
    if form == "jsonl":
        text, kinds = f"({source}->>'$')", f"json_type({source})"
        is_null = f"({source} IS NULL OR {kinds} = 'NULL')"
        tests = {
            "BOOLEAN": f"{kinds} = 'BOOLEAN'",
            "BIGINT": f"{kinds} IN ('BIGINT', 'UBIGINT') AND TRY_CAST({text} AS BIGINT) IS NOT NULL",
            "DOUBLE": f"{kinds} = 'DOUBLE' OR {text} IN {_NO_NUMBERS}",
            "VARCHAR": f"{kinds} = 'VARCHAR'",
        }
    elif form in ("csv", "tsv"):
        text, is_null = source, f"{source} IS NULL"
        tests = {
            "BOOLEAN": f"{source} IN ('true', 'false', 'True', 'False')",
            "BIGINT": f"regexp_full_match({source}, {_INT_TEXT}) AND TRY_CAST({source} AS BIGINT) IS NOT NULL",
            "DOUBLE": f"{source} IN {_NO_NUMBERS} OR regexp_full_match({source}, {_FLOAT_TEXT})",
            "VARCHAR": "true",
        }
    elif read_as in _INTS:
        low, high = _one(conn, f"SELECT min({source}), max({source}) FROM {view}")
        return FileColumn(name, read_as, read_as, low, high)
    else:
        return FileColumn(name, read_as, "NULL" if read_as == '"NULL"' else read_as)
    counted = ", ".join(f"count(*) FILTER (WHERE NOT {is_null} AND ({test}))" for test in tests.values())
    whole = f"TRY_CAST({text} AS BIGINT)"
    filled, bools, ints, floats, texts, low, high = _one(
        conn,
        f"SELECT count(*) FILTER (WHERE NOT {is_null}), {counted}, "
        f"min({whole}) FILTER (WHERE {tests['BIGINT']}), max({whole}) FILTER (WHERE {tests['BIGINT']}) FROM {view}",
    )
    if form in ("csv", "tsv"):
        floats -= ints  # a whole number is written as a fraction may be
    # Whole numbers of more digits than fit are floats in form only.
    floats = floats if _no_huge(conn, view, source) else 0
    if not filled:
        return FileColumn(name, read_as, "NULL")
    if bools == filled:
        return FileColumn(name, read_as, "BOOLEAN")
    if ints == filled:
        return FileColumn(name, read_as, "BIGINT", low, high)
    if floats and ints + floats == filled and (form != "jsonl" or texts < filled):
        return FileColumn(name, read_as, "DOUBLE" if _is_exact(low, high) else "VARCHAR")
    if form == "jsonl" and texts != filled:
        return FileColumn(name, read_as, "JSON")
    return FileColumn(name, read_as, "VARCHAR")


def _no_huge(conn: DuckDBPyConnection, view: str, source: str) -> bool:
    pattern = "'-?[0-9]{17,}'"
    (found,) = _one(conn, f"SELECT count(*) FROM {view} WHERE regexp_full_match({source}, {pattern})")
    return not found


def _one(conn: DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    found: Any = conn.execute(sql).fetchone()
    return tuple(found)


def united(conn: DuckDBPyConnection, files: Sequence[File], form: str | None) -> tuple[list[str], dict[str, str]]:
    """Names of all columns in order of first appearance, and the type of each, by name in lower case.

    ``form`` is that of the file to write; where all are of one text format it is read as it stands.
    None: types to compare values in.
    """
    by_name: dict[str, list[FileColumn]] = {}
    for file in files:
        for key, column in file.columns.items():
            by_name.setdefault(key, []).append(column)
    names = [columns[0].name for columns in by_name.values()]
    kinds = {file.form.partition(".")[0] for file in files}
    own = None if form is None else form.partition(".")[0]
    if own == "jsonl" and kinds == {"jsonl"}:
        return names, dict.fromkeys(by_name, "JSON")
    if own in ("csv", "tsv") and kinds <= {"csv", "tsv"}:
        return names, dict.fromkeys(by_name, "VARCHAR")
    return names, {key: _common(conn, columns) for key, columns in by_name.items()}


def _common(conn: DuckDBPyConnection, columns: Sequence[FileColumn]) -> str:
    """The type that holds what all of them hold."""
    kinds = {column.kind for column in columns} - {"NULL"}
    if not kinds:
        return "VARCHAR"
    if len(kinds) == 1:
        return kinds.pop()
    ends = [end for column in columns for end in (column.low, column.high) if end is not None]
    low, high = (min(ends), max(ends)) if ends else (0, 0)
    if kinds <= {"BOOLEAN"} | _INTS:
        return "BIGINT" if -(2**63) <= low and high < 2**63 else "VARCHAR"
    if kinds <= {"BOOLEAN"} | _INTS | _FLOATS:
        return "DOUBLE" if _is_exact(low, high) else "VARCHAR"
    if "JSON" in kinds:
        return "JSON"
    if all(_is_nested(kind) for kind in kinds) or all(kind.startswith(("DATE", "TIMESTAMP")) for kind in kinds):
        return _duckdbs_choice(conn, sorted(kinds))
    return "VARCHAR"


def _duckdbs_choice(conn: DuckDBPyConnection, kinds: Sequence[str]) -> str:
    import duckdb

    query = " UNION ALL ".join(f"SELECT CAST(NULL AS {kind}) AS x" for kind in kinds)
    try:
        return str(conn.execute(f"DESCRIBE {query}").fetchall()[0][1])
    except duckdb.Error:
        return "JSON"


def _is_exact(low: int | None, high: int | None) -> bool:
    return (low is None or low >= -_EXACT) and (high is None or high <= _EXACT)


def _is_nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(("STRUCT(", "MAP(", "UNION("))
