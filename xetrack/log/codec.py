"""Events to bytes and back, in both codecs: lines of JSON, records of MessagePack.

Every line carries a CRC-32 of all before it; what does not check is never shown,
it is reported as ``Damage`` and all else is read (law 8). ``split`` takes whole
lines only and says how many bytes it used. No line is longer or nested deeper than
docs/format.md, Limits, says: that bounds what a reader holds, whatever the bytes claim.
"""

from __future__ import annotations

import math
import re
import struct
from binascii import hexlify
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol
from zlib import crc32

import msgspec

from xetrack.errors import EventTooLarge
from xetrack.log.events import (
    Event,
    Known,
    Reading,
    RowLogged,
    RunRewound,
    UnknownEvent,
    ValueSet,
    WallTime,
    are_event_ids,
    is_event_id,
)

_START = b'{"kind":'
_CRC = b',"crc":"'
_BIG_ENDIAN = struct.Struct(">I")
#: Bytes of `,"crc":"xxxxxxxx"}` at the end of a line.
_TAIL = 18
_MARKER = b"\xc1XT\n"
#: Bytes of marker, length and CRC in front of a record's payload.
_FRAME = 12

#: No line is longer, its end included, and no record of MessagePack whose line would be.
MAX_LINE_BYTES = 64 << 20
#: A record may be no shorter than so much of its line: a ``true`` is one byte there and five here.
_LINE_PER_RECORD = 6
#: Brackets and braces that may be open at once. A hundred levels of what a user logs are at most 301.
MAX_NESTING = 320
#: A line of fewer bytes is no event.
SHORTEST_BYTES = len(b'{"kind":"x","id":"x-0","clock":0,"crc":"xxxxxxxx"}')
#: Bytes that may be tried as lines, in a line or stretch that does not check. Honest damage takes a few of them.
_RESCUE_BYTES = 64 << 20

TOO_LONG = f"it is longer than {MAX_LINE_BYTES >> 20} MiB"
_TOO_SHORT = "it is too short for an event"


class Framer(Protocol):
    """Makes the line of a row from its parts; ``data`` is encoded already."""

    def __call__(
        self, seq: int, clock_us: int, data: bytes, wall_us: int | None = None, batch: int | None = None
    ) -> bytes: ...


class Damage(NamedTuple):
    """Bytes that are no event: where, how many, why; ``line`` counts from the start of what was read, from 0.

    Lines too short for an event, one after the other, are one damage.
    """

    offset: int
    length: int
    reason: str
    line: int


class Split(NamedTuple):
    """What a buffer held: events in its order, bytes used, what is damaged, how many lines."""

    events: list[Event]
    consumed: int
    damaged: list[Damage]
    lines: int


class _Any(msgspec.Struct, gc=False):
    """The fields of an event of a kind that this release does not know."""

    kind: str
    id: str
    clock: Reading
    wall: WallTime | None = None


