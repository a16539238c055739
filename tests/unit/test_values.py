"""Which values and keys may be logged, and how a table shows them."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import subprocess
import sys
import types
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pandas as pd
import pytest

from tests.strategies import same
from xetrack.errors import InvalidKey, InvalidValue, KeyCollision, ReservedKey
from xetrack.log.values import (
    BIGINT,
    BOOL,
    FLOAT,
    INT,
    INT64,
    JSON,
    MAX_INT_DIGITS,
    NONFINITE,
    NULL,
    OTHER,
    TEXT,
    cell,
    check_keys,
    column_name,
    column_type,
    decode,
    encode,
    flag,
    is_plain,
)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(str):
    pass


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (True, True),
        (1, 1),
        (1.0, 1.0),
        (2**53 - 1, 2**53 - 1),
        (2**53, {"$int": "9007199254740992"}),
        (-(2**64), {"$int": "-18446744073709551616"}),
        (float("nan"), {"$float": "NaN"}),
        (float("-inf"), {"$float": "-Infinity"}),
        (b"\0\1", {"$bytes": "AAE="}),
        (
            dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.timezone(dt.timedelta(hours=1))),
            {"$datetime": "2026-01-02T03:04:05.000006+01:00"},
        ),
        (dt.date(2026, 1, 2), {"$date": "2026-01-02"}),
        (dt.time(3, 4), {"$time": "03:04:00"}),
        (dt.timedelta(seconds=1.5), {"$timedelta": 1500000}),
        (Decimal("0.10"), {"$decimal": "0.10"}),
        (UUID(int=1), {"$uuid": "00000000-0000-0000-0000-000000000001"}),
        (Path("a") / "b", {"$path": "a/b"}),
        (1j, {"$complex": [0.0, 1.0]}),
        ((1, 2), {"$tuple": [1, 2]}),
        ({1: "a"}, {"$map": [[1, "a"]]}),
        ({"$int": "7"}, {"$dict": {"$int": "7"}}),
        ({"$int": "7", "b": 1}, {"$int": "7", "b": 1}),
        ("\0 \u2028 \U0001f600 \"'\n", "\0 \u2028 \U0001f600 \"'\n"),
    ],
)
def test_wire_values_are_those_of_the_format_page(value: Any, wire: Any) -> None:
    assert same(encode(value, "k"), wire)
    assert same(decode(wire), value)


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (Name("x"), "x"),
        (np.float32(0.5), 0.5),
        (np.float64(0.9), 0.9),
        (np.longdouble(0.5), 0.5),
        (np.int64(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("s"), "s"),
        (np.bytes_(b"s"), b"s"),
        (np.complex64(1j), 1j),
        (np.array(2.5), 2.5),
        (np.array(True), True),
        (np.datetime64("2026-01-02T03:04:05.000006007"), dt.datetime(2026, 1, 2, 3, 4, 5, 6)),
        (np.datetime64("2026-01-02"), dt.datetime(2026, 1, 2)),
        (np.timedelta64(1500, "ms"), dt.timedelta(seconds=1.5)),
        (np.datetime64("NaT", "ns"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2026-01-02 03:04", tz="UTC"), dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.timezone.utc)),
        (pd.Timedelta("1500ms"), dt.timedelta(seconds=1.5)),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.defaultdict(int, a=1), {"a": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (Point(1, 2), (1, 2)),
        ([np.int8(1), (np.float16(0.5),)], [1, (0.5,)]),
        ({Color.RED: 1}, {"red": 1}),
        (PureWindowsPath("a\\b"), Path("a/b")),
    ],
)
def test_scalars_of_other_packages_and_subclasses_become_pythons_own(value: Any, base: Any) -> None:
    assert same(decode(encode(value, "k")), base)


def test_ints_survive_up_to_the_digits_that_python_reads() -> None:
    for value in (10**MAX_INT_DIGITS - 1, 1 - 10**MAX_INT_DIGITS):
        wire = encode(value, "k")
        assert decode(wire) == value and flag(wire) == BIGINT


@pytest.mark.parametrize("most_digits", [MAX_INT_DIGITS, 0])
def test_longer_ints_are_refused_at_any_depth(most_digits: int) -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(most_digits)  # another program that reads it may have the limit
    try:
        for value in (10**MAX_INT_DIGITS, -(10**9000)):
            for held in (value, [value], (1, {"a": value}), {value: 1}, types.MappingProxyType({"a": [value]})):
                with pytest.raises(InvalidValue, match="4300 digits") as caught:
                    encode(held, "my key")
                assert caught.value.key == "my key"
    finally:
        sys.set_int_max_str_digits(before)


def test_longer_ints_in_a_log_are_read_as_their_digits() -> None:
    digits = "-1" + "0" * MAX_INT_DIGITS
    assert decode({"$int": digits}) == digits and decode({"$tuple": [{"$int": digits}]}) == (digits,)


OBJECTS = [{1}, frozenset("a"), np.arange(3), pd.DataFrame(), Fraction(1, 2), object(), range(3), np.float64]


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_all_else_is_an_asset_or_an_error_that_names_the_key(value: Any) -> None:
    stored: list[Any] = []

    def asset(found: Any) -> str:
        stored.append(found)
        return "ab" * 32

    assert encode(value, "k", asset) == {"$asset": "ab" * 32}
    assert encode([1, {"a": value}], "k", asset) == [1, {"a": {"$asset": "ab" * 32}}]
    assert stored[0] is value and stored[1] is value
    with pytest.raises(InvalidValue) as caught:
        encode([value], "my key")
    assert caught.value.key == "my key" and type(value).__name__ in str(caught.value)


@pytest.mark.parametrize("value", ["\ud800", ["a\udfff"], {"\ud800": 1}, {1: {"a": "\udc00"}}, Path("\udcff")])
def test_lone_surrogates_are_refused_at_any_depth(value: Any) -> None:
    assert not is_plain(value)
    with pytest.raises(InvalidValue, match="surrogate"):
        encode(value, "k")


def test_values_without_end_are_refused() -> None:
    cycle: list[Any] = []
    cycle.append({"a": (cycle,)})
    with pytest.raises(InvalidValue, match="contains itself"):
        encode(cycle, "k")
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert decode(encode(deep, "k")) == deep
    with pytest.raises(InvalidValue, match="nested"):
        encode([deep], "k")


def test_a_value_twice_in_a_list_is_no_cycle() -> None:
    shared = [1]
    assert encode([shared, shared], "k") == [[1], [1]]


def test_plain_is_what_json_holds_as_it_is() -> None:
    plain: list[Any] = ["é", 1, True, None, 0.5, 2**53 - 1]
    other: list[Any] = [float("nan"), 2**53, [], {}, b"", Name("x"), np.float64(1)]
    assert all(is_plain(value) and encode(value, "k") is value for value in plain)
    assert not any(map(is_plain, other))


def test_unknown_tags_stay_the_objects_they_are() -> None:
    for wire in ({"$future": [1]}, {"$int": "x"}, {"$float": "1"}, {"$tuple": "ab"}, {"$map": [1]}):
        assert decode(wire) == wire
        assert flag(wire) == JSON


# -- keys --------------------------------------------------------------------


def test_keys_of_text_pass_as_they_are() -> None:
    row = {"order": 1, "a b": 2, "x;--": 3, "é": 4, "1st": 5, "🙂": 6, "Acc": 7, "acc": 8, "x" * 255: 9}
    assert check_keys(row) is row
    assert check_keys(row) is row


def test_keys_of_other_types_are_named_by_their_text() -> None:
    row = {1: "a", 2.5: "b", False: "c", Color.RED: "d", Name("n"): "e", np.int64(7): "f"}
    assert check_keys({1: 2}) == {"1": 2}
    found = check_keys(row)
    assert list(found) == ["1", "2.5", "False", "red", "n", "7"] and all(type(key) is str for key in found)


@pytest.mark.parametrize("key", ["", None, (1,), "\ud800", "é" * 128, b"x", pytest.param(10**5000, id="long")])
def test_keys_that_name_no_column_are_refused(key: Any) -> None:
    with pytest.raises(InvalidKey) as caught:
        check_keys({"a": 1, key: 2})
    assert caught.value.key == key


@pytest.mark.parametrize("key", ["track_id", "timestamp"])
def test_keys_that_xetrack_fills_in_are_refused(key: str) -> None:
    with pytest.raises(ReservedKey):
        check_keys({key: 1})


@pytest.mark.parametrize("row", [{"a b": 1, "a_b": 2}, {1: 1, "1": 2}, {"x.y": 1, "x;y": 2}, {"💥": 1, "🙂": 2}])
def test_keys_that_would_share_a_column_are_refused_by_name(row: dict[Any, int]) -> None:
    for _ in range(2):
        with pytest.raises(KeyCollision) as caught:
            check_keys(row)
        assert [caught.value.first, caught.value.second] == [str(key) for key in row]


def test_keys_equal_to_checked_ones_but_of_another_type_are_checked() -> None:
    check_keys({"a": 1})
    found = check_keys({Name("a"): 1})
    assert type(next(iter(found))) is str


def test_column_names_keep_letters_of_any_script() -> None:
    assert [column_name(key) for key in ("a b", "größe", "x.y/z", "1st", "損失", "a²", "'; --")] == [
        "a_b",
        "größe",
        "x_y_z",
        "1st",
        "損失",
        "a²",
        "_____",
    ]


# -- cells -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "kind"),
    [
        (NULL, "null"),
        (BOOL, "bool"),
        (BOOL | INT, "int"),
        (INT | INT64, "int"),
        (INT | BIGINT, "bigint"),
        (INT | FLOAT, "float"),
        (BOOL | NONFINITE, "float"),
        (FLOAT | INT64, "text"),
        (FLOAT | BIGINT, "text"),
        (INT | TEXT, "text"),
        (OTHER, "text"),
        (JSON, "json"),
        (JSON | INT, "text"),
        (128, "bytes"),
        (256, "datetime"),
        (2048, "asset"),
        (2048 | TEXT, "text"),
    ],
)
def test_a_column_is_as_wide_as_all_its_values(mask: int, kind: str) -> None:
    assert column_type(mask) == kind


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (True, "bool", 1),
        (True, "float", 1.0),
        (True, "text", "true"),
        (1, "float", 1.0),
        (1.0, "text", "1.0"),
        (float("nan"), "float", None),
        (float("nan"), "text", "NaN"),
        (float("inf"), "float", float("inf")),
        (2**53, "int", 2**53),
        (2**63 - 1, "bigint", 2**63 - 1),
        (2**63, "bigint", "9223372036854775808"),
        (2**63, "text", "9223372036854775808"),
        (b"\0\1", "bytes", b"\0\1"),
        (b"\0\1", "text", "AAE="),
        (dt.datetime(2026, 1, 2), "datetime", "2026-01-02 00:00:00.000000"),
        (dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.timezone.utc), "datetime", "2026-01-02 03:04:05.000006+00:00"),
        (dt.timedelta(seconds=-1.5), "text", "-1.5"),
        (dt.timedelta(seconds=20), "text", "20"),
        (Decimal("1.0"), "text", "1.0"),
        (1j, "text", "1j"),
        ([1, (2, None)], "json", "[1, [2, null]]"),
        ({"a": float("nan"), "b": b"\0\1"}, "json", '{"a": "NaN", "b": "AAE="}'),
        ({1: 2**64, None: "é"}, "json", '{"1": 18446744073709551616, "null": "é"}'),
        ({"$int": "7"}, "json", '{"$int": "7"}'),
        ([], "text", "[]"),
        (None, "text", None),
    ],
)
def test_a_cell_shows_its_own_value_in_the_columns_type(value: Any, kind: str, shown: Any) -> None:
    assert same(cell(encode(value, "k"), kind), shown)


def test_an_asset_is_shown_by_its_first_digits() -> None:
    assert cell({"$asset": "0123456789abcdef" * 4}, "asset") == "0123456789abcdef"


def test_values_load_no_package_that_a_program_did_not() -> None:
    code = (
        "import sys; from xetrack.log import log, values, segment; values.encode([1, 2.5, {'a': b''}], 'k');"
        "print({'numpy', 'pandas', 'zstandard', 'cloudpickle', 'tempfile', 'sqlite3'} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
