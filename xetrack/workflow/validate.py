"""Checks a table of a benchmark for what spoils its conclusions.

Each check reports the columns or rows that it is about, or why it could not be
made. Nothing is changed.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from xetrack.read.reader import Reader
from xetrack.workflow.roles import AUTOMATIC, FIXED, Roles, roles_of

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES = 5
#: Names of columns are compared two by two; past this it would take minutes.
_MOST_PAIRS = 200_000
#: Digits of a float that nobody types.
_LONG = 12
_SPLITS = ("split", "subset", "fold_type", "dataset_split", "partition")
_ITEMS = ("item_id", "sample_id", "example_id", "id", "item", "sample", "input", "text", "prompt", "query", "question")
_TRAIN, _TEST = re.compile(r"train", re.IGNORECASE), re.compile(r"test|val|dev|eval|holdout", re.IGNORECASE)
#: What differs between two executions of the same thing.
_MEASURED = AUTOMATIC - {"function_name", "args", "kwargs", "git_commit", "git_commit_hash"}


class Problem(msgspec.Struct, frozen=True):
    """One thing that a check found: ``count`` of them, some as ``examples``."""

    check: str
    message: str
    count: int
    examples: list[Any] = []


class Validation(msgspec.Struct):
    """What the checks of one table say; ``skipped`` are those that could not be made, with the reason."""

    db: str
    table: str
    rows: int
    runs: int
    problems: list[Problem] = []
    skipped: dict[str, str] = {}

    @property
    def ok(self) -> bool:
        """Whether no check found anything."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return {**found, "ok": self.ok}


def validate(
    db: str,
    table: str = "default",
    *,
    engine: Any = "sqlite",
    split: str | None = None,
    item: str | None = None,
    at: str | None = None,
) -> Validation:
    """Check a table for duplicate executions, leaks, gaps, failures, renamed parameters and unrounded floats.

    Args:
        db: Path of the store.
        table: Name of the table.
        engine: Engine of the tables.
        split: The column that says which split a row is of; by default one of that name.
        item: The column that says which item a row is about; by default one named like an item.
        at: A moment of the past, as ``Reader`` takes it.

    Raises:
        StoreNotFound, TableNotFound, ColumnNotFound: with near matches.
    """
    reader = Reader(db, engine=engine, table=table, at=at)
    for column in (split, item):
        if column is not None:
            reader._table.resolve(column)
    frame = reader._table.frame()
    report = Validation(str(db), reader.table_name, len(frame), int(frame["track_id"].nunique()))
    if not len(frame):
        return report
    roles = roles_of(frame)
    checks: dict[str, Callable[[], Iterator[Problem]]] = {
        "failures": lambda: _failures(frame),
        "duplicates": lambda: _duplicates(frame, roles),
        "leaks": lambda: _leaks(frame, split, item),
        "missing": lambda: _missing(frame, roles),
        "renames": lambda: _renames(frame, roles),
        "floats": lambda: _floats(frame, roles),
    }
    for name, check in checks.items():
        try:
            report.problems += check()
        except _Skipped as skipped:
            report.skipped[name] = str(skipped)
    return report


class _Skipped(Exception):  # a signal inside this room, never a user's error
    """The table has no columns for this check."""


def _failures(frame: pd.DataFrame) -> Iterator[Problem]:
    if "error" not in frame:
        raise _Skipped("there is no column 'error': no tracked calls")
    errors = frame["error"].fillna("").astype(str)
    failed = frame[errors != ""]
    if len(failed):
        kinds = failed["error"].astype(str).value_counts()
        examples = [{"error": text, "rows": int(count)} for text, count in kinds.head(_EXAMPLES).items()]
        yield Problem("failures", f"{len(failed)} of {len(frame)} rows failed", len(failed), examples)


def _duplicates(frame: pd.DataFrame, roles: Roles) -> Iterator[Problem]:
    """Rows of work that was done twice: all inputs alike, and neither came from the cache."""
    if "function_name" in frame:
        fresh = frame[frame["cache"].fillna("") == ""] if "cache" in frame else frame
        keys = [name for name in ("function_name", "args", "kwargs", *roles.parameters) if name in frame]
    else:
        fresh = frame
        keys = [name for name in frame.columns if name not in FIXED and name not in _MEASURED]
    if not keys:
        raise _Skipped("there is no column that tells one execution from another")
    texts = fresh[keys].astype(object).map(repr)
    again = texts.duplicated(keep="first")
    if again.any():
        repeated = texts[texts.duplicated(keep=False)]
        examples = []
        for _, one in repeated.drop_duplicates().head(_EXAMPLES).iterrows():
            rows = repeated.index[(repeated == one).all(axis=1)]
            runs = fresh.loc[rows, "track_id"].drop_duplicates().tolist()
            examples.append({"rows": len(rows), "runs": runs[:_EXAMPLES]})
        yield Problem(
            "duplicates", f"{again.sum()} of {len(frame)} rows repeat an earlier one", int(again.sum()), examples
        )


