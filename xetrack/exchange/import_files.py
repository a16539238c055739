"""Rows of data files: CSV, TSV, JSON lines, Parquet. The order of a file is kept.

A column ``track_id`` names the run and a column ``timestamp`` the time of a row;
without them it is one run named after the file, logged when the file was written.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from xetrack.errors import InvalidArgument, MissingExtra
from xetrack.exchange.contents import STDIN, Contents, Wish
from xetrack.log import values
from xetrack.log.codec import MAX_LINE_BYTES
from xetrack.log.imported import ImportedRow, clock_of
from xetrack.log.old_database import parsed
from xetrack.track.lines import restored

_INT = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
_FLOATS = {"NaN": math.nan, "nan": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, "inf": math.inf}
_FLOATS["-inf"] = -math.inf
_BOOLS = {"true": True, "false": False, "True": True, "False": False}
#: A cell may be as long as a text in a log.
_MAX_CELL = MAX_LINE_BYTES
#: A packed file may unpack to this, or to so many times its size, whichever is more; a row counts for so much at least.
_FREE_BYTES = 64 << 20
_ROW_BYTES = 256
_BATCH_ROWS = 4096
_MAX_RATIO = 200


def read(path: Path, wish: Wish) -> Contents:
    """Rows of one file.

    Raises:
        InvalidArgument: it is not of that kind, or damaged; names the line.
        MissingExtra: Parquet without pyarrow.
    """
    import zstandard

    left_out: list[str] = []
    try:
        if wish.kind == "parquet":
            records: Iterable[dict[str, Any]] = _parquet(path)
        elif wish.kind == "jsonl":
            with _opened(path) as file:
                records = list(_jsonl(file, path, left_out))
        else:
            with _opened(path) as file:
                records = _typed(*_csv(file, path, "\t" if wish.kind == "tsv" else ","))
        return Contents({wish.table: list(_rows(records, path, wish))}, left_out)
    except (UnicodeDecodeError, zlib.error, EOFError, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise InvalidArgument("source", f"{path.name} is damaged: {error}") from error


def _rows(records: Iterable[dict[str, Any]], path: Path, wish: Wish) -> Iterator[ImportedRow]:
    name = path.name.split(".")[0] if str(path) != STDIN else "stdin"
    default_us = int((time.time() if str(path) == STDIN else path.stat().st_mtime) * 1_000_000)
    clock, last_run = 0, None
    for record in records:
        run = record.pop("track_id", None)
        run = wish.track_id or name if run in (None, "") else str(run)
        when = record.pop("timestamp", None)
        timestamp = when.isoformat(sep=" ") if isinstance(when, datetime) else None if when is None else str(when)
        found = clock_of(timestamp)
        # The order is the file's: what follows is never before what precedes.
        clock = max(clock + (run != last_run), default_us if found is None else found)
        last_run = run
        data = {}
        for key, value in values.check_keys(record).items():
            if wish.parse and isinstance(value, str) and value[:1] in "[{(":
                value = parsed(value)
            data[key] = values.encode(value, key)
        yield ImportedRow(run, clock, timestamp, data)


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    if str(path) == STDIN:
        yield io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
        return
    raw: IO[bytes] | io.RawIOBase
    if path.name.lower().endswith(".gz"):
        raw = _Unpacked(gzip.open(path), path)
    elif path.name.lower().endswith(".zst"):
        import zstandard

        packed = path.open("rb")  # closed with its reader
        raw = _Unpacked(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True, closefd=True), path)
    else:
        raw = path.open("rb")
    with raw, io.TextIOWrapper(cast(IO[bytes], raw), encoding="utf-8-sig", newline="") as text:
        yield text


class _Room:
    """How much a file may unpack to: a little, or a multiple of its size. Rows count, however short they are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = max(_FREE_BYTES, _MAX_RATIO * path.stat().st_size)

    def take(self, size_bytes: int) -> None:
        """Count what was unpacked.

        Raises:
            InvalidArgument: it is out of proportion.
        """
        self._left -= size_bytes
        if self._left < 0:
            raise InvalidArgument(
                "source",
                f"{self._path.name} unpacks to more than {_MAX_RATIO} times its size, which honest rows never do; "
                "where they are, unpack them into a plain file first",
            )


