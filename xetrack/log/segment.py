"""Writes one file: header first, then a line per event, then ``writer.ended``.

A ``Writer`` belongs to one process and one table; its threads share it. It makes
its file at the first event and hands each event to the system in one call, so a
killed process loses nothing (law 3). Where its file is taken away under it, and
in a forked child, it goes on as a new writer (docs/format.md, Writer duties).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from xetrack.errors import StorageError, storage_error
from xetrack.log.clock import MAX_CLOCK_US, MAX_WALL_US, Clock, wall_us
from xetrack.log.codec import Codec
from xetrack.log.events import Event, WriterAlive, WriterEnded, WriterStarted

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None

#: The format that is written; its major number is what a reader must know.
FORMAT = "1.0"

#: The file is looked for every so many writes, and after this long.
CHECK_WRITES = 128
CHECK_US = 100_000
#: Events of a writer that may share one clock reading.
MAX_SHARED = 1024
#: How far behind its clock an event's wall time may be without being told.
MAX_LAG_US = 1000

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_E = TypeVar("_E", bound=Event)
_FULLSYNC = getattr(fcntl, "F_FULLFSYNC", None)

_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def new_name() -> str:
    """A writer's name: 80 bits of the system's randomness, so that no two are ever alike."""
    bits = int.from_bytes(os.urandom(10), "big")
    return "".join([_LETTERS[bits >> shift & 31] for shift in range(0, 80, 5)])


class Writer(ABC):
    """Appends events of one process to one table. Thread-safe.

    ``name`` is that of the segment being written; it changes when the writer has
    to go on in another, so an event's id is best taken from what ``append`` gives.
    """

    #: Writes bytes at the end of the segment, maybe not all, and says how many.
    _put: Callable[[int, bytes], int]

    def __init__(self, codec: Codec, clock: Clock, facts: Callable[[], dict[str, Any]]) -> None:
        self.codec = codec
        self.clock = clock
        self._facts = facts
        self._encode_data = codec.encode_data
        self._frame_row = codec.row_framer("", "")
        # The wall clock itself where nobody put another in its place: a call less for every row.
        self._now_ns = time.time_ns if clock.now_us is wall_us else lambda: clock.now_us() * 1000
        self._last = 0
        self._start_over()
        _writers.add(self)

    def _start_over(self) -> None:
        self._lock = threading.RLock()
        self.name = ""
        self._fd = -1
        self._refs = 0
        self._next = 0
        #: Size of the segment when it was last seen in its place; ``_recent`` came after it.
        self._offset = 0
        self._shared = 0
        #: Until then the segment is taken to be in its place; 0 where it is not to be.
        self._due_us = 0
        #: Lines since the segment was last seen in its place: they may have gone to a removed file.
        self._recent: list[bytes] = []
        #: The run whose lines ``_frame_row`` makes; None where the next row has to renew it.
        self._run: str | None = None

    # -- appending

    def append_row(self, run: str, data: dict[str, Any], to_disk: bool = False) -> tuple[int, int, int]:
        """Append a row of wire values and return its seq, clock and wall time.

        One write, handed to the system before returning. ``to_disk`` also
        waits for the device, often 1 to 10 ms.

        Raises:
            UnicodeEncodeError: a text has a lone surrogate; nothing is written.
            EventTooLarge: its line would be longer than one may be; nothing is written.
            DiskFull: nothing was kept, half a line is cut off, a retry may succeed.
        """
        # What is called is taken first: the interpreter finds an attribute sooner than what may be a method.
        encode, now_ns, put = self._encode_data, self._now_ns, self._put
        data_bytes = encode(data)
        with self._lock:
            now_us = now_ns() // 1000
            if len(self._recent) >= CHECK_WRITES or now_us >= self._due_us:
                self._settle(now_us)
            if run is not self._run:
                self._frame_rows_of(run)
            seq, frame = self._next, self._frame_row
            if self._last < now_us <= MAX_WALL_US and now_us >= self.clock.floor:
                self._last = clock_us = now_us
                self._shared = 1
                line = frame(seq, clock_us, data_bytes)
            else:
                clock_us = self._tick(now_us)
                line = frame(seq, clock_us, data_bytes, _told(clock_us, now_us))
            self._next = seq + 1
            # As in _write, without the call: this is where a loop spends its time.
            self._recent.append(line)
            try:
                written = put(self._fd, line)
                if written != len(line):
                    self._put_rest(line, written)
            except BaseException as error:
                self._broken_off(error, line)
                raise
            if to_disk:
                self.sync()
            return seq, clock_us, now_us

    def append_rows(
        self, run: str, rows: Sequence[dict[str, Any]], *, to_disk: bool = False
    ) -> list[tuple[int, int, int]]:
        """Append rows in one write, sharing a batch id: all of them or none.

        Returns what ``append_row`` does, for each. Same errors.
        """
        encoded = [self._encode_data(data) for data in rows]
        if not encoded:
            return []
        with self._lock:
            now_us = self.clock.now_us()
            self._settle(now_us)
            self._frame_rows_of(run)
            frame, batch = self._frame_row, self._next
            places: list[tuple[int, int, int]] = []
            lines: list[bytes] = []
            left = 0  # rows that may share the reading of the one before
            for seq, data_bytes in enumerate(encoded, batch):
                if left:
                    left -= 1
                else:
                    if lines:
                        self._shared = MAX_SHARED
                    clock_us = self._tick(now_us)
                    told_us = _told(clock_us, now_us)
                    left = MAX_SHARED - self._shared
                places.append((seq, clock_us, now_us))
                lines.append(frame(seq, clock_us, data_bytes, told_us, batch))
            self._shared = MAX_SHARED - left
            self._next = batch + len(lines)
            self._write(b"".join(lines))
            if to_disk:
                self.sync()
            return places

    def append(self, kind: type[_E], *, to_disk: bool = False, **fields: Any) -> _E:
        """Append an event of a kind and return it, with its id and clock.

        Same errors as ``append_row``.
        """
        with self._lock:
            now_us = self.clock.now_us()
            self._settle(now_us)
            event = self._make(kind, now_us, fields)
            self._write(self.codec.encode(event))
            if to_disk:
                self.sync()
            return event

    def _make(self, kind: type[_E], now_us: int, fields: dict[str, Any]) -> _E:
        clock_us = self._tick(now_us)
        seq, self._next = self._next, self._next + 1
        return kind(id=f"{self.name}-{seq}", clock=clock_us, wall=_told(clock_us, now_us), **fields)

    def _frame_rows_of(self, run: str) -> None:
        if run != self._run:
            self._frame_row = self.codec.row_framer(self.name, run)
        self._run = run

    def _tick(self, now_us: int) -> int:
        """The next reading of this writer: never back, never behind what was read."""
        clock_us = max(min(now_us, MAX_WALL_US), self._last, self.clock.floor)
        if clock_us > self._last:
            self._shared = 0
        elif self._shared >= MAX_SHARED:
            clock_us, self._shared = min(clock_us + 1, MAX_CLOCK_US), 0
        self._last = clock_us
        self._shared += 1
        return clock_us

    # -- living and ending

    def acquire(self) -> None:
        """Take part in this writer; each ``acquire`` wants one ``release``."""
        with self._lock:
            self._refs += 1

    def release(
        self, state: str = "finished", error: str | None = None, signal: int | None = None, run: str | None = None
    ) -> None:
        """Let go. The last one to do so ends and closes the segment, if there is one.

        Where others go on, only the end of ``run`` is noted, if one is named. A
        store whose folder was deleted meanwhile is not brought back. A later
        event opens a new segment.
        """
        with self._lock:
            self._refs = max(self._refs - 1, 0)
            if self._fd < 0 or (self._refs and run is None):
                return
            try:
                if self._has_home():
                    named = run if self._refs else None
                    self.append(WriterEnded, state=state, error=error, signal=signal, run=named)
            except StorageError:
                # No room for the last line: a segment without it is as good, only not sealed.
                pass
            finally:
                if not self._refs:
                    self._close()
                    self._recent = []

    def beat(self) -> None:
        """Write a heartbeat, if there is a segment and somebody who uses it."""
        with self._lock:
            if self._refs and self._fd >= 0 and self._has_home():
                self.append(WriterAlive)

    @abstractmethod
    def sync(self) -> None:
        """Force what was appended to the device."""

    # -- the file, or what stands for it

    def look(self) -> None:
        """See that the segment is in its place before somebody reads; if not, bring back what may have been lost."""
        with self._lock:
            if self._fd >= 0 and self._recent and self._has_home():
                self._settle(self.clock.now_us())

    def _settle(self, now_us: int) -> None:
        """Have a segment to write to: open one, or see that ours is still in its place."""
        if self._fd >= 0:
            size = self._size_in_place()
            if size is None:
                self._close()
            else:
                self._offset, self._recent = size, []
        if self._fd < 0:
            self._open(now_us, self._recent)
        self._due_us = now_us + CHECK_US

    def _open(self, now_us: int, lines: list[bytes]) -> None:
        """Begin a segment: the header, then ``lines`` that may have been lost with the last one."""
        self.name = new_name()
        self._next = 0
        header = self.codec.encode(self._make(WriterStarted, now_us, {"format": FORMAT, **self._facts()}))
        self._create(b"".join([header, *lines]))
        self._offset, self._recent = len(header), list(lines)
        self._run = None

    def _write(self, lines: bytes) -> None:
        """Hand lines to the system: all of them, or an error and none."""
        self._recent.append(lines)
        try:
            written = self._put(self._fd, lines)
            if written != len(lines):
                self._put_rest(lines, written)
        except BaseException as error:
            self._broken_off(error, lines)
            raise

    def _put_rest(self, lines: bytes, written: int) -> None:
        while written < len(lines):
            written += self._put(self._fd, lines[written:])

    def _broken_off(self, error: BaseException, lines: bytes) -> None:
        """After an error of the system, or Ctrl-C at any point of a write."""
        self._due_us = 0

    @abstractmethod
    def _create(self, lines: bytes) -> None:
        """Make the segment, its first lines in it."""

    def _size_in_place(self) -> int | None:
        """Size of the segment; None if it is not in its place or not as it was left."""
        return 0

    def _has_home(self) -> bool:
        return True

    def _close(self) -> None:
        self._fd = -1
        self._due_us = 0

    def _forked(self) -> None:
        self._abandon()
        self._start_over()

    @abstractmethod
    def _abandon(self) -> None:
        """After a fork, in the child: let go of the parent's file."""


