"""Rebases a store onto another: its rows take the place of those with the same key.

The events of the source are taken over as by a merge, and one event hides the rows
that they replace, by their ids, decided once. Both land in one pack. The replaced
rows stay in the log (docs/merge.md, Rebase).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from xetrack.errors import InvalidArgument, RunProtected, TableNotFound
from xetrack.exchange import datafiles
from xetrack.exchange.keys import Key, key_of
from xetrack.exchange.own_events import OwnEvents
from xetrack.exchange.replays import Replay
from xetrack.exchange.report import RebaseReport
from xetrack.exchange.revisions import PREFIX
from xetrack.exchange.sources import Source, Target, opened_sources, opened_target
from xetrack.exchange.takeover import TablePlan, asset_plan, carry_out, count_assets, plan, until_not_overtaken
from xetrack.log.events import RowsReplaced, split_id
from xetrack.log.ranges import Frontier
from xetrack.store import check_table_name
from xetrack.tables.layout import FIXED
from xetrack.tables.spill import scratch_folder


def rebase(
    source: str | os.PathLike[str],
    onto: str | os.PathLike[str],
    keys: Sequence[str],
    table: str = "default",
    dry_run: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> RebaseReport:
    """Take over a table of the source; its rows replace those of the target that have the same key.

    What was set, deleted or undone in the source comes along. The replaced rows are
    hidden by one event, which an undo brings back, and stay in the log. Rebasing
    again changes nothing, unless one of both has new rows. After an error nothing
    was taken over.

    A key is the values of all key columns. Numbers are equal by value: 1, 1.0 and
    True; text equals only text. An empty cell or NaN matches nothing. A row that
    both sides hold is not replaced; of several rows with one key all of the source
    come in, and all of the target go.

    Args:
        source: Path of a store, or of its ``.events`` folder, or ``"git:<rev>[:<path>]"``.
            It is only read.
        onto: Path of the store whose rows are replaced. It must exist.
        keys: Columns, by name or raw key; ``track_id`` and ``timestamp`` too.
        table: The table, of the same name on both sides.
        dry_run: Report only, and write nothing.
        out: With data files (Parquet, CSV, JSON lines) for ``source`` and ``onto``: where
            to write, instead of replacing ``onto``.

    Raises:
        ColumnNotFound: a side lacks a key column; names near matches.
        RunProtected: a row to be replaced belongs to a protected run.
        StoreNotFound: either is not there; names near matches.
        SameIdDifferentEvent: one id stands for two events, so one log was edited.

    >>> rebase("experiment.db", "track.db", keys=["model", "seed"])
    """
    keys = [keys] if isinstance(keys, str) else list(dict.fromkeys(keys))
    if not keys:
        raise InvalidArgument("keys", "there is none")
    if datafiles.are_meant([source, onto, *([] if out is None else [out])]):
        return datafiles.rebase(Path(source), Path(onto), keys, Path(onto if out is None else out), dry_run)
    if out is not None:
        raise InvalidArgument("out", "it is for data files; the rows of a store are replaced in the store")
    check_table_name(table)
    return until_not_overtaken(lambda: _rebase(source, onto, keys, table, dry_run))


def _rebase(
    source: str | os.PathLike[str], onto: str | os.PathLike[str], keys: list[str], table: str, dry_run: bool
) -> RebaseReport:
    with opened_sources([source], onto) as opened, opened_target(onto, must_exist=True) as target:
        there = opened[0].log.tables()
        if table not in there:
            raise TableNotFound(table, opened[0].name, there)
        others = [one for one in opened if not target.is_log(one)]
        plans, merged = plan(target.store, others, [table])
        report = RebaseReport(table, keys, dry_run=dry_run)
        report.rows_added = merged.rows_added
        report.mutations_added = merged.tables[table].mutations_added
        report.damaged_lines = merged.damaged_lines
        _replace(plans[0], opened[0], target, report)
        wanted = asset_plan(target.store.log, plans, others)
        if dry_run:
            count_assets(merged, plans, wanted)
        else:
            with target.made() as store:
                carry_out(store, plans, wanted, merged)
        report.assets_added, report.assets_missing = merged.assets_added, merged.assets_missing
    return report


def _replace(one: TablePlan, source: Source, target: Target, report: RebaseReport) -> None:
    """Add the event that hides the rows whose key the source has, if there are any, and count."""
    with (
        scratch_folder() as theirs,
        scratch_folder() as ours,
        Replay(source.log, one.table, theirs) as coming,
        Replay(one.log, one.table, ours, one.seen.copy()) as standing,
    ):
        columns = [coming.column(key).key for key in report.keys]
        # Where there is nothing, nothing is replaced, and no column can be missing.
        is_bare = len(standing.columns) == len(FIXED)
        own_columns = columns if is_bare else [standing.column(key).key for key in report.keys]
        held, arriving = _arriving(one, coming, standing, columns, report)
        rows = _replaced(one, target, standing, own_columns, held, arriving, report)
    report.rows_replaced = len(rows)
    if rows:
        own = OwnEvents(one)
        own.add(RowsReplaced, rows=rows.to_wire(), keys=report.keys, source=_name_of(source, target))
        own.finish()


def _arriving(
    one: TablePlan, coming: Replay, standing: Replay, columns: list[str], report: RebaseReport
) -> tuple[Frontier, set[Key]]:
    """Rows that the source shows, and the keys of those that the target will show as well.

    A row that the target has hidden stays hidden, so it takes nobody's place.
    """
    known = one.seen.union(one.taken.ids)
    if one.taken.lines:
        hidden = one.reach.hidden()
    else:
        hidden = known.minus(_ids(standing))
    held, keys = Frontier(), set()
    for row in coming.rows():
        place = split_id(row.event_id)
        held.add(*place)
        if not known.contains(*place) or hidden.contains(*place):
            continue
        key = key_of(row.values, columns)
        if key is None:
            report.null_keys.source += 1
        elif key in keys:
            report.duplicate_keys.source += 1
        else:
            keys.add(key)
    return held, keys


def _ids(replay: Replay) -> Frontier:
    found = Frontier()
    for row in replay.rows():
        found.add(*split_id(row.event_id))
    return found


def _replaced(
    one: TablePlan,
    target: Target,
    standing: Replay,
    columns: list[str],
    held: Frontier,
    arriving: set[Key],
    report: RebaseReport,
) -> Frontier:
    """Ids of the target's rows that go.

    Raises:
        RunProtected: one of them is of a protected run.
    """
    protected = {run for run, (_, stands) in target.store.projector().state(one.table).protected.items() if stands}
    hidden = one.reach.hidden() if one.taken.lines else Frontier()
    found, keys = Frontier(), set()
    for row in standing.rows():
        place = split_id(row.event_id)
        if hidden.contains(*place):
            continue
        key = key_of(row.values, columns)
        if key is None:
            report.null_keys.onto += 1
            continue
        if key in keys:
            report.duplicate_keys.onto += 1
        keys.add(key)
        if key in arriving and not held.contains(*place):
            if row.values["track_id"] in protected:
                raise RunProtected(row.values["track_id"])
            found.add(*place)
    return found


def _name_of(source: Source, target: Target) -> str:
    """The source as the event names it: paths in a log are relative and POSIX."""
    if source.name.startswith(PREFIX) or target.store.path is None:
        return source.name
    try:
        return Path(os.path.relpath(source.name, target.store.path.parent)).as_posix()
    except ValueError:  # on another drive
        return Path(source.name).name
