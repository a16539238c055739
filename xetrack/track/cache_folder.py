"""A function cache on disk: its entries, and how a folder of them is read.

An entry is a line about a result, with a CRC of its own, and the pickled result.
The line is all that listing and deleting read: a result is unpickled only where
it is asked for, and nothing else in the folder ever is.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import sqlite3
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from xetrack.errors import CacheNotFound, MissingExtra, StorageFailed, storage_error

logger = logging.getLogger("xetrack")

FORMAT = 1
_MAX_LINE = 1 << 16
_TIMEOUT_S = 10
#: Results are kept until they are deleted, however large all are together.
_SETTINGS = {"eviction_policy": "none", "cull_limit": 0, "statistics": 0, "sqlite_mmap_size": 0}


class Entry(msgspec.Struct, frozen=True):
    """What an entry says about its result: the run that computed it, the call, and the CRC of the pickled bytes.

    And what the row of that run showed: ``text`` of a result that is no scalar, and digest and
    size of the objects in it, column by column. An object that was pickled once may pickle to
    other bytes the next time, and its text may hold an address.
    """

    format: int
    key: str
    cache: str
    function: str
    arguments: str
    file: str
    qualname: str
    code: str
    python: str
    time_us: int
    crc: int
    text: str | None = None
    objects: dict[str, list[tuple[str, int]]] = {}


def pack(entry: Entry, payload: bytes) -> bytes:
    """Bytes of an entry."""
    line = msgspec.json.encode(entry)
    return b"%08x %b\n%b" % (zlib.crc32(line), line, payload)


def unpack(key: str, raw: bytes) -> tuple[Entry, int] | None:
    """What an entry says and where its result begins, ``None`` if the line or the result is damaged."""
    found = _line(raw)
    if found is None or found[0].key != key or zlib.crc32(memoryview(raw)[found[1] :]) != found[0].crc:
        return None
    return found


def pickled(result: Any) -> bytes:
    """By reference where pickle can: a result is then of the same class when it comes back."""
    try:
        return pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - cloudpickle may know more; if not, its error is raised
        import cloudpickle

        raw: bytes = cloudpickle.dumps(result)
        return raw


def unpickled(raw: bytes, start: int) -> Any:
    """The result that begins there. This runs its code."""
    payload = memoryview(raw)[start:]
    if "__mp_main__" in sys.modules or raw.find(b"__mp_main__", start) < 0:
        return pickle.loads(payload)
    return _Unpickler(io.BytesIO(payload)).load()


def _line(raw: bytes) -> tuple[Entry, int] | None:
    end = raw.find(b"\n", 0, _MAX_LINE)
    line = raw[9:end]
    if end < 0 or raw[:9] != b"%08x " % zlib.crc32(line):
        return None
    try:
        entry = _decoder.decode(line)
    except msgspec.DecodeError:
        return None
    return (entry, end + 1) if entry.format == FORMAT else None


_decoder = msgspec.json.Decoder(Entry)


class _Unpickler(pickle.Unpickler):
    """Finds what a worker process of the same script stored in the script itself."""

    def find_class(self, module: str, name: str) -> Any:
        return super().find_class("__main__" if module == "__mp_main__" else module, name)


# -- reading a cache ---------------------------------------------------------


def read_entry(folder: str | os.PathLike[str], key: str) -> dict[str, Any] | None:
    """The result under a key and the run that computed it, as ``{"result": ..., "cache": track_id}``.

    ``None`` if there is none, or if a warning says that it is damaged. The result
    is unpickled, which runs its code: read caches that you trust.

    Raises:
        CacheNotFound: there is no cache in the folder.
    """
    with _reading(folder) as disk:
        return _loaded(key, disk.get(key))


def scan_entries(folder: str | os.PathLike[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key with its result, as ``read_entry`` gives it, in the order they came; damaged ones are left out.

    Raises:
        CacheNotFound: there is no cache in the folder.
    """
    _existing(folder)  # told at the call, not at the first step
    return _scan(folder)


