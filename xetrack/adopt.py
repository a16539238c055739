"""Takes over a database of xetrack 0.x: into a log, or in place where a store is opened.

In place the old file is kept under another name, and its rows become the events of
the log beside it. Taking it over again adds what is new, so one that was
interrupted anywhere is completed by the next try, and two at once do no harm.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xetrack.errors import InvalidTable, StorageFailed, storage_error
from xetrack.log.assets import OBJECT_CODEC
from xetrack.log.imported import Found, ImportedAsset, ImportedRow, Taken, take_in
from xetrack.log.log import FileLog
from xetrack.log.names import check_table
from xetrack.log.old_database import OldDatabase, is_old_database

logger = logging.getLogger("xetrack")

BACKUP_SUFFIX = ".before-1.0"


class Adopted(NamedTuple):
    """What was taken from an old database: rows by table, objects, and what could not be read."""

    tables: dict[str, Taken]
    assets: int
    harm: list[str]


def take_over(
    path: Path, log: FileLog, *, tables: Sequence[str] | None = None, parse: bool = False, dry_run: bool = False
) -> Adopted:
    """Add what a log lacks of an old database: rows, stored objects, and the names of both.

    A row keeps its run and its timestamp. An object keeps its old hash as a key, so
    that what the rows show still finds it; none is unpickled.
    """
    with OldDatabase(path) as old:
        found: dict[str, Found] = {}
        for table in old.tables:
            if tables is not None and table not in tables:
                continue
            try:
                check_table(table)
            except InvalidTable as error:
                old.harm.append(f"table {table!r} is left out: {error.reason}")
                continue
            found[table] = Found(old.rows(table, parse=parse), [])
        names = old.names()
        keys: dict[str, list[str]] = {}
        for key, old_hash in names.items():
            keys.setdefault(old_hash, []).append(key)
        count = 0
        shown = {table: _texts(one.rows) for table, one in found.items()}
        for stored in old.objects():
            count += 1
            if dry_run:
                continue
            digest, size = log.assets.put_pieces(stored.pieces, to_disk=True)
            home = next((table for table, texts in shown.items() if stored.old_hash in texts), None)
            table = home or next(iter(found), "default")
            assets = found.setdefault(table, Found([], [])).assets
            for key in [stored.old_hash, *keys.get(stored.old_hash, [])]:
                assets.append(ImportedAsset(digest, key, size, OBJECT_CODEC))
        return Adopted(take_in(log, found, path.name, dry_run=dry_run), count, old.harm)


def _texts(rows: list[ImportedRow]) -> set[object]:
    return {value for row in rows for value in row.data.values() if isinstance(value, str)}


def adopt(path: Path, log: FileLog) -> None:
    """Turn the old database at a store's path into the store; one line of the program's log says so.

    Raises:
        PermissionDenied: the folder cannot be written; nothing was changed.
    """
    try:
        log.create()
        adopted = take_over(path, log)
        kept = _put_aside(path)
    except OSError as error:
        raise storage_error(error, path) from error
    except sqlite3.Error as error:
        if is_old_database(path):
            raise StorageFailed(path, str(error)) from error
        return  # another process has taken it over since
    rows = sum(taken.added + taken.known for taken in adopted.tables.values())
    logger.warning(
        "%s was made by xetrack 0.x: its %d rows and %d stored objects are in %s now, the old file is kept as %s.",
        path,
        rows,
        adopted.assets,
        log.path.name,
        kept.name,
    )
    for harm in adopted.harm:
        logger.warning("%s: %s.", path, harm)


def _put_aside(path: Path) -> Path:
    """Move the old file to a free name beside it. Whoever was first has done it already."""
    count = 1
    kept = path.with_name(path.name + BACKUP_SUFFIX)
    while True:
        try:
            os.link(path, kept)
        except FileExistsError:
            if path.exists() and not os.path.samefile(path, kept):
                kept = path.with_name(f"{path.name}{BACKUP_SUFFIX}.{count}")
                count += 1
                continue
        except FileNotFoundError:
            return kept
        except OSError:  # a file system without links
            os.rename(path, kept)
            return kept
        with contextlib.suppress(FileNotFoundError):
            if is_old_database(path):
                path.unlink()
        return kept
