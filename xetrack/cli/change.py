"""`xt set`, `xt delete`: changes to rows that were logged. Each is an event, nothing is lost."""

from __future__ import annotations

import datetime
import enum
import json
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

from xetrack.cli import completion
from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, Db, EngineName, TableName, TrackId, opened_reader, opened_table
from xetrack.cli.output import counted, print_json
from xetrack.cli.rows import require_run
from xetrack.errors import InvalidArgument


class ValueType(str, enum.Enum):
    """What ``--type`` may be."""

    STR = "str"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    DATETIME = "datetime"
    JSON = "json"
    NULL = "null"


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    # Unknown options are let through so that -0.5 is a value, not an option.
    command(app, "set", context_settings={"ignore_unknown_options": True})(set_)
    command(app)(delete)


def set_(
    db: Db,
    key: Annotated[
        str,
        typer.Argument(metavar="KEY", help="Column to set; it may be a new one.", autocompletion=completion.columns),
    ],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Typed as its column, else by its look.")],
    where_key: Annotated[str | None, typer.Option("--where-key", help="Only rows in which this column ...")] = None,
    where_value: Annotated[str | None, typer.Option("--where-value", help="... has this value.")] = None,
    track_id: TrackId = None,
    type_: Annotated[ValueType | None, typer.Option("--type", help="Type of VALUE.", case_sensitive=False)] = None,
    table: TableName = None,
    engine: EngineName = None,
    as_json: AsJson = False,
) -> None:
    """Set one column of a run's rows, or of all rows.

    VALUE takes the type of its column. In a new column 0.5 is a float, 5 an int, true a bool, null
    empties the cells, and all else is text; --type decides where the look is wrong.
    """
    if (where_key is None) != (where_value is None):
        raise InvalidArgument("--where-key", "--where-key and --where-value go together")
    for name, text in (("KEY", key), ("VALUE", value)):
        if text.startswith("--") and type_ is None:  # with a type it is meant
            raise InvalidArgument(name, f"{text!r} looks like an option, and `xt set` has none of that name")
    with opened_table(db, engine, table) as handle:
        types = handle.dtypes
        if track_id is not None:
            require_run(handle.runs(), track_id)
    typed = convert(value, type_.value) if type_ is not None else typed_as(value, types.get(key))
    reader = opened_reader(db, engine, table)
    if where_key is None or where_value is None:
        count = reader.set_value(key, typed, track_id=track_id)
    else:
        where = typed_as(where_value, types.get(where_key))
        count = reader.set_where(key, typed, where_key, where, track_id=track_id)
    had = types.get(key, type(None))
    if had is not type(None) and (has := reader.dtypes[key]) is not had:
        told = f"xt: The column {key!r} holds {has.__name__} now, and held {had.__name__}."
        typer.echo(f"{told} `xt log DB --n 1` names what to undo.", err=True)
    if as_json:
        print_json({"rows_changed": count})
    else:
        typer.echo(f"{counted(count, 'row')} changed")


def delete(
    db: Db,
    track_id: Annotated[str, typer.Argument(metavar="TRACK_ID", help="Run to delete.", autocompletion=completion.runs)],
    table: TableName = None,
    engine: EngineName = None,
    as_json: AsJson = False,
) -> None:
    """Delete all rows of a run."""
    count = opened_reader(db, engine, table).delete_run(track_id)
    if as_json:
        print_json({"rows_deleted": count})
    else:
        typer.echo(f"{counted(count, 'row')} deleted")


_WORDS: dict[str, Any] = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_NON_FINITE = {"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"}
# No leading zeros: 007 is a name, not a number.
_INT = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][+-]?[0-9]+)?")


def typed_by_look(text: str) -> Any:
    """The value that a text looks like; text if it looks like nothing else.

    >>> [typed_by_look(text) for text in ("0.5", "5", "007", "true", "null")]
    [0.5, 5, '007', True, None]
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return convert(text, "int")
    if _FLOAT.fullmatch(text) or text.lower() in _NON_FINITE:
        return float(text)
    return text


def typed_as(text: str, column_type: type | None) -> Any:
    """The value in the type of its column; by its look where there is none or it does not fit."""
    if column_type is str:
        return text
    by_look = typed_by_look(text)
    if by_look is None or column_type is None or column_type.__name__ not in _CONVERTERS:
        return by_look
    if column_type is int and isinstance(by_look, float):
        return by_look  # the column widens, the value is not cut
    try:
        return convert(text, column_type.__name__)
    except InvalidArgument:
        return by_look


def _bool(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def _null(_: str) -> None:
    return None


_CONVERTERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _bool,
    "datetime": datetime.datetime.fromisoformat,
    "json": json.loads,
    "null": _null,
}


def convert(text: str, name: str) -> Any:
    """The text as a value of the named type.

    Raises:
        InvalidArgument: it cannot be one.
    """
    try:
        return _CONVERTERS[name](text)
    except (ValueError, KeyError) as error:
        raise InvalidArgument("VALUE", f"{text!r} is no {name}") from error
