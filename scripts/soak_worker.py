"""What one process of the soak does to a store: jobs, drawn from a seed, each call acknowledged when it has returned.

A row is a function of its name (``row_of``), so whoever checks a store knows what must be in it. What was
acknowledged are facts: (kind of event, table, what tells it from others, a mark of this call).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from xetrack import Reader, Tracker, compact, copy, merge, rebase, redact
from xetrack.errors import (
    ColumnNotFound,
    InvalidArgument,
    MergeConflict,
    NothingToUndo,
    RunNotFound,
    RunProtected,
    StorageFailed,
    TableNotFound,
)
from xetrack.exchange.merge import Policy
from xetrack.exchange.worktrees import prepare
from xetrack.store import ENGINES, open_store

TABLES = ("default", "metrics")
RUNS = ("amber-1", "birch-2", "cedar-3", "delta-4", "ember-5")
#: Runs that somebody may redact: what is logged to them need not stay.
SECRET_RUNS = ("secret-1", "secret-2")
KEYS = ("x", "X", "a b", "a_b", "select")
VALUES = (
    *(0, 1, 7, True, False, 0.5, 2.0, None, "t", "007", "ü\n", [1, {"a": None}], (1, 2), 2**60, 2**70),
    *(float("nan"), float("-inf"), b"\x00\xff", dt.datetime(2026, 1, 2, 3, 4, 5, 6), {"$int": "7"}),
)
#: Refusals that are right in a history made at random.
REFUSALS = (RunNotFound, RunProtected, ColumnNotFound, NothingToUndo, InvalidArgument, TableNotFound, MergeConflict)
HOUR_US = 3_600_000_000
#: How far a process's clock is off: not, an hour back, a day and a half ahead, past 2038, back to 1990.
SKEWS_US = (0, 0, 0, 0, -HOUR_US, 36 * HOUR_US, 14 * 8766 * HOUR_US, -36 * 8766 * HOUR_US)
#: Past the largest reading that there is.
LAST_SKEW_US = 100 * 8766 * HOUR_US

Ack = Callable[..., None]
_real_ns = time.time_ns


@dataclass
class Job:
    """What a process is to do: everything that it draws at random comes from ``seed``."""

    number: int
    kind: str
    db: str
    seed: str
    count: int = 20
    skew_us: int = 0
    sources: list[str] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)


def row_of(name: str) -> dict[str, Any]:
    """The row of this name. Names that end in ``-big`` have a large one."""
    draw = random.Random(name)
    row: dict[str, Any] = {"n": name, "step": draw.randrange(40), "loss": round(draw.random(), 6)}
    row[draw.choice(KEYS)] = draw.choice(VALUES)
    if name.endswith("-big"):
        row["pad"] = "x" * 700
    return row


class Skew:
    """This process's own idea of the time, for all that asks the system's clock."""

    def __init__(self, skew_us: int) -> None:
        self.us = skew_us
        time.time_ns = self.now_ns
        time.time = lambda: self.now_ns() / 1e9

    def now_ns(self) -> int:
        return max(_real_ns() + self.us * 1000, 0)


def work(job: Job, ack: Ack) -> None:
    """Do the job of this process; ``ack`` says what is done."""
    worker = Worker(job, ack)
    ack("started")
    getattr(worker, job.kind)()
    ack("done")


class Worker:
    """The jobs, a method each."""

    def __init__(self, job: Job, ack: Ack) -> None:
        self.job, self.ack, self.draw = job, ack, random.Random(job.seed)
        self.skew = Skew(job.skew_us)
        self.marks = self.names = 0
        #: One that goes on logging while git changes the tree under it.
        self.living: Tracker | None = None

    # -- logging and changing

    def log(self) -> None:
        """Log rows and change what is there, in one or two tables, with trackers that come and go."""
        table = self.draw.choice((*TABLES, TABLES[0]))
        with contextlib.ExitStack() as stack:
            tracker = self._tracker(table, stack)
            self._log(tracker, table)
            reader = self._reader(table)
            for _ in range(self.job.count):
                choice = self.draw.random()
                if choice < 0.5:
                    self._log(tracker, table)
                elif choice < 0.58:
                    self._batch(tracker, table)
                elif choice < 0.9:
                    self._change(tracker, reader, table)
                elif choice < 0.94:
                    with self._refusals("read"):
                        len(reader.to_df())
                elif choice < 0.97:
                    tracker.close()
                    tracker = self._tracker(table, stack)
                else:
                    self.skew.us += self.draw.choice((-HOUR_US, HOUR_US, 1, -(2**33)))
            if self.draw.random() < 0.2:
                os._exit(0)  # an end that the log hears nothing of

    def _tracker(self, table: str, stack: contextlib.ExitStack) -> Tracker:
        made = Tracker(
            self.job.db,
            track_id=self.draw.choice((*RUNS, *RUNS, *SECRET_RUNS)),
            table=table,
            engine=self.draw.choice(ENGINES),
            events="msgpack" if self.draw.random() < 0.25 else "jsonl",
            durability="disk" if self.draw.random() < 0.1 else "process",
            warnings=False,
        )
        stack.callback(made.close)
        return made

    def _reader(self, table: str) -> Reader:
        return Reader(self.job.db, table=table, engine=self.draw.choice(ENGINES))

    def _name(self, suffix: str = "") -> str:
        self.names += 1
        return f"j{self.job.number}-{self.names}{suffix}"

    def _fact(self, kind: str, table: str, detail: str) -> None:
        self.marks += 1
        self.ack("fact", kind, table, detail, f"{self.job.number}.{self.marks}")

    def _log(self, tracker: Tracker, table: str) -> None:
        name = self._name()
        row = row_of(name)
        # What a checkout takes from under a tracker are lines, which it writes again; objects stay behind.
        if self.living is None and self.draw.random() < 0.08:
            row["obj"] = Fraction(self.draw.randrange(5), 7)
        tracker.log(row)
        self._logged(tracker, table, [name])

    def _batch(self, tracker: Tracker, table: str) -> None:
        big = self.draw.random() < 0.05
        names = [self._name("-big" if big else "") for _ in range(600 if big else self.draw.randrange(1, 9))]
        tracker.log_batch([row_of(name) for name in names])
        self._logged(tracker, table, names)

    def _logged(self, tracker: Tracker, table: str, names: list[str]) -> None:
        for name in names if tracker.track_id not in SECRET_RUNS else ():
            self._fact("row.logged", table, name)

    def _change(self, tracker: Tracker, reader: Reader, table: str) -> None:
        """One change of earlier rows, by a tracker or by a reader."""
        run: str = self.draw.choice((*RUNS, *SECRET_RUNS))
        key: str = self.draw.choice((*KEYS, "label", "label"))
        self.marks += 1
        unique = f"{self.job.number}.{self.marks}"
        value = self.draw.choice((unique, unique, float(unique), self.draw.choice(VALUES)))
        kind = self.draw.choices(
            ("set", "set_all", "set_where", "own", "delete", "undo", "undo_run", "rewind", "guard", "reset", "remove"),
            (8, 1, 4, 3, 4, 6, 2, 2, 2, 0.5, 1),
        )[0]
        with self._refusals(kind):
            match kind:
                case "set":
                    if reader.set_value(key, value, track_id=run) and run not in SECRET_RUNS and value == unique:
                        self._fact("value.set", table, unique)
                case "set_all":
                    reader.set_value(key, value)
                case "set_where":
                    reader.set_where(key, value, self.draw.choice(("step", *KEYS)), self.draw.randrange(10))
                case "own":
                    if tracker.set_value(key, value) and tracker.track_id not in SECRET_RUNS and value == unique:
                        self._fact("value.set", table, unique)
                case "delete":
                    reader.delete_run(run)
                    self._fact("run.deleted", table, run)
                case "undo":
                    ids = reader.history(run)["event_id"].unique().tolist()
                    if ids and reader.undo(chosen := self.draw.choice(ids[:12])):
                        self._fact("event.undone", table, chosen)
                case "undo_run":
                    reader.undo_run(run)
                case "rewind":
                    tracker.rewind({"step": self.draw.randrange(40)})
                case "guard":
                    (reader.protect if self.draw.random() < 0.3 else reader.unprotect)(run)
                case "remove":
                    if hashes := sorted(reader.assets):
                        reader.remove_asset(self.draw.choice(hashes), column=self.draw.choice((None, "obj")))
                case "reset":
                    Tracker(self.job.db, reset=True, table=table, warnings=False).close()
                    self._fact("table.reset", table, "")

    @contextlib.contextmanager
    def _refusals(self, what: str) -> Iterator[None]:
        try:
            yield
        except REFUSALS as error:
            self.ack("refused", what, type(error).__name__)
        except StorageFailed as error:
            if "the next call makes it anew" not in str(error):
                raise
            self.ack("made anew", what, str(error))

    # -- reading

    def read(self) -> None:
        """Look at the tables of both engines while others log: no row twice, at any moment."""
        for _ in range(max(self.job.count // 5, 2)):
            table = self.draw.choice(TABLES)
            with self._refusals("read"):
                frame = self._reader(table).to_df()
                names = frame["n"].dropna() if "n" in frame else frame.index
                if not names.is_unique:
                    raise AssertionError(f"twice in {table}: {names[names.duplicated()].tolist()[:5]}")
            self.ack("read")

    def replay(self) -> None:
        """Make the tables again, and verify, while others log."""
        with contextlib.closing(open_store(self.job.db)) as store:
            for engine in ENGINES:
                store.replay(engine)
            report = store.verify()
            if report.damaged or report.assets_damaged or report.tables:
                raise AssertionError(f"verify while others log: {report}")

    # -- exchanging

    def merge(self) -> None:
        policies: tuple[Policy, ...] = ("latest", "latest", "ours", "theirs", "error")
        policy = self.draw.choice(policies)
        sources = self.job.sources[:1] if policy in ("ours", "theirs") else self.job.sources
        try:
            report = merge(*sources, into=self.job.db, policy=policy)
        except MergeConflict:
            self.ack("refused", "merge", "MergeConflict")
            return
        self.ack("taken", sources, None, len(report.conflicts))

    def copy(self) -> None:
        tables = self.draw.choice((None, "all"))
        with self._refusals("copy"):
            copy(self.job.sources[0], self.job.db, tables=tables)
            self.ack("taken", self.job.sources[:1], None if tables else "default", 0)

    def rebase(self) -> None:
        table = self.draw.choice(TABLES)
        keys = self.draw.choice((["step"], ["track_id", "step"], ["n"]))
        with self._refusals("rebase"):
            rebase(self.job.sources[0], self.job.db, keys, table=table)
            self.ack("taken", self.job.sources[:1], table, 0)

    def compact(self) -> None:
        compact(self.job.db)

    def redact(self) -> None:
        with self._refusals("redact"):
            redact(self.job.db, self.draw.choice(SECRET_RUNS), reason="soak", table=self.draw.choice(TABLES))
        if self.draw.random() < 0.5:
            redact(self.job.db, pending=True)

    # -- git

    def setup(self) -> None:
        """Make a repository with a store, and a clone of it."""
        folder, clone = Path(self.job.db).parent, Path(self.job.sources[0]).parent
        folder.mkdir()
        self._git("init", "-q", "-b", "main")
        prepare(folder)
        with Tracker(self.job.db, track_id=RUNS[0], warnings=False) as tracker:
            self._log(tracker, "default")
        self._commit()
        self._git("clone", "-q", str(folder), str(clone))
        self.ack("cloned", self.job.sources[0])

    def git(self) -> None:
        """Branch, check out, commit, merge and pull under a tracker that goes on logging."""
        with Tracker(self.job.db, track_id=self.draw.choice(RUNS), warnings=False) as tracker:
            self.living = tracker
            for _ in range(self.draw.randrange(4, 12)):
                for _ in range(self.draw.randrange(4)):
                    self._log(tracker, "default")
                choice = self.draw.choice(("commit", "branch", *["switch"] * 4, "merge", "merge", "pull", "change"))
                other = self.draw.choice(self.job.branches)
                match choice:
                    case "commit":
                        self._commit()
                    case "branch":
                        name = f"b{self.job.number}-{len(self.job.branches)}"
                        self._commit()
                        self._git("checkout", "-qb", name)
                        self.job.branches.append(name)
                        self.ack("branch", name)
                    case "switch":
                        self._switch(tracker, other)
                    case "merge":
                        self._commit()
                        self._join(other)
                        self.ack("join", self.job.db, other)
                    case "pull":
                        self._commit()
                        self._git("fetch", "-q", str(Path(self.job.sources[0]).parent), "main")
                        self._join("FETCH_HEAD")
                        self.ack("join", self.job.sources[0], "main")
                    case "change":
                        self._change(tracker, self._reader("default"), "default")
        self.living = None
        self._commit()

    def _switch(self, tracker: Tracker, other: str) -> None:
        """Check out another branch, while another thread logs: what it logs is in the tree that is there then."""
        self._commit()
        names: list[str] = []
        stop = threading.Event()

        def log() -> None:
            while not stop.wait(0.0005) and len(names) < 300:
                name = self._name()
                tracker.log(row_of(name))
                names.append(name)

        thread = threading.Thread(target=log)
        thread.start()
        try:
            refused = self._git("checkout", "-q", other, check=False).returncode
        finally:
            stop.set()
            thread.join()
        if refused:  # a committed segment had grown since
            self._logged(tracker, "default", names)
            self._commit()
            self._git("checkout", "-q", other)
        self.ack("switch", other)
        if not refused:
            self._logged(tracker, "default", names)

    def _join(self, other: str) -> None:
        """``git merge``; where both sides rewrote a file, ``xt merge`` and say that it is done."""
        done = self._git("merge", "-q", "--no-edit", other, check=False)
        if done.returncode:
            self._git("merge", "--abort")
            here = os.getcwd()
            os.chdir(Path(self.job.db).parent)
            merge(f"git:{other}:track.db", into=self.job.db)
            os.chdir(here)
            self._git("add", "-A")
            self._git("commit", "-qm", "merged by xt")
            self._git("merge", "-q", "-s", "ours", "--no-edit", other)
            self.ack("git conflict", done.stdout[-200:])

    def _commit(self) -> None:
        if self.living is not None:
            self.living.flush()  # sees whether its segment is in the tree, as every read does
        self._git("add", "-A")
        self._git("commit", "-qm", "results", "--allow-empty")
        self.ack("commit")

    def _git(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["git", *args], cwd=Path(self.job.db).parent, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if check and done.returncode:
            raise AssertionError(f"git {' '.join(args)}: {done.stdout} {done.stderr}")
        return done
