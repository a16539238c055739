"""How a table shows a wire value: type flags, column types, cells.

Pure functions of wire values. A column's type follows from the flags of all its
values, whatever their order; a cell is always made from its event's own value,
never from a widened one (law 5).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

#: Integers up to it every JSON reader keeps exact; larger ones are tagged.
MAX_PLAIN_INT = 2**53 - 1
DIGEST_DIGITS = 16

NULL = 0
BOOL = 1
INT = 2
INT64 = 4
BIGINT = 8
FLOAT = 16
NONFINITE = 32
TEXT = 64
BYTES = 128
DATETIME = 256
JSON = 512
OTHER = 1024
ASSET = 2048

_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
PLAIN_FLAGS: dict[type, int] = {str: TEXT, float: FLOAT, bool: BOOL, type(None): NULL, list: JSON}
_TAG_FLAGS = {
    "$float": NONFINITE,
    "$bytes": BYTES,
    "$datetime": DATETIME,
    "$date": OTHER,
    "$time": OTHER,
    "$timedelta": OTHER,
    "$decimal": OTHER,
    "$uuid": OTHER,
    "$path": OTHER,
    "$complex": OTHER,
    "$asset": ASSET,
}


def flag(wire: Any) -> int:
    """The bit of a wire value's type."""
    kind = type(wire)
    if kind is int:
        return _int_flag(wire)
    if kind is not dict:
        return PLAIN_FLAGS[kind]
    tag = _scalar_tag(wire)
    if tag is None:
        return JSON
    if tag == "$int":
        return BIGINT if len(wire[tag]) > 20 else _int_flag(int(wire[tag]))
    return _TAG_FLAGS[tag]


def _int_flag(value: int) -> int:
    if -MAX_PLAIN_INT <= value <= MAX_PLAIN_INT:
        return INT
    return INT64 if -(2**63) <= value < 2**63 else BIGINT


def _scalar_tag(wire: dict[str, Any]) -> str | None:
    """The tag of a wire value that is no structure; None for a structure or what is no tag."""
    if len(wire) != 1:
        return None
    ((tag, content),) = wire.items()
    if tag == "$float":
        known = isinstance(content, str) and content in _FLOATS
    elif tag == "$int":
        known = isinstance(content, str) and is_decimal(content)
    elif tag == "$timedelta":
        known = _is_whole(content)
    elif tag == "$complex":
        known = isinstance(content, list) and len(content) == 2 and all(map(_is_real, content))
    else:
        known = tag in _TAG_FLAGS and isinstance(content, str)
    return tag if known else None


def is_decimal(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit()


def _is_whole(wire: Any) -> bool:
    return type(wire) is int or (type(wire) is dict and _scalar_tag(wire) == "$int" and len(wire["$int"]) < 40)


def _is_real(wire: Any) -> bool:
    return type(wire) in (int, float) or (type(wire) is dict and _scalar_tag(wire) == "$float")


@functools.cache
def column_type(mask: int) -> str:
    """The type of a column whose values have these flags.

    One of null, bool, int, bigint, float, text, bytes, datetime, json, asset.
    Whole numbers past 2**53 beside floats make text: a float would round them.
    """
    single = {NULL: "null", BOOL: "bool", BYTES: "bytes", DATETIME: "datetime", JSON: "json", ASSET: "asset"}
    if mask in single:
        return single[mask]
    if mask & ~(BOOL | INT | INT64 | BIGINT | FLOAT | NONFINITE):
        return "text"
    if mask & (FLOAT | NONFINITE):
        return "text" if mask & (INT64 | BIGINT) else "float"
    return "bigint" if mask & BIGINT else "int"


def cell(wire: Any, type: str) -> Any:
    """What a SQLite cell holds for a wire value in a column of a type: int, float, str, bytes or None.

    SQLite has no NaN: there it is None in a float column. The type must cover
    the value's flag, as ``column_type`` of all values of a column does.
    """
    return None if wire is None else _CELLS[type](wire)


def _number(wire: Any) -> Any:
    """An int or a float, of a plain value or of a number's tag."""
    if type(wire) is not dict:
        return wire
    ((tag, content),) = wire.items()
    return _FLOATS[content] if tag == "$float" else int(content)


def _as_int(wire: Any) -> int:
    return int(_number(wire))


def _as_bigint(wire: Any) -> int | str:
    if type(wire) is dict and flag(wire) == BIGINT:
        return str(wire["$int"])
    value = int(_number(wire))
    return str(value) if _int_flag(value) == BIGINT else value  # some other writer's, without the tag


def is_beyond_floats(wire: Any) -> bool:
    """Whether a number is whole, and larger than any float but infinity."""
    digits = wire["$int"] if type(wire) is dict and _scalar_tag(wire) == "$int" else ""
    if len(digits) > 400:
        return True
    try:
        float(_number(wire))
    except OverflowError:
        return True
    return False


def _as_float(wire: Any) -> float | None:
    value = float(_number(wire))
    return None if value != value else value


def _as_bytes(wire: Any) -> bytes | str:
    import base64

    try:
        return base64.b64decode(wire["$bytes"], validate=True)
    except ValueError:
        return str(wire["$bytes"])


def _as_text(wire: Any) -> str:
    if type(wire) is str:
        return wire
    text = readable(wire)
    return text if type(text) is str else _as_json(text)


def _as_json_text(wire: Any) -> str:
    return _as_json(readable(wire))


def _as_json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def readable(wire: Any) -> Any:
    """A wire value as plain JSON for the eye: tuples are lists, other tags their text, keys text."""
    if type(wire) is list:
        return [readable(item) for item in wire]
    if type(wire) is not dict:
        return wire
    tag = _scalar_tag(wire)
    if tag is not None:
        return _readable_scalar(tag, wire[tag])
    if len(wire) == 1:
        ((tag, content),) = wire.items()
        if tag == "$tuple" and type(content) is list:
            return [readable(item) for item in content]
        if tag == "$dict" and type(content) is dict:
            wire = content
        elif tag == "$map" and type(content) is list and all(type(pair) is list and len(pair) == 2 for pair in content):
            shown = {_as_text(key): readable(item) for key, item in content}
            # Keys such as 1 and "1" look alike as text: pairs then, so that none is lost.
            return shown if len(shown) == len(content) else [[readable(key), readable(item)] for key, item in content]
    return {key: readable(item) for key, item in wire.items()}


def _readable_scalar(tag: str, content: Any) -> Any:
    if tag == "$int":
        return int(content) if len(content) <= 1000 else content
    if tag == "$datetime":
        # With all six digits, so that texts of one offset sort by time.
        text = content.replace("T", " ", 1)
        return text if "." in text else f"{text[:19]}.000000{text[19:]}"
    if tag == "$timedelta":
        sign, whole = ("-", -_number(content)) if _number(content) < 0 else ("", _number(content))
        return f"{sign}{whole // 1_000_000}.{whole % 1_000_000:06d}".rstrip("0").removesuffix(".")
    if tag == "$complex":
        return str(complex(*map(_number, content)))
    if tag == "$asset":
        return content[:DIGEST_DIGITS]
    return content


_CELLS: dict[str, Callable[[Any], Any]] = {
    "null": lambda wire: None,
    "bool": _as_int,
    "int": _as_int,
    "bigint": _as_bigint,
    "float": _as_float,
    "text": _as_text,
    "bytes": _as_bytes,
    "datetime": _as_text,
    "json": _as_json_text,
    "asset": _as_text,
}
