"""Rows of a table as a data set: files in JSON lines, CSV or Parquet, and a manifest.

An export is a replay of the log, so building a data set again is the same work up
to the position that its manifest names. Drafts are written in a folder beside the
output and take their places together at the end.
"""

from __future__ import annotations

import hashlib
import operator
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from xetrack.config import Settings
from xetrack.errors import InvalidArgument, StoreNotFound, TableNotFound, storage_error
from xetrack.exchange.formats import (
    form_of,
    library_of,
    open_writer,
    part_path,
    shown,
    suffix_form,
    time_kind,
)
from xetrack.exchange.frames import refuse_to_replace
from xetrack.exchange.manifest import (
    SUFFIX,
    ExportedFile,
    ExportReport,
    Manifest,
    Query,
    compare,
    read_manifest,
)
from xetrack.exchange.past import open_past
from xetrack.exchange.replays import Replay
from xetrack.exchange.splits import group_of, parse_split, part_of
from xetrack.log.ranges import Frontier
from xetrack.store import IN_MEMORY, Store, open_store
from xetrack.tables.layout import Column
from xetrack.tables.spill import scratch_folder
from xetrack.track.lines import as_json


def export(
    db: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    table: str | None = None,
    columns: str | Sequence[str] | None = None,
    where: str | None = None,
    track_id: str | None = None,
    split: str | Sequence[float] | Mapping[str, float] | None = None,
    by: str | None = None,
    seed: int = 0,
    form: str | None = None,
    force: bool = False,
    at: str | datetime | None = None,
) -> ExportReport:
    """Write rows of a table to a file, or to one for each part of a split, with a manifest beside them.

    ``columns``: names or raw keys, in the order wanted; else all. ``where``: an SQL
    condition over the table. ``split``: shares that sum to 1, as ``"0.9,0.1"`` or
    ``{"train": 0.8, "val": 0.1, "test": 0.1}``; the part of a row follows from ``seed`` and
    its event id, or from its value in the column ``by``, never from other rows. ``form``:
    the format where the name of ``out`` does not say it. ``force`` replaces files. ``at``: as it was
    then, see ``Reader``.

    Raises:
        UsageError: what is asked for cannot be; nothing was written.
        NotFound: there is no such store, table, run or column.
        MissingExtra: Parquet without pyarrow.
        StorageError: the files cannot be written; none of them is there, nor a part of one.
    """
    target = _target(out)
    query = Query(
        table=Settings.resolve(table=table).table,
        columns=_names(columns),
        where=where,
        track_id=track_id,
        split=parse_split(split),
        by=by,
        seed=_seed(seed),
        form=form_of(target, form),
    )
    if by is not None and query.split is None:
        raise InvalidArgument("by", "it says how to split, and no split is asked for")
    return _export(_opened(db, at), query, target, force=force)


def export_again(
    db: str | os.PathLike[str],
    manifest: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
) -> ExportReport:
    """Build a data set again: the rows as they were, whatever was logged, set or deleted since.

    ``out`` is by default the name that the manifest says, beside it. Where the rows
    come out otherwise, the report says so and nothing is written without ``force``.

    Raises:
        UsageError, NotFound, MissingExtra, StorageError: as ``export`` does.
    """
    old = read_manifest(_target(manifest))
    target = _target(manifest).with_name(old.name) if out is None else _target(out)
    said = suffix_form(target.name)
    if said not in (None, old.query.form):
        raise InvalidArgument("out", f"its name says {said}, the manifest says {old.query.form}")
    return _export(_opened(db), old.query, target, old=old, force=force)


def check_export(db: str | os.PathLike[str], manifest: str | os.PathLike[str]) -> ExportReport:
    """Whether the log still gives a data set, and the files beside its manifest still are it. Writes nothing.

    Raises:
        UsageError, NotFound, MissingExtra, StorageError: as ``export`` does.
    """
    old = read_manifest(_target(manifest))
    target = _target(manifest).with_name(old.name)
    report = _export(_opened(db), old.query, target, old=old, write=False)
    for path, file in zip(report.paths, old.files, strict=True):
        if not path.exists():
            report.notes.append(f"{path.name} is not there")
        elif _digest(path) != (file.bytes, file.sha256):
            report.differences.append(f"{path.name} was changed after it was exported")
    return report


