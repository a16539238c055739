"""Which stores there are in a folder, and how much is in each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from xetrack.config import Settings
from xetrack.errors import XetrackError
from xetrack.store import ENGINES, EVENTS_SUFFIX, open_store
from xetrack.tables.files import tables_file


class StoreInfo(NamedTuple):
    """One store. ``runs`` and ``rows`` are those of all its tables; None where it cannot be read, for the reason told.

    ``size_bytes``: log and tables. ``last_us``: when anything was last logged, microseconds since 1970 UTC.
    """

    path: str
    runs: int | None
    rows: int | None
    size_bytes: int
    last_us: int | None
    problem: str | None = None


def stores_in(folder: str | os.PathLike[str]) -> list[StoreInfo]:
    """The stores of a folder, the one last logged to first. Opening them brings their tables up to date."""
    with os.scandir(folder) as entries:
        paths = [
            str(Path(folder, entry.name.removesuffix(EVENTS_SUFFIX)))
            for entry in entries
            if entry.name.endswith(EVENTS_SUFFIX) and entry.name != EVENTS_SUFFIX and entry.is_dir()
        ]
    return sorted(map(_info, paths), key=lambda info: (-(info.last_us or 0), info.path))


def _info(path: str) -> StoreInfo:
    size_bytes, last_us = _files(path)
    try:
        store = open_store(path, settings=Settings.resolve())
        try:
            counts = [store.table(name).run_facts()[0] for name in store.tables()]
        finally:
            store.close()
    except XetrackError as error:
        return StoreInfo(path, None, None, size_bytes, last_us, error.summary)
    runs = {run for own in counts for run in own}
    return StoreInfo(path, len(runs), sum(sum(own.values()) for own in counts), size_bytes, last_us)


def _files(path: str) -> tuple[int, int | None]:
    """Bytes of the log and the tables, and when a segment was last written to."""
    sizes, times = [], []
    for engine in ENGINES:
        tables = tables_file(Path(path), engine)
        if tables.is_file():
            sizes.append(tables.stat().st_size)
    for base, _, names in os.walk(path + EVENTS_SUFFIX):
        for name in names:
            try:
                stat = os.stat(os.path.join(base, name))
            except OSError:  # a draft that was finished meanwhile
                continue
            sizes.append(stat.st_size)
            if name.endswith((".jsonl", ".msgpack")):
                times.append(stat.st_mtime_ns // 1000)
    return sum(sizes), max(times, default=None)
