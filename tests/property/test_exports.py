"""An export is the table at a position of the log, whatever comes behind it."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.test_projection import STEPS, expected, history, typed, write
from xetrack.exchange.replays import Replay
from xetrack.log import events as ev
from xetrack.log.cells import cell
from xetrack.log.log import FileLog
from xetrack.log.ranges import Frontier
from xetrack.tables.sqlite import SqliteTables


def found(replay: Replay, where: str | None = None) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
    """Columns and rows as a table shows them, from the values as they were logged."""
    columns = [column for column in replay.columns if column.name not in ("timestamp", "track_id")]
    rows = []
    for row in replay.rows(where=where):
        cells = []
        for column in columns:
            value = cell(row.values.get(column.key), column.type)
            if value is not None:
                # As SQLite holds them.
                value = float(value) if column.type == "float" else value
                value = str(value) if column.type == "bigint" else value
            cells.append(typed(value))
        rows.append((typed(row.values["track_id"]), *cells))
    return [(column.name, column.type) for column in columns], rows


@given(steps=STEPS, cut=st.integers(0, 16))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_replay_of_a_position_is_the_table_of_that_time(tmp_path_factory: Any, steps: list[Any], cut: int) -> None:
    folder = tmp_path_factory.mktemp("export")
    log = FileLog(folder / "t.db.events")
    early = [event for events in history(steps[:cut]) for event in events]
    authors = history(steps)
    for author, events in enumerate(authors):
        if events:
            write(folder / "t.db.events", author, len(events), events)
    position = Frontier()
    for event in early:
        position.add(*ev.split_id(event.id))
    later = [event for events in authors for event in events if event not in early]
    redactions = [event for event in later if isinstance(event, ev.PayloadRedacted)]
    (folder / "then").mkdir()
    with Replay(log, "default", folder / "then", position) as then:
        columns, rows = expected([*early, *redactions])
        assert found(then) == (columns, rows)
        assert found(then, "1") == (columns, rows)
        assert not then.missing
    (folder / "now").mkdir()
    with Replay(log, "default", folder / "now") as now:
        assert found(now) == expected([event for events in authors for event in events])
        assert len(now.position) == sum(map(len, authors))


def test_both_replays_give_a_row_one_number(tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("rows")
    log = FileLog(folder / "t.db.events")
    # Three rows of one microsecond, whose columns take several passes: int, then float, then text.
    rows = [
        ev.RowLogged(id=f"{'a' * 16}-{seq}", clock=7, run="r", data={"x": value})
        for seq, value in enumerate([1, 0.5, "three"])
    ]
    write(folder / "t.db.events", 0, 3, list(rows))
    with Replay(log, "default", folder) as replay:
        assert [row.values["x"] for row in replay.rows(where="x <> '0.5'")] == [1, "three"]
    typed_tables = SqliteTables(folder / "table.db")
    numbers = [number for (number,) in typed_tables.conn.run('SELECT _rowid_ FROM "default"')]
    typed_tables.close()
    assert len(set(numbers)) == 3
