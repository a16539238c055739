"""What a row shows of arguments and results: values kept, texts cut, no object that can break it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import itertools
import sys
import threading
import types
from collections import Counter, OrderedDict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import v1 as pydantic_v1

from tests import strategies
from xetrack.log.values import encode
from xetrack.track import describe as room
from xetrack.track.describe import MAX_DEPTH, MAX_LEVELS, describe, describe_result, field_names, text_of, unpack

LIMIT = 50


class Colour(enum.Enum):
    RED = "red"


class Level(str, enum.Enum):
    HIGH = "high"


Point = namedtuple("Point", "x y")


@dataclass(frozen=True)
class Leaf:
    lr: float = 0.1
    names: tuple[str, ...] = ("a",)


@dataclass
class Node:
    leaf: Leaf = field(default_factory=Leaf)
    next: Any = None


class Weird(BaseException):
    """What no ``except Exception`` catches."""


class Hostile:
    """Raises whatever it is asked."""

    def __init__(self, error: type[BaseException] = RuntimeError) -> None:
        object.__setattr__(self, "error", error)

    def __getattribute__(self, name: str) -> Any:
        raise object.__getattribute__(self, "error")(name)

    def __repr__(self) -> str:
        raise object.__getattribute__(self, "error")("repr")

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise object.__getattribute__(self, "error")("eq")

    def __hash__(self) -> int:
        raise object.__getattribute__(self, "error")("hash")

    def __bool__(self) -> bool:
        raise object.__getattribute__(self, "error")("bool")

    def __len__(self) -> int:
        raise object.__getattribute__(self, "error")("len")

    def __iter__(self) -> Iterator[Any]:
        raise object.__getattribute__(self, "error")("iter")


# values


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, True),
        (None, None),
        (2**70, 2**70),
        ("grün", "grün"),
        ("\ud800", "\\ud800"),
        (b"ab", b"ab"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (np.float64(0.5), 0.5),
        (np.array(2), 2),
        (pd.Timestamp("2026-01-02"), dt.datetime(2026, 1, 2)),
        (PurePosixPath("a/b"), Path("a/b")),
        (Colour.RED, "red"),
        (Level.HIGH, "high"),
        ([1, [2.5, "x"]], [1, [2.5, "x"]]),
        ((1, 2), [1, 2]),
        (Point(1, 2), [1, 2]),
        ({"a": {1: None}}, {"a": {1: None}}),
        ({(1, 2): 3, Colour.RED: 4}, {"(1, 2)": 3, "Colour.RED": 4}),
        (OrderedDict(a=1), {"a": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (Counter("aa"), {"a": 2}),
        ({7}, "{7}"),
        (frozenset({7}), "frozenset({7})"),
        (deque([1]), "deque([1])"),
        (Fraction(1, 2), "Fraction(1, 2)"),
        (Leaf(), "Leaf(lr=0.1, names=('a',))"),
        (Leaf, repr(Leaf)),
        (np.arange(3), "array([0, 1, 2])"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_argument_is_shown_as_what_a_log_holds(value: Any, shown: Any) -> None:
    for described in (describe(value, LIMIT), describe([value, {}], LIMIT)[0], describe({"a": value}, LIMIT)["a"]):
        assert described == shown
        assert type(described) is type(shown)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        ("x" * 10_000, "x" * 10_000),
        (b"x" * 10_000, b"x" * 10_000),
        (2**10_000, 2**10_000),
        (np.float32(0.5), 0.5),
        (Colour.RED, "red"),
        ([1, "a"], "[1, 'a']"),
        ((1, 2), "(1, 2)"),
        (Point(1, 2), "Point(x=1, y=2)"),
        ({7}, "{7}"),
        (Fraction(1, 2), "1/2"),
        ("\ud800", "\\ud800"),
        (list(range(1000)), str(list(range(1000)))[:LIMIT] + "…[1000 items]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_scalar_result_is_kept_whole_and_all_else_is_its_text(value: Any, shown: Any) -> None:
    assert describe_result(value, LIMIT) == shown
    assert type(describe_result(value, LIMIT)) is type(shown)


def test_description_does_not_follow_the_object() -> None:
    inner, pairs = [1], {"a": 1}
    given: dict[str, Any] = {"a": inner, "b": bytearray(b"x"), "c": np.array(1.0)}
    shown = describe([inner, given], LIMIT)
    flat, flat_pairs = describe(inner, LIMIT), describe(pairs, LIMIT)
    inner.append(2)
    pairs["b"] = 2
    assert (flat, flat_pairs) == ([1], {"a": 1})
    given["b"][0] = 0
    given["c"][...] = 2
    assert shown == [[1], {"a": [1], "b": b"x", "c": 1.0}]


@given(strategies.values)
def test_any_value_is_described_as_what_the_log_encodes_and_msgspec_writes(value: Any) -> None:
    for shown in (describe(value, 5), describe([value], 1000), describe_result(value, 5)):
        msgspec.json.encode(encode(shown, "key"))


@given(st.recursive(strategies.scalars, lambda inner: st.lists(inner) | st.dictionaries(strategies.texts, inner)))
def test_value_within_the_limit_is_shown_whole(value: Any) -> None:
    wire = encode(value, "key")
    assert encode(describe(value, 10_000), "key") == wire


# what is cut, and how it says so


def test_long_text_is_cut_with_its_length() -> None:
    assert describe("x" * 3_000_000, 1000) == "x" * 1000 + "…[3000000 characters]"
    assert describe(["x" * 51], LIMIT) == ["x" * 50 + "…[51 characters]"]
    assert describe("x" * 50, LIMIT) == "x" * 50
    assert text_of("x" * 51, LIMIT) == "'" + "x" * 49 + "…[53 characters]"


def test_long_list_dict_and_bytes_are_cut_with_their_size() -> None:
    assert describe(list(range(60)), LIMIT) == [*range(50), "…[60 items]"]
    assert describe(tuple(range(60)), LIMIT) == [*range(50), "…[60 items]"]
    cut = describe({number: 0 for number in range(60)}, LIMIT)
    assert (len(cut), cut[49], cut["…"]) == (51, 0, "[60 items]")
    assert describe(b"x" * 60, LIMIT) == "b'" + "x" * 48 + "…[60 bytes]"
    assert describe(set(range(60)), LIMIT) == f"set({list(range(50))}"[:LIMIT] + "…[60 items]"
    assert describe({"x" * 60}, 2 * LIMIT) == "{'" + "x" * 60 + "'}"
    assert describe(10**100, LIMIT) == "…[an integer of 333 bits]"


def test_size_of_the_whole_is_limited_not_of_each_level() -> None:
    shown = describe([list(range(40)) for _ in range(40)], LIMIT)
    assert shown == [list(range(40)), [*range(8), "…[40 items]"], "…[40 items]"]


class Counted(list[Any]):
    """A list that counts how often it is asked for an item."""

    asked = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.asked += 1
            yield item


@pytest.mark.parametrize("make", [lambda items: items, lambda items: Leaf(names=items), lambda items: {"a": items}])
def test_of_a_huge_container_only_the_beginning_is_looked_at(make: Any) -> None:
    items = Counted(range(100_000))
    text = str(describe(make(items), LIMIT))
    assert items.asked <= LIMIT + 1
    assert len(text) < 10 * LIMIT and "…" in text


def test_endless_container_ends() -> None:
    class Endless(list[int]):
        def __iter__(self) -> Iterator[int]:
            return itertools.count()

    assert describe(Endless([1]), 3) == [0, 1, 2, "…[1 items]"]


def test_container_in_itself_ends() -> None:
    items: list[Any] = [1]
    items.append(items)
    pairs: dict[str, Any] = {}
    pairs["itself"] = pairs
    assert describe(items, LIMIT) == [1, "…"]
    assert describe(pairs, LIMIT) == {"itself": "…"}
    assert describe([items, items], LIMIT) == [[1, "…"], [1, "…"]]
    assert describe_result(items, LIMIT) == "[1, …]"


def test_deep_nesting_ends() -> None:
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 2):
        deep = [deep]
    shown, depth = describe(deep, 1000), 0
    while isinstance(shown, list):
        (shown,), depth = shown, depth + 1
    assert (shown, depth) == ("…", MAX_DEPTH)


def test_objects_whose_texts_take_long_are_named_by_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_SECONDS", -1.0)
    assert describe([Fraction(1, 2), 3], LIMIT) == ["<Fraction>", 3]


# objects that break things


class Unwalkable(list[int]):
    def __len__(self) -> int:
        raise RuntimeError("len")

    def __iter__(self) -> Iterator[int]:
        raise RuntimeError("iter")


def test_list_that_cannot_be_walked_is_its_text() -> None:
    assert describe(Unwalkable([1]), LIMIT) == describe_result(Unwalkable([1]), LIMIT) == "[1]"
    shown = describe([Leaf(names=Unwalkable([1])), Fraction(1, 2)], 100)  # type: ignore[arg-type]
    assert shown == ["Leaf(lr=0.1, names=[1])", "Fraction(1, 2)"]
    assert [type(text) for text in shown] == [str, str]


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, RecursionError, MemoryError, Weird])
def test_object_that_raises_is_named(error: type[BaseException]) -> None:
    hostile = Hostile(error)
    said = f"<Hostile, its text raised {error.__name__}>"
    assert describe(hostile, LIMIT) == said
    assert describe([hostile, {"a": hostile}], LIMIT) == [said, {"a": said}]
    assert describe_result(hostile, LIMIT) == said
    assert describe_result([hostile], 100) == f"[{said}]"
    assert describe(Leaf(names=hostile), 100) == f"Leaf(lr=0.1, names={said})"  # type: ignore[arg-type]
    assert dict(unpack("config", Leaf(names=hostile), LIMIT)) == {"config_lr": 0.1, "config_names": said}  # type: ignore[arg-type]
    assert field_names(hostile) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_stop_while_describing_is_not_held_back(stop: type[BaseException]) -> None:
    for ask in (describe, describe_result, text_of):
        with pytest.raises(stop):
            ask(Hostile(stop), LIMIT)
    with pytest.raises(stop):
        describe([Hostile(stop)], LIMIT)


def test_class_that_lies_about_itself_is_harmless() -> None:
    class Meta(type):
        def __getattr__(cls, name: str) -> Any:
            return {"x": 1}

        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise RuntimeError("name")

    class Liar(metaclass=Meta):
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise RuntimeError("class")

        def __repr__(self) -> str:
            return "liar"

    assert describe(Liar(), LIMIT) == "liar"
    assert field_names(Liar()) == []


def test_look_alikes_of_records_are_plain_objects() -> None:
    class BaseModel:
        model_fields = {"x": 1}

        def __repr__(self) -> str:
            return "mine"

    class Model(BaseModel):
        __fields__ = {"x": 1}
        __attrs_attrs__ = ("x",)

    assert field_names(Model()) == field_names(BaseModel()) == []
    assert field_names(Leaf) == field_names(types.SimpleNamespace(a=1)) == []
    assert describe(Model(), LIMIT) == "mine"


def test_text_of_a_lying_string_is_the_text() -> None:
    class Endless(str):
        def __len__(self) -> int:
            return 10**9

        def __str__(self) -> str:
            raise RuntimeError

    class Odd:
        def __repr__(self) -> str:
            return Endless("odd")

    assert describe(Odd(), LIMIT) == describe(Endless("odd"), LIMIT) == describe_result(Endless("odd"), LIMIT) == "odd"


def test_list_that_another_thread_changes_is_described() -> None:
    items: dict[int, int] = {}
    done = threading.Event()

    def change() -> None:
        for number in itertools.count():
            items[number % 100] = number
            items.pop((number * 7) % 100, None)
            if done.is_set():
                return

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            assert isinstance(describe([items], 1000)[0], (dict, str))
            assert isinstance(describe(items, 1000), (dict, str))
    finally:
        done.set()
        thread.join()


# records


class Inner(pydantic.BaseModel):
    lr: float = 0.1


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", protected_namespaces=())
    depth: int = 2
    inner: Inner = Inner()
    leaf: Leaf = Leaf()
    secret: pydantic.SecretStr = pydantic.SecretStr("hunter2")
    hidden: int = pydantic.Field(1, exclude=True)
    old: int = pydantic.Field(1, deprecated=True)

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.depth**2


class OldModel(pydantic_v1.BaseModel):
    depth: int = 2
    leaf: Leaf = Leaf()
    hidden: int = pydantic_v1.Field(1, exclude=True)

    class Config:
        extra = "allow"


def test_model_of_pydantic_2_has_the_fields_of_its_dump() -> None:
    assert dict(unpack("m", Model(more=3), 1000)) == {  # type: ignore[call-arg]
        "m_depth": 2,
        "m_inner_lr": 0.1,
        "m_leaf_lr": 0.1,
        "m_leaf_names": ["a"],
        "m_secret": "SecretStr('**********')",
        "m_old": 1,
        "m_area": 4,
        "m_more": 3,
    }


def test_model_of_pydantic_1_has_the_fields_of_its_dump() -> None:
    assert dict(unpack("m", OldModel(more=3), 1000)) == {  # type: ignore[call-arg]
        "m_depth": 2,
        "m_leaf_lr": 0.1,
        "m_leaf_names": ["a"],
        "m_more": 3,
    }


def test_frozen_slotted_inherited_and_pydantic_dataclasses_have_fields() -> None:
    @dataclass(frozen=True)
    class Slotted:
        __slots__ = ("x",)
        x: int

    @dataclass
    class Child(Node):
        more: int = 3

    @pydantic.dataclasses.dataclass
    class Checked:
        x: int = 1

    @dataclass
    class Pseudo:
        x: int
        start: dataclasses.InitVar[int] = 0
        never_set: int = field(init=False)

    assert dict(unpack("c", Slotted(1), LIMIT)) == {"c_x": 1}
    assert dict(unpack("c", Checked(), LIMIT)) == {"c_x": 1}
    assert dict(unpack("c", Pseudo(1), LIMIT)) == {"c_x": 1}
    assert field_names(Child()) == ["leaf", "next", "more"]


def test_computed_field_that_raises_is_named() -> None:
    class Broken(pydantic.BaseModel):
        x: int = 1

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def y(self) -> int:
            raise OSError("no")

    assert dict(unpack("m", Broken(), LIMIT)) == {"m_x": 1, "m_y": "<Broken, its text raised OSError>"}


def test_empty_record_is_its_text() -> None:
    @dataclass
    class Empty:
        pass

    assert dict(unpack("c", Node(next=Empty()), 200))["c_next"].endswith("Empty()")


def test_record_in_itself_is_marked_and_ends() -> None:
    node = Node()
    node.next = Node(next=node)
    assert dict(unpack("n", node, LIMIT)) == {
        "n_leaf_lr": 0.1,
        "n_leaf_names": ["a"],
        "n_next_leaf_lr": 0.1,
        "n_next_leaf_names": ["a"],
        "n_next_next": "…",
    }
    assert describe(node, 200) == f"Node(leaf={Leaf()}, next=Node(leaf={Leaf()}, next=Node(…)))"


def test_records_deep_in_each_other_end() -> None:
    node: Any = None
    for _ in range(3 * MAX_LEVELS):
        node = Node(next=node)
    columns = dict(unpack("n", node, LIMIT))
    assert len(columns) == 2 * MAX_LEVELS
    assert columns["n" + "_next" * MAX_LEVELS].startswith("Node(")


def test_records_that_all_know_each_other_take_one_step_per_column() -> None:
    kind = dataclasses.make_dataclass("Person", [(f"friend_{number}", Any, None) for number in range(12)])
    people = [kind() for _ in range(12)]
    for person in people:
        for number, friend in enumerate(people):
            setattr(person, f"friend_{number}", friend)
    columns = list(itertools.islice(unpack("p", people[0], LIMIT), 500))
    assert len(columns) == 500
    assert len(describe(people[0], LIMIT)) < 2000


@dataclass(frozen=True)
class Frozen:
    value: object


def test_a_config_that_is_passed_again_is_described_alike_and_equal_ones_each_as_it_is() -> None:
    configs = [Frozen(1), Frozen(True), Frozen(1.0)]
    for _ in range(2):
        assert [describe([config], LIMIT) for config in configs] == [
            ["Frozen(value=1)"],
            ["Frozen(value=True)"],
            ["Frozen(value=1.0)"],
        ]
        columns = [dict(unpack("config", config, LIMIT)) for config in configs]
        assert [repr(one) for one in columns] == [
            "{'config_value': 1}",
            "{'config_value': True}",
            "{'config_value': 1.0}",
        ]


def test_a_limit_that_changes_counts_for_a_config_that_is_known() -> None:
    config = Frozen("x" * 50)
    assert describe([config], 100) == [f"Frozen(value={'x' * 50!r})"]
    assert "…" in describe([config], 20)[0]
    assert describe([config], 100) == [f"Frozen(value={'x' * 50!r})"]


def test_what_is_known_of_a_config_goes_with_it() -> None:
    config = Frozen(1)
    describe([config], LIMIT)
    place = id(config)
    assert place in room._known
    del config
    assert place not in room._known


def test_of_what_can_change_nothing_is_known() -> None:
    @dataclass
    class Open:
        value: int

    config, inside = Open(1), Frozen([1])
    describe([config, inside], LIMIT)
    config.value = 2
    inside.value.append(2)  # type: ignore[attr-defined]
    texts = describe([config, inside], 200)
    assert texts[0].endswith("Open(value=2)")
    assert texts[1] == "Frozen(value=[1, 2])"
