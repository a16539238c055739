"""The log of a store: tables of segments, on disk or in memory, read and written.

``Log`` is all that the floors above know: list, scan from an offset, read in
total order, get a writer, keep assets. Lists and offsets only, no locks and no
renames across folders, so that it could stand on an object store as well.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NamedTuple

import msgspec

from xetrack.errors import FormatTooNew, InvalidTable, NotAStore, StorageFailed, storage_error
from xetrack.log import header
from xetrack.log.clock import Clock
from xetrack.log.codec import Split, codec_for
from xetrack.log.events import Event, WriterStarted
from xetrack.log.names import check_table, is_pack, is_segment_name, table_folder, table_from_folder
from xetrack.log.scan import CHUNK_BYTES, Chunk, scanned, unpacking_errors
from xetrack.log.segment import FileWriter, Writer, make_folder
from xetrack.log.shared import Shared, shared_of

if TYPE_CHECKING:
    from xetrack.log.assets import Assets
    from xetrack.log.merged import Merged

#: Ends the name of the folder that is the log of a store.
EVENTS_SUFFIX = ".events"
STORE_FILE = "store.json"
STORE_BYTES = b'{"format":1}\n'
#: Major number of the newest format that this release reads.
KNOWN_FORMAT = 1
#: A hole in a segment that nobody wrote to for so long is damage.
FILLED_IN_NS = 30 * 10**9


Facts = Callable[[], dict[str, Any]]


class SegmentInfo(NamedTuple):
    """A segment or pack of a table, as the folder lists it."""

    name: str
    size: int
    mtime_ns: int
    inode: int


# -- the log -----------------------------------------------------------------


class Log(ABC):
    """What both kinds of log can do. Threads may share one."""

    clock: Clock
    assets: Assets
    unsorted: set[tuple[str, str]]

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is a log, if only an empty one."""

    @abstractmethod
    def create(self) -> None:
        """Be there, if only empty.

        Raises:
            StorageError: the folder cannot be made.
        """

    @abstractmethod
    def check_format(self) -> None:
        """Refuse a log that this release cannot read; nothing is changed.

        Raises:
            FormatTooNew: a later release wrote it.
            NotAStore: it is something else.
        """

    @abstractmethod
    def tables(self) -> list[str]:
        """Names of the tables, in alphabetical order."""

    @abstractmethod
    def segments(self, table: str) -> list[SegmentInfo]:
        """Segments and packs of a table, by name; files of other names are ignored."""

    def segment(self, table: str, name: str) -> SegmentInfo | None:
        """One segment, asked for by its name, as lists may lag behind; None if it is not there."""
        return next((segment for segment in self.segments(table) if segment.name == name), None)

    @abstractmethod
    def writer(self, table: str, codec: str = "jsonl") -> Writer:
        """The writer of this process for a table: one for all that ask, a new one after a fork.

        Raises:
            InvalidTable: another table differs from the name only in case, or the name cannot be.
        """

    @abstractmethod
    def look(self, table: str) -> None:
        """Have this process's writers of a table see that their segments are in place."""

    @abstractmethod
    def where(self, table: str, name: str) -> str:
        """Path of a segment, for reports."""

    @abstractmethod
    def _open(self, table: str, name: str) -> BinaryIO | None:
        """The uncompressed bytes of a segment, None if it is not there any more."""

    def scan(
        self,
        table: str,
        name: str,
        offset: int = 0,
        end: int | None = None,
        *,
        undecoded: Callable[[], int] | None = None,
    ) -> Iterator[Chunk]:
        """Events of one segment from an offset on, about a megabyte at a time.

        Whole lines only: what follows the last chunk's end was not there when the
        segment was opened, or is torn: a program may log faster than anybody reads.
        Nothing for a segment that is gone. With ``undecoded``, lines of JSON come
        as they are, unchecked, and so many bytes at a time as it says. A line longer than
        one may be is never held: it is a chunk of its own, with a damage and without ``raw``.

        Raises:
            FormatTooNew: its header names a format of a later release.
            StorageError: the system would not read it.
        """
        try:
            file = self._open(table, name)
            if file is None:
                return
            with file:
                if end is None and not name.endswith(".zst"):
                    end = file.seek(0, os.SEEK_END)
                yield from scanned(
                    file,
                    name,
                    offset,
                    end,
                    undecoded,
                    check_header=lambda found: self._check_header(table, name, found),
                    may_be_filled_in=lambda: self._may_be_filled_in(table, name),
                )
        except OSError as error:
            raise storage_error(error, self.where(table, name)) from error

    def _may_be_filled_in(self, table: str, name: str) -> bool:
        """Whether zeros in a segment may be a hole that another host's writes have not reached yet."""
        return False

    def _check_header(self, table: str, name: str, found: Split) -> None:
        event = found.events[0] if found.events else None
        if isinstance(event, WriterStarted):
            major = event.format.partition(".")[0]
            if not major.isdecimal() or int(major) > KNOWN_FORMAT:
                raise FormatTooNew(self.where(table, name), event.format, KNOWN_FORMAT)

    def tail(self, table: str, name: str, offset: int, size: int) -> bytes:
        """The bytes of a segment just before an offset, for fingerprints; fewer if they are not there.

        Nothing for a compressed pack: its name is its fingerprint.
        """
        start = max(offset - size, 0)
        return b"" if name.endswith(".zst") else self.read(table, name, start, offset - start)

    def read(self, table: str, name: str, offset: int, size: int = -1) -> bytes:
        """Bytes of a segment from an offset on, to its end or fewer; nothing if it is gone."""
        try:
            file = self._open(table, name)
            if file is None:
                return b""
            with file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise storage_error(error, self.where(table, name)) from error

    def pieces(self, table: str, name: str) -> Iterator[bytes]:
        """The uncompressed bytes of a segment, about a megabyte at a time, nothing if it is gone.

        A compressed pack ends where its damage begins.
        """
        try:
            file = self._open(table, name)
            if file is not None:
                with file:
                    while piece := file.read(CHUNK_BYTES):
                        yield piece
        except OSError as error:
            raise storage_error(error, self.where(table, name)) from error
        except unpacking_errors(name):
            return

    def sha256(self, table: str, name: str) -> str:
        """Digest of the uncompressed bytes of a segment: the name of a pack."""
        digest = hashlib.sha256()
        for piece in self.pieces(table, name):
            digest.update(piece)
        return digest.hexdigest()

    def first_clock(self, table: str, name: str, offset: int = 0) -> int | None:
        """The smallest reading in the first whole lines from an offset on, None if there is no event.

        Reads a piece only. A header may be followed by lines of a lost segment
        with smaller readings, hence not just the first.
        """
        piece = 4096 if not name.endswith(".zst") else CHUNK_BYTES
        while True:
            clocks = [event.clock for chunk in self.scan(table, name, offset, offset + piece) for event in chunk.events]
            if len(clocks) > 1 or self._ends_within(table, name, offset + piece):
                return min(clocks, default=None)
            piece *= 8

    def _ends_within(self, table: str, name: str, offset: int) -> bool:
        try:
            return not self.read(table, name, offset, 1)
        except unpacking_errors(name):
            return True

    def merged(
        self,
        table: str,
        starts: dict[str, int],
        ends: dict[str, int] | None = None,
        *,
        columns: Callable[[], Any] | None = None,
    ) -> Merged:
        """All events of these segments from these offsets on, in total order.

        ``ends`` bounds segments that grow faster than they are read. Duplicates
        are not dropped. See ``Merged`` for what it yields, and for ``columns``.
        """
        from xetrack.log.merged import Merged

        return Merged(self, table, starts, ends or {}, columns)

    def find(self, table: str, event_id: str) -> Event | None:
        """The event of an id, None if there is none that reads. Looks into its writer's segment first."""
        writer = event_id.rpartition("-")[0]
        names = [segment.name for segment in self.segments(table)]
        for name in sorted(names, key=lambda name: not name.startswith(f"{writer}.")):
            for chunk in self.scan(table, name):
                for event in chunk.events:
                    if event.id == event_id:
                        return event
        return None


