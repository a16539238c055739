"""Whole lines of logs, byte for byte, and the packs that hold lines from elsewhere.

Lines that a merge takes over never go into a file of their writer's name, which
may still grow there, but into a pack named by its content (law 2). Records of
MessagePack become the lines that say the same: unknown fields and kinds are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from zlib import crc32

import msgspec

from xetrack.errors import storage_error
from xetrack.log.codec import MAX_LINE_BYTES, SHORTEST_BYTES, Damage, codec_for, jsonl
from xetrack.log.events import Event
from xetrack.log.log import FileLog, Log
from xetrack.log.segment import sync_place

_START = b'{"kind":'
_FRAME_BYTES = 12

# -- reading -----------------------------------------------------------------


def lines_of(raw: bytes, name: str, events: list[Event], damaged: list[Damage], start: int = 0) -> list[bytes]:
    """The lines of the events that a scan found in ``raw``, one each, without line ends.

    ``damaged`` are the scan's, their offsets those of the segment; ``raw`` begins at ``start``.
    """
    gaps = [(damage.offset - start, damage.length) for damage in damaged]
    if codec_for(name) is not jsonl:
        return _transcoded(raw, gaps, events)
    if not gaps:
        lines = raw.split(b"\n")
        lines.pop()
        if len(lines) == len(events):
            return lines
    return [line for piece in raw.split(b"\n") if len(piece) >= SHORTEST_BYTES for line in lines_in(piece)]


def all_lines(log: Log, table: str, name: str) -> Iterator[list[bytes]]:
    """The lines of a segment as they stand, some at a time, neither decoded nor checked.

    Records of MessagePack are checked on the way. What is not ended, or too long for a line, is not there.
    """
    if codec_for(name) is not jsonl:
        for chunk in log.scan(table, name):
            yield lines_of(chunk.raw, name, chunk.events, chunk.damaged, chunk.start)
        return
    rest: list[bytes] = []
    size = 0
    for piece in log.pieces(table, name):
        first, *lines = piece.split(b"\n")
        size += len(first)
        rest = [*rest, first] if size < MAX_LINE_BYTES else []
        if lines:
            yield [b"".join(rest), *lines[:-1]] if rest else lines[:-1]
            rest, size = lines[-1:], len(lines[-1])


def id_of(line: bytes) -> bytes:
    """The event id that a line says it has; empty if it says none."""
    start = line.find(b'"id":"', len(_START)) + 6
    return line[start : line.find(b'"', start)] if start > 6 else b""


def same_until(one: Log, two: Log, table: str, name: str) -> int:
    """How many bytes a segment has in common with that of its name in another log, from the start on."""
    done = 0
    left = right = b""
    for more_left, more_right in zip_longest(one.pieces(table, name), two.pieces(table, name), fillvalue=b""):
        left, right = left + more_left, right + more_right
        length = min(len(left), len(right))
        if left[:length] != right[:length]:
            return done + len(os.path.commonprefix([left[:length], right[:length]]))
        done += length
        left, right = left[length:], right[length:]
        if (left and not more_right) or (right and not more_left):
            break
    return done


def lines_in(piece: bytes) -> Iterator[bytes]:
    """The lines in what stands between two line ends; several where damage took the end of one."""
    if jsonl.decode(piece) is not None:
        yield piece
        return
    for start, end, _ in jsonl.inside(piece):
        yield piece[start:end]


def _transcoded(raw: bytes, gaps: list[tuple[int, int]], events: list[Event]) -> list[bytes]:
    """The records of MessagePack as lines: the same fields in the same order."""
    found, offset = [], 0
    skips = dict(gaps)
    decoded = iter(events)
    while offset < len(raw):
        if offset in skips:
            offset += skips[offset]
            continue
        end = offset + _FRAME_BYTES + int.from_bytes(raw[offset + 4 : offset + 8], "big")
        event = next(decoded)
        try:
            fields = msgspec.msgpack.decode(raw[offset + _FRAME_BYTES : end])
            body = msgspec.json.encode(fields)[:-1]
            found.append(b'%b,"crc":"%08x"}' % (body, crc32(body)))
        except (
            msgspec.MsgspecError,
            UnicodeError,
            RecursionError,
            TypeError,
        ):  # a field that nobody knows holds what no line can
            found.append(jsonl.encode(event)[:-1])
        offset = end
    return found


# -- writing -----------------------------------------------------------------


class Draft:
    """A pack beside its place, complete and synced. ``place`` it or ``discard`` it."""

    def __init__(self, path: Path, folder: Path, name: str) -> None:
        self._path, self._folder, self._name = path, folder, name

    @property
    def path(self) -> Path:
        """Where the pack stands once it is placed."""
        return self._folder / self._name

    def place(self) -> None:
        """Let the pack be there: all of its lines at once."""
        try:
            os.replace(self._path, self.path)
            for left in self._folder.glob(f".{self._name}.*"):  # of a merge that was killed here
                left.unlink(missing_ok=True)
            sync_place(self._folder)  # it may be new, as the store
        except OSError as error:
            if not self.path.exists():  # somebody merging the same lines may have been first
                raise storage_error(error, self.path) from error

    def discard(self) -> None:
        """Leave nothing behind, neither the draft nor a folder that only it was made for."""
        with contextlib.suppress(OSError):  # a read-only disk; of a draft that is there the next compaction takes it
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds other segments
            self._folder.rmdir()


def draft_pack(log: FileLog, table: str, lines: list[bytes]) -> Draft:
    """Write lines, which are in total order, beside the place of the pack that they make.

    Raises:
        DiskFull: nothing is left of it.
        InvalidTable: another table differs from the name only in case.
    """
    raw = b"\n".join([*lines, b""])
    return drafted(log.make_folder(table), f"{hashlib.sha256(raw).hexdigest()}.jsonl", raw)


def drafted(folder: Path, name: str, raw: bytes) -> Draft:
    """A pack of these bytes, beside its place, on the device.

    Raises:
        DiskFull: nothing is left of it.
    """
    path = folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
    draft = Draft(path, folder, name)
    try:
        with open(path, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        draft.discard()
        if isinstance(error, OSError):
            raise storage_error(error, path, len(raw)) from error
        raise
    return draft
