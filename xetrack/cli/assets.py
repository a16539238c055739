"""`xt assets`: objects and files that were logged. Nothing here unpickles, so it is safe on any store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from xetrack.cli.asking import ask
from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, At, Db, EngineName, Output, Place, TableName, opened_store, require_table
from xetrack.cli.output import Format, counted, print_json, print_rows
from xetrack.cli.progress import Quiet, progress

if TYPE_CHECKING:
    from xetrack.read.assets import AssetsView

Asset = Annotated[
    str, typer.Argument(metavar="HASH", help="Its hash, as cells show it, or the key it was logged under.")
]


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    family = typer.Typer(no_args_is_help=True, help="List, export and remove the objects and files that were logged.")
    for function in (ls, export, delete, gc, du):
        command(family)(function)
    app.add_typer(family, name="assets")


@contextmanager
def _opened(db: str, engine: str | None, table: str | None = None, at: str | None = None) -> Iterator[AssetsView]:
    from xetrack.read.asset_events import AssetEvents
    from xetrack.read.assets import AssetsView

    with opened_store(db, engine, table, at) as (store, handle):
        if table is not None:
            require_table(store, handle.name)
        yield AssetsView(handle, AssetEvents(store.log))


def ls(place: Place, output: Output) -> None:
    """Print what is known of every asset, in the order they were first logged.

    `references` counts the cells that hold it, `stored_bytes` is empty where its bytes are not in this store.
    """
    nested = output.format in (Format.JSON, Format.JSONL)
    with _opened(place.db, place.engine, place.table, place.at) as assets:
        rows = [
            (
                info.hash,
                list(info.keys) if nested else ", ".join(info.keys),
                info.size_bytes,
                info.stored_bytes,
                info.references,
                info.first_logged,
                info.codec,
                info.name,
            )
            for info in assets.listing()
        ]
    columns = ["hash", "keys", "size_bytes", "stored_bytes", "references", "first_logged", "codec", "name"]
    output.show(columns, rows)


def export(
    db: Db,
    asset: Asset,
    out: Annotated[str, typer.Argument(metavar="OUT", help="File to write.")],
    raw: Annotated[bool, typer.Option("--raw", help="Write the file that was logged, as it was.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")] = False,
    at: At = None,
) -> None:
    """Write an asset to a file that `cloudpickle.load` reads.

    It gives the object; of a logged file, its bytes. The stored bytes are checked first.
    """
    with _opened(db, None, at=at) as assets:
        path = assets.export(asset, out, raw=raw, force=force)
        info = assets.info(asset)
    if info.name is not None and not raw:
        typer.echo(f"This is a pickle of the bytes of {info.name}; --raw writes the file itself.", err=True)
    typer.echo(f"wrote {path}, {path.stat().st_size} bytes")


def delete(
    db: Db,
    asset: Asset,
    column: Annotated[str | None, typer.Option("--column", help="Also empty its cells in this column.")] = None,
    remove_keys: Annotated[
        bool, typer.Option("--remove-keys/--keep-keys", help="Let its keys name the newest asset left under them.")
    ] = True,
    table: TableName = None,
    engine: EngineName = None,
    as_json: AsJson = False,
) -> None:
    """Take an asset off the list. Rows are not changed but for --column; `xt assets gc` frees its bytes."""
    with _opened(db, engine, table) as assets:
        digest = assets.info(asset).digest
        assets.remove(digest, column=column, remove_keys=remove_keys)
    if as_json:
        print_json({"assets_removed": 1, "digest": digest})
    else:
        typer.echo("1 asset removed; `xt assets gc` frees its bytes once no row shows it")


def gc(
    db: Db,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    engine: EngineName = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Delete files of assets that nothing needs: removed ones, those no event names, unfinished ones.

    What a row still shows stays, and so does what is younger than an hour: a program may be about to name it.
    """
    with _opened(db, engine) as assets:
        with progress("Looking for waste", db, quiet=quiet):
            found = assets.waste()
        young = sum(waste.young for waste in found)
        going = len(found) - young
        if going and not dry_run:
            ask("xt assets gc", f"Delete {counted(going, 'file')} for good?", yes)
        with progress("Deleting", db, quiet=quiet):
            gone = assets.gc(dry_run=dry_run)
    freed_bytes = sum(waste.stored_bytes for waste in gone)
    if as_json:
        files = [{"hash": w.hash, "reason": w.reason, "stored_bytes": w.stored_bytes, "path": w.path} for w in gone]
        print_json({"dry_run": dry_run, "freed_bytes": freed_bytes, "left_young": young, "files": files})
        return
    if gone:
        rows = [(waste.hash, waste.reason, waste.stored_bytes, waste.path) for waste in gone]
        print_rows(["hash", "reason", "stored_bytes", "path"], rows, Format.TABLE)
    typer.echo(f"{'would free' if dry_run else 'freed'} {counted(freed_bytes, 'byte')}, files: {len(gone)}")
    if young:
        typer.echo(f"younger than an hour and left alone, files: {young}")


def du(place: Place, output: Output) -> None:
    """Print how many files assets take and how many bytes, by what they are needed for."""
    with _opened(place.db, place.engine, place.table, place.at) as assets:
        usage = assets.usage()
    rows = [(state, count, stored_bytes) for state, (count, stored_bytes) in usage.items()]
    total = ("total", sum(row[1] for row in rows), sum(row[2] for row in rows))
    output.show(["state", "files", "stored_bytes"], [*rows, total])
