"""Models on disk: one in production, the others candidates, with a table of the store as their index.

    models/production/<name>     the one in use
    models/candidates/<name>     runner-ups, kept for comparison

A promotion moves a candidate into production and what was there back among the
candidates. Both moves are renames in one file system; what was done is logged to the
table ``models``, so that the history of promotions can be read and merged.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec

from xetrack.errors import InvalidArgument, PathNotFound, StoreNotFound, storage_error
from xetrack.read.reader import Reader
from xetrack.store import open_store
from xetrack.track.tracker import Tracker

TABLE = "models"
PRODUCTION, CANDIDATES = "production", "candidates"
_CHUNK = 1 << 20


class Model(msgspec.Struct, frozen=True):
    """A model file: where it stands, and what was logged of it when it was promoted or noted."""

    name: str
    place: str
    path: str
    size_bytes: int
    sha256: str
    metric: str | None = None
    score: float | None = None
    version: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The model as plain values, for JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class Models:
    """The models below a folder, and their index in a store."""

    def __init__(self, folder: str | os.PathLike[str] = "models", db: str = "track.db") -> None:
        self.folder, self.db = Path(folder), db

    def all(self) -> list[Model]:
        """Production first, then the candidates, best score first."""
        known = self._known()
        found = []
        for place in (PRODUCTION, CANDIDATES):
            models = [self._model(file, place, known) for file in self._files(place)]
            models.sort(key=lambda model: (-_ranked(model), model.name))
            found += models
        return found

    def promote(
        self, name: str, *, metric: str | None = None, score: float | None = None, version: str | None = None
    ) -> Model:
        """Move a candidate into production; what was there becomes a candidate again.

        ``metric`` and ``score`` say why, ``version`` of which experiment it is. A file
        from elsewhere, named by its path, is moved into production.

        Raises:
            PathNotFound: there is no such candidate; names near matches.
            InvalidArgument: it is in production already.
        """
        source = self._candidate(name)
        target = self.folder / PRODUCTION / source.name
        digest = _sha256(source)
        demoted = self._files(PRODUCTION)
        try:
            for place in (PRODUCTION, CANDIDATES):
                (self.folder / place).mkdir(parents=True, exist_ok=True)
            moved = self._set_back(demoted)
            os.replace(source, target)
        except OSError as error:
            raise storage_error(error, target) from error
        with Tracker(self.db, table=TABLE, warnings=False) as tracker:
            for file in moved:
                tracker.log({"action": "demoted", "model": file.name, "sha256": _sha256(file)})
            facts = {"metric": metric, "score": score, "version": version}
            told = {key: value for key, value in facts.items() if value is not None}
            tracker.log({"action": "promoted", "model": target.name, "sha256": digest, **told})
        return self._model(target, PRODUCTION, self._known())

    def prunable(self, keep: int) -> list[Model]:
        """The candidates that are not among the ``keep`` best; without a score, the newest are best."""
        if keep < 0:
            raise InvalidArgument("keep", f"{keep} is not a number of models, 0 or more")
        candidates = [model for model in self.all() if model.place == CANDIDATES]
        candidates.sort(key=lambda model: (_ranked(model), os.path.getmtime(model.path)), reverse=True)
        return candidates[keep:]

    def prune(self, models: list[Model]) -> None:
        """Remove these files, and log that they are gone.

        Raises:
            StorageError: one cannot be removed; those before it are gone.
        """
        with Tracker(self.db, table=TABLE, warnings=False) as tracker:
            for model in models:
                try:
                    os.unlink(model.path)
                except OSError as error:
                    raise storage_error(error, model.path) from error
                tracker.log({"action": "pruned", "model": model.name, "sha256": model.sha256})

    # -- files

    def _files(self, place: str) -> list[Path]:
        folder = self.folder / place
        if not folder.is_dir():
            return []
        files = (file for file in folder.iterdir() if file.is_file())
        return sorted(file for file in files if not file.name.startswith(".") and file.suffix != ".dvc")

    def _candidate(self, name: str) -> Path:
        from difflib import get_close_matches

        there = {file.name: file for file in self._files(CANDIDATES)}
        chosen = there.get(name) or next((file for file in there.values() if file.stem == name), None)
        if chosen is not None:
            return chosen
        path = Path(name)
        if path.is_file():
            if path.parent.resolve() == (self.folder / PRODUCTION).resolve():
                raise InvalidArgument("name", f"{path.name} is in production already")
            return path
        if (self.folder / PRODUCTION / name).is_file():
            raise InvalidArgument("name", f"{name} is in production already")
        raise PathNotFound(name, get_close_matches(name, there, cutoff=0.4) or sorted(there))

    def _set_back(self, demoted: list[Path]) -> list[Path]:
        """Move what is in production among the candidates, under another name where one of them has its name."""
        moved = []
        for file in demoted:
            target = self.folder / CANDIDATES / file.name
            if target.exists():
                target = target.with_name(f"{file.stem}-{_sha256(file)[:8]}{file.suffix}")
            os.replace(file, target)
            moved.append(target)
        return moved

    def _model(self, file: Path, place: str, known: dict[str, dict[str, Any]]) -> Model:
        digest = _sha256(file)
        facts = known.get(digest, {})
        score = facts.get("score")
        return Model(
            name=file.name,
            place=place,
            path=str(file),
            size_bytes=file.stat().st_size,
            sha256=digest,
            metric=facts.get("metric"),
            score=None if score is None else float(score),
            version=facts.get("version"),
        )

    def _known(self) -> dict[str, dict[str, Any]]:
        """What was last logged of each model, by its hash."""
        found: dict[str, dict[str, Any]] = {}
        try:
            store = open_store(self.db)
        except StoreNotFound:
            return found
        try:
            rows = store.table(TABLE).records()
        finally:
            store.close()
        for row in rows:
            told = {key: row.get(key) for key in ("metric", "score", "version") if row.get(key) is not None}
            found.setdefault(str(row.get("sha256")), {}).update(told)
        return found

    def history(self) -> list[dict[str, Any]]:
        """What was done with which model, oldest first."""
        return Reader(self.db, table=TABLE)._table.records()


def _ranked(model: Model) -> float:
    """The score, so that more is better: a loss counts from below."""
    from xetrack.workflow.roles import is_lower_better

    if model.score is None:
        return float("-inf")
    return -model.score if is_lower_better(model.metric or "") else model.score


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()
