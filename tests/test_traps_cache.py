"""What users of xetrack 0.7 ran into with its cache: each is right here."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from xetrack.track.cache import FunctionCache
from xetrack.track.functions import track_call


@dataclasses.dataclass(frozen=True)
class C:
    value: Any


@dataclasses.dataclass(frozen=True)
class D:
    value: Any


class Five:
    def __hash__(self) -> int:
        return hash(5)


class A:
    def run(self) -> str:
        return "A"


class B:
    def run(self) -> str:
        return "B"


def shown(value: Any) -> str:
    return repr(value)


def same_name() -> Callable[[], int]:
    def run() -> int:
        return 1

    return run


def same_name_again() -> Callable[[], int]:
    def run() -> int:
        return 2

    run.__qualname__ = "same_name.<locals>.run"
    return run


def captured(n: int) -> Callable[[], int]:
    return lambda: n


Track = Callable[..., dict[str, Any]]


@pytest.fixture
def track(tmp_path: Path) -> Iterator[Track]:
    """The row of a tracked call over one cache; a call is a run of its own."""
    cache = FunctionCache(tmp_path / "cache")
    rows: list[dict[str, Any]] = []

    def tracked(func: Callable[..., Any], *args: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
        call = cache.call(func, args, {}, params or {}, f"run-{len(rows)}")
        track_call(func, args, {}, rows.append, cached=call)
        return rows[-1]

    yield tracked
    cache.close()


@pytest.mark.parametrize(
    "values",
    [
        (C(-1), C(-2)),
        (C(1), D(1)),
        (C(1), C(True), C(1.0), C("1")),
        (Five(), 5),
        (5, Five()),
        (1, 1.0, True),
        (0.0, -0.0),
        ((1, 2), (1.0, 2)),
    ],
)
def test_arguments_of_equal_hash_have_results_of_their_own(track: Track, values: tuple[Any, ...]) -> None:
    for _ in range(2):
        assert [track(shown, value)["function_result"] for value in values] == [repr(value) for value in values]


@pytest.mark.parametrize(
    ("functions", "results"),
    [
        ((lambda: 1, lambda: 2), [1, 2]),
        ((A().run, B().run), ["A", "B"]),
        ((same_name(), same_name_again()), [1, 2]),
        ((lambda x=1: x, lambda x=2: x), [1, 2]),
        ((captured(1), captured(2)), [1, 2]),
    ],
)
def test_functions_of_one_name_have_results_of_their_own(
    track: Track, functions: tuple[Callable[..., Any], ...], results: list[Any]
) -> None:
    for expected in ("", "run-"):
        rows = [track(func) for func in functions]
        assert [row["function_result"] for row in rows] == results
        assert all(row["cache"].startswith(expected) for row in rows)


def test_params_have_results_of_their_own(track: Track) -> None:
    assert [track(shown, 1, params={"model": model})["cache"] for model in ("a", "b", "a")] == ["", "", "run-0"]


def test_the_row_of_a_hit_has_the_unpacked_arguments(track: Track) -> None:
    miss, hit = track(shown, C("bert")), track(shown, C("bert"))
    assert (miss["value_value"], hit["value_value"]) == ("bert", "bert")
    assert (miss["cache"], hit["cache"]) == ("", "run-0")
    assert list(miss) == list(hit)


def test_a_generator_is_returned_and_not_stored(track: Track) -> None:
    def lazy() -> Any:
        return iter(x for x in (1, 2))

    assert [track(lazy)["cache"] for _ in range(2)] == ["", ""]


def test_lists_dicts_and_open_dataclasses_are_not_cached(track: Track) -> None:
    @dataclasses.dataclass
    class Open:
        value: int

    for value in ([1], {"a": 1}, {1}, Open(1)):
        assert not track(shown, value).get("cache")
        assert not track(shown, value).get("cache")


SCRIPT = """
import sys
from dataclasses import dataclass
from enum import Enum
from xetrack.track.cache import FunctionCache

class Mode(Enum):
    FAST = "fast"
    EXACT = "exact"

@dataclass(frozen=True)
class Optimizer:
    name: str
    schedule: tuple = ("warmup", "cosine")

@dataclass(frozen=True)
class Config:
    model: str
    mode: Mode
    optimizer: Optimizer
    tags: frozenset = frozenset({"a", "b", "c"})

@dataclass(frozen=True)
class Result:
    config: Config
    score: float

def train(config, seed=0):
    return Result(config, 0.5)

cache = FunctionCache(sys.argv[1])
hits = 0
for model in ("bert", "gpt", "llama"):
    for mode in Mode:
        config = Config(model, mode, Optimizer("adam"))
        call = cache.call(train, [config], {}, {"data": "train"}, "run-1")
        found = call.find()
        if found is None:
            call.keep(train(config))
        else:
            assert found == (Result(config, 0.5), "run-1") and type(found[0]) is Result
            hits += 1
print(hits)
"""


def test_the_same_script_hits_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    hits = []
    for seed in ("1", "2", "random"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        run = [sys.executable, str(script), str(tmp_path / "cache")]
        hits.append(subprocess.run(run, env=env, capture_output=True, text=True, check=True, timeout=60).stdout.strip())
    assert hits == ["0", "6", "6"]
