"""How well a function cache served: hits and misses by function, and the time that hits saved."""

from __future__ import annotations

from typing import Any

import msgspec

from xetrack.errors import ColumnNotFound
from xetrack.read.reader import Reader


class FunctionHits(msgspec.Struct, frozen=True):
    """Calls of one function; ``saved_s`` is what the hits would have taken, as long as a mean miss."""

    function: str
    calls: int
    hits: int
    misses: int
    failed: int
    hit_rate: float
    mean_miss_s: float | None
    saved_s: float


class CacheHits(msgspec.Struct):
    """The same for a whole table; ``sources`` counts the hits by the run that computed them."""

    db: str
    table: str
    calls: int
    hits: int
    misses: int
    hit_rate: float
    saved_s: float
    functions: list[FunctionHits] = []
    sources: dict[str, int] = {}

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def analyze_cache_hits(db: str, table: str = "default", *, engine: Any = "sqlite") -> CacheHits:
    """Count hits and misses of the tracked calls in a table.

    Raises:
        ColumnNotFound: the table has no column ``cache``: nothing was tracked with a cache.
    """
    reader = Reader(db, engine=engine, table=table)
    frame = reader._table.frame()
    if "cache" not in frame:
        raise ColumnNotFound("cache", [])
    rows = frame[frame["cache"].notna()].copy()
    rows["is_hit"] = rows["cache"] != ""
    if "error" in rows:
        rows["is_failed"] = rows["error"].fillna("") != ""
    else:
        rows["is_failed"] = False
    functions = [_of(str(name), group) for name, group in rows.groupby("function_name", sort=False)]
    hits, calls = sum(one.hits for one in functions), sum(one.calls for one in functions)
    sources = rows[rows["is_hit"]]["cache"].value_counts()
    return CacheHits(
        db=str(db),
        table=reader.table_name,
        calls=calls,
        hits=hits,
        misses=calls - hits,
        hit_rate=hits / calls if calls else 0.0,
        saved_s=sum(one.saved_s for one in functions),
        functions=functions,
        sources={str(run): int(count) for run, count in sources.items()},
    )


def _of(name: str, group: Any) -> FunctionHits:
    hits = int(group["is_hit"].sum())
    misses = group[~group["is_hit"] & ~group["is_failed"]]
    mean_s = float(misses["function_time"].mean()) if len(misses) else None
    return FunctionHits(
        function=name,
        calls=len(group),
        hits=hits,
        misses=len(group) - hits,
        failed=int(group["is_failed"].sum()),
        hit_rate=hits / len(group),
        mean_miss_s=mean_s,
        saved_s=hits * (mean_s or 0.0),
    )
