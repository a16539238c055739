"""Arguments and options that commands share, and the store they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from xetrack.cli.output import Format
from xetrack.config import Settings

if TYPE_CHECKING:
    from xetrack.read.reader import Reader
    from xetrack.store import Store, Table

Db = Annotated[str, typer.Argument(metavar="DB", help="Path of the store, such as track.db.", show_default=False)]
EngineName = Annotated[
    str | None, typer.Option("--engine", metavar="NAME", help="Engine of the tables: sqlite or duckdb.")
]
TableName = Annotated[str | None, typer.Option("--table", metavar="NAME", help="Table of the store.")]
TrackId = Annotated[str | None, typer.Option("--track-id", metavar="RUN", help="Only this run.")]
FormatName = Annotated[Format, typer.Option("--format", help="How to print.", case_sensitive=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Short for --format json.")]


def chosen(form: Format, as_json: bool) -> Format:
    return Format.JSON if as_json else form


@contextmanager
def opened_store(db: str, engine: str | None, table: str | None) -> Iterator[tuple[Store, Table]]:
    """A store that exists, with a handle on one table that may not."""
    from xetrack.store import open_store

    settings = Settings.resolve(engine=engine, table=table)
    store = open_store(db, settings=settings)
    try:
        yield store, store.table(settings.table, settings.engine)
    finally:
        store.close()


@contextmanager
def opened_table(db: str, engine: str | None, table: str | None) -> Iterator[Table]:
    """A table that exists.

    Raises:
        TableNotFound: the store has others; they are named.
    """
    from xetrack.errors import TableNotFound

    with opened_store(db, engine, table) as (store, handle):
        names = store.tables()
        if names and handle.name not in names:
            raise TableNotFound(handle.name, db, names)
        yield handle


def opened_reader(db: str, engine: str | None, table: str | None) -> Reader:
    """A reader of a store that exists: the way to change what was logged."""
    from xetrack.read.reader import Reader

    settings = Settings.resolve(engine=engine, table=table)
    return Reader(db, engine=settings.engine, table=settings.table)
