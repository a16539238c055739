"""Damage to lines: which event it costs, and that no other is lost or wrong. Both codecs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.strategies import signed
from xetrack.log.codec import Codec, codec_for, jsonl, msgpack
from xetrack.log.events import Event, RowLogged, RunDeleted, UnknownEvent, WriterStarted

WRITER = "k4w7aq2mzb3xn5ty"


@pytest.fixture(params=[jsonl, msgpack], ids=lambda codec: codec.name)
def codec(request: pytest.FixtureRequest) -> Any:
    return request.param


def segment(count: int = 4) -> list[Event]:
    rows = [
        RowLogged(
            id=f"{WRITER}-{seq}",
            clock=1_767_322_800_000_000 + seq,
            run="calm-otter",
            # A user's own dicts may look like the beginning and the end of a line.
            data={"x": seq, "like": {"kind": "row.logged", "crc": "00000000"}, "text": 'é\n{"kind":"'},
        )
        for seq in range(1, count)
    ]
    return [WriterStarted(id=f"{WRITER}-0", clock=1_767_322_800_000_000, format="1.0"), *rows]


def test_cut_at_every_byte_keeps_all_whole_events(codec: Codec) -> None:
    events = segment()
    lines = [codec.encode(event) for event in events]
    whole = b"".join(lines)
    ends = [sum(map(len, lines[: index + 1])) for index in range(len(lines))]
    for cut in range(len(whole)):
        found = codec.split(whole[:cut])
        count = sum(end <= cut for end in ends)
        assert found.events == events[:count]
        assert found.damaged == []
        assert found.consumed == ([0, *ends][count])
        assert not codec.is_damage(whole[found.consumed : cut]) or cut == found.consumed


def test_every_bit_flipped_is_detected_and_costs_one_event_at_most(codec: Codec) -> None:
    events = segment()
    lines = [codec.encode(event) for event in events]
    whole = bytearray(b"".join(lines))
    ends = [sum(map(len, lines[: index + 1])) for index in range(len(lines))]
    for place in range(len(whole)):
        hit = sum(end <= place for end in ends)
        others = events[:hit] + events[hit + 1 :]
        is_line_end = codec is jsonl and place + 1 in ends
        for bit in range(8):
            whole[place] ^= 1 << bit
            found = codec.split(bytes(whole))
            if is_line_end and hit < len(events) - 1:
                assert found.events == events and [d.offset for d in found.damaged] == [place]
            else:
                assert found.events == others
                if found.damaged:
                    assert found.damaged[0].line == hit
                else:
                    assert hit == len(events) - 1 and codec.is_damage(bytes(whole[found.consumed :]))
            whole[place] ^= 1 << bit


def test_lost_line_ends_are_told_and_both_lines_read() -> None:
    events = segment()
    joined = b"".join(map(jsonl.encode, events)).replace(b"\n", b"x", 2)
    found = jsonl.split(joined)
    assert found.events == events
    assert [damage.reason for damage in found.damaged] == ["its line end is another byte"] * 2


def test_half_a_line_ended_by_the_next_costs_only_itself(codec: Codec) -> None:
    events = segment()
    lines = [codec.encode(event) for event in events]
    half = lines[1][: len(lines[1]) // 2]
    found = codec.split(lines[0] + half + b"\n" * (codec is jsonl) + lines[2])
    assert found.events == [events[0], events[2]]
    (damage,) = found.damaged
    assert (damage.offset, damage.line) == (len(lines[0]), 1)


def test_empty_lines_are_damage() -> None:
    line = jsonl.encode(segment()[0])
    found = jsonl.split(line + b"\n" + line)
    assert len(found.events) == 2 and [damage.line for damage in found.damaged] == [1]


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":"row.logged","id":"a-1","clock":1}',
        b'{"kind":"row.logged","id":"a-1","clock":-1,"run":"r","data":{}}',
        b'{"kind":"row.logged","id":"a-1","clock":4503599627370496,"run":"r","data":{}}',
        b'{"kind":"row.logged","id":"a-1","clock":"1","run":"r","data":{}}',
        b'{"kind":"new.kind","id":"no seq","clock":1}',
        b'{"id":"a-1","clock":1}',
        b"[1]",
        b"",
    ],
)
def test_lines_that_check_but_hold_no_event_are_damage(line: bytes) -> None:
    good = jsonl.encode(segment()[0])
    found = jsonl.split(good + signed(line) + b"\n" + good)
    assert len(found.events) == 2
    assert [damage.line for damage in found.damaged] == [1]


def test_unknown_fields_are_ignored_and_unknown_kinds_kept(codec: Codec) -> None:
    more = jsonl.decode(signed(b'{"kind":"run.deleted","id":"a-1","clock":1,"run":"r","later":{"x":1}}'))
    assert more == RunDeleted(id="a-1", clock=1, run="r")
    line = signed('{"kind":"später","id":"a-2","clock":2,"wall":1,"field":{"$x":[1,2.5,null]}}'.encode())
    event = jsonl.decode(line)
    assert event == UnknownEvent(id="a-2", clock=2, wall=1, kind_name="später", raw=line)
    assert codec.split(codec.encode(event)).events == [event]


def test_known_and_unknown_kinds_side_by_side_keep_their_order() -> None:
    unknown = signed(b'{"kind":"new","id":"a-2","clock":2}') + b"\n"
    lines = [jsonl.encode(event) for event in segment()]
    found = jsonl.split(lines[0] + unknown + lines[1])
    assert [type(event).__name__ for event in found.events] == ["WriterStarted", "UnknownEvent", "RowLogged"]


def test_a_line_is_what_any_json_reader_reads() -> None:
    (event,) = segment(2)[1:]
    line = jsonl.encode(event)
    fields = msgspec.json.decode(line)
    assert list(fields)[:3] == ["kind", "id", "clock"] and list(fields)[-1] == "crc"
    assert line.count(b"\n") == 1 and line.endswith(b"\n")


def test_a_record_inside_a_value_is_not_taken_for_one() -> None:
    inner = b"".join(map(msgpack.encode, segment()))
    event = RowLogged(id=f"{WRITER}-9", clock=9, run="r", data={"text": inner.decode("latin-1")})
    record = msgpack.encode(event)
    assert msgpack.split(record).events == [event]
    for cut in range(1, len(record), 7):
        assert msgpack.split(record[:cut], at_end=False) == ([], 0, [], 0)


def test_lone_surrogates_never_reach_a_line(codec: Codec) -> None:
    with pytest.raises(UnicodeEncodeError):
        codec.encode(RowLogged(id="a-1", clock=1, run="r", data={"x": "\ud800"}))
    with pytest.raises(UnicodeEncodeError):
        codec.encode_data({"x": "\ud800"})


def test_codec_follows_the_file_name() -> None:
    assert [codec_for(name) for name in ("a.jsonl", "a.msgpack", "b.jsonl.zst", "jsonl", "msgpack")] == [
        jsonl,
        msgpack,
        jsonl,
        jsonl,
        msgpack,
    ]
