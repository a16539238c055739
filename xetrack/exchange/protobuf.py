"""Reads the fields of protocol buffer messages, without their schema.

The wire format is https://protobuf.dev/programming-guides/encoding: a field is a
number with a varint, eight or four bytes, or a length and bytes. Enough for the
few fields that an import needs, without the packages that wrote them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any


class Broken(ValueError):
    """The bytes are no message."""


def fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and content of each field in order; four and eight bytes are given as bytes.

    Raises:
        Broken: the bytes end in a field, or are no message.
    """
    at, end = 0, len(raw)
    while at < end:
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == 0:
            number, at = _varint(raw, at)
            yield tag >> 3, number
            continue
        if kind == 2:
            size, at = _varint(raw, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise Broken(f"a field of kind {kind}")
        if at + size > end:
            raise Broken("a field goes on past the end")
        yield tag >> 3, raw[at : at + size]
        at += size


def by_number(raw: bytes) -> dict[int, Any]:
    """The last content of each field."""
    return dict(fields(raw))


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(raw) or shift > 63:
            raise Broken("a number goes on past the end")
        byte = raw[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7


def signed(found: dict[int, Any], number: int) -> int:
    """The signed integer in a field, 0 if there is none."""
    content = found.get(number)
    if not isinstance(content, int):
        return 0
    return content - (1 << 64) if content >= 1 << 63 else content


def real(found: dict[int, Any], number: int) -> float | None:
    """The double or float in a field, None if there is none."""
    content = found.get(number)
    if not isinstance(content, bytes) or len(content) not in (4, 8):
        return None
    value: float = struct.unpack("<d" if len(content) == 8 else "<f", content)[0]
    return value


def text(found: dict[int, Any], number: int) -> str:
    """The text in a field, empty if there is none."""
    content = found.get(number)
    return content.decode("utf-8", "replace") if isinstance(content, bytes) else ""


def message(found: dict[int, Any], number: int) -> dict[int, Any]:
    """The fields of the message in a field; none if there is none.

    Raises:
        Broken: it is no message.
    """
    content = found.get(number)
    return by_number(content) if isinstance(content, bytes) else {}


def messages(raw: Any, number: int) -> list[bytes]:
    """The bytes of each message in a repeated field.

    Raises:
        Broken: the bytes around them are no message.
    """
    if not isinstance(raw, bytes):
        return []
    return [content for found, content in fields(raw) if found == number and isinstance(content, bytes)]