def _scan(folder: str | os.PathLike[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with _reading(folder) as disk:
        for key in _keys(disk):
            loaded = _loaded(key, disk.get(key))
            if loaded is not None:
                yield key, loaded


def list_entries(folder: str | os.PathLike[str]) -> list[tuple[str, int, Entry | None]]:
    """Every key with the size of its entry in bytes and what it says; ``None`` where that is damaged.

    In the order they came. Nothing is unpickled. What other programs keep in the
    folder is left out.

    Raises:
        CacheNotFound: there is no cache in the folder.
    """
    entries = []
    with _reading(folder) as disk:
        for key in _keys(disk):
            raw = disk.get(key, read=True)  # bytes if small, else an open file
            if isinstance(raw, bytes):
                entries.append((key, len(raw), _said(raw)))
            elif isinstance(raw, io.BufferedReader):
                with raw:
                    entries.append((key, os.fstat(raw.fileno()).st_size, _said(raw.read(_MAX_LINE))))
    return entries


def delete_entries(folder: str | os.PathLike[str], track_id: str) -> int:
    """Delete all results that a run computed, and return how many. Nothing is unpickled.

    Raises:
        CacheNotFound: there is no cache in the folder.
    """
    with _reading(folder) as disk:
        count: int = disk.evict(track_id)
        return count


@contextmanager
def _reading(folder: str | os.PathLike[str]) -> Iterator[Any]:
    diskcache, path = diskcache_package(), _existing(folder)
    try:
        disk = opened(path, writing=False)
        try:
            yield disk
        finally:
            disk.close()
    except OSError as error:
        raise storage_error(error, path) from error
    except (sqlite3.Error, diskcache.Timeout, ValueError, TypeError, LookupError) as error:  # of a damaged database
        raise StorageFailed(path, str(error) or "another process holds it") from error


def _existing(folder: str | os.PathLike[str]) -> Path:
    path = absolute(folder)
    if not _database(path).is_file():
        raise CacheNotFound(os.fspath(folder))
    return path


def _keys(disk: Any) -> Iterator[str]:
    return (key for key in disk if type(key) is str)


def _said(raw: bytes) -> Entry | None:
    found = _line(raw)
    return None if found is None else found[0]


def _loaded(key: str, raw: object) -> dict[str, Any] | None:
    if not isinstance(raw, bytes):
        return None
    found = unpack(key, raw)
    if found is None:
        logger.warning("The cache entry %s is damaged.", key)
        return None
    entry, start = found
    try:
        return {"result": unpickled(raw, start), "cache": entry.cache}
    except Exception as error:  # noqa: BLE001 - unpickling runs code of the objects
        logger.warning("The cache entry %s cannot be loaded: %s", key, error)
        return None


# -- the folder --------------------------------------------------------------


def _database(folder: Path) -> Path:
    name: str = diskcache_package().core.DBNAME
    return folder / name


def absolute(folder: str | os.PathLike[str]) -> Path:
    """The folder as diskcache would take it, pinned: the program may change its directory."""
    return Path(os.path.abspath(os.path.expandvars(os.path.expanduser(os.fspath(folder)))))


def diskcache_package() -> Any:
    """The package, or ``MissingExtra``."""
    try:
        import diskcache
    except ImportError as error:
        raise MissingExtra("The function cache", "cache") from error
    return diskcache


def opened(folder: Path, *, writing: bool) -> Any:
    """The ``diskcache.Cache`` of a folder. ``writing`` makes it, and lets it keep all that it is given."""
    diskcache = diskcache_package()
    if _database(folder).is_file():
        with closing(sqlite3.connect(_database(folder))) as connection:  # diskcache would not close a damaged one
            connection.execute("SELECT name FROM sqlite_master").fetchall()
    disk: Any = diskcache.Disk

    class BytesDisk(disk):  # type: ignore[misc]
        """Keeps bytes and text as they are, and never unpickles what it finds."""

        def get(self, key: Any, raw: bool) -> Any:
            return super().get(key, True)

        def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> Any:
            return None if mode == diskcache.core.MODE_PICKLE else super().fetch(mode, filename, value, read)

        def store(self, value: Any, read: bool, key: Any = None) -> Any:
            if type(value) is not bytes or len(value) < self.min_file_size:
                return super().store(value, read, key)
            filename, path = self.filename()
            _write_whole(Path(path), value)
            return len(value), diskcache.core.MODE_BINARY, filename, None

    return diskcache.Cache(str(folder), timeout=_TIMEOUT_S, disk=BytesDisk, **(_SETTINGS if writing else {}))


def _write_whole(path: Path, raw: bytes) -> None:
    """Write a file or leave none behind: a part would take what room is left on a full disk."""
    for attempt in range(10):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = open(path, "xb")
            break
        except FileNotFoundError:  # another process took the folder away, which was empty
            if attempt == 9:
                raise
    try:
        with file:
            file.write(raw)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
