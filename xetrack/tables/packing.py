"""Ascending numbers in few bytes: the first, and the steps from each to the next.

Others are kept as well, in more bytes: the seqs of a writer whose clock goes back.
"""

from __future__ import annotations

import struct
from array import array
from itertools import accumulate
from operator import sub
from typing import Any

#: Bytes of a step (0: each is 1, and none is written), how many numbers, and the first.
_HEAD = struct.Struct("<BIq")
_CODES = {1: "B", 2: "H", 4: "I", 8: "q"}
#: Fewer are not worth the import of NumPy.
_FEW = 256


def packed(numbers: array[int]) -> bytes:
    """Integers of 64 bits, one or more, as bytes.

    >>> unpacked(packed(array("q", [5, 6, 9]))).tolist(), len(packed(array("q", range(1000))))
    ([5, 6, 9], 13)
    """
    first, count = numbers[0], len(numbers)
    if numbers[-1] - first == count - 1 and numbers == array("q", range(first, first + count)):
        return _HEAD.pack(0, count, first)
    if count > _FEW:
        import numpy as np

        steps: Any = np.diff(np.frombuffer(numbers, np.int64))
        width = _width(int(steps.min()), int(steps.max()))
        packed_steps: bytes = steps.astype(_CODES[width]).tobytes()
        return _HEAD.pack(width, count, first) + packed_steps
    steps = array("q", map(sub, numbers[1:], numbers))
    width = _width(min(steps), max(steps))
    return _HEAD.pack(width, count, first) + array(_CODES[width], steps).tobytes()


def _width(least: int, most: int) -> int:
    return next(width for width in _CODES if width == 8 or (least >= 0 and most < 1 << (8 * width)))


def unpacked(blob: bytes) -> array[int]:
    """The numbers of ``packed``."""
    width, count, first = _HEAD.unpack_from(blob)
    if width == 0:
        return array("q", range(first, first + count))
    return array("q", accumulate(array(_CODES[width], blob[_HEAD.size :]), initial=first))