class Jsonl:
    """A line of JSON per event, ended by a line feed."""

    name = "jsonl"
    suffix = ".jsonl"

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Known)
        self._other = msgspec.json.Decoder(_Any)

    # -- writing

    def encode(self, event: Event) -> bytes:
        """The line of an event.

        Raises:
            UnicodeEncodeError: a text in it has a lone surrogate.
            EventTooLarge: the line would be longer than one may be.
        """
        if isinstance(event, UnknownEvent):
            return event.raw + b"\n"
        return _line(self._encode(event))

    def encode_data(self, value: Any) -> bytes:
        """A part of an event on its own, for ``row_framer``."""
        return self._encode(value)

    def row_framer(self, writer: str, run: str) -> Framer:
        """Makes the lines of a writer's rows of a run: the bytes of ``encode``, sooner.

        Raises:
            UnicodeEncodeError: ``run`` has a lone surrogate.
        """
        encode, join, pack = self._encode, b"".join, _BIG_ENDIAN.pack
        start = b'{"kind":"row.logged","id":"%b-' % writer.encode()
        rest = b',"run":%b,"data":' % encode(run)
        longest = MAX_LINE_BYTES - _TAIL - 1

        def frame(seq: int, clock_us: int, data: bytes, wall_us: int | None = None, batch: int | None = None) -> bytes:
            told = rest if wall_us is None else b',"wall":%d%b' % (wall_us, rest)
            body = join((start, encode(seq), b'","clock":', encode(clock_us), told, data))
            if batch is not None:
                body += b',"batch":%d' % batch
            if len(body) > longest:
                raise EventTooLarge(len(body) + _TAIL + 1, MAX_LINE_BYTES)
            return join((body, _CRC, hexlify(pack(crc32(body))), b'"}\n'))

        return frame

    # -- reading

    def split(self, buffer: bytes, at_end: bool = True, *, checked: bool = False) -> Split:
        """The events of the whole lines in ``buffer``; bytes after the last line feed are left.

        ``checked`` says that their CRCs are known to be right.
        """
        consumed = buffer.rfind(b"\n") + 1
        if not consumed:
            return Split([], 0, [], 0)
        if consumed != len(buffer):
            buffer = buffer[:consumed]
        lines = _whole_lines(buffer)
        if checked or (_all_may_be(lines, consumed) and _all_check(lines)):
            try:
                events = self._decoder.decode_lines(buffer)
                if are_event_ids([event.id for event in events]) and not _may_nest(buffer, len(lines)):
                    return Split(events, consumed, [], len(lines))
            except _UNREADABLE:
                pass
        return self._split_slowly(lines, consumed)

    def is_due(self, start: bytes, size: int, piece: bytes) -> bool:
        """Whether ``split`` can use something of ``size`` bytes that begin with ``start`` and end with ``piece``."""
        return b"\n" in piece

    def _split_slowly(self, lines: list[bytes], consumed: int) -> Split:
        events: list[Event] = []
        damaged: list[Damage] = []
        offset = 0
        #: Where lines too short for an event begin, offset and number, while one follows the other.
        short: tuple[int, int] | None = None
        for number, line in enumerate(lines):
            if len(line) < SHORTEST_BYTES:
                short = short or (offset, number)
                offset += len(line) + 1
                continue
            if short is not None:
                damaged.append(Damage(short[0], offset - short[0], _TOO_SHORT, short[1]))
                short = None
            if len(line) >= MAX_LINE_BYTES:
                damaged.append(Damage(offset, len(line) + 1, TOO_LONG, number))
            elif (event := self.decode(line)) is not None:
                events.append(event)
            else:
                done = 0
                for start, end, event in self.inside(line):
                    if start > done:
                        reason = "its line end is another byte" if done and start == done + 1 else self._reason(line)
                        damaged.append(Damage(offset + done, start - done, reason, number))
                    events.append(event)
                    done = end
                if done < len(line):
                    damaged.append(Damage(offset + done, len(line) - done, self._reason(line), number))
            offset += len(line) + 1
        if short is not None:
            damaged.append(Damage(short[0], offset - short[0], _TOO_SHORT, short[1]))
        return Split(events, consumed, damaged, len(lines))

    def decode(self, line: bytes) -> Event | None:
        """The event of a line without its end, None if the line does not check."""
        body = line[:-_TAIL]
        if line[-_TAIL:] != b',"crc":"%08x"}' % crc32(body) or len(line) >= MAX_LINE_BYTES:
            return None
        if _may_nest(line, 1) and _is_too_deep(line):
            return None
        try:
            event: Event = self._decoder.decode(line)
            return event if is_event_id(event.id) else None
        except _UNREADABLE:
            pass
        try:
            other = self._other.decode(line)
        except _UNREADABLE:
            return None
        return _unknown(other, line)

    def inside(self, line: bytes) -> Iterator[tuple[int, int, Event]]:
        """Start, end and event of each whole line in one that does not check, in order.

        A line end that became another byte leaves two whole lines with that
        byte in between. Both begin with the kind, both end with a CRC. Of bytes that
        look like thousands of lines and are none, not all are tried.
        """
        left = _RESCUE_BYTES
        done = 0
        for start in _all(line, _START):
            if start < done:
                continue
            for place in _all(line, _CRC, start + 1):
                end = place + _TAIL
                left -= end - start
                if left < 0:
                    return
                if (event := self.decode(line[start:end])) is not None:
                    yield start, end, event
                    done = end
                    break

    def _reason(self, line: bytes) -> str:
        if line[-_TAIL : -_TAIL + len(_CRC)] != _CRC or line[-2:] != b'"}':
            return "it does not end with a CRC"
        if line[-_TAIL:] != b',"crc":"%08x"}' % crc32(line[:-_TAIL]):
            return "its CRC differs"
        return "it checks, but holds no event"

    def is_damage(self, tail: bytes) -> bool:
        """Whether the bytes after the last line end are damage, not a line on its way or torn.

        So it is when all but the last byte are a whole line: the last was its end.
        """
        return len(tail) > _TAIL and self.decode(tail[:-1]) is not None


