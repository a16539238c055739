"""Rewrites files of a log so that stubs stand for redacted payloads: the one exception to law 2.

A new file is complete and synced before the old one goes, so a process that is
killed at any point leaves a log that the next call completes. Segments of living
writers are left as they are and named. Takes a folder and ids, so it can be tried
on any; which ids these are is decided in ``exchange/redaction.py``.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from xetrack.errors import storage_error
from xetrack.log.codec import MAX_LINE_BYTES, codec_for, jsonl
from xetrack.log.events import Event, PayloadStub, split_id
from xetrack.log.finished import is_finished
from xetrack.log.log import FileLog, Log
from xetrack.log.names import is_pack, is_segment_name
from xetrack.log.packs import lines_in
from xetrack.log.ranges import Frontier
from xetrack.log.scan import Chunk
from xetrack.log.segment import sync_folder

_ID = re.compile(rb"([a-z2-7]{16})-([0-9]{1,15})")
_DRAFT = re.compile(r"\.(?P<name>.+\.(?:jsonl|msgpack|zst))\.(?P<pid>[0-9]+)(?:\.[0-9]+)?")
_FRAME_BYTES = 12


class Rewritten(NamedTuple):
    """Paths of files that hold stubs now, and of those that still hold payloads."""

    done: list[str]
    left: list[str]


def stub_of(event: Event) -> PayloadStub:
    """What stands for an event once its payload is gone: what it was, and what its author had seen."""
    kind = str(getattr(event, "kind_name", None) or type(event).__struct_config__.tag)
    seen, base = getattr(event, "seen", None) or {}, getattr(event, "base", None)
    return PayloadStub(id=event.id, clock=event.clock, wall=event.wall, was=kind, seen=seen, base=base)


def rewrite(log: FileLog, redacted: Mapping[str, Frontier], *, dry_run: bool = False) -> Rewritten:
    """Let stubs stand for the events of these ids, by table, in every file that may be rewritten.

    Reads all files. ``dry_run`` only tells which they are.

    Raises:
        StorageError: a file cannot be written; those that were done stay so, a later call does the rest.
    """
    found = Rewritten([], [])
    for table, ids in redacted.items():
        if not ids:
            continue
        folder = log.folder(table)
        for draft in _drafts(folder):
            if _is_abandoned(draft):
                if not dry_run:
                    draft.unlink(missing_ok=True)
            else:
                found.left.append(str(draft))
        seen: set[str] = set()
        # Again, until nothing is new: somebody may pack files meanwhile.
        while news := {segment.name for segment in log.segments(table)} - seen:
            seen |= news
            for name in sorted(news):
                outcome = _File(log, table, name, ids).rewrite(dry_run)
                if outcome is not None:
                    path, is_done = outcome
                    (found.done if is_done else found.left).append(str(path))
    return found


def standing(log: Log, table: str, ids: Frontier) -> Iterator[Event]:
    """Events of these ids whose payloads still stand somewhere in the log; those in several files several times."""
    for segment in log.segments(table) if ids else ():
        for chunk in log.scan(table, segment.name):
            yield from (event for event in chunk.events if _stands(event, ids))


def _stands(event: Event, ids: Frontier) -> bool:
    return ids.contains(*split_id(event.id)) and not isinstance(event, PayloadStub)


class _File:
    """One segment or pack on its way to a file without the payloads."""

    def __init__(self, log: FileLog, table: str, name: str, ids: Frontier) -> None:
        self.log, self.table, self.name, self.ids = log, table, name, ids
        self.codec = codec_for(name)
        self.folder = log.folder(table)
        self.path = self.folder / name

    def rewrite(self, dry_run: bool) -> tuple[Path, bool] | None:
        """The file that has the stubs now, or the old one and False if it had to stay; None if there was nothing."""
        first = last = None
        has_payload = is_broken = False
        for chunk in self.log.scan(self.table, self.name):
            has_payload = has_payload or any(_stands(event, self.ids) for event in chunk.events)
            is_broken = is_broken or any("decompressed" in damage.reason for damage in chunk.damaged)
            first = first or (chunk.events[0] if chunk.events else None)
            last = chunk.events[-1] if chunk.events else last
        if not has_payload:
            return None
        if is_broken or not is_finished(self.path, first, last):
            return self.path, False
        if dry_run:
            return self.path, True
        try:
            return self._replace()
        except OSError as error:
            raise storage_error(error, self.path) from error

    def _replace(self) -> tuple[Path, bool]:
        before = os.stat(self.path)
        draft = self.folder / f".{self.name}.{os.getpid()}.{threading.get_ident()}"
        digest = hashlib.sha256()
        try:
            with open(draft, "wb") as file:
                with _compressing(file, self.name) as out:
                    for piece in self._pieces():
                        digest.update(piece)
                        out.write(piece)
                file.flush()
                os.fsync(file.fileno())
            after = os.stat(self.path)
            if (before.st_ino, before.st_size) != (after.st_ino, after.st_size):
                draft.unlink()
                return self.path, False  # somebody brought another file meanwhile
            if not is_pack(self.name):
                os.replace(draft, self.path)
                sync_folder(self.folder)
                return self.path, True
            target = self.folder / f"{digest.hexdigest()}.{self.name.partition('.')[2]}"
            os.replace(draft, target)
            sync_folder(self.folder)
            # The new pack is on the device before the old one goes.
            if target != self.path:
                self.path.unlink(missing_ok=True)
                sync_folder(self.folder)
            return target, True
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    # -- bytes

    def _pieces(self) -> Iterator[bytes]:
        end = 0
        for chunk in self.log.scan(self.table, self.name):
            end = chunk.end
            if not chunk.damaged and not any(_stands(event, self.ids) for event in chunk.events):
                yield chunk.raw
            else:
                yield b"".join(self._lines(chunk) if self.codec is jsonl else self._records(chunk))
        if self.codec is jsonl:
            yield from self._tail(self.log.read(self.table, self.name, end, MAX_LINE_BYTES))

    def _lines(self, chunk: Chunk) -> Iterator[bytes]:
        lines = chunk.raw.split(b"\n")
        lines.pop()
        if not chunk.damaged and len(lines) == len(chunk.events):
            for event, line in zip(chunk.events, lines, strict=True):
                yield self._stub(event) if _stands(event, self.ids) else line + b"\n"
            return
        for line in lines:
            yield from self._line(line)

    def _line(self, line: bytes) -> Iterator[bytes]:
        """What stands between two line ends; damage stays unless it may hold what must go."""
        events = [(whole, event) for whole in lines_in(line) if (event := jsonl.decode(whole)) is not None]
        if any(_stands(event, self.ids) for _, event in events):
            for whole, event in events:
                yield self._stub(event) if _stands(event, self.ids) else whole + b"\n"
        elif events or not self._may_be_redacted(line):
            yield line + b"\n"

    def _tail(self, tail: bytes) -> Iterator[bytes]:
        """After the last line end: a line that only lost its end is kept, half a line is nobody's and goes."""
        for line in (tail, tail[:-1]):
            event = jsonl.decode(line) if line else None
            if event is not None:
                yield self._stub(event) if _stands(event, self.ids) else line + b"\n"
                return

    def _records(self, chunk: Chunk) -> Iterator[bytes]:
        skips = {damage.offset - chunk.start: damage.length for damage in chunk.damaged}
        events = iter(chunk.events)
        offset = 0
        while offset < len(chunk.raw):
            if offset in skips:
                end = offset + skips[offset]
                gap = chunk.raw[offset:end]
                if not self._may_be_redacted(gap):
                    yield gap
            else:
                end = offset + _FRAME_BYTES + int.from_bytes(chunk.raw[offset + 4 : offset + 8], "big")
                event = next(events)
                yield self._stub(event) if _stands(event, self.ids) else chunk.raw[offset:end]
            offset = end

    def _stub(self, event: Event) -> bytes:
        return self.codec.encode(stub_of(event))

    def _may_be_redacted(self, damaged: bytes) -> bool:
        found = _ID.search(damaged)
        return found is not None and self.ids.contains(found[1].decode(), int(found[2]))


def _compressing(file: BinaryIO, name: str) -> AbstractContextManager[Any]:
    """What to write to for a file of that name; at its end what is compressed is ended."""
    if not name.endswith(".zst"):
        return nullcontext(file)
    import zstandard

    writer: AbstractContextManager[Any] = zstandard.ZstdCompressor(write_checksum=True).stream_writer(
        file, closefd=False
    )
    return writer


# -- drafts ------------------------------------------------------------------


def _drafts(folder: Path) -> Iterator[Path]:
    """Files beside segments that somebody was writing: they may hold anything."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    for name in names:
        found = _DRAFT.fullmatch(name)
        if found and is_segment_name(found["name"]):
            yield folder / name


def _is_abandoned(draft: Path) -> bool:
    """Whether the process that a draft's name tells of is gone. Of another host's, a merge may have to be repeated."""
    import psutil

    found = _DRAFT.fullmatch(draft.name)
    return found is not None and not psutil.pid_exists(int(found["pid"]))
