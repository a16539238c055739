"""Check a benchmark table: validate_benchmark.py DB [TABLE]. The same as `xt validate`."""

from __future__ import annotations

from xetrack.cli.doors import validate_benchmark

if __name__ == "__main__":
    validate_benchmark()
