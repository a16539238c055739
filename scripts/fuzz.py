"""Gives odd bytes to every target of ``tests/fuzz``, in turn, until the time is up (docs/reliability.md, Fuzzing).

An example follows from the seed, the target's name and its number. What fails is kept in a
file: put it into ``tests/fixtures/corpus/<target>`` with the repair, and the tests play it again.
Where atheris is installed, ``--coverage`` lets it look for bytes that reach new code.
Exit status 1 if something failed, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
import traceback
from collections import Counter
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from tests.fuzz.mutate import example
from tests.fuzz.targets import TARGETS, seeds

#: The longest turn of a target.
_TURN_S = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0, metavar="N", help="how long, 1 by default")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same examples, 0 by default")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="again for more; all by default")
    parser.add_argument("--coverage", action="store_true", help="one target, guided by the code it reaches, by atheris")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="where bytes that fail are kept")
    wanted = parser.parse_args()
    logging.disable(logging.CRITICAL)
    names = wanted.target or list(TARGETS)
    if wanted.coverage:
        try:
            atheris = import_module("atheris")
        except ImportError:
            print(f"scripts/fuzz: --coverage needs atheris: {sys.executable} -m pip install atheris", file=sys.stderr)
            sys.exit(2)
        if len(names) > 1:
            parser.error("--coverage takes one --target")
        sys.exit(_guided(atheris, names[0], wanted.minutes, wanted.seed, wanted.out))
    started = time.monotonic()
    tried, found = Counter[str](), Counter[str]()
    interrupted = False
    try:
        _in_turn(names, wanted.minutes, wanted.seed, wanted.out, tried, found)
    except KeyboardInterrupt:
        interrupted = True
    for name in names:
        print(f"{name}: {tried[name]:,} tried")
    for place, count in found.most_common():
        print(f"{count:,} times {place}")
    what = f"{_counted(len(names), 'target')}, {_counted(tried.total(), 'example')}"
    sys.exit(_end(what, time.monotonic() - started, wanted.seed, len(found), interrupted, wanted.out))


def _end(what: str, seconds: float, seed: int, failed: int, interrupted: bool, out: Path) -> int:
    """Say what was tried and what came out of it; the exit status."""
    verdict = f"{_counted(failed, 'failure')}, the bytes are in {out}" if failed else "nothing wrong"
    print(f"{what}, {seconds:.0f} s, seed {seed}: {verdict}{', interrupted' if interrupted else ''}")
    return 1 if failed else 130 if interrupted else 0


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _in_turn(names: list[str], minutes: float, seed: int, out: Path, tried: Counter[str], found: Counter[str]) -> None:
    """Play the targets in turn; count the examples of each, and how often each failure was found."""
    end = time.monotonic() + 60 * minutes
    turn_s = min(_TURN_S, 60 * minutes / len(names))
    while time.monotonic() < end:
        for name in names:
            turn = min(time.monotonic() + turn_s, end)
            while time.monotonic() < turn:
                number = tried[name]
                tried[name] += 1
                raw = example(name, Random(f"{seed}/{name}/{number}"))
                try:
                    TARGETS[name](raw)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
                    last = traceback.extract_tb(error.__traceback__)[-1]
                    place = f"{name}: {type(error).__name__} in {last.filename}:{last.lineno}"
                    found[place] += 1
                    if found[place] == 1:
                        out.mkdir(parents=True, exist_ok=True)
                        kept = out / f"{name}-{seed}-{number}"
                        kept.write_bytes(raw)
                        print(f"{place}\n  {str(error)[:200]}\n  kept as {kept}", flush=True)


def _guided(atheris: Any, name: str, minutes: float, seed: int, out: Path) -> int:
    """Let atheris choose the bytes, from the corpus on, in a child that it ends; the exit status."""
    corpus = out / f"corpus-{name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, raw in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(raw)
    print("Instrumenting the code, a minute or two ...", file=sys.stderr, flush=True)
    started, interrupted = time.monotonic(), False
    child = os.fork()
    if not child:
        _let_choose(atheris, name, minutes, seed, out, corpus)
    try:
        status = os.waitpid(child, 0)[1]
    except KeyboardInterrupt:
        interrupted, status = True, os.waitpid(child, 0)[1]
    failed = not interrupted and status != 0
    return _end(f"target {name}", time.monotonic() - started, seed, int(failed), interrupted, out)


def _let_choose(atheris: Any, name: str, minutes: float, seed: int, out: Path, corpus: Path) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    atheris.instrument_all()
    options = [f"-max_total_time={int(60 * minutes)}", f"-seed={seed}", f"-artifact_prefix={out}/", "-max_len=65536"]

    def mutated(raw: bytes, most: int, chosen: int) -> bytes:
        random = Random(chosen)
        made = atheris.Mutate(raw, most) if random.random() < 0.5 else example(name, random)
        return bytes(made[:most])

    atheris.Setup(["fuzz", str(corpus), *options], TARGETS[name], custom_mutator=mutated)
    atheris.Fuzz()
    os._exit(0)


if __name__ == "__main__":
    main()
