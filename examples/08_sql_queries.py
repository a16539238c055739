"""SQL over everything that was logged, in SQLite; the same queries run in DuckDB."""

import os
import tempfile

from xetrack import Reader, Tracker
from xetrack.errors import ReadOnlyTables

os.chdir(tempfile.mkdtemp(prefix="xetrack-"))

for model, accuracies in {"bert": [0.7, 0.9], "resnet": [0.8, 0.85]}.items():
    with Tracker("track.db", params={"model": model}) as tracker:
        for epoch, accuracy in enumerate(accuracies):
            tracker.log({"epoch": epoch, "accuracy": accuracy, "config": {"layers": 12}})
with Tracker("track.db", table="predictions") as predictions:
    predictions.log({"image": 7, "label": "three"})

conn = Reader("track.db").conn
best = conn.execute("SELECT model, max(accuracy) FROM db.events GROUP BY model ORDER BY 2 DESC").fetchall()
print("best:", best)
print("above 0.8:", conn.execute("SELECT count(*) FROM events WHERE accuracy > 0.8").fetchone())
print("inside a dict:", conn.execute("SELECT DISTINCT config ->> 'layers' FROM \"default\"").fetchall())
print("another table:", conn.execute("SELECT label FROM db.predictions").fetchall())

try:
    conn.execute("DELETE FROM events")
except ReadOnlyTables as refused:  # tables are a view: changes are events, made by calls
    print("refused:", type(refused).__name__)
