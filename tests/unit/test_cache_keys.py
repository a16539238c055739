"""Keys of calls: the same for the same content in every process, never the same for two."""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib.util
import inspect
import math
import os
import re
import subprocess
import sys
import threading
import types
import typing
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from xetrack.track.cache_keys import Call, describe


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Shade(enum.Enum):
    RED = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class C:
    value: Any


@dataclasses.dataclass(frozen=True)
class D:
    value: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    value: Any


@dataclasses.dataclass(frozen=True, init=False)
class Labelled(str):
    label: str = ""


class Model(pydantic.BaseModel, frozen=True):
    name: str
    layers: tuple[int, ...] = ()


class Open(pydantic.BaseModel, frozen=True, extra="allow"):
    name: str


class Text(str):
    pass


class Whole(int):
    pass


class Pair(tuple[int, int]):
    pass


class Words(frozenset[str]):
    pass


Point = namedtuple("Point", "x y")
Place = namedtuple("Place", "x y")


class Hashed:
    """Compares as its value does, and hashes as it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and bool(self.value == other.value)


class HashedSlots:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Guarded(Hashed):
    """Its lock has no content that could be told."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.lock = threading.Lock()


class Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.other: Node | None = None


class A:
    def run(self, x: int = 0) -> int:
        return x

    @classmethod
    def make(cls) -> None: ...

    @staticmethod
    def helped(x: int = 0) -> int:
        return x

    def __call__(self, x: int) -> int:
        return x


class B(A):
    def run(self, x: int = 0) -> int:
        return x


def f(x: Any, y: Any = 2, *, z: Any = 3) -> None: ...


def g(x: Any, y: Any = 2, *, z: Any = 3) -> None: ...


def many(first: Any = 0, /, *rest: Any, **named: Any) -> None: ...


def adder(n: Any) -> Callable[[Any], Any]:
    return lambda x: x + n


