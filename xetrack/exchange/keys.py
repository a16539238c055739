"""What rows are compared by in a rebase and a diff: the values of their key columns.

Numbers are equal by value, 1 and 1.0 and True; text equals only text, datetimes with
an offset the same moment, all else what is written alike. An empty cell or NaN
equals nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import msgspec

from xetrack.log.values import decode

Key = tuple[Hashable, ...]

#: A wire value as bytes: the same for values that are written alike.
canonical = msgspec.json.Encoder(order="sorted").encode


def key_of(values: Mapping[str, Any], columns: Sequence[str]) -> Key | None:
    """The key of a row from its wire values, None if a cell is empty or NaN. Equal keys hash alike."""
    parts: list[Hashable] = []
    for column in columns:
        wire = values.get(column)
        value = decode(wire) if type(wire) is dict else wire
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        parts.append(value if isinstance(value, str | int | float) else canonical(_same_moment(value, wire)))
    return tuple(parts)


def key_text(key: Key) -> str:
    """A key as text that is equal where the keys are, for SQL to compare."""
    return msgspec.json.encode([_tagged(part) for part in key]).decode()


def _tagged(part: Any) -> tuple[str, str]:
    if isinstance(part, int) or isinstance(part, float) and part.is_integer():
        return "number", str(int(part))
    if isinstance(part, float):
        return "number", str(part)
    return ("text", part) if isinstance(part, str) else ("other", part.decode())


def _same_moment(value: Any, wire: Any) -> Any:
    """What stands for a value: of a datetime with an offset, how long after 1970 it is."""
    from datetime import datetime, timezone

    is_aware = isinstance(value, datetime) and value.tzinfo is not None
    return value - datetime(1970, 1, 1, tzinfo=timezone.utc) if is_aware else wire
