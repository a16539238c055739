"""What a call to ``log`` becomes: the wire form of a row and what is shown of it.

Pure but for the asset store that is passed in. Keys and values are all checked
before an object is stored, so a refused row leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from xetrack.errors import InvalidArgument, InvalidValue
from xetrack.log.assets import digest_of as digest_of
from xetrack.log.cells import DIGEST_DIGITS, MAX_PLAIN_INT
from xetrack.log.values import check_keys, decode, encode, is_plain

_UNSET_DIGEST = "0" * 64

#: Stores an object logged under a key, or the file of a path, and gives its digest.
Put = Callable[[str, Any], str]

LOWEST = -MAX_PLAIN_INT
#: What a float is compared with: a float is quick to compare with, NaN and the infinities are past it.
MOST = float(MAX_PLAIN_INT)
LEAST = -MOST
_CONSTANTS = frozenset({str, bool, type(None)})


class Row(NamedTuple):
    """A row on its way to the log: ``wire`` is written, ``shown`` handed back."""

    wire: dict[str, Any]
    shown: dict[str, Any]


def is_fast(data: dict[Any, Any]) -> bool:
    """Whether JSON holds every value as it is: no tag, no object, no nesting.

    One comparison settles a number: NaN fails it too. Text with a lone surrogate
    passes and fails in the codec, before anything is written.
    """
    for value in data.values():
        kind = type(value)
        if kind is float:
            if not LEAST <= value <= MOST:
                return False
        elif kind is int:
            if not LOWEST <= value <= MAX_PLAIN_INT:
                return False
        elif kind is not str and kind is not bool and value is not None:
            return False
    return True


def is_fast_call(row: dict[str, Any]) -> bool:
    """Whether ``is_fast`` holds for the row of a call but for ``args`` (plain values) and ``kwargs`` (none)."""
    rest = row.copy()
    args, kwargs = rest.pop("args", None), rest.pop("kwargs", None)
    return kwargs == {} and type(args) is list and all(map(is_plain, args)) and is_fast(rest)


def are_fast(rows: list[Any], shapes: Container[tuple[Any, ...]]) -> bool:
    """Whether all rows are dicts of known keys and fast; by column where all have the same keys."""
    if set(map(type, rows)) != {dict}:
        return False
    found = set(map(tuple, rows))
    if not all(shape in shapes for shape in found):
        return False
    if len(found) > 1:
        return all(map(is_fast, rows))
    for column in zip(*map(dict.values, rows), strict=True):
        types = set(map(type, column))
        if types == {float}:
            total = sum(column)  # one NaN or infinity makes the sum one
            if total - total != 0.0:
                return False
        elif types == {int}:
            if min(column) < LOWEST or max(column) > MAX_PLAIN_INT:
                return False
        elif not types <= _CONSTANTS:
            return all(map(is_fast, rows))
    return True


def make_rows(rows: Iterable[Mapping[Any, Any]], params: Row, put: Put, *, files: bool = False) -> list[Row]:
    """Check every row first, then store its objects: all of them or none.

    A row's own keys win over the params. With ``files`` a ``Path`` stands for the
    file that it names, else for itself.

    Raises:
        UsageError: a row or a key or a value that no log can hold, or a path without a file.
    """
    checked: list[tuple[dict[str, Any], dict[str, Any], bool]] = []
    for data in rows:
        if not isinstance(data, Mapping):
            raise InvalidArgument("data", f"a row is a dict of names and values, not {type(data).__name__}")
        named = _named(data, params.wire)
        wire, has_objects = _encode(named, files)
        checked.append((named, wire, has_objects))
    return [_finish(named, wire, has_objects, params, put, files) for named, wire, has_objects in checked]


def make_params(data: Mapping[Any, Any], put: Put, *, files: bool = False) -> Row:
    """Params as a row that others are laid over."""
    return make_rows([data], Row({}, {}), put, files=files)[0]


def make_value(key: Any, value: Any, put: Put, *, files: bool = False) -> tuple[str, Any]:
    """One key and its value, checked and encoded as ``log`` would."""
    ((name, wire),) = make_params({key: value}, put, files=files).wire.items()
    return name, wire


def make_condition(key: Any, value: Any) -> tuple[str, Any]:
    """A column and the value looked for in it. Any column may be asked, and nothing is stored."""
    return str(key), encode(value, key, digest_of)


def make_point(point: Any) -> dict[str, Any]:
    """The numbers that rows may be past, by column.

    Raises:
        InvalidArgument: they are none.
    """
    if not isinstance(point, Mapping) or not point:
        raise InvalidArgument("rewind", f"it is a dict such as {{'step': 4000}}, not {point!r}")
    wires = {str(key): encode(value, key, digest_of) for key, value in point.items()}
    for key, wire in wires.items():
        if type(decode(wire)) not in (int, float) or decode(wire) != decode(wire):
            raise InvalidArgument("rewind", f"{point!r} has no number for {key!r}")
    return wires


def _named(data: Mapping[Any, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    named = check_keys(data)
    if params and not params.keys() >= named.keys():
        check_keys({**params, **named})
    return named


def _encode(named: Mapping[str, Any], files: bool) -> tuple[dict[str, Any], bool]:
    objects: list[Any] = []

    def found(key: str, value: Any) -> str:
        if isinstance(value, Path):
            _check_file(key, value)
        objects.append(value)
        return _UNSET_DIGEST

    wire = {
        key: value if is_plain(value) else encode(value, key, partial(found, key), files=files)
        for key, value in named.items()
    }
    return wire, bool(objects)


def _check_file(key: str, path: Path) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not a plain file" if path.exists() else "is not there"
        raise InvalidValue(key, f"the file {path} {what}")
    if not os.access(path, os.R_OK):
        raise InvalidValue(key, f"the file {path} may not be read by this account")


def _finish(named: dict[str, Any], wire: dict[str, Any], has_objects: bool, params: Row, put: Put, files: bool) -> Row:
    if has_objects:
        for key, value in named.items():
            wire[key] = encode(value, key, partial(put, key), files=files)
    # What JSON holds as it is was not encoded but taken.
    shown = {key: value if wire[key] is value else _shown(wire[key]) for key, value in named.items()}
    return Row({**params.wire, **wire}, {**params.shown, **shown})


def _shown(wire: Any) -> Any:
    if type(wire) is dict and len(wire) == 1 and "$asset" in wire:
        return wire["$asset"][:DIGEST_DIGITS]
    return decode(wire)
