"""Sets of event ids as ranges of seqs: what an author had seen, what is cancelled.

A ``RangeSet`` holds the seqs of one writer, a ``Frontier`` one set per writer. A
gap is normal (a line not there yet, or damaged), so "up to seq" would not do.
Pure, no I/O. Wire form: ``{"k4w7…": "0-57,60"}`` (docs/format.md, Ranges).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping

#: Seqs have up to 15 digits.
MAX_SEQ = 10**15 - 1


class RangeSet:
    """A set of whole numbers from 0 on, kept as ranges; adding at the end is cheap."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        # Ranges are sorted, disjoint and never touch: firsts[i] <= lasts[i] < firsts[i + 1] - 1.
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add_range(first, last)

    @classmethod
    def parse(cls, text: str) -> RangeSet:
        """Read the wire form; ``""`` is empty.

        Raises:
            ValueError: the text is no list of ranges.
        """
        pairs = []
        for part in text.split(",") if text else ():
            first, dash, last = part.partition("-")
            pairs.append((int(first), int(last) if dash else int(first)))
        found = cls(sorted(pairs))
        if found.last > MAX_SEQ:
            raise ValueError(f"no seq: {found.last}")
        return found

    def __str__(self) -> str:
        return ",".join(
            str(first) if first == last else f"{first}-{last}"
            for first, last in zip(self._firsts, self._lasts, strict=True)
        )

    def __repr__(self) -> str:
        return f"RangeSet.parse({str(self)!r})"

    @property
    def last(self) -> int:
        """The largest number, -1 if there is none."""
        return self._lasts[-1] if self._lasts else -1

    def ranges(self) -> list[tuple[int, int]]:
        """Pairs of first and last, both included, ascending."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def add(self, number: int) -> None:
        lasts = self._lasts
        if lasts and number == lasts[-1] + 1:
            lasts[-1] = number
        else:
            self.add_range(number, number)

    def add_range(self, first: int, last: int) -> None:
        """Add all numbers from ``first`` to ``last``, both included."""
        if first < 0 or last < first:
            raise ValueError(f"no range of seqs: {first}-{last}")
        firsts, lasts = self._firsts, self._lasts
        if not lasts or first > lasts[-1] + 1:
            firsts.append(first)
            lasts.append(last)
            return
        # Ranges low to high - 1 overlap the new one or touch it: they become one.
        low = bisect_right(firsts, first)
        if low and lasts[low - 1] >= first - 1:
            low -= 1
        high = bisect_right(firsts, last + 1)
        if low < high:
            first, last = min(first, firsts[low]), max(last, lasts[high - 1])
        firsts[low:high] = [first]
        lasts[low:high] = [last]

    def __contains__(self, number: int) -> bool:
        lasts = self._lasts
        if not lasts or number > lasts[-1]:
            return False
        place = bisect_right(self._firsts, number)
        return place > 0 and number <= lasts[place - 1]

    def __len__(self) -> int:
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __iter__(self) -> Iterator[int]:
        for first, last in zip(self._firsts, self._lasts, strict=True):
            yield from range(first, last + 1)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]  # it grows

    def copy(self) -> RangeSet:
        found = RangeSet()
        found._firsts, found._lasts = self._firsts.copy(), self._lasts.copy()
        return found

    def update(self, other: RangeSet) -> None:
        for first, last in zip(other._firsts, other._lasts, strict=True):
            self.add_range(first, last)

    def union(self, other: RangeSet) -> RangeSet:
        found = self.copy()
        found.update(other)
        return found

    def minus(self, other: RangeSet) -> RangeSet:
        """The numbers that ``other`` lacks."""
        found = RangeSet()
        holes = other.ranges()
        place = 0
        for first, last in self.ranges():
            while place < len(holes) and holes[place][1] < first:
                place += 1
            while place < len(holes) and holes[place][0] <= last:
                low, high = holes[place]
                if low > first:
                    found.add_range(first, low - 1)
                first = high + 1
                if high > last:
                    break  # it may reach into the next range too
                place += 1
            if first <= last:
                found.add_range(first, last)
        return found

    def intersection(self, other: RangeSet) -> RangeSet:
        found = RangeSet()
        one, two = self.ranges(), other.ranges()
        left = right = 0
        while left < len(one) and right < len(two):
            low, high = max(one[left][0], two[right][0]), min(one[left][1], two[right][1])
            if low <= high:
                found.add_range(low, high)
            if one[left][1] < two[right][1]:
                left += 1
            else:
                right += 1
        return found

    def issuperset(self, other: RangeSet) -> bool:
        firsts, lasts = self._firsts, self._lasts
        for first, last in zip(other._firsts, other._lasts, strict=True):
            place = bisect_right(firsts, first)
            if not place or last > lasts[place - 1]:
                return False
        return True


class Frontier:
    """A set of event ids: a ``RangeSet`` of seqs for each writer."""

    __slots__ = ("ranges",)

    def __init__(self, ranges: Mapping[str, RangeSet] | None = None) -> None:
        self.ranges: dict[str, RangeSet] = dict(ranges or {})

    @classmethod
    def from_wire(cls, wire: Mapping[str, str] | None) -> Frontier:
        """Read the wire form. Ranges that cannot be read count as unseen."""
        found = cls()
        for writer, text in (wire or {}).items():
            try:
                found.ranges[writer] = RangeSet.parse(text)
            except ValueError:
                continue
        return found

    def to_wire(self) -> dict[str, str]:
        """The wire form, writers in alphabetical order."""
        return {writer: str(seqs) for writer, seqs in sorted(self.ranges.items()) if seqs}

    def __repr__(self) -> str:
        return f"Frontier.from_wire({self.to_wire()!r})"

    def contains(self, writer: str, seq: int) -> bool:
        seqs = self.ranges.get(writer)
        return seqs is not None and seq in seqs

    def add(self, writer: str, seq: int) -> None:
        seqs = self.ranges.get(writer)
        if seqs is None:
            seqs = self.ranges[writer] = RangeSet()
        seqs.add(seq)

    def __bool__(self) -> bool:
        return any(self.ranges.values())

    def __len__(self) -> int:
        return sum(map(len, self.ranges.values()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frontier):
            return NotImplemented
        return self.issuperset(other) and other.issuperset(self)

    __hash__ = None  # type: ignore[assignment]  # it grows

    def copy(self) -> Frontier:
        return Frontier({writer: seqs.copy() for writer, seqs in self.ranges.items()})

    def update(self, other: Frontier) -> None:
        for writer, seqs in other.ranges.items():
            known = self.ranges.get(writer)
            if known is None:
                self.ranges[writer] = seqs.copy()
            else:
                known.update(seqs)

    def union(self, other: Frontier) -> Frontier:
        found = self.copy()
        found.update(other)
        return found

    def minus(self, other: Frontier) -> Frontier:
        """The ids that ``other`` lacks."""
        found = Frontier()
        for writer, seqs in self.ranges.items():
            known = other.ranges.get(writer)
            left = seqs.copy() if known is None else seqs.minus(known)
            if left:
                found.ranges[writer] = left
        return found

    def intersection(self, other: Frontier) -> Frontier:
        found = Frontier()
        for writer, seqs in self.ranges.items():
            known = other.ranges.get(writer)
            both = seqs.intersection(known) if known is not None else None
            if both:
                found.ranges[writer] = both
        return found

    def issuperset(self, other: Frontier) -> bool:
        empty = RangeSet()
        return all(self.ranges.get(writer, empty).issuperset(seqs) for writer, seqs in other.ranges.items())
