"""Where rows go: row numbers whose order is the total order of events.

A number is the event's microsecond and a slot in it; the first row of a
microsecond takes the middle, so that rows which arrive late find room on either
side. Which event a row comes from is kept in blocks, thousands to a record.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from operator import lt
from typing import TYPE_CHECKING

from xetrack.log.ranges import Frontier
from xetrack.tables.base import SLOT_BITS, SLOTS, Backend, Block
from xetrack.tables.layout import Position
from xetrack.tables.state import TableState

if TYPE_CHECKING:
    import numpy as np

_MIDDLE = SLOTS // 2


class RebuildNeeded(Exception):  # a signal between rooms, never a user's error
    """What arrived changes an earlier decision. ``types_only``: nothing but a column's type."""

    def __init__(self, types_only: bool = False) -> None:
        super().__init__("rebuild needed")
        self.types_only = types_only


class Places:
    """Gives rows of one table their numbers. In a rebuild events come in order, so all go behind the last."""

    def __init__(
        self, backend: Backend, table: str, state: TableState, numbers: dict[str, int], rebuilding: bool
    ) -> None:
        self.backend, self.table, self.state, self.numbers = backend, table, state, numbers
        self.rebuilding = rebuilding

    def place(self, clocks: list[int], origins: list[tuple[str, int]]) -> list[int]:
        """Row numbers in the total order: the middle of an event's microsecond, or beside what is there."""
        state = self.state
        newest = state.last_row >> SLOT_BITS
        late = 0
        while late < len(clocks) and clocks[late] <= newest and not self.rebuilding:
            late += 1
        rows = self._late(clocks[:late], origins[:late]) if late else []
        if late < len(clocks):
            fresh = [(clock << SLOT_BITS) + _MIDDLE for clock in (clocks[late:] if late else clocks)]
            if fresh[0] <= state.last_row or not all(map(lt, fresh, fresh[1:])):
                last = state.last_row
                for index, row in enumerate(fresh):
                    last = fresh[index] = max(row, last + 1)
                    if last >> SLOT_BITS != row >> SLOT_BITS:
                        state.crowded = True
            state.last_row = max(state.last_row, fresh[-1])
            rows = rows + fresh if rows else fresh
        return rows

    def place_behind(self, clocks: np.ndarray) -> np.ndarray | None:
        """What ``place`` gives for rows of which none is late; None if one is."""
        import numpy as np

        state = self.state
        if not self.rebuilding and clocks[0] <= state.last_row >> SLOT_BITS:
            return None
        rows: np.ndarray = (clocks << SLOT_BITS) + _MIDDLE
        if rows[0] <= state.last_row or (rows[1:] <= rows[:-1]).any():
            steps = np.arange(len(rows))
            wanted, rows = rows, np.maximum.accumulate(np.maximum(rows - steps, state.last_row + 1)) + steps
            if (rows >> SLOT_BITS != wanted >> SLOT_BITS).any():
                state.crowded = True
        state.last_row = int(rows[-1])
        return rows

    def _late(self, clocks: list[int], origins: list[tuple[str, int]]) -> list[int]:
        if self.state.crowded:
            raise RebuildNeeded
        occupied = self._occupied(sorted(set(clocks)))
        rows: list[int] = []
        index = 0
        while index < len(clocks):
            end = index
            while end < len(clocks) and clocks[end] == clocks[index]:
                end += 1
            rows += self._beside(clocks[index], origins[index:end], occupied.get(clocks[index], []))
            index = end
        return rows

    def _beside(
        self, clock: int, origins: list[tuple[str, int]], there: list[tuple[tuple[str, int], int]]
    ) -> list[int]:
        """Rows of one microsecond that has rows already, or may have."""
        low, high = clock << SLOT_BITS, ((clock + 1) << SLOT_BITS) - 1
        placed: list[int] = []
        index = 0
        while index < len(origins):
            behind = [(row, origin) for origin, row in there if origin > origins[index]]
            roof, limit = min(behind, default=(high + 1, None))
            floor = max((row for origin, row in there if origin < origins[index]), default=low - 1)
            end = index + 1
            while end < len(origins) and (limit is None or origins[end] < limit):
                end += 1
            count = end - index
            room = roof - floor - 1
            if room < count:
                raise RebuildNeeded
            if limit is not None:
                start = floor + 1 + (room - count) // 2
            elif there:
                start = floor + 1
            else:
                start = low + (_MIDDLE if count <= _MIDDLE else 0)
            fresh = list(range(start, start + count))
            placed += fresh
            there += zip(origins[index:end], fresh, strict=True)
            index = end
        self.state.last_row = max(self.state.last_row, placed[-1])
        return placed

    def _occupied(self, clocks: list[int]) -> dict[int, list[tuple[tuple[str, int], int]]]:
        """By microsecond, which events have rows there, also hidden ones, with their numbers."""
        if not self.state.hides:
            taken = {row >> SLOT_BITS for row in self.backend.taken(self.table, clocks)}
            if not taken:
                return {}
            clocks = [clock for clock in clocks if clock in taken]
        wanted = set(clocks)
        writers = {number: writer for writer, number in self.numbers.items()}
        found: dict[int, list[tuple[tuple[str, int], int]]] = {}
        low, high = clocks[0] << SLOT_BITS, ((clocks[-1] + 1) << SLOT_BITS) - 1
        for block in self.backend.blocks(self.table, low, high):
            for row, seq in zip(block.rows, block.seqs, strict=True):
                if row >> SLOT_BITS in wanted:
                    found.setdefault(row >> SLOT_BITS, []).append(((writers[block.writer], seq), row))
        return found

    def remember_behind(self, rows: np.ndarray, origins: Sequence[tuple[str, np.ndarray | None, np.ndarray]]) -> None:
        """``remember`` for rows by column: which of them (None: all) are a writer's, and their seqs."""
        self.backend.add_blocks(
            self.table,
            [
                Block(
                    self.numbers[writer],
                    array("q", (rows if which is None else rows[which]).tobytes()),
                    array("q", seqs.tobytes()),
                )
                for writer, which, seqs in origins
            ],
        )

    def remember(self, rows: list[int], origins: list[tuple[str, int]]) -> None:
        """Keep which rows come from which events."""
        groups: dict[str, tuple[array[int], array[int]]] = {}
        if origins[0][0] == origins[-1][0] and len({writer for writer, _ in origins}) == 1:
            groups[origins[0][0]] = (array("q", rows), array("q", [seq for _, seq in origins]))
        else:
            for row, (writer, seq) in zip(rows, origins, strict=True):
                series = groups.setdefault(writer, (array("q"), array("q")))
                series[0].append(row)
                series[1].append(seq)
        self.backend.add_blocks(self.table, [Block(self.numbers[writer], *series) for writer, series in groups.items()])


def rows_in(
    backend: Backend, table: str, numbers: dict[str, int], ids: Frontier, before: Position | None = None
) -> list[int]:
    """Row numbers of the events ``ids``, those before a place in the order."""
    writers = {number: writer for writer, number in numbers.items()}
    rows: list[int] = []
    for block in backend.blocks(table):
        writer = writers[block.writer]
        ranges = ids.ranges.get(writer)
        if not ranges:
            continue
        for row, seq in zip(block.rows, block.seqs, strict=True):
            if seq in ranges and (before is None or (row >> SLOT_BITS, writer, seq) < before):
                rows.append(row)
    return sorted(rows)
