"""Packs finished segments, line for line, into a few compressed files (docs/format.md, Sealing and packs).

Nothing of a living writer is touched, and nothing goes before what holds its
lines is complete and on the device: a process that is killed anywhere in here
leaves the same events. Takes the log as an argument, so that any folder will do.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from xetrack.errors import storage_error
from xetrack.log.codec import MAX_LINE_BYTES, codec_for, jsonl
from xetrack.log.events import Event, PayloadRedacted, PayloadStub, WriterStarted, event_key
from xetrack.log.finished import has_ended
from xetrack.log.hints import Source, hint_with, seal
from xetrack.log.liveness import Origin, is_dead
from xetrack.log.log import FileLog, SegmentInfo
from xetrack.log.names import is_pack
from xetrack.log.packs import Draft, drafted, lines_of
from xetrack.log.ranges import Frontier
from xetrack.log.redaction import stub_of
from xetrack.log.segment import sync_folder

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None

#: Uncompressed bytes of a pack, about; what is read into memory at a time.
PACK_BYTES = 32 << 20
#: Packs below this share of a full one are joined with others.
_SMALL = 0.25
_LEVEL = 9
#: An end with the message of an exception fits in.
_LAST_BYTES = 1 << 16
#: Drafts of a compaction that was killed are removed once they are this old.
_STALE_S = 3600.0

Key = tuple[int, str, int]


@dataclass
class CompactReport:
    """What was packed, or would be. ``left`` names what stays, with the reason."""

    dry_run: bool = False
    tables: dict[str, dict[str, int]] = field(default_factory=dict)
    left: list[dict[str, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"dry_run": self.dry_run, "tables": self.tables, "left": self.left}

    def __str__(self) -> str:
        done = "would become" if self.dry_run else "are now"
        lines = [
            f"{name}: {facts['segments_packed']} files of {facts['bytes_before']} bytes {done} "
            f"{facts['packs_written']} of {facts['bytes_after']}"
            for name, facts in self.tables.items()
        ]
        reasons: dict[str, int] = {}
        for entry in self.left:
            reasons[entry["reason"]] = reasons.get(entry["reason"], 0) + 1
        lines += [f"left as they are, {count}: {reason}" for reason, count in reasons.items()]
        return "\n".join(lines) or "nothing to pack"


class _Content(NamedTuple):
    """A segment as it was read: its lines by their place in the order, and what of it a reader would have read."""

    segment: SegmentInfo
    lines: list[tuple[Key, bytes]]
    redacted: Frontier
    source: Source


class _Large(NamedTuple):
    """A segment too large to be read at once, which is in order, and where its last whole line ends."""

    segment: SegmentInfo
    end: int


def compact(log: FileLog, *, in_git: bool, dry_run: bool = False, pack_bytes: int = PACK_BYTES) -> CompactReport:
    """Pack what is finished, in every table.

    ``in_git``: other clones may be writing to segments without an end, so those stay.

    Raises:
        FormatTooNew: a later release wrote the log; nothing is changed.
        StorageError: no room; what was packed so far is whole, the rest is as it was.
    """
    log.check_format()
    report = CompactReport(dry_run)
    for table in log.tables():
        _compact_table(log, table, report, in_git, pack_bytes)
    return report


def finished(log: FileLog, table: str) -> int:
    """About how many files there are to pack: all that are no compressed packs."""
    return sum(not segment.name.endswith(".zst") for segment in log.segments(table))


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Whether nobody else who asks is at work in this folder meanwhile; where that cannot be told, yes."""
    if fcntl is None:
        yield True
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        alone = True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        except OSError:
            pass  # no locks on this file system, or none of folders
        yield alone
    finally:
        os.close(fd)


def _compact_table(log: FileLog, table: str, report: CompactReport, in_git: bool, pack_bytes: int) -> None:
    facts = {"segments_packed": 0, "packs_written": 0, "bytes_before": 0, "bytes_after": 0}
    segments = log.segments(table)
    if not report.dry_run:
        _remove_stale(log.folder(table))
    group: list[_Content] = []
    size_bytes = 0
    for content in _readable(log, table, segments, report, in_git, pack_bytes):
        if isinstance(content, _Large):
            name = content.segment.name
            source = Source.of(log, table, name, content.end)
            lines = _streamed(log, table, name)
            _pack(log, table, [content.segment], [source], lines, facts, report.dry_run, pack_bytes)
            continue
        group.append(content)
        size_bytes += sum(len(line) for _, line in content.lines)
        if size_bytes >= pack_bytes:
            _pack_group(log, table, group, facts, report.dry_run, pack_bytes)
            group, size_bytes = [], 0
    if len(group) > 1 or any(not content.segment.name.endswith(".zst") for content in group):
        _pack_group(log, table, group, facts, report.dry_run, pack_bytes)
    if facts["segments_packed"]:
        report.tables[table] = facts


