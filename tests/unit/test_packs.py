"""Whole lines of logs and the packs they go into."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import segments, signed
from xetrack.errors import InvalidTable, StorageError
from xetrack.log import codec
from xetrack.log import events as ev
from xetrack.log.log import FileLog
from xetrack.log.packs import all_lines, draft_pack, drafted, id_of, lines_of, same_until
from xetrack.log.scan import CHUNK_BYTES

WRITER = "k4w7aq2mzb3xn5ty"


@pytest.fixture
def log(tmp_path: Path) -> FileLog:
    return FileLog(tmp_path / "track.db.events")


def put(log: FileLog, name: str, raw: bytes) -> None:
    (log.make_folder("t") / name).write_bytes(raw)


def scanned(log: FileLog, name: str) -> tuple[list[ev.Event], list[bytes]]:
    events: list[ev.Event] = []
    lines: list[bytes] = []
    for chunk in log.scan("t", name):
        events += chunk.events
        lines += lines_of(chunk.raw, name, chunk.events, chunk.damaged, chunk.start)
    return events, lines


@given(events=segments())
def test_lines_of_both_codecs_are_those_that_jsonl_would_hold(
    tmp_path_factory: pytest.TempPathFactory, events: list[ev.Event]
) -> None:
    log = FileLog(tmp_path_factory.mktemp("log") / "track.db.events")
    expected = [codec.jsonl.encode(event)[:-1] for event in events]
    for kind in (codec.jsonl, codec.msgpack):
        name = f"{WRITER}{kind.suffix}"
        put(log, name, b"".join(map(kind.encode, events)))
        assert scanned(log, name) == (events, expected)
        assert [line for lines in all_lines(log, "t", name) for line in lines] == expected
        assert [id_of(line).decode() for line in expected] == [event.id for event in events]


@given(events=segments(max_size=4), data=st.data())
def test_lines_belong_to_their_events_whatever_byte_is_damaged(
    tmp_path_factory: pytest.TempPathFactory, events: list[ev.Event], data: st.DataObject
) -> None:
    log = FileLog(tmp_path_factory.mktemp("log") / "track.db.events")
    for kind in (codec.jsonl, codec.msgpack):
        name = f"{WRITER}{kind.suffix}"
        raw = bytearray(b"".join(map(kind.encode, events)))
        place = data.draw(st.integers(0, len(raw) - 1))
        if data.draw(st.booleans()):
            raw[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del raw[place]
        put(log, name, bytes(raw))
        found, lines = scanned(log, name)
        assert [codec.jsonl.decode(line) for line in lines] == found
        assert set(lines) <= {codec.jsonl.encode(event)[:-1] for event in events}


def test_unknown_fields_of_a_record_are_kept(log: FileLog) -> None:
    import msgspec

    fields = {"kind": "row.logged", "id": f"{WRITER}-1", "clock": 5, "run": "r", "data": {"x": 1.0}, "mood": [None]}
    put(log, f"{WRITER}.msgpack", codec._record(msgspec.msgpack.encode(fields)))
    line = signed(
        b'{"kind":"row.logged","id":"%b-1","clock":5,"run":"r","data":{"x":1.0},"mood":[null]}' % WRITER.encode()
    )
    assert scanned(log, f"{WRITER}.msgpack")[1] == [line]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_common_bytes_are_counted(tmp_path: Path, size: int) -> None:
    one, two = FileLog(tmp_path / "one.events"), FileLog(tmp_path / "two.events")
    name = f"{WRITER}.jsonl"
    for left, right in ((b"", b""), (b"", b"abc"), (b"abc", b""), (b"a", b"b"), (b"xa", b"xb" + b"c" * CHUNK_BYTES)):
        put(one, name, b"-" * size + left)
        put(two, name, b"-" * size + right)
        expected = size + len(os.path.commonprefix([left, right]))
        assert same_until(one, two, "t", name) == same_until(two, one, "t", name) == expected


def test_nothing_is_in_common_with_a_segment_that_is_not_there(tmp_path: Path) -> None:
    one, two = FileLog(tmp_path / "one.events"), FileLog(tmp_path / "two.events")
    put(one, f"{WRITER}.jsonl", b"abc")
    assert same_until(one, two, "t", f"{WRITER}.jsonl") == 0


def test_pack_is_there_when_it_is_placed(log: FileLog) -> None:
    lines = [signed(b'{"kind":"writer.alive","id":"%b-%d","clock":5}' % (WRITER.encode(), seq)) for seq in range(3)]
    raw = b"\n".join([*lines, b""])
    draft = draft_pack(log, "t", lines)
    assert log.segments("t") == []
    draft.place()
    (segment,) = log.segments("t")
    assert segment.name == f"{hashlib.sha256(raw).hexdigest()}.jsonl"
    assert log.read("t", segment.name, 0) == raw
    assert [path.name for path in log.folder("t").iterdir()] == [segment.name]


def test_discarded_pack_leaves_nothing(log: FileLog) -> None:
    draft_pack(log, "t", [b"{}"]).discard()
    assert not log.folder("t").exists()


def test_pack_where_nothing_can_be_written_or_removed_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.write_bytes(b"a file, beside whose name the system does nothing, as on a read-only disk")
    with pytest.raises(StorageError, match="name.jsonl"):
        drafted(folder, "name.jsonl", b"{}")


def test_draft_that_a_killed_process_left_goes_with_the_next(log: FileLog) -> None:
    draft_pack(log, "t", [b"{}"])._path.rename(
        log.folder("t") / f".{hashlib.sha256(b'{}' + bytes([10])).hexdigest()}.jsonl.1.2"
    )
    draft_pack(log, "t", [b"{}"]).place()
    assert len(list(log.folder("t").iterdir())) == 1


def test_same_pack_placed_twice_is_one(log: FileLog) -> None:
    one, two = draft_pack(log, "t", [b"{}"]), draft_pack(log, "t", [b"{}"])
    one.place()
    two.place()
    assert len(log.segments("t")) == 1
    assert len(list(log.folder("t").iterdir())) == 1


def test_table_that_differs_only_in_case_gets_no_folder(log: FileLog) -> None:
    log.make_folder("t")
    with pytest.raises(InvalidTable):
        draft_pack(log, "T", [b"{}"])
    assert log.tables() == ["t"]


def test_events_of_one_writer_in_two_packs_are_read_in_their_order(log: FileLog) -> None:
    """They share a reading, so that only their numbers tell."""
    lines = [
        signed(b'{"kind":"row.logged","id":"%b-%d","clock":5,"run":"r","data":{}}' % (WRITER.encode(), seq))
        for seq in range(4)
    ]
    for part in (lines[0:2] + lines[3:], lines[2:3]):
        draft_pack(log, "t", part).place()
    starts = {segment.name: 0 for segment in log.segments("t")}
    found = [event.id for run in log.merged("t", starts) for event in run.events]
    assert found == [f"{WRITER}-{seq}" for seq in range(4)]
