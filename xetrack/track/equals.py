"""Objects of this process that compare equal, so that they share what one of them was the key to."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

_REMEMBERED = 1000

#: Objects that can be compared, unlike all before them, with their bytes, and those blind to number types.
_compared: dict[tuple[type, Any], tuple[bytes, bytes | None]] = {}


def bytes_of_equal(value: Any, own: bytes | None, loosely: Callable[[Any], bytes | None]) -> bytes:
    """The bytes of the first object in this process that compares equal; its ``own`` if there is none.

    So what a class leaves out of its comparison does not count. Equal objects
    that differ in the types of numbers alone, where ``loosely`` sees none, stay
    apart. An object without bytes of its own gets some that no other process will
    ever give. Raises whatever the comparison of the objects does.
    """
    found = _compared.get((type(value), value))
    if found is None:
        made = b"u16:" + uuid.uuid4().bytes if own is None else own
        if len(_compared) >= _REMEMBERED:  # a program that makes up objects must not grow
            _compared.pop(next(iter(_compared)), None)
        _compared[type(value), value] = (made, loosely(value))
        return made
    if own is None or own == found[0] or found[1] != loosely(value):
        return found[0]
    return own
