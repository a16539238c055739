"""What goes into a codec comes out, and what was damaged never comes out wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import strategies
from tests.strategies import same
from xetrack.log.codec import Codec, jsonl, msgpack
from xetrack.log.events import Event, RowLogged
from xetrack.log.values import cell, column_type, decode, encode, flag

codecs = pytest.mark.parametrize("codec", [jsonl, msgpack], ids=lambda codec: codec.name)


@given(value=strategies.values)
@settings(max_examples=400)
def test_a_value_comes_out_of_both_codecs_as_it_went_in(value: Any) -> None:
    wire = encode(value, "key")
    assert same(decode(wire), value)
    for codec in (jsonl, msgpack):
        event = RowLogged(id="k4w7aq2mzb3xn5ty-1", clock=1, run="r", data={"key": wire})
        (read,) = codec.split(codec.encode(event)).events
        assert isinstance(read, RowLogged)
        assert same(decode(read.data["key"]), value)


@given(value=strategies.values)
def test_every_value_has_a_flag_a_column_type_and_a_cell(value: Any) -> None:
    wire = encode(value, "key")
    kind = column_type(flag(wire))
    assert isinstance(cell(wire, kind), int | float | str | bytes | None)
    assert isinstance(cell(wire, "text"), str | None)
    assert (flag(wire) == 0) == (wire is None)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "$int",
                    "$float",
                    "$bytes",
                    "$datetime",
                    "$timedelta",
                    "$complex",
                    "$map",
                    "$tuple",
                    "$dict",
                    "$asset",
                    "$new",
                    "a",
                ]
            ),
            inner,
            max_size=2,
        )
    ),
    max_leaves=6,
)


@given(wire=_json)
def test_tags_that_hold_what_they_should_not_are_read_and_shown_all_the_same(wire: Any) -> None:
    decode(wire)
    assert isinstance(cell(wire, column_type(flag(wire))), int | float | str | bytes | None)
    assert isinstance(cell(wire, "text"), str | None)


@codecs
@given(event=strategies.events())
@settings(max_examples=200)
def test_an_event_comes_out_as_it_went_in(codec: Codec, event: Event) -> None:
    line = codec.encode(event)
    assert codec.split(line) == ([event], len(line), [], 1)


@given(event=strategies.events())
def test_the_codecs_carry_the_same_events(event: Event) -> None:
    (by_msgpack,) = msgpack.split(msgpack.encode(event)).events
    assert jsonl.encode(by_msgpack) == jsonl.encode(event)


@codecs
@given(
    data=st.dictionaries(strategies.keys, strategies.wires, max_size=4),
    seq=st.integers(0, 10**9),
    clock=st.integers(0, 2**52 - 1),
    wall=st.none() | st.integers(0, 2**52 - 1),
    run=strategies.texts,
    batch=st.none() | st.integers(0, 10**9),
)
def test_a_framed_row_has_the_bytes_of_its_event(
    codec: Codec, data: dict[str, Any], seq: int, clock: int, wall: int | None, run: str, batch: int | None
) -> None:
    writer = "k4w7aq2mzb3xn5ty"
    event = RowLogged(id=f"{writer}-{seq}", clock=clock, wall=wall, run=run, data=data, batch=batch)
    assert codec.row_framer(writer, run)(seq, clock, codec.encode_data(data), wall, batch) == codec.encode(event)


@codecs
@given(segment=strategies.segments(), cut=st.integers(0, 10**6))
def test_split_at_any_byte_and_joined_again_reads_the_same(codec: Codec, segment: list[Event], cut: int) -> None:
    lines = b"".join(map(codec.encode, segment))
    cut %= len(lines) + 1
    first = codec.split(lines[:cut], at_end=False)
    second = codec.split(lines[first.consumed :])
    assert first.events + second.events == segment
    assert first.damaged == second.damaged == []


@codecs
@given(segment=strategies.segments(), place=st.integers(0, 10**6), other=st.integers(1, 255))
@settings(max_examples=300)
def test_a_changed_byte_is_noticed_and_costs_no_other_event(
    codec: Codec, segment: list[Event], place: int, other: int
) -> None:
    lines = [codec.encode(event) for event in segment]
    buffer = bytearray(b"".join(lines))
    place %= len(buffer)
    buffer[place] ^= other
    hit = next(index for index in range(len(lines)) if place < sum(map(len, lines[: index + 1])))
    found = codec.split(bytes(buffer))
    others = segment[:hit] + segment[hit + 1 :]
    # A lost line end costs nothing, unless it was the last.
    assert found.events in (others, segment)
    assert found.damaged or codec.is_damage(bytes(buffer[found.consumed :]))


@codecs
@given(segment=strategies.segments(), junk=st.binary(max_size=60), place=st.integers(0, 12))
def test_junk_between_lines_costs_no_event(codec: Codec, segment: list[Event], junk: bytes, place: int) -> None:
    lines = [codec.encode(event) for event in segment]
    place = min(place, len(lines) - 1)
    buffer = b"".join([*lines[:place], junk, b"\n" if codec is jsonl else b"", *lines[place:]])
    found = codec.split(buffer)
    assert found.events == segment
    assert bool(found.damaged) == bool(junk or codec is jsonl)