class Msgpack:
    """A record per event: marker, length, CRC-32 of length and payload, payload."""

    name = "msgpack"
    suffix = ".msgpack"

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Known)
        self._other = msgspec.msgpack.Decoder(_Any)

    # -- writing

    def encode(self, event: Event) -> bytes:
        """The record of an event.

        Raises:
            UnicodeEncodeError: a text in it has a lone surrogate.
            EventTooLarge: its line would be longer than one may be.
        """
        if isinstance(event, UnknownEvent):
            fields = msgspec.json.decode(event.raw)
            fields.pop("crc", None)
            return _record(self._encode(fields))
        return _record(self._encode(event))

    def encode_data(self, value: Any) -> bytes:
        return self._encode(value)

    def row_framer(self, writer: str, run: str) -> Framer:
        """Makes the records of a writer's rows of a run. See ``Jsonl.row_framer``."""
        encode = self._encode
        kind, id, clock, wall, run_key, data_key, batch_key = map(
            encode, ("kind", "id", "clock", "wall", "run", "data", "batch")
        )
        start = b"".join((kind, encode("row.logged"), id))
        rest = b"".join((run_key, encode(run), data_key))

        def frame(seq: int, clock_us: int, data: bytes, wall_us: int | None = None, batch: int | None = None) -> bytes:
            # A map of so many fields: the first byte of up to fifteen.
            count = bytes([0x85 + (wall_us is not None) + (batch is not None)])
            parts = [count, start, encode(f"{writer}-{seq}"), clock, encode(clock_us)]
            if wall_us is not None:
                parts += [wall, encode(wall_us)]
            parts += [rest, data]
            if batch is not None:
                parts += [batch_key, encode(batch)]
            return _record(b"".join(parts))

        return frame

    # -- reading

    def is_due(self, start: bytes, size: int, piece: bytes) -> bool:
        """See ``Jsonl.is_due``."""
        end = _record_end(start, 0)
        return end is None or size >= end

    def split(self, buffer: bytes, at_end: bool = True) -> Split:
        """The events of the whole records in ``buffer``.

        ``at_end`` says that no more bytes are known to follow: only then is a
        record that reaches past the end taken for damage, if a whole one follows.
        """
        events: list[Event] = []
        damaged: list[Damage] = []
        offset = count = 0
        while offset < len(buffer):
            end = _record_end(buffer, offset)
            event = self._record_event(buffer, offset, end) if end is not None and end <= len(buffer) else None
            if event is not None:
                assert end is not None
                events.append(event)
                offset = end
            else:
                if end is not None and end > len(buffer) and not at_end:
                    break
                following = self._next_record(buffer, offset + 1)
                if following is None:
                    if at_end:
                        break
                    following = _first_unfinished(buffer, offset + 1)
                damaged.append(Damage(offset, following - offset, self._reason(buffer, offset, end), count))
                offset = following
            count += 1
        return Split(events, offset, damaged, count)

    def _record_event(self, buffer: bytes, offset: int, end: int) -> Event | None:
        if _checks(buffer, offset, end):
            return self.decode(buffer[offset + _FRAME : end])
        return None

    def decode(self, payload: bytes) -> Event | None:
        """The event of a record's payload, None if it holds none."""
        try:
            _require_room(payload)
            event: Event = self._decoder.decode(payload)
            return event if is_event_id(event.id) and _says_json(event) else None
        except _UNREADABLE:
            pass
        try:
            other = self._other.decode(payload)
            line = _line(msgspec.json.encode(msgspec.msgpack.decode(payload)))[:-1]
        except (*_UNREADABLE, TypeError):
            return None
        return None if _is_too_deep(line) else _unknown(other, line)

    def _next_record(self, buffer: bytes, start: int) -> int | None:
        """Where the next record begins that checks. Of thousands that do not, not all are tried."""
        left = _RESCUE_BYTES
        for offset in _all(buffer, _MARKER, start):
            end = _record_end(buffer, offset)
            if end is not None and end <= len(buffer):
                left -= end - offset
                if left < 0:
                    return None
                if _checks(buffer, offset, end):
                    return offset
        return None

    def _reason(self, buffer: bytes, offset: int, end: int | None) -> str:
        if end is None:
            return "a record does not begin here"
        if end > len(buffer) or not _checks(buffer, offset, end):
            return "its CRC differs"
        return "it checks, but holds no event"

    def is_damage(self, tail: bytes) -> bool:
        """Whether the bytes after the last whole record are damage, not a record on its way or torn."""
        if not _MARKER.startswith(tail[:4]):
            return True
        if len(tail) < _FRAME:
            return False
        end = _record_end(tail, 0)
        # A whole record that does not check, or one of which only the length is wrong.
        return end is None or end <= len(tail) or _record(tail[_FRAME:])[8:] == tail[8:]


