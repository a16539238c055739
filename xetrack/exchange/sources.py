"""Opens what a merge or a copy reads from and writes to. Looking creates nothing.

A source is the path of a store's tables, or the folder of its log under any
name, or ``git:<rev>[:<path>]``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from xetrack.config import path_text
from xetrack.errors import InvalidArgument, StoreNotFound, TablesWithoutLog
from xetrack.exchange.revisions import PREFIX, open_revision
from xetrack.log.header import head_of
from xetrack.log.log import STORE_FILE, FileLog, Log
from xetrack.store import ENGINES, EVENTS_SUFFIX, IN_MEMORY, Store, open_store


class Source(NamedTuple):
    """A log to read from, and the name that reports call it by."""

    name: str
    log: Log


@contextmanager
def opened_sources(sources: Iterable[str | os.PathLike[str]], near: str | os.PathLike[str]) -> Iterator[list[Source]]:
    """The logs of stores that exist; ``near`` is a path in the repository of those of a git revision.

    Raises:
        StoreNotFound: there is none; names near matches.
        NotAStore: the path is something else.
        RevisionNotFound: no such revision, or no store in it.
        FormatTooNew: a later release wrote it.
    """
    with ExitStack() as stack:
        opened = []
        for source in sources:
            name = path_text(source, "source")
            if name.startswith(PREFIX):
                log = open_revision(name, near)
                stack.callback(log.close)
                opened.append(Source(name, log))
            else:
                opened.append(_opened(name))
        yield opened


def _opened(name: str) -> Source:
    _refuse_memory("source", name)
    path = Path(os.path.abspath(name))
    if path.is_dir() and (path / STORE_FILE).is_file() and path.suffix != EVENTS_SUFFIX:
        log = FileLog(path)
        log.check_format()
        return Source(name, log)
    store = open_store(path)
    store.close()
    return Source(name, store.log)


class Target:
    """A store to write to, there or not. ``store`` is an empty one in memory as long as it is not."""

    def __init__(self, path: str | os.PathLike[str], must_exist: bool = False) -> None:
        self._path = path
        try:
            self.store, self._is_there = with_its_engine(open_store(path)), True
        except (StoreNotFound, TablesWithoutLog) as error:
            # In a work tree of git it is a checkout that took the log away: a new store may begin.
            in_git = head_of(Path(os.path.abspath(path)).parent) is not None
            if must_exist or isinstance(error, TablesWithoutLog) and not in_git:
                raise
            self.store, self._is_there = open_store(IN_MEMORY), False

    def is_log(self, source: Source) -> bool:
        """Whether the source is this store itself."""
        one, two = source.log, self.store.log
        return isinstance(one, FileLog) and isinstance(two, FileLog) and one.path.resolve() == two.path.resolve()

    @contextmanager
    def made(self) -> Iterator[Store]:
        """The store, made if it was not there; one that was made for nothing goes when this fails."""
        if self._is_there:
            yield self.store
            return
        store = open_store(self._path, create=True)
        try:
            yield store
        except BaseException:
            store.close()
            _remove_if_bare(store.log)
            raise
        store.close()


@contextmanager
def opened_target(path: str | os.PathLike[str], *, must_exist: bool = False) -> Iterator[Target]:
    """A store to write to, held by this thread.

    Raises:
        InvalidArgument: the store would end with this call.
        StoreNotFound: it is not there and must be; names near matches.
        ForeignFile: another program's file stands there.
    """
    _refuse_memory("target", path_text(path, "target"))
    target = Target(path, must_exist)
    try:
        with target.store.locked():
            yield target
    finally:
        target.store.close()


def with_its_engine(store: Store) -> Store:
    """The store with an engine whose tables it has, so that none are made that nobody asked for."""
    there = [engine for engine in ENGINES if store.keeper(engine).exists()]
    if not there or store.settings.engine in there or find_spec(there[0]) is None and there[0] != "sqlite":
        return store
    store.close()
    return open_store(store.db, settings=replace(store.settings, engine=there[0]))


def _remove_if_bare(log: Log) -> None:
    """Take a store away if nothing is in it."""
    assert isinstance(log, FileLog)
    try:
        if {*os.listdir(log.path)} <= {STORE_FILE}:
            (log.path / STORE_FILE).unlink(missing_ok=True)
            log.path.rmdir()
    except OSError:
        pass  # an empty store harms nobody


def _refuse_memory(role: str, name: str) -> None:
    if name == IN_MEMORY:
        raise InvalidArgument(role, f"{IN_MEMORY} is a store of its own for everyone who opens it")
