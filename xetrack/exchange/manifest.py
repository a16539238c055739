"""What a data set was built from: the file beside it that lets it be built again.

Holds neither time nor path, so that the same data set has the same manifest.
Fields: docs/datasets.md, Manifest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from xetrack.errors import InvalidArgument, PathNotFound, storage_error
from xetrack.exchange.formats import form_of
from xetrack.exchange.splits import parse_split

SUFFIX = ".manifest.json"
#: Number of the manifest's layout; a newer one is refused.
LAYOUT = 1


class Query(msgspec.Struct, kw_only=True):
    """Which rows of which table, in which form and parts."""

    table: str
    columns: list[str] | None = None
    where: str | None = None
    track_id: str | None = None
    #: Share of each part, in order; None for one file.
    split: dict[str, float] | None = None
    by: str | None = None
    seed: int = 0
    form: str = msgspec.field(name="format")


class ExportedFile(msgspec.Struct, kw_only=True):
    """One file: ``rows_sha256`` is of its rows as JSON lines, whatever its format is."""

    name: str
    part: str | None = None
    rows: int
    bytes: int
    sha256: str
    rows_sha256: str


class Manifest(msgspec.Struct, kw_only=True):
    """Everything a data set follows from, and what came out."""

    manifest: int = LAYOUT
    name: str
    xetrack: str
    #: What else decides about the bytes, such as ``pyarrow 26.0.1``.
    written_by: str | None = None
    store: str
    query: Query
    #: The frontier of the table: ids of all events that were read (docs/format.md, Ranges and frontiers).
    position: dict[str, str]
    files: list[ExportedFile]

    def to_bytes(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


class ExportReport(msgspec.Struct, kw_only=True):
    """What an export wrote, or a rebuild found.

    ``ok`` unless a rebuild has other rows than the manifest says: ``differences``
    tell which and why, and nothing was written then unless it was forced. ``notes`` tell
    what else is worth knowing. ``manifest`` is None and the paths are names where
    nothing was written.
    """

    table: str
    files: list[ExportedFile]
    paths: list[Path]
    manifest: Path | None = None
    differences: list[str] = []
    notes: list[str] = []

    @property
    def ok(self) -> bool:
        return not self.differences

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "table": self.table,
            "rows": self.rows,
            "files": [
                {"path": str(path), **msgspec.to_builtins(file)}
                for path, file in zip(self.paths, self.files, strict=True)
            ],
            "manifest": None if self.manifest is None else str(self.manifest),
            "differences": self.differences,
            "notes": self.notes,
        }


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file.

    Raises:
        PathNotFound: there is no file.
        InvalidArgument: it is none, or of a newer release.
        StorageError: it cannot be read.
    """
    try:
        raw = path.read_bytes()
        if msgspec.json.decode(raw, type=_Layout).manifest > LAYOUT:
            raise InvalidArgument("manifest", f"{path} was written by a newer release, which can build from it")
        found = msgspec.json.decode(raw, type=Manifest)
        query = found.query
        query.split, query.form = parse_split(query.split), form_of(path, query.form)
    except FileNotFoundError as error:
        raise PathNotFound(path, []) from error
    except OSError as error:
        raise storage_error(error, path) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument("manifest", f"{path} is no manifest of an export: {error}") from error
    # Somebody else may have written it: a name of its own leads nowhere else.
    if Path(found.name).name != found.name or not found.name.strip(".") or len(found.files) != len(query.split or [""]):
        raise InvalidArgument("manifest", f"{path} is no manifest of an export: its names lead elsewhere")
    return found


class _Layout(msgspec.Struct):
    manifest: int


def compare(old: Manifest, new: Manifest) -> tuple[list[str], list[str]]:
    """What rows differ between an export and its rebuild, and what is worth a note."""
    differences, notes = [], []
    for then, now in zip(old.files, new.files, strict=True):
        if then.rows != now.rows:
            differences.append(f"{then.name}: {then.rows} rows then, {now.rows} now")
        elif then.rows_sha256 != now.rows_sha256:
            differences.append(f"{then.name}: as many rows, with other values")
        elif then.sha256 != now.sha256:
            notes.append(f"{then.name}: the same rows in other bytes ({_writer(old)} then, {_writer(new)} now)")
    return differences, notes


def _writer(manifest: Manifest) -> str:
    return " with ".join(filter(None, [f"xetrack {manifest.xetrack}", manifest.written_by]))
