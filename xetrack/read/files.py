"""What sinks wrote, as data frames: log files and JSONL files (docs/sinks.md).

Reads line by line and disturbs no writer. A line that is none is skipped and
counted, in one warning through ``logging``; it never stops a read.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from xetrack.errors import InvalidArgument, PathNotFound, storage_error
from xetrack.track.lines import HEAD, ROW_LEVELS, restored

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("xetrack")

#: Bytes looked at for whether a file is a log, or when its last line is from.
_GLANCE = 1 << 16
_DAMAGED, _OTHER = "damaged", "other"
_EXACT_INT = 2**53
_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_jsonl(path: str | Path) -> pd.DataFrame:
    """The rows of a JSONL file, in its order; columns in the order of their first row.

    ``timestamp`` is ISO-8601 text. Numbers that JSON cannot hold (NaN, infinities,
    integers past 64 bits) are back, lists and dicts are Python's, ints with gaps
    stay ints. A damaged line is skipped, and one warning says how many were.

    Raises:
        PathNotFound: naming what is near; nothing is created.
    """
    found: Counter[str] = Counter()
    made = _frame(_json_rows(existing(path), found))
    _report(path, found)
    return made


def read_logs(path: str | Path, limit: int | None = None) -> pd.DataFrame:
    """The rows in a log file or in the log files below a folder, newest file first.

    Within a file they are in the order of its lines. ``limit`` keeps so many rows, the
    newest. A row is a line whose text is a JSON object; messages, tracebacks and
    lines of others are passed over. Which file is newest, its last line says. In
    a folder these are the files named ``*.log``, and others that begin like one.

    Raises:
        PathNotFound: naming what is near; nothing is created.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise InvalidArgument("limit", f"{limit!r} is not a number of rows")
    found: Counter[str] = Counter()
    made = _frame(_newest_rows(existing(path), limit, found))
    _report(path, found)
    return made


def existing(path: str | Path) -> Path:
    """The path of what is there.

    Raises:
        PathNotFound: naming what is near.
    """
    path = Path(path)
    if not path.exists():
        try:
            names = sorted(os.listdir(path.parent))
        except OSError:
            names = []
        raise PathNotFound(path, [str(path.parent / name) for name in get_close_matches(path.name, names, cutoff=0.5)])
    return path


def _report(path: str | Path, found: Counter[str]) -> None:
    if found[_DAMAGED]:
        logger.warning("%s: %d damaged lines were skipped.", path, found[_DAMAGED])
    if found[_OTHER]:
        logger.debug("%s: %d lines hold no row.", path, found[_OTHER])


# -- lines -------------------------------------------------------------------


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise storage_error(error, path) from error


def _json_rows(path: Path, found: Counter[str]) -> Iterator[dict[str, Any]]:
    for line in _lines(path):
        if line.strip():
            row = _parsed(line)
            if row is None:
                found[_DAMAGED] += 1
            else:
                yield row


