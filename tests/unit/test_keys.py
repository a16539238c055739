"""Keys of rows: which values are equal, as values and as text."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from xetrack.exchange.keys import Key, key_of, key_text
from xetrack.log.values import encode

NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)


def key(value: Any) -> Key | None:
    return key_of({"k": encode(value, "k")}, ["k"])


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True),
        (1, True, True),
        (0.0, -0.0, True),
        (10**400, 10**400, True),
        (0.1, 0.2, False),
        (float("inf"), float("-inf"), False),
        (1, "1", False),
        (NOON, NOON.astimezone(timezone(timedelta(hours=5))), True),
        (NOON, NOON.replace(tzinfo=None), False),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), NOON, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ([1], [1.0], False),
        (Decimal("1.0"), Decimal("1.00"), False),
    ],
)
def test_keys_are_equal_as_values_and_as_text_alike(one: Any, other: Any, equal: bool) -> None:
    first, second = key(one), key(other)
    assert first is not None and second is not None
    assert (first == second) is equal
    assert (key_text(first) == key_text(second)) is equal


@pytest.mark.parametrize("value", [None, float("nan")])
def test_empty_cell_and_nan_make_no_key(value: Any) -> None:
    assert key(value) is None and key_of({}, ["k"]) is None
