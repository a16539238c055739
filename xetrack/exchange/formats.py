"""Rows in the formats of data sets: JSON lines, CSV, TSV, Parquet; text also packed.

A writer is given each row twice: as its line of JSON, which keeps types and nesting,
and as wire values, of which CSV and Parquet make cells (docs/datasets.md, Values).
The same rows give the same bytes, whenever they are written.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, Protocol

from xetrack.errors import InvalidArgument, MissingExtra
from xetrack.log.cells import DATETIME, cell, flag, readable

FORMS = ("jsonl", "csv", "tsv", "parquet")
PACKED = ("gz", "zst")

_SUFFIX = re.compile(r"(?<=.)\.(parquet|(jsonl|ndjson|csv|tsv)(\.(gz|zst))?)\Z", re.IGNORECASE)
#: Rows of one Parquet row group, and about how many bytes of them as JSON lines, whichever comes first.
_GROUP_ROWS = 65_536
_GROUP_BYTES = 64 << 20


def form_of(path: Path, form: str | None) -> str:
    """The format of a file: as named, else as its suffix says; such as ``csv`` or ``jsonl.gz``.

    Raises:
        InvalidArgument: it is none that can be written.
    """
    found = suffix_form(path.name if form is None else f"out.{form}")
    if found is not None and (form is None or form.lower().replace("ndjson", "jsonl") == found):
        return found
    known = f"{', '.join(FORMS)}; all but parquet also with .{' or .'.join(PACKED)}"
    if form is not None:
        raise InvalidArgument("format", f"{form!r} is none of {known}")
    raise InvalidArgument("out", f"the name {path.name!r} says no format: {known}")


def suffix_form(name: str) -> str | None:
    """The format that a file's name says, None if it says none."""
    match = _SUFFIX.search(name)
    if match is None:
        return None
    return match[0][1:].lower().replace("ndjson", "jsonl")


#: What needs no quotes, and no look at what it is.
_NUMBERS = frozenset({int, float})


def part_path(path: Path, part: str) -> Path:
    """Where a part of a split goes: ``data.jsonl`` has ``data-train.jsonl`` beside it."""
    match = _SUFFIX.search(path.name)
    cut = match.start() if match else len(path.name) - len(path.suffix)
    return path.with_name(f"{path.name[:cut]}-{part}{path.name[cut:]}")


# -- values ------------------------------------------------------------------


def shown(wire: Any) -> Any:
    """What a cell says for a wire value: None, a bool, a number or text.

    As tables show it, but that datetimes are ISO 8601 and NaN and the infinities
    the texts ``NaN``, ``Infinity`` and ``-Infinity``. Lists and dicts are JSON.
    """
    if type(wire) is dict and flag(wire) == DATETIME:
        return wire["$datetime"]
    if type(wire) is not dict and type(wire) is not list:
        return wire
    value = readable(wire)
    return value if isinstance(value, str | int | float) else cell(wire, "json")


