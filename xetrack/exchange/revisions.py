"""Logs as they are in a git revision, read from its objects: nothing is checked out.

``RevisionLog`` is a log like any other that is only read, so merge, copy and what
asks for a past state need not know where the bytes come from.
"""

from __future__ import annotations

import io
import os
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NoReturn

import msgspec

from xetrack.errors import FormatTooNew, NotAStore, PermissionDenied, RevisionNotFound, StorageFailed
from xetrack.exchange.git import Revision
from xetrack.log.assets import Assets, StoredFile
from xetrack.log.clock import Clock
from xetrack.log.log import KNOWN_FORMAT, STORE_FILE, Log, SegmentInfo, format_of
from xetrack.log.names import is_segment_name, table_from_folder
from xetrack.log.segment import Writer
from xetrack.store import EVENTS_SUFFIX

PREFIX = "git:"


def open_revision(source: str, near: str | os.PathLike[str]) -> RevisionLog:
    """The log of a store in a revision, named as ``git:<rev>`` or ``git:<rev>:<path>``.

    ``near`` is the path of a store whose repository is meant, else that of the
    current folder; without a path its own is meant, else the only store there is.

    Raises:
        RevisionNotFound: no such revision, or no store in it.
        FormatTooNew: a later release wrote it.
    """
    name, _, path = source.removeprefix(PREFIX).partition(":")
    own = Path(os.path.abspath(near))
    revision = Revision.of(own.parent, name) or Revision.of(Path.cwd(), name)
    if revision is None:
        raise RevisionNotFound(source, f"git knows no revision {name!r} here")
    try:
        folder = _named(revision, path) if path else _default(source, revision, own)
        if folder is None:
            raise RevisionNotFound(source, f"it has no store {path}")
        log = RevisionLog(source, revision, folder)
        log.check_format()
        return log
    except BaseException:
        revision.close()
        raise


def _named(revision: Revision, path: str) -> str | None:
    """The folder of the log that a path means: of the tables or of the log; from the top, or from here with a dot."""
    if path.startswith("."):
        path = os.path.relpath(os.path.realpath(path), os.path.realpath(revision.top))
    path = PurePosixPath(path.replace(os.sep, "/")).as_posix()
    for folder in (f"{path}{EVENTS_SUFFIX}", path):
        if revision.has_folder(folder):
            return folder
    return None


def _default(source: str, revision: Revision, own: Path) -> str:
    path = Path(os.path.realpath(own))
    top = Path(os.path.realpath(revision.top))
    if path.is_relative_to(top):
        found = _named(revision, path.relative_to(top).as_posix().removesuffix(EVENTS_SUFFIX))
        if found is not None:
            return found
    stores = {file.rpartition("/")[0] for file in revision.files("") if file.endswith(f"{EVENTS_SUFFIX}/{STORE_FILE}")}
    if len(stores) != 1:
        named = ", ".join(sorted(store.removesuffix(EVENTS_SUFFIX) for store in stores))
        raise RevisionNotFound(source, f"it has several stores, {named}" if stores else "it has no store")
    return stores.pop()


class RevisionLog(Log):
    """The log in one folder of a revision. Close it when done."""

    def __init__(self, name: str, revision: Revision, folder: str) -> None:
        self._name, self._revision, self._folder = name, revision, folder
        self._files = {path.removeprefix(f"{folder}/"): file for path, file in revision.files(folder).items()}
        self._last: tuple[str, bytes] = ("", b"")
        self.clock = Clock()
        self.assets: Assets = _RevisionAssets(self)
        self.unsorted: set[tuple[str, str]] = set()
        self._tables: dict[str, list[SegmentInfo]] = {}
        for path, file in sorted(self._files.items()):
            folder_name, _, name = path.partition("/")
            table = table_from_folder(folder_name)
            if table is not None and is_segment_name(name):
                self._tables.setdefault(table, []).append(SegmentInfo(name, file.size_bytes, 0, 0))
        self._folders = {table_from_folder(path.partition("/")[0]): path.partition("/")[0] for path in self._files}

    def close(self) -> None:
        self._revision.close()

    @property
    def here(self) -> Path:
        """Where its folder is in the work tree, if it is there."""
        return Path(self._revision.top) / self._folder

    def bytes_of(self, path: str) -> bytes | None:
        """The bytes of a file of the folder, None if it is not there. The last one is kept."""
        file = self._files.get(path)
        if file is None:
            return None
        if self._last[0] != file.digest:
            self._last = (file.digest, self._revision.read(file.digest))
        return self._last[1]

    def paths(self) -> list[str]:
        return sorted(self._files)

    def place(self, path: str) -> str:
        return f"{PREFIX}{self._revision.name}:{self._folder}/{path}"

    def exists(self) -> bool:
        return True

    def create(self) -> None:
        """It is there as long as the revision is."""

    def check_format(self) -> None:
        raw = self.bytes_of(STORE_FILE)
        if raw is None:
            if self._tables:
                return
            raise NotAStore(self.place(""), f"there is no {STORE_FILE} in it")
        try:
            number = format_of(raw)
        except msgspec.DecodeError as error:
            raise NotAStore(self.place(""), f"its {STORE_FILE} does not say its format") from error
        if number > KNOWN_FORMAT:
            raise FormatTooNew(self.place(""), number, KNOWN_FORMAT)

    def tables(self) -> list[str]:
        return sorted(self._tables)

    def segments(self, table: str) -> list[SegmentInfo]:
        return list(self._tables.get(table, ()))

    def writer(self, table: str, codec: str = "jsonl") -> Writer:
        self._refuse(table)

    def look(self, table: str) -> None:
        """Nobody writes there."""

    def where(self, table: str, name: str) -> str:
        return self.place(f"{self._folders.get(table, table)}/{name}")

    def _open(self, table: str, name: str) -> BinaryIO | None:
        path = f"{self._folders.get(table, table)}/{name}"
        raw = self.bytes_of(path)
        if raw is None:
            return None
        if self._files[path].is_link:
            raise StorageFailed(self.place(path), "git has a link there, and not what it leads to")
        if name.endswith(".zst"):
            import zstandard

            unpacked: Any = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw), read_across_frames=True)
            return unpacked  # type: ignore[no-any-return]  # zstandard has no types for what it reads
        return io.BytesIO(raw)

    def _refuse(self, path: str) -> NoReturn:
        raise PermissionDenied(self.place(path))


class _RevisionAssets(Assets):
    """The stored objects of a revision."""

    def __init__(self, log: RevisionLog) -> None:
        self._log = log
        self._paths = {
            PurePosixPath(path).stem: path
            for path in log.paths()
            if path.startswith("_assets/") and path.endswith(".zst")
        }

    def has(self, digest: str) -> bool:
        return digest in self._paths

    def files(self) -> list[StoredFile]:
        return [StoredFile(self._log.place(path), digest, 0, 0.0) for digest, path in sorted(self._paths.items())]

    def where(self, digest: str) -> str:
        return self._log.place(self._paths.get(digest, f"_assets/{digest[:2]}/{digest}.zst"))

    def discard(self, file: StoredFile, min_age_s: float) -> bool:
        return False

    def _open(self, digest: str) -> BinaryIO | None:
        raw = self._log.bytes_of(self._paths[digest]) if digest in self._paths else None
        return None if raw is None else io.BytesIO(raw)

    def renew(self, digest: str, *, to_disk: bool = False) -> bool:
        return False

    def _write(self, digest: str, *rest: Any) -> NoReturn:
        raise PermissionDenied(self.where(digest))
