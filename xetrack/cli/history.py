"""`xt log`, `xt blame`, `xt undo`, `xt protect`: what was changed, by whom, and taking it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from xetrack.cli import completion
from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, Db, EngineName, Output, Place, TableName, TrackId, opened_reader, opened_store
from xetrack.cli.output import Format, counted, print_json, visible
from xetrack.cli.rows import require_run
from xetrack.errors import InvalidArgument

_COMMIT_DIGITS = 10


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    for function in (log, blame, undo, protect):
        command(app)(function)


def log(
    place: Place,
    output: Output,
    track_id: TrackId = None,
    column: Annotated[
        str | None,
        typer.Option("--column", metavar="NAME", help="Only its cells.", autocompletion=completion.columns),
    ] = None,
) -> None:
    """Print who set what, when, and what it replaced: a line for each event and cell, newest first.

    Undone events are among them. As a table it shows who and where in short; other formats have every column.
    """
    from difflib import get_close_matches

    from xetrack.errors import ColumnNotFound
    from xetrack.read.history import COLUMNS, history_lines, runs_logged

    with place.opened() as table:
        plain = output.where is None and not output.sort
        lines = history_lines(table, track_id, column, output.n if plain else None)
        if not lines:
            if track_id is not None:
                require_run(runs_logged(table), track_id)
            if column is not None:
                known = table.columns
                if column not in known:
                    raise ColumnNotFound(column, get_close_matches(column, known))
    _show(output, COLUMNS, lines)


def blame(
    place: Place,
    output: Output,
    track_id: Annotated[str, typer.Argument(metavar="TRACK_ID", help="Run.", autocompletion=completion.runs)],
    column: Annotated[str, typer.Argument(metavar="COLUMN", help="Column.", autocompletion=completion.columns)],
) -> None:
    """Print which events set the cells of a run in a column, when, from where, and what they replaced.

    A line for each event and value that it replaced, newest first; rows counts the cells that are so.
    """
    from xetrack.read.history import BLAME, blame_lines

    with place.opened() as table:
        lines = blame_lines(table, track_id, column)
    _show(output, BLAME, lines)


def undo(
    db: Db,
    event_id: Annotated[
        str | None, typer.Argument(metavar="[EVENT_ID]", help="Event to cancel, as `xt log` names it.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="TRACK_ID", help="Bring a deleted run back.", autocompletion=completion.runs),
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="All rows of the log_batch that the event is of.")] = False,
    table: TableName = None,
    engine: EngineName = None,
    as_json: AsJson = False,
) -> None:
    """Cancel an event by a new one: a row, a set, a delete, a reset, an undo.

    The event is looked for in every table unless one is named. What came later stays, as if the cancelled had never
    been. --run cancels all that deleted a run; if nothing did, all that rewound it. What is undone already stays so.
    """
    from xetrack.read import undo as undoing

    if (event_id is None) == (run is None):
        raise InvalidArgument("EVENT_ID", "give an event id or --run TRACK_ID, one of the two")
    if run is not None and batch:
        raise InvalidArgument("--batch", "it goes with an event id, not with --run")
    with opened_store(db, engine, table) as (store, handle):
        tables = store.tables()
        if table is not None or run is not None:
            _require_table(db, handle.name, tables)
        if event_id is not None:
            wanted = [handle.name] if table is not None else tables
            done = undoing.undo(store, event_id, wanted, handle.engine, batch=batch)
        else:
            done = undoing.undo_run(handle, str(run))
    if as_json:
        document = {"table": done.table, "event_id": done.event_id}
        print_json({**document, "undone": list(done.kinds), "rows_changed": done.rows_changed})
    elif done.event_id is None:
        typer.echo(f"{event_id} is undone already: nothing changed")
    else:
        for undone_id, kind in done.kinds.items():
            typer.echo(f"undone: {kind} {undone_id}")
        typer.echo(f"{counted(done.rows_changed, 'row')} changed by {done.event_id}")


def protect(
    db: Db,
    track_id: Annotated[str, typer.Argument(metavar="TRACK_ID", help="Run.", autocompletion=completion.runs)],
    unprotect: Annotated[bool, typer.Option("--unprotect", help="Allow changes again.")] = False,
    table: TableName = None,
    engine: EngineName = None,
    as_json: AsJson = False,
) -> None:
    """Refuse what would set or hide rows of a run, until --unprotect. Rows may still be logged to it."""
    reader = opened_reader(db, engine, table)
    count = reader.unprotect(track_id) if unprotect else reader.protect(track_id)
    if as_json:
        print_json({"track_id": track_id, "protected": not unprotect, "rows": count})
    else:
        typer.echo(f"{visible(track_id)} is {'no longer ' if unprotect else ''}protected: {counted(count, 'row')}")


def _require_table(db: str, name: str, tables: list[str]) -> None:
    from xetrack.errors import TableNotFound

    if name not in tables:
        raise TableNotFound(name, db, tables)


def _show(output: Output, columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    """Print lines: all columns, in a table those that fit on a screen."""
    if output.format is not Format.TABLE or output.columns or output.where is not None or output.sort:
        output.show(columns, lines)
        return
    short = ["event_id", "kind", "column", "old", "new", "by", "time", "track_id", "script", "commit"]
    more = columns[columns.index("commit") + 1 :]
    output.show([*short, *more], [_shortened(dict(zip(columns, line, strict=True)), short, more) for line in lines])


def _shortened(line: dict[str, Any], short: list[str], more: Sequence[str]) -> list[Any]:
    """A line with who and where in one word, local time, and the beginning of the commit."""
    where = "@".join(part for part in (line["user"], line["host"]) if part)
    line["by"] = where if line["pid"] is None else f"{where}:{line['pid']}"
    line["time"] = line["time"].astimezone().replace(tzinfo=None)
    line["commit"] = line["commit"] and line["commit"][:_COMMIT_DIGITS]
    return [line[name] for name in (*short, *more)]
