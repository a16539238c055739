"""What a user may log: as Python values and as wire values, and which keys.

A wire value is what JSON holds, with tags for all else (docs/format.md, Values);
what goes in comes out, in type and value (law 7). Packages such as NumPy, torch
and pandas are recognised without being imported. How a table shows a wire value
is decided in ``cells.py``, whose names are reachable here too.
"""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

from xetrack.errors import InvalidKey, InvalidValue, KeyCollision, ReservedKey
from xetrack.log.cells import (
    ASSET,
    BIGINT,
    BOOL,
    BYTES,
    DATETIME,
    FLOAT,
    INT,
    INT64,
    JSON,
    MAX_PLAIN_INT,
    NONFINITE,
    NULL,
    OTHER,
    TEXT,
    cell,
    column_type,
    flag,
    is_decimal,
)

MAX_DEPTH = 100
MAX_KEY_BYTES = 255
#: Python makes no text of a longer integer, and no integer of a longer text, unless it is told to.
MAX_INT_DIGITS = 4300
RESERVED = frozenset({"track_id", "timestamp"})

#: Stores an object that no wire value can hold and returns its digest.
AssetStore = Callable[[Any], str]


# -- values ------------------------------------------------------------------


def is_plain(value: Any) -> bool:
    """Whether JSON holds the value as it is."""
    kind = type(value)
    if kind is int:
        return bool(-MAX_PLAIN_INT <= value <= MAX_PLAIN_INT)
    if kind is float:
        return math.isfinite(value)
    if kind is str:
        return value.isascii() or _is_text(value)
    return value is None or kind is bool


def encode(value: Any, key: object, asset: AssetStore | None = None, *, files: bool = False) -> Any:
    """The wire value of a Python value; ``key`` is what an error names.

    Scalars of NumPy, torch and pandas become Python's, subclasses their base,
    enum members their value. What no wire value can hold (sets, arrays, frames,
    any other object) goes to ``asset``; without it, it is an error. With ``files``
    a ``Path`` goes there too, for the file that it names.

    Raises:
        InvalidValue: text with a lone surrogate, an integer of thousands of digits,
            nesting without end, or an object where there is no ``asset``.
    """
    kind = type(value)
    if kind is str:
        if value.isascii() or _is_text(value):
            return value
    elif kind is float:
        return value if math.isfinite(value) else _float(value)
    elif kind is bool or value is None:
        return value
    elif kind is int:
        return _int(value, key)
    if kind is list and all(map(is_plain, value)):
        return value.copy()
    if kind is dict and not value:
        return {}
    return _Encoder(key, asset, files).encode(value, 0)


def decode(wire: Any) -> Any:
    """The Python value of a wire value; an unknown tag stays the object it is.

    A stored object is its digest: ``Assets.get`` loads it.
    """
    kind = type(wire)
    if kind is list:
        return [decode(item) for item in wire]
    if kind is not dict:
        return wire
    if len(wire) == 1:
        ((tag, content),) = wire.items()
        reader = _READERS.get(tag)
        if reader is not None:
            try:
                return reader(content)
            except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
                return wire
        if tag.startswith("$"):
            return wire
    return {key: decode(item) for key, item in wire.items()}


