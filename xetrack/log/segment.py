"""Writes one file: header first, then a line per event, then ``writer.ended``.

A ``Writer`` belongs to one process and one table; its threads share it, and so does
a signal handler in the middle of any of its calls, as the lock lets it in: what belongs
together is taken from ``self``, or put there, with no call in between. It makes
its file at the first event and hands each event to the system in one call, so a
killed process loses nothing (law 3). Where its file is taken away under it, and
in a forked child, it goes on as a new writer (docs/format.md, Writer duties).
"""

from __future__ import annotations

import contextlib
import errno
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
CHECK_WRITES = 32
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
        self._place: Any = None
        self._shared = 0
        #: Until that event, and until then, the segment is taken to be in its place; 0 where it is not to be.
        self._due = self._due_us = 0
        #: Lines since the segment was last seen in its place: they may have gone to a removed file.
        self._recent: list[bytes] = []
        #: The last of them, until it is written: a signal handler may look meanwhile.
        self._pending = b""
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
            if self._next >= self._due or now_us >= self._due_us:
                self._settle(now_us)
            while run is not self._run:  # again where a signal handler logged for another run meanwhile
                self._frame_rows_of(run)
            frame, seq = self._frame_row, self._next
            self._next = seq + 1
            if self._last < now_us <= MAX_WALL_US and now_us >= self.clock.floor:
                self._last = clock_us = now_us
                self._shared = 1
                line = frame(seq, clock_us, data_bytes)
            else:
                clock_us = self._tick(now_us)
                line = frame(seq, clock_us, data_bytes, _told(clock_us, now_us))
            # As in _write, without the call: this is where a loop spends its time.
            self._pending = line
            self._recent.append(line)
            try:
                written = put(self._fd, line)
                if written != len(line):
                    self._put_rest(line, written)
                self._pending = b""
            except BaseException as error:
                if not self._rescued(error, line):
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
        count = len(encoded)
        if not count:
            return []
        with self._lock:
            now_us = self.clock.now_us()
            self._settle(now_us)
            while run is not self._run:
                self._frame_rows_of(run)
            frame, batch = self._frame_row, self._next
            self._next = batch + count
            places: list[tuple[int, int, int]] = []
            lines: list[bytes] = []
            left = 0  # rows that may share the reading of the one before
            for seq, data_bytes in enumerate(encoded, batch):
                if left:
                    left -= 1
                else:
                    clock_us = self._tick(now_us)
                    left, self._shared = MAX_SHARED - self._shared, MAX_SHARED
                    told_us = _told(clock_us, now_us)
                places.append((seq, clock_us, now_us))
                lines.append(frame(seq, clock_us, data_bytes, told_us, batch))
            if self._last == clock_us:
                self._shared = MAX_SHARED - left
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
        name, frame = self.name, self._frame_row
        if run != self._run:
            frame = self.codec.row_framer(name, run)
        if name is self.name:
            self._frame_row, self._run = frame, run

    def _tick(self, now_us: int) -> int:
        """The next reading of this writer: never back, never behind what was read."""
        clock_us = max(min(now_us, MAX_WALL_US), self.clock.floor)
        if clock_us > self._last:
            self._shared = 0
        else:
            clock_us = self._last
            if self._shared >= MAX_SHARED:
                self._shared = 0
                if clock_us < MAX_CLOCK_US:
                    clock_us += 1
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
                pending = self._pending
                is_missing = pending and size < self._known_size() + len(pending)
                self._offset, self._recent = size, [pending] if is_missing else []
        if self._fd < 0:
            self._open(now_us, self._recent)
        self._due, self._due_us = self._next + CHECK_WRITES, now_us + CHECK_US

    def _known_size(self) -> int:
        """Bytes that are in the segment, as far as we know."""
        return self._offset + sum(map(len, self._recent)) - len(self._pending)

    def _open(self, now_us: int, lines: list[bytes]) -> None:
        """Begin a segment: the header, then ``lines`` that may have been lost with the last one.

        A signal handler may have begun one meanwhile, with the same lines: then that one is ours.
        """
        name = new_name()
        facts = {"format": FORMAT, **self._facts()}
        clock_us = self._tick(now_us)
        started = WriterStarted(id=f"{name}-0", clock=clock_us, wall=_told(clock_us, now_us), **facts)
        header, recent = self.codec.encode(started), list(lines)
        size = len(header)
        fd, place = self._create(name, b"".join([header, *recent]))
        if self._fd < 0:
            self._fd, self._place, self.name, self._next, self._run = fd, place, name, 1, None
            self._offset, self._recent = size, recent
        else:
            self._discard(fd, place)

    def _write(self, lines: bytes) -> None:
        """Hand lines to the system: all of them, or an error and none."""
        self._pending = lines
        self._recent.append(lines)
        try:
            written = self._put(self._fd, lines)
            if written != len(lines):
                self._put_rest(lines, written)
            self._pending = b""
        except BaseException as error:
            if not self._rescued(error, lines):
                raise

    def _put_rest(self, lines: bytes, written: int) -> None:
        while written < len(lines):
            written += self._put(self._fd, lines[written:])

    def _rescued(self, error: BaseException, lines: bytes) -> bool:
        """After an error of the system, or Ctrl-C at any point of a write: whether the lines are written after all."""
        self._due_us, self._pending = 0, b""
        return False

    @abstractmethod
    def _create(self, name: str, lines: bytes) -> tuple[int, Any]:
        """Make a segment, its first lines in it; its descriptor, and what else is to be known of it."""

    @abstractmethod
    def _discard(self, fd: int, place: Any) -> None:
        """Take back a segment that was made."""

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
        self._folder_synced = False
        #: The system call; a test puts a failing disk in its place.
        self._put = os.write
        super().__init__(codec, clock, facts)

    @property
    def path(self) -> Path:
        """Of the segment; before the first, of its folder."""
        return self.folder if self._place is None else self._place[0]

    def _create(self, name: str, lines: bytes) -> tuple[int, Any]:
        path = self.folder / f"{name}{self.codec.suffix}"
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
        self._folder_synced = False
        return fd, (path, (status.st_dev, status.st_ino))

    def _discard(self, fd: int, place: Any) -> None:
        os.close(fd)
        _remove(place[0])

    def _rescued(self, error: BaseException, lines: bytes) -> bool:
        self._due_us, self._pending = 0, b""
        if isinstance(error, OSError) and error.errno == errno.EBADF and self._fd < 0:
            # A signal handler closed the segment before the write: the lines go into the next one.
            self._recent = [lines]
            self._open(self.clock.now_us(), self._recent)
            return True
        self._repair(lines)
        if isinstance(error, OSError):
            raise storage_error(error, self.path, len(lines)) from error
        return False

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
                self._recent.remove(lines)  # the last, but for those of a signal handler
        except OSError:
            self._recent = []
            self._close()

    def _size_in_place(self) -> int | None:
        end = self._known_size()
        try:
            status = os.stat(self._place[0])
        except FileNotFoundError:
            return None
        except OSError:
            # Out of reach for the moment (permissions, network): what is open can still be written.
            return end
        same = (status.st_dev, status.st_ino) == self._place[1] and status.st_size >= end
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
        self._put = self._extend
        super().__init__(codec, clock, facts)

    def sync(self) -> None:
        """Nothing: memory has no device."""

    def _abandon(self) -> None:
        """Nothing: the child has a copy."""

    def _create(self, name: str, lines: bytes) -> tuple[int, Any]:
        file = f"{name}{self.codec.suffix}"
        self._segments[file] = bytearray(lines)
        return 0, file

    def _discard(self, fd: int, place: Any) -> None:
        del self._segments[place]

    def _extend(self, fd: int, lines: bytes) -> int:
        self._segments[self._place] += lines
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
