"""Random histories of several stores by many processes at once, checked against a model, for N minutes.

Processes log, change, read, merge, copy, rebase, compact, redact, branch and check out, with clocks that
are off and jump, and are killed. Whenever all have ended, each store is held to what was acknowledged, to
`verify` and to a slow model of the tables, in both engines. What happens is drawn from the seed, a round of
it from the seed plus its number: a failure names the seed that begins with its round, and the folder that
keeps its stores. Exit status 1 if something was wrong, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from scripts import soak_checks
from scripts.soak_checks import Fact
from scripts.soak_processes import Child, end_all, wait_for
from scripts.soak_worker import LAST_SKEW_US, SKEWS_US, Job, work

ROOT = Path(__file__).resolve().parents[1]
LEGACY = ROOT / "tests" / "fixtures" / "legacy"
#: Processes at a time, beside this one.
PROCESSES = 3
PHASES = 8
KINDS = {"log": 9, "read": 2, "merge": 3, "copy": 1, "rebase": 1.5, "compact": 2, "redact": 1.2, "replay": 1, "git": 8}
NEVER_KILLED = ("git", "setup")
#: What is counted of a run, in the words of docs/reliability.md.
COUNTED = (
    "rounds",
    "processes",
    "killed",
    "acknowledged",
    "merges, copies, rebases",
    "git merges",
    "checkouts",
    "tables cut or deleted",
    "lines torn",
    "checks",
    "events checked",
    "rows checked",
    "conflicts compared",
)

Ids = dict[str, set[str]]


@dataclass
class Known:
    """What must be in a store, or in a commit: acknowledged facts, and ids that were seen in it."""

    facts: set[Fact] = field(default_factory=set)
    ids: Ids = field(default_factory=dict)

    def copy(self) -> Known:
        return Known(set(self.facts), {table: set(ids) for table, ids in self.ids.items()})

    def add(self, other: Known, table: str | None = None) -> None:
        self.facts |= {fact for fact in other.facts if table in (None, fact[1])}
        for name, ids in other.ids.items():
            if table in (None, name):
                self.ids.setdefault(name, set()).update(ids)


@dataclass
class Place:
    """A store, in a git work tree if it has commits."""

    db: str
    known: Known = field(default_factory=Known)
    #: What the last commit of each branch holds.
    commits: dict[str, Known] = field(default_factory=dict)
    branch: str = "main"


class Failed(Exception):
    """Something was wrong in a round."""


class Round:
    """One history: some stores, and phases of jobs that run at once."""

    def __init__(self, seed: int, folder: Path, deadline: float, counts: Counter[str]) -> None:
        self.seed, self.folder, self.deadline, self.counts = seed, folder, deadline, counts
        self.draw = random.Random(seed)
        self.plain = [Place(str(folder / f"{name}.db")) for name in "abc"]
        self.clones = [Place(str(folder / name / "track.db")) for name in ("g", "h")]
        self.killed: set[int] = set()
        self.legacy: dict[str, int] = {}
        self.sums: dict[tuple[str, str], int] = {}
        self.number = 0

    @property
    def places(self) -> list[Place]:
        return [*self.plain, *self.clones]

    def place(self, db: str) -> Place:
        return next(place for place in self.places if place.db == db)

    def play(self) -> None:
        self.begin()
        for _ in range(PHASES):
            self.phase(self.drawn())
            if time.monotonic() > self.deadline:
                break
        self.finish()

    # -- what happens

    def begin(self) -> None:
        """A repository and its clone; an old database, opened by several at once; stores with rows in common."""
        one, two, three = self.plain
        with_old = self.draw.random() < 0.5
        if with_old:
            name = self.draw.choice(("sqlite", "duckdb", "compressed"))
            tables = json.loads((LEGACY / f"{name}.json").read_text(encoding="utf-8"))["tables"]
            self.legacy = {table: len(rows) for table, rows in tables.items()}
            shutil.copy(LEGACY / f"{name}.db", three.db)
            shutil.copy(LEGACY / f"{name}.db", three.db + ".old")
        git = self.job("setup", self.clones[0], sources=[self.clones[1].db])
        self.run([git, self.job("log", one), *([self.job("log", three)] if with_old else [])])
        if with_old:
            three.known.facts |= {("imported", table, str(count), "") for table, count in self.legacy.items()}
        self.check([one, three] if with_old else [one])
        for other in (two, *([] if with_old else [three])):
            shutil.copytree(f"{one.db}.events", f"{other.db}.events")
            other.known = one.known.copy()

    def drawn(self) -> list[Job]:
        """Jobs that run at once; one that checks out has both clones to itself."""
        jobs: list[Job] = []
        free = list(self.places)
        for _ in range(PROCESSES):
            kind = self.draw.choices(list(KINDS), list(KINDS.values()))[0]
            if kind == "git":
                if jobs:
                    kind = "log"
                else:
                    place, other = self.draw.sample(self.clones, 2)
                    jobs.append(self.job("git", place, sources=[other.db]))
                    free = list(self.plain)
                    continue
            place = self.draw.choice(free)
            others = [other.db for other in free if other is not place]
            jobs.append(self.job(kind, place, sources=self.draw.sample(others, self.draw.randrange(1, 3))))
        return jobs

    def job(self, kind: str, place: Place, sources: Iterable[str] = ()) -> Job:
        self.number += 1
        skew_us = LAST_SKEW_US if self.draw.random() < 0.03 else self.draw.choice(SKEWS_US)
        count = self.draw.randrange(5, 40)
        seed = f"{self.seed}/{self.number}"
        branches = sorted(place.commits)
        return Job(self.number, kind, place.db, seed, count, skew_us, list(sources), branches)

    def phase(self, jobs: list[Job]) -> None:
        touched = [place for place in self.places if any(job.db == place.db for job in jobs)]
        harmed = [place for place in touched if self.draw.random() < 0.3]
        early = self.draw.random() < 0.5
        for place in harmed if early else ():
            self.harm(place)
        self.run(jobs)
        for place in () if early else harmed:
            self.harm(place)
        for place in touched:
            if place in self.plain and self.draw.random() < 0.3:
                self.tear(place)
        self.check(touched)

    def harm(self, place: Place) -> None:
        """Take away or cut the tables of a store: they are made again."""
        tables = [path for path in (Path(place.db), Path(place.db).with_suffix(".duckdb")) if path.exists()]
        if tables:
            path = self.draw.choice(tables)
            if self.draw.random() < 0.5:
                path.unlink()
            else:
                os.truncate(path, path.stat().st_size // 2)
            self.counts["tables cut or deleted"] += 1
            self.note("harm", path.name)

    def tear(self, place: Place) -> None:
        """Leave half a line where a killed process was writing, as a kill in the middle of a write does."""
        for path in sorted(Path(f"{place.db}.events").glob("*/*.jsonl")):
            first, *_, last = path.read_bytes().split(b"\n")
            if len(path.stem) == 16 and json.loads(first).get("pid") in self.killed and not last:
                with path.open("ab") as file:
                    file.write(first[: self.draw.randrange(1, len(first))])
                self.counts["lines torn"] += 1
                self.note("tear", str(path))
                break

    def run(self, jobs: list[Job]) -> None:
        """Run jobs at once, kill some, and take what was acknowledged as facts."""
        before = {place.db: place.known.copy() for place in self.places}
        children = []
        for job in jobs:
            kill_at = None
            if job.kind not in NEVER_KILLED and self.draw.random() < 0.3:
                kill_at = self.draw.randrange(1, job.count if job.kind == "log" else 3)
            children.append(Child(f"{job.kind} {job.number}", partial(work, job), self.folder / "stderr", kill_at))
        pause_s = self.draw.random() * 0.2
        self.note("jobs", [asdict(job) | {"kill_at": child.kill_at} for job, child in zip(jobs, children, strict=True)])
        wait_for(children, pause_s)
        for job, child in zip(jobs, children, strict=True):
            self.counts["processes"] += 1
            self.counts[f"{job.kind} jobs"] += 1
            self.counts["killed"] += child.killed
            self.note("heard", child.name, child.killed, [m for m in child.heard if m[0] != "fact"])
            if child.killed:
                self.killed.add(child.pid)
            for message in child.heard:
                self.take(job, message, before)

    def take(self, job: Job, message: list[Any], before: dict[str, Known]) -> None:
        """What an acknowledgement means for what must be there."""
        place, known = self.place(job.db), self.place(job.db).known
        match message:
            case ["error", text]:
                raise Failed(f"{job.kind} {job.number} on {job.db}: {text}")
            case ["fact", *fact]:
                kind, table, detail, mark = fact
                known.facts.add((kind, table, detail, mark))
                self.counts["acknowledged"] += 1
            case ["taken", sources, table, conflicts]:
                for source in sources:
                    known.add(before[source], table)
                self.counts["merges, copies, rebases"] += 1
                self.counts["conflicts reported"] += conflicts
            case ["commit"]:
                place.commits[place.branch] = known.copy()
            case ["branch", name]:
                place.branch = name
                place.commits[name] = known.copy()
            case ["switch", name]:
                place.branch, place.known = name, place.commits[name].copy()
                self.counts["checkouts"] += 1
            case ["join", db, branch]:
                known.add(self.place(db).commits[branch])
                place.commits[place.branch] = known.copy()
                self.counts["git merges"] += 1
            case ["cloned", db]:
                self.place(db).known = known.copy()
                self.place(db).commits = {"main": known.copy()}
            case ["refused" | "git conflict" | "made anew", *_]:
                self.counts[message[0]] += 1

    # -- what must be

    def check(self, places: list[Place]) -> None:
        """Hold stores that nobody writes to now to all that is known of them."""
        for group in (places[:PROCESSES], places[PROCESSES:]):
            children = [Child(f"check {place.db}", self.checking(place), self.folder / "stderr") for place in group]
            wait_for(children)
            for place, child in zip(group, children, strict=True):
                self.learn(place, child)

    def checking(self, place: Place) -> Callable[[Callable[..., None]], None]:
        facts, killed, legacy = place.known.facts, self.killed, self.legacy

        def run(ack: Callable[..., None]) -> None:
            found = soak_checks.check(place.db, facts, killed, legacy)
            ack("found", found.wrong, found.said, found.row_count, found.torn)

        return run

    def learn(self, place: Place, child: Child) -> None:
        wrong = [text for (text,) in child.said("error")]
        for harm, said, row_count, torn in child.said("found"):
            wrong += harm
            for table, ids in place.known.ids.items():
                gone = ids - said.get(table, {}).keys()
                if gone:
                    wrong.append(f"{len(gone)} events of {table} are gone: {sorted(gone)[:5]}")
            for table, sums in said.items():
                place.known.ids.setdefault(table, set()).update(sums)
                for event_id, sum_ in sums.items():
                    if sum_ and self.sums.setdefault((table, event_id), sum_) != sum_:
                        wrong.append(f"{event_id} of {table} says something else than in another store")
                self.counts["events checked"] += len(sums)
            self.counts["rows checked"] += row_count
            self.counts["torn lines seen"] += torn
            self.counts["checks"] += 1
        if wrong:
            raise Failed(f"{place.db}: " + "\n".join(wrong))

    def finish(self) -> None:
        """Conflicts look the same from both sides; when all have merged all, all show the same."""
        dbs = [place.db for place in self.places]
        branches = [(place.db, branch) for place in self.clones for branch in place.commits]
        child = Child("finish", partial(soak_checks.finish, dbs, branches), self.folder / "stderr")
        wait_for([child])
        everything = Known()
        for place in self.places:
            for known in (place.known, *place.commits.values()):
                everything.add(known)
        for place in self.places:
            place.known = everything.copy()
        wrong = [text for (text,) in child.said("error")]
        for harm, conflicts in child.said("finished"):
            wrong += harm
            self.counts["conflicts compared"] += conflicts
        if wrong:
            raise Failed("at the end: " + "\n".join(wrong))
        self.check(self.places[:1] + self.places[-1:])

    def note(self, *what: Any) -> None:
        """A line of the history that a failure keeps."""
        with (self.folder / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(what) + "\n")


def soak(seed: int, seconds: float) -> dict[str, Any]:
    """Play rounds until the time is up, something is wrong, or Ctrl-C; what was done, and what was found."""
    _clean_environment()
    counts: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    started = time.monotonic()
    deadline = started + seconds
    interrupted = False
    while not failures and not interrupted:
        folder = Path(tempfile.mkdtemp(prefix="xetrack-soak-"))
        now = Round(seed + counts["rounds"], folder, deadline, counts)
        counts["rounds"] += 1
        try:
            now.play()
        except Failed as failure:
            (folder / "failure").write_text(str(failure), encoding="utf-8")
            failures.append({"seed": now.seed, "folder": str(folder), "what": str(failure)})
        except BaseException as error:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # once more would leave something behind
            end_all()
            shutil.rmtree(folder, ignore_errors=True)
            if not isinstance(error, KeyboardInterrupt):
                raise
            interrupted = True
        else:
            shutil.rmtree(folder)
        if time.monotonic() > deadline:
            break
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT
        ).stdout.strip(),
        "python": platform.python_version(),
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "counts": {name: counts[name] for name in (*COUNTED, *sorted(counts.keys() - set(COUNTED)))},
        "failures": failures,
        "interrupted": interrupted,
    }


def _clean_environment() -> None:
    """No setting of the machine reaches the stores, or git."""
    for name in list(os.environ):
        if name.startswith(("XETRACK_", "GIT_")):
            del os.environ[name]
    settings = {"user.name": "Ada", "user.email": "ada@example.org", "commit.gpgSign": "false", "gc.auto": "0"}
    os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": str(len(settings))}
    # What a killed process would have said later is said by nobody: a beat in the middle of a checkout stops git.
    os.environ |= {"XETRACK_HEARTBEAT_S": "0", "OPENBLAS_NUM_THREADS": "1"}
    for number, (name, value) in enumerate(settings.items()):
        os.environ |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 <= minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of minutes")
    return minutes


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=_minutes, required=True, help="how long; a round that has begun is ended")
    parser.add_argument("--seed", type=int, help="of the first round, by default a new one")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if not hasattr(os, "fork"):
        parser.error("it needs a system that has fork and SIGKILL")
    seed = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    print(f"seed {seed}", file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    result = soak(seed, options.minutes * 60)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(", ".join(f"{name} {result[name]}" for name in ("date", "commit", "python", "seed", "seconds")))
        print(*(f"{count:>9,} {name}" for name, count in result["counts"].items()), sep="\n")
        for failure in result["failures"]:
            print(f"FAILED: scripts/soak --minutes 1 --seed {failure['seed']}, stores in {failure['folder']}")
            print(failure["what"])
        print(_verdict(result))
    sys.exit(1 if result["failures"] else 130 if result["interrupted"] else 0)


def _verdict(result: dict[str, Any]) -> str:
    if result["failures"]:
        return f"{len(result['failures'])} rounds failed"
    if result["interrupted"]:
        return f"interrupted in round {result['counts']['rounds']}, nothing was wrong until then"
    return "nothing was wrong"


if __name__ == "__main__":
    main()
