"""The agent skills that come with the package, and where to put them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from xetrack.errors import InvalidArgument, storage_error

_PACKAGE = Path(__file__).resolve().parents[1]
#: In an installed package, and in a checkout.
_PLACES = (_PACKAGE / "skills", _PACKAGE.parent / "docs" / "skills")


def skills() -> dict[str, Path]:
    """Each skill's folder, by name."""
    for place in _PLACES:
        if place.is_dir():
            return {folder.name: folder for folder in sorted(place.iterdir()) if (folder / "SKILL.md").exists()}
    return {}


def install(names: list[str] | None = None, to: str | os.PathLike[str] = "~/.claude/skills") -> list[Path]:
    """Copy skills into a folder of skills, over older ones of the same name, and return their places.

    Raises:
        InvalidArgument: there is no such skill.
        StorageError: the folder cannot be written.
    """
    there = skills()
    for name in names or []:
        if name not in there:
            raise InvalidArgument("name", f"{name!r} is none of {', '.join(there)}")
    target = Path(to).expanduser()
    made = []
    try:
        for name in names or there:
            place = target / name
            if place.is_dir():
                shutil.rmtree(place)
            shutil.copytree(there[name], place, ignore=shutil.ignore_patterns("__pycache__"))
            made.append(place)
    except OSError as error:
        raise storage_error(error, target) from error
    return made