class _Unpacked(io.RawIOBase):
    """A stream of unpacked bytes that ends with an error where there are too many."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._room = stream, _Room(path)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        self._room.take(len(piece) + _ROW_BYTES * piece.count(b"\n"))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _lines(file: IO[str], path: Path) -> Iterator[str]:
    """Lines with their ends; none is longer than one of a log may be."""
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise InvalidArgument("source", f"{path.name} has a line of more than {MAX_LINE_BYTES >> 20} MiB")
        yield line


# -- formats -----------------------------------------------------------------


def _jsonl(file: IO[str], path: Path, left_out: list[str]) -> Iterator[dict[str, Any]]:
    damaged = 0
    for number, line in enumerate(_lines(file, path), 1):
        if not line.strip():
            continue
        try:
            found = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            found = None
        if type(found) is not dict:
            if number == 1:
                raise InvalidArgument("source", f"line 1 of {path.name} is no JSON object")
            damaged += 1
            continue
        yield restored(found)
    if damaged:
        left_out.append(f"{damaged} lines that are no JSON object")


def _csv(file: IO[str], path: Path, delimiter: str) -> tuple[list[str], list[list[str]]]:
    csv.field_size_limit(_MAX_CELL)
    reader = csv.reader(_lines(file, path), delimiter=delimiter, strict=True)
    try:
        names = next(reader, None)
        if names is None:
            return [], []
        if len(set(names)) != len(names) or "" in names:
            raise InvalidArgument("source", f"the header of {path.name} has columns without a name or with the same")
        rows = []
        for row in reader:
            if len(row) != len(names) and row:
                raise InvalidArgument(
                    "source", f"line {reader.line_num} of {path.name} has {len(row)} cells, its header {len(names)}"
                )
            if row:
                rows.append(row)
        return names, rows
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidArgument("source", f"line {reader.line_num} of {path.name} is not CSV: {error}") from error


def _typed(names: list[str], rows: list[list[str]]) -> Iterator[dict[str, Any]]:
    """Rows with the type of each column, as all of its cells say; an empty cell is None."""
    readers = [
        column_type(column) if name not in ("track_id", "timestamp") else str
        for name, column in zip(names, zip(*rows, strict=True), strict=False)
    ]
    for row in rows:
        yield {
            name: None if cell == "" else read_cell(cell)
            for name, cell, read_cell in zip(names, row, readers, strict=True)
        }


def column_type(cells: Iterable[str]) -> Any:
    """What makes a value of each text of a column: bools, ints, floats or texts, as all of them say."""
    kinds = {_kind(cell) for cell in cells if cell != ""}
    if kinds == {"bool"}:
        return _BOOLS.__getitem__
    if kinds == {"int"}:
        return int
    if kinds and kinds <= {"int", "float"}:
        # Each cell as it was written: 1 stays an int beside 0.5.
        return lambda cell: int(cell) if _INT.match(cell) else _FLOATS[cell] if cell in _FLOATS else float(cell)
    return str


def _kind(cell: str) -> str:
    if cell in _BOOLS:
        return "bool"
    if _INT.match(cell):
        return "int" if len(cell) < 4000 else "text"
    if cell in _FLOATS or _is_float(cell):
        return "float"
    return "text"


def _is_float(cell: str) -> bool:
    # Python's own reading takes "1_0", " 1 " and digits of any script: texts, all of them.
    if not re.match(r"-?[0-9.]", cell) or re.match(r"-?0[0-9]", cell) or not re.fullmatch(r"[-+0-9.eE]+", cell):
        return False
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("Parquet", "arrow") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            room = _Room(path)
            for batch in file.iter_batches(_BATCH_ROWS):
                # A cell of nothing takes room too, once it is a value of a row.
                room.take(batch.nbytes + batch.num_rows * (_ROW_BYTES + 8 * batch.num_columns))
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise InvalidArgument("source", f"{path.name} is no Parquet file: {error}") from error
