"""A table of a benchmark as a page of Markdown: what was tried, and what came out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from xetrack.read.reader import Reader
from xetrack.workflow.roles import Roles, is_lower_better, roles_of

if TYPE_CHECKING:
    import pandas as pd

_MAX_VALUES = 8
_MAX_RUNS = 50


def summarize(db: str, table: str = "default", *, engine: Any = "sqlite", at: str | None = None) -> dict[str, Any]:
    """Rows, runs, parameters with their values, metrics with mean and range, and a line for each run.

    ``best`` says for each metric which run has the best mean of it, the lowest for
    losses, errors and times.

    Raises:
        StoreNotFound, TableNotFound: with near matches.
    """
    reader = Reader(db, engine=engine, table=table, at=at)
    frame = reader._table.frame()
    roles = roles_of(frame)
    by_run = frame.groupby("track_id", sort=False)
    means: dict[str, pd.Series[float]] = {name: by_run[name].mean().dropna() for name in roles.metrics}
    metrics, best = {}, {}
    for name in roles.metrics:
        column = frame[name].dropna()
        if not len(column):
            continue
        metrics[name] = {
            "mean": float(column.mean()),
            "min": float(column.min()),
            "max": float(column.max()),
            "last": float(column.iloc[-1]),
            "rows": int(len(column)),
        }
        known = means[name]
        lower = is_lower_better(name)
        run, mean = (known.idxmin(), known.min()) if lower else (known.idxmax(), known.max())
        best[name] = {"track_id": str(run), "mean": float(mean)}
    return {
        "db": str(db),
        "table": reader.table_name,
        "rows": len(frame),
        "runs": int(by_run.ngroups),
        "first": None if frame.empty else str(frame["timestamp"].iloc[0]),
        "last": None if frame.empty else str(frame["timestamp"].iloc[-1]),
        "parameters": {name: _values(frame[name]) for name in roles.parameters},
        "metrics": metrics,
        "best": best,
        "per_run": [_run(str(run), group, roles) for run, group in by_run],
    }


def _values(column: pd.Series[Any]) -> list[Any]:
    return [_plain(value) for value in column.dropna().drop_duplicates().tolist()]


def _run(run: str, group: pd.DataFrame, roles: Roles) -> dict[str, Any]:
    found: dict[str, Any] = {"track_id": run, "rows": len(group)}
    for name in roles.parameters:
        values = group[name].dropna()
        found[name] = _plain(values.iloc[0]) if len(values) else None
    for name in roles.metrics:
        values = group[name].dropna()
        found[name] = float(values.mean()) if len(values) else None
    return found


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def as_markdown(facts: dict[str, Any]) -> str:
    """The page of what ``summarize`` gives."""
    parts = [f"# {facts['db']}: {facts['table']}", ""]
    parts.append(f"{facts['rows']} rows in {facts['runs']} runs")
    if facts["first"] is not None:
        parts[-1] += f", {facts['first']} to {facts['last']}"
    parts += [""]
    if facts["parameters"]:
        rows = [(name, len(values), _listed(values)) for name, values in facts["parameters"].items()]
        parts += ["## Parameters", "", *_table(["parameter", "values", "which"], rows), ""]
    if facts["metrics"]:
        rows_of_metrics = [
            (name, *(_number(one[key]) for key in ("mean", "min", "max", "last")), facts["best"][name]["track_id"])
            for name, one in facts["metrics"].items()
        ]
        head = ["metric", "mean", "min", "max", "last", "best run"]
        parts += ["## Metrics", "", *_table(head, rows_of_metrics), ""]
    runs = facts["per_run"][:_MAX_RUNS]
    if runs:
        names = list(runs[0])
        rows_of_runs = [[_number(run[name]) for name in names] for run in runs]
        parts += ["## Runs", "", *_table(names, rows_of_runs), ""]
        if len(facts["per_run"]) > _MAX_RUNS:
            parts += [f"{len(facts['per_run']) - _MAX_RUNS} more runs are not listed.", ""]
    return "\n".join(parts)


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(_number(value) for value in values[:_MAX_VALUES])
    return shown if len(values) <= _MAX_VALUES else f"{shown}, …"


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.6g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines]
