"""Merges and rebases plain data files: Parquet, CSV, TSV and JSON lines.

DuckDB streams the rows; the output is written beside its place and renamed into
it once it is whole. Columns are joined by name, and a column's type follows from
all its files (docs/merge.md, Data files). Rows of files have no ids, so unlike
stores a file that is merged twice is there twice.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xetrack.config import path_text
from xetrack.errors import ColumnNotFound, InvalidArgument, MissingExtra, PathNotFound, StorageFailed, storage_error
from xetrack.exchange.filetypes import File, opened_file, united
from xetrack.exchange.formats import suffix_form
from xetrack.exchange.frames import draft_of
from xetrack.exchange.report import MergeReport, RebaseReport, TableReport
from xetrack.exchange.revisions import PREFIX
from xetrack.store import EVENTS_SUFFIX
from xetrack.tables.layout import literal
from xetrack.tables.spill import spill_path

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_PACKING = {"gz": "gzip", "zst": "zstd", "": "none"}
_ROW = "_xetrack_row"


def are_meant(paths: Sequence[str | os.PathLike[str]]) -> bool:
    """Whether data files are named, and not stores.

    Raises:
        InvalidArgument: some are data files and some are stores.
    """
    names = [path_text(path, "source") for path in paths]
    files = [name for name in names if _is_data_file(name)]
    if files and len(files) < len(names):
        other = next(name for name in names if name not in files)
        raise InvalidArgument(
            "sources", f"{files[0]} is a data file and {other} a store; `xt import` takes files into a store"
        )
    return bool(files)


def _is_data_file(name: str) -> bool:
    if name.startswith(PREFIX) or suffix_form(Path(name).name) is None:
        return False
    return not (os.path.isdir(name) or os.path.isdir(f"{name}{EVENTS_SUFFIX}"))


def merge(sources: Sequence[Path], into: Path, dry_run: bool = False) -> MergeReport:
    """Append the rows of the sources to those of ``into``, which is made if it is not there.

    Raises:
        PathNotFound: a source is not there; names near matches.
        InvalidArgument: a file cannot be read.
        MissingExtra: DuckDB is not installed.
    """
    _require(sources)
    is_there = into.exists()
    others = [path for path in sources if not (is_there and os.path.samefile(path, into))]
    with _connected() as conn:
        files = [
            opened_file(conn, path, number) for number, path in enumerate([*([into] if is_there else []), *others])
        ]
        form = suffix_form(into.name) or ""
        names, types = united(conn, files, form)
        if not names:
            raise InvalidArgument("sources", "no file has a column")
        old = files[0].columns if is_there else {}
        report = MergeReport(dry_run=dry_run)
        report.tables[str(into)] = TableReport(
            rows_added=sum(file.count(conn) for file in files[len(files) - len(others) :]),
            columns_added=[name for name in names if name.casefold() not in old],
            columns_widened=[
                name
                for name in names
                if name.casefold() in old and old[name.casefold()].is_wider(types[name.casefold()])
            ],
        )
        if not dry_run and others:
            selects = [file.select(names, types, form) for file in files]
            _write(conn, " UNION ALL ".join(selects), into, form)
    return report


def rebase(source: Path, onto: Path, keys: Sequence[str], out: Path, dry_run: bool = False) -> RebaseReport:
    """Write the rows of ``onto`` whose key the source lacks, then those of the source.

    Keys are compared in the type that their column has in the end.

    Raises:
        ColumnNotFound: a file lacks a key column; names near matches.
        PathNotFound: either is not there; names near matches.
    """
    _require([source, onto])
    report = RebaseReport(str(out), list(keys), dry_run=dry_run)
    with _connected() as conn:
        base, coming = opened_file(conn, onto, 0), opened_file(conn, source, 1)
        for key in keys:
            for file in (base, coming):
                if key.casefold() not in file.columns:
                    known = [column.name for column in file.columns.values()]
                    raise ColumnNotFound(key, difflib.get_close_matches(key, known))
        form = suffix_form(out.name) or ""
        names, types = united(conn, [base, coming], form)
        _, compared = united(conn, [base, coming], None)
        key_of = [_key(file, keys, compared) for file in (base, coming)]
        conn.execute(
            f"CREATE TEMP TABLE arriving AS SELECT DISTINCT {key_of[1][0]} FROM {coming.name} WHERE {key_of[1][1]}"
        )
        conn.execute(
            f"CREATE TEMP VIEW standing AS SELECT *, {key_of[0][0]}, {key_of[0][1]} AS _xetrack_keyed, "
            f"row_number() OVER () AS {_ROW} FROM {base.name}"
        )
        alike = " AND ".join(f"s._xetrack_key{number} = a._xetrack_key{number}" for number in range(len(keys)))
        found = f"s._xetrack_keyed AND EXISTS (SELECT 1 FROM arriving a WHERE {alike})"
        report.rows_replaced = _number(conn, f"SELECT count(*) FROM standing s WHERE {found}")
        report.rows_added = coming.count(conn)
        for file, (made, filled), side in ((coming, key_of[1], "source"), (base, key_of[0], "onto")):
            keyed = _number(conn, f"SELECT count(*) FROM {file.name} WHERE {filled}")
            distinct = _number(conn, f"SELECT count(*) FROM (SELECT DISTINCT {made} FROM {file.name} WHERE {filled})")
            setattr(report.null_keys, side, file.count(conn) - keyed)
            setattr(report.duplicate_keys, side, keyed - distinct)
        if not dry_run:
            kept = f"(SELECT * FROM standing s WHERE NOT ({found}) ORDER BY {_ROW})"
            selects = [base.select(names, types, form, kept), coming.select(names, types, form)]
            _write(conn, " UNION ALL ".join(selects), out, form)
    return report


def _key(file: File, keys: Sequence[str], types: dict[str, str]) -> tuple[str, str]:
    """The key as SQL columns, and the condition that no part of it is empty or NaN."""
    made, filled = [], []
    for number, key in enumerate(keys):
        kind = types[key.casefold()]
        expression = file.columns[key.casefold()].cast_to(kind)
        made.append(f"{expression} AS _xetrack_key{number}")
        filled.append(f"({expression}) IS NOT NULL")
        if kind in ("DOUBLE", "FLOAT"):
            filled.append(f"NOT isnan({expression})")
    return ", ".join(made), f"coalesce({' AND '.join(filled)}, false)"


def _require(paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.exists():
            try:
                names = os.listdir(path.parent)
            except OSError:
                names = []
            near = difflib.get_close_matches(path.name, sorted(names))
            raise PathNotFound(path, [str(path.parent / name) for name in near])


@contextmanager
def _connected() -> Iterator[DuckDBPyConnection]:
    """DuckDB in memory, or in a temporary folder where that does not do."""
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtra("Merging data files", "duckdb") from error
    with duckdb.connect(config={"autoinstall_known_extensions": False, "temp_directory": spill_path()}) as conn:
        conn.execute("SET preserve_insertion_order=true")
        conn.execute("SET enable_progress_bar=false")
        conn.execute("SET TimeZone='UTC'")
        yield conn


def _write(conn: DuckDBPyConnection, query: str, out: Path, form: str) -> None:
    import duckdb

    target = Path(os.path.realpath(out))
    kind, _, packed = form.partition(".")
    if kind == "parquet":
        options = "FORMAT parquet, COMPRESSION zstd"
    elif kind == "jsonl":
        options = f"FORMAT json, COMPRESSION {_PACKING[packed]}"
    else:
        delimiter = "\\t" if kind == "tsv" else ","
        options = f"FORMAT csv, HEADER, DELIMITER '{delimiter}', NULLSTR '', COMPRESSION {_PACKING[packed]}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(target) as draft:
            conn.execute(f"COPY ({query}) TO {literal(draft)} ({options})")
    except OSError as error:
        raise storage_error(error, target) from error
    except duckdb.IOException as error:
        raise StorageFailed(target, _said(error)) from error
    except duckdb.Error as error:
        raise InvalidArgument("sources", _said(error)) from error


def _number(conn: DuckDBPyConnection, sql: str) -> int:
    found: Any = conn.execute(sql).fetchone()
    return int(found[0])


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
