"""Stored objects: bytes by their SHA-256, compressed, written once.

An object is pickled by cloudpickle, a file is taken as it is. Large ones stream:
neither way holds a second copy in memory. Listing, checking and copying never
unpickle; only ``get`` does, after every byte was checked. Bytes come before the
event that names them (law 3). File layout: docs/format.md, Assets.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import secrets
import shutil
import struct
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from xetrack.errors import AssetDamaged, AssetNotFound, AssetUnloadable, InvalidValue, storage_error
from xetrack.log.segment import sync_folder, sync_place

#: How an asset's bytes are made, as ``asset.added`` names it.
OBJECT_CODEC = "cloudpickle+zstd"
FILE_CODEC = "file+zstd"
_LEVEL = 3
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DRAFT = ".draft"
_CHUNK_BYTES = 1 << 20
#: Objects up to this size are kept between hashing and compressing; larger ones are made twice instead.
_KEEP_BYTES = 32 << 20
#: Compressed bytes without a seal to unpack at a time. They may stand for 40,000 times as many.
_FEED_BYTES = 1024
#: What begins the seal: a frame that readers of Zstandard skip, four bytes long.
_SEAL = struct.pack("<II", 0x184D2A5E, 4)
_SEAL_BYTES = len(_SEAL) + 4
#: An object that is about to be named again counts as new if its file is older than this (seconds).
_RENEW_S = 900.0

#: Writes the bytes of an object; may be called twice.
Feed = Callable[["_Sink"], object]


class StoredFile(NamedTuple):
    """A file of the store of assets; ``digest`` is None for a draft that was never finished."""

    path: str
    digest: str | None
    size_bytes: int
    mtime_s: float


class Assets(ABC):
    """The stored objects of one log. Threads and processes may share it."""

    def put(self, value: Any, *, to_disk: bool = False) -> tuple[str, int]:
        """Store an object and return its digest and size in bytes, before compression.

        One that is there already costs its pickling and hashing, no more.
        ``to_disk`` also waits for the device.

        Raises:
            InvalidValue: it cannot be pickled.
            DiskFull: nothing was kept.
        """
        return self._store(lambda sink: _pickle(value, sink), to_disk)

    def put_file(self, path: Path, *, to_disk: bool = False) -> tuple[str, int]:
        """Store the bytes of a file. See ``put``.

        Raises:
            StorageError: it cannot be read.
        """
        return self._store(lambda sink: _read_file(path, sink), to_disk)

    def put_pieces(self, pieces: Callable[[], Iterable[bytes]], *, to_disk: bool = False) -> tuple[str, int]:
        """Store bytes that come a piece at a time; ``pieces`` is called twice. See ``put``."""

        def feed(sink: _Sink) -> None:
            for piece in pieces():
                sink.write(piece)

        return self._store(feed, to_disk)

    def copy_from(self, source: Assets, digest: str, *, to_disk: bool = False) -> None:
        """Take over an object of another store, checked on the way and never unpickled.

        Raises:
            AssetNotFound: the other has none.
            AssetDamaged: its bytes there are not those that were stored.
        """

        def feed(sink: _Sink) -> None:
            with source.open(digest) as stream:
                shutil.copyfileobj(stream, sink, _CHUNK_BYTES)

        if not self.renew(digest, to_disk=to_disk):
            self._store(feed, to_disk)

    def get(self, digest: str, size: int | None = None) -> Any:
        """The object of a digest. It is unpickled, which runs its code: open only what you trust.

        Raises:
            AssetNotFound: there is none.
            AssetDamaged: its bytes are not those that were stored.
            AssetUnloadable: the code that it needs is not here, or fails.
        """
        with self.open(digest, size) as stream:
            try:
                return pickle.load(stream)
            except Exception as error:  # what an object's own code raises is anyone's guess
                raise AssetUnloadable(digest, f"{type(error).__name__}: {error}") from error

    def open(self, digest: str, size: int | None = None) -> BinaryIO:
        """The bytes of an object as a stream, every one of them checked before you get the first.

        With the ``size`` that the log tells, reading stops where there is more.

        Raises:
            AssetNotFound: there is none.
            AssetDamaged: its bytes are not those that were stored.
        """
        import zstandard

        file = self._open(digest) if _DIGEST.fullmatch(digest) else None
        if file is None:
            raise AssetNotFound(digest)
        kept: list[bytes] | None = []
        hashed, count = hashlib.sha256(), 0
        try:
            for piece in _unpacked(file):
                hashed.update(piece)
                count += len(piece)
                if size is not None and count > size:
                    raise _Harm(f"it holds more than the {size} bytes that were stored")
                if count > _KEEP_BYTES:
                    kept = None
                if kept is not None:
                    kept.append(piece)
            if hashed.hexdigest() != digest:
                raise _Harm("it holds other bytes than were stored")
            if kept is None:
                file.seek(0)
        except _Harm as harm:
            file.close()
            raise AssetDamaged(digest, self.where(digest), str(harm)) from harm
        except OSError as error:
            file.close()
            raise storage_error(error, self.where(digest)) from error
        if kept is None:
            unpacking = zstandard.ZstdDecompressor().stream_reader(file, closefd=True)
            return io.BufferedReader(cast(io.RawIOBase, unpacking), _CHUNK_BYTES)
        file.close()
        return io.BytesIO(b"".join(kept))

    def check(self, digest: str) -> None:
        """Read an object through and keep nothing. Raises what ``open`` does."""
        self.open(digest).close()

    def _store(self, feed: Feed, to_disk: bool) -> tuple[str, int]:
        found = _Sink(_KEEP_BYTES)
        feed(found)
        digest, kept = found.digest(), found.kept
        if self.renew(digest, to_disk=to_disk):
            return digest, found.size
        if kept is None:
            packed = self._write(digest, feed, None, to_disk)
        else:
            packed = self._write(digest, lambda sink: [sink.write(piece) for piece in kept], found.size, to_disk)
        # An object may change while it is stored: its name is that of the bytes that were written.
        return packed.digest(), packed.size

    @abstractmethod
    def has(self, digest: str) -> bool:
        """Whether there is an object of a digest; its bytes are not checked."""

    @abstractmethod
    def files(self) -> list[StoredFile]:
        """All files, by path: objects, and drafts that a killed process left."""

    @abstractmethod
    def where(self, digest: str) -> str:
        """Path of an object, for reports."""

    @abstractmethod
    def discard(self, file: StoredFile, min_age_s: float) -> bool:
        """Take a file away unless it is younger than that; tell whether it went.

        An object that a program is storing again at this moment counts as new.
        """

    @abstractmethod
    def _open(self, digest: str) -> BinaryIO | None: ...

    @abstractmethod
    def renew(self, digest: str, *, to_disk: bool = False) -> bool:
        """Whether the object is there and its file complete; if so it counts as new again.

        ``to_disk`` has it on the device too: whoever stored it may not have waited for that.
        """

    @abstractmethod
    def _write(self, digest: str, feed: Feed, size: int | None, to_disk: bool) -> _Packer:
        """Keep what ``feed`` writes, whole or not at all; ``digest`` is the one expected."""

    def digests(self) -> list[str]:
        """Digests of all stored objects, in alphabetical order."""
        return sorted(file.digest for file in self.files() if file.digest is not None)


class FileAssets(Assets):
    """Stored objects in ``_assets/<aa>/<digest>.zst``."""

    def __init__(self, folder: Path, prepare: Callable[[Path], None]) -> None:
        """``prepare`` makes a folder, and the store around it."""
        self.folder = folder
        self._prepare = prepare

    def path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.zst"

    def where(self, digest: str) -> str:
        return str(self.path(digest))

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def files(self) -> list[StoredFile]:
        found = []
        try:
            for path in sorted([*self.folder.glob("*"), *self.folder.glob("??/*")]):
                is_object = bool(_DIGEST.fullmatch(path.stem)) and path == self.path(path.stem)
                if is_object or path.suffix == _DRAFT:
                    try:
                        status = path.stat()
                    except FileNotFoundError:
                        continue  # taken away since the folder was read
                    digest = path.stem if is_object else None
                    found.append(StoredFile(str(path), digest, status.st_size, status.st_mtime))
        except OSError as error:
            raise storage_error(error, self.folder) from error
        return found

    def discard(self, file: StoredFile, min_age_s: float) -> bool:
        path = Path(file.path)
        # Out of the way first: whoever stores it from now on writes it anew, whoever did before made it young.
        aside = path.with_name(f"{secrets.token_hex(8)}{_DRAFT}")
        try:
            os.rename(path, aside)
            if time.time() - aside.stat().st_mtime < min_age_s:
                os.replace(aside, path)
                return False
            aside.unlink()
            return True
        except FileNotFoundError:
            return False
        except OSError as error:
            raise storage_error(error, path) from error

    def delete(self, digest: str) -> None:
        """Take an object away at once, whoever needs it: for redactions. All else goes by ``discard``."""
        path = self.path(digest)
        try:
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
        except FileNotFoundError:
            pass  # its folder went too
        except OSError as error:
            raise storage_error(error, path) from error

    def _open(self, digest: str) -> BinaryIO | None:
        try:
            return open(self.path(digest), "rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, self.path(digest)) from error

    def renew(self, digest: str, *, to_disk: bool = False) -> bool:
        path = self.path(digest)
        try:
            with open(path, "rb") as file:
                file.seek(-_SEAL_BYTES, os.SEEK_END)
                if file.read(len(_SEAL)) != _SEAL:
                    return False
                age_s = time.time() - os.fstat(file.fileno()).st_mtime
            if age_s > _RENEW_S:
                os.utime(path)
            if to_disk:
                self._sync_place(path)
        except OSError:  # not there, cut off, or another account's: then it is written, or that says why not
            return False
        return True

    def _sync_place(self, path: Path) -> None:
        sync_folder(path.parent)
        sync_place(self.folder)

    def _write(self, digest: str, feed: Feed, size: int | None, to_disk: bool) -> _Packer:
        draft = self.folder / f"{secrets.token_hex(8)}{_DRAFT}"
        packer = _Packer(io.BytesIO(), size)
        path = self.path(digest)
        try:
            self._prepare(self.folder)
            try:
                with open(draft, "xb") as file:
                    packer = _Packer(file, size)
                    feed(packer)
                    packer.finish()
                    file.flush()
                    os.fsync(file.fileno())
                path = self.path(packer.digest())
                self._prepare(path.parent)
                os.replace(draft, path)
                if to_disk:
                    self._sync_place(path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        except OSError as error:
            if not path.is_file():  # on Windows somebody else may have it open: then it is there
                raise storage_error(error, path, packer.packed_bytes) from error
        return packer


class MemoryAssets(Assets):
    """Stored objects that end with their process."""

    def __init__(self) -> None:
        self._packed: dict[str, tuple[bytes, float]] = {}

    def where(self, digest: str) -> str:
        return f":memory:/_assets/{digest[:2]}/{digest}.zst"

    def has(self, digest: str) -> bool:
        return digest in self._packed

    def files(self) -> list[StoredFile]:
        stored = sorted(self._packed.items())
        return [StoredFile(self.where(digest), digest, len(packed), time_s) for digest, (packed, time_s) in stored]

    def discard(self, file: StoredFile, min_age_s: float) -> bool:
        found = self._packed.get(file.digest or "")
        if found is None or time.time() - found[1] < min_age_s:
            return False
        self._packed.pop(file.digest or "", None)
        return True

    def _open(self, digest: str) -> BinaryIO | None:
        found = self._packed.get(digest)
        return None if found is None else io.BytesIO(found[0])

    def renew(self, digest: str, *, to_disk: bool = False) -> bool:
        found = self._packed.get(digest)
        if found is not None:
            self._packed[digest] = (found[0], time.time())
        return found is not None

    def _write(self, digest: str, feed: Feed, size: int | None, to_disk: bool) -> _Packer:
        draft = io.BytesIO()
        packer = _Packer(draft, size)
        feed(packer)
        packer.finish()
        self._packed[packer.digest()] = (draft.getvalue(), time.time())
        return packer


def digest_of(value: Any) -> str:
    """The digest that an object, or the file of a path, would have; nothing is stored.

    Raises:
        InvalidValue: it cannot be pickled.
        StorageError: the file cannot be read.
    """
    sink = _Sink(0)
    if isinstance(value, Path):
        _read_file(value, sink)
    else:
        _pickle(value, sink)
    return sink.digest()


def digests_in(wire: Any) -> Iterator[str]:
    """The digests of the stored objects that a wire value holds."""
    if type(wire) is list:
        for item in wire:
            yield from digests_in(item)
    elif type(wire) is dict:
        tag, content = next(iter(wire.items())) if len(wire) == 1 else ("", None)
        if tag == "$asset" and isinstance(content, str):
            yield content
        else:
            # A user's own dict that looks like a tag is inside of this one.
            for item in (content if tag == "$dict" and isinstance(content, dict) else wire).values():
                yield from digests_in(item)


# -- bytes in ----------------------------------------------------------------


class _Sink:
    """Takes the bytes of an object: hashes and counts them, and keeps them while they are few."""

    def __init__(self, keep_bytes: int) -> None:
        self.size = 0
        self.kept: list[bytes] | None = []
        #: What the disk raised on the way, for it is no fault of the object.
        self.refusal: OSError | None = None
        self._keep_bytes = keep_bytes
        self._hash = hashlib.sha256()

    def digest(self) -> str:
        return self._hash.hexdigest()

    def write(self, piece: Any) -> int:
        """Take a piece. Memory that others may change is copied first, a megabyte at a time."""
        if type(piece) is bytes and len(piece) <= _CHUNK_BYTES:
            self._take(piece)
            return len(piece)
        view = piece.raw() if isinstance(piece, pickle.PickleBuffer) else memoryview(piece).cast("B")
        for start in range(0, len(view), _CHUNK_BYTES):
            self._take(bytes(view[start : start + _CHUNK_BYTES]))
        return len(view)

    def _take(self, piece: bytes) -> None:
        self._hash.update(piece)
        self.size += len(piece)
        if self.size > self._keep_bytes:
            self.kept = None
        elif self.kept is not None:
            self.kept.append(piece)


class _Packer(_Sink):
    """Takes the bytes of an object and writes its file: a Zstandard frame and its seal."""

    def __init__(self, file: BinaryIO, size: int | None) -> None:
        import zstandard

        super().__init__(0)
        self.packed_bytes = 0
        self._file = file
        self._crc = 0
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self._frame = compressor.compressobj(size=-1 if size is None else size)

    def finish(self) -> None:
        self._out(self._frame.flush())
        self._out(_seal(self._crc))

    def _take(self, piece: bytes) -> None:
        super()._take(piece)
        self._out(self._frame.compress(piece))

    def _out(self, packed: bytes) -> None:
        self._crc = zlib.crc32(packed, self._crc)
        self.packed_bytes += len(packed)
        try:
            self._file.write(packed)
        except OSError as error:
            self.refusal = error
            raise


def _pickle(value: Any, sink: _Sink) -> None:
    import cloudpickle

    try:
        # Protocol 5 hands over the memory of an array as it lies there.
        cloudpickle.CloudPickler(sink, protocol=5).dump(value)
    except Exception as error:  # what an object's own pickling code raises is anyone's guess
        if error is sink.refusal:
            raise
        raise InvalidValue(type(value).__name__, f"the object cannot be stored: {error}") from error


def _read_file(path: Path, sink: _Sink) -> None:
    try:
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sink, _CHUNK_BYTES)
    except OSError as error:
        if error is sink.refusal:
            raise
        raise storage_error(error, path) from error


# -- bytes out ---------------------------------------------------------------


class _Harm(Exception):  # a signal inside this room, never a user's error
    """What is wrong with the bytes of a file."""


def _seal(crc: int) -> bytes:
    """What ends an asset's file: some bits of a frame do not matter to those who unpack it, here they do."""
    return _SEAL + struct.pack("<I", crc)


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """The bytes that a file stands for, a piece at a time: exactly one frame, and its seal if it has one.

    However much a piece is said to hold, little of it is unpacked at once.
    """
    import zstandard

    try:
        end = file.seek(0, os.SEEK_END) - _SEAL_BYTES
        file.seek(max(end, 0))
        seal = file.read(_SEAL_BYTES)
        file.seek(0)
        if end < 0 or not seal.startswith(_SEAL):
            yield from _unpacked_unsealed(file)
            return
        sealed = _Sealed(file, end)
        stream = zstandard.ZstdDecompressor().stream_reader(
            cast(BinaryIO, sealed), read_across_frames=True, closefd=False
        )
        while piece := stream.read(_CHUNK_BYTES):
            yield piece
        if sealed.left or seal != _seal(sealed.crc):
            raise _Harm("some of its bits are not those that were written")
    except zstandard.ZstdError as error:
        raise _Harm(f"it cannot be decompressed: {error}") from error


def _unpacked_unsealed(file: BinaryIO) -> Iterator[bytes]:
    """The same for a file that another tool made, or that lost its end."""
    import zstandard

    frame = zstandard.ZstdDecompressor().decompressobj()
    while not frame.eof:
        piece = file.read(_FEED_BYTES)
        if not piece:
            raise _Harm("it ends too early")
        yield frame.decompress(piece)
    if frame.unused_data or file.read(1):
        raise _Harm("its end is not the one that was written")


class _Sealed:
    """The part of a file in front of its seal, with the CRC-32 of what was read."""

    def __init__(self, file: BinaryIO, left: int) -> None:
        self.left = left
        self.crc = 0
        self._file = file

    def read(self, size: int) -> bytes:
        piece = self._file.read(min(size, self.left))
        self.crc = zlib.crc32(piece, self.crc)
        self.left -= len(piece)
        return piece
