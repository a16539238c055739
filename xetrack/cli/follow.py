"""`xt tail -f`: rows as they arrive, a line each, until it is interrupted."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xetrack.cli.output import Format, one_line, print_rows
from xetrack.errors import ColumnNotFound

if TYPE_CHECKING:
    from xetrack.cli.options import Output
    from xetrack.table import Table

#: Time from one look to the next.
_POLL_S = 0.1


def follow_to(
    table: Table, output: Output, track_id: str | None, *, last: int, events: bool, file: str | None, once: bool
) -> None:
    """Print the last rows, or those after the cursor in a file, and then what comes; keep the cursor there.

    Nothing is printed twice and nothing is left out between the two. A process that is killed between a row and
    the cursor behind it prints that row again.
    """
    import signal
    import threading

    from xetrack.read.follow import Follow

    path = None if file is None else Path(file)
    cursor = path.read_text(encoding="ascii").strip() if path is not None and path.exists() else None
    printer = _Printer(output)
    if cursor:
        following = Follow(table, cursor, track_id=track_id, events=events)
    else:
        following = Follow(table, "end", track_id=track_id, events=events, last=None if output.where else last)
        if not events:
            printer.show(following.last, last)
    ended = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        while True:
            printer.show(following.ready())
            if path is not None:
                _replace(path, following.cursor)
            if once or ended.wait(_POLL_S):
                break
    finally:
        signal.signal(signal.SIGTERM, before)


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(text + "\n", encoding="ascii")
    os.replace(draft, path)


class _Printer:
    def __init__(self, output: Output) -> None:
        self._output = output
        #: Columns of a table of text are those of its first rows.
        self._names: list[str] | None = list(output.wanted()["columns"] or []) or None
        self._is_begun = False

    def show(self, rows: list[dict[str, Any]], last: int | None = None) -> None:
        """Print those of the rows that are asked for, the ``last`` ones if told."""
        kept = matching(rows, self._output.where)
        kept = kept if last is None else kept[len(kept) - min(last, len(kept)) :]
        if not kept:
            return
        form = self._output.format
        if form in (Format.JSON, Format.JSONL):
            for row in kept:
                names = self._names or list(row)
                print_rows(names, [[row.get(name) for name in names]], Format.JSONL)
        elif form in (Format.CSV, Format.TSV, Format.MARKDOWN):
            self._print_cells(kept, form)
        else:
            for row in kept:
                names = self._names or list(row)
                sys.stdout.write("  ".join([f"{name}={one_line(row[name])}" for name in names if name in row]) + "\n")
        sys.stdout.flush()

    def _print_cells(self, rows: list[dict[str, Any]], form: Format) -> None:
        import contextlib
        import io

        if self._names is None:
            self._names = list(dict.fromkeys(name for row in rows for name in row))
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            print_rows(self._names, [[row.get(name) for name in self._names] for row in rows], form)
        heading = {Format.MARKDOWN: 2}.get(form, 1) if self._is_begun else 0
        sys.stdout.write("".join(out.getvalue().splitlines(keepends=True)[heading:]))
        self._is_begun = True


def matching(rows: Sequence[dict[str, Any]], where: str | None) -> list[dict[str, Any]]:
    """The rows for which an SQL condition holds; a column that none of them has is empty."""
    from xetrack.read.selection import choose

    if where is None or not rows:
        return list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    place = "_xetrack_row"
    while True:
        cells = [[*(row.get(name) for name in names), number] for number, row in enumerate(rows)]
        try:
            _, found = choose([*names, place], cells, where=where)
        except ColumnNotFound as error:
            if error.column in names:
                raise
            names.append(error.column)
            continue
        return [rows[line[-1]] for line in found]