class FileLog(Log):
    """A log in a folder. Nothing is made before the first event or asset."""

    def __init__(self, path: Path | str, *, clock: Clock | None = None, facts: Facts | None = None) -> None:
        """``facts`` adds to the header of each segment; a ``clock`` of one's own keeps the writers apart too."""
        from xetrack.log.assets import FileAssets

        self.path = Path(os.path.abspath(path))
        self._more_facts = facts
        self._shared = Shared(clock) if clock is not None else shared_of(self.path)
        self.clock = self._shared.clock
        self.assets: Assets = FileAssets(self.path / "_assets", self._prepare)
        #: Segments found out of order, by table and name: their events are sorted in memory.
        self.unsorted: set[tuple[str, str]] = set()

    def create(self) -> None:
        try:
            self._prepare(self.path)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def exists(self) -> bool:
        return (self.path / STORE_FILE).exists() or self.path.is_dir()

    def check_format(self) -> None:
        file = self.path / STORE_FILE
        try:
            if not self.path.is_dir():
                raise NotAStore(self.path, "its log is not a folder")
            raw = self._marker()
            if raw is None:
                # Another process may be making the store this moment, or was killed while it did: the folder is
                # empty, or has drafts. After an interrupted copy the segments say what the file would have said.
                strangers = [entry for entry in self.path.iterdir() if not entry.name.startswith(f"{STORE_FILE}.")]
                if not strangers or file in strangers or self.tables():
                    return
                raw = self._marker()
        except OSError as error:
            raise storage_error(error, file) from error
        if raw is None:
            raise NotAStore(self.path, f"there is no {STORE_FILE} in it")
        try:
            number = format_of(raw)
        except msgspec.DecodeError as error:
            raise NotAStore(self.path, f"its {STORE_FILE} does not say its format") from error
        if number > KNOWN_FORMAT:
            raise FormatTooNew(self.path, number, KNOWN_FORMAT)

    def tables(self) -> list[str]:
        try:
            with os.scandir(self.path) as entries:
                names = [table_from_folder(entry.name) for entry in entries if _is_folder(entry)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise storage_error(error, self.path) from error
        return sorted(name for name in names if name is not None)

    def segments(self, table: str) -> list[SegmentInfo]:
        """Also what has the name of a segment and cannot be read, such as a link to nothing: reading it says why."""
        folder = self.folder(table)
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if is_segment_name(entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise storage_error(error, folder) from error
        within = f"{folder}{os.sep}"
        found = [_info(within + name, name) for name in names]
        return sorted(segment for segment in found if segment is not None)

    def segment(self, table: str, name: str) -> SegmentInfo | None:
        return _info(self.where(table, name), name)

    def _may_be_filled_in(self, table: str, name: str) -> bool:
        found = self.segment(table, name)
        return found is not None and not is_pack(name) and abs(time.time_ns() - found.mtime_ns) < FILLED_IN_NS

    def folder(self, table: str) -> Path:
        return self.path / table_folder(table)

    def where(self, table: str, name: str) -> str:
        return str(self.folder(table) / name)

    def _open(self, table: str, name: str) -> BinaryIO | None:
        path = self.where(table, name)
        status = _status(path)
        if status is None:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise StorageFailed(path, _what_stands_there(status.st_mode))
        try:
            file: BinaryIO = open(path, "rb", buffering=0)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if name.endswith(".zst"):
            import zstandard

            return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=True)
        return file

    def writer(self, table: str, codec: str = "jsonl") -> Writer:
        check_table(table)
        with self._shared.lock:
            writer = self._shared.writers.get((table, codec))
            if writer is None:
                self._refuse_case_clash(table)
                folder = self.folder(table)
                writer = FileWriter(folder, codec_for(codec), self.clock, self._facts, lambda: self._prepare(folder))
                self._shared.writers[table, codec] = writer
            return writer

    def look(self, table: str) -> None:
        for (name, _), writer in list(self._shared.writers.items()):
            if name == table:
                writer.look()

    def make_folder(self, table: str) -> Path:
        """The folder of a table, made where it is not there.

        Raises:
            InvalidTable: another table differs from the name only in case, or the name cannot be.
        """
        check_table(table)
        self._refuse_case_clash(table)
        folder = self.folder(table)
        try:
            self._prepare(folder)
        except OSError as error:
            raise storage_error(error, folder) from error
        return folder

    def _refuse_case_clash(self, table: str) -> None:
        for other in self.tables():
            if other != table and other.casefold() == table.casefold():
                raise InvalidTable(table, f"there is a table {other!r}, and some systems take both for one folder")

    def _facts(self) -> dict[str, Any]:
        return header.facts(self._more_facts() if self._more_facts else {})

    def _prepare(self, folder: Path) -> None:
        """Make a folder of the store, and the store around it where there is none."""
        try:
            folder.mkdir(exist_ok=True)
        except FileNotFoundError:
            make_folder(self.path.parent)
            folder.mkdir(parents=True, exist_ok=True)
        file = self.path / STORE_FILE
        if self._marker() is None:
            # Complete from the first moment on; the bytes are the same whoever comes first.
            draft = self.path / f"{STORE_FILE}.{os.getpid()}.{threading.get_ident()}"
            try:
                draft.write_bytes(STORE_BYTES)
                os.replace(draft, file)
            except OSError:
                with suppress(OSError):
                    draft.unlink()
                if self._marker() is None:  # else somebody was first: a signal handler, or a process on Windows
                    raise

    def _marker(self) -> bytes | None:
        """What the file says that makes the folder a store; None if it is not there, or was cut off by a power cut."""
        file = self.path / STORE_FILE
        try:
            if not stat.S_ISREG(file.stat().st_mode):  # a pipe would never be read to its end
                raise NotAStore(self.path, f"its {STORE_FILE} is no file")
            raw = file.read_bytes()
        except FileNotFoundError:
            return None
        return None if raw != STORE_BYTES and STORE_BYTES.startswith(raw) else raw


class _StoreFile(msgspec.Struct):
    format: Annotated[int, msgspec.Meta(ge=1)]


def format_of(raw: bytes) -> int:
    """The format that a store's file says.

    Raises:
        msgspec.DecodeError: it says none.
    """
    return msgspec.json.decode(raw, type=_StoreFile).format


def is_log(folder: Path) -> bool:
    """Whether a folder says of itself that it is the log of a store."""
    file = folder / STORE_FILE
    try:
        if not file.is_file():
            return False
        format_of(file.read_bytes())
    except (OSError, msgspec.DecodeError):
        return False
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False  # a link to itself


def _info(path: str, name: str) -> SegmentInfo | None:
    """A segment as it stands at a path; None if there is nothing.

    Raises:
        StorageError: the system would not say.
    """
    try:
        status = _status(path)
    except OSError as error:
        raise storage_error(error, path) from error
    if status is None:
        return None
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return SegmentInfo(name, size, status.st_mtime_ns, status.st_ino)


def _status(path: str) -> os.stat_result | None:
    """What stands at a path, links followed: of one that leads nowhere, its own; None if there is nothing.

    Raises:
        OSError: the system would not say.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _what_stands_there(mode: int) -> str:
    """Why what is no plain file cannot be read as a segment."""
    if stat.S_ISLNK(mode):
        return "it is a link that leads to no file, as git-annex and DVC have where contents are yet to be fetched"
    return "a folder stands in its place" if stat.S_ISDIR(mode) else "it is no plain file"