def _whole_lines(buffer: bytes) -> list[bytes]:
    """Lines without their ends, of bytes that end with one."""
    lines = buffer.split(b"\n")
    lines.pop()
    return lines


def _all_may_be(lines: list[bytes], size_bytes: int) -> bool:
    """Whether no line is longer than one may be, nor all of them too short for events."""
    if size_bytes > MAX_LINE_BYTES and max(map(len, lines)) >= MAX_LINE_BYTES:
        return False
    return len(lines) * SHORTEST_BYTES < size_bytes


def _all_check(lines: list[bytes]) -> bool:
    crcs = tuple(map(crc32, [line[:-_TAIL] for line in lines]))
    return b"".join([line[-_TAIL:] for line in lines]) == (b',"crc":"%08x"}' * len(lines)) % crcs


def _line(encoded: bytes) -> bytes:
    """The line of an event that was encoded, with its CRC and its end.

    Raises:
        EventTooLarge: it would be longer than one may be.
    """
    body = encoded[:-1]
    if len(body) > MAX_LINE_BYTES - _TAIL - 1:
        raise EventTooLarge(len(body) + _TAIL + 1, MAX_LINE_BYTES)
    return b'%b,"crc":"%08x"}\n' % (body, crc32(body))


def _may_nest(buffer: bytes, line_count: int) -> bool:
    """Whether so much is opened in these lines that one may be nested too deep."""
    return buffer.count(b"[") + buffer.count(b"{") > 2 * line_count + MAX_NESTING - 2


def _is_too_deep(line: bytes) -> bool:
    """Whether more brackets and braces are open at once than may be, in JSON outside of its texts."""
    depth = 0
    for token in _TOKENS.finditer(line):
        if token[0] in b"[{":
            depth += 1
            if depth > MAX_NESTING:
                return True
        elif token[0] in b"]}":
            depth -= 1
    return False


#: What opens and closes, and texts, in which nothing does.
_TOKENS = re.compile(rb'[\[\]{}]|"(?:[^"\\]|\\.)*"')
#: What msgspec raises for bytes that are no event, or nested deeper than Python goes.
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError, EventTooLarge)
_SCALARS = frozenset((str, int, bool, type(None)))


def _says_json(event: Event) -> bool:
    """Whether an event in MessagePack says what a line can: no bytes, no NaN, texts as keys, not nested too deep."""
    if isinstance(event, RowLogged):
        return _is_json(event.data.values(), 2)
    if isinstance(event, ValueSet):
        return _is_json([event.value], 1)
    return not isinstance(event, RunRewound) or _is_json([event.condition], 1)


