"""Copies tables of one store into another: the events that the target lacks.

What was set, deleted or undone in the source since the last copy comes along, so
the target follows. No questions of who is right: see ``merge`` for these.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from xetrack.config import Settings
from xetrack.errors import TableNotFound
from xetrack.exchange.sources import Source, opened_sources, opened_target
from xetrack.exchange.takeover import asset_plan, carry_out, plan, until_not_overtaken
from xetrack.store import check_table_name


def copy(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    assets: bool = True,
    tables: Sequence[str] | Literal["all"] | None = None,
) -> int:
    """Take over the events of some tables, and return how many rows became visible in the target.

    Copying again takes over what is new: rows, and what was set, deleted or undone
    since. The target is made if it is not there. After an error nothing was taken
    over.

    Args:
        source: Path of a store, or of its ``.events`` folder, or ``"git:<rev>[:<path>]"``.
            It is only read.
        target: Path of a store, there or not.
        assets: Take stored objects along, also those left out by an earlier copy.
            Without them rows keep the hashes, and ``get`` says that the object is
            not in this store.
        tables: Names; ``None`` is the default table, ``"all"`` every table of the source.

    Raises:
        StoreNotFound: there is no source; names near matches, and nothing is created.
        TableNotFound: the source has other tables, but not one of these.
        SameIdDifferentEvent: one id stands for two events, so one log was edited.

    >>> copy("source.db", "target.db", tables=["predictions", "metrics"])
    """
    return until_not_overtaken(lambda: _copy(source, target, assets, tables))


def _copy(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    assets: bool,
    tables: Sequence[str] | Literal["all"] | None,
) -> int:
    with opened_sources([source], target) as opened:
        chosen = _chosen(opened[0], tables)
        with opened_target(target) as to:
            if to.is_log(opened[0]):
                return 0
            plans, report = plan(to.store, opened, chosen)
            wanted = asset_plan(to.store.log, plans, opened) if assets else {}
            with to.made() as store:
                carry_out(store, plans, wanted, report)
            return report.rows_added


def _chosen(source: Source, tables: Sequence[str] | str | None) -> list[str]:
    """The tables to copy.

    Raises:
        TableNotFound: one of them is not there.
    """
    there = source.log.tables()
    if tables == "all":
        return there
    names = [Settings.resolve().table] if tables is None else [tables] if isinstance(tables, str) else list(tables)
    for name in names:
        check_table_name(name)
        if name not in there and (there or tables is not None):
            raise TableNotFound(name, source.name, there)
    return list(dict.fromkeys(name for name in names if name in there))
