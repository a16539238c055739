"""Hits and misses of a cache: analyze_cache_hits.py DB [TABLE]. The same as `xt cache hits`."""

from __future__ import annotations

from xetrack.cli.doors import analyze_cache_hits

if __name__ == "__main__":
    analyze_cache_hits()
