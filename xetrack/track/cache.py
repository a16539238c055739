"""Results of tracked functions, with the run that computed each.

Nothing that happens to the cache fails a call: what cannot be read is a miss,
what cannot be written is not kept, and a warning says so.
"""

from __future__ import annotations

import logging
import os
import reprlib
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from xetrack.errors import InvalidArgument
from xetrack.track.cache_folder import (
    FORMAT,
    Entry,
    absolute,
    diskcache_package,
    opened,
    pack,
    pickled,
    unpack,
    unpickled,
)
from xetrack.track.cache_keys import PYTHON, Call, describe
from xetrack.track.cache_wait import Turn

logger = logging.getLogger("xetrack")

_TEXT_CHARS = 200
#: What an entry keeps of the row, so that its line stays short: characters of the result's text, and objects.
_MAX_SHOWN = 4000
_MAX_OBJECTS = 100

#: Stores an object logged under a key and gives digest and size; or names one that is stored already, if it is.
Store = Callable[[str, Any], tuple[str, int]]
StoreAgain = Callable[[str, str, int], bool]

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _TEXT_CHARS


class FunctionCache:
    """Results of functions in a folder. Threads, forked children and other processes may share it.

    ``cache_code`` lets the function's code take part in the keys. ``wait`` is for
    how many seconds a call waits where another one is computing the same, in a
    thread or in a process; 0 computes it twice. ``warn`` tells of arguments that
    cannot be cached, once per type.

    Raises:
        MissingExtra: diskcache is not installed.
        InvalidArgument: the folder is a file, or ``wait`` no number of seconds.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, cache_code: bool = False, wait: float = 0, warn: bool = True
    ) -> None:
        diskcache_package()
        self.folder = absolute(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise InvalidArgument("cache", f"{self.folder} is a file, not a folder")
        if not wait >= 0:
            raise InvalidArgument("cache_wait", f"{wait!r} is not a number of seconds, 0 or more")
        self.cache_code, self.wait, self.warn = cache_code, wait, warn
        self._opened: dict[str, tuple[Any, int]] = {}
        self._told: set[object] = set()

    def key(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], params: Mapping[Any, Any]
    ) -> str | None:
        """Key of a call, the same in every process; ``None`` if it cannot be cached."""
        return describe(func, args, kwargs, params, cache_code=self.cache_code).key

    def call(
        self,
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        params: Mapping[Any, Any],
        track_id: str,
        force: bool = False,
    ) -> CachedCall | None:
        """The place of one call's result; ``None`` if the call cannot be cached.

        To be asked before the function runs, which may change its arguments.
        ``force`` finds nothing, so that the result is computed and replaced.
        """
        call = describe(func, args, kwargs, params, cache_code=self.cache_code)
        for kind, reason in call.doubts if self.warn else ():
            scope = "is not cached" if call.key is None else "is cached for this process only"
            self.tell(kind, "A call of %s with a %s %s: %s", call.function, kind.__qualname__, scope, reason)
        return None if call.key is None else CachedCall(self, call, call.key, track_id, force)

    def close(self) -> None:
        """Close this thread's connection; a later call opens it again."""
        for disk, _ in self._opened.values():
            disk.close()

    def tell(self, cause: object, message: str, *facts: object) -> None:
        """Warn once per cause."""
        if cause not in self._told:
            self._told.add(cause)
            logger.warning(message, *facts)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The cache on disk, opened at the first use, for one step of work."""
        if "disk" not in self._opened:
            made = opened(self.folder, writing=True)
            # No lock, which a forked child might find taken: of two threads one is the first.
            if self._opened.setdefault("disk", (made, threading.get_ident()))[0] is made:
                weakref.finalize(self, made.close)
            else:
                made.close()
        disk, owner = self._opened["disk"]
        try:
            yield disk
        finally:
            # A connection belongs to its thread, and any but the main one may end without a word.
            if threading.get_ident() != owner or threading.current_thread() is not threading.main_thread():
                disk.close()

    def read(self, key: str) -> bytes | None:
        """Bytes of an entry, not checked."""
        try:
            disk, owner = self._opened.get("disk", (None, 0))
            if owner == threading.get_ident():
                raw = disk.get(key)  # as below, at half the price
            else:
                with self.opened() as disk:
                    raw = disk.get(key)
        except Exception as error:  # noqa: BLE001 - a damaged database may fail in any way, the call goes on
            self.tell(
                ("read", type(error)), "The cache in %s cannot be read, so results are computed: %s", self.folder, error
            )
            return None
        return raw if isinstance(raw, bytes) else None

    def write(self, key: str, raw: bytes, track_id: str) -> None:
        """Keep the bytes of an entry, or none of them."""
        try:
            disk, owner = self._opened.get("disk", (None, 0))
            if owner == threading.get_ident() == threading.main_thread().ident:
                disk.set(key, raw, tag=track_id)  # as below, at half the price
            else:
                with self.opened() as disk:
                    disk.set(key, raw, tag=track_id)
        except Exception as error:  # noqa: BLE001 - a damaged database may fail in any way, the call goes on
            self.tell(
                ("write", type(error)), "The cache in %s cannot be written, so results are lost: %s", self.folder, error
            )


class CachedCall:
    """Where the result of one call is found and kept. Fulfils ``functions.Cached``."""

    def __init__(self, cache: FunctionCache, call: Call, key: str, track_id: str, force: bool) -> None:
        self._cache, self._call, self.key, self._track_id, self._force = cache, call, key, track_id, force
        self._turn: Turn | None = None
        self._found: Entry | None = None
        #: What the row shows of the result, and its objects, column by column: noted for the entry, or taken from it.
        self._text: object = None
        self._columns: Mapping[Any, Any] = {}
        self._objects: dict[str, list[tuple[str, int]]] = {}

    def find(self) -> tuple[Any, str] | None:
        """A copy of the stored result and the run that computed it; ``None`` if it is to be computed."""
        if self._force:
            return None
        found = self._look()
        if found is None and self._cache.wait > 0:
            self._turn = Turn(self._cache, self.key, self._cache.wait)
            while found is None and self._turn.is_taken():
                found = self._look()
            found = found or self._look()  # the last owner may have ended just before
            if found is not None:
                self._turn.end()
        return found

    def show(self, row: dict[str, Any]) -> None:
        """Let the row of a hit show the text of the miss. To be called with every row, before it is logged."""
        found, self._columns = self._found, row
        if found is None:
            self._text, self._objects = row.get("function_result"), {}
            return
        self._objects = {key: list(objects) for key, objects in found.objects.items()}
        if found.text is not None and "function_result" in row:
            row["function_result"] = found.text

    def put(self, store: Store, store_again: StoreAgain, key: str, value: Any) -> str:
        """Store an object of the row and give its digest; one of a hit is the object that the miss stored."""
        if key in self._columns:
            objects = self._objects.setdefault(key, [])
            if self._found is None:
                objects.append(store(key, value))
                return objects[-1][0]
            if objects and store_again(key, *objects[0]):
                return objects.pop(0)[0]
        return store(key, value)[0]

    def keep(self, result: Any) -> None:
        """Store the result that was just computed; one that cannot be pickled is told of and left out."""
        self._call.settle()
        try:
            payload = pickled(result)
            raw = pack(self._entry(result, payload), payload)
        except Exception as error:  # noqa: BLE001 - an object's own pickling code may raise anything
            kind = type(result)
            self._cache.tell(
                (kind, "result"), "The result of %s, a %s, is not cached: %s", self._call.function, kind.__name__, error
            )
        else:
            self._cache.write(self.key, raw, self._track_id)
        if self._turn is not None:
            self._turn.end()

    def _look(self) -> tuple[Any, str] | None:
        raw = self._cache.read(self.key)
        if raw is None:
            return None
        found = unpack(self.key, raw)
        if found is None:
            logger.warning(
                "The entry %s of the cache in %s is damaged, so it is computed.", self.key, self._cache.folder
            )
            return None
        entry, start = found
        if not self._is_same_function(entry):
            return None
        self._found = entry
        try:
            return unpickled(raw, start), entry.cache
        except Exception as error:  # noqa: BLE001 - unpickling runs code of the objects
            logger.warning("The entry %s cannot be loaded, so it is computed: %s", self.key, error)
            return None

    def _entry(self, result: Any, payload: bytes) -> Entry:
        call, text = self._call, self._text
        is_text_of_it = type(text) is str and not isinstance(result, str) and len(text) <= _MAX_SHOWN
        return Entry(
            format=FORMAT,
            key=self.key,
            cache=self._track_id,
            function=call.function,
            arguments=_text(call.arguments),
            file=call.file,
            qualname=call.qualname,
            code=call.code,
            python=PYTHON,
            time_us=time.time_ns() // 1000,
            crc=zlib.crc32(payload),
            text=text if is_text_of_it else None,  # type: ignore[arg-type]  # it is asked above
            objects=self._objects if sum(map(len, self._objects.values())) <= _MAX_OBJECTS else {},
        )

    def _is_same_function(self, entry: Entry) -> bool:
        """Two files may define functions of one module and name: then it takes the same code."""
        call = self._call
        if entry.code == call.code:
            return True
        if entry.file != call.file or not call.file:
            return False
        if self._cache.warn and entry.python == PYTHON:
            self._cache.tell(
                ("edited", call.function, call.code),
                "%s was edited since its result was stored, which is used all the same. "
                "cache_force=True computes it again, Tracker(cache_code=True) whenever the code changes.",
                call.function,
            )
        return True


def _text(arguments: Mapping[str, Any]) -> str:
    """Arguments for people to read, cut at 200 characters."""
    try:
        text = ", ".join(f"{name}={_repr.repr(value)}" for name, value in arguments.items())
    except Exception as error:  # noqa: BLE001 - so may a __repr__
        text = f"<their text raised {type(error).__name__}>"
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= _TEXT_CHARS else text[: _TEXT_CHARS - 1] + "…"
