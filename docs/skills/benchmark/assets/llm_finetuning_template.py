"""Log a fine-tuning with checkpoints, and go on from one: python llm_finetuning_template.py [train.db]

The training is simulated; put yours into `train_step`. A run that is restarted from a checkpoint hides
what it had logged past it, so that its curve goes on without a jump.
"""

from __future__ import annotations

import math
import random
import sys
from dataclasses import asdict, dataclass

from xetrack import Tracker

DB = sys.argv[1] if len(sys.argv) > 1 else "train.db"


@dataclass(frozen=True)
class Config:
    """What is tried."""

    base_model: str = "tiny-llm"
    lr: float = 2e-4
    lora_rank: int = 8
    batch_size: int = 16
    steps: int = 60
    eval_every: int = 20
    seed: int = 0


def train_step(config: Config, step: int, rng: random.Random) -> dict[str, float]:
    """One optimizer step; yours returns what your trainer says."""
    loss = 2.5 * math.exp(-config.lr * 100 * step) + 0.4 + rng.gauss(0, 0.02)
    norm = abs(rng.gauss(1, 0.1))
    return {"train_loss": round(loss, 6), "grad_norm": round(norm, 6), "tokens": config.batch_size * 512}


def evaluate(config: Config, step: int) -> dict[str, float]:
    """What is measured on held-out data."""
    loss = 2.5 * math.exp(-config.lr * 90 * step) + 0.45
    return {"eval_loss": round(loss, 6), "perplexity": round(math.exp(loss), 4)}


def train(config: Config, run: str, resume_from: int = 0) -> None:
    rng = random.Random(config.seed)
    rewind = {"step": resume_from} if resume_from else None
    with Tracker(DB, table="training", track_id=run, params=asdict(config), rewind=rewind) as tracker:
        for step in range(resume_from + 1, config.steps + 1):
            row = {"step": step, **train_step(config, step, rng)}
            if step % config.eval_every == 0:
                row |= evaluate(config, step)
                row["checkpoint"] = f"checkpoints/{run}/{step}"
            tracker.log(row)
    with Tracker(DB, table="metrics", track_id=run, params=asdict(config)) as metrics:
        metrics.log({"resumed_from": resume_from, **evaluate(config, config.steps)})


def main() -> None:
    for lr in (1e-4, 4e-4):
        train(Config(lr=lr), run=f"lr-{lr}")
    # As after a crash: from the checkpoint of step 40 on, at the same run.
    train(Config(lr=1e-4), run="lr-0.0001", resume_from=40)


if __name__ == "__main__":
    main()
