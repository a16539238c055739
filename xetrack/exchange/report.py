"""What a merge or a rebase did, or would do: counts for each table, and the conflicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from xetrack.log.ranges import Frontier


@dataclass(frozen=True)
class Side:
    """One side of a conflict: the event, who wrote it, and the value it sets, if it sets one."""

    value: Any
    event_id: str
    author: str


@dataclass(frozen=True)
class Conflict:
    """Two events that disagree because neither author had seen the other's.

    ``kind`` is ``set/set``, ``delete/set``, ``delete/rows`` or ``delete/protected``.
    ``rows`` are the ids of the rows concerned, as ranges by writer; ``row`` is the
    one of them if there is but one. ``winner`` says which side the tables show.
    """

    kind: str
    table: str
    track_id: str
    column: str | None
    row: str | None
    rows: dict[str, str]
    ours: Side
    theirs: Side
    winner: str

    @property
    def row_count(self) -> int:
        """How many rows it is about."""
        return len(Frontier.from_wire(self.rows))

    def __str__(self) -> str:
        where = f"table {self.table!r}, run {self.track_id!r}"
        where += f", column {self.column!r}" if self.column is not None else ""
        stands = self.ours if self.winner == "ours" else self.theirs
        sides = [f"{name} {_said(self, side)}" for name, side in (("ours", self.ours), ("theirs", self.theirs))]
        return f"{self.kind} in {where}: {', '.join(sides)}; {self.winner} stands ({stands.event_id})"


@dataclass
class TableReport:
    """What came into one table."""

    #: Rows that the table shows now and did not show before.
    rows_added: int = 0
    #: Sets, deletes, undos and all else that is about earlier rows.
    mutations_added: int = 0
    columns_added: list[str] = field(default_factory=list)
    columns_widened: list[str] = field(default_factory=list)


@dataclass
class MergeReport:
    """What was taken over, and what there is to know about it."""

    dry_run: bool = False
    tables: dict[str, TableReport] = field(default_factory=dict)
    #: Runs that the store showed no rows of, and runs that it did and that something new is about.
    runs_new: list[str] = field(default_factory=list)
    runs_touched: list[str] = field(default_factory=list)
    assets_added: int = 0
    #: Digests that lines name and that no source has whole.
    assets_missing: list[str] = field(default_factory=list)
    #: Lines of the sources that are damaged or not finished: they were not taken over.
    damaged_lines: int = 0
    #: Segments with readings more than a day ahead of this machine's clock, with the largest in microseconds.
    future_clocks: dict[str, int] = field(default_factory=dict)
    #: Events that the store had and others redacted: no table shows them any more, but its files still hold them.
    redacted_here: int = 0
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def rows_added(self) -> int:
        """Rows added to all tables."""
        return sum(table.rows_added for table in self.tables.values())

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, the fields as they are here."""
        return asdict(self)

    def notes(self) -> list[str]:
        """What there is to say beside the counts of the tables and the conflicts, a line each."""
        lines = []
        if self.runs_new:
            lines.append(f"{count_of(len(self.runs_new), 'new run')}: {', '.join(self.runs_new)}")
        if self.runs_touched:
            lines.append(f"{count_of(len(self.runs_touched), 'run')} touched: {', '.join(self.runs_touched)}")
        lines += _taken_over(self)
        if self.redacted_here:
            lines.append(
                f"{count_of(self.redacted_here, 'event')} redacted; `xt redact DB --pending` takes them off the disk"
            )
        lines += [f"clock more than a day ahead: {path}" for path in self.future_clocks]
        if self.dry_run:
            lines.append("nothing was written: this was a dry run")
        return lines

    def __str__(self) -> str:
        tables = [_table_line(name, table) for name, table in self.tables.items()]
        conflicts = [f"conflict {conflict}" for conflict in self.conflicts]
        return "\n".join([*tables, *self.notes(), *conflicts] or ["nothing to take over"])


@dataclass
class SideCounts:
    """Numbers of rows, of the source and of what it is rebased onto."""

    source: int = 0
    onto: int = 0


@dataclass
class RebaseReport:
    """What a rebase did, or would do, to one table."""

    table: str
    keys: list[str]
    #: Rows of the target that are hidden now, and rows that it shows now and did not show before.
    rows_replaced: int = 0
    rows_added: int = 0
    #: Rows with an empty key or NaN in it: they replace nothing and are not replaced.
    null_keys: SideCounts = field(default_factory=SideCounts)
    #: Rows whose key another row before them has: of the source all come in, of the target all go.
    duplicate_keys: SideCounts = field(default_factory=SideCounts)
    #: Sets, deletes, undos and all else of the source that is about earlier rows.
    mutations_added: int = 0
    assets_added: int = 0
    assets_missing: list[str] = field(default_factory=list)
    damaged_lines: int = 0
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, the fields as they are here."""
        return asdict(self)

    def notes(self) -> list[str]:
        """What there is to say beside the counts of rows, a line each."""
        lines = []
        if self.mutations_added:
            lines.append(f"{count_of(self.mutations_added, 'mutation')} taken over")
        for name, counts in (("an empty key", self.null_keys), ("a key that another has", self.duplicate_keys)):
            if counts.source or counts.onto:
                lines.append(f"rows with {name}: {counts.source} of the source, {counts.onto} of the target")
        lines += _taken_over(self)
        if self.dry_run:
            lines.append("nothing was written: this was a dry run")
        return lines

    def __str__(self) -> str:
        first = f"{count_of(self.rows_replaced, 'row')} replaced, {count_of(self.rows_added, 'row')} added"
        return "\n".join([f"table {self.table!r}, by {', '.join(self.keys)}: {first}", *self.notes()])


def count_of(number: int, noun: str) -> str:
    """A number with its noun: ``3 rows``, ``1 row``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _taken_over(report: MergeReport | RebaseReport) -> list[str]:
    lines = []
    if report.assets_added:
        lines.append(f"{count_of(report.assets_added, 'asset')} taken over")
    if report.assets_missing:
        lines.append(f"{count_of(len(report.assets_missing), 'asset')} missing: {', '.join(report.assets_missing)}")
    if report.damaged_lines:
        lines.append(f"{count_of(report.damaged_lines, 'damaged or unfinished line')} left out")
    return lines


def _table_line(name: str, table: TableReport) -> str:
    parts = [f"{count_of(table.rows_added, 'row')} added", f"{count_of(table.mutations_added, 'mutation')} taken over"]
    if table.columns_added:
        parts.append(f"new columns: {', '.join(table.columns_added)}")
    if table.columns_widened:
        parts.append(f"wider columns: {', '.join(table.columns_widened)}")
    return f"table {name!r}: {'; '.join(parts)}"


def _said(conflict: Conflict, side: Side) -> str:
    if conflict.kind == "set/set" or side.value is not None:
        return f"{side.value!r} by {side.author}"
    return f"by {side.author}"
