"""Bytes of a segment to chunks of events: whole lines, about a megabyte at a time.

Knows no folder and no store: the log opens the file, and says what is asked of
it here. What is damaged is told and passed over; what is not a whole line yet is
left for the next scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from xetrack.log.codec import MAX_LINE_BYTES, TOO_LONG, Damage, Split, codec_for, jsonl
from xetrack.log.events import Event
from xetrack.log.progress import advanced

if TYPE_CHECKING:
    from xetrack.log.columns import Columns

CHUNK_BYTES = 1 << 20
#: Where the end of a line is looked for at the end of a piece; lines that are longer are put together.
_LINE_END_WITHIN = 1 << 14


class Chunk(NamedTuple):
    """Some events of a segment, in its order: whole lines from ``start`` to ``end``, ``line_count`` of them if decoded.

    Offsets are of uncompressed bytes. ``line`` of a damage counts from where the scan began.
    ``raw`` are the bytes between them, as a scan found them; only where ``decoded`` is false do they hold events
    that are not in ``events``: those are in ``columns``, or nowhere yet, and unchecked.
    """

    events: list[Event]
    start: int
    end: int
    damaged: list[Damage]
    line_count: int
    raw: bytes = b""
    decoded: bool = True
    columns: Columns | None = None


def scanned(
    file: BinaryIO,
    name: str,
    offset: int,
    end: int | None,
    undecoded: Callable[[], int] | None,
    *,
    check_header: Callable[[Split], None],
    may_be_filled_in: Callable[[], bool],
) -> Iterator[Chunk]:
    """What ``Log.scan`` says, of the uncompressed bytes of a segment, up to ``end`` where one is given.

    ``check_header`` gets the first lines of a segment. ``may_be_filled_in`` tells whether zeros may be a hole that
    another host's writes have not reached yet.
    """
    if end is not None and end <= offset:
        return  # it looks shorter than it was read: for a moment, on a network file system
    codec = codec_for(name)
    position, line, at_end = offset, 0, False
    #: What was read and not given out, and how much that is; of a line too long only how much.
    held: list[bytes] = []
    held_bytes = 0
    unpacking_failed = ""
    try:
        file.seek(offset)
    except unpacking_errors(name) as error:
        unpacking_failed = str(error)
    while not at_end:
        wanted = CHUNK_BYTES if undecoded is None else undecoded()
        if end is not None:
            wanted = min(wanted, end - position - held_bytes)
        if undecoded is not None and codec is jsonl and not held_bytes and not name.endswith(".zst"):
            wanted = _to_a_line_end(file, wanted)
        try:
            piece = b"" if unpacking_failed else file.read(wanted)
        except unpacking_errors(name) as error:
            piece, unpacking_failed = b"", str(error)
        at_end = len(piece) < wanted or (end is not None and position + held_bytes + len(piece) >= end)
        if b"\0" in piece and codec is jsonl and may_be_filled_in():
            # Lines have no zeros: this is a stretch of which only what is behind it came so far.
            piece, at_end = piece[: piece.index(b"\0")], True
        held_bytes += len(piece)
        if held_bytes >= MAX_LINE_BYTES and codec is jsonl and b"\n" not in piece:
            held = []
        elif held_bytes > len(piece) and not held:
            over = held_bytes - len(piece) + piece.index(b"\n") + 1
            yield Chunk([], position, position + over, [Damage(position, over, TOO_LONG, line)], 1)
            position, line, held_bytes = position + over, line + 1, held_bytes - over
            held = [piece[len(piece) - held_bytes :]]
        else:
            held.append(piece)
        if not unpacking_failed and not (held and (at_end or codec.is_due(held[0], held_bytes, piece))):
            continue
        plain = undecoded is not None and codec is jsonl and not unpacking_failed and held_bytes < MAX_LINE_BYTES
        if plain and (cut := held[-1].rfind(b"\n") + 1):
            is_all = cut == len(held[-1]) == held_bytes
            raw = held[-1] if is_all else b"".join((*held[:-1], memoryview(held[-1])[:cut]))
            held = [held[-1][cut:]]
            held_bytes -= len(raw)
            if position == 0:
                check_header(codec.split(raw[: raw.index(b"\n") + 1]))
            advanced(len(raw), "bytes")
            yield Chunk([], position, position + len(raw), [], 0, raw, decoded=False)
            position += len(raw)
            continue
        buffer = held[0] if len(held) == 1 else b"".join(held)
        found = codec.split(buffer, at_end)
        if position == 0 and found.lines:
            check_header(found)
        held = [buffer[found.consumed :]]
        damaged = [
            Damage(position + damage.offset, damage.length, damage.reason, line + damage.line)
            for damage in found.damaged
        ]
        if unpacking_failed:
            reason = f"it cannot be decompressed: {unpacking_failed}"
            damaged.append(Damage(position + found.consumed, held_bytes - found.consumed, reason, line + found.lines))
        if found.consumed or damaged:
            raw = buffer[: found.consumed]
            advanced(found.consumed, "bytes")
            yield Chunk(found.events, position, position + found.consumed, damaged, found.lines, raw)
        position += found.consumed
        line += found.lines
        held_bytes -= found.consumed


def _to_a_line_end(file: BinaryIO, size: int) -> int:
    """How many of the next ``size`` bytes to read so that they end with a line, for nothing to be left over to copy."""
    if size <= _LINE_END_WITHIN:
        return size
    here = file.tell()
    file.seek(here + size - _LINE_END_WITHIN)
    found = file.read(_LINE_END_WITHIN).rfind(b"\n")
    file.seek(here)
    return size if found < 0 else size - _LINE_END_WITHIN + found + 1


def unpacking_errors(name: str) -> tuple[type[Exception], ...]:
    """What a damaged compressed pack raises; nothing for other files."""
    if not name.endswith(".zst"):
        return ()
    import zstandard

    return (zstandard.ZstdError,)
