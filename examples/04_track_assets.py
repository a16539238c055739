"""Objects are stored once, under the hash of their bytes, and come back."""

import os
import tempfile

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from xetrack import Reader, Tracker

os.chdir(tempfile.mkdtemp(prefix="xetrack-"))
X, y = load_iris(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

with Tracker("track.db", params={"dataset": "iris"}) as tracker:
    model = LogisticRegression(max_iter=1000).fit(X_train, y_train)
    row = tracker.log({"accuracy": float(model.score(X_test, y_test)), "model": model})
    tracker.log({"accuracy": float(model.score(X_train, y_train)), "model": model})  # the same bytes: stored once
    print("the cell holds a hash of", len(row["model"]), "digits")

reader = Reader("track.db")
stored = reader.assets.get(row["model"])  # runs code of the file: open only stores that you trust
print("it predicts as before:", bool((stored.predict(X_test) == model.predict(X_test)).all()))
print("objects:", len(reader.assets), "keys:", sorted({key for key in reader.to_df()["model"]}) == [row["model"]])
