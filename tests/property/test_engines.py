"""Both engines give equal frames, whatever was logged, however it arrived."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.test_projection import STEPS, WRITERS, history, write
from xetrack.log.log import FileLog
from xetrack.tables.base import Backend, Selection
from xetrack.tables.duckdb import DuckdbTables
from xetrack.tables.frames import frame
from xetrack.tables.layout import FIXED
from xetrack.tables.projector import Projector
from xetrack.tables.sqlite import SqliteTables

pytest.importorskip("duckdb")

#: Values beside those of the projection's test, which both engines must show alike.
ODD = [
    {"$float": "-Infinity"},
    {"$bytes": "AAE="},
    {"$datetime": "2024-01-02T03:04:05"},
    {"$datetime": "0001-01-01T00:00:00.000001"},
    {"$datetime": "2024-01-02T03:04:05.000006+01:00"},
    {"$int": str(2**127)},
    {"$int": str(-(2**200))},
    {"$timedelta": 1500000},
    {"$asset": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
    {"k": [1, None, {"$float": "NaN"}], "q'\"": {"$tuple": [1]}},
    "",
    "a\x00b",
    "é'\"",
    -0.0,
    5e-324,
]


@pytest.fixture(autouse=True, scope="module")
def short_stretches() -> Iterator[None]:
    """Rows come by column however few they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xetrack.log.columns.MIN_LINES", 1)
        yield


class EagerTables(DuckdbTables):
    """Writes a generation where the original waits for millions of cells."""

    cheap_cells = heavy_cells = 8
    large_bytes = 1500


@st.composite
def histories(draw: Any) -> list[list[Any]]:
    """Random histories with some of their values replaced by odd ones."""
    steps = []
    for author, reads, wait, (action, run, detail) in draw(STEPS):
        if action == "log" and draw(st.booleans()):
            detail = {key: draw(st.sampled_from(ODD)) for key in detail}
        elif action == "set" and draw(st.booleans()):
            detail = (detail[0], draw(st.sampled_from(ODD)))
        steps.append((author, reads, wait, (action, run, detail)))
    return history(steps)


def shown(projector: Projector, backend: Backend, which: Selection) -> pd.DataFrame:
    columns = projector.state("default").columns
    if not backend.has("default"):
        return frame(list(FIXED), ["text", "text"], [])
    return backend.frame("default", columns, which)


def assert_same(one: tuple[Projector, Backend], two: tuple[Projector, Backend]) -> None:
    for which in (Selection(), Selection("r1"), Selection(None, 3, 2)):
        pd.testing.assert_frame_equal(shown(*one, which), shown(*two, which))
    for made in (one, two):
        made[0].refresh("default")
    if one[1].has("default"):
        assert list(one[1].run_counts("default").items()) == list(two[1].run_counts("default").items())
        assert one[1].count("default") == two[1].count("default")
        assert one[1].latest_run("default") == two[1].latest_run("default")


@pytest.mark.parametrize("kind", [DuckdbTables, EagerTables])
@given(
    authors=histories(),
    arrivals=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from("nnpr")), max_size=8),
    limit=st.sampled_from([2, 100]),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_frames_are_equal_for_any_history(
    kind: type[DuckdbTables],
    tmp_path_factory: Any,
    authors: list[list[Any]],
    arrivals: list[tuple[int, int, str]],
    limit: int,
) -> None:
    root: Path = tmp_path_factory.mktemp("log") / "t.db.events"
    log, path = FileLog(root), root.parent / "t.duckdb"
    lite, duck = SqliteTables(None, limit=limit), kind(path, limit=limit)
    one, two = Projector(log, lite), Projector(log, duck)
    there = [0, 0, 0]
    for author, more, then in [*arrivals, *((author, 99, "r") for author in range(len(WRITERS)))]:
        there[author] = min(there[author] + more, len(authors[author]))
        if not there[author]:
            continue
        write(root, author, there[author], authors[author])
        one.catch_up("default")
        two.catch_up("default")
        assert_same((one, lite), (two, duck))
        if then == "p":
            assert duck.publish(always=True)
            assert_same((one, lite), (two, duck))
        elif then == "r":  # another process takes the tables up
            duck.close()
            duck = kind(path, limit=limit)
            two = Projector(log, duck)
            two.catch_up("default")
            assert_same((one, lite), (two, duck))
    if duck.has("default"):
        again = DuckdbTables(None, limit=limit)
        Projector(log, again).catch_up("default")
        (names, rows), (other_names, other_rows) = duck.content("default"), again.content("default")
        assert names == other_names
        assert [row for part in rows for row in part] == [row for part in other_rows for row in part]
        again.close()
    duck.close()
    lite.close()
    assert not list(root.parent.glob("*.tmp*"))
