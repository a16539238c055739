"""Which part of a data set a row belongs to: a pure function of the row and a seed.

Never of its place or of other rows, so a row stays in its part whatever is added.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from xetrack.errors import InvalidArgument
from xetrack.exchange.formats import as_text

_TOLERANCE = 1e-9
_NAME = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*")
#: Names of the parts where only their shares are given; of more than three, their numbers from 1 on.
_NAMES = {2: ["train", "test"], 3: ["train", "val", "test"]}


def parse_split(split: str | Sequence[float] | Mapping[str, float] | None) -> dict[str, float] | None:
    """Shares by the name of their part, in order.

    >>> parse_split("0.9,0.1")
    {'train': 0.9, 'test': 0.1}

    Raises:
        InvalidArgument: fewer than two parts, a share that is none, a sum other than
            1, or names that no file or no two files can have.
    """
    if split is None:
        return None
    items: list[tuple[str, Any]]
    if isinstance(split, str):
        items = [(name.strip(), share) for name, _, share in (part.rpartition("=") for part in split.split(","))]
    elif isinstance(split, Mapping):
        items = [(name, split[name]) for name in split]
    else:
        items = [("", share) for share in split]
    if len(items) < 2:
        raise InvalidArgument("split", "it has fewer than two parts")
    names = [name for name, _ in items]
    if not any(names):
        names = _NAMES.get(len(items)) or [str(number + 1) for number in range(len(items))]
    for name in names:
        if not _NAME.fullmatch(name):
            raise InvalidArgument("split", f"{name!r} is no name of a part: letters, digits, _ and - make one")
    if len({name.casefold() for name in names}) < len(names):
        raise InvalidArgument("split", "two of its parts have one name")
    shares = [_share(share) for _, share in items]
    if abs(math.fsum(shares) - 1) > _TOLERANCE:
        raise InvalidArgument("split", f"its parts sum to {math.fsum(shares):.10g}, not to 1")
    return dict(zip(names, shares, strict=True))


def _share(given: Any) -> float:
    try:
        share = float(given)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 < share < 1:
        raise InvalidArgument("split", f"{given!r} is no share, a number between 0 and 1")
    return share


def part_of(split: Mapping[str, float], seed: int, subject: str) -> str:
    """The part that a subject falls into: 64 bits of BLAKE2b over seed and subject, as a fraction of 1.

    docs/datasets.md, Splits, says it byte by byte, so that anyone can tell.
    """
    digest = hashlib.blake2b(f"{seed}:{subject}".encode(), digest_size=8).digest()
    place, reached = int.from_bytes(digest, "big") / 2**64, 0.0
    for name, share in split.items():
        reached += share
        if place < reached:
            return name
    return name  # the shares' sum may be a hair below 1


def group_of(value: Any) -> str:
    """The subject of all rows that say this in the column that groups them: 1, 1.0 and true are equal."""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return as_text(value)