def _parsed(text: bytes) -> dict[str, Any] | None:
    """The row of a JSON object; None for all else."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return restored(row) if type(row) is dict else None


def _log_rows(path: Path, found: Counter[str]) -> Iterator[dict[str, Any]]:
    """Rows of one log file. A row may go on over lines that are set in, up to a closing brace."""
    begun: list[bytes] = []
    for line in _lines(path):
        head = None if line[:1].isspace() else HEAD.search(line)
        if begun:
            if head is None and line[:1] in b" }":
                begun.append(line)
                if line[:1] == b"}":
                    yield from _found(begun, found)
                    begun = []
                continue
            found[_DAMAGED] += 1
            begun = []
        if head is None:
            found[_OTHER] += 1
        elif line[head.end() :].strip() == b"{":
            begun = [line[head.end() :]]
        else:
            yield from _rows_of(line, found)
    found[_DAMAGED] += bool(begun)


def _found(parts: list[bytes], found: Counter[str]) -> Iterator[dict[str, Any]]:
    row = _parsed(b"".join(parts))
    if row is None:
        found[_DAMAGED] += 1
    else:
        yield row


def _rows_of(line: bytes, found: Counter[str]) -> Iterator[dict[str, Any]]:
    """The row of a line; of two that a killed writer ran into one, the whole one."""
    head = HEAD.search(line)
    while head is not None:
        text = line[head.end() :]
        if text[:1] != b"{":
            found[_OTHER] += 1
            return
        row = _parsed(text)
        if row is not None:
            yield row
            return
        found[_DAMAGED if head[1].decode() in ROW_LEVELS else _OTHER] += 1
        head = HEAD.search(line, head.end())


# -- files -------------------------------------------------------------------


def _newest_rows(path: Path, limit: int | None, found: Counter[str]) -> Iterator[dict[str, Any]]:
    files = [path] if not path.is_dir() else sorted(_log_files(path), key=_age, reverse=True)
    for file in files:
        if limit is None:
            yield from _log_rows(file, found)
        elif limit:
            newest = deque(_log_rows(file, found), maxlen=limit)
            limit -= len(newest)
            yield from newest


def _log_files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            # Only files: to open a pipe would wait for its writer.
            if path.is_file() and (path.suffix == ".log" or _begins_as_log(path)):
                yield path


def _begins_as_log(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return any(HEAD.match(line) for line in file.read(_GLANCE).splitlines())
    except OSError:
        return False


def _age(path: Path) -> tuple[str, str]:
    """What sorts files by the time of their last line; one without any by when it was changed."""
    try:
        with path.open("rb") as file:
            heads = list(HEAD.finditer(_last(file)))
            changed = os.fstat(file.fileno()).st_mtime
    except OSError as error:
        raise storage_error(error, path) from error
    time = heads[-1][0][:23].decode() if heads else datetime.fromtimestamp(changed).isoformat(" ", "milliseconds")
    return time, str(path)


def _last(file: IO[bytes]) -> bytes:
    file.seek(max(file.seek(0, os.SEEK_END) - _GLANCE, 0))
    return file.read()


# -- frames ------------------------------------------------------------------


def _frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, list[Any]] = {}
    count = 0
    for row in rows:
        for name, value in row.items():
            cells = columns.get(name)
            if cells is None:
                cells = columns[name] = []
            if len(cells) < count:
                cells.extend([None] * (count - len(cells)))
            cells.append(value)
        count += 1
    for cells in columns.values():
        cells.extend([None] * (count - len(cells)))
    made: pd.DataFrame = pd.DataFrame({name: _series(cells) for name, cells in columns.items()}, index=range(count))
    return made


def _series(cells: list[Any]) -> pd.Series:
    """One column of the dtype that its values have, whatever is missing."""
    import pandas as pd

    kinds = set(map(type, cells))
    if str in kinds and kinds & {int, float} and all(cell in _FLOATS for cell in cells if type(cell) is str):
        # As `xt export` writes them.
        cells = [_FLOATS[cell] if type(cell) is str else cell for cell in cells]
        kinds = set(map(type, cells))
    gaps = type(None) in kinds
    kinds.discard(type(None))
    dtype = "object"
    if kinds == {bool}:
        dtype = "boolean" if gaps else "bool"
    elif kinds == {int} and all(-(2**63) <= cell < 2**63 for cell in cells if cell is not None):
        dtype = "Int64" if gaps else "int64"
    elif float in kinds and kinds <= {int, float}:
        whole = [cell for cell in cells if type(cell) is int]
        if all(-_EXACT_INT <= cell <= _EXACT_INT for cell in whole):
            dtype = "float64"
    elif kinds == {str}:
        dtype = "str" if int(pd.__version__.partition(".")[0]) >= 3 else "object"
    series: pd.Series = pd.Series(cells, dtype=dtype)
    return series
