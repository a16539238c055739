"""What may stand at the tables' path, and what to do about it.

Tables are derived, so a damaged file is put aside and made anew; what is not
ours is never touched.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import sqlite3
from pathlib import Path

from xetrack.errors import ForeignFile
from xetrack.tables.sqlite import is_tables_file

logger = logging.getLogger("xetrack")
#: Ends of the names of what engines keep beside a file.
_BESIDE = ("-wal", "-shm", "-journal", ".wal")
#: Why tables are put aside, as their names say.
_ASIDE = ("damaged", "without-log")


def tables_file(store: Path, engine: str) -> Path:
    """Where an engine's tables of the store at a path lie: ``track.db`` and ``track.duckdb``."""
    if engine == "sqlite":
        return store if store.suffix != ".duckdb" else Path(f"{store}.sqlite")
    if store.suffix == ".duckdb":
        return store
    return store.with_suffix(".duckdb") if store.suffix == ".db" else Path(f"{store}.duckdb")


def refuse_foreign(path: Path, engine: str) -> None:
    """Raise ``ForeignFile`` where another program's file stands. The engine itself may have to open it to know."""
    if path.exists() and (is_foreign(path) if engine == "sqlite" else not _may_be_duckdb(path)):
        raise ForeignFile(path)


def are_tables(path: Path) -> bool:
    """Whether a file holds tables of ours, of either engine."""
    if not path.is_file() or not path.stat().st_size:
        return False
    return is_tables_file(path) or (path.suffix == ".duckdb" and has_rows(path, "duckdb"))


def _may_be_duckdb(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(12)
    # A file of zeros is what a power cut leaves of one that was being written.
    return not header.strip(b"\0") or header[8:] == b"DUCK"


def is_foreign(path: Path) -> bool:
    """Whether the file is a sound SQLite database of another program, or not one of ours at all."""
    if is_tables_file(path):
        return False
    try:
        conn = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            names = [name for (name,) in conn.execute("SELECT name FROM sqlite_master")]
        finally:
            conn.close()
    except sqlite3.Error:
        return False
    return bool(names) and not any(name.startswith("_xetrack_") for name in names)


def has_rows(path: Path, engine: str = "sqlite") -> bool:
    """Whether the file is a tables file that had something projected into it."""
    if engine == "duckdb":
        try:
            from xetrack.tables.duckdb_file import has_tables
        except ImportError:
            return False
        return has_tables(path)
    try:
        conn = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            return bool(conn.execute("SELECT 1 FROM _xetrack_tables").fetchone())
        finally:
            conn.close()
    except sqlite3.Error:
        return False


def remove(path: Path, engine: str) -> bool:
    """Delete tables, with what an engine keeps beside them and what was put aside; False if there are none of ours."""
    found = False
    aside = [kept for why in _ASIDE for kept in path.parent.glob(f"{glob.escape(path.name)}.{why}-*")]
    for file in (path, *aside):
        # What was put aside has a name of ours, and may be too damaged to say what it is.
        if file.is_file() and (file != path or _is_ours(file, engine)):
            found = True
            file.unlink(missing_ok=True)
            for suffix in _BESIDE:
                Path(f"{file}{suffix}").unlink(missing_ok=True)
    return found


def _is_ours(path: Path, engine: str) -> bool:
    return is_tables_file(path) if engine == "sqlite" else has_rows(path, engine)


def set_aside(path: Path) -> None:
    """Rename what is left of damaged tables; nothing is overwritten."""
    kept = _renamed(path, "damaged")
    if kept is not None:
        logger.warning("%s could not be read: it is %s now, the tables are new.", path, kept.name)


def set_aside_without_log(path: Path) -> None:
    """Rename tables whose log a checkout took away, so that another can begin in their place."""
    kept = _renamed(path, "without-log")
    if kept is not None:
        logger.warning("%s has no log in this work tree: it is %s now, a new store begins.", path, kept.name)


def _renamed(path: Path, why: str) -> Path | None:
    for suffix in _BESIDE:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")
    count = 1
    while os.path.lexists(f"{path}.{why}-{count}"):
        count += 1
    kept = Path(f"{path}.{why}-{count}")
    try:
        os.rename(path, kept)
    except FileNotFoundError:
        return None
    return kept


def writable(path: Path) -> bool:
    """Whether tables can be written here: the file, and the files that SQLite keeps beside it."""
    if path.exists():
        return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return os.access(path.parent, os.W_OK) or not path.parent.exists()
