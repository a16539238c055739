"""Arguments and options that commands share, as types and as bundles, and the store they name."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xetrack.cli import completion
from xetrack.cli.output import Format, print_list, print_rows, written
from xetrack.config import Settings
from xetrack.errors import InvalidArgument

if TYPE_CHECKING:
    from xetrack.read.reader import Reader
    from xetrack.store import Store, Table

Db = Annotated[
    str,
    typer.Argument(
        metavar="DB",
        help="Path of the store, such as track.db; else that of $XETRACK_DB.",
        show_default=False,
        autocompletion=completion.stores,
    ),
]
EngineName = Annotated[
    str | None, typer.Option("--engine", metavar="NAME", help="Engine of the tables: sqlite or duckdb.")
]
TableName = Annotated[
    str | None,
    typer.Option("--table", metavar="NAME", help="Table of the store.", autocompletion=completion.tables),
]
TrackId = Annotated[
    str | None, typer.Option("--track-id", metavar="RUN", help="Only this run.", autocompletion=completion.runs)
]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="WHEN", help="As it was: an ISO time, -2h, an event id or git:<rev>."),
]
FormatName = Annotated[Format, typer.Option("--format", help="How to print.", case_sensitive=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Short for --format csv.")]
AsMarkdown = Annotated[bool, typer.Option("--md", help="Short for --format markdown.")]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="A,B,C", help="Only these, in this order.", autocompletion=completion.columns_listed
    ),
]
Where = Annotated[
    str | None, typer.Option("--where", metavar="SQL", help="Only rows where this condition holds: loss < 0.5")
]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort", metavar="A,-B", help="In the order of these, -B downwards.", autocompletion=completion.columns_listed
    ),
]
Count = Annotated[int | None, typer.Option("--n", "-n", min=0, help="How many rows.")]
Out = Annotated[
    str | None, typer.Option("--out", "-o", metavar="FILE", help="Write there; its suffix may say the format.")
]

#: What suffixes of ``--out`` say.
_SUFFIXES = {
    ".json": Format.JSON,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".md": Format.MARKDOWN,
    ".parquet": Format.PARQUET,
}


def chosen(form: Format, as_json: bool) -> Format:
    return Format.JSON if as_json else form


def names_of(text: str | None) -> list[str]:
    """The names in ``A,B,C``."""
    return [name for part in (text or "").split(",") if (name := part.strip())]


@dataclass(frozen=True)
class Place:
    """One table of one store, as it is or was."""

    db: Db
    table: TableName = None
    engine: EngineName = None
    at: At = None

    @contextmanager
    def opened(self) -> Iterator[Table]:
        """The table, which is there. Raises as ``opened_table`` does."""
        with opened_table(self.db, self.engine, self.table, self.at) as table:
            yield table

    @contextmanager
    def store(self) -> Iterator[tuple[Store, Table]]:
        """The store, and a handle on the table, there or not."""
        with opened_store(self.db, self.engine, self.table, self.at) as opened:
            yield opened


@dataclass(frozen=True)
class Output:
    """Which rows are printed, how, and where to."""

    columns: Columns = None
    where: Where = None
    sort: Sort = None
    n: Count = None
    form: Annotated[
        Format | None, typer.Option("--format", help="How to print; else as a table.", case_sensitive=False)
    ] = None
    as_json: AsJson = False
    as_csv: AsCsv = False
    as_markdown: AsMarkdown = False
    out: Out = None

    @property
    def format(self) -> Format:
        """The one that is asked for.

        Raises:
            InvalidArgument: more than one is.
        """
        flags = {Format.JSON: self.as_json, Format.CSV: self.as_csv, Format.MARKDOWN: self.as_markdown}
        asked = {form for form, given in flags.items() if given} | ({self.form} if self.form else set())
        if len(asked) > 1:
            raise InvalidArgument("--format", f"{' and '.join(sorted(one.value for one in asked))} exclude each other")
        if asked:
            return asked.pop()
        return _SUFFIXES.get(Path(self.out or "").suffix.lower(), Format.TABLE)

    @property
    def for_eyes(self) -> bool:
        """Whether it is a table on a terminal, which need not be complete."""
        return self.format is Format.TABLE and self.out is None and sys.stdout.isatty()

    @property
    def chooses(self) -> bool:
        """Whether some of the rows or columns are asked for."""
        return self.where is not None or self.n is not None or bool(self.sort or self.columns)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Have what is printed go where it is to."""
        with written(self.out):
            yield

    @property
    def order(self) -> list[str]:
        """Columns to sort by."""
        return names_of(self.sort)

    def wanted(self) -> dict[str, Any]:
        """What ``read.selection`` is to choose: its arguments but for the run and the end to take."""
        return {
            "columns": names_of(self.columns) or None,
            "where": self.where,
            "sort": self.order,
            "limit": self.n,
        }

    def show(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print those of the rows that are asked for."""
        if self.where is not None or self.sort or self.columns:
            from xetrack.read.selection import choose

            columns, rows = choose(columns, rows, **self.wanted())
        elif self.n is not None:
            rows = (row for _, row in zip(range(self.n), rows, strict=False))
        self.write(columns, rows)

    def write(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print rows that were chosen already."""
        form = self.format
        with written(self.out):
            print_rows(columns, rows, form)

    def show_list(self, name: str, values: Iterable[Any]) -> None:
        """Print those values of one column that are asked for: a line each, a plain array in JSON."""
        if self.chooses:
            from xetrack.read.selection import choose

            values = [row[0] for row in choose([name], ([value] for value in values), **self.wanted())[1]]
        self.write_list(name, values)

    def write_list(self, name: str, values: Iterable[Any]) -> None:
        """Print values that were chosen already."""
        form = self.format
        with written(self.out):
            print_list(name, values, form)


@contextmanager
def opened_store(
    db: str, engine: str | None, table: str | None, at: str | None = None
) -> Iterator[tuple[Store, Table]]:
    """A store that exists, as it is or was, with a handle on one table that may not be there."""
    from xetrack.store import open_store

    settings = Settings.resolve(engine=engine, table=table)
    if at is None:
        store = open_store(db, settings=settings)
    else:
        from xetrack.exchange.past import open_past

        store = open_past(db, at, settings)
    try:
        yield store, store.table(settings.table, settings.engine)
    finally:
        store.close()


@contextmanager
def opened_table(db: str, engine: str | None, table: str | None, at: str | None = None) -> Iterator[Table]:
    """A table that exists.

    Raises:
        TableNotFound: the store has others; they are named.
    """
    with opened_store(db, engine, table, at) as (store, handle):
        require_table(store, handle.name)
        yield handle


def require_table(store: Store, name: str) -> None:
    """Raise ``TableNotFound`` if the store has tables, but not this one."""
    from xetrack.errors import TableNotFound

    names = store.tables()
    if names and name not in names:
        raise TableNotFound(name, store.db, names)


def opened_reader(db: str, engine: str | None, table: str | None) -> Reader:
    """A reader of a store that exists: the way to change what was logged."""
    from xetrack.read.reader import Reader

    settings = Settings.resolve(engine=engine, table=table)
    return Reader(db, engine=settings.engine, table=settings.table)
