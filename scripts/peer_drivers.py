"""How each tracker is asked to do the same work: one class for each, run in its own environment.

    python peer_drivers.py PEER TASK FOLDER COUNT

prints one JSON object. Nothing here imports another tracker than the one it was asked for.
Every peer logs rows of five numbers, three texts and a step; those that keep numbers only
get the texts once, as parameters, and each says how many values a call of it keeps.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

TEXTS = {"model": "resnet18", "dataset": "cifar10", "phase": "train"}


def numbers(step: int) -> dict[str, float]:
    return {
        "epoch": step // 1000,
        "loss": 1.0 / (step + 1),
        "accuracy": 0.5 + (step % 1000) / 2000,
        "learning_rate": 0.001,
        "batch_size": 64,
    }


def row(step: int) -> dict[str, Any]:
    return {"step": step, **numbers(step), **TEXTS}


class Peer:
    """What is asked of each; ``values`` are kept by a call of ``log``."""

    module = ""
    #: What it reads with, where importing ``module`` does not import that: not a part of the time to read.
    reads_with = ""
    distribution = ""
    values = 9
    can_batch = False
    can_read = True
    note = ""
    #: Rows that it can be given in a reasonable time.
    large = 1_000_000

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, run: str) -> None:
        raise NotImplementedError

    def log(self, step: int) -> None:
        raise NotImplementedError

    def log_many(self, count: int) -> None:
        for step in range(count):
            self.log(step)

    def close(self) -> None:
        pass

    def settle(self) -> None:
        """What has to be done once before a store can be read; not timed."""

    def read(self) -> int:
        """Read everything into a data frame; how many rows it has."""
        raise NotImplementedError


class BareFile(Peer):
    """The floor: JSON of the standard library's encoder, one write a row."""

    module, can_batch = "json", True

    def open(self, run: str) -> None:
        self.file = os.open(self.folder / f"{run}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def log(self, step: int) -> None:
        os.write(self.file, json.dumps(row(step)).encode() + b"\n")

    def log_many(self, count: int) -> None:
        os.write(self.file, b"".join(json.dumps(row(step)).encode() + b"\n" for step in range(count)))

    def close(self) -> None:
        os.close(self.file)

    def read(self) -> int:
        import pandas as pd

        frames = [pd.read_json(path, lines=True) for path in sorted(self.folder.glob("*.jsonl"))]
        return len(pd.concat(frames)) if frames else 0


class BareSqlite(Peer):
    """SQLite by hand, with a transaction for each row, in WAL mode."""

    module, can_batch = "sqlite3", True
    names = list(row(0))

    def open(self, run: str) -> None:
        import sqlite3

        self.conn = sqlite3.connect(self.folder / "track.db", timeout=60, isolation_level=None)
        self.conn.execute("PRAGMA journal_mode=WAL")
        self.conn.execute(f"CREATE TABLE IF NOT EXISTS rows ({', '.join(self.names)})")
        self.insert = f"INSERT INTO rows VALUES ({', '.join('?' * len(self.names))})"

    def log(self, step: int) -> None:
        self.conn.execute(self.insert, list(row(step).values()))

    def log_many(self, count: int) -> None:
        self.conn.execute("BEGIN")
        self.conn.executemany(self.insert, [list(row(step).values()) for step in range(count)])
        self.conn.execute("COMMIT")

    def close(self) -> None:
        self.conn.close()

    def read(self) -> int:
        import sqlite3

        import pandas as pd

        conn = sqlite3.connect(self.folder / "track.db")
        frame = pd.read_sql("SELECT * FROM rows", conn)
        conn.close()
        return len(frame)


class Xetrack(Peer):
    module, distribution, can_batch, reads_with = "xetrack", "xetrack", True, "xetrack.read.reader"
    engine: Any = "sqlite"

    def open(self, run: str) -> None:
        from xetrack import Tracker

        self.tracker = Tracker(str(self.folder / "track.db"), track_id=run, engine=self.engine, warnings=False)

    def log(self, step: int) -> None:
        self.tracker.log(row(step))

    def log_many(self, count: int) -> None:
        for start in range(0, count, 1000):
            self.tracker.log_batch([row(step) for step in range(start, min(start + 1000, count))])

    def close(self) -> None:
        if hasattr(self.tracker, "close"):
            self.tracker.close()

    def read(self) -> int:
        from xetrack import Reader

        return len(Reader(str(self.folder / "track.db"), engine=self.engine).to_df())


class XetrackDuckdb(Xetrack):
    engine = "duckdb"


class XetrackOld(Xetrack):
    """Release 0.7.0, which keeps one row for a timestamp."""

    large, reads_with = 100_000, ""


class Mlflow(Peer):
    module, distribution, values, can_batch, large = "mlflow", "mlflow", 5, True, 20_000

    def open(self, run: str) -> None:
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{self.folder}/mlflow.db")
        self.mlflow = mlflow
        mlflow.start_run(run_name=run)
        mlflow.log_params(TEXTS)

    def log(self, step: int) -> None:
        self.mlflow.log_metrics(numbers(step), step=step)

    def log_many(self, count: int) -> None:
        from mlflow.entities import Metric

        run = self.mlflow.active_run().info.run_id
        now = int(time.time() * 1000)
        for start in range(0, count, 200):  # at most 1,000 metrics a call
            metrics = [
                Metric(name, value, now, step)
                for step in range(start, min(start + 200, count))
                for name, value in numbers(step).items()
            ]
            self.mlflow.MlflowClient().log_batch(run, metrics=metrics)

    def close(self) -> None:
        self.mlflow.end_run()

    def read(self) -> int:
        import mlflow
        import pandas as pd

        mlflow.set_tracking_uri(f"sqlite:///{self.folder}/mlflow.db")
        client, total = mlflow.MlflowClient(), 0
        for run in mlflow.search_runs(search_all_experiments=True)["run_id"]:
            columns = {}
            for name in numbers(0):
                history = client.get_metric_history(run, name)
                columns[name] = pd.Series({metric.step: metric.value for metric in history})
            total += len(pd.DataFrame(columns))
        return total


class Trackio(Peer):
    module, distribution, values, reads_with = "trackio", "trackio", 9, "trackio.sqlite_storage"
    large = 100_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        os.environ["TRACKIO_DIR"] = str(folder)  # read when it is imported

    def open(self, run: str) -> None:
        import trackio

        self.trackio = trackio
        trackio.init(project="bench", name=run, embed=False, auto_log_gpu=False, auto_log_cpu=False)

    def log(self, step: int) -> None:
        self.trackio.log({**numbers(step), **TEXTS}, step=step)

    def close(self) -> None:
        self.trackio.finish()

    def read(self) -> int:
        import pandas as pd
        from trackio.sqlite_storage import SQLiteStorage

        runs = SQLiteStorage.get_runs("bench")
        frames = [pd.DataFrame(SQLiteStorage.get_logs("bench", run)) for run in runs]
        return sum(map(len, frames))


class Aim(Peer):
    module, distribution, values, large = "aim", "aim", 5, 100_000
    note = "its index is made by `aim storage reindex` before it is read, which is not timed"

    def open(self, run: str) -> None:
        from aim import Repo, Run

        if not (self.folder / ".aim").exists():
            Repo.from_path(str(self.folder), init=True)
        self.run = Run(
            repo=str(self.folder), system_tracking_interval=None, log_system_params=False, capture_terminal_logs=False
        )
        self.run["params"] = TEXTS

    def log(self, step: int) -> None:
        self.run.track(numbers(step), step=step)

    def close(self) -> None:
        self.run.close()

    def settle(self) -> None:
        import subprocess

        aim = Path(sys.executable).with_name("aim")
        subprocess.run([aim, "storage", "--repo", self.folder, "reindex", "-y"], check=True, capture_output=True)

    def read(self) -> int:
        import pandas as pd
        from aim import Repo

        repo, total = Repo.from_path(str(self.folder)), 0
        for run in repo.list_all_runs():
            frames = {metric.name: metric.dataframe() for metric in repo.get_run(run).metrics()}
            columns = {name: frame.set_index("step")["value"] for name, frame in frames.items()}
            total += len(pd.DataFrame(columns))
        return total


class Wandb(Peer):
    note = "what it writes offline its server reads, and nothing else"

    module, distribution, can_read, large = "wandb", "wandb", False, 100_000

    def open(self, run: str) -> None:
        os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_DIR=str(self.folder))
        import wandb

        settings = wandb.Settings(x_disable_stats=True, x_disable_meta=True, console="off")
        self.run = wandb.init(project="bench", name=run, dir=str(self.folder), settings=settings)

    def log(self, step: int) -> None:
        self.run.log(row(step))

    def close(self) -> None:
        self.run.finish()


