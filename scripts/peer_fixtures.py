"""What TensorBoard's writers, MLflow and wandb leave on disk for two small runs each.

Run by ``scripts/peer_fixtures`` in an environment that has them.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import tempfile
from pathlib import Path

STEPS = 4


def loss(step: int) -> float:
    return 1 / (step + 1)


def tensorboard(folder: Path) -> None:
    import numpy
    from tensorboardX import SummaryWriter

    for name, lr in (("first", 0.1), ("second", 0.01)):
        with SummaryWriter(str(folder / name)) as writer:
            for step in range(STEPS):
                writer.add_scalar("loss/train", loss(step), step)
                writer.add_scalar("acc", step / STEPS, step)
            writer.add_scalar("odd", float("nan"), 1)
            writer.add_text("note", f"a run with {lr}", 0)
            writer.add_histogram("weights", numpy.arange(10.0), 0)
            writer.add_hparams({"lr": lr, "optimizer": "adam", "amsgrad": True}, {"final": 0.5}, name="hparams")


def mlflow(folder: Path) -> None:
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import mlflow

    for uri in (f"sqlite:///{folder}/mlflow.db", f"file://{folder}/mlruns"):
        mlflow.set_tracking_uri(uri)
        # Experiments name the folder of their artifacts: none of this machine's.
        experiment = mlflow.create_experiment("digits", artifact_location="mlflow-artifacts:/digits")
        for name, lr in (("first", 0.1), ("second", 0.01)):
            with mlflow.start_run(experiment_id=experiment, run_name=name):
                mlflow.log_params({"lr": lr, "optimizer": "adam", "layers": 2})
                for step in range(STEPS):
                    mlflow.log_metrics({"loss": loss(step), "acc": step / STEPS}, step=step)
                mlflow.log_metric("odd", float("nan"), step=1)
                mlflow.set_tag("team", "vision")
        with mlflow.start_run(experiment_id=experiment, run_name="no metrics"):
            mlflow.log_param("lr", 1)
        doomed = mlflow.start_run(experiment_id=experiment, run_name="doomed")
        mlflow.log_metric("loss", 9.0)
        mlflow.end_run()
        mlflow.delete_run(doomed.info.run_id)
    import sqlite3

    conn = sqlite3.connect(folder / "mlflow.db")
    conn.execute("VACUUM")
    conn.close()
    packed = gzip.compress((folder / "mlflow.db").read_bytes(), mtime=0)
    (folder / "mlflow.db.gz").write_bytes(packed)
    (folder / "mlflow.db").unlink()


def wandb(folder: Path) -> None:
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true")
    import wandb

    with tempfile.TemporaryDirectory() as work:
        for name, lr in (("first", 0.1), ("second", 0.01)):
            run = wandb.init(
                project="digits",
                name=name,
                dir=work,
                config={"lr": lr, "net": {"layers": 2, "kind": "mlp"}},
                # Nothing of the machine that made them.
                settings=wandb.Settings(
                    disable_git=True,
                    host="lab-3",
                    root_dir=work,
                    save_code=False,
                    program="train.py",
                    x_disable_meta=True,
                    x_disable_machine_info=True,
                    x_executable="python",
                ),
            )
            for step in range(STEPS):
                run.log({"loss": loss(step), "acc": step / STEPS, "epoch": step})
            run.log({"odd": float("nan"), "note": "é", "weights": wandb.Histogram([1, 2, 3])})
            run.finish()
        for found in Path(work).rglob("*.wandb"):
            place = folder / "wandb" / found.parent.name
            place.mkdir(parents=True)
            shutil.copy(found, place / found.name)


def main(folder: Path) -> None:
    tensorboard(folder / "tensorboard")
    mlflow(folder)
    wandb(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
