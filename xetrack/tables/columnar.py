"""What rows by column say about a table's columns, and the arrays to fill them with.

Pure decisions for ``Pass``. Whatever could come out otherwise than row by row is
refused here, and the rows go that way: same events, same tables (law 5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from xetrack.log.cells import BOOL, FLOAT, INT, NULL, TEXT
from xetrack.log.ranges import Frontier, RangeSet
from xetrack.tables.layout import Column, KeyFacts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from xetrack.log.columns import Columns

#: Kinds of columns that take an array as it is, by the name of its Arrow type.
_TAKEN_BY: dict[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "int64": ("int", "float"),
    "double": ("float",),
    "string": ("text",),
}
_FLAGS = {"null": NULL, "bool": BOOL, "int64": INT, "string": TEXT}


class Part(NamedTuple):
    """The rows of one writer: which they are (None: all), their seqs, one after the other."""

    writer: str
    which: np.ndarray | None
    seqs: np.ndarray

    @property
    def first(self) -> int:
        return int(self.seqs[0])

    @property
    def last(self) -> int:
        return int(self.seqs[-1])


def parts_of(columns: Columns, seen: Frontier, excluded: Frontier) -> list[Part] | None:
    """The rows by writer; None if one was read before, does not count, or has a gap before it."""
    import numpy as np

    parts = []
    for code, writer in enumerate(columns.writers):
        which = None if columns.codes is None else np.flatnonzero(columns.codes == code)
        seqs = columns.seqs if which is None else columns.seqs[which]
        if not len(seqs):
            continue
        part = Part(writer, which, seqs)
        if part.last - part.first != len(seqs) - 1 or not (seqs[1:] > seqs[:-1]).all():
            return None
        known, out = seen.ranges.get(writer), excluded.ranges.get(writer)
        if known is not None and part.first <= known.last:
            return None
        if out is not None and out.intersection(RangeSet([(part.first, part.last)])):
            return None
        parts.append(part)
    return parts


def flags_of(columns: Columns, facts: Mapping[str, KeyFacts]) -> dict[str, int] | None:
    """Type flags of each key's values; None if they cannot be told, or a key's first row cannot."""
    import numpy as np

    first = columns.key(0)
    flags = {}
    new = [key for key in columns.data if key not in facts]
    if new:
        event = columns.first()
        if event is None or not set(new).issubset(event.data):
            return None
    for key, array in columns.data.items():
        known = facts.get(key)
        if known is not None and first < known.first[:3]:
            return None
        if array.null_count == len(array):
            flags[key] = NULL
        elif str(array.type) != "double":
            flags[key] = _FLAGS[str(array.type)]
        else:
            # Whole ones may have been written as integers: they say nothing, unless others were floats.
            if known is None or not known.mask & FLOAT:
                numbers = array.drop_null().to_numpy()
                if (numbers == np.trunc(numbers)).all():
                    return None
            flags[key] = FLOAT
    return flags


def cells_for(columns: Columns, targets: Mapping[str, Column]) -> list[tuple[Column, pa.Array]] | None:
    """The array of each key beside its column; None if one does not go into its column as it is."""
    cells = []
    for key, array in columns.data.items():
        target = targets[key]
        if not target.stored:
            return None
        if array.null_count < len(array) and target.type not in _TAKEN_BY[str(array.type)]:
            return None
        cells.append((target, array))
    return cells


def saw_runs(columns: Columns, parts: Sequence[Part], saw: Callable[[str, str, int, int], None]) -> None:
    """Tell of each run and writer which clock readings its first and last row have."""
    import numpy as np

    coded = columns.fields["run"].dictionary_encode()
    runs, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy()
    for part in parts:
        clocks: Any = columns.clocks if part.which is None else columns.clocks[part.which]
        of_run = codes if part.which is None else codes[part.which]
        places = np.arange(len(of_run))
        firsts, lasts = np.full(len(runs), -1), np.full(len(runs), -1)
        lasts[of_run] = places  # of several rows of a run the last one stays
        firsts[of_run[::-1]] = places[::-1]
        for run, first, last in zip(runs, firsts.tolist(), lasts.tolist(), strict=True):
            if last >= 0:
                saw(run, part.writer, int(clocks[first]), int(clocks[last]))
