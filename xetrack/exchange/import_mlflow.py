"""Runs of MLflow, from its SQLite store or from an ``mlruns`` folder: a row for each step.

Parameters are texts there, and get the type that all of them have under one name.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xetrack.errors import InvalidArgument
from xetrack.exchange.contents import Contents, Wish
from xetrack.exchange.import_files import column_type
from xetrack.log import values
from xetrack.log.imported import ImportedRow, time_text

_PAIRS = (
    "SELECT CAST(key AS TEXT), CAST(coalesce(value, '') AS TEXT) FROM {} WHERE run_uuid = ? AND key IS NOT NULL"
    " ORDER BY {}"
)
_STATES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


@dataclass
class _Run:
    id: str
    name: str
    experiment: str
    status: str
    started_ms: int
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    #: Name, value, milliseconds, step.
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)


def is_database(path: Path) -> bool:
    """Whether a SQLite file is a tracking store of MLflow."""
    try:
        with sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True) as conn:
            names = {name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        conn.close()
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    return {"alembic_version", "experiments", "runs", "metrics", "params"} <= names


def is_folder(path: Path) -> bool:
    """Whether a folder is one that MLflow keeps runs in."""
    return path.is_dir() and any(path.glob("*/meta.yaml"))


def read(path: Path, wish: Wish) -> Contents:
    """One row for each run and step, oldest run first; a run without metrics is one row."""
    left_out: list[str] = ["artifacts, models, datasets and traces of MLflow"]
    runs = list(_of_folder(path, left_out) if path.is_dir() else _of_database(path, left_out))
    runs.sort(key=lambda run: (run.started_ms, run.id))
    names = dict.fromkeys(name for run in runs for name in run.params)
    types = {name: column_type(run.params[name] for run in runs if name in run.params) for name in names}
    tag_types = {
        name: column_type(run.tags[name] for run in runs if name in run.tags) for run in runs for name in run.tags
    }
    return Contents({wish.table: [row for run in runs for row in _rows(run, types, tag_types)]}, left_out)


def _rows(run: _Run, types: dict[str, Any], tag_types: dict[str, Any]) -> Iterator[ImportedRow]:
    fixed: dict[str, Any] = {"run_name": run.name, "experiment": run.experiment, "status": run.status}
    for found, readers in ((run.tags, tag_types), (run.params, types)):
        for name, text in found.items():
            fixed[name] = readers[name](text) if text != "" else None
    steps: list[tuple[int | None, int, dict[str, float]]] = []
    last: dict[int, int] = {}
    for name, value, time_ms, number in run.metrics:
        at = last.get(number)
        if at is None or name in steps[at][2]:
            last[number] = at = len(steps)
            steps.append((number, time_ms, {}))
        steps[at][2][name] = value
    for step, time_ms, metrics in steps or [(None, run.started_ms, {})]:
        row = {**fixed, **({} if step is None else {"step": step})}
        for name, value in metrics.items():
            if name in run.params:
                row[f"param_{name}"] = row.pop(name)
            row[name] = value
        data = {key: values.encode(value, key) for key, value in values.check_keys(row).items()}
        yield ImportedRow(run.id, time_ms * 1000, time_text(time_ms * 1000), data)


def _tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What users said of a run, and the commit; MLflow's own notes stay behind."""
    found = {}
    for name, value in pairs:
        if name == "mlflow.source.git.commit":
            found["git_commit"] = value
        elif not name.startswith("mlflow."):
            found[name] = value
    return found


# -- SQLite ------------------------------------------------------------------


def _of_database(path: Path, left_out: list[str]) -> Iterator[_Run]:
    conn = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    conn.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
    try:
        # SQLite holds any type in any column.
        query = (
            "SELECT CAST(run_uuid AS TEXT), CAST(runs.name AS TEXT), CAST(experiments.name AS TEXT),"
            " CAST(status AS TEXT), CAST(start_time AS INTEGER) FROM runs"
            " LEFT JOIN experiments USING (experiment_id) WHERE runs.lifecycle_stage = 'active'"
        )
        for id, name, experiment, status, started_ms in conn.execute(query).fetchall():
            run = _Run(id or "", name or "", experiment or "", status or "", started_ms or 0)
            run.params = dict(conn.execute(_PAIRS.format("params", "rowid"), (id,)))
            run.tags = _tags(conn.execute(_PAIRS.format("tags", "key"), (id,)))
            run.metrics = [
                (key, float("nan") if is_nan else value, time_ms, step)
                for key, value, time_ms, step, is_nan in conn.execute(
                    "SELECT CAST(key AS TEXT), CAST(coalesce(value, 'nan') AS REAL), CAST(coalesce(timestamp, 0) AS"
                    " INTEGER), CAST(coalesce(step, 0) AS INTEGER), is_nan FROM metrics"
                    " WHERE run_uuid = ? AND key IS NOT NULL ORDER BY step, timestamp, rowid",
                    (id,),
                )
            ]
            yield run
        (deleted,) = conn.execute("SELECT count(*) FROM runs WHERE lifecycle_stage <> 'active'").fetchone()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise InvalidArgument("source", f"{path.name} cannot be read as a store of MLflow: {error}") from error
    finally:
        conn.close()
    _count_deleted(deleted, left_out)


def _count_deleted(count: int, left_out: list[str]) -> None:
    if count:
        left_out.append(f"{count} runs that were deleted")


# -- mlruns ------------------------------------------------------------------


def _of_folder(path: Path, left_out: list[str]) -> Iterator[_Run]:
    deleted = 0
    for experiment in sorted(path.glob("*/meta.yaml")):
        named = _meta(experiment).get("name", experiment.parent.name)
        for file in sorted(experiment.parent.glob("*/meta.yaml")):
            meta, folder = _meta(file), file.parent
            if not meta.get("run_id"):
                continue
            if meta.get("lifecycle_stage", "active") != "active":
                deleted += 1
                continue
            status = meta.get("status", "")
            run = _Run(meta["run_id"], meta.get("run_name", ""), named, status, _whole(meta.get("start_time", "")))
            run.status = _STATES.get(_whole(status), status)
            run.params = {name: _text(file) for name, file in _files(folder / "params")}
            run.tags = _tags((name, _text(file)) for name, file in _files(folder / "tags"))
            for name, file in _files(folder / "metrics"):
                for number, line in enumerate(_text(file).splitlines(), 1):
                    parts = line.split()
                    try:
                        run.metrics.append((name, float(parts[1]), int(parts[0]), int(parts[2]) if parts[2:] else 0))
                    except (ValueError, IndexError):
                        left_out.append(f"line {number} of {file.relative_to(path).as_posix()}: it is no metric")
            run.metrics.sort(key=lambda metric: (metric[3], metric[2]))
            yield run
    _count_deleted(deleted, left_out)


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Files by name, which may have folders in it: ``loss/train``."""
    found = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []
    return [(file.relative_to(folder).as_posix(), file) for file in found]


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="backslashreplace")


def _whole(text: str) -> int:
    """The whole number that a text says, 0 if it says none."""
    return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else 0


def _meta(file: Path) -> dict[str, str]:
    """The plain entries of a ``meta.yaml``: one to a line, texts perhaps in quotes."""
    found = {}
    for line in _text(file).splitlines():
        name, colon, text = line.partition(":")
        if colon and name.strip() == name:
            text = text.strip()
            found[name] = text[1:-1].replace("''", "'") if text[:1] == text[-1:] == "'" and len(text) > 1 else text
    return found
