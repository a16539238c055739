"""Rows that come by column make the tables that they make one by one, whatever stands in their lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from xetrack.log.cells import MAX_PLAIN_INT
from xetrack.log.log import FileLog
from xetrack.tables.duckdb import DuckdbTables
from xetrack.tables.projector import Projector

pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

WRITER = "abcdefgh22222222"
CLOCK = 1_767_322_800_000_000
HEADER = f'{{"kind":"writer.started","id":"{WRITER}-0","clock":{CLOCK},"format":"1.0","utc_offset_s":3600'
ALIVE = '{{"kind":"writer.alive","id":"{}","clock":{}'

#: Values as they stand in a line, by the kind of column that they are at home in.
USUAL = {
    "int": ["0", "1", "-1", "7", str(2**53 - 1), str(1 - 2**53), "null"],
    "float": ["0.5", "-0.25", "0.1", "5e-324", "1e-7", "2.5", "3", "-0.0", "null"],
    "bool": ["true", "false", "null"],
    "text": ['"x"', '"a,b"', '""', '"é"', r'"say \"hi\", she said\n"', r'"\\"', '"true"', '"1"', '":null"', "null"],
    "null": ["null"],
}  # fmt: skip
#: And those that are strange in any, some of them no JSON.
ODD = [
    "1.0", "1e2", "1E2", "-0", "1.5", str(2**53), str(2**63 - 1), str(-(2**63)), str(2**63), str(2**64), "9" * 30,
    "1.7976931348623157e308", "1e308", "1e400", f"{2**53}.0", "1e16", "0.30000000000000004", "true", '"1"', '"1.5"',
    '"NaN"', '"null"', r'"\u0061"', r'"\u0022"', r'"\u002c"', r'"a\u0000b"', r'"\ud800"', '":null,"', '","', "{}", "[]",
    '{"b":1}', '{"a":null}', "[1,2]", '[{"a":1}]', '{"$float":"NaN"}', '{"$int":"9"}', '{"$tuple":["x"]}', "null,",
    "1,", "1 ", " 1", "01", "1.", "", "NaN", "nan", "Infinity", "-inf", "+1", '"x', "1}", '1,"a":2', '"x","late":null',
]  # fmt: skip
KEYS = ["a", "b", "A", "f1", "f2", "a b", "a_b", "wall", "run", "é", 'q\\"', ":", ",", "k{"]
ENVELOPES = [
    ',"batch":1', ',"batch":"1"', ',"batch":1.5', ',"batch":null', ',"timestamp":"2024-05-01 10:00"', ',"timestamp":7',
    ',"source":"old,\\"x\\".csv"', ',"unknown":1', ',"run":"again"', ',"clock":1', ',"wall":5', ',"data":{"a":1}', ",",
]  # fmt: skip


class RowByRow(DuckdbTables):
    json_connection = None  # type: ignore[assignment]


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    """Rows come by column however few they are, and a segment in pieces of some lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xetrack.log.columns.MIN_LINES", 1)
        patch.setattr("xetrack.log.columns._PIECE_BYTES", 1200)
        patch.setattr("xetrack.log.columns._LEAST_PIECE_BYTES", 1200)
        patch.setattr("xetrack.log.columns._MAX_PAUSE", 0)
        yield


def line(body: str) -> bytes:
    raw = body.encode()
    return b'%b,"crc":"%08x"}\n' % (raw, crc32(raw))


@st.composite
def segments(draw: Any) -> bytes:
    """Rows of one or two shapes, all alike but for a few, as one writer logs them or as another program might."""
    shapes = draw(
        st.lists(
            st.dictionaries(st.sampled_from(KEYS), st.sampled_from(sorted(USUAL)), min_size=1, max_size=5),
            min_size=1,
            max_size=2,
        )
    )
    lines = [line(HEADER)]
    clock = CLOCK
    run = '"r1"'
    for seq in range(1, draw(st.integers(5, 40))):
        clock += draw(st.sampled_from([0, 1, 1, 1_000_000]))
        shape = draw(st.sampled_from(shapes))
        cells = [f'"{key}":{draw(st.sampled_from(USUAL[kind]))}' for key, kind in shape.items()]
        envelope, seq_text = "", str(seq)
        change = draw(st.integers(0, 40))
        if change == 0:
            cells[-1] = f'"{draw(st.sampled_from(KEYS))}":{draw(st.sampled_from(ODD))}'
        elif change == 1:
            cells.append(f'"{draw(st.sampled_from(KEYS))}":{draw(st.sampled_from([*ODD, "1", "null"]))}')
        elif change == 2:
            cells.pop()
        elif change == 3:
            envelope = draw(st.sampled_from(ENVELOPES))
        elif change == 4:
            run = draw(st.sampled_from(['"r2"', '"r\x01"', r'"a \"run\", b"', '"é"', "7", "null"]))
        elif change == 5:
            seq_text = draw(st.sampled_from(["007", "9" * 18, str(seq + 50)]))
        elif change == 6:
            lines.append(line(ALIVE.format(f"{WRITER}-{1000 + seq}", clock)))
        wall = f',"wall":{clock - 5_000_000}' if change == 7 else ""
        head = f'{{"kind":"row.logged","id":"{WRITER}-{seq_text}","clock":{clock}{wall},"run":{run}'
        made = line(f'{head},"data":{{{",".join(cells)}}}{envelope}')
        lines.append(made.replace(b'"', b"'", 1) if change == 8 else made)
    return b"".join(lines)