def _leaks(frame: pd.DataFrame, split: str | None, item: str | None) -> Iterator[Problem]:
    split = split or next((name for name in _SPLITS if name in frame), None)
    if split is None:
        raise _Skipped("there is no column that says the split; name it with --split")
    item = item or next((name for name in _ITEMS if name in frame), None)
    if item is None:
        raise _Skipped("there is no column that says the item; name it with --item")
    kind = frame[split].astype(str)
    items = frame[item].dropna().astype(object).map(repr)
    train = set(items[kind.str.contains(_TRAIN)])
    test = set(items[kind.str.contains(_TEST) & ~kind.str.contains(_TRAIN)])
    both = sorted(train & test)
    if both:
        message = f"{len(both)} values of {item!r} are in both training and test rows"
        yield Problem("leaks", message, len(both), list(both[:_EXAMPLES]))


def _missing(frame: pd.DataFrame, roles: Roles) -> Iterator[Problem]:
    """Parameters that most runs have and others lack, or have in some rows only."""
    runs = frame.groupby("track_id", sort=False)
    for name in roles.parameters:
        has = runs[name].count()
        lacking = has[has == 0].index.tolist()
        partly = runs[name].apply(lambda column: 0 < column.count() < len(column))
        late = partly[partly].index.tolist()
        if lacking and 2 * len(lacking) < runs.ngroups:
            yield Problem("missing", f"{_have(lacking)} no {name!r}", len(lacking), lacking[:_EXAMPLES])
        if late:
            message = f"{_have(late)} {name!r} in some rows only"
            yield Problem("missing", message, len(late), late[:_EXAMPLES])


def _have(runs: list[str]) -> str:
    return "1 run has" if len(runs) == 1 else f"{len(runs)} runs have"


def _renames(frame: pd.DataFrame, roles: Roles) -> Iterator[Problem]:
    """Two columns alike in name and type of which no row has both: one was renamed."""
    import numpy as np

    filled: dict[int, list[str]] = {}  # by the rows that have a value, a bit each
    for name in [*roles.parameters, *roles.metrics, *roles.others]:
        rows = int.from_bytes(np.packbits(frame[name].notna().to_numpy()).tobytes(), "big")
        if rows:
            filled.setdefault(rows, []).append(name)
    pairs = math.comb(len(filled), 2)
    if pairs <= _MOST_PAIRS:
        ways = itertools.combinations(filled.items(), 2)
        apart = [(one, other) for (rows, one), (more, other) in ways if not rows & more]
        pairs = sum(len(one) * len(other) for one, other in apart)
    if pairs > _MOST_PAIRS:
        raise _Skipped(f"{pairs:,} pairs of columns are too many to compare their names")
    for one, other in apart:
        for first, second in itertools.product(one, other):
            if _is_alike(first, second) and _kind(frame[first]) == _kind(frame[second]):
                yield Problem("renames", f"{first!r} and {second!r} may be one column, renamed", 1, [first, second])


def _is_alike(first: str, second: str) -> bool:
    one, two = (re.sub(r"[^a-z0-9]", "", name.lower()) for name in (first, second))
    initials = {"".join(part[:1] for part in re.split(r"[_\W]+", name.lower())) for name in (first, second)}
    short, long = sorted((one, two), key=len)
    return (
        one == two
        or short in initials
        or (len(short) >= 3 and long.startswith(short))
        or (2 * len(short) >= 0.8 * (len(short) + len(long)) and difflib.SequenceMatcher(None, one, two).ratio() >= 0.8)
    )


def _kind(column: pd.Series[Any]) -> str:
    import pandas as pd

    return "number" if pd.api.types.is_numeric_dtype(column.dtype) else "text"


def _floats(frame: pd.DataFrame, roles: Roles) -> Iterator[Problem]:
    """Parameters such as 0.30000000000000004, of which no second one hits the cache."""
    for name in roles.parameters:
        values = {value for value in frame[name].dropna() if isinstance(value, float)}
        long = sorted(value for value in values if len(re.sub(r"\D|e.*", "", repr(value)).strip("0")) > _LONG)
        if long:
            message = f"{len(long)} values of the parameter {name!r} are not rounded"
            yield Problem("floats", message, len(long), list(long[:_EXAMPLES]))