def call(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Call:
    return describe(func, args, kwargs, {})


def key(func: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    described = call(func, *args, **kwargs)
    assert described.key is not None, described.doubts
    return described.key


# the same content


def test_arguments_are_bound_to_their_parameters() -> None:
    spelled = [
        key(f, 1, y=2),
        key(f, x=1, y=2),
        key(f, y=2, x=1),
        key(f, 1),
        key(f, 1, 2, z=3),
        key(functools.partial(f, 1), y=2),
        key(functools.partial(functools.partial(f, y=2), x=1)),
    ]
    assert len(set(spelled)) == 1
    assert key(f, 1, 3) != spelled[0]
    assert key(f, 2, 1) != key(f, 1, 2)


def test_arguments_of_open_signatures_are_told_apart() -> None:
    keys = [key(many), key(many, 0, 0), key(many, 0, (0,)), key(many, named=0), key(many, rest=0), key(many, 0, 0, 0)]
    assert len(set(keys)) == len(keys)
    assert key(many, a=1, b=2) == key(many, b=2, a=1)
    assert key(many) == key(many, 0)


def test_a_call_that_does_not_fit_the_signature_shares_no_key() -> None:
    wrong = [key(f, q=1), key(f, 1, q=2), key(f), key(f, 1, 2, 3, 4), key(f, 1, x=1)]
    assert len({key(f, 1), key(f, inspect.Parameter.empty), *wrong}) == len(wrong) + 2


EQUAL: list[Callable[[], Any]] = [
    lambda: float("nan"),
    lambda: frozenset({"one", "two", "three"}),
    lambda: C("bert"),
    lambda: C((C("a"), D(frozenset({Color.RED})))),
    lambda: Slotted("a"),
    lambda: Model(name="bert", layers=(1, 2)),
    lambda: Open.model_validate({"name": "bert", "more": 1}),
    lambda: Hashed("production"),
    lambda: HashedSlots("a"),
    lambda: A(),
    lambda: Right.READ | Right.WRITE,
    lambda: datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")),
    lambda: re.compile("a", re.I),
    lambda: np.float32(1.5),
    lambda: list[int],
    lambda: int | str,
    lambda: typing.Callable[[int], str],
    lambda: adder(1),
    lambda: Words({"a", "b"}),
    lambda: A().run,
    lambda: functools.partial(f, 1),
    lambda: ValueError("a"),
]


@pytest.mark.parametrize("make", EQUAL)
def test_another_object_of_the_same_content_has_the_same_key(make: Callable[[], Any]) -> None:
    assert key(f, make()) == key(f, make())


def test_an_unused_parameter_default_need_not_be_hashable() -> None:
    def collects(x: int, into: list[int] = []) -> None: ...  # noqa: B006 - that is the point

    first = key(collects, 1)
    assert key(collects, 1) == first
    assert call(collects, 1, into=[]).key is None


# other content

LAMBDAS: list[Callable[..., Any]] = [
    lambda x: x + 1,
    lambda x: x + 2,
    lambda x: x - 1,
    lambda y: y + 1,
    lambda x, y=1: x + 1,
    lambda x, y=2: x + 1,
]
APART: list[Any] = [
    *[0, 1, 1.0, True, False, 0.0, -0.0, -1, -2, 2**70, -(2**70), 1j, complex(0, -0.0), math.inf, -math.inf, math.nan],
    *["1", b"1", "", b"", "\ud800", None, ..., NotImplemented, Decimal(1), Decimal("1.0"), Fraction(1), 2**61 - 1],
    *[(), (1,), (1.0,), (True,), ((1,),), (1, 2), ("a", "b"), ("ab",), ("a, b",), frozenset(), frozenset({1})],
    *[range(3), range(0, 3, 2), Color.RED, Color.BLUE, Shade.RED, Right.READ, Right.READ | Right.WRITE],
    *[C(1), D(1), C(1.0), C(True), C(-1), C(-2), C("1"), C((1,)), C(C(1)), C(D(1)), Slotted(1), C(None)],
    *[Labelled("a"), Labelled("b"), Model(name="a"), Model(name="a", layers=(1,)), Open(name="a")],
    Open.model_validate({"name": "a", "more": 1}),
    *[Text("1"), Whole(1), Pair((1, 2)), Words({"a"}), frozenset({"a"}), Point(1, 2), Place(1, 2), Point(1.0, 2)],
    *[Hashed(5), 5, Hashed(5.0), Hashed("5"), Hashed(-1), Hashed(-2), HashedSlots(5)],
    *[Path("a"), Path("b"), PurePosixPath("a"), PureWindowsPath("a"), "a", UUID(int=1)],
    *[date(2024, 1, 1), datetime(2024, 1, 1), datetime(2024, 1, 1, fold=1), time(1), timedelta(1), timedelta(0, 1)],
    *[datetime(2024, 1, 1, tzinfo=timezone.utc), datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))],
    *[datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")), timezone.utc, timezone(timedelta(0), "Z"), ZoneInfo("UTC")],
    *[np.float64(1), np.float32(1), np.int64(1), np.bool_(True), np.datetime64(1, "s"), np.datetime64(1, "ms")],
    *[int, str, C, list[int], list[str], int | str, typing.Any, types, math, math.sqrt, len, str.upper, "x".upper],
    *[f, g, A.run, B.run, A().run, B().run, A.helped, A.make, B.make, A(), B(), adder(1), adder(1.0), adder(2)],
    *[functools.partial(f, 1), functools.partial(f, 2), functools.partial(g, 1), re.compile("a"), re.compile(b"a")],
    *[ValueError("a"), ValueError("b"), KeyError("a"), memoryview(b"1"), OrderedDict, functools.lru_cache(f)],
    *[functools.lru_cache(g), functools.lru_cache(adder(1)), functools.lru_cache(adder(2)), np.add, np.multiply],
    *LAMBDAS,
]


def test_no_two_values_share_a_key() -> None:
    found: dict[str, Any] = {}
    for value in APART:
        own = key(f, value)
        assert own not in found, (value, found[own])
        found[own] = value


def test_no_two_functions_share_a_key() -> None:
    functions: list[Callable[..., Any]] = [each for each in APART if callable(each) and not isinstance(each, Hashed)]
    keys = [key(each, *[7] * (each is not A.make)) for each in functions]
    assert len(set(keys)) == len(keys)


def test_params_take_part() -> None:
    params: list[dict[Any, Any]] = [{}, {"a": 1}, {"a": 1.0}, {"b": 1}, {"a": 1, "b": 2}, {1: "a"}]
    keys = [describe(f, [1], {}, each).key for each in params]
    assert len(set(keys)) == len(keys)
    assert describe(f, [1], {}, {"b": 2, "a": 1}).key == keys[4]


def test_a_key_names_the_function() -> None:
    assert key(f, 1).rpartition(":")[0] == f"{__name__}.f"
    assert key(A().run).rpartition(":")[0] == f"{__name__}.A.run"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.decimals(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3) | inner.map(C) | inner.map(Hashed)
    ),
    max_leaves=8,
)


