"""Watch a service: structured log lines without a database, analysed later."""

import os
import random
import tempfile

from xetrack import Reader, Tracker

os.chdir(tempfile.mkdtemp(prefix="xetrack-"))
numbers = random.Random(0)

service = Tracker(Tracker.SKIP_INSERT, logs_path="logs", params={"model": "ranker-3"})
for hour in range(24):
    drift = hour / 24 if hour > 12 else 0.0
    service.logger.monitor({"hour": hour, "score": numbers.gauss(0.8 - drift, 0.02)})
service.logger.warning("score fell below 0.5")  # words in the same file are no rows

df = Reader.read_logs("logs")
early, late = df[df["hour"] < 12]["score"].mean(), df[df["hour"] >= 20]["score"].mean()
print(f"{len(df)} lines; mean score {early:.2f} early, {late:.2f} late")
print("drift!" if early - late > 0.1 else "steady")
