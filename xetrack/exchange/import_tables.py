"""The rows of tables whose log is gone: what they still show, as far as tables keep it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from xetrack.errors import StorageFailed
from xetrack.exchange.contents import Contents, Wish
from xetrack.log.old_database import OldDatabase


def read(path: Path, wish: Wish) -> Contents:
    """Rows by table.

    Raises:
        StorageFailed: the file is no database that reads.
    """
    try:
        with OldDatabase(path, derived=True) as tables:
            found = {name: tables.rows(name, parse=wish.parse) for name in tables.tables}
            left_out = [*tables.harm, "stored objects, and who changed what: tables do not have them"]
            return Contents(found, left_out)
    except sqlite3.Error as error:
        raise StorageFailed(path, str(error)) from error