def _is_json(values: Iterable[Any], depth: int) -> bool:
    for value in values:
        kind = type(value)
        if kind is float:
            if not math.isfinite(value):
                return False
        elif kind is list or kind is dict:
            if depth >= MAX_NESTING or (kind is dict and not all(type(key) is str for key in value)):
                return False
            if not _is_json(value if kind is list else value.values(), depth + 1):
                return False
        elif kind not in _SCALARS:
            return False
    return True


def _require_room(payload: bytes) -> None:
    """Refuse what is too large as a line, of an event in MessagePack.

    Raises:
        EventTooLarge: see there.
    """
    if len(payload) > MAX_LINE_BYTES - _FRAME:
        raise EventTooLarge(len(payload) + _FRAME, MAX_LINE_BYTES)
    if len(payload) > MAX_LINE_BYTES // _LINE_PER_RECORD - _TAIL:
        _line(msgspec.json.encode(msgspec.msgpack.decode(payload)))


def _record(payload: bytes) -> bytes:
    if len(payload) > MAX_LINE_BYTES // _LINE_PER_RECORD - _TAIL:
        _require_room(payload)
    length = struct.pack(">I", len(payload))
    return b"".join((_MARKER, length, struct.pack(">I", crc32(payload, crc32(length))), payload))


def _record_end(buffer: bytes, offset: int) -> int | None:
    """Where the record at ``offset`` ends by its length; None if none begins there.

    Past the end of the buffer if the frame itself is not whole.
    """
    if len(buffer) - offset < _FRAME:
        return offset + _FRAME if _MARKER.startswith(buffer[offset : offset + 4]) else None
    if buffer[offset : offset + 4] != _MARKER:
        return None
    length = int.from_bytes(buffer[offset + 4 : offset + 8], "big")
    return offset + _FRAME + length if length <= MAX_LINE_BYTES - _FRAME else None


def _first_unfinished(buffer: bytes, start: int) -> int:
    """Where a record may begin that goes on past the end of the buffer; the end if none does."""
    for offset in _all(buffer, _MARKER, start):
        end = _record_end(buffer, offset)
        if end is not None and end > len(buffer):
            return offset
    ends = range(max(len(buffer) - len(_MARKER) + 1, start), len(buffer))
    return next((offset for offset in ends if _MARKER.startswith(buffer[offset:])), len(buffer))


def _checks(buffer: bytes, offset: int, end: int) -> bool:
    crc = int.from_bytes(buffer[offset + 8 : offset + 12], "big")
    return (
        end - offset >= _FRAME and crc32(buffer[offset + _FRAME : end], crc32(buffer[offset + 4 : offset + 8])) == crc
    )


def _all(buffer: bytes, part: bytes, start: int = 0) -> Iterator[int]:
    """Offsets of ``part``, ascending."""
    place = buffer.find(part, start)
    while place >= 0:
        yield place
        place = buffer.find(part, place + 1)


_NAMES = {variant.__struct_config__.tag for variant in Known.__args__}


def _unknown(other: _Any, raw: bytes) -> UnknownEvent | None:
    """An event of a kind of a newer release; None where a known kind does not hold what it must."""
    if other.kind in _NAMES or not is_event_id(other.id):
        return None
    return UnknownEvent(id=other.id, clock=other.clock, wall=other.wall, kind_name=other.kind, raw=raw)


def refuse_too_large(data: dict[str, Any]) -> None:
    """Refuse what no row has room for, whatever else it holds and whichever codec writes it.

    Raises:
        EventTooLarge: its line would be longer than one may be.
    """
    jsonl.row_framer("x" * 16, "")(0, 0, jsonl.encode_data(data))


Codec = Jsonl | Msgpack

jsonl = Jsonl()
msgpack = Msgpack()


def codec_for(name: str) -> Codec:
    """The codec of a file name, compressed or not, or by its own name."""
    return msgpack if name.removesuffix(".zst").endswith("msgpack") else jsonl
