"""Versions of an experiment: annotated git tags ``e0.1.0`` whose message says parameters and metrics.

e0.0.3  model=bert-base | lr=0.0001 | acc=0.8900 | data=7c4e2a
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec

from xetrack.errors import InvalidArgument, VersionNotFound
from xetrack.exchange import git
from xetrack.read.reader import Reader
from xetrack.workflow.roles import roles_of

_VERSION = re.compile(r"e(\d+)\.(\d+)\.(\d+)")
_FIELD = "%00"
_PARTS = " | "
LEVELS = ("major", "minor", "patch")


class Version(msgspec.Struct, frozen=True):
    """A tagged version: ``facts`` are what its message says, as texts; ``created`` is ISO 8601."""

    name: str
    commit: str
    created: str
    message: str
    facts: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The version as plain values, for JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def versions(folder: Path | str = ".") -> list[Version]:
    """All versions of the repository around a folder, oldest first.

    Raises:
        GitFailed: there is no repository, or no git.
    """
    form = _FIELD.join(("%(refname:short)", "%(*objectname)%(objectname)", "%(creatordate:iso-strict)", "%(contents)"))
    listed = git.run(Path(folder), "for-each-ref", f"--format={form}%01", "refs/tags/e*")
    found = []
    for entry in listed.split("\x01"):
        name, _, rest = entry.strip("\n").partition("\x00")
        if _VERSION.fullmatch(name):
            commit, created, message = rest.split("\x00", 2)
            # A light tag has no second object: its own is the commit.
            found.append(Version(name, commit[:40], created, message.strip(), _facts(message)))
    return sorted(found, key=lambda version: _numbers(version.name))


def version_of(name: str, folder: Path | str = ".") -> Version:
    """One version by name.

    Raises:
        VersionNotFound: names near matches.
    """
    from difflib import get_close_matches

    there = {version.name: version for version in versions(folder)}
    if name not in there:
        raise VersionNotFound(name, get_close_matches(name, there) or list(there)[-3:])
    return there[name]


def suggest(folder: Path | str = ".", level: str = "patch") -> str:
    """The next version: ``e0.0.1`` where there is none."""
    if level not in LEVELS:
        raise InvalidArgument("level", f"{level!r} is none of {', '.join(LEVELS)}")
    there = versions(folder)
    major, minor, patch = _numbers(there[-1].name) if there else (0, 0, 0)
    if level == "major":
        return f"e{major + 1}.0.0"
    return f"e{major}.{minor + 1}.0" if level == "minor" else f"e{major}.{minor}.{patch + 1}"


def describe(db: str, table: str = "default", *, engine: Any = "sqlite", description: str | None = None) -> str:
    """The message for the newest run of a table: its description, parameters, the last of each metric, and the data.

    ``data`` is the start of the hash in a ``.dvc`` file of that name beside the store,
    or of the hashes of all of them where there are several.

    Raises:
        StoreNotFound, TableNotFound: with near matches.
    """
    reader = Reader(db, engine=engine, table=table)
    run = reader._table.latest_run()
    parts = [description.strip()] if description else []
    if run is not None:
        everything = reader._table.frame()
        frame, roles = everything[everything["track_id"] == run], roles_of(everything)
        for names, show in ((roles.parameters, _shown), (roles.metrics, _measure)):
            for name in names:
                values = frame[name].dropna()
                if len(values):
                    parts.append(f"{name}={show(values.iloc[-1])}")
    data = _data_hash(Path(db).absolute().parent)
    return _PARTS.join([*parts, *([f"data={data}"] if data else [])])


def tag(version: str, message: str, folder: Path | str = ".") -> Version:
    """Tag the current commit with a version.

    Raises:
        InvalidArgument: the version is not of the form ``e0.1.0``, or exists.
        GitFailed: there is no repository, or no commit.
    """
    check_new(version, folder)
    git.run(Path(folder), "tag", "-a", version, "-m", message or version)
    return version_of(version, folder)


def check_new(version: str, folder: Path | str = ".") -> None:
    """Refuse what no new version can be called.

    Raises:
        InvalidArgument: saying why.
    """
    if not _VERSION.fullmatch(version):
        raise InvalidArgument("version", f"{version!r} is not of the form e0.1.0")
    if any(one.name == version for one in versions(folder)):
        raise InvalidArgument("version", f"{version} exists already; the next is {suggest(folder)}")


def _numbers(name: str) -> tuple[int, int, int]:
    match = _VERSION.fullmatch(name)
    assert match is not None
    return int(match[1]), int(match[2]), int(match[3])


def _facts(message: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in message.strip().split(_PARTS))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals and name.strip()}


def _shown(value: Any) -> str:
    return str(value).replace("|", "/").replace("\n", " ")


def _measure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else _shown(value)


def _data_hash(folder: Path) -> str | None:
    files = sorted(folder.glob("data*.dvc")) or sorted(folder.glob("*.dvc"))
    hashes = [match[1] for file in files if (match := re.search(r"md5: ([0-9a-f]{32})", file.read_text("utf-8")))]
    if len(hashes) == 1:
        return hashes[0][:6]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:6] if hashes else None
