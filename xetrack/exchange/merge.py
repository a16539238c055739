"""Joins logs: the union of their events, and a report of what it brought together.

The same events make the same tables on every machine, so it does not matter who
merges whom, in which order or how often (law 5). Where two people disagree, the
tables show one side, the log keeps both, and the report says so (docs/merge.md).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from xetrack.errors import InvalidArgument, MergeConflict
from xetrack.exchange import datafiles
from xetrack.exchange.conflicts import Conflicts, Disagreement, in_order
from xetrack.exchange.own_events import OwnEvents
from xetrack.exchange.report import Conflict, MergeReport
from xetrack.exchange.sources import opened_sources, opened_target
from xetrack.exchange.takeover import TablePlan, asset_plan, carry_out, count_assets, plan, until_not_overtaken
from xetrack.log.events import ValueSet, event_key, split_id
from xetrack.log.ranges import Frontier

Policy = Literal["latest", "ours", "theirs", "error"]


def merge(
    *sources: str | os.PathLike[str],
    into: str | os.PathLike[str],
    dry_run: bool = False,
    policy: Policy = "latest",
) -> MergeReport:
    """Take over all events of the sources that the target lacks, and report what came together.

    Rows, changes and stored objects of every table. Merging again takes over what
    is new; in any order of merges, stores that have the same events show the same
    tables. The target is made if it is not there. After an error nothing was taken
    over; after a kill, calling again completes it.

    Args:
        sources: Paths of stores or of their ``.events`` folders, or ``"git:<rev>"`` or
            ``"git:<rev>:<path>"``, read from git's objects; or data files (Parquet, CSV,
            JSON lines), whose rows are all kept. They are only read.
        into: Path of the store to merge into, or of a data file.
        dry_run: Report only, and write nothing.
        policy: Who is right where two sets of a cell had not seen each other.
            ``"latest"``: the later one in the log's order, on every machine alike.
            ``"ours"`` or ``"theirs"``: that side, by new events of the merger; for
            one source. ``"error"``: raise, and take nothing over.

    Raises:
        MergeConflict: under ``"error"``, with the report as ``report``.
        SameIdDifferentEvent: one id stands for two events, so one log was edited.
        StoreNotFound: a source is not there; names near matches.
        RevisionNotFound: no such revision, or no store in it.
        FormatTooNew: a later release wrote a source.

    >>> print(merge("laptop.db", "cluster.db", into="track.db"))
    """
    if policy not in get_args(Policy):
        raise InvalidArgument("policy", f"{policy!r} is none of {', '.join(get_args(Policy))}")
    if not sources:
        raise InvalidArgument("sources", "there is none")
    if policy in ("ours", "theirs") and len(sources) > 1:
        raise InvalidArgument("policy", f"{policy!r} is for one source at a time")
    if datafiles.are_meant([*sources, into]):
        if policy != "latest":
            raise InvalidArgument("policy", f"{policy!r} is for stores; all rows of data files are kept")
        return datafiles.merge([Path(source) for source in sources], Path(into), dry_run)
    return until_not_overtaken(lambda: _merge(sources, into, dry_run, policy))


def _merge(
    sources: Sequence[str | os.PathLike[str]], into: str | os.PathLike[str], dry_run: bool, policy: Policy
) -> MergeReport:
    with opened_sources(sources, into) as opened, opened_target(into) as target:
        others = [source for source in opened if not target.is_log(source)]
        tables = sorted({table for source in others for table in source.log.tables()})
        plans, report = plan(target.store, others, tables)
        report.dry_run = dry_run
        conflicts: list[Conflict] = []
        for one in plans:
            conflicts += _conflicts(one, policy)
        report.conflicts = in_order(conflicts)
        if policy == "error" and report.conflicts:
            raise MergeConflict(report)
        wanted = asset_plan(target.store.log, plans, others)
        if dry_run:
            count_assets(report, plans, wanted)
            return report
        with target.made() as store:
            carry_out(store, plans, wanted, report)
    return report


def _conflicts(one: TablePlan, policy: str) -> list[Conflict]:
    """The conflicts of one table; those that the policy settles get their events among the lines to take over."""
    if not one.taken.lines:
        return []
    found = Conflicts(one)
    disagreements = found.disagreements()
    others = found.others()
    if policy not in ("ours", "theirs"):
        return [*(each.conflict for each in disagreements), *others]
    # Disagreements of others among themselves are not settled here: neither side is ours.
    between = [not one.taken.ids.contains(*split_id(each.ours.id)) for each in disagreements]
    _settle(one, [each for each, is_ours in zip(disagreements, between, strict=True) if is_ours], policy)
    return [
        *(
            replace(each.conflict, winner=policy) if is_ours else each.conflict
            for each, is_ours in zip(disagreements, between, strict=True)
        ),
        *others,
    ]


def _settle(one: TablePlan, disagreements: Sequence[Disagreement], policy: str) -> None:
    """Add events that set the cells to the side of the policy."""
    if not disagreements:
        return
    events: dict[tuple[str, str], tuple[ValueSet, Frontier, Frontier]] = {}
    for each in disagreements:
        chosen = each.ours if policy == "ours" else each.theirs
        _, rows, settles = events.setdefault((each.run, chosen.id), (chosen, Frontier(), Frontier()))
        rows.update(each.rows)
        for side in (each.ours, each.theirs):
            settles.add(*split_id(side.id))
    own = OwnEvents(one)
    # Where their side has several values for a cell, the latest of them stands, as it does in their store.
    for (run, _), (chosen, rows, settles) in sorted(events.items(), key=lambda item: (event_key(item[1][0]), item[0])):
        own.add(ValueSet, run=run, rows=rows.to_wire(), key=chosen.key, value=chosen.value, settles=settles.to_wire())
    own.finish()
