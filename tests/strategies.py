"""Hypothesis strategies: values that a user may log, events of every kind, segments of them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import msgspec
from hypothesis import strategies as st

from xetrack.log import events as ev
from xetrack.log.clock import MAX_CLOCK_US
from xetrack.log.values import encode

WRITERS = ("k4w7aq2mzb3xn5ty", "abcdefgh234567ab", "zzzzzzzzzzzzzzzz")

#: Text that a file can hold: no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)

_zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**53) - 2, 2**53 + 2),
    st.sampled_from([2**53 - 1, 2**53, -(2**53), 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30]),
    st.floats(),
    texts,
    st.binary(max_size=20),
    st.datetimes(),
    st.datetimes(timezones=_zones),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    texts.filter(lambda text: "\0" not in text).map(PurePosixPath),
    st.complex_numbers(),
)
_hashable = st.one_of(st.integers(), st.booleans(), texts, st.dates(), st.tuples(st.integers(), texts))

#: Everything that comes out of the log as it went in.
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(st.sampled_from(["$int", "$float", "$dict", "$", "$tuple", "$map", "$new"]), inner, max_size=2),
        st.dictionaries(_hashable, inner, max_size=3),
    ),
    max_leaves=12,
)
wires = values.map(lambda value: encode(value, "key"))

ids = st.dictionaries(
    st.sampled_from(WRITERS),
    st.lists(st.integers(0, 50), min_size=1, max_size=4, unique=True).map(
        lambda seqs: ",".join(str(seq) for seq in sorted(seqs))
    ),
    max_size=2,
)
_optional_text = st.none() | texts
_frontier = {"seen": ids, "base": st.none() | st.just(f"{WRITERS[0]}-3")}

PAYLOADS: dict[type[ev.Event], dict[str, st.SearchStrategy[Any]]] = {
    ev.WriterStarted: {
        "format": st.just("1.0"),
        "host": _optional_text,
        "pid": st.none() | st.integers(0, 2**22),
        "dirty": st.none() | st.booleans(),
    },
    ev.WriterAlive: {},
    ev.WriterEnded: {"state": st.sampled_from(["finished", "failed"]), "error": _optional_text},
    ev.RowLogged: {
        "run": texts,
        "data": st.dictionaries(keys, wires, max_size=4),
        "batch": st.none() | st.integers(0, 100),
        "timestamp": _optional_text,
        "source": _optional_text,
    },
    ev.ValueSet: {
        "run": _optional_text,
        "rows": st.none() | ids,
        "key": keys,
        "value": wires,
        "settles": ids,
        **_frontier,
    },
    ev.RunDeleted: {"run": texts, **_frontier},
    ev.RunRewound: {"run": texts, "condition": wires, "rows": ids, **_frontier},
    ev.RunProtected: {"run": texts, **_frontier},
    ev.RunUnprotected: {"run": texts, **_frontier},
    ev.TableReset: dict(_frontier),
    ev.RowsReplaced: {"rows": ids, "keys": st.lists(keys, max_size=3), "source": _optional_text, **_frontier},
    ev.AssetAdded: {
        "digest": texts,
        "key": _optional_text,
        "size": st.none() | st.integers(0, 2**40),
        "codec": _optional_text,
        "name": _optional_text,
    },
    ev.AssetRemoved: {"digest": texts, "keeps_keys": st.none() | st.booleans(), **_frontier},
    ev.EventUndone: {"events": ids, **_frontier},
    ev.PayloadRedacted: {"events": ids, "reason": _optional_text, **_frontier},
    ev.PayloadStub: {"was": st.just("row.logged")},
}


@st.composite
def unknown_events(draw: st.DrawFn, event_id: str, clock: int) -> ev.UnknownEvent:
    """An event of a kind that a later release might have."""
    from xetrack.log.codec import jsonl

    kind = draw(st.sampled_from(["metric.renamed", "x", "rów"]))
    fields = {"kind": kind, "id": event_id, "clock": clock, "more": draw(wires)}
    line = msgspec.json.encode(fields)
    event = jsonl.decode(signed(line))
    assert isinstance(event, ev.UnknownEvent)
    return event


def signed(line: bytes) -> bytes:
    """A line of JSON with the CRC that belongs to it, without line end."""
    from zlib import crc32

    body = line.removesuffix(b"}")
    return b'%b,"crc":"%08x"}' % (body, crc32(body))


@st.composite
def events(draw: st.DrawFn, event_id: str | None = None, clock: int | None = None) -> ev.Event:
    """Any event that this release knows, or one of a later kind."""
    if event_id is None:
        event_id = f"{draw(st.sampled_from(WRITERS))}-{draw(st.integers(0, 10**6))}"
    if clock is None:
        clock = draw(st.integers(0, MAX_CLOCK_US))
    kinds: list[type[ev.Event]] = [*PAYLOADS, ev.UnknownEvent]
    kind = draw(st.sampled_from(kinds))
    if kind is ev.UnknownEvent:
        return draw(unknown_events(event_id, clock))
    wall = draw(st.none() | st.integers(0, MAX_CLOCK_US))
    fields = {name: draw(strategy) for name, strategy in PAYLOADS[kind].items()}
    return kind(id=event_id, clock=clock, wall=wall, **fields)


@st.composite
def segments(draw: st.DrawFn, writer: str = WRITERS[0], max_size: int = 12) -> list[ev.Event]:
    """What one writer writes: a header, then events whose readings never go back."""
    clock = draw(st.integers(0, 1000))
    found: list[ev.Event] = [ev.WriterStarted(id=f"{writer}-0", clock=clock, format="1.0")]
    for seq, step in enumerate(draw(st.lists(st.integers(0, 3), max_size=max_size)), 1):
        clock += step
        found.append(draw(events(f"{writer}-{seq}", clock)))
    return found


def same(one: Any, two: Any) -> bool:
    """Equal in type and value, NaN like NaN, -0.0 unlike 0.0, to any depth."""
    if isinstance(one, PurePosixPath) and isinstance(two, PurePosixPath):
        return one == two
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return len(one) == len(two) and all(
            same(a, b) for pair in zip(one.items(), two.items(), strict=True) for a, b in zip(*pair, strict=True)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    if isinstance(one, float | complex | Decimal):
        return repr(one) == repr(two)
    if isinstance(one, dt.datetime | dt.time):
        return bool(one.replace(tzinfo=None) == two.replace(tzinfo=None) and one.utcoffset() == two.utcoffset())
    return bool(one == two)
