"""Ranges of seqs behave as the sets of numbers that they stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xetrack.log.ranges import Frontier, RangeSet

numbers = st.sets(st.integers(0, 40))
frontiers = st.dictionaries(st.sampled_from("abc"), numbers, max_size=3)


def ranged(members: set[int], order: list[int] | None = None) -> RangeSet:
    found = RangeSet()
    for number in order or sorted(members):
        found.add(number)
    return found


def built(content: dict[str, set[int]]) -> Frontier:
    return Frontier({writer: ranged(members) for writer, members in content.items()})


def flat(frontier: Frontier) -> set[tuple[str, int]]:
    return {(writer, seq) for writer, seqs in frontier.ranges.items() for seq in seqs}


@given(members=numbers, order=st.randoms())
def test_numbers_added_in_any_order_are_the_set(members: set[int], order: object) -> None:
    shuffled = sorted(members)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    found = ranged(members, shuffled)
    assert list(found) == sorted(members)
    assert len(found) == len(members) and bool(found) == bool(members)
    assert found.last == max(members, default=-1)
    assert [number in found for number in range(42)] == [number in members for number in range(42)]
    assert RangeSet.parse(str(found)) == found
    assert all(
        low <= high < next_low - 1
        for (low, high), (next_low, _) in zip(found.ranges(), found.ranges()[1:], strict=False)
    )


@given(members=numbers, low=st.integers(0, 40), length=st.integers(0, 10))
def test_a_range_added_is_its_numbers_added(members: set[int], low: int, length: int) -> None:
    found = ranged(members)
    found.add_range(low, low + length)
    assert set(found) == members | set(range(low, low + length + 1))


@given(one=numbers, two=numbers)
def test_operations_are_those_of_sets(one: set[int], two: set[int]) -> None:
    a, b = ranged(one), ranged(two)
    assert set(a.union(b)) == one | two
    assert set(a.minus(b)) == one - two
    assert set(a.intersection(b)) == one & two
    assert a.issuperset(b) == (one >= two)
    assert (a == b) == (one == two)
    assert set(a) == one and set(b) == two


@given(one=frontiers, two=frontiers)
def test_frontiers_are_sets_of_event_ids(one: dict[str, set[int]], two: dict[str, set[int]]) -> None:
    a, b = built(one), built(two)
    left, right = flat(a), flat(b)
    assert flat(a.union(b)) == left | right
    assert flat(a.minus(b)) == left - right
    assert flat(a.intersection(b)) == left & right
    assert a.issuperset(b) == (left >= right)
    assert (a == b) == (left == right)
    assert len(a) == len(left) and bool(a) == bool(left)
    assert Frontier.from_wire(a.to_wire()) == a
    assert all(a.contains(writer, seq) == ((writer, seq) in left) for writer in "abcd" for seq in range(41))


def test_wire_form_is_that_of_the_format_page() -> None:
    frontier = Frontier()
    for seq in (60, *range(58)):
        frontier.add("k4w7aq2mzb3xn5ty", seq)
    assert frontier.to_wire() == {"k4w7aq2mzb3xn5ty": "0-57,60"}


@pytest.mark.parametrize("text", ["x", "3-1", "-1", "1-", "1,,2"])
def test_text_that_is_no_ranges_is_refused_and_counts_as_unseen(text: str) -> None:
    with pytest.raises(ValueError):
        RangeSet.parse(text)
    assert flat(Frontier.from_wire({"a": text, "b": "1"})) == {("b", 1)}


def test_copies_do_not_share_what_they_hold() -> None:
    frontier = Frontier.from_wire({"a": "1"})
    frontier.copy().add("a", 2)
    frontier.union(Frontier()).add("a", 3)
    assert frontier.to_wire() == {"a": "1"}
