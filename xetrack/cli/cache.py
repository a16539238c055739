"""`xt cache ls`, `delete`, `hits`: the stored results of functions, and how they served. Nothing is ever unpickled."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, Db, EngineName, Output, TableName
from xetrack.cli.output import Format, print_json, print_rows
from xetrack.config import Settings

if TYPE_CHECKING:
    from xetrack.workflow.cache_hits import CacheHits

Folder = Annotated[str, typer.Argument(metavar="DIR", help="Folder of the cache.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    family = typer.Typer(no_args_is_help=True, help="List and delete the stored results of functions.")
    for function in (ls, delete, hits):
        command(family)(function)
    app.add_typer(family, name="cache")


def ls(folder: Folder, output: Output) -> None:
    """Print one line for each stored result: its call, the run that computed it, size, age, and whether it is stale.

    A result is stale if its function has been edited or removed since. Unless the tracker has cache_code=True it is
    given out all the same. The cell is empty where that cannot be told: no source is here, or another Python stored it.
    """
    from xetrack.track.cache_code import is_stale
    from xetrack.track.cache_folder import list_entries

    now_us = time.time_ns() // 1000
    rows: list[list[Any]] = []
    for key, size_bytes, entry in list_entries(folder):
        if entry is None:
            rows.append([key, "damaged", None, None, size_bytes, None, None, None])
            continue
        age_s = max(now_us - entry.time_us, 0) // 1_000_000
        stored = datetime.fromtimestamp(entry.time_us // 1_000_000)
        call = [entry.function, entry.arguments, entry.cache]
        rows.append([key, *call, size_bytes, stored, age_s, is_stale(entry)])
    columns = ["key", "function", "args", "track_id", "size_bytes", "stored", "age_s", "stale"]
    output.show(columns, rows)


def delete(
    folder: Folder,
    track_id: Annotated[str, typer.Argument(metavar="TRACK_ID", help="Run whose results to delete.")],
    as_json: AsJson = False,
) -> None:
    """Delete all stored results that a run computed."""
    from xetrack.errors import NoCachedResult
    from xetrack.track.cache_folder import delete_entries

    count = delete_entries(folder, track_id)
    if not count:
        raise NoCachedResult(folder, track_id)
    if as_json:
        print_json({"entries_deleted": count})
    else:
        typer.echo("1 entry deleted" if count == 1 else f"{count} entries deleted")


def hits(db: Db, table: TableName = None, engine: EngineName = None, as_json: AsJson = False) -> None:
    """Count the hits and misses of the tracked calls in a store, and the time that hits saved."""
    from xetrack.workflow.cache_hits import analyze_cache_hits

    settings = Settings.resolve(engine=engine, table=table)
    print_hits(analyze_cache_hits(db, settings.table, engine=settings.engine), as_json)


def print_hits(found: CacheHits, as_json: bool) -> None:
    """Print a line for each function."""
    if as_json:
        print_json(found.to_dict())
        return
    names = ["function", "calls", "hits", "misses", "failed", "hit_rate", "mean_miss_s", "saved_s"]
    print_rows(names, [[getattr(one, name) for name in names] for one in found.functions], Format.TABLE)
    typer.echo(f"{found.hits} of {found.calls} calls came from the cache, about {found.saved_s:.3g} s saved")
