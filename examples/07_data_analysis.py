"""From a sweep on real images to the best model: frames, one run, all runs."""

import os
import tempfile

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from xetrack import Reader, Tracker

os.chdir(tempfile.mkdtemp(prefix="xetrack-"))
X_train, X_test, y_train, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
sweep = [("logistic", LogisticRegression(C=c, max_iter=3000), c) for c in (0.001, 0.1)]
sweep += [("neighbours", KNeighborsClassifier(k), k) for k in (1, 5)]

for name, model, strength in sweep:
    with Tracker("track.db", params={"model": name, "strength": strength}) as tracker:
        model.fit(X_train, y_train)
        for split, X, y in (("train", X_train, y_train), ("test", X_test, y_test)):
            tracker.log({"split": split, "accuracy": float(model.score(X, y)), "images": len(y)})

reader = Reader("track.db")
df = reader.to_df()
test = df[df["split"] == "test"].sort_values("accuracy", ascending=False)
print(test[["model", "strength", "accuracy"]].round(3).to_string(index=False))

best = test.iloc[0]["track_id"]
reader.set_value("best", True, track_id=best)  # an event as well: it can be traced
print("rows of the best run:", len(reader.to_df(track_id=best)), reader.dtypes["accuracy"].__name__)