def _opened(db: str | os.PathLike[str], at: str | datetime | None = None) -> Store:
    if os.fspath(db) == IN_MEMORY:
        raise StoreNotFound(IN_MEMORY, [])
    # Rows come from the log, whatever engine keeps the tables.
    settings = Settings.resolve(engine="sqlite")
    return open_store(db, settings=settings) if at is None else open_past(db, at, settings)


def _export(
    store: Store,
    query: Query,
    target: Path,
    *,
    old: Manifest | None = None,
    write: bool = True,
    force: bool = False,
) -> ExportReport:
    library = library_of(query.form)
    tables = store.tables()
    if tables and query.table not in tables:
        raise TableNotFound(query.table, store.db, tables)
    paths = [target] if query.split is None else [part_path(target, part) for part in query.split]
    listed = target.with_name(target.name + SUFFIX)
    if write:
        _refuse([*paths, listed], force)
    try:
        with ExitStack() as stack:
            scratch = stack.enter_context(scratch_folder())
            if not write:
                drafts = os.path.join(scratch, "drafts")
                os.mkdir(drafts)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                # In the same folder, since a rename reaches no further than its file system.
                drafts = stack.enter_context(tempfile.TemporaryDirectory(prefix=".xetrack-", dir=target.parent))
            position = None if old is None else Frontier.from_wire(old.position)
            replay = stack.enter_context(Replay(store.log, query.table, scratch, position))
            if old is None and query.track_id is not None:
                replay.require_run(query.track_id)
            parts = _write(replay, query, [Path(drafts) / path.name for path in paths])
            files = [part.sealed() for part in parts]
            made = Manifest(
                name=target.name,
                xetrack=_release(),
                written_by=library,
                store=Path(store.db).name.encode(errors="replace").decode(),
                query=query,
                position=replay.position.to_wire(),
                files=files,
            )
            report = ExportReport(table=query.table, files=files, paths=paths, notes=_notes(replay))
            if old is not None:
                report.differences, notes = compare(old, made)
                report.notes += notes
            if write and (force or report.ok):
                draft = Path(drafts) / listed.name
                draft.write_bytes(made.to_bytes())
                _place([part.path for part in parts] + [draft], [*paths, listed])
                report.manifest = listed
            return report
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        store.close()


# -- rows to drafts ----------------------------------------------------------


