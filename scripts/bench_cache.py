"""The price of the function cache: a hit, and what a miss adds to a call.

With `XETRACK_LIVE=0`: the thread that keeps the tables up takes turns with the cache, and with a bare one as well, but
how often differs from run to run. What it costs is in `bench_live.py`.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable
from typing import Any

from scripts.bench_tools import Figure, interleaved


@dataclasses.dataclass(frozen=True)
class Config:
    model: str
    learning_rate: float


def power(number: int, exponent: int = 2) -> dict[str, int]:
    return {"power": number**exponent}


def score(number: int, config: Config) -> dict[str, float]:
    return {"score": config.learning_rate * number}


def cached(calls: int, repeats: int) -> list[Figure]:
    """The figures of a call with plain arguments, and of one with a dataclass, whose fields are columns too."""
    live = os.environ.get("XETRACK_LIVE")
    os.environ["XETRACK_LIVE"] = "0"
    try:
        plain = _figures(power, (), calls, repeats)
        configured = _figures(score, (Config("bert", 0.001),), calls, repeats)
    finally:
        del os.environ["XETRACK_LIVE"]
        if live is not None:
            os.environ["XETRACK_LIVE"] = live
    # Of a miss the text of the arguments, which its entry keeps for people, is no small part then.
    hit, miss = (f._replace(name=f"{f.name}, dataclass argument") for f in configured)
    return [*plain, hit, miss._replace(target=None)]


def _figures(func: Callable[..., Any], more: tuple[Any, ...], calls: int, repeats: int) -> list[Figure]:
    """A hit beside a bare diskcache lookup and `log`; a miss beside the key, get, set and an uncached call."""
    import diskcache

    from xetrack import Tracker
    from xetrack.track.cache import FunctionCache
    from xetrack.track.functions import track_call

    with tempfile.TemporaryDirectory(prefix="xetrack-bench-") as folder:
        tracker = Tracker(os.path.join(folder, "track.db"), track_id="bench-run-1")
        cache = FunctionCache(os.path.join(folder, "cache"))
        bare = diskcache.Cache(os.path.join(folder, "bare"), eviction_policy="none", cull_limit=0)
        stored = {"result": func(3, *more), "cache": "bench-run-1"}
        bare["key"] = stored
        numbers = iter(range(10**9))

        def call(number: int, with_cache: bool = True) -> None:
            args = [number, *more]
            found = cache.call(func, args, {}, {}, "bench-run-1") if with_cache else None
            track_call(func, args, {}, tracker.log, cached=found)

        call(3)
        entry = cache.read(str(cache.key(func, [3, *more], {}, {})))
        logged = {key: value for key, value in tracker.latest.items() if key not in ("track_id", "timestamp")}

        def lookup_and_log() -> None:
            for _ in range(calls):
                bare.get("key")
                tracker.log(logged)

        def hit() -> None:
            for _ in range(calls):
                call(3)

        def write_and_call() -> None:
            for _ in range(calls):
                number = next(numbers)
                key = cache.key(func, [number, *more], {}, {})
                bare.get(key)
                bare.set(key, entry, tag="bench-run-1")
                call(number, with_cache=False)

        def miss() -> None:
            for _ in range(calls):
                call(next(numbers) + 10)

        times = interleaved(repeats, lookup_and_log, hit, write_and_call, miss)
        tracker.close()
        cache.close()
        bare.close()
    looked, found, written, missed = (1e6 * seconds / calls for seconds in times)
    lookup = f"diskcache get + log, {looked:.1f} µs"
    write = f"key + diskcache get and set + uncached call, {written:.1f} µs"
    return [
        Figure("track(), cache hit", found / looked, "x", 3, f"{found:.1f} µs", lookup),
        Figure("track(), cache miss", missed / written, "x", 1.25, f"{missed:.1f} µs", write),
    ]