# -- what may be packed ------------------------------------------------------


def _readable(
    log: FileLog, table: str, segments: list[SegmentInfo], report: CompactReport, in_git: bool, pack_bytes: int
) -> Iterator[_Content | _Large]:
    """What may be packed, read; or only named, where it is too large for that."""

    def left(segment: SegmentInfo, reason: str) -> None:
        report.left.append({"path": log.where(table, segment.name), "reason": reason})

    for segment in sorted(segments, key=lambda segment: (segment.mtime_ns, segment.name)):
        if segment.name.endswith(".zst"):
            if segment.size >= pack_bytes * _SMALL or _unpacks_to(log, table, segment.name, pack_bytes * _SMALL):
                continue
        elif not is_pack(segment.name):
            reason = _unfinished(log, table, segment, in_git)
            if reason is not None:
                left(segment, reason)
                continue
        if segment.size > 2 * pack_bytes and codec_for(segment.name) is jsonl:
            end = _end_in_order(log, table, segment)
            if end is not None:
                yield _Large(segment, end)
                continue
        content = _read(log, table, segment)
        if content is None:
            left(segment, "it is damaged: see `xt verify`")
        elif content.lines:
            yield content


def _unpacks_to(log: FileLog, table: str, name: str, size_bytes: float) -> bool:
    """Whether a compressed pack holds so many bytes of lines, whatever its frames say of it."""
    for piece in log.pieces(table, name):
        size_bytes -= len(piece)
        if size_bytes <= 0:
            return True
    return False


def _unfinished(log: FileLog, table: str, segment: SegmentInfo, in_git: bool) -> str | None:
    """Why the writer of a segment may still go on, None if it does not."""
    if has_ended(_last_event(log, table, segment)):
        return None
    if in_git:
        return "it has no end: its writer may go on, here or in another clone"
    origin = _origin(log, table, segment)
    if origin is not None and is_dead(log.where(table, segment.name), origin):
        return None
    return "its writer lives, or may live on another host"


def _last_event(log: FileLog, table: str, segment: SegmentInfo) -> Event | None:
    """The last event of a segment, read from its end."""
    codec = codec_for(segment.name)
    raw = log.read(table, segment.name, max(segment.size - _LAST_BYTES, 0))
    if codec is jsonl and raw.endswith(b"\n"):
        # One line of them is enough to decode: thousands of segments are asked.
        raw = raw[raw.rfind(b"\n", 0, -1) + 1 :]
    events = codec.split(raw).events
    return events[-1] if events else None


def _origin(log: FileLog, table: str, segment: SegmentInfo) -> Origin | None:
    """Where a segment comes from, if its first line reads."""
    head = codec_for(segment.name).split(log.read(table, segment.name, 0, 1 << 16), False).events
    if head and isinstance(head[0], WriterStarted):
        return Origin(head[0].host, head[0].pid, head[0].clock)
    return None


def _read(log: FileLog, table: str, segment: SegmentInfo) -> _Content | None:
    """All of a segment in order; None if some of it cannot be read, which only the file as it is may tell."""
    pairs: list[tuple[Key, bytes]] = []
    redacted = Frontier()
    end = 0
    for chunk in log.scan(table, segment.name):
        if chunk.damaged:
            return None
        lines = lines_of(chunk.raw, segment.name, chunk.events, [], chunk.start)
        pairs += zip(map(event_key, chunk.events), lines, strict=True)
        for event in chunk.events:
            if isinstance(event, PayloadRedacted):
                redacted.update(Frontier.from_wire(event.events))
        end = chunk.end
    if _rest_is_damage(log, table, segment, end):
        return None
    pairs.sort(key=lambda pair: pair[0])
    return _Content(segment, pairs, redacted, Source.of(log, table, segment.name, end))


def _rest_is_damage(log: FileLog, table: str, segment: SegmentInfo, end: int) -> bool:
    """Whether the bytes after the last whole line are more than a torn last line."""
    if segment.name.endswith(".zst"):
        return False
    rest = log.read(table, segment.name, end, MAX_LINE_BYTES)
    is_damage = is_pack(segment.name) or len(rest) == MAX_LINE_BYTES or codec_for(segment.name).is_damage(rest)
    return bool(rest) and is_damage


def _end_in_order(log: FileLog, table: str, segment: SegmentInfo) -> int | None:
    """Where the last line of a large segment ends; None unless all are in order and undamaged."""
    last: Key = (-1, "", -1)
    end = 0
    for chunk in log.scan(table, segment.name):
        keys = list(map(event_key, chunk.events))
        if chunk.damaged or keys != sorted(keys) or (keys and keys[0] < last):
            return None
        if any(isinstance(event, PayloadRedacted) for event in chunk.events):
            return None
        last, end = keys[-1] if keys else last, chunk.end
    return None if _rest_is_damage(log, table, segment, end) else end


