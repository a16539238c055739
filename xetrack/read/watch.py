"""Keeps tables up with logs that others write: a segment grew, so catch up.

Woken by the file system where it tells of changes, and by the clock where it does
not (network file systems, containers, no inotify watches left): every change is
found either way, at the latest with the next look. Nothing is locked, so it may
be killed and started again at any time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xetrack.config import Settings
from xetrack.errors import InvalidArgument, StorageError, StoreNotFound, XetrackError
from xetrack.store import ENGINES, EVENTS_SUFFIX, Store, open_store
from xetrack.tables.network import is_network

#: Looks at the logs, where events of the file system come as well, and where the clock is all there is.
_LOOK_S, _POLL_S = 1.0, 0.3
#: Changes that come this close together are one batch.
_BURST_S = 0.05
#: So many changes that no event told of: from then on the clock is all there is.
_MISSED = 3
#: New stores in a folder are looked for this often.
_FIND_S = 2.0


@dataclass(frozen=True)
class Batch:
    """What one look brought: ``rows`` more (fewer, after a deletion) in ``tables``, ``total`` in all.

    ``lag_s``: seconds from the last write that it found until the tables had it.
    """

    db: str
    rows: int
    total: int
    tables: dict[str, int]
    lag_s: float


def watch(
    db: str | os.PathLike[str],
    callback: Callable[[Batch], object] | None = None,
    *,
    engines: Sequence[str] = ("sqlite",),
    once: bool = False,
    stop: threading.Event | None = None,
) -> None:
    """Keep the tables of a store up, or of all stores in a folder, until ``stop`` is set or a callback raises.

    ``callback`` is called after each batch, in this thread: what it does delays the next
    batch, and never a writer. With ``once`` everything there is becomes one batch.

    >>> watch("track.db", lambda batch: print(batch.rows), once=True)

    Raises:
        StoreNotFound: there is no store, and no folder, at ``db``.
    """
    for engine in engines:
        if engine not in ENGINES:
            raise InvalidArgument("engine", f"{engine!r} is none of {', '.join(ENGINES)}")
    watcher = Watcher(Path(os.path.abspath(os.fspath(db))), engines)
    try:
        for batch in watcher.batches(stop or threading.Event(), once=once):
            if callback is not None:
                callback(batch)
    finally:
        watcher.close()


class Watcher:
    """The stores at a path, and what was seen of them."""

    def __init__(self, path: Path, engines: Sequence[str]) -> None:
        self._path, self._engines = path, engines
        self._is_folder = path.is_dir() and not path.name.endswith(EVENTS_SUFFIX)
        self.stores: dict[Path, Store] = {}
        self._seen: dict[Path, Any] = {}
        self._totals: dict[Path, dict[str, int]] = {}
        self._found_s = -_FIND_S
        self._find()
        if not self._is_folder and not self.stores:
            raise StoreNotFound(path, [])

    def close(self) -> None:
        """Let other clients see all of it, and close the tables."""
        for store in self.stores.values():
            with contextlib.suppress(XetrackError, OSError, sqlite3.Error):
                for engine in self._engines:
                    store.flush(engine)
            store.close()

    def batches(self, stop: threading.Event, *, once: bool = False) -> Iterator[Batch]:
        """One batch per store that changed, at every look."""
        if once:
            yield from self._look()
            return
        with _Alarm(self._path if self._is_folder else self._folder()) as alarm:
            while not stop.is_set():
                was_told = alarm.is_set()
                alarm.clear()
                batches = list(self._look())
                if batches and not was_told:
                    alarm.missed += 1
                yield from batches
                alarm.wait(stop)

    def _folder(self) -> Path:
        return Path(f"{self._path.as_posix().removesuffix(EVENTS_SUFFIX)}{EVENTS_SUFFIX}")

    def _find(self) -> None:
        if not self._is_folder:
            self._open(self._path)
        elif time.monotonic() - self._found_s >= _FIND_S:
            self._found_s = time.monotonic()
            for folder in _stores_in(self._path):
                with contextlib.suppress(XetrackError):
                    self._open(Path(str(folder).removesuffix(EVENTS_SUFFIX)))

    def _open(self, path: Path) -> None:
        if path not in self.stores:
            self.stores[path] = open_store(path, settings=Settings.resolve(engine=self._engines[0]))

    def _look(self) -> Iterator[Batch]:
        with contextlib.suppress(XetrackError):  # one that was deleted may be made again
            self._find()
        for path, store in list(self.stores.items()):
            if not store.log.exists():  # deleted: it is not brought back
                store.close()
                for known in (self.stores, self._seen, self._totals):
                    known.pop(path, None)
                continue
            with contextlib.suppress(StorageError):  # out of reach for the moment: the next look tells
                batch = self._batch(path, store)
                if batch is not None:
                    yield batch

    def _batch(self, path: Path, store: Store) -> Batch | None:
        now = {name: store.log.segments(name) for name in store.log.tables()}
        before = self._seen.get(path)
        if now == before:
            return None
        changed = [name for name in now if before is None or now[name] != before.get(name)]
        for engine in self._engines:
            store.flush(engine)
        self._seen[path] = now
        known = self._totals.setdefault(path, {})
        added = {}
        for name in changed:
            count = store.table(name, self._engines[0]).count()
            if count != known.get(name, 0):
                added[name] = count - known.get(name, 0)
            known[name] = count
        written_s = max((info.mtime_ns for name in changed for info in now[name]), default=0) / 1e9
        lag_s = max(time.time() - written_s, 0.0) if before is not None else 0.0
        return Batch(str(path), sum(added.values()), sum(known.values()), added, lag_s)


def _stores_in(folder: Path) -> Iterator[Path]:
    """Logs below a folder; what is hidden, and the logs themselves, are not searched."""
    for parent, names, _ in os.walk(folder):
        for name in list(names):
            if name.endswith(EVENTS_SUFFIX):
                names.remove(name)
                yield Path(parent, name)
            elif name.startswith("."):
                names.remove(name)


class _Alarm:
    """Rings when something below a folder changed, or when it is time to look anyway."""

    def __init__(self, folder: Path) -> None:
        self._rung = threading.Event()
        self._observer: Any = None
        #: Changes that were found and not told of.
        self.missed = 0
        if not is_network(folder):
            self._observer = _observer(folder, self._rung)

    def __enter__(self) -> _Alarm:
        return self

    def __exit__(self, *error: object) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()

    def is_set(self) -> bool:
        return self._observer is None or self._rung.is_set()

    def clear(self) -> None:
        self._rung.clear()

    def wait(self, stop: threading.Event) -> None:
        """Until there may be something new, in steps, so that a stop is seen soon."""
        trusted = self._observer is not None and self.missed < _MISSED
        until_s = time.monotonic() + (_LOOK_S if trusted else _POLL_S)
        while not stop.is_set() and (left_s := until_s - time.monotonic()) > 0:
            if self._rung.wait(min(left_s, _POLL_S)):
                stop.wait(_BURST_S)
                return


def _observer(folder: Path, rung: threading.Event) -> Any:
    """What the file system tells rings; None where it cannot be asked to, or the package is not installed."""
    try:
        from watchdog.events import FileSystemEventHandler
        from watchdog.observers import Observer
    except ImportError:
        return None

    class Ring(FileSystemEventHandler):
        def on_any_event(self, event: Any) -> None:
            if event.event_type not in ("opened", "closed_no_write"):
                rung.set()

    observer = Observer()
    try:
        observer.schedule(Ring(), str(folder), recursive=True)
        observer.start()
    except (OSError, RuntimeError):  # no watches left, or not on this file system
        return None
    return observer
