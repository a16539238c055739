"""Brings the results of experiments together into one output: stores and data files, merged or rebased."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xetrack.errors import InvalidArgument
from xetrack.exchange.merge import merge
from xetrack.exchange.rebase import rebase

STRATEGIES = ("merge", "rebase")


def combine_stores(
    base: str,
    experiments: Sequence[str],
    output: str,
    strategy: str = "merge",
    table: str = "default",
    keys: Sequence[str] = (),
) -> dict[str, Any]:
    """The base and then each experiment, in this order, in a store at ``output``; the base may be it.

    ``merge`` keeps all rows; ``rebase`` lets an experiment's rows of ``table`` replace
    those with the same ``keys``. Returns the reports, as plain values.

    Raises:
        InvalidArgument: no experiment, an unknown strategy, or a rebase without keys.
        StoreNotFound, ColumnNotFound, RunProtected: as ``merge`` and ``rebase`` do.
    """
    _check(strategy, experiments, keys, "--exp-db")
    reports = []
    if Path(output).absolute() != Path(base).absolute():
        reports.append(merge(base, into=output).to_dict())
    for experiment in experiments:
        if strategy == "merge":
            reports.append(merge(experiment, into=output).to_dict())
        else:
            reports.append(rebase(experiment, onto=output, keys=keys, table=table).to_dict())
    return {"output": output, "strategy": strategy, "reports": reports}


def combine_data(
    base: str, experiments: Sequence[str], output: str, strategy: str = "merge", keys: Sequence[str] = ()
) -> dict[str, Any]:
    """The same for data files: Parquet, CSV, JSON lines. An output that is there is replaced.

    Raises:
        InvalidArgument, PathNotFound, ColumnNotFound: as ``combine_stores``.
    """
    _check(strategy, experiments, keys, "--exp-data")
    if strategy == "merge":
        if Path(output).absolute() == Path(base).absolute():
            reports = [merge(*experiments, into=output).to_dict()]
        else:
            Path(output).unlink(missing_ok=True)  # what it held is not among the inputs
            reports = [merge(base, *experiments, into=output).to_dict()]
        return {"output": output, "strategy": strategy, "reports": reports}
    reports, onto = [], base
    for experiment in experiments:
        reports.append(rebase(experiment, onto=onto, keys=keys, out=output).to_dict())
        onto = output
    return {"output": output, "strategy": strategy, "reports": reports}


def _check(strategy: str, experiments: Sequence[str], keys: Sequence[str], option: str) -> None:
    if strategy not in STRATEGIES:
        raise InvalidArgument("strategy", f"{strategy!r} is none of {', '.join(STRATEGIES)}")
    if not experiments:
        raise InvalidArgument(option, "there is no experiment")
    if strategy == "rebase" and not keys:
        raise InvalidArgument("--key-columns", "a rebase needs the columns that say which rows are the same")