def typed(value: Any) -> Any:
    """The value with every type beside it, so that ``==`` sees what a key must."""
    kind = type(value).__name__
    if isinstance(value, (C, Hashed)):
        return kind, typed(value.value)
    if isinstance(value, tuple):
        return kind, [typed(item) for item in value]
    if isinstance(value, frozenset):
        return kind, sorted(map(repr, map(typed, value)))
    return kind, repr(value)


@given(VALUES, VALUES)
def test_keys_are_equal_as_typed_content_is(a: Any, b: Any) -> None:
    assert (key(f, a) == key(f, b)) == (typed(a) == typed(b))


# what no key can hold


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, ([1],), C([1]), np.arange(3), bytearray(b"a")])
def test_what_is_not_hashable_has_no_key(value: Any) -> None:
    described = call(f, value)
    assert described.key is None
    assert [kind for kind, _ in described.doubts] == [type(value)]
    assert describe(f, [1], {}, {"p": value}).key is None


@pytest.mark.parametrize("make", [object, threading.Lock, lambda: iter(x for x in [1]), lambda: open(os.devnull)])
def test_what_has_no_content_has_no_key(make: Callable[[], Any]) -> None:
    value = make()
    described = call(f, (value,))
    assert described.key is None
    assert [kind for kind, _ in described.doubts] == [type(value)]
    if hasattr(value, "close"):
        value.close()


def test_an_object_without_content_is_known_by_its_comparison_in_this_process() -> None:
    described = call(f, Guarded("a"))
    assert [kind for kind, _ in described.doubts] == [Guarded]
    assert described.key == key(f, Guarded("a")) != key(f, Guarded("b"))
    assert key(f, C(Guarded("a"))) == key(f, C(Guarded("a"))) != described.key


class Nasty:
    def __init__(self, place: str) -> None:
        self.place = place

    def __hash__(self) -> int:
        if self.place == "hash":
            raise RuntimeError("no hash")
        return 1

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __reduce_ex__(self, _: Any) -> Any:
        if self.place == "stop":
            raise KeyboardInterrupt
        raise RuntimeError("no state")


@pytest.mark.parametrize("place", ["hash", "state"])
def test_an_object_that_raises_when_looked_at_fails_no_call(place: str) -> None:
    call(f, Nasty("state"))
    assert call(f, Nasty(place)).key is None


def test_ctrl_c_is_not_taken_for_an_answer() -> None:
    with pytest.raises(KeyboardInterrupt):
        call(f, Nasty("stop"))


def test_a_cycle_ends() -> None:
    def ring(*names: str) -> Node:
        nodes = [Node(name) for name in names]
        for node, other in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
            node.other = other
        return nodes[0]

    keys = [key(f, ring(*names)) for names in ("a", "ab", "ba", "aa", "aba")]
    assert len(set(keys)) == len(keys)
    assert key(f, ring("a", "b")) == keys[1]


def test_nesting_without_end_has_no_key() -> None:
    deep: Any = ()
    for _ in range(500):
        deep = C(deep)
    assert call(f, deep).key is None


# functions


def made(func: Callable[..., Any], *args: Any) -> str | None:
    """Key of a call that was then made."""
    described = call(func, *args)
    func(*args)
    described.settle()
    return described.key