class Dvclive(Peer):
    module, distribution, values, large = "dvclive", "dvclive", 5, 2_000

    def open(self, run: str) -> None:
        os.chdir(self.folder)
        os.environ.setdefault("DVC_NO_ANALYTICS", "1")
        from dvclive import Live

        # Without experiments of DVC, reports and images: the metrics alone.
        self.live = Live(str(self.folder / run), save_dvc_exp=False, report=None, dvcyaml=None, monitor_system=False)

    def log(self, step: int) -> None:
        self.live.step = step
        for name, value in numbers(step).items():
            self.live.log_metric(name, value)
        self.live.next_step()

    def close(self) -> None:
        self.live.end()

    def read(self) -> int:
        import csv

        total = 0
        for run in self.folder.iterdir():
            files = sorted((run / "plots" / "metrics").glob("*.tsv")) if run.is_dir() else []
            columns = [list(csv.DictReader(file.open(), delimiter="\t")) for file in files]
            total += max(map(len, columns), default=0)
        return total


class Tensorboardx(Peer):
    module, distribution, values, large = "tensorboardX", "tensorboardX", 5, 100_000
    reads_with = "tensorboard.backend.event_processing.event_accumulator"

    def open(self, run: str) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(self.folder / run))

    def log(self, step: int) -> None:
        for name, value in numbers(step).items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()

    def read(self) -> int:
        import pandas as pd
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        total = 0
        for run in self.folder.iterdir():
            events = EventAccumulator(str(run), size_guidance={"scalars": 0})
            events.Reload()
            columns = {
                tag: pd.Series({event.step: event.value for event in events.Scalars(tag)})
                for tag in events.Tags()["scalars"]
            }
            total += len(pd.DataFrame(columns))
        return total


