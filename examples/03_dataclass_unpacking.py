"""Configurations as arguments become columns, one for each field."""

import os
import tempfile
from dataclasses import dataclass, field

from xetrack import Tracker

os.chdir(tempfile.mkdtemp(prefix="xetrack-"))


@dataclass(frozen=True)
class Optimizer:
    name: str = "adam"
    lr: float = 0.001


@dataclass(frozen=True)
class Config:
    batch_size: int
    optimizer: Optimizer = field(default_factory=Optimizer)


tracker = Tracker("track.db")


@tracker.wrap
def train(config: Config, seed: int = 0) -> dict[str, float]:
    return {"accuracy": 0.9 + seed / 100}


train(Config(batch_size=32))
train(Config(batch_size=64, optimizer=Optimizer("sgd", 0.1)), seed=1)

columns = ["config_batch_size", "config_optimizer_name", "config_optimizer_lr", "accuracy"]
print(tracker.to_df()[columns])
