"""Measure latency and throughput under load: python throughput_benchmark_template.py [load.db]

Each request is a row with its own time; a line for each level of concurrency sums them up. Put your request into
`handle`.
"""

from __future__ import annotations

import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from xetrack import Tracker

DB = sys.argv[1] if len(sys.argv) > 1 else "load.db"
REQUESTS, WARMUP = 60, 10


def handle(number: int) -> dict[str, Any]:
    """One request: here a little work, in your benchmark a call of the service."""
    total = sum(i * i for i in range(2_000))
    return {"request": number, "ok": total > 0}


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    for workers in (1, 2, 4):
        params = {"workers": workers, "service": "local"}
        run = f"workers-{workers}"
        with Tracker(DB, table="requests", track_id=run, params=params, raise_on_error=False) as requests:

            def one(number: int, requests: Tracker = requests) -> None:
                requests.track(handle, args=[number], params={"warmup": number < WARMUP})

            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(one, range(WARMUP)))
                started = time.perf_counter()
                list(pool.map(one, range(WARMUP, WARMUP + REQUESTS)))
                seconds = time.perf_counter() - started
            frame = requests.to_df()
        times = frame.loc[~frame["warmup"].astype(bool), "function_time"].tolist()
        with Tracker(DB, table="metrics", track_id=run, params=params) as metrics:
            metrics.log(
                {
                    "throughput_rps": round(REQUESTS / seconds, 2),
                    "latency_mean_ms": round(1000 * statistics.fmean(times), 4),
                    "latency_p50_ms": round(1000 * percentile(times, 0.5), 4),
                    "latency_p99_ms": round(1000 * percentile(times, 0.99), 4),
                    "failed": int((frame["error"].fillna("") != "").sum()),
                }
            )


if __name__ == "__main__":
    main()
