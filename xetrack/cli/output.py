"""Rows on their way to the screen, a pipe or another program.

Every format but the table on a terminal is complete: no cell is cut or wrapped.
JSON has neither NaN nor bytes, so these are the texts ``"NaN"``, ``"Infinity"``,
``"-Infinity"`` and base64; the other formats write an empty cell for ``None``.
"""

from __future__ import annotations

import base64
import csv
import datetime
import enum
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from xetrack.config import forces_color
from xetrack.errors import InvalidArgument, MissingExtra, storage_error


class Format(str, enum.Enum):
    """What ``--format`` may be."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    MARKDOWN = "markdown"
    PARQUET = "parquet"


@contextmanager
def written(out: str | None) -> Iterator[None]:
    """Have what is printed go to a file, which takes its place once it is whole; to stdout if None.

    Raises:
        StorageError: the file cannot be written; what was there is as it was.
    """
    if out is None or out == "-":
        yield
        return
    from xetrack.exchange.frames import draft_of

    target = Path(os.path.realpath(out))
    try:
        with draft_of(target) as draft, draft.open("w", encoding="utf-8", newline="") as file, redirect_stdout(file):
            yield
    except OSError as error:
        raise storage_error(error, target) from error


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: Format) -> None:
    """Print rows of named columns; csv, tsv and jsonl go out as they come in."""
    write = sys.stdout.write
    if form is Format.JSON:
        _print_json(rows, _distinct(columns))
    elif form is Format.JSONL:
        names = _distinct(columns)
        for row in rows:
            write(_as_json(dict(zip(names, row, strict=True))) + "\n")
    elif form is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_as_text(value) for value in row] for row in rows)
    elif form is Format.TSV:
        for row in (columns, *rows):
            write("\t".join(one_line(value) for value in row) + "\n")
    elif form is Format.MARKDOWN:
        write(_markdown_line(columns) + "\n" + _markdown_line(["---"] * len(columns)) + "\n")
        for row in rows:
            write(_markdown_line(row) + "\n")
    elif form is Format.PARQUET:
        _print_parquet(_distinct(columns), list(rows))
    elif sys.stdout.isatty() or (sys.stdout is sys.__stdout__ and forces_color()):
        from xetrack.cli.terminal import print_table

        print_table(list(map(visible, columns)), [[(visible(_short(v)), _is_number(v)) for v in row] for row in rows])
    else:
        _print_aligned(columns, rows)


def print_list(name: str, values: Iterable[Any], form: Format) -> None:
    """Print one column: a line per value, a plain array in JSON."""
    if form is Format.TABLE:
        for value in values:
            sys.stdout.write(one_line(value) + "\n")
    elif form is Format.JSON:
        print_json([_plain(value) for value in values])
    elif form is Format.JSONL:
        for value in values:
            sys.stdout.write(_as_json(value) + "\n")
    else:
        print_rows([name], ([value] for value in values), form)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(_plain(document), ensure_ascii=False, indent=2) + "\n")


def _print_json(rows: Iterable[Sequence[Any]], names: Sequence[str]) -> None:
    """An array with one row a line: a person can read it, ``diff`` too."""
    sys.stdout.write("[")
    separator = "\n"
    for row in rows:
        sys.stdout.write(separator + _as_json(dict(zip(names, row, strict=True))))
        separator = ",\n"
    sys.stdout.write("]\n" if separator == "\n" else "\n]\n")


def _print_aligned(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    lines = [[one_line(value) for value in row] for row in (columns, *rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _print_parquet(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """One Parquet file; a column whose values have no type in common is text."""
    if sys.stdout.isatty():
        raise InvalidArgument("--format", "parquet is no text for a terminal; --out FILE writes it")
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("Parquet", "arrow") from None

    def column(values: list[Any]) -> Any:
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            return pa.array([None if value is None else _as_text(value) for value in values], pa.string())

    made = pa.table([column([row[place] for row in rows]) for place in range(len(names))], names=list(names))
    file = pa.BufferOutputStream()
    pq.write_table(made, file)
    sys.stdout.flush()
    sys.stdout.buffer.write(file.getvalue())
    sys.stdout.buffer.flush()


def _markdown_line(values: Sequence[Any]) -> str:
    cells = (one_line(value).replace("|", r"\|") for value in values)
    return "| " + " | ".join(cells) + " |"


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names of an object's fields: ``SELECT a, a`` has two, ``a`` and ``a_2``."""
    names: dict[str, None] = {}
    for column in columns:
        name, count = column, 1
        while name in names:
            count += 1
            name = f"{column}_{count}"
        names[name] = None
    return list(names)


def _as_json(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return _as_text(value)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    plain = value if isinstance(value, str | int) else _plain_or_str(value)
    return str(plain)


def _plain_or_str(value: Any) -> Any:
    return _plain(value) if isinstance(value, float | bytes) else value


def _short(value: Any) -> str:
    """For a terminal six digits of a fraction are enough."""
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else _as_text(value)


def counted(count: int, noun: str) -> str:
    """A number and what it counts.

    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


def one_line(value: Any) -> str:
    """A stored value as a cell of text shows it."""
    return visible(_as_text(value))


def visible(text: str) -> str:
    """One line without control characters: a stored value must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\u200d" else repr(c)[1:-1] for c in text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