PEERS: dict[str, type[Peer]] = {
    "xetrack": Xetrack,
    "xetrack-duckdb": XetrackDuckdb,
    "xetrack-0.7.0": XetrackOld,
    "mlflow": Mlflow,
    "trackio": Trackio,
    "aim": Aim,
    "wandb": Wandb,
    "dvclive": Dvclive,
    "tensorboardx": Tensorboardx,
    "sqlite3": BareSqlite,
    "file": BareFile,
}


# -- tasks -------------------------------------------------------------------


def about(peer: type[Peer]) -> dict[str, Any]:
    release = importlib.metadata.version(peer.distribution) if peer.distribution else ""
    return {
        "module": peer.module,
        "release": release,
        "values": peer.values,
        "can_batch": peer.can_batch,
        "can_read": peer.can_read,
        "notes": [peer.note] if peer.note else [],
        "large": peer.large,
    }


def calls(peer: Peer, count: int) -> dict[str, Any]:
    """Seconds of each call, and what is on disk when all is closed."""
    peer.open("run-1")
    for step in range(min(100, count)):
        peer.log(step)
    taken = []
    clock = time.perf_counter
    for step in range(100, 100 + count):
        started = clock()
        peer.log(step)
        taken.append(clock() - started)
    peer.close()
    taken.sort()
    return {
        "mean_us": 1e6 * sum(taken) / count,
        "p50_us": 1e6 * taken[count // 2],
        "p99_us": 1e6 * taken[count * 99 // 100],
        "max_us": 1e6 * taken[-1],
        "bytes_per_row": _size(peer.folder) / (count + 100),
    }


def fill(peer: Peer, count: int) -> dict[str, Any]:
    """Seconds for many rows, in the peer's quickest way, until all is closed."""
    peer.open("run-1")
    started = time.perf_counter()
    peer.log_many(count)
    peer.close()
    return {"seconds": time.perf_counter() - started, "rows_per_s": count / (time.perf_counter() - started)}


def read(peer: Peer, count: int) -> dict[str, Any]:
    """Seconds from the store to a data frame, in a process that has its libraries loaded."""
    importlib.import_module("pandas")
    importlib.import_module(peer.reads_with or peer.module)
    peer.settle()
    started = time.perf_counter()
    rows = peer.read()
    return {"seconds": time.perf_counter() - started, "rows": rows}


def work(peer: Peer, count: int) -> dict[str, Any]:
    """What one of several processes does."""
    peer.open(f"run-{os.getpid()}")
    for step in range(count):
        peer.log(step)
    peer.close()
    return {}


def endless(peer: Peer, count: int) -> dict[str, Any]:
    """Log, and tell each call that returned to the one who will kill this process."""
    peer.open("run-1")
    out = os.dup(1)
    step = 0
    while True:
        peer.log(step)
        step += 1
        if step >= count:
            os.write(out, b"%d\n" % step)
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    name, task, folder, count = sys.argv[1:]
    peer = PEERS[name]
    # What they print must not be taken for the answer.
    answer_to = os.dup(1)
    if task != "endless":
        os.dup2(2, 1)
    if task == "about":
        answer = about(peer)
    else:
        tasks = {"calls": calls, "fill": fill, "read": read, "work": work, "endless": endless}
        answer = tasks[task](peer(Path(folder)), int(count))
    os.write(answer_to, json.dumps(answer).encode() + b"\n")
    sys.stdout.flush()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
