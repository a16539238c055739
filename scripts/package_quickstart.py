"""The first steps with an installed package; of a `core` install also that what is optional names its extra."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from xetrack import Reader, Tracker
from xetrack.errors import MissingExtra


def main(installed: str) -> None:
    """Log, read and, with ``core``, ask for everything that is not there."""
    with Tracker("track.db", params={"model": "resnet18"}, track_id="calm-otter-1") as tracker:
        for epoch in range(3):
            tracker.log({"epoch": epoch, "loss": 1 / (epoch + 1)})
        tracker.set_value("accuracy", 0.9)
    reader = Reader("track.db")
    assert reader.to_df()["accuracy"].tolist() == [0.9, 0.9, 0.9]
    calls: dict[str, list[Callable[[], object]]] = {
        "duckdb": [lambda: len(Reader("track.db", engine="duckdb"))],
        "cache": [lambda: Tracker("track.db", cache="cache").close()],
        "arrow": [reader.to_arrow, lambda: tracker.to_parquet("rows.parquet")],
        "polars": [reader.to_polars],
    }
    commands = {
        "duckdb": ["head track.db --engine duckdb"],
        "arrow": ["export track.db out.parquet", "head track.db --format parquet --out rows2.parquet"],
        "plot": ["plot line track.db loss"],
        "matplotlib": ["plot line track.db loss --save chart.svg"],
    }
    for extra, ways in calls.items():
        for way in ways:
            try:
                way()
                assert installed != "core", f"a core install has no {extra}"
            except MissingExtra as error:
                assert installed == "core" and f"xetrack[{extra}]" in str(error), error
    xt = Path(sys.executable).with_name("xt")
    for extra, lines in commands.items():
        for line in lines:
            run = subprocess.run([xt, *line.split()], capture_output=True, text=True)
            if installed == "core":
                assert run.returncode == 1 and f"xetrack[{extra}]" in run.stderr and run.stderr.count("\n") == 1, line
            else:
                assert run.returncode == 0, run.stderr


if __name__ == "__main__":
    main(*sys.argv[1:])
