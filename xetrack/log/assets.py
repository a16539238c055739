"""Stored objects: bytes by their SHA-256, written once.

An object is pickled by cloudpickle, named by the digest of these bytes and kept
compressed. Listing, checking and copying never unpickle; only ``get`` does, after
the bytes were checked. Bytes come before the event that names them (law 3).
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xetrack.errors import AssetNotFound, InvalidValue, StorageFailed, storage_error

#: How an asset's bytes are made, as ``asset.added`` names it.
ASSET_CODEC = "cloudpickle+zstd"
_LEVEL = 3
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Assets(ABC):
    """The stored objects of one log. Threads may share it."""

    def put(self, value: Any) -> tuple[str, int]:
        """Store an object and return its digest and size in bytes, before compression.

        One that is there already is not written again.

        Raises:
            InvalidValue: it cannot be pickled.
            DiskFull: nothing was kept.
        """
        return self.put_bytes(pickled(value))

    def put_bytes(self, raw: bytes) -> tuple[str, int]:
        """Store bytes as they are. See ``put``."""
        digest = hashlib.sha256(raw).hexdigest()
        if not self.has(digest):
            import zstandard

            self._write(digest, zstandard.ZstdCompressor(level=_LEVEL).compress(raw))
        return digest, len(raw)

    def get(self, digest: str) -> Any:
        """The object of a digest. It is unpickled, which runs its code: open only what you trust.

        Raises:
            AssetNotFound: there is none.
            StorageFailed: its bytes are not those that were stored.
        """
        import pickle

        return pickle.loads(self.raw_bytes(digest))

    def raw_bytes(self, digest: str) -> bytes:
        """The pickled bytes of an object, checked against its digest. Raises what ``get`` does."""
        import zstandard

        packed = self.packed_bytes(digest)
        try:
            raw: bytes = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        except zstandard.ZstdError as error:
            raise StorageFailed(self.where(digest), "the stored object is damaged") from error
        if hashlib.sha256(raw).hexdigest() != digest:
            raise StorageFailed(self.where(digest), "the stored object is damaged")
        return raw

    def packed_bytes(self, digest: str) -> bytes:
        """The compressed bytes as they are kept, not checked.

        Raises:
            AssetNotFound: there is none.
        """
        packed = self._read(digest) if _DIGEST.fullmatch(digest) else None
        if packed is None:
            raise AssetNotFound(digest)
        return packed

    @abstractmethod
    def has(self, digest: str) -> bool:
        """Whether there is an object of a digest; its bytes are not checked."""

    @abstractmethod
    def digests(self) -> list[str]:
        """Digests of all stored objects, in alphabetical order."""

    @abstractmethod
    def where(self, digest: str) -> str:
        """Path of an object, for reports."""

    @abstractmethod
    def _read(self, digest: str) -> bytes | None: ...

    @abstractmethod
    def _write(self, digest: str, packed: bytes) -> None: ...


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

    def digests(self) -> list[str]:
        found = []
        try:
            for path in self.folder.glob("??/*.zst"):
                if _DIGEST.fullmatch(path.stem) and path.parent.name == path.stem[:2]:
                    found.append(path.stem)
        except OSError as error:
            raise storage_error(error, self.folder) from error
        return sorted(found)

    def _read(self, digest: str) -> bytes | None:
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, self.path(digest)) from error

    def _write(self, digest: str, packed: bytes) -> None:
        """Whole or not at all: written beside its place, synced, then moved there."""
        path = self.path(digest)
        draft = path.with_name(f".{digest}.{os.getpid()}.{threading.get_ident()}")
        try:
            self._prepare(path.parent)
            try:
                with open(draft, "wb") as file:
                    file.write(packed)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(draft, path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        except OSError as error:
            if not path.is_file():  # on Windows somebody else may have it open: then it is there
                raise storage_error(error, path, len(packed)) from error


class MemoryAssets(Assets):
    """Stored objects that end with their process."""

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}

    def where(self, digest: str) -> str:
        return f":memory:/_assets/{digest[:2]}/{digest}.zst"

    def has(self, digest: str) -> bool:
        return digest in self._packed

    def digests(self) -> list[str]:
        return sorted(self._packed)

    def _read(self, digest: str) -> bytes | None:
        return self._packed.get(digest)

    def _write(self, digest: str, packed: bytes) -> None:
        self._packed[digest] = packed


def pickled(value: Any) -> bytes:
    """An object's bytes, by cloudpickle.

    Raises:
        InvalidValue: it cannot be pickled.
    """
    import cloudpickle

    try:
        raw: bytes = cloudpickle.dumps(value)
    except Exception as error:  # what an object's own pickling code raises is anyone's guess
        raise InvalidValue(type(value).__name__, f"the object cannot be stored: {error}") from error
    return raw
