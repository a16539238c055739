"""Results of expensive calls are kept on disk, and their rows say where they came from."""

import os
import tempfile
from dataclasses import dataclass

from xetrack import Reader, Tracker

os.chdir(tempfile.mkdtemp(prefix="xetrack-"))


@dataclass(frozen=True)  # frozen, so hashable: a cache key
class Config:
    model: str
    lr: float


def train(config: Config) -> dict[str, float]:
    print("  training", config.model)
    return {"accuracy": 0.9 if config.model == "bert" else 0.8}


first = Tracker("track.db", cache="cache", track_id="first-run-1")
first.track(train, args=[Config("bert", 0.1)])
first.track(train, args=[Config("gpt", 0.1)])

second = Tracker("track.db", cache="cache", track_id="second-run-2")
second.track(train, args=[Config("bert", 0.1)])  # not run again
second.track(train, args=[Config("bert", 0.1)], cache_force=True)  # run again, and kept instead

df = Reader("track.db").to_df()
print(df[["track_id", "config_model", "accuracy", "cache"]])
print("deleted:", Reader.delete_cache_by_track_id("cache", "first-run-1"))
