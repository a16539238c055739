"""A bar for work that takes long: how far it is, how fast, how long it will take yet.

On a terminal only, on stderr, and gone when the work is done; nothing where it is
quick, piped or asked to be quiet.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xetrack.config import forces_color

if TYPE_CHECKING:
    from rich.progress import Progress

    from xetrack.log.progress import Unit

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No bar, also on a terminal.")]

#: What is done sooner needs no bar.
_SOON_S = 0.3


@contextmanager
def progress(title: str, *stores: str, passes: int = 1, quiet: bool = False) -> Iterator[None]:
    """Show how the work inside gets on. ``stores`` are the logs that it reads, ``passes`` how often."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from xetrack.log.progress import listening

    bar = _Bar(title, sum(map(_log_bytes, stores)) * passes)
    try:
        with listening(bar.advance):
            yield
    finally:
        bar.close()


def _log_bytes(store: str) -> int:
    folder = Path(store if store.endswith(".events") else f"{store}.events")
    return sum(path.stat().st_size for path in folder.glob("*/*") if path.suffix in (".jsonl", ".msgpack", ".zst"))


class _Bar:
    """The bar, drawn once the work is known to take long."""

    def __init__(self, title: str, total_bytes: int) -> None:
        self._title, self._total_bytes = title, total_bytes
        self._done: dict[str, int] = {"bytes": 0, "rows": 0}
        self._started_s = time.monotonic()
        self._shown: Progress | None = None
        self._tasks: dict[str, Any] = {}

    def advance(self, count: int, unit: Unit) -> None:
        self._done[unit] += count
        if self._shown is None:
            if time.monotonic() - self._started_s < _SOON_S:
                return
            self._shown = self._show()
        if unit not in self._tasks:
            total = self._total_bytes or None if unit == "bytes" else None
            self._tasks[unit] = self._shown.add_task(self._title, total=total, unit=unit)
        if unit == "bytes" and self._total_bytes and self._done[unit] > self._total_bytes:
            # More is read than the logs hold: they are read once more.
            self._total_bytes += max(self._total_bytes, self._done[unit] - self._total_bytes)
            self._shown.update(self._tasks[unit], total=self._total_bytes)
        self._shown.update(self._tasks[unit], completed=self._done[unit])

    def _show(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
        from rich.text import Text

        class Rate(ProgressColumn):
            """What is done, and how much of it in a second."""

            def render(self, task: Any) -> Text:
                speed = task.speed or 0
                if task.fields["unit"] == "rows":
                    return Text(f"{int(task.completed):,} rows  {speed:,.0f} rows/s")
                return Text(f"{task.completed / 1e6:,.0f} MB  {speed / 1e6:,.1f} MB/s")

        screen = Console(stderr=True, color_system=None if forces_color() is False else "auto")
        shown = Progress(
            TextColumn("{task.description}"), BarColumn(), Rate(), TimeRemainingColumn(), console=screen, transient=True
        )
        shown.start()
        return shown

    def close(self) -> None:
        if self._shown is not None:
            self._shown.stop()
