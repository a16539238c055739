"""A row as one line of JSON, and back: what log files, stdout and JSONL files hold.

Pure functions of wire values. Every line is JSON that all readers take, so three
kinds of numbers need care: NaN, the infinities and integers past 64 bits stand as
``null``, and ``_exact``, last in the line, says what they are (docs/sinks.md).
Nothing is lost, and a column of numbers is one for typed readers too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from xetrack.errors import InvalidArgument, KeyCollision
from xetrack.log.cells import readable
from xetrack.log.values import decode, encode

TRACKING, MONITOR, EXPERIMENT = "TRACKING", "MONITOR", "EXPERIMENT"
#: Levels of lines whose text is a row.
ROW_LEVELS = frozenset({TRACKING, MONITOR, EXPERIMENT})

_DELIMITER = "!📁!"
#: Where 0.x said that a line came from. Patterns made for its files match ours by it.
_ORIGIN = "xetrack.logging:log:176"
#: The beginning of a line in a log file, up to its text; what collects a program's
#: output may have put something in front. Any one sign may be the delimiter.
HEAD = re.compile(
    rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| (\w{1,50}) +\| "
    rb"\S{1,200}?:\S{1,200}?:\d{1,9}!(?:[\xc2-\xf4][\x80-\xbf]+|\S)!"
)

_EXACT = "_exact"
_FLOATS = frozenset({"NaN", "Infinity", "-Infinity"})
_FLAT = frozenset({str, int, float, bool, type(None)})
_LOWEST, _HIGHEST = -(2**63), 2**64 - 1
#: What ends a line for some readers, though not for JSON.
_LINE_ENDS = [(end.encode(), f"\\u{ord(end):04x}".encode()) for end in "\x85\u2028\u2029"]
_to_json = msgspec.json.Encoder().encode


def as_json(row: Mapping[str, Any]) -> bytes:
    """One line of JSON, without its end, for a row of wire values.

    Lists, tuples and dicts keep their nesting, other tags become text or numbers.

    Raises:
        InvalidValue: a text has a lone surrogate.
    """
    if not _FLAT.issuperset(map(type, row.values())):
        exact: list[list[str]] = []
        row = {key: _plain(value, [key], exact) for key, value in row.items()}
        if exact:
            row[_free(_EXACT, row)] = exact
    try:
        line = _to_json(row)
    except UnicodeEncodeError:
        for key, value in row.items():
            encode(value, key)
        raise
    if not line.isascii():
        for end, escape in _LINE_ENDS:
            line = line.replace(end, escape)
    return line


def restored(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a parsed line: numbers that JSON cannot hold are back in their places."""
    name = next(reversed(row), "")
    if not name.startswith(_EXACT) or name.strip("_") != _EXACT.strip("_") or type(row[name]) is not list:
        return row
    try:
        places = [_place(row, path, text) for *path, text in row[name]]
    except (LookupError, ValueError, TypeError):
        return row  # a user's own value under that name
    for holder, step, number in places:
        holder[step] = number
    del row[name]
    return row


def log_line(local_time: str, level: str, text: bytes) -> bytes:
    """A line of a log file, with its end; further lines of the text are set in by four spaces.

    ``local_time`` has six digits of the second, the line shows three.
    """
    if b"\n" in text and level not in ROW_LEVELS:
        text = text.rstrip(b"\n").replace(b"\n", b"\n    ")
    return b"%s | %-8s | %s%s\n" % (local_time[:-3].encode(), level.encode(), _ORIGIN_AND_DELIMITER, text)


_ORIGIN_AND_DELIMITER = f"{_ORIGIN}{_DELIMITER}".encode()


def given_row(data: Any) -> dict[str, Any]:
    """A row of wire values for a dict as a program has it.

    Raises:
        UsageError: it is no dict, two keys are the same as text, or it has a
            value that is no data.
    """
    if not isinstance(data, Mapping):
        raise InvalidArgument("data", f"a row is a dict of names and values, not {type(data).__name__}")
    keys: dict[str, Any] = {}
    row: dict[str, Any] = {}
    for key, value in data.items():
        name = _key(encode(key, key))
        if name in row:
            raise KeyCollision(repr(keys[name]), repr(key), name)
        keys[name], row[name] = key, encode(value, key)
    return row


def _plain(wire: Any, path: list[str], exact: list[list[str]]) -> Any:
    """A wire value as plain JSON; numbers it has no room for are noted in ``exact``, under their path."""
    if type(wire) is list:
        return [_plain(item, [*path, str(index)], exact) for index, item in enumerate(wire)]
    if type(wire) is not dict:
        return wire
    if len(wire) == 1:
        ((tag, content),) = wire.items()
        if tag == "$tuple":
            return _plain(content, path, exact)
        if tag == "$map":
            return _plain_map(content, path, exact)
        if tag == "$dict":
            wire = content
        elif tag.startswith("$"):
            return _plain_scalar(tag, content, path, exact)
    return {key: _plain(item, [*path, key], exact) for key, item in wire.items()}


def _plain_map(pairs: list[list[Any]], path: list[str], exact: list[list[str]]) -> Any:
    names = [_key(key) for key, _ in pairs]
    if len(set(names)) < len(names):  # 1 and "1": pairs then, so that none is lost
        return _plain(pairs, path, exact)
    return {name: _plain(item, [*path, name], exact) for name, (_, item) in zip(names, pairs, strict=True)}


def _plain_scalar(tag: str, content: Any, path: list[str], exact: list[list[str]]) -> Any:
    if tag == "$int" and len(content) <= 20 and _LOWEST <= int(content) <= _HIGHEST:
        return int(content)
    if tag in ("$float", "$int"):
        exact.append([*path, content])
        return None
    if tag == "$timedelta":
        return decode({tag: content}).total_seconds()
    if tag == "$datetime":
        return content
    return readable({tag: content})


def _key(wire: Any) -> str:
    """A key as text: JSON's own for what is no text."""
    shown = readable(wire)
    return shown if type(shown) is str else json.dumps(shown, ensure_ascii=False)


def _free(name: str, row: Mapping[str, Any]) -> str:
    while name in row:
        name += "_"
    return name


def _place(row: Any, path: list[str], text: str) -> tuple[Any, Any, Any]:
    """Where in a row a number belongs, and the number."""
    holder: Any = {"": row}
    step: Any = ""
    for part in path:
        holder = holder[step]
        step = int(part) if type(holder) is list else part
    number = decode({"$float" if text in _FLOATS else "$int": text})
    if type(number) is dict or holder[step] is not None or holder[step] is row:
        raise ValueError
    return holder, step, number