class _Part:
    """One file of an export, while it is written."""

    def __init__(
        self, path: Path, name: str | None, form: str, columns: Sequence[Column], kinds: Sequence[str]
    ) -> None:
        self.path, self.name, self.rows = path, name, 0
        self._writer = open_writer(path, form, [column.name for column in columns], kinds)
        self._digest = hashlib.sha256()

    def write(self, wires: Sequence[Any], line: bytes) -> None:
        self._writer.write(wires, line)
        self._digest.update(line)
        self.rows += 1

    def close(self) -> None:
        self._writer.close()

    def sealed(self) -> ExportedFile:
        """What the file is, once it has reached the device."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        size_bytes, sha256 = _digest(self.path)
        return ExportedFile(
            name=self.path.name,
            part=self.name,
            rows=self.rows,
            bytes=size_bytes,
            sha256=sha256,
            rows_sha256=self._digest.hexdigest(),
        )


def _write(replay: Replay, query: Query, drafts: Sequence[Path]) -> list[_Part]:
    """Write the rows of a query, each into the draft of its part."""
    columns = replay.columns
    if query.columns is not None:
        columns = list(dict.fromkeys(map(replay.column, query.columns)))
    by = None if query.by is None else replay.column(query.by).key
    kinds = [column.type for column in columns]
    if query.form == "parquet":
        kinds = _arrow_kinds(replay, query, columns)
    names, keys = [column.name for column in columns], [column.key for column in columns]
    with ExitStack() as stack:
        parts = []
        for draft, name in zip(drafts, query.split or [None], strict=True):
            parts.append(_Part(draft, name, query.form, columns, kinds))
            stack.callback(parts[-1].close)
        of_name = {part.name: part for part in parts}
        for row in replay.rows(query.track_id, query.where):
            wires = [row.values.get(key) for key in keys]
            line = as_json(dict(zip(names, wires, strict=True))) + b"\n"
            part = parts[0]
            if query.split is not None:
                subject = row.event_id if by is None else group_of(shown(row.values.get(by)))
                part = of_name[part_of(query.split, query.seed, subject)]
            part.write(wires, line)
    return parts


def _arrow_kinds(replay: Replay, query: Query, columns: Sequence[Column]) -> list[str]:
    """Column types, with what the chosen rows say about datetimes: all have an offset, none has, or text."""
    found: dict[str, set[str]] = {column.key: set() for column in columns if column.type == "datetime"}
    if found:
        for row in replay.rows(query.track_id, query.where):
            for key, kinds in found.items():
                wire = row.values.get(key)
                if wire is not None:
                    kinds.add(time_kind(shown(wire)))
    settled = {key: kinds.pop() if len(kinds) == 1 else "text" if kinds else "moment" for key, kinds in found.items()}
    return [settled.get(column.key, column.type) for column in columns]


def _notes(replay: Replay) -> list[str]:
    notes = []
    if replay.damaged:
        notes.append(f"{replay.damaged} damaged lines of the log were left out; `xt verify` names them")
    if replay.missing:
        notes.append(f"{len(replay.missing)} of {len(replay.position)} events are not in the log any more")
    if replay.redacted:
        notes.append(f"{len(replay.redacted)} events were redacted since")
    return notes


# -- files -------------------------------------------------------------------


def _target(given: str | os.PathLike[str]) -> Path:
    """Where a file is, or will be. What a link names is written, not the link."""
    path = Path(given)
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument("out", "the manifest could not say its name, which is no text") from error
    if "\0" in path.name:
        raise InvalidArgument("out", "its name holds a NUL character")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _seed(given: int) -> int:
    try:
        seed = operator.index(given)
    except TypeError:
        seed = 2**63
    if not -(2**63) <= seed < 2**63:
        raise InvalidArgument("seed", f"{given!r} is no whole number of 64 bits")
    return seed


def _names(columns: str | Sequence[str] | None) -> list[str] | None:
    if columns is None:
        return None
    names = [name.strip() for name in columns.split(",")] if isinstance(columns, str) else list(map(str, columns))
    if not names or not all(names):
        raise InvalidArgument("columns", "it names no column, or one without a name")
    return names


def _refuse(paths: Sequence[Path], force: bool) -> None:
    """Refuse to write over what is there, and to write into a store at all."""
    for path in paths:
        refuse_to_replace(path)
        if os.path.lexists(path) and not path.is_file():
            raise InvalidArgument("out", f"{path} is no file")
        if not force and path.exists():
            raise InvalidArgument("out", f"{path} exists, and only force replaces it")


def _place(drafts: Sequence[Path], targets: Sequence[Path]) -> None:
    """Move all drafts to their places. If one cannot go there, all is as it was."""
    done = []
    try:
        for number, (draft, target) in enumerate(zip(drafts, targets, strict=True)):
            kept = draft.with_name(f".kept-{number}")
            if target.exists():
                try:
                    os.link(target, kept)
                except OSError:  # a file system without hard links
                    os.replace(target, kept)
            done.append((target, kept))
            os.replace(draft, target)
    except BaseException:
        for target, kept in done:
            with suppress(OSError):
                os.replace(kept, target) if kept.exists() else target.unlink(missing_ok=True)
        raise


def _digest(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file."""
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
                size_bytes += len(piece)
    except OSError as error:
        raise storage_error(error, path) from error
    return size_bytes, digest.hexdigest()


def _release() -> str:
    import xetrack

    return xetrack.__version__
