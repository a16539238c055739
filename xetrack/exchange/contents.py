"""What a reader of other formats is asked for, and what it gives: ``read(path, wish) -> contents``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from xetrack.log.imported import ImportedRow

#: The path that stands for standard input.
STDIN = "-"


class Wish(NamedTuple):
    """How the user wants a source to be read."""

    table: str
    track_id: str | None
    parse: bool
    kind: str


@dataclass
class Contents:
    """What a reader found: rows by table, and what has no counterpart here."""

    tables: dict[str, list[ImportedRow]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
