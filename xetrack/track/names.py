"""Names for runs: two readable words and four digits.

The words are coolname's, the choice is the operating system's randomness:
``random.seed(0)`` at the top of a script must not give two runs one name, and
naming a run must not shift the user's own random numbers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from random import SystemRandom
from typing import Any

_random = SystemRandom()


def generate_track_id() -> str:
    """A new run id such as ``cool-name-1234``."""
    adjectives, animals = _words()
    return f"{_random.choice(adjectives)}-{_random.choice(animals)}-{_random.randrange(1000, 10000)}"


@lru_cache(maxsize=1)
def _words() -> tuple[Sequence[str], Sequence[str]]:
    """Coolname's adjectives and animals, read without its package.

    Importing the package takes 60 ms and draws from the global ``random``;
    its word list is a module of its own beside it.
    """
    package = importlib.util.find_spec("coolname")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("coolname is not installed", name="coolname")
    source = Path(package.origin).parent / "data" / "__init__.py"
    spec = importlib.util.spec_from_file_location("_xetrack_coolname_words", source)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"coolname has no word list at {source}", name="coolname")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config: dict[str, Any] = module.config
    return config["adjective"]["words"], config["animal"]["words"]
