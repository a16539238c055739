"""Gives odd bytes to every target of ``tests/fuzz``, in turn, until the time is up (docs/reliability.md, Fuzzing).

An example follows from the seed, the target's name and its number. What fails is kept in a
file: put it into ``tests/fixtures/corpus/<target>`` with the repair, and the tests play it again.
Where atheris is installed, ``--coverage`` lets it look for bytes that reach new code.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutate import example
from tests.fuzz.targets import TARGETS, seeds

#: The longest turn of a target.
_TURN_S = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="again for more; all by default")
    parser.add_argument("--coverage", action="store_true", help="one target, guided by the code that it reaches")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="where bytes that fail are kept")
    wanted = parser.parse_args()
    logging.disable(logging.CRITICAL)
    names = wanted.target or list(TARGETS)
    if wanted.coverage:
        _guided(names[0], wanted.minutes, wanted.seed, wanted.out)
    sys.exit(1 if _in_turn(names, wanted.minutes, wanted.seed, wanted.out) else 0)


def _in_turn(names: list[str], minutes: float, seed: int, out: Path) -> int:
    """Play the targets in turn; how many different failures there were."""
    end = time.monotonic() + 60 * minutes
    turn_s = min(_TURN_S, 60 * minutes / len(names))
    tried, found = Counter[str](), Counter[str]()
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
    for name in names:
        print(f"{name}: {tried[name]} tried")
    for place, count in found.most_common():
        print(f"{count} times {place}")
    return len(found)


def _guided(name: str, minutes: float, seed: int, out: Path) -> None:
    """Let atheris choose the bytes, from the corpus on. Does not return."""
    atheris: Any = import_module("atheris")

    corpus = out / f"corpus-{name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, raw in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(raw)
    atheris.instrument_all()
    options = [f"-max_total_time={int(60 * minutes)}", f"-seed={seed}", f"-artifact_prefix={out}/", "-max_len=65536"]

    def mutated(raw: bytes, most: int, chosen: int) -> bytes:
        random = Random(chosen)
        made = atheris.Mutate(raw, most) if random.random() < 0.5 else example(name, random)
        return bytes(made[:most])

    atheris.Setup(["fuzz", str(corpus), *options], TARGETS[name], custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