def _told(clock_us: int, now_us: int) -> int | None:
    """The wall time of an event, where its clock does not tell."""
    return None if clock_us - now_us <= MAX_LAG_US else now_us


class FileWriter(Writer):
    """A writer whose segments are files of one folder."""

    def __init__(
        self,
        folder: Path,
        codec: Codec,
        clock: Clock,
        facts: Callable[[], dict[str, Any]],
        prepare: Callable[[], None],
    ) -> None:
        """``prepare`` makes the folder and the store around it."""
        self.folder = folder
        self._prepare = prepare
        self.path = folder
        self._identity = (0, 0)
        self._folder_synced = False
        #: The system call; a test puts a failing disk in its place.
        self._put = os.write
        super().__init__(codec, clock, facts)

    def _create(self, lines: bytes) -> None:
        path = self.folder / f"{self.name}{self.codec.suffix}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            self._prepare()
            fd = os.open(path, flags, 0o666)
        except OSError as error:
            raise storage_error(error, error.filename or path, len(lines)) from error
        try:
            if fcntl is not None:
                _lock(fd)
            written = 0
            while written < len(lines):
                written += self._put(fd, lines[written:])
            status = os.fstat(fd)
        except BaseException as error:
            os.close(fd)
            _remove(path)
            if isinstance(error, OSError):
                raise storage_error(error, path, len(lines)) from error
            raise
        self.path = path
        self._fd = fd
        self._identity = (status.st_dev, status.st_ino)
        self._folder_synced = False

    def _broken_off(self, error: BaseException, lines: bytes) -> None:
        super()._broken_off(error, lines)
        self._repair(lines)
        if isinstance(error, OSError):
            raise storage_error(error, self.path, len(lines)) from error

    def _repair(self, lines: bytes) -> None:
        """After a write that was broken off: keep it if it is whole, else cut it off.

        A file that cannot be cut is left as it is, with a torn last line.
        """
        end = self._offset + sum(map(len, self._recent))
        try:
            size = os.fstat(self._fd).st_size
            if size < end:
                if size > end - len(lines):
                    os.ftruncate(self._fd, end - len(lines))
                self._recent.pop()
        except OSError:
            self._recent = []
            self._close()

    def _size_in_place(self) -> int | None:
        end = self._offset + sum(map(len, self._recent))
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return None
        except OSError:
            # Out of reach for the moment (permissions, network): what is open can still be written.
            return end
        same = (status.st_dev, status.st_ino) == self._identity and status.st_size >= end
        return status.st_size if same else None

    def _has_home(self) -> bool:
        return self._size_in_place() is not None or self.folder.parent.is_dir()

    def sync(self) -> None:
        with self._lock:
            if self._fd < 0:
                return
            try:
                _to_device(self._fd)
                if not self._folder_synced:
                    sync_place(self.folder)
                    self._folder_synced = True
            except OSError as error:
                raise storage_error(error, self.path) from error

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        self._due_us = 0
        if fd >= 0:
            os.close(fd)

    def _abandon(self) -> None:
        # The child's copy of the descriptor; the parent's, and its lock, stay.
        if self._fd >= 0:
            os.close(self._fd)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # An argument: at the end of a program the module may be empty already.
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            close(fd)


