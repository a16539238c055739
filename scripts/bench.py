"""Speed and memory beside floors that are measured in the same run.

A floor is the least that anyone must do for the same result with the same libraries. Both sides
alternate and the figure is the ratio of their medians, or the median of the ratios of short turns, so a slow
or busy machine slows both.
The package is compiled to bytecode first, as every installer does with it and did with the libraries beside it.
`--quick` has fewer rows and turns: it shows that the bench works, not how fast xetrack is.
On two shared cores it takes 5 to 10 minutes.
Exit status 1 if a target is missed (`--quick`: never).
"""

from __future__ import annotations

import argparse
import compileall
import json
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib import import_module

from scripts import (
    bench_append,
    bench_cache,
    bench_cli,
    bench_duckdb,
    bench_large,
    bench_live,
    bench_merge,
    bench_peers,
    bench_tables,
)
from scripts.bench_tools import ROOT
from scripts.peer_drivers import PEERS


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and turns")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--peers", nargs="*", metavar="NAME", help="compare with other trackers, or these, instead")
    instead.add_argument("--large", action="store_true", help="what a replay of large and odd stores takes instead")
    parser.add_argument("--out", metavar="FILE", help="with --peers: where the JSON goes as well")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        module, name, *arguments = options.worker
        numbers = [int(text) if text.isdecimal() else text for text in arguments]
        print(json.dumps(getattr(import_module(module), name)(*numbers)))
        return

    if options.out and options.peers is None:
        parser.error("--out goes with --peers")
    compileall.compile_dir(ROOT / "xetrack", quiet=1)
    if options.peers is not None:
        if unknown := set(options.peers) - set(PEERS):
            parser.error(f"--peers: no {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
        bench_peers.main(options.quick, options.json, options.out, options.peers)
        return
    if options.large:
        bench_large.main(options.quick, options.json)
        return
    quick = options.quick
    figures = [
        *bench_append.imports(5 if quick else 15),
        *bench_append.appends(1_000, 10 if quick else 300),
        *bench_append.tracked(1_000, 5 if quick else 100),
        *bench_cli.commands(50_000 if quick else 1_000_000, 5 if quick else 15),
        *bench_cache.cached(500 if quick else 2_000, 5 if quick else 15),
        *bench_tables.large(50_000 if quick else 1_000_000, 1 if quick else 3),
        *bench_duckdb.columnar(50_000 if quick else 1_000_000, 1 if quick else 5),
        *bench_live.many_segments(500 if quick else 10_000),
        *bench_live.audience(20_000 if quick else 50_000, 1 if quick else 11),
        *bench_merge.merges(50_000 if quick else 1_000_000, 1 if quick else 5),
    ]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    where = {
        "host": platform.node(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit,
        "python": platform.python_version(),
        "quick": quick,
    }
    if options.json:
        print(json.dumps({**where, "figures": [{**f._asdict(), "met": f.met} for f in figures]}, indent=2))
    else:
        print(", ".join(f"{name} {fact}" for name, fact in where.items()))
        print("| name | ratio | target | measured | floor |\n|---|---|---|---|---|")
        for f in figures:
            miss = "" if f.met else " MISSED"
            target = "-" if f.target is None else f"{f.target:g} {f.unit}"
            print(f"| {f.name} | {f.value:.2f} {f.unit}{miss} | {target} | {f.measured} | {f.floor} |")
    if not quick and not all(figure.met for figure in figures):
        sys.exit(1)


if __name__ == "__main__":
    main()
