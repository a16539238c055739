"""Whatever the bytes, nothing but an ``XetrackError`` leaves the package: a few hundred tries, and the corpus.

``scripts/fuzz`` tries for as long as it is given. What it found is in the corpus.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import example
from tests.fuzz.targets import CORPUS, TARGETS

#: Tries of the targets that are quick; the others need a store for each.
QUICK = {"lines": 200, "records": 200, "import_packed": 60, "import_parquet": 60}
STORES = 8


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Rows that nobody can read are told in the program's log, hundreds of times here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("target", TARGETS)
def test_odd_bytes_end_well_or_with_an_error_of_xetrack(target: str) -> None:
    @settings(max_examples=QUICK.get(target, STORES))
    @given(random=st.randoms(use_true_random=False))
    def attempt(random: Random) -> None:
        TARGETS[target](example(target, random))

    attempt()


@pytest.mark.parametrize(
    ("target", "name"), [(file.parent.name, file.name) for file in sorted(CORPUS.glob("*/*"))], ids=str
)
def test_the_corpus_ends_well_or_with_an_error_of_xetrack(target: str, name: str) -> None:
    TARGETS[target]((CORPUS / target / name).read_bytes())