class MemoryWriter(Writer):
    """A writer whose segments are byte arrays in a dict, by file name."""

    def __init__(
        self, segments: dict[str, bytearray], codec: Codec, clock: Clock, facts: Callable[[], dict[str, Any]]
    ) -> None:
        self._segments = segments
        self._segment = bytearray()
        self._put = self._extend
        super().__init__(codec, clock, facts)

    def sync(self) -> None:
        """Nothing: memory has no device."""

    def _abandon(self) -> None:
        """Nothing: the child has a copy."""

    def _create(self, lines: bytes) -> None:
        self._segment = self._segments[f"{self.name}{self.codec.suffix}"] = bytearray(lines)
        self._fd = 0

    def _extend(self, fd: int, lines: bytes) -> int:
        self._segment += lines
        return len(lines)


def _lock(fd: int) -> None:
    """Tell others on this host that the writer lives. Nobody ever waits for it."""
    assert fcntl is not None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass  # no locks on this file system: then nobody can tell


def _remove(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # a segment that holds at most a header does no harm


def _to_device(fd: int) -> None:
    if _FULLSYNC is not None and fcntl is not None:  # macOS: fsync alone stops at the drive's cache
        fcntl.fcntl(fd, _FULLSYNC)
    else:
        os.fsync(fd)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the device, where folders can be opened."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_place(folder: Path) -> None:
    """Force a folder in a store to the device, with the two above it: else the store itself may be gone."""
    for one in (folder, folder.parent, folder.parent.parent):
        sync_folder(one)


def make_folder(folder: Path) -> None:
    """Make a folder for stores, and those above it that are not there, on the device: ``sync_place`` stops below."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        with contextlib.suppress(PermissionError):  # who may write into a folder may not be let read it
            sync_folder(one.parent)


def _forked() -> None:
    for writer in list(_writers):
        writer._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
