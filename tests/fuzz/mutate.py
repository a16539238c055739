"""Bytes to try: honest ones that were changed, and lines that check but say odd things.

All of it is drawn from a ``random.Random``, so that a seed, or Hypothesis, plays it again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from tests.fuzz.targets import WRITER, seeds, signed_lines, signed_records
from tests.strategies import PAYLOADS
from xetrack.log.events import Event

#: Bytes that mean something to one of the readers.
_TOKENS = [
    b"\n", b"\r", b"\0", b'"', b",", b"{", b"}", b"[", b"]", b"\\", b"\xff", b"\xc1XT\n", b"\xef\xbb\xbf", b"\x80",
    b'{"kind":', b',"crc":"', b"null", b"NaN", b"1e999", b"-0", b"\\ud800", b"9" * 30, b"[" * 500, b"{" * 500,
    b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x28\xb5\x2f\xfd", b"SQLite format 3\x00", b"'", b"--", b";", b"%",
]  # fmt: skip
_TEXTS = [
    "", "a", "x", "loss", "honest", "track_id", "timestamp", "\0", "é", "\ud7ff", "\U0001f388", "a\nb", '"', "'", "`",
    "a b", "a_b", "A", "rowid", "_rowid_", "oid", "select", "events", "assets", "sqlite_master", "_xetrack_rows", "-",
    "..", "/", "a" * 300, "%s", "{x}", "$", "$int", "*", "\u202e", "0", "1", "true", "null", "x;DROP TABLE events",
]  # fmt: skip
_TAGS = [
    "$int", "$float", "$bytes", "$datetime", "$date", "$time", "$timedelta", "$decimal", "$uuid", "$path", "$complex",
    "$tuple", "$map", "$dict", "$asset", "$new",
]  # fmt: skip
_NUMBERS: list[Any] = [0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**40, 0.0, -0.0, 0.5, 1e308, 5e-324]
_RANGES = ["", "0", "0-1", "0-999999999999999", "0-99999999999999999999", "5-1", "-1", "1,1", "x", "0-0,2", "٣", "1_0"]


def changed(random: Random, honest: Sequence[bytes]) -> bytes:
    """One of these, with a few bytes flipped, cut out, moved, doubled or put in."""
    raw = bytearray(random.choice(honest) if honest else b"")
    for _ in range(random.randint(1, 4)):
        at, until = sorted((random.randint(0, len(raw)), random.randint(0, len(raw))))
        if random.random() < 0.7:
            until = min(until, at + 16)
        match random.randrange(7):
            case 0 if at < len(raw):
                raw[at] ^= 1 << random.randrange(8)
            case 1:
                del raw[at:until]
            case 2:
                raw[at:at] = raw[at:until] * random.choice((1, 1, 2, 50))
            case 3:
                raw[at:at] = random.choice(_TOKENS)
            case 4:
                raw[at:until] = random.choice(_TOKENS)
            case 5:
                piece = raw[at:until]
                del raw[at:until]
                place = random.randint(0, len(raw))
                raw[place:place] = piece
            case 6:
                other = random.choice(honest) if honest else b""
                start = random.randint(0, len(other))
                raw[at:until] = other[start : start + random.choice((4, 64, 1024))]
    return bytes(raw)


# -- events that check, and say odd things ------------------------------------


def odd_value(random: Random, depth: int = 0) -> Any:
    """A value of JSON: what a user logs, what only looks like it, and what nobody would."""
    match random.randrange(9 if depth < 3 else 4):
        case 0:
            return random.choice(_TEXTS)
        case 1:
            return random.choice(_NUMBERS)
        case 2:
            return random.choice([None, True, False])
        case 3:
            return random.choice([0.25, 3, "text"])
        case 4:
            return [odd_value(random, depth + 1) for _ in range(random.randrange(4))]
        case 5:
            return {random.choice(_TEXTS): odd_value(random, depth + 1) for _ in range(random.randrange(4))}
        case 6 | 7:
            content = random.choice([*_TEXTS, "9" * 25, "9" * 5000, "NaN", "2026-01-02T03:04:05", "AAE=", "-"])
            return {random.choice(_TAGS): content if random.random() < 0.5 else odd_value(random, depth + 1)}
        case _:
            return f"<nested {random.choice((10, 150, 300, 400, 2000))}>"


def _odd_ids(random: Random) -> Any:
    if random.random() < 0.1:
        return odd_value(random, 2)
    return {random.choice([WRITER, "honest", *_TEXTS[:3]]): random.choice(_RANGES) for _ in range(random.randrange(3))}


def _usual(random: Random, name: str) -> Any:
    if name in ("rows", "settles", "seen", "events"):
        return _odd_ids(random)
    if name == "data":
        return {random.choice(_TEXTS): odd_value(random) for _ in range(random.randrange(5))}
    if name == "run":
        return random.choice(["honest", "r", *_TEXTS[:2]])
    if name == "base":
        return random.choice([f"{WRITER}-{random.randrange(8)}", None, "x"])
    if name == "digest":
        return random.choice(["0" * 64, "..", "x"])
    if name == "format":
        return "1.0"
    return odd_value(random, 2)


def odd_event(random: Random, seq: int) -> dict[str, Any]:
    """The fields of an event of any kind, mostly those that it has."""
    kind: type[Event] = random.choice(list(PAYLOADS))
    event: dict[str, Any] = {
        "kind": kind.__struct_config__.tag,
        "id": f"{WRITER}-{seq}",
        "clock": 1_795_000_000_000_000 + seq,
    }
    if random.random() < 0.05:
        event["kind"] = odd_value(random, 2)
    if random.random() < 0.1:
        event["id"] = random.choice(
            [
                f"{WRITER}-{10**14}",
                f"{WRITER}-{10**18}",
                f"{WRITER}-{'9' * 5000}",
                "x",
                "-1",
                "a-",
                "a-b",
                "a-٣",
                "a\n-1",
                7,
                f"{WRITER}-0",
            ]
        )
    if random.random() < 0.1:
        event["clock"] = random.choice([0, 2**52 - 1, 2**52, -1, 2**70, "x", 1.5])
    if random.random() < 0.2:
        event["wall"] = random.choice([None, 0, -1, 2**52, 2**63, 2**70, -(2**70), "x"])
    for name in PAYLOADS[kind]:
        if random.random() < 0.9:
            event[name] = _usual(random, name) if random.random() < 0.9 else odd_value(random, 1)
    for name in random.sample(["batch", "timestamp", "source", "rank", "utc_offset_s", "more"], random.randrange(3)):
        event[name] = odd_value(random, 2)
    return event


def _as_text(event: dict[str, Any]) -> bytes:
    # Not by msgspec, which writes no numbers beyond 64 bits.
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return re.sub('"<nested ([0-9]+)>"', _nested, text).encode("utf-8", "replace")


def _nested(found: re.Match[str]) -> str:
    depth = int(found[1])
    return '[{"a":' * (depth // 2) + "1" + "}]" * (depth // 2)


def odd_segment(random: Random) -> bytes:
    """Lines that all check. The first is a header, mostly."""
    events = [odd_event(random, seq) for seq in range(random.randint(1, 8))]
    if random.random() < 0.8:
        events.insert(
            0, {"kind": "writer.started", "id": f"{WRITER}-99", "clock": 1_794_000_000_000_000, "format": "1.0"}
        )
    return signed_lines(b"\n".join([*map(_as_text, events), b""]))


def odd_records(random: Random) -> bytes:
    """The same as records."""
    found = []
    for line in odd_segment(random).splitlines():
        try:
            fields = msgspec.json.decode(line)
            fields.pop("crc", None)
            if random.random() < 0.2 and isinstance(fields.get("data"), dict):
                fields["data"]["odd"] = random.choice(
                    [b"a", {1: 2}, {None: 1}, float("nan"), msgspec.msgpack.Ext(1, b"")]
                )
            found.append(b"\xc1XT\n" + bytes(8) + msgspec.msgpack.encode(fields))
        except (msgspec.MsgspecError, OverflowError, RecursionError):
            continue
    return signed_records(b"".join(found))


def odd_arguments(random: Random) -> bytes:
    """Arguments of `xt`: a command, what it may be told, and what nobody would tell it."""
    from xetrack.cli.root import FAMILIES

    commands = [name for names in FAMILIES.values() for name in names.split() if name != "watch"]
    options = [
        "--json", "--csv", "--table", "--table=x", "--engine=duckdb", "--engine=x", "--where", "--columns=x", "-n",
        "--format=jsonl", "--format=x", "--sort", "--at", "--at=-1d", "--track-id", "--unique", "--dry-run", "--yes",
        "--help", "--debug", "--", "-", "--out", "--kind=csv", "--by", "--x", "--last", "--limit=-1", "--limit=x",
    ]  # fmt: skip
    words = [
        "t.db",
        "t.db",
        "honest",
        "loss",
        "x",
        "1",
        "-1",
        "x > 0",
        "x = 'a'",
        "1e999",
        "git:HEAD",
        "README",
        *_TEXTS,
    ]
    found = [random.choice(commands)]
    if random.random() < 0.3:
        found.append(random.choice(["ls", "du", "describe", "top", "bottom", "export", "delete", "status", "init"]))
    if random.random() < 0.8:
        found.append("t.db")
    for _ in range(random.randrange(6)):
        found.append(random.choice(options if random.random() < 0.5 else words))
    return b"\0".join(part.encode("utf-8", "surrogateescape").replace(b"\0", b"") for part in found)


def odd_names(random: Random) -> bytes:
    """A table's name and a key."""
    name, key = ("".join(random.choices(_TEXTS, k=random.choice((1, 1, 2)))) for _ in range(2))
    return f"{name}\0{key}".encode("utf-8", "replace")


_MADE: dict[str, Callable[[Random], bytes]] = {
    "lines": odd_segment,
    "records": odd_records,
    "segment": odd_segment,
    "segment_duckdb": odd_segment,
    "segment_msgpack": odd_records,
    "command_line": odd_arguments,
    "names": odd_names,
}


def example(target: str, random: Random) -> bytes:
    """Bytes for a target: made for it, or honest ones changed."""
    made = _MADE.get(target)
    honest = seeds(target)
    if made is not None and (not honest or random.random() < 0.6):
        raw = made(random)
        if random.random() < 0.7:
            return raw
        raw = changed(random, [raw])
    else:
        raw = changed(random, honest)
    if random.random() < 0.7:
        if target.startswith(("lines", "segment")) and target != "segment_msgpack":
            return signed_lines(raw)
        if target in ("records", "segment_msgpack"):
            return signed_records(raw)
    return raw
