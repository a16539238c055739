"""Databases as xetrack 0.7.0 makes them, and what that release itself says is in them.

Run by ``scripts/legacy_fixtures`` with that release. Each ``NAME.db`` has beside it
``NAME.json``: its tables as 0.7.0 reads them, cells as Python writes them (``repr``),
and the objects that its ``get`` gives for each hash and key.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from xetrack import Reader, Tracker  # type: ignore[attr-defined, unused-ignore]  # of release 0.7.0


@dataclass(frozen=True)
class Config:
    lr: float
    layers: int = 2


def train(config: Config, epochs: int) -> dict[str, Any]:
    return {"accuracy": 0.9, "epochs_done": epochs}


def fail() -> None:
    raise ValueError("no data")


def fill(db: Path, engine: Any) -> None:
    """Two tables, late parameters, odd values, a value set later, a deleted run, objects that rows share."""
    default = Tracker(str(db), engine=engine, track_id="old-otter-1", params={"model": "bert"}, warnings=False)
    shared = {"weights": [1, 2, 3], "name": "shared"}
    default.log({"epoch": 0, "loss": 0.5, "ok": True, "note": 'it\'s "quoted"\nand broken', "cfg": {"a": [1, 2]}})
    default.log({"epoch": 1, "loss": float("nan"), "ok": False, "note": "", "big": 2**40, "part": Fraction(1, 3)})
    default.log({"epoch": 2, "loss": float("inf"), "tags": ["x", "y"], "artifact": shared_object(shared)})
    default.set_params({"dataset": "mnist", "seed": 7})
    default.log({"epoch": 3, "loss": 0.125, "artifact": shared_object(shared), "same": shared_object(shared)})
    default.set_value("score", 0.75)

    doomed = Tracker(str(db), engine=engine, track_id="old-newt-2", warnings=False)
    doomed.log({"epoch": 9, "loss": 9.0})
    late = Tracker(str(db), engine=engine, track_id="old-zebra-3", warnings=False)
    late.log({"epoch": 0, "loss": 0.25, "text": "{'looks': 'like a dict'}", "label": "007"})
    late.set_where("label", "good", "epoch", 0)
    Reader(str(db), engine=engine).delete_run("old-newt-2")

    predictions = Tracker(str(db), engine=engine, table="predictions", track_id="old-otter-1", warnings=False)
    predictions.log_batch([{"item": i, "pred": i % 2 == 0, "probability": i / 4} for i in range(4)])
    calls = Tracker(str(db), engine=engine, table="calls", track_id="old-otter-4", warnings=False, raise_on_error=False)
    calls.track(train, args=[Config(lr=0.1), 3])
    calls.track(fail)


class Weights:
    """An object that 0.7.0 stores as an asset."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values


# Found again in any process: pickled by value, as what a notebook defines is.
Weights.__module__ = "__main__"


def shared_object(values: dict[str, Any]) -> Weights:
    return Weights(values)


def fill_compressed(db: Path) -> None:
    """Objects in a database with ``compress=True``."""
    tracker = Tracker(str(db), track_id="old-mole-5", compress=True, warnings=False)
    tracker.log({"part": Fraction(2, 7), "epoch": 1})


def described(db: Path, engine: Any) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    names = [row[0] for row in sqlite3.connect(db).execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in names:
        if name in ("assets", "keys", "counts", "unnamed"):
            continue
        frame = Reader(str(db), engine=engine, table=name).to_df()
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        tables[name] = [{str(key): repr(value) for key, value in row.items()} for row in rows]
    return {"engine": engine, "tables": tables}


def assets_of(db: Path) -> dict[str, Any]:
    from sqlitedict import SqliteDict, decode_key, encode_key

    encoded = {"encode_key": encode_key, "decode_key": decode_key}
    keys = SqliteDict(str(db), tablename="keys", **encoded)
    found = SqliteDict(str(db), tablename="assets", encode=bytes, decode=bytes, **encoded)
    return {"keys": dict(keys.items()), "hashes": sorted(found.keys())}


def main(folder: Path) -> None:
    for name, engine in (("sqlite", "sqlite"), ("duckdb", "duckdb"), ("compressed", "sqlite")):
        db = folder / f"{name}.db"
        if name == "compressed":
            fill_compressed(db)
        else:
            fill(db, engine)
        facts = {"release": "0.7.0", **described(db, engine), "assets": assets_of(db)}
        (folder / f"{name}.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
