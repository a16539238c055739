"""Benchmark three classifiers on real handwritten digits, and track every prediction.

scikit-learn brings 1,797 scanned digits. Each model predicts each of them in five-fold cross-validation:
every prediction becomes a row of table `predictions`, every model a row of table `metrics`.
"""

from __future__ import annotations

import time

from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xetrack import Tracker

DB = "track.db"

MODELS: dict[str, ClassifierMixin] = {
    "nearest-neighbors": KNeighborsClassifier(n_neighbors=3),
    "random-forest": RandomForestClassifier(n_estimators=100, random_state=0),
    "logistic-regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}


def main() -> None:
    digits = load_digits()
    for name, model in MODELS.items():
        started = time.perf_counter()
        probabilities = cross_val_predict(model, digits.data, digits.target, cv=5, method="predict_proba")
        seconds = time.perf_counter() - started
        predicted = probabilities.argmax(axis=1)
        correct = predicted == digits.target

        with Tracker(DB, table="predictions", params={"model": name}) as predictions:
            for image, digit in enumerate(digits.target):
                predictions.log(
                    {
                        "image": image,
                        "digit": digit,
                        "predicted": predicted[image],
                        "confidence": probabilities[image].max(),
                        "correct": correct[image],
                    }
                )
        with Tracker(DB, table="metrics", track_id=predictions.track_id) as metrics:
            row = metrics.log({"model": name, "images": len(correct), "accuracy": correct.mean(), "seconds": seconds})
        print(f"{row['track_id']:28} {name:20} {correct.sum():5} of {len(correct)} right, {seconds:.1f} s")


if __name__ == "__main__":
    main()