def _streamed(log: FileLog, table: str, name: str) -> Iterator[bytes]:
    for chunk in log.scan(table, name):
        yield from lines_of(chunk.raw, name, chunk.events, [], chunk.start)


# -- packing -----------------------------------------------------------------


def _pack_group(
    log: FileLog, table: str, group: list[_Content], facts: dict[str, int], dry_run: bool, pack_bytes: int
) -> None:
    redacted = Frontier()
    for content in group:
        redacted.update(content.redacted)
    pairs = sorted(chain.from_iterable(content.lines for content in group), key=lambda pair: pair[0])
    segments, sources = [content.segment for content in group], [content.source for content in group]
    _pack(log, table, segments, sources, _once(pairs, redacted), facts, dry_run, pack_bytes)


def _once(pairs: list[tuple[Key, bytes]], redacted: Frontier) -> Iterator[bytes]:
    """The lines, those that are equal once; a stub stands for what it was made of, and for what was redacted."""
    index, any_redacted = 0, bool(redacted)
    while index < len(pairs):
        key = pairs[index][0]
        end = index + 1
        if not any_redacted and (end == len(pairs) or pairs[end][0] != key):
            yield pairs[index][1]
            index = end
            continue
        while end < len(pairs) and pairs[end][0] == key:
            end += 1
        found = sorted({line for _, line in pairs[index:end]})
        index = end
        if len(found) > 1 or redacted.contains(key[1], key[2]):
            stubs = [line for line in found if isinstance(jsonl.decode(line), PayloadStub)]
            if stubs:
                found = stubs[:1]
            elif redacted.contains(key[1], key[2]):
                found = [_stub(line) for line in found[:1]]
        yield from found


def _stub(line: bytes) -> bytes:
    """What stands for a line once its payload was redacted."""
    event = jsonl.decode(line)
    if event is None or isinstance(event, PayloadRedacted):
        return line
    return jsonl.encode(stub_of(event))[:-1]


def _pack(
    log: FileLog,
    table: str,
    segments: list[SegmentInfo],
    sources: list[Source],
    lines: Iterable[bytes],
    facts: dict[str, int],
    dry_run: bool,
    pack_bytes: int,
) -> None:
    """Write lines, which are in order, as packs; then, and only then, take away what held them."""
    names: list[str] = []
    drafts: list[Draft] = []
    packed: list[tuple[str, bytes]] = []
    after = 0
    try:
        for raw in _cut(lines, pack_bytes):
            name = f"{hashlib.sha256(raw).hexdigest()}.jsonl.zst"
            names.append(name)
            squeezed = _squeeze(raw)
            after += len(squeezed)
            if not dry_run:
                packed.append((name, squeezed))
        if not dry_run:
            hint = hint_with(log, table, sources, names)
            for name, squeezed in packed:
                drafts.append(drafted(log.folder(table), name, squeezed + seal(hint)))
            if any(_is_another(log, table, segment) for segment in segments):
                # Redacted meanwhile, say: what was read must not come back. The next compaction packs it.
                for draft in drafts:
                    draft.discard()
                return
    except BaseException:
        for draft in drafts:
            draft.discard()
        raise
    if not dry_run:
        for draft in drafts:
            draft.place()
        folder = log.folder(table)
        for segment in segments:
            if segment.name not in names:
                with contextlib.suppress(FileNotFoundError):
                    _unlink(folder / segment.name)
        with contextlib.suppress(OSError):
            sync_folder(folder)
    facts["segments_packed"] += len(segments)
    facts["packs_written"] += len(names)
    facts["bytes_before"] += sum(segment.size for segment in segments)
    facts["bytes_after"] += after


def _is_another(log: FileLog, table: str, segment: SegmentInfo) -> bool:
    """Whether the file of a segment is not the one that was listed."""
    try:
        status = os.stat(log.where(table, segment.name))
    except OSError:
        return True
    return (status.st_ino, status.st_size) != (segment.inode, segment.size)


def _cut(lines: Iterable[bytes], pack_bytes: int) -> Iterator[bytes]:
    """The bytes of packs, each a little over ``pack_bytes`` at most."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line) + 1
        if size >= pack_bytes:
            yield b"\n".join([*piece, b""])
            piece, size = [], 0
    if piece:
        yield b"\n".join([*piece, b""])


def _squeeze(raw: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(raw)


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        # On Windows somebody may be reading it: the next compaction takes it.
        if os.name != "nt" or not isinstance(error, PermissionError):
            raise storage_error(error, path) from error


def _remove_stale(folder: Path) -> None:
    """Remove drafts of compactions that were killed."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and ".jsonl" in entry.name:
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_S:
                    os.unlink(entry.path)
