"""Past experiments: what each version measured, how two of them differ, and their artifacts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xetrack.errors import InvalidArgument, PathNotFound, RevisionNotFound, TableNotFound
from xetrack.exchange import git
from xetrack.exchange.copy import copy
from xetrack.exchange.frames import draft_of
from xetrack.workflow import worktrees
from xetrack.workflow.roles import is_lower_better
from xetrack.workflow.summary import summarize
from xetrack.workflow.versions import Version, version_of, versions

STRATEGIES = ("auto", "worktree", "dvc-get")


def list_versions(folder: Path | str = ".", *, sort: str | None = None) -> list[Version]:
    """All versions, oldest first, or by a fact of their messages, best first: the lowest for losses and times.

    Raises:
        InvalidArgument: no version says that fact.
    """
    found = versions(folder)
    if sort is None:
        return found
    known = [version for version in found if sort in version.facts]
    if found and not known:
        raise InvalidArgument("sort", f"no version says {sort!r}")
    numbers = all(_number(version.facts[sort]) is not None for version in known)
    key = (lambda version: _number(version.facts[sort])) if numbers else (lambda version: version.facts[sort])
    known.sort(key=key, reverse=numbers and not is_lower_better(sort))  # type: ignore[arg-type]
    return known + [version for version in found if sort not in version.facts]


def show(version: str, db: str | None = None, table: str = "default", folder: Path | str = ".") -> dict[str, Any]:
    """A version in full; with ``db`` also what its store held then, as ``summarize`` tells it.

    Raises:
        VersionNotFound: names near matches.
        RevisionNotFound: the commit has no such store.
    """
    found = version_of(version, folder)
    told = found.to_dict()
    if db is not None:
        with _store_of(version, db, table) as past:
            told["summary"] = {**summarize(past, table), "db": db}
    return told


def diff(v1: str, v2: str, db: str | None = None, table: str = "default", folder: Path | str = ".") -> dict[str, Any]:
    """What two versions say differently; with ``db`` also the means of their metrics, and how rows differ.

    Raises:
        VersionNotFound, RevisionNotFound: as ``show``.
    """
    one, two = version_of(v1, folder), version_of(v2, folder)
    names = dict.fromkeys([*one.facts, *two.facts])
    facts = {name: {"v1": one.facts.get(name), "v2": two.facts.get(name)} for name in names}
    found: dict[str, Any] = {
        "v1": v1,
        "v2": v2,
        "facts": {name: both for name, both in facts.items() if both["v1"] != both["v2"]},
    }
    if db is not None:
        sides = []
        for version in (v1, v2):
            with _store_of(version, db, table) as past:
                sides.append(summarize(past, table))
        found["rows"] = {"v1": sides[0]["rows"], "v2": sides[1]["rows"]}
        metrics = dict.fromkeys([*sides[0]["metrics"], *sides[1]["metrics"]])
        found["metrics"] = {
            name: {
                "v1": sides[0]["metrics"].get(name, {}).get("mean"),
                "v2": sides[1]["metrics"].get(name, {}).get("mean"),
            }
            for name in metrics
        }
    return found


def get(
    version: str, artifact: str, output: str | None = None, *, strategy: str = "auto", folder: Path | str = "."
) -> Path:
    """Write a file as it was in a version to ``output``, by default its own name, and return where.

    ``auto`` takes a file that git has from git's objects, and one that DVC keeps by
    ``dvc get``; ``worktree`` checks the version out for a moment and lets DVC fill it.

    Raises:
        PathNotFound: the version has no such file.
        InvalidArgument: the output is there already.
        DvcFailed: DVC keeps the file and cannot give it.
    """
    if strategy not in STRATEGIES:
        raise InvalidArgument("strategy", f"{strategy!r} is none of {', '.join(STRATEGIES)}")
    here = Path(folder)
    version_of(version, here)
    target = Path(output if output is not None else Path(artifact).name)
    if target.exists():
        raise InvalidArgument("output", f"there is something at {target} already")
    top = Path(git.run(here, "rev-parse", "--show-toplevel").strip())
    path = _from_top(here, top, artifact)
    there = git.run(top, "ls-tree", "--name-only", "--full-tree", version, "--", path, f"{path}.dvc").splitlines()
    if not there:
        raise PathNotFound(f"{version}:{path}", [])
    if strategy == "worktree":
        _by_worktree(version, path, target, top)
    elif f"{path}.dvc" in there or strategy == "dvc-get":
        worktrees.dvc(top, "get", str(top), path, "--rev", version, "-o", str(target.absolute()))
    else:
        with draft_of(target.absolute()) as draft:
            draft.write_bytes(git.blob(top, f"{version}:{path}"))
    return target


def _by_worktree(version: str, path: str, target: Path, top: Path) -> None:
    import shutil

    with tempfile.TemporaryDirectory(prefix="xetrack-") as place:
        tree = Path(place) / "tree"
        git.run(top, "worktree", "add", "--detach", str(tree), version)
        try:
            if (tree / f"{path}.dvc").exists():
                worktrees.share_dvc_cache(top, tree)
                worktrees.dvc(tree, "checkout", f"{path}.dvc")
            source = tree / path
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)
        finally:
            git.run(top, "worktree", "remove", "--force", str(tree))


def _from_top(here: Path, top: Path, artifact: str) -> str:
    path = Path(artifact)
    whole = path if path.is_absolute() else here.absolute() / path
    try:
        return whole.resolve().relative_to(top.resolve()).as_posix()
    except ValueError:
        return path.as_posix()


@contextmanager
def _store_of(version: str, db: str, table: str) -> Iterator[str]:
    """A store with one table as it was in a version, for as long as it is looked at."""
    with tempfile.TemporaryDirectory(prefix="xetrack-") as folder:
        past = str(Path(folder) / "past.db")
        try:
            copy(f"git:{version}:{_with_dot(db)}", past, assets=False, tables=[table])
        except TableNotFound as error:
            raise RevisionNotFound(f"{version}:{db}", f"its store has no table {table!r}") from error
        yield past


def _with_dot(db: str) -> str:
    """A path from the current folder, as sources write it."""
    return db if Path(db).is_absolute() or db.startswith(".") else f"./{db}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
