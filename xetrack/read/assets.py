"""The objects and files that were logged, as a dict that is read from the store.

``tracker.assets`` and ``reader.assets`` are this. Everything but loading works on
names and bytes: only ``[]``, ``get``, ``items`` and ``values`` unpickle, which runs
the code of whoever logged the object.
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xetrack.errors import AmbiguousAsset, AssetNotFound, AssetUnloadable, DamagedLine, InvalidArgument, storage_error
from xetrack.exchange.frames import draft_of
from xetrack.log.assets import FILE_CODEC, OBJECT_CODEC, StoredFile
from xetrack.log.cells import DIGEST_DIGITS
from xetrack.log.events import AssetRemoved
from xetrack.read.asset_events import AssetEvents, NamedAsset
from xetrack.read.extracted import extraction_path
from xetrack.tables.layout import FIXED, quote

if TYPE_CHECKING:
    from xetrack.store import Table

#: Younger files are left alone by ``gc``: somebody may be about to name them.
MIN_AGE_S = 3600.0
_HASH = re.compile(rf"[0-9a-f]{{{DIGEST_DIGITS},64}}")
_HASH_IN_JSON = re.compile(rf'"([0-9a-f]{{{DIGEST_DIGITS}}})(?:[0-9a-f]{{{64 - DIGEST_DIGITS}}})?"')
_CHUNK_BYTES = 1 << 20


class AssetInfo(NamedTuple):
    """What is known of one asset without loading it.

    ``hash`` is what cells show, ``digest`` the whole of it. ``keys``: what it was logged
    under, latest first. ``stored_bytes`` is None where the bytes are not in this store.
    ``references`` counts the cells of visible rows, in all tables, that hold it.
    ``name`` is that of a file.
    """

    hash: str
    digest: str
    keys: tuple[str, ...]
    size_bytes: int | None
    stored_bytes: int | None
    references: int
    first_logged: dt.datetime
    codec: str
    name: str | None


class Waste(NamedTuple):
    """A file that nothing needs. ``reason``: ``removed``, ``never named`` or ``draft``; ``young`` ones stay for now."""

    path: str
    hash: str | None
    reason: str
    stored_bytes: int
    young: bool


class AssetsView(Mapping[str, Any]):
    """The assets of a store, of all its tables, in the order they were first logged.

    Iterates over hashes as cells show them. Takes a hash, from its first 16 digits on,
    or a key, which stands for the newest asset logged under it. Up to date at every call.

    >>> tracker.log({"model": model})["model"]
    '53425a65a40a49f4'
    >>> tracker.assets["model"], tracker.assets["53425a65a40a49f4"]
    """

    def __init__(self, table: Table, events: AssetEvents, owner: object = None) -> None:
        """``events`` is kept from call to call; ``owner``, who closes the store when it is dropped, lives as long."""
        self._table = table
        self._store = table.store
        self._events = events
        self._owner = owner

    # as a dict

    def __getitem__(self, name: str) -> Any:
        """The object of a hash or key; of a logged file, the path of a copy that ends with the program.

        An object is unpickled, which runs its code: only from stores that you trust.

        Raises:
            AssetNotFound: none of that name, or it was removed; also a KeyError.
            AmbiguousAsset: more than one hash begins so.
            AssetDamaged: its bytes are not those that were stored.
            AssetUnloadable: the code that it needs is not here, or fails.
        """
        return self._load(*self._find(name))

    def get(self, name: str, default: Any = None) -> Any:
        """As ``[]``, or ``default`` where there is none of that name."""
        try:
            found = self._find(name)
        except AssetNotFound:
            return default
        return self._load(*found)

    def __contains__(self, name: object) -> bool:
        """Whether there is one of that hash or key, or more than one of that hash."""
        try:
            return isinstance(name, str) and bool(self._find(name))
        except AssetNotFound:
            return False
        except AmbiguousAsset:
            return True

    def __iter__(self) -> Iterator[str]:
        with self._store.locked():
            return iter([self._shown(digest) for digest, _ in self._listed()])

    def __len__(self) -> int:
        with self._store.locked():
            return len(self._listed())

    def __eq__(self, other: object) -> bool:
        """Whether both are the assets of one store; objects are not compared, that would load them."""
        return isinstance(other, AssetsView) and other._store is self._store

    def __hash__(self) -> int:
        return hash(self._store)

    def __repr__(self) -> str:
        return f"AssetsView(db={self._store.db!r}, {len(self)} assets)"

    # what is known without loading

    def info(self, name: str) -> AssetInfo:
        """What is known of one asset: sizes in bytes, keys, references. See ``[]`` for errors."""
        digest = self._find(name)[0]
        return next(info for info in self.listing() if info.digest == digest)

    def listing(self) -> list[AssetInfo]:
        """What is known of every asset. Reads the tables for the references."""
        with self._store.locked():
            listed = self._listed()
            stored = {file.digest: file.size_bytes for file in self._store.log.assets.files()}
            references = self._references() if listed else Counter()
            return [
                AssetInfo(
                    hash=self._shown(digest),
                    digest=digest,
                    keys=tuple(sorted(named.keys, key=lambda key: named.keys[key], reverse=True)),
                    size_bytes=named.size,
                    stored_bytes=stored.get(digest),
                    references=references[digest[:DIGEST_DIGITS]],
                    first_logged=_moment(named.first_us),
                    codec=named.codec or OBJECT_CODEC,
                    name=named.name,
                )
                for digest, named in listed
            ]

    # changing

    def remove(self, name: str, column: str | None = None, remove_keys: bool = True) -> bool:
        """Take an asset off the list, in every table; False if there is none of that name.

        ``column`` also empties the cells of this table's column that hold it. Its keys go on to
        the newest asset left under them; with ``remove_keys=False`` they keep to the removed
        one, and asking by key is an error that says so. Bytes go with ``gc``.

        Raises:
            AmbiguousAsset: more than one hash begins so.
            ColumnNotFound: there is no such column.
            RunProtected: a cell of a protected run would change; nothing is removed.
        """
        with self._store.locked():
            try:
                digest, named = self._find(name)
            except AssetNotFound:
                return False
            if column is not None:
                if self._shown(digest) == digest:
                    raise AmbiguousAsset(digest[:DIGEST_DIGITS], self._events.beginning(digest[:DIGEST_DIGITS]))
                self._empty(column, digest[:DIGEST_DIGITS])
            for table in sorted(named.tables):
                self._remove_from(table, digest, remove_keys)
            return True

    def _empty(self, column: str, shown: str) -> None:
        writer = self._store.log.writer(self._table.name, self._store.settings.events)
        writer.acquire()
        try:
            self._table.set_where(writer, column, None, column, shown, to_disk=self._to_disk)
        finally:
            writer.release()

    def _remove_from(self, table: str, digest: str, remove_keys: bool) -> None:
        self._store.catch_up_table(table)
        seen = self._store.projector().frontier(table).to_wire()
        writer = self._store.log.writer(table, self._store.settings.events)
        writer.acquire()
        try:
            keeps_keys = None if remove_keys else True
            writer.append(AssetRemoved, to_disk=self._to_disk, digest=digest, keeps_keys=keeps_keys, seen=seen)
        finally:
            writer.release()
        self._store.catch_up_table(table)

    @property
    def _to_disk(self) -> bool:
        return self._store.settings.durability == "disk"

    # files

    def export(self, name: str, path: str | Path, *, raw: bool = False, force: bool = False) -> Path:
        """Write an asset to a file of its own, checked and never unpickled, and return the path.

        ``cloudpickle.load`` reads it: the object, or the bytes of a logged file. ``raw`` writes
        the logged file itself. The file is whole or not there; ``force`` replaces one that is.

        Raises:
            InvalidArgument: ``path`` is there already, or ``raw`` of what is no file.
            AssetNotFound, AmbiguousAsset, AssetDamaged: as for ``[]``.
        """
        digest, named = self._find(name)
        is_file = named.codec == FILE_CODEC
        if raw and not is_file:
            raise InvalidArgument("raw", f"{self._shown(digest)} was logged as an object, not as a file")
        target = Path(path)
        if target.is_dir() or (target.exists() and not force):
            reason = "is a folder" if target.is_dir() else "is there already; force replaces it"
            raise InvalidArgument("path", f"{target} {reason}")
        with self._open(digest, named) as stream:
            try:
                with draft_of(target) as draft, open(draft, "wb") as file:
                    if is_file and not raw:
                        _pickle_stream(stream, file)
                    else:
                        shutil.copyfileobj(stream, file, _CHUNK_BYTES)
            except OSError as error:
                raise storage_error(error, target, named.size or 0) from error
        return target

    def waste(self) -> list[Waste]:
        """Files that nothing needs, by path: ``gc`` takes those that are not young.

        Needed are the assets that are listed, and the removed ones that a visible row of any table still shows.

        Raises:
            DamagedLine: a line of the log cannot be read, and may name any of them.
        """
        return [found for _, found in self._waste()]

    def gc(self, dry_run: bool = False) -> list[Waste]:
        """Delete what nothing needs and is older than an hour, and return it; ``dry_run`` only tells.

        Raises what ``waste`` does; then nothing was deleted.
        """
        old = [(file, found) for file, found in self._waste() if not found.young]
        discard = self._store.log.assets.discard
        return [found for file, found in old if dry_run or discard(file, MIN_AGE_S)]

    def _waste(self) -> Iterator[tuple[StoredFile, Waste]]:
        # Files first: what a program stores after this moment is not among them.
        files = self._store.log.assets.files()
        # The whole log anew: a line that was damaged since it was read may be all that names an asset.
        events = AssetEvents(self._store.log)
        states = self._states(files, events)
        if events.faults:
            raise DamagedLine(*events.faults[0])
        now_s = time.time()
        for file, state in zip(files, states, strict=True):
            if state in ("removed", "never named", "draft"):
                short = file.digest and file.digest[:DIGEST_DIGITS]
                yield file, Waste(file.path, short, state, file.size_bytes, now_s - file.mtime_s < MIN_AGE_S)

    def usage(self) -> dict[str, tuple[int, int]]:
        """Number of files and their bytes on disk, by state.

        States: ``listed``; ``in use``, removed and still shown by a row; ``removed``, ``never named``
        and ``draft``, which ``gc`` takes.
        """
        files = self._store.log.assets.files()
        found = {state: (0, 0) for state in ("listed", "in use", "removed", "never named", "draft")}
        for file, state in zip(files, self._states(files, self._events), strict=True):
            count, stored_bytes = found[state]
            found[state] = (count + 1, stored_bytes + file.size_bytes)
        return found

    def _states(self, files: list[StoredFile], events: AssetEvents) -> list[str]:
        with self._store.locked():
            events.catch_up()
            shown = self._references()
            return [_state(file.digest, events.named, shown) for file in files]

    # finding

    def _listed(self) -> list[tuple[str, NamedAsset]]:
        self._events.catch_up()
        listed = [(digest, named) for digest, named in self._events.named.items() if named.tables]
        return sorted(listed, key=lambda item: (item[1].first or (0, "", 0), item[0]))

    def _find(self, name: str) -> tuple[str, NamedAsset]:
        """Digest and facts of what a hash or a key means."""
        with self._store.locked():
            self._events.catch_up()
            named = self._events.named
            found = self._events.beginning(name) if _HASH.fullmatch(name) else []
            if len(found) > 1:
                raise AmbiguousAsset(name, found)
            digest = found[0] if found else self._newest(name)
            if digest is None:
                raise AssetNotFound(name)
            if not named[digest].tables:
                raise AssetNotFound(
                    name, f"it was removed on {_moment(named[digest].removed_us):%Y-%m-%d %H:%M:%S} UTC"
                )
            return digest, named[digest]

    def _newest(self, key: str) -> str | None:
        logged = [(named.keys[key], digest) for digest, named in self._events.named.items() if key in named.keys]
        return max(logged)[1] if logged else None

    def _shown(self, digest: str) -> str:
        """The hash as cells show it; the whole of it where another begins alike."""
        short = digest[:DIGEST_DIGITS]
        return short if len(self._events.beginning(short)) == 1 else digest

    # loading

    def _load(self, digest: str, named: NamedAsset) -> Any:
        codec = named.codec or OBJECT_CODEC
        if codec == OBJECT_CODEC:
            self._require_bytes(digest)
            return self._store.log.assets.get(digest, named.size)
        if codec != FILE_CODEC:
            raise AssetUnloadable(digest, f"it is stored as {codec!r}, which this release does not know")
        with self._open(digest, named) as stream:
            path: Path | None = None
            try:
                path = extraction_path(named.name, digest[:DIGEST_DIGITS])
                with open(path, "xb") as file:
                    shutil.copyfileobj(stream, file, _CHUNK_BYTES)
            except OSError as error:
                raise storage_error(error, path or tempfile.gettempdir(), named.size or 0) from error
        return path

    def _open(self, digest: str, named: NamedAsset) -> Any:
        self._require_bytes(digest)
        return self._store.log.assets.open(digest, named.size)

    def _require_bytes(self, digest: str) -> None:
        if not self._store.log.assets.has(digest):
            raise AssetNotFound(digest, f"its bytes are not in this store, {self._store.log.assets.where(digest)}")

    # references

    def _references(self) -> Counter[str]:
        """How many cells of visible rows show a hash, by its first digits. Texts that look like one count too."""
        found: Counter[str] = Counter()
        conn = self._table.connection()
        for table in self._store.tables():
            types = self._store.table(table, self._store.settings.engine).dtypes
            source = f"db.{quote(table)}"
            columns = [described[0] for described in conn.execute(f"SELECT * FROM {source} LIMIT 0").description]
            for column in columns:
                if column in FIXED or types.get(column, str) is not str:
                    continue
                text = f"CAST({quote(column)} AS VARCHAR)"
                select = f"SELECT {text}, count(*) FROM {source} WHERE"
                for cell, count in conn.execute(f"{select} length({text}) = {DIGEST_DIGITS} GROUP BY 1").fetchall():
                    found[cell] += count
                nested = f"{select} {text} LIKE '[%\"%' OR {text} LIKE '{{%\"%' GROUP BY 1"
                for cell, count in conn.execute(nested).fetchall():
                    for short in set(_HASH_IN_JSON.findall(cell)):
                        found[short] += count
        return found


def _state(digest: str | None, named: Mapping[str, NamedAsset], shown: Mapping[str, int]) -> str:
    """What the file of an asset is needed for, or why it is not."""
    if digest is None:
        return "draft"
    if digest in named and named[digest].tables:
        return "listed"
    if digest[:DIGEST_DIGITS] in shown:
        return "in use"
    return "removed" if digest in named else "never named"


def _moment(time_us: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(microseconds=time_us)


def _pickle_stream(stream: Any, file: Any) -> None:
    """Write the pickle of a bytes object whose content is in a stream."""
    file.write(b"\x80\x05\x8e" + bytes(8))
    shutil.copyfileobj(stream, file, _CHUNK_BYTES)
    size = file.tell() - 11
    file.write(b".")
    file.seek(3)
    file.write(size.to_bytes(8, "little"))
