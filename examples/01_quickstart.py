"""Log rows, add what is known later, read them back."""

import os
import tempfile

from xetrack import Reader, Tracker

os.chdir(tempfile.mkdtemp(prefix="xetrack-"))

with Tracker("track.db", params={"model": "resnet18"}, track_id="calm-otter-1") as tracker:
    for epoch in range(3):
        tracker.log({"epoch": epoch, "loss": 1 / (epoch + 1)})
    tracker.set_value("accuracy", 0.9)  # for every row of the run

with Tracker("track.db", params={"model": "bert"}, track_id="bold-lynx-2") as tracker:
    tracker.log_batch([{"epoch": 0, "loss": 0.4}, {"epoch": 1, "loss": 0.3}])  # many rows, one write

reader = Reader("track.db")
print(reader.to_df()[["track_id", "model", "epoch", "loss", "accuracy"]])
print("the newest run:", reader.latest()["track_id"].unique().tolist())

os.unlink("track.db")  # the tables are a view of the log in track.db.events: nothing is lost
print("rows without the table file:", len(Reader("track.db")))