class _Encoder:
    """Encodes one value; knows the containers that it is inside of."""

    def __init__(self, key: object, asset: AssetStore | None, files: bool) -> None:
        self.key = key
        self.asset = asset
        self.files = files
        self.inside: set[int] = set()

    def encode(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self._text(value)
        if kind is bool or value is None:
            return value
        if kind is int:
            return _int(value, self.key)
        if kind is float:
            return _float(value)
        if isinstance(value, Enum):
            return self.encode(value.value, depth + 1)
        if isinstance(value, (list, tuple, dict)):
            return self._container(value, depth)
        scalar = _python_scalar(value)
        if scalar is not value:
            return self.encode(scalar, depth)
        if self.files and self.asset is not None and isinstance(value, Path):
            return {"$asset": self.asset(value)}
        wire = self._tagged(value)
        if wire is not None:
            return wire
        if isinstance(value, Mapping):
            return self._container(dict(value), depth)
        if self.asset is None:
            raise InvalidValue(self.key, f"it holds an object of type {kind.__name__}, which only an asset can keep")
        return {"$asset": self.asset(value)}

    def _text(self, value: str) -> str:
        if not (value.isascii() or _is_text(value)):
            raise InvalidValue(self.key, "its text has a lone surrogate, which no file can hold")
        return value

    def _tagged(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return _int(int.__int__(value), self.key)
        if isinstance(value, float):
            return _float(float.__float__(value))
        if isinstance(value, (bytes, bytearray)):
            return {"$bytes": base64.b64encode(value).decode("ascii")}
        if isinstance(value, memoryview):
            return {"$bytes": base64.b64encode(value.tobytes()).decode("ascii")}
        if isinstance(value, datetime):
            return {"$datetime": datetime.isoformat(value)}
        if isinstance(value, date):
            return {"$date": value.isoformat()}
        if isinstance(value, time):
            return {"$time": value.isoformat()}
        if isinstance(value, timedelta):
            whole_us = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
            return {"$timedelta": _int(whole_us, self.key)}
        if isinstance(value, complex):
            return {"$complex": [_float(value.real), _float(value.imag)]}
        if isinstance(value, PurePath):
            return {"$path": self._text(value.as_posix())}
        # Only a program that imported these can hold one of their values.
        if (decimal := sys.modules.get("decimal")) is not None and isinstance(value, decimal.Decimal):
            return {"$decimal": str(value)}
        if (uuid := sys.modules.get("uuid")) is not None and isinstance(value, uuid.UUID):
            return {"$uuid": str(value)}
        return None

    def _container(self, value: list[Any] | tuple[Any, ...] | dict[Any, Any], depth: int) -> Any:
        if depth >= MAX_DEPTH:
            raise InvalidValue(self.key, f"it is nested more than {MAX_DEPTH} levels deep")
        if id(value) in self.inside:
            raise InvalidValue(self.key, "it contains itself")
        self.inside.add(id(value))
        try:
            if isinstance(value, dict):
                return self._dict(value, depth + 1)
            items = [self.encode(item, depth + 1) for item in value]
            return {"$tuple": items} if isinstance(value, tuple) else items
        finally:
            self.inside.discard(id(value))

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        if not all(isinstance(key, str) and not isinstance(key, Enum) for key in value):
            return {"$map": [[self.encode(key, depth), self.encode(item, depth)] for key, item in value.items()]}
        wire = {self._text(str.__str__(key)): self.encode(item, depth) for key, item in value.items()}
        return {"$dict": wire} if is_tag(wire) else wire


def is_tag(wire: dict[str, Any]) -> bool:
    """Whether an object looks like a tag: one key, and it begins with ``$``."""
    return len(wire) == 1 and next(iter(wire)).startswith("$")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _int(value: int, key: object) -> Any:
    if -MAX_PLAIN_INT <= value <= MAX_PLAIN_INT:
        return value
    if _LEAST_INT < value < _MOST_INT:
        with suppress(ValueError):  # a program may have lowered the limit
            return {"$int": str(value)}
    reason = f"it holds an integer of more than {MAX_INT_DIGITS} digits, which Python by default makes no text of"
    raise InvalidValue(key, f"{reason}; log it as text, such as hex() gives")


_MOST_INT = 10**MAX_INT_DIGITS
_LEAST_INT = -_MOST_INT


def _parse_int(text: str) -> int | str:
    """An integer; its digits where they are more than Python reads, as a log of an earlier release may have."""
    try:
        return int(text)
    except ValueError:
        if not is_decimal(text):
            raise
        return text


def _float(value: float) -> Any:
    if math.isfinite(value):
        return value
    return {"$float": "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"}


def _python_scalar(value: Any) -> Any:
    """A Python scalar for a scalar of NumPy, torch, JAX or pandas; the value itself for all else."""
    kind = type(value)
    origin = kind.__module__.partition(".")[0]
    if origin == "pandas":
        if kind.__name__ in ("NAType", "NaTType"):
            return None
        if kind.__name__ == "Timestamp":
            return value.to_pydatetime(warn=False)
        if kind.__name__ == "Timedelta":
            return value.to_pytimedelta()
        return value
    if origin in ("builtins", "datetime") or not (hasattr(kind, "item") and hasattr(kind, "dtype")):
        return value
    if getattr(value, "shape", None) != ():
        return value
    if origin == "numpy" and getattr(value.dtype, "kind", "") in "mM":
        scalar = value.astype(f"{'timedelta64' if value.dtype.kind == 'm' else 'datetime64'}[us]").item()
        # Before year 1 and after 9999, Python has no datetime.
        return value if isinstance(scalar, int) else scalar
    if origin == "numpy" and getattr(value.dtype, "kind", "") == "V":
        return value
    scalar = value.item()
    if type(scalar) is kind:  # extended precision, which Python has not
        return complex(scalar) if "complex" in kind.__name__ else float(scalar)
    return scalar


def _read_float(text: str) -> float:
    return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[text]


def _read_bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii"), validate=True)


def _read_timedelta(wire: Any) -> timedelta:
    return timedelta(microseconds=decode(wire))


def _read_decimal(text: str) -> Any:
    from decimal import Decimal

    return Decimal(text)


def _read_uuid(text: str) -> Any:
    from uuid import UUID

    return UUID(text)


def _read_complex(parts: list[Any]) -> complex:
    real, imag = parts
    return complex(decode(real), decode(imag))


def _read_tuple(items: list[Any]) -> tuple[Any, ...]:
    if type(items) is not list:
        raise TypeError
    return tuple([decode(item) for item in items])


def _read_map(pairs: list[Any]) -> dict[Any, Any]:
    return {decode(key): decode(item) for key, item in pairs}


def _read_dict(wire: dict[str, Any]) -> dict[str, Any]:
    return {key: decode(item) for key, item in wire.items()}


def _read_digest(text: str) -> str:
    return text


_READERS: dict[str, Callable[[Any], Any]] = {
    "$float": _read_float,
    "$int": _parse_int,
    "$bytes": _read_bytes,
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$timedelta": _read_timedelta,
    "$decimal": _read_decimal,
    "$uuid": _read_uuid,
    "$path": Path,
    "$complex": _read_complex,
    "$tuple": _read_tuple,
    "$map": _read_map,
    "$dict": _read_dict,
    "$asset": _read_digest,
}


# -- keys --------------------------------------------------------------------

#: Tuples of keys that passed the check, so that a loop pays for it once.
_checked: set[tuple[str, ...]] = set()


def check_keys(data: Mapping[Any, Any]) -> dict[str, Any]:
    """The row with its keys as text; ``data`` itself if they were.

    Numbers, bools and enum members are named by their text. Keys that differ
    only in case are fine here, the tables keep them apart.

    Raises:
        InvalidKey: empty, not a name, too long, or text that no file can hold.
        ReservedKey: ``track_id`` or ``timestamp``.
        KeyCollision: two keys of the row would be one column.
    """
    keys = tuple(data)
    if type(data) is dict and keys in _checked and {str}.issuperset(map(type, keys)):
        return data
    names = [_name(key) for key in keys]
    by_column: dict[str, Any] = {}
    for key, name in zip(keys, names, strict=True):
        column = column_name(name)
        if column in by_column:
            raise KeyCollision(str(by_column[column]), str(key), column)
        by_column[column] = key
    plain = type(data) is dict and all(type(key) is str for key in keys)
    if plain:
        if len(_checked) >= 1024:
            _checked.clear()
        _checked.add(keys)
        return data  # type: ignore[return-value]
    return dict(zip(names, data.values(), strict=True))


def _name(key: object) -> str:
    name = _key_text(key)
    if not name:
        raise InvalidKey(key, "it is empty")
    if name in RESERVED:
        raise ReservedKey(name)
    if not _is_text(name):
        raise InvalidKey(key, "it has a lone surrogate, which no file can hold")
    if len(name.encode()) > MAX_KEY_BYTES:
        raise InvalidKey(key, f"it is longer than {MAX_KEY_BYTES} bytes")
    return name


def _key_text(key: object) -> str:
    if isinstance(key, Enum):
        return _key_text(key.value)
    if isinstance(key, str):
        return str.__str__(key)
    scalar = _python_scalar(key)
    if isinstance(scalar, (bool, int, float)):
        with suppress(ValueError):  # thousands of digits
            return repr(scalar)
        raise InvalidKey(key, f"it is longer than {MAX_KEY_BYTES} bytes")
    raise InvalidKey(key, f"a key is text or a number, not {type(key).__name__}")


def column_name(key: str) -> str:
    """The column that a key asks for: what is no letter, digit or ``_`` becomes ``_``."""
    if key.isidentifier():
        return key
    return "".join([character if character.isalnum() or character == "_" else "_" for character in key])


__all__ = [
    "ASSET",
    "BIGINT",
    "BOOL",
    "BYTES",
    "DATETIME",
    "FLOAT",
    "INT",
    "INT64",
    "JSON",
    "MAX_INT_DIGITS",
    "NONFINITE",
    "NULL",
    "OTHER",
    "TEXT",
    "AssetStore",
    "cell",
    "check_keys",
    "column_name",
    "column_type",
    "decode",
    "encode",
    "flag",
    "is_plain",
    "is_tag",
]
