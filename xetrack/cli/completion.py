"""What the shell offers for names of stores, tables, columns and runs.

Quick and silent: what cannot be told at once is not offered, and no error reaches
the line that somebody is typing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from xetrack.config import Settings, store_of_environment

#: Up to here a log is read to its end for a completion; names in larger ones come from tables as they are.
_QUICK_BYTES = 4 << 20
_MOST = 200


def stores(incomplete: str) -> list[str]:
    """Paths of stores that begin like this."""
    return list(_quietly(lambda: _stores(incomplete)))


def tables(ctx: typer.Context, incomplete: str) -> list[str]:
    return _fitting(lambda: os.listdir(_events(ctx)), incomplete)


def columns(ctx: typer.Context, incomplete: str) -> list[str]:
    return _fitting(lambda: _columns(ctx), incomplete)


def columns_listed(ctx: typer.Context, incomplete: str) -> list[str]:
    """Columns after the last comma of ``a,b``, and after the minus of ``-a``."""
    before, comma, begun = incomplete.rpartition(",")
    down = "-" if begun.startswith("-") else ""
    return [f"{before}{comma}{down}{name}" for name in columns(ctx, begun.removeprefix("-"))]


def runs(ctx: typer.Context, incomplete: str) -> list[str]:
    return _fitting(lambda: _runs(ctx), incomplete)


def _quietly(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception:  # noqa: BLE001 - whatever it is, nothing to offer is better than noise on the command line
        return []


def _fitting(ask: Callable[[], Any], incomplete: str) -> list[str]:
    found = _quietly(lambda: [name for name in ask() if name.startswith(incomplete) and not name.startswith("_")])
    return list(found)[:_MOST]


def _stores(incomplete: str) -> list[str]:
    folder, begun = os.path.split(incomplete)
    found = []
    with os.scandir(folder or ".") as entries:
        for entry in entries:
            if not entry.name.startswith(begun) or not entry.is_dir():
                continue
            name = entry.name.removesuffix(".events")
            found.append(os.path.join(folder, name if name != entry.name else f"{name}/"))
    return sorted(found)


def _db(ctx: typer.Context) -> str:
    """The store that the line names so far."""
    named = ctx.params.get("db") or ctx.params.get("into") or store_of_environment() or ""
    return str(named).removesuffix(".events")


def _events(ctx: typer.Context) -> str:
    return f"{_db(ctx)}.events"


def _columns(ctx: typer.Context) -> list[str]:
    with _table(ctx) as table:
        if table is not None:
            return list(table.columns)
    with _as_they_are(ctx) as (conn, name):
        return [row[1] for row in conn.execute(f"PRAGMA table_info({name})")]


def _runs(ctx: typer.Context) -> list[str]:
    with _table(ctx) as table:
        if table is not None:
            return list(reversed(table.runs()))
    with _as_they_are(ctx) as (conn, name):
        newest = f"SELECT track_id, max(_rowid_) FROM {name} GROUP BY 1 ORDER BY 2 DESC LIMIT {_MOST}"
        return [row[0] for row in conn.execute(newest)]


@contextlib.contextmanager
def _table(ctx: typer.Context) -> Iterator[Any]:
    """The table that the line names, up to date; None where that may take longer than anyone waits for a name."""
    from xetrack.log.log import FileLog
    from xetrack.store import Store

    folder = Path(_events(ctx))
    if not folder.is_dir() or sum(path.stat().st_size for path in folder.glob("*/*.*")) > _QUICK_BYTES:
        yield None
        return
    settings = Settings.resolve(table=ctx.params.get("table"))
    # In memory: nothing in the folder is touched, whatever state its tables are in.
    store = Store(":memory:", None, FileLog(folder), settings)
    try:
        yield store.table(settings.table, "sqlite")
    finally:
        store.close()


@contextlib.contextmanager
def _as_they_are(ctx: typer.Context) -> Iterator[tuple[sqlite3.Connection, str]]:
    """The SQLite tables as the last catch-up left them, and the quoted name of the one meant."""
    from xetrack.tables.layout import quote

    path = Path(_db(ctx)).absolute()
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.2)) as conn:
        yield conn, quote(Settings.resolve(table=ctx.params.get("table")).table)
