"""What a pack of a compaction took the place of: a note behind its lines, which any reader may skip.

With it tables that have read the segments know that the pack says nothing new,
and need not be made again. It is never the truth: without a note, or where one
does not fit what was read, a reader reads. Layout: docs/format.md, Sealing and packs.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import msgspec

if TYPE_CHECKING:
    from xetrack.log.log import FileLog, Log

#: A frame that Zstandard skips, and the mark at its end by which it is found.
_SKIPPED = 0x184D2A5C
_MARK = b"xt-packed"
#: So much of a note is read; its groups name some hundred thousand files then.
_MAX_NOTE_BYTES = 16 << 20
#: Bytes before an offset that are compared.
TAIL_BYTES = 64


class Source(msgspec.Struct, array_like=True, frozen=True):
    """A file that was packed: how many bytes of whole lines it had, and the CRC-32 of the last of them."""

    name: str
    end: int
    crc: int

    @classmethod
    def of(cls, log: Log, table: str, name: str, end: int) -> Source:
        return cls(name, end, crc32(log.tail(table, name, end, TAIL_BYTES)))


class Group(msgspec.Struct, array_like=True, frozen=True):
    """Files whose lines, all of them, went into these packs."""

    sources: list[Source]
    packs: list[str]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Group])


class Read(NamedTuple):
    """How far a file was read, and the bytes before that."""

    offset: int
    tail: bytes


# -- on disk -----------------------------------------------------------------


def seal(groups: list[Group]) -> bytes:
    """The frame to put behind a pack's own."""
    import zstandard

    note = zstandard.ZstdCompressor(level=9).compress(_encoder.encode(groups))
    payload = note + struct.pack("<I", len(note)) + _MARK
    return struct.pack("<II", _SKIPPED, len(payload)) + payload


def hint_of(log: Log, table: str, name: str) -> list[Group]:
    """The note of a pack, its own group first; nothing where there is none that reads."""
    import zstandard

    path = log.where(table, name)
    if not name.endswith(".zst") or not os.path.isfile(path):
        return []
    trailer = 4 + len(_MARK)
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - trailer, 0))
            end = file.read(trailer)
            if end[4:] != _MARK:
                return []
            (length,) = struct.unpack("<I", end[:4])
            if length > size - trailer:
                return []
            file.seek(size - trailer - length)
            note = file.read(length)
    except OSError:
        return []
    with contextlib.suppress(zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError):
        # A frame may say that it holds any size: no more than a note ever has is unpacked.
        with zstandard.ZstdDecompressor().stream_reader(note) as stream:
            return _decoder.decode(stream.read(_MAX_NOTE_BYTES))
    return []


def unpacked_bytes(log: Log, table: str, name: str) -> int:
    """The size of a compressed pack's lines as its first frame says it, 0 if it does not."""
    import zstandard

    with contextlib.suppress(zstandard.ZstdError, OSError), open(log.where(table, name), "rb") as file:
        size: int = zstandard.get_frame_parameters(file.read(64)).content_size
        return size if size < 1 << 62 else 0
    return 0


def hint_with(log: FileLog, table: str, sources: list[Source], packs: list[str]) -> list[Group]:
    """The note of new packs: what they hold, and what the packs among their sources say of theirs."""
    groups = [Group(sources, packs)]
    for source in sources:
        groups += hint_of(log, table, source.name)
    return groups


# -- what follows ------------------------------------------------------------


def settle_packs(present: set[str], read: Mapping[str, Read], groups: list[Group]) -> tuple[set[str], set[str]] | None:
    """Which packs say nothing new, and which files that were read are gone but wholly in packs that are there.

    None if some file that was read is gone otherwise.
    """
    by_pack: dict[str, list[Group]] = {}
    by_source: dict[str, list[tuple[Source, Group]]] = {}
    for group in groups:
        for pack in group.packs:
            by_pack.setdefault(pack, []).append(group)
        for source in group.sources:
            by_source.setdefault(source.name, []).append((source, group))
    known: dict[str, bool] = {}
    held: dict[str, bool] = {}

    def is_known(source: Source) -> bool:
        """Whether all lines of a file were read."""
        if source.name not in known:
            known[source.name] = False  # no circles
            point = read.get(source.name)
            known[source.name] = (
                point.offset == source.end and crc32(point.tail) == source.crc
                if point is not None
                else any(all(map(is_known, group.sources)) for group in by_pack.get(source.name, ()))
            )
        return known[source.name]

    def is_held(name: str) -> bool:
        """Whether all lines of a file are there."""
        if name not in held:
            held[name] = False
            held[name] = name in present or any(all(map(is_held, group.packs)) for _, group in by_source.get(name, ()))
        return held[name]

    gone = {name for name in read if name not in present}
    for name in gone:
        whole = any(is_known(source) and all(map(is_held, group.packs)) for source, group in by_source.get(name, ()))
        if not whole:
            return None
    fresh = {name for name in present if name not in read and name in by_pack}
    told = {name for name in fresh if any(all(map(is_known, group.sources)) for group in by_pack[name])}
    return told, gone
