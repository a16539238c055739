"""Compare scikit-learn models on one data set: python sklearn_benchmark_template.py [bench.db]

Change CONFIGS, `load` and `build`. Running it again computes only what is new.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from xetrack import Tracker

DB = sys.argv[1] if len(sys.argv) > 1 else "bench.db"
ITEMS = 60


@dataclass(frozen=True)
class Config:
    """One configuration: every field is a column, and part of the cache key."""

    model: str
    strength: float
    seed: int = 0


CONFIGS = [
    Config(model, strength, seed)
    for (model, strength), seed in itertools.product(
        [("logistic", 0.01), ("logistic", 1.0), ("forest", 20), ("neighbours", 3)], [0, 1]
    )
]


@lru_cache
def load(seed: int) -> Any:
    images, labels = load_digits(return_X_y=True)
    return train_test_split(images[:500], labels[:500], test_size=ITEMS, random_state=seed)


@lru_cache
def build(config: Config) -> Any:
    train_x, _, train_y, _ = load(config.seed)
    models = {
        "logistic": lambda: LogisticRegression(C=config.strength, max_iter=200),
        "forest": lambda: RandomForestClassifier(int(config.strength), random_state=config.seed),
        "neighbours": lambda: KNeighborsClassifier(int(config.strength)),
    }
    return models[config.model]().fit(train_x, train_y)


def predict(config: Config, item_id: int) -> dict[str, Any]:
    """One execution: all that is found out about one item by one configuration."""
    _, test_x, _, test_y = load(config.seed)
    chances = build(config).predict_proba(test_x[item_id : item_id + 1])[0]
    label = int(chances.argmax())
    return {
        "item_id": f"{config.seed}-{item_id}",
        "split": "test",
        "prediction": label,
        "label": int(test_y[item_id]),
        "correct": label == int(test_y[item_id]),
        "confidence": round(float(chances.max()), 6),
    }


def main() -> None:
    for config in CONFIGS:
        run = f"{config.model}-{config.strength}-{config.seed}"
        with Tracker(DB, table="predictions", track_id=run, cache="cache", raise_on_error=False) as predictions:
            rows = [predictions.track(predict, args=[config, item_id]) for item_id in range(ITEMS)]
        done = [row for row in rows if row is not None]
        params = {"model": config.model, "strength": config.strength, "seed": config.seed}
        with Tracker(DB, table="metrics", track_id=run, params=params) as metrics:
            metrics.log({"accuracy": sum(row["correct"] for row in done) / ITEMS, "items": len(done)})


if __name__ == "__main__":
    main()