def shown(root: Path, kind: type[DuckdbTables]) -> Any:
    tables = kind(None)
    try:
        projector = Projector(FileLog(root), tables)
        projector.catch_up("default")
        state = projector.state("default")
        facts = state.columns, state.runs, state.last_clock, str(projector.frontier("default").to_wire())
        if not tables.has("default"):
            return facts
        names, rows = tables.content("default")
        return names, [row for part in rows for row in part], facts, projector.damaged("default")
    finally:
        tables.close()


def one(*cells: str) -> bytes:
    return rows(*(['"a":1', *cells] * 8)[:8])


def rows(*data: str, envelope: str = "", run: str = "r") -> bytes:
    """A row for each, all in one piece; ``envelope`` stands in the last, ``run`` not in the first."""
    lines = [line(HEADER)]
    for seq, cells in enumerate(data, 1):
        more = envelope if seq == len(data) else ""
        of_run = run if seq > 1 else "r"
        head = f'{{"kind":"row.logged","id":"{WRITER}-{seq}","clock":{CLOCK + seq},"run":"{of_run}"'
        lines.append(line(f'{head},"data":{{{cells}}}{more}'))
    return b"".join(lines)


@given(segments())
@example(one('"a":1.0'))
@example(one('"a":"1"'))
@example(one('"a":true'))
@example(one('"a":1,"a":2'))
@example(one('"b":null'))
@example(one('"a":1,'))
@example(rows('":":1,"k{":"v","n":1', '"k{":"v","n":2', '"k{":":null","n":7,"zz":5'))
@example(rows('",":1,"t":"x","n":1', '"t":"x","n":2', '"t":"x,","n":"1"'))
@example(rows('"a":1,"b":2', '"b":2', '"a":1,"a":null,"b":2'))
@example(rows('"run":1,"b":2', '"b":2', '"b":2', envelope=',"run":null'))
@example(rows('"a":1,"b":2', '"a":null,"b":2', '"b":2'))
@example(rows(*['"a":1,"long":"text"'] * 5, run="r\x01"))
@example(rows(*['"a":1,"long":"text"'] * 5, run="a,\u00e9:{}"))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_rows_by_column_are_rows_one_by_one(tmp_path_factory: Any, segment: bytes) -> None:
    folder = tmp_path_factory.mktemp("log") / "t.db.events" / "default"
    folder.mkdir(parents=True)
    (folder / f"{WRITER}.jsonl").write_bytes(segment)
    assert repr(shown(folder.parent, DuckdbTables)) == repr(shown(folder.parent, RowByRow))


@given(st.lists(st.floats(-float(MAX_PLAIN_INT), float(MAX_PLAIN_INT)), min_size=1, max_size=50))
@example([float(MAX_PLAIN_INT), -float(MAX_PLAIN_INT), 5e-324, -0.0])
@settings(max_examples=30, deadline=None)
def test_numbers_are_read_to_the_last_bit(tmp_path_factory: Any, numbers: list[float]) -> None:
    import duckdb

    from xetrack.log.columns import Columns

    root = tmp_path_factory.mktemp("log") / "t.db.events"
    log = FileLog(root)
    writer = log.writer("default")
    for number in [0.1, *numbers]:
        writer.append_row("r", {"x": number})
    writer.release()
    (segment,) = log.segments("default")
    parts = [run.columns for run in log.merged("default", {segment.name: 0}, columns=duckdb.connect)]
    read = [number for part in parts if isinstance(part, Columns) for number in part.data["x"].to_pylist()]
    assert list(map(float.hex, read)) == list(map(float.hex, [0.1, *numbers]))
