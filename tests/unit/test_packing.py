"""Numbers in few bytes, if they ascend, come back as they were."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xetrack.tables.packing import packed, unpacked

WIDEST = st.sets(st.integers(-(2**62), 2**62), min_size=1)
CLOSE = st.sets(st.integers(0, 2**17), min_size=1, max_size=2000)


@given(st.one_of(WIDEST, CLOSE).map(sorted))
def test_numbers_come_back(numbers: list[int]) -> None:
    assert unpacked(packed(array("q", numbers))) == array("q", numbers)


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=600))
def test_numbers_that_do_not_ascend_come_back(numbers: list[int]) -> None:
    assert unpacked(packed(array("q", numbers))) == array("q", numbers)


@pytest.mark.parametrize("count", [3, 1000])
def test_ends_that_look_like_a_range_make_none(count: int) -> None:
    numbers = array("q", [5, 900, *range(7, 5 + count)])
    assert numbers[-1] - numbers[0] == count - 1
    assert unpacked(packed(numbers)) == numbers


@pytest.mark.parametrize(("step", "size"), [(1, 13), (2, 13 + 999), (256, 13 + 2 * 999), (2**31, 13 + 4 * 999)])
def test_steps_take_as_few_bytes_as_hold_them(step: int, size: int) -> None:
    assert len(packed(array("q", range(7, 7 + 1000 * step, step)))) == size