def test_a_closure_is_known_by_what_it_captured_at_the_call() -> None:
    weights = {"a": 1}

    def weighed(x: int) -> int:
        return x * weights["a"]

    first = made(weighed, 1)
    assert made(weighed, 1) == first
    weights["a"] = 2
    assert made(weighed, 1) != first
    weights["a"] = 1
    assert made(weighed, 1) == first


def test_what_a_closure_changed_itself_is_no_new_input() -> None:
    seen: list[int] = []
    count = 0

    def make() -> Callable[[int], None]:
        def counts(x: int) -> None:
            nonlocal count
            count += 1
            seen.append(x)

        return counts

    counts = make()
    first, other = made(counts, 1), made(counts, 2)
    assert first != other
    assert (made(counts, 1), made(counts, 2), made(make(), 1)) == (first, other, first)
    seen.append(7)  # somebody else did
    assert made(counts, 1) not in (first, None)


def test_what_a_local_class_counts_is_no_new_input() -> None:
    class Local:
        calls = 0

        def run(self) -> None:
            Local.calls += 1

    first = made(Local().run)
    assert made(Local().run) == first
    Local.calls = 40
    assert made(Local().run) not in (first, None)


def test_a_captured_lock_does_not_count() -> None:
    lock, stop = threading.Lock(), threading.Event()

    def locked() -> None:
        with lock:
            stop.set()

    assert made(locked) == made(locked) is not None


def test_an_object_that_is_equal_to_one_seen_before_has_its_key() -> None:
    class Named:
        def __init__(self, name: object, note: object) -> None:
            self.name, self.note = name, note

        def __hash__(self) -> int:
            return hash(self.name)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named) and self.name == other.name

    assert key(f, Named("a", 1)) == key(f, Named("a", 2)) != key(f, Named("b", 1))
    assert len({key(f, Named(1, None)), key(f, Named(1.0, None)), key(f, Named(True, None))}) == 3


def test_a_recursive_local_function_has_a_key() -> None:
    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert key(fib, 3) == key(fib, 3)


def test_local_classes_are_known_by_what_they_define() -> None:
    def make(step: int, field: str = "x") -> Any:
        @dataclasses.dataclass(frozen=True)
        class Local:
            x: int

            def walk(self) -> int:
                return self.x + step

        return Local(1)

    assert key(f, make(1)) == key(f, make(1))
    assert key(f, make(1)) != key(f, make(2))


