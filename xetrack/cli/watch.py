"""`xt watch`: tables that are kept up while others log, with a line that says how it goes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, names_of
from xetrack.cli.output import counted

if TYPE_CHECKING:
    from xetrack.read.watch import Batch, Watcher

#: The line is written anew this often at most; what it says of runs is asked for this often.
_STATUS_S, _RUNS_S = 0.2, 2.0
_SHOWN_METRICS = 4

Engines = Annotated[str, typer.Option("--engine", metavar="NAMES", help="sqlite, duckdb or both: sqlite,duckdb.")]


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    command(app)(watch)


def watch(
    places: Annotated[
        list[str], typer.Argument(metavar="DB|FOLDER...", help="Stores, or folders of stores.", show_default=False)
    ],
    engine: Engines = "sqlite",
    once: Annotated[bool, typer.Option("--once", help="Catch up with what there is, and end.")] = False,
    execute: Annotated[
        str | None,
        typer.Option("--exec", metavar="CMD", help="Run this after each batch, which it gets as JSON on stdin."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep tables up with their logs, for other SQL clients, until interrupted.

    On a terminal one line says how many rows there are, how many come, how far behind the tables are, which runs are
    active and what was logged last. With --json each batch is a line on stdout. May be killed and started again.
    """
    from xetrack.errors import InvalidArgument
    from xetrack.store import ENGINES, require_duckdb

    engines = names_of(engine)
    if not engines or not set(engines) <= set(ENGINES):
        raise InvalidArgument("--engine", f"{engine!r} is not one or more of {', '.join(ENGINES)}")
    if "duckdb" in engines:
        require_duckdb()
    stop = threading.Event()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda *_: stop.set())
    try:
        _watch(places, engines, stop, once, execute, as_json)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(
    places: list[str], engines: list[str], stop: threading.Event, once: bool, execute: str | None, as_json: bool
) -> None:
    """Keep up until ``stop`` is set."""
    from pathlib import Path

    from xetrack.read.watch import Watcher

    watchers = [Watcher(Path(place).absolute(), engines) for place in places]
    status = _Status(watchers, as_json)
    told = threading.Lock()

    def run(watcher: Watcher) -> None:
        try:
            for batch in watcher.batches(stop, once=once):
                with told:
                    status.show(batch)
                    if execute is not None:
                        done = subprocess.run(execute, shell=True, input=_as_line(batch), text=True, check=False)
                        if done.returncode:
                            typer.echo(f"xt: {execute!r} ended with {done.returncode}", err=True)
        finally:
            watcher.close()

    threads = [threading.Thread(target=run, args=(watcher,)) for watcher in watchers[1:]]
    for thread in threads:
        thread.start()
    run(watchers[0])
    for thread in threads:
        thread.join()
    status.end()


def _as_line(batch: Batch) -> str:
    import json

    return json.dumps(asdict(batch), ensure_ascii=False) + "\n"


class _Status:
    """The line on a terminal; lines of JSON; or, where stderr is no terminal, a line now and then."""

    def __init__(self, watchers: list[Watcher], as_json: bool) -> None:
        self._watchers, self._as_json = watchers, as_json
        self._totals: dict[str, int] = {}
        self._started_s = self._shown_s = time.monotonic()
        self._shown_s -= _RUNS_S
        self._recent: list[tuple[float, int]] = []
        self._runs_s = -_RUNS_S
        self._runs = ""

    def show(self, batch: Batch) -> None:
        if self._as_json:
            sys.stdout.write(_as_line(batch))
            sys.stdout.flush()
            return
        now_s = time.monotonic()
        if batch.db in self._totals:  # what was there before is no rate
            self._recent.append((now_s, batch.rows))
        self._totals[batch.db] = batch.total
        self._recent = [(at_s, rows) for at_s, rows in self._recent if now_s - at_s < 5]
        is_terminal = sys.stderr.isatty()
        if now_s - self._shown_s < (_STATUS_S if is_terminal else _RUNS_S):
            return
        self._shown_s = now_s
        if now_s - self._runs_s >= _RUNS_S:
            self._runs_s, self._runs = now_s, self._about(batch)
        rate = sum(rows for _, rows in self._recent) / max(min(now_s - self._started_s, 5.0), 0.1)
        line = f"{sum(self._totals.values()):,} rows  {rate:,.0f} rows/s  lag {batch.lag_s:.2f} s  {self._runs}"
        sys.stderr.write(f"\r\x1b[2K{line}" if is_terminal else f"{line}\n")
        sys.stderr.flush()

    def _about(self, batch: Batch) -> str:
        """Runs that are active, and the last row of the table that grew."""
        from pathlib import Path

        from xetrack.read.runs import runs_of

        store = next((w.stores[Path(batch.db)] for w in self._watchers if Path(batch.db) in w.stores), None)
        if store is None:
            return ""
        name = next(iter(batch.tables), "default")
        table = store.table(name)
        active = sum(run.state == "running" for run in runs_of(store, table))
        row = next(iter(table.records(limit=1, last=True)), {})
        metrics = [f"{key}={value:.4g}" for key, value in row.items() if type(value) in (int, float)]
        return f"{counted(active, 'run')} active  {' '.join(metrics[:_SHOWN_METRICS])}"

    def end(self) -> None:
        if not self._as_json:
            total = sum(self._totals.values())
            sys.stderr.write(("\n" if sys.stderr.isatty() else "") + f"stopped at {counted(total, 'row')}\n")
