"""`xt runs`, `xt show`, `xt compare`, `xt best`: the runs of a table, one in full, some side by side, the best."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xetrack.cli import completion
from xetrack.cli.commands import command
from xetrack.cli.options import Count, Output, Place, names_of
from xetrack.cli.output import Format, counted, print_json, visible

if TYPE_CHECKING:
    from xetrack.read.runs import RunInfo
    from xetrack.read.summary import Summary

Run = Annotated[str, typer.Argument(metavar="TRACK_ID", help="Run to show.", autocompletion=completion.runs)]


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    for function in (runs, show, compare, best):
        command(app)(function)


# -- one line each -----------------------------------------------------------


def runs(place: Place, output: Output) -> None:
    """Print one line for each run: how it is doing, since when, its rows, its last metrics, where it ran.

    `state` is running, finished, failed or died, which docs/live.md explains. A metric is a column of numbers that
    change within a run; its last value is shown. A terminal gets seconds, a pipe every digit.
    """
    from xetrack.read.runs import COLUMNS, runs_of
    from xetrack.read.summary import last_values, metrics_of

    with place.opened() as table:
        found = runs_of(table.store, table)
        metrics = metrics_of(table)
        last = last_values(table, metrics)
    head, rear = list(COLUMNS), []
    if output.for_eyes:  # what matters most is to fit on the screen
        head, rear = ["track_id", "state", "started", "duration_s", "rows"], ["host", "user", "script", "commit"]
    lines = []
    for run in found:
        facts = _facts(run, short=output.for_eyes)
        values = [last.get(run.track_id, {}).get(name) for name in metrics]
        lines.append([*(facts[name] for name in head), *values, *(facts[name] for name in rear)])
    output.show([*head, *metrics, *rear], lines)


def _facts(run: RunInfo, *, short: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {**run._asdict(), "started": _local(run.started_us), "ended": _local(run.ended_us)}
    if short:
        facts["started"] = facts["started"].strftime("%Y-%m-%d %H:%M:%S")
        facts["duration_s"] = round(run.duration_s, 1)
        facts["commit"] = (run.commit or "")[:8] or None
    return facts


def _local(clock_us: int | None) -> datetime | None:
    if clock_us is None:
        return None
    return (
        datetime.fromtimestamp(clock_us // 1_000_000, timezone.utc).replace(microsecond=clock_us % 10**6).astimezone()
    )


# -- one in full -------------------------------------------------------------


def show(place: Place, output: Output, track_id: Run) -> None:
    """Print one run in full: parameters, metrics, assets, and where it came from.

    Parameters are columns with one value in all its rows; metrics are columns of numbers that change, with first,
    last, smallest and largest finite value and a line that shows the trend.
    """
    from xetrack.read.runs import runs_of
    from xetrack.read.summary import assets_of, provenance, summarise

    with place.opened() as table:
        summary = summarise(table, track_id)
        (run,) = (run for run in runs_of(table.store, table) if run.track_id == track_id)
        facts = {name: value for name, value in _facts(run, short=False).items() if not name.endswith("_us")}
        assets = [
            {"column": name, "hash": own, "keys": list(info.keys) if info else [], "name": info and info.name}
            | {"size_bytes": info and info.size_bytes}
            for name, own, info in assets_of(table, summary)
        ]
        writers = [_header(event) for event in provenance(table, track_id)]
    document = {
        "track_id": track_id,
        "table": table.name,
        **{name: facts[name] for name in ("state", "started", "ended", "duration_s", "rows")},
        "parameters": summary.parameters,
        "metrics": {metric.name: _metric_facts(metric) for metric in summary.metrics},
        "others": {name: {"unique": count, "last": last} for name, (count, last) in summary.others.items()},
        "assets": assets,
        "provenance": writers,
    }
    if output.format is Format.JSON and not output.chooses:
        with output.opened():
            print_json(document)
    elif output.format is Format.TABLE and not output.chooses:
        with output.opened():
            _print_sections(document)
    else:
        output.show(_PARTS, _parts(document))


def _metric_facts(metric: Any) -> dict[str, Any]:
    return {name: getattr(metric, name) for name in ("count", "first", "last", "min", "max", "trend")}


def _header(event: Any) -> dict[str, Any]:
    names = ["host", "pid", "user", "script", "commit", "branch", "dirty", "python", "xetrack", "rank"]
    found = {name: getattr(event, name) for name in names}
    told = {name: value for name, value in found.items() if value is not None}
    return {"writer": event.id.rpartition("-")[0], "started": _local(event.clock), **told}


_PARTS = ["part", "name", "value", "first", "last", "min", "max", "trend"]


def _parts(document: dict[str, Any]) -> list[list[Any]]:
    """The document as rows, for formats that have nothing else."""
    blank = [None] * 5
    names = ("track_id", "table", "state", "started", "ended", "duration_s", "rows")
    rows = [["run", name, document[name], *blank] for name in names]
    rows += [["parameter", name, value, *blank] for name, value in document["parameters"].items()]
    rows += [
        ["metric", name, None, facts["first"], facts["last"], facts["min"], facts["max"], facts["trend"]]
        for name, facts in document["metrics"].items()
    ]
    rows += [
        ["other", name, None, None, facts["last"], None, None, f"{facts['unique']} values"]
        for name, facts in document["others"].items()
    ]
    rows += [["asset", own["column"], own["hash"], *blank] for own in document["assets"]]
    for writer in document["provenance"]:
        rows += [["provenance", name, value, *blank] for name, value in writer.items()]
    return rows


def _print_sections(document: dict[str, Any]) -> None:
    from xetrack.cli.output import print_rows

    def section(title: str, columns: list[str], rows: list[list[Any]]) -> None:
        if rows:
            typer.echo(f"\n{title}")
            print_rows(columns, rows, Format.TABLE)

    ended = f", ended {document['ended']:%Y-%m-%d %H:%M:%S}" if document["ended"] else ""
    rows = counted(document["rows"], "row")
    typer.echo(visible(f"{document['track_id']}: {document['state']}, {rows} in table {document['table']}"))
    typer.echo(f"started {document['started']:%Y-%m-%d %H:%M:%S}{ended}, {document['duration_s']:.6g} s")
    section("Parameters", ["name", "value"], [[name, value] for name, value in document["parameters"].items()])
    facts = ["first", "last", "min", "max", "trend"]
    section(
        "Metrics",
        ["name", *facts],
        [[name, *(own[fact] for fact in facts)] for name, own in document["metrics"].items()],
    )
    others = [[name, own["unique"], own["last"]] for name, own in document["others"].items()]
    section("Other columns", ["name", "values", "last"], others)
    assets = [[own["column"], own["hash"], ", ".join(own["keys"]), own["size_bytes"]] for own in document["assets"]]
    section("Assets", ["column", "hash", "keys", "size_bytes"], assets)
    for writer in document["provenance"]:
        section("Provenance", ["fact", "value"], [[name, value] for name, value in writer.items()])


# -- side by side ------------------------------------------------------------


def compare(
    place: Place,
    output: Output,
    track_ids: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs to compare.", autocompletion=completion.runs)
    ],
) -> None:
    """Print runs side by side: parameters that differ, those that do not, then metrics.

    A metric has a line each for its last, smallest and largest value. A column that changes in one of the runs is a
    metric in all of them.
    """
    from xetrack.read.summary import summarise

    with place.opened() as table:
        summaries = [summarise(table, track_id) for track_id in dict.fromkeys(track_ids)]
        order = table.columns
    names = [summary.track_id for summary in summaries]
    changing = {metric.name for summary in summaries for metric in summary.metrics}
    given = {name for summary in summaries for name in summary.parameters} - changing
    lines: list[list[Any]] = []
    for name in (name for name in order if name in given):
        values = [summary.parameters.get(name) for summary in summaries]
        differs = len({(type(value), repr(value)) for value in values}) > 1
        lines.append(["parameter", name, differs, *values])
    lines.sort(key=lambda line: not line[2])
    for name in (name for name in order if name in changing):
        for fact in ("last", "min", "max"):
            values = [_fact(summary, name, fact) for summary in summaries]
            lines.append(["metric", f"{name} {fact}", len(set(map(repr, values))) > 1, *values])
    output.show(["kind", "name", "differs", *names], lines)


def _fact(summary: Summary, name: str, fact: str) -> Any:
    for metric in summary.metrics:
        if metric.name == name:
            return getattr(metric, fact)
    return summary.parameters.get(name)


# -- the best ----------------------------------------------------------------


@dataclass(frozen=True)
class Ten(Output):
    """The ten best unless more are asked for."""

    n: Count = 10


def best(
    place: Place,
    output: Ten,
    metric: Annotated[
        str, typer.Argument(metavar="METRIC", help="Column to judge by.", autocompletion=completion.columns)
    ],
    smallest: Annotated[
        bool, typer.Option("--min/--max", help="Whether small values are good, or large ones.")
    ] = False,
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by",
            metavar="A,B",
            help="The best row for each value of these, else for each run.",
            autocompletion=completion.columns_listed,
        ),
    ] = None,
) -> None:
    """Print the best row of each run, or of each group, the best of all first. Large values are good unless --min."""
    from xetrack.read.selection import choose, direction, select

    with place.opened() as table:
        own = table.resolve(metric)
        groups = [table.resolve(name) for name in names_of(group_by)] or ["track_id"]
        names, rows = select(
            table,
            where=output.where,
            sort=[own if smallest else f"-{own}"],
            filled=own,
            first_of=groups,
            limit=None if output.sort else output.n,
        )
        asked = [table.resolve(name) for name in names_of(output.columns)]
        order = [f"{'-' if down else ''}{table.resolve(name)}" for name, down in map(direction, output.order)]
    first = list(dict.fromkeys([*groups, own, "track_id"]))
    wanted = asked or [*first, *(name for name in names if name not in first)]
    output.write(*choose(names, rows, columns=wanted, sort=order, limit=output.n))
