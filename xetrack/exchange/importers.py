"""Takes over rows that something else wrote: old databases, data files, the stores of other trackers.

``import_data`` finds out what a source is, asks the reader of that kind for its rows
and adds those that the store lacks. Ids are derived from content, so importing
again adds only what is new.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from xetrack.adopt import take_over
from xetrack.config import Settings
from xetrack.errors import InvalidArgument, StorageFailed, storage_error
from xetrack.exchange.contents import STDIN, Contents, Wish
from xetrack.exchange.formats import suffix_form
from xetrack.log.imported import Found, Taken, take_in
from xetrack.log.log import FileLog
from xetrack.log.old_database import is_old_database
from xetrack.read.files import existing
from xetrack.store import IN_MEMORY, check_table_name, open_store
from xetrack.tables.sqlite import is_tables_file

Read = Callable[[Path, Wish], Contents]

#: Which room reads a kind; each has a function ``read``.
_READERS = {
    "csv": "xetrack.exchange.import_files",
    "tsv": "xetrack.exchange.import_files",
    "jsonl": "xetrack.exchange.import_files",
    "parquet": "xetrack.exchange.import_files",
    "tables": "xetrack.exchange.import_tables",
    "tensorboard": "xetrack.exchange.import_tensorboard",
    "mlflow": "xetrack.exchange.import_mlflow",
    "wandb": "xetrack.exchange.import_wandb",
}
KINDS = ("xetrack-0.x", *_READERS)


class TableImport(msgspec.Struct, frozen=True):
    """Rows of one table: taken over now, known before, and those of the new that differ from a known one's place."""

    rows_added: int
    rows_known: int
    rows_changed: int


class ImportReport(msgspec.Struct):
    """What an import took over; ``left_out`` says for people what has no counterpart or could not be read."""

    source: str
    kind: str
    dry_run: bool
    tables: dict[str, TableImport]
    assets: int = 0
    left_out: list[str] = []

    @property
    def rows_added(self) -> int:
        """Rows of all tables that were not there before."""
        return sum(table.rows_added for table in self.tables.values())

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return {**found, "rows_added": self.rows_added}


def import_data(
    source: str | os.PathLike[str],
    db: str | os.PathLike[str],
    *,
    kind: str | None = None,
    table: str | None = None,
    track_id: str | None = None,
    parse: bool = False,
    dry_run: bool = False,
) -> ImportReport:
    """Take over the rows of a source into a store, which is made if it is not there.

    Importing again adds only what is new. After an error nothing was taken over.

    Args:
        source: A database of xetrack 0.x, the tables of a store whose log is gone, a
            file of CSV, TSV, JSON lines or Parquet, ``"-"`` for CSV or JSON lines from
            standard input, or what another tracker wrote. It is only read.
        db: Path of the store.
        kind: What the source is, where its name and its first bytes do not say.
        table: The table to import into, by default ``"default"``; of a database, the only one to take.
        track_id: The run of rows that name none; by default the file's name.
        parse: Lists and dicts for texts that look like one.
        dry_run: Report what would be taken over, and write nothing.

    Raises:
        PathNotFound: there is no source; names near matches.
        InvalidArgument: nobody can tell what the source is, or no reader takes it.
        MissingExtra: reading it needs a package that is not installed.

    >>> import_data("results.csv", "track.db").rows_added
    """
    if os.fspath(db) == IN_MEMORY:
        raise InvalidArgument("db", f"{IN_MEMORY} would end with this call")
    path = Path(source)
    if path.absolute() == Path(db).absolute():
        raise InvalidArgument("db", "it is the source itself; an old database is taken over where it is opened")
    found_kind = kind_of(path, kind)
    if table is not None:
        check_table_name(table)
    if found_kind == "xetrack-0.x":
        return _import_old(path, db, table, parse, dry_run)
    wish = Wish(table or Settings.resolve().table, track_id, parse, found_kind)
    read: Read = importlib.import_module(_READERS[found_kind]).read
    try:
        contents = read(path, wish)
    except OSError as error:
        raise storage_error(error, path) from error
    found = {name: Found(rows) for name, rows in contents.tables.items()}
    for name in found:
        check_table_name(name)
    taken = _taken_in(db, lambda log: take_in(log, found, path.name, dry_run=dry_run), dry_run)
    return ImportReport(str(source), found_kind, dry_run, _counts(taken), 0, contents.left_out)


def _import_old(path: Path, db: str | os.PathLike[str], table: str | None, parse: bool, dry_run: bool) -> ImportReport:
    tables = None if table is None else [table]
    try:
        adopted = _taken_in(db, lambda log: take_over(path, log, tables=tables, parse=parse, dry_run=dry_run), dry_run)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StorageFailed(path, str(error)) from error
    return ImportReport(str(path), "xetrack-0.x", dry_run, _counts(adopted.tables), adopted.assets, adopted.harm)


def _taken_in(db: str | os.PathLike[str], take: Callable[[FileLog], Any], dry_run: bool) -> Any:
    """What ``take`` gives for the log of a store, whose tables are caught up then. A dry run makes no store."""
    folder = Path(f"{os.fspath(db).removesuffix('.events')}.events")
    if dry_run and not folder.exists():
        return take(FileLog(folder))
    store = open_store(db, create=True)
    try:
        with store.locked():
            assert isinstance(store.log, FileLog)
            found = take(store.log)
            if not dry_run:
                store.flush()
            return found
    finally:
        store.close()


def _counts(taken: dict[str, Taken]) -> dict[str, TableImport]:
    return {name: TableImport(*one) for name, one in taken.items()}


def kind_of(path: Path, kind: str | None = None) -> str:
    """What a source is: as named, else as its name and its first bytes say.

    Raises:
        PathNotFound: there is none.
        InvalidArgument: nobody can tell.
    """
    if kind is not None and kind not in KINDS:
        raise InvalidArgument("kind", f"{kind!r} is none of {', '.join(KINDS)}")
    if str(path) == STDIN:
        return kind or "csv"
    existing(path)
    if kind is not None:
        return kind
    from xetrack.exchange import import_mlflow, import_tensorboard, import_wandb

    form = suffix_form(path.name)
    if form is not None:
        return form.split(".")[0]
    if path.is_file():
        if is_old_database(path):
            return "xetrack-0.x"
        if path.stat().st_size and is_tables_file(path):
            return "tables"
        if path.name.endswith(".wandb"):
            return "wandb"
        if import_tensorboard.EVENT_FILE.search(path.name):
            return "tensorboard"
        if import_mlflow.is_database(path):
            return "mlflow"
    elif import_mlflow.is_folder(path):
        return "mlflow"
    elif import_wandb.run_files(path):
        return "wandb"
    elif import_tensorboard.event_files(path):
        return "tensorboard"
    raise InvalidArgument("source", f"nobody can tell what {str(path)!r} is; name it with --kind: {', '.join(KINDS)}")