def test_wrappers_of_one_function_are_told_apart() -> None:
    def times(n: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def decorate(func: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(func)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return [func(*args, **kwargs) for _ in range(n)]

            return wrapper

        return decorate

    assert len({key(f, 1), key(times(2)(f), 1), key(times(3)(f), 1), key(g, 1), key(times(2)(g), 1)}) == 5
    assert key(times(2)(f), 1) == key(times(2)(f), 1)


def doubled(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(*args: Any) -> Any:
        return func(*args) * 2

    return wrapper


@doubled
def decorated(x: int) -> int:
    return x


def test_a_decorated_function_is_not_the_one_inside() -> None:
    inside: Callable[..., Any] = decorated.__wrapped__  # type: ignore[attr-defined]
    assert key(decorated, 1) != key(inside, 1)
    assert key(inside, 1) == key(inside, x=1)


def test_the_object_of_a_method_is_an_argument() -> None:
    assert key(Hashed("a").__eq__, 1) != key(Hashed("b").__eq__, 1)
    assert key(A().run) == key(A.run, A())
    assert key(A(), 1) == key(A.__call__, A(), 1) != key(B(), 1)
    assert key(B.helped) == key(A.helped)  # one function, by two names


def test_a_field_that_is_not_compared_does_not_count() -> None:
    @dataclasses.dataclass(frozen=True)
    class Config:
        name: str
        callback: Any = dataclasses.field(default=None, compare=False)

    assert key(f, Config("a", threading.Lock())) == key(f, Config("a"))


# code


def module(path: Path, text: str) -> types.ModuleType:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = made
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        spec.loader.exec_module(made)
    finally:
        sys.dont_write_bytecode = before
    return made


@pytest.mark.parametrize(
    ("after", "edited"),
    [
        ("def job(x):\n    return x + 2\n", True),
        ("def job(x):\n    return x - 1\n", True),
        ("def job(x):\n    return y + 1\n", True),
        ("def job(x):\n    return (lambda: x + 2)()\n", True),
        ("\n\n# moved\ndef job(x: int) -> int:\n    # said\n    return (x +\n        1)\n", False),
    ],
)
def test_code_takes_part_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, edited: bool) -> None:
    monkeypatch.delitem(sys.modules, "cached_job", raising=False)
    keys = []
    for text in ("def job(x):\n    return x + 1\n", after):
        job = module(tmp_path / "cached_job.py", text).job
        keys.append([describe(job, [1], {}, {}, cache_code=code).key for code in (False, True)])
    assert keys[0][0] == keys[1][0]
    assert (keys[0][1] != keys[1][1]) is edited


def test_code_under_a_decorator_takes_part_and_what_the_decorator_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "cached_deco", raising=False)
    text = """
import functools
def times(n):
    def decorate(func):
        @functools.wraps(func)
        def wrapper(*args):
            return func(*args) * n
        return wrapper
    return decorate
@times({n})
def job(x):
    return x + {step}
"""
    keys = {
        describe(module(tmp_path / "cached_deco.py", text.format(n=n, step=step)).job, [1], {}, {}, cache_code=code).key
        for n, step in [(2, 1), (3, 1), (2, 5)]
        for code in (False, True)
    }
    assert len(keys) == 4


# processes

SCRIPT = """
import dataclasses, enum, pathlib, sys
from collections import namedtuple
from datetime import datetime, timezone
from xetrack.track.cache_keys import describe

class Mode(enum.Enum):
    FAST = "fast"

@dataclasses.dataclass(frozen=True)
class Optimizer:
    name: str
    betas: tuple = (0.9, 0.99)

@dataclasses.dataclass(frozen=True)
class Config:
    model: str
    optimizer: Optimizer
    mode: Mode
    tags: frozenset

class Own:
    def __init__(self, names):
        self.names = set(names)
    def __hash__(self):
        return hash(frozenset(self.names))
    def __eq__(self, other):
        return self.names == other.names

def f(*args, **kwargs):
    return "in" in {"a", "b", "in"}

def local():
    scale = frozenset({"a", "b", "c"})
    class Inner:
        words = {"x", "y", "z"}
        def __init__(self): self.a = "b"
        def go(self): return scale
    return lambda x: (x, scale), Inner()

lambda_, inner = local()
values = [
    Config("bert", Optimizer("adam"), Mode.FAST, frozenset({"a", "b", "c"})), Own("abc"), inner, lambda_, Mode, f,
    pathlib.Path("a/b"), datetime(2024, 1, 1, tzinfo=timezone.utc), "text", b"bytes", {"a": 1}.keys,
]
for value in values:
    for func in (f, lambda_):
        for code in (False, True):
            print(describe(func, [value], {}, {"param": "a"}, cache_code=code).key)
"""


def printed(script: Path, seed: str) -> str:
    env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, check=True)
    return done.stdout


def test_keys_are_the_same_in_every_process_and_folder(tmp_path: Path) -> None:
    script, moved = tmp_path / "job.py", tmp_path / "elsewhere" / "job.py"
    moved.parent.mkdir()
    for path in (script, moved):
        path.write_text(SCRIPT)
    first = printed(script, "1")
    assert first == printed(script, "2") == printed(moved, "3")
    lines = first.splitlines()
    assert len(lines) == len(set(lines)) == 44
    assert all(line.startswith("job.") for line in lines)


def test_scripts_of_other_names_share_no_key(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    for path in (one, other):
        path.write_text(SCRIPT)
    assert not {line.split(":")[1] for line in printed(one, "1").splitlines()} & {
        line.split(":")[1] for line in printed(other, "1").splitlines()
    }
