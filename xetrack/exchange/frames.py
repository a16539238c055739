"""Data frames to files, as ``Tracker.to_csv`` and ``to_parquet`` write them; how any file of a user's is written."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xetrack.errors import InvalidArgument, MissingExtra, storage_error
from xetrack.log.log import EVENTS_SUFFIX, is_log
from xetrack.tables.files import are_tables
from xetrack.tables.spill import spill_path

if TYPE_CHECKING:
    import pandas as pd


def write_frame(frame: pd.DataFrame, path: str | os.PathLike[str], form: Literal["csv", "parquet"]) -> None:
    """Write a frame without its index; a file that is there is replaced once the new one is whole.

    CSV has bytes in base64. Parquet has text where a column holds values of several
    types, datetimes of several offsets, or integers past 64 bits.

    Raises:
        MissingExtra: Parquet with neither pyarrow nor duckdb.
        StorageError: the file cannot be written; what was there is as it was.
    """
    target = Path(os.path.realpath(path))
    try:
        with draft_of(target) as draft:
            if form == "csv":
                _changed(frame, _without_bytes).to_csv(draft, index=False)
            else:
                _write_parquet(_changed(frame, _of_one_type), draft)
    except OSError as error:
        raise storage_error(error, target) from error


@contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """A path beside the target that takes its place at the end; the target itself if it is a pipe or a device.

    Raises:
        InvalidArgument: the target is a file of a store.
    """
    refuse_to_replace(target)
    if target.exists() and not target.is_file():
        yield target
        return
    with tempfile.TemporaryDirectory(prefix=".xetrack-", dir=target.parent) as folder:
        draft = Path(folder) / target.name  # pandas packs by the suffix
        yield draft
        os.replace(draft, target)


def refuse_to_replace(path: Path) -> None:
    """See that a file to be written is no file of a store: of its log, or of its tables.

    Raises:
        InvalidArgument: it is one.
    """
    place = Path(os.path.realpath(path))
    if any(map(is_log, place.parents)) or is_log(Path(f"{place}{EVENTS_SUFFIX}")) or are_tables(place):
        raise InvalidArgument("out", f"{path} belongs to a store")


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        pass
    else:
        frame.to_parquet(path, index=False, engine="pyarrow")
        return
    import pandas as pd

    try:
        import duckdb
    except ImportError:
        raise MissingExtra("Parquet", "arrow") from None
    frame = frame.copy(deep=False)
    for name in frame.columns:
        if frame[name].dtype != "str":
            continue
        # What pandas keeps text in, duckdb may not know.
        texts = [text if isinstance(text, str) else None for text in frame[name]]
        frame[name] = pd.Series(texts, dtype=object, index=frame.index)
    with duckdb.connect(config={"temp_directory": spill_path()}) as connection:
        # A column's type follows from all its values, not from some of them.
        connection.execute(f"SET pandas_analyze_sample={len(frame) + 1}")
        connection.register("frame", frame)
        connection.table("frame").write_parquet(str(path))


def _changed(frame: pd.DataFrame, change: Callable[[pd.Series[Any]], pd.Series[Any]]) -> pd.DataFrame:
    """The frame with its columns of objects changed."""
    import pandas as pd

    made: pd.DataFrame = frame.copy(deep=False)
    for name in made.columns:
        if pd.api.types.is_object_dtype(made[name].dtype):
            made[name] = change(made[name])
    return made


def _without_bytes(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.map(lambda value: base64.b64encode(value).decode() if isinstance(value, bytes) else value)


def _of_one_type(column: pd.Series[Any]) -> pd.Series[Any]:
    missing = column.isna()
    types = set(map(type, column[~missing]))
    small = types != {int} or column[~missing].between(-(2**63), 2**63 - 1).all()
    if len(types) <= 1 and small and types != {datetime}:
        return column
    texts = column.map(lambda value: value.isoformat() if isinstance(value, datetime) else str(value))
    filled: pd.Series[Any] = texts.astype(object).where(~missing, None)
    return filled