def as_text(value: Any) -> str:
    """The text of what a cell says, ``true`` and ``false`` as in JSON, nothing for None."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


# -- writers -----------------------------------------------------------------


class RowWriter(Protocol):
    """Takes rows: the wire values of the columns, and the whole as a line of JSON with its end."""

    def write(self, wires: Sequence[Any], line: bytes) -> None: ...
    def close(self) -> None: ...


def open_writer(path: Path, form: str, names: Sequence[str], kinds: Sequence[str]) -> RowWriter:
    """A writer of a new file; ``kinds`` are column types, which only Parquet has a use for."""
    if form == "parquet":
        return _ParquetWriter(path, names, kinds)
    form, _, packed = form.partition(".")
    if form == "jsonl":
        return _LineWriter(path, packed)
    return _TableWriter(path, packed, names, "\t" if form == "tsv" else ",")


class _LineWriter:
    """JSON lines."""

    def __init__(self, path: Path, packed: str) -> None:
        self._raw = path.open("wb")
        self._file = _packing(self._raw, packed)

    def write(self, wires: Sequence[Any], line: bytes) -> None:
        self._file.write(line)

    def close(self) -> None:
        if self._file is not self._raw:
            self._file.close()
        self._raw.close()


class _TableWriter(_LineWriter):
    """RFC 4180: lines end in CR LF. An empty field is null, two quotes are the empty text."""

    def __init__(self, path: Path, packed: str, names: Sequence[str], delimiter: str) -> None:
        super().__init__(path, packed)
        self._delimiter = delimiter
        self._special = re.compile(f'^$|^\\s|\\s$|[{delimiter}"\r\n]')
        self.write(names, b"")

    def write(self, wires: Sequence[Any], line: bytes) -> None:
        fields = [str(wire) if type(wire) in _NUMBERS else self._field(wire) for wire in wires]
        # A line with nothing on it is skipped by most readers.
        text = self._delimiter.join(fields) or '""'
        self._file.write(f"{text}\r\n".encode())

    def _field(self, wire: Any) -> str:
        if wire is None:
            return ""
        text = as_text(shown(wire))
        if self._special.search(text):
            text = text.replace('"', '""')
            return f'"{text}"'
        return text


def _packing(raw: IO[bytes], packed: str) -> Any:
    if packed == "gz":
        import gzip

        # Without name and time, so that the same rows give the same bytes.
        return gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0)
    if packed == "zst":
        import zstandard

        return zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False)
    return raw


#: What Parquet takes in a column of each type for what a cell says; types not named are text.
_TO_ARROW: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "int": int,
    "float": float,
    "bytes": base64.b64decode,
    "moment": datetime.fromisoformat,
    "time": datetime.fromisoformat,
}


class _ParquetWriter:
    """Parquet by pyarrow, a row group at a time."""

    def __init__(self, path: Path, names: Sequence[str], kinds: Sequence[str]) -> None:
        pa = require_arrow()
        import pyarrow.parquet as pq

        types = {
            "null": pa.null(),
            "bool": pa.bool_(),
            "int": pa.int64(),
            "float": pa.float64(),
            "bytes": pa.binary(),
            "moment": pa.timestamp("us", tz="UTC"),
            "time": pa.timestamp("us"),
        }
        self._pa = pa
        self._converters: list[Callable[[Any], Any]] = [_TO_ARROW.get(kind, as_text) for kind in kinds]
        self._schema = pa.schema(
            [(name, types.get(kind, pa.string())) for name, kind in zip(names, kinds, strict=True)]
        )
        self._writer = pq.ParquetWriter(str(path), self._schema)
        self._rows: list[Sequence[Any]] = []
        self._bytes = 0

    def write(self, wires: Sequence[Any], line: bytes) -> None:
        self._rows.append(wires)
        self._bytes += len(line)
        if len(self._rows) >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = []
            for convert, wires, field in zip(
                self._converters, zip(*self._rows, strict=True), self._schema, strict=True
            ):
                made = [None if wire is None else convert(shown(wire)) for wire in wires]
                columns.append(self._pa.array(made, type=field.type))
            self._writer.write_table(self._pa.table(columns, schema=self._schema))
            self._rows, self._bytes = [], 0

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self._writer.close()


def require_arrow() -> Any:
    """The package pyarrow.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra("Parquet", "arrow") from None
    return pyarrow


def time_kind(text: str) -> str:
    """How Parquet can hold a time: ``moment`` with an offset, ``time`` without, ``text`` if it is neither."""
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            return "time"
        time.astimezone(timezone.utc)  # in the years that there are
    except (ValueError, OverflowError):
        return "text"
    return "moment"


def library_of(form: str) -> str | None:
    """The library whose release decides about the bytes of a format, None where that is xetrack alone.

    Raises:
        MissingExtra: it is not installed.
    """
    if form == "parquet":
        return f"pyarrow {require_arrow().__version__}"
    if form.endswith(".gz"):
        import zlib

        return f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
    if form.endswith(".zst"):
        import zstandard

        return "zstd " + ".".join(map(str, zstandard.ZSTD_VERSION))
    return None
