"""Every operation, with a call of the system that fails, that takes long, or that it does not live to see.

Here some positions of each are tried; ``XETRACK_FAULTS=all scripts/test tests/test_faults.py`` tries every one.
After each: what was acknowledged is there once, the log is whole or what is torn is told, the next try completes.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import ROOT
from tests.faults import delay_at_every_call, fail_at_every_call, kill_at_every_call
from xetrack import Reader, Tracker, compact, copy, import_data, merge, rebase, redact, replay
from xetrack.store import open_store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the child is a fork")

ALL = os.environ.get("XETRACK_FAULTS") == "all"
LEGACY = ROOT / "tests" / "fixtures" / "legacy" / "sqlite.db"
ROWS = 4


class World:
    """A folder with the store ``ours``, a copy that went its own way, and what is imported."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ours, self.theirs = root / "ours.db", root / "theirs.db"
        root.mkdir()
        with Tracker(self.ours, track_id="base") as tracker:
            for step in range(ROWS):
                tracker.log({"step": step, "loss": 1 / (step + 1), "part": {step}})
            tracker.set_value("label", "good")
        shutil.copytree(f"{self.ours}.events", f"{self.theirs}.events")
        Reader(self.theirs).set_value("label", "bad")
        with Tracker(self.theirs, track_id="new") as tracker:
            tracker.log_batch([{"step": step, "extra": "x"} for step in range(ROWS)])
        for tables in root.glob("theirs.*db*"):
            if tables.is_file():
                tables.unlink()
        shutil.copy(LEGACY, root / "old.db")
        (root / "rows.csv").write_text("track_id,step\n" + "".join(f"csv,{step}\n" for step in range(ROWS)))
        #: Rows that the child was told are written: shared with it, and no call of the system.
        self.told = mmap.mmap(-1, 1)

    def rows(self, db: Path, engine: Any = "sqlite", **where: Any) -> int:
        return len(Reader(db, engine=engine).to_df(**where))

    def is_whole(self, db: Path) -> None:
        store = open_store(db)
        try:
            report = store.verify()
        finally:
            store.close()
        assert report.ok, report


class Case(NamedTuple):
    """``act`` is what fails half way, ``done`` sees that it can be completed, and that nothing was lost or doubled."""

    act: Callable[[World], object]
    done: Callable[[World], None]


def _log(world: World) -> None:
    world.told[0] = 0
    tracker = Tracker(world.ours, track_id="more")
    for step in range(3):
        tracker.log({"step": step, "new": "text"})
        world.told[0] += 1
    tracker.close()


def _logged(world: World) -> None:
    world.is_whole(world.ours)
    for engine in ("sqlite", "duckdb"):
        steps = Reader(world.ours, engine=engine).to_df(track_id="more")["step"].tolist() if _has_more(world) else []
        # A call that failed, or that nobody lived to see return, may have written its row; never twice.
        assert steps == sorted(set(steps))
        assert len(steps) >= world.told[0]
    with Tracker(world.ours, track_id="last") as tracker:
        tracker.log({"step": 0})
    assert world.rows(world.ours, track_id="last") == 1


def _has_more(world: World) -> bool:
    return "more" in Reader(world.ours).to_df()["track_id"].tolist()


def _log_batch(world: World) -> None:
    world.told[0] = 0
    with Tracker(world.ours, track_id="more") as tracker:
        tracker.log_batch([{"step": step} for step in range(50)])
        world.told[0] = 50


def _batch_logged(world: World) -> None:
    world.is_whole(world.ours)
    rows = world.rows(world.ours, track_id="more")
    assert rows in (0, 50) if world.told[0] == 0 else rows == 50


def _log_asset(world: World) -> None:
    world.told[0] = 0
    with Tracker(world.ours, track_id="more") as tracker:
        tracker.log({"model": frozenset(range(50))})
        world.told[0] = 1


def _asset_logged(world: World) -> None:
    world.is_whole(world.ours)
    reader = Reader(world.ours)
    shown = reader.to_df(track_id="more")
    assert len(shown) >= world.told[0]
    if len(shown):
        assert reader.get(shown["model"].iloc[0]) == frozenset(range(50))
    _log_asset(world)
    assert Reader(world.ours).get("model") == frozenset(range(50))


def _change(world: World) -> None:
    reader = Reader(world.ours)
    reader.set_where("label", "odd", "step", 1)
    reader.delete_run("base")
    reader.undo_run("base")


def _changed(world: World) -> None:
    world.is_whole(world.ours)
    frame = Reader(world.ours, engine="duckdb").to_df()
    assert len(frame) in (0, ROWS)
    assert len(frame) == world.rows(world.ours)


def _read(engine: Any) -> Callable[[World], object]:
    def act(world: World) -> None:
        Reader(world.theirs, engine=engine).to_df()
        replay(world.theirs)

    return act


def _reads(engine: Any) -> Callable[[World], None]:
    def done(world: World) -> None:
        world.is_whole(world.theirs)
        assert world.rows(world.theirs, engine) == 2 * ROWS

    return done


def _merged(world: World) -> None:
    world.is_whole(world.ours)
    merge(world.theirs, into=world.ours)
    world.is_whole(world.ours)
    assert world.rows(world.ours) == 2 * ROWS
    assert set(Reader(world.ours).to_df(track_id="base")["label"]) == {"bad"}


def _rebased(world: World) -> None:
    world.is_whole(world.ours)
    rebase(world.theirs, onto=world.ours, keys=["step"])
    world.is_whole(world.ours)
    # Rows that both hold stay, and the source's rows of the same steps take no place but theirs.
    assert world.rows(world.ours, track_id="new") == ROWS


def _compacted(world: World) -> None:
    world.is_whole(world.theirs)
    compact(world.theirs)
    world.is_whole(world.theirs)
    assert world.rows(world.theirs) == 2 * ROWS


def _redacted(world: World) -> None:
    world.is_whole(world.theirs)
    runs = set(Reader(world.theirs).to_df()["track_id"])
    if "new" in runs:
        redact(world.theirs, track_id="new", reason="r")
    else:
        redact(world.theirs, pending=True)
    world.is_whole(world.theirs)
    assert world.rows(world.theirs) == ROWS
    assert not any(b'"extra":"x"' in path.read_bytes() for path in Path(f"{world.theirs}.events").rglob("*.jsonl"))


def _imported(world: World) -> None:
    import_data(world.root / "rows.csv", world.root / "in.db")
    world.is_whole(world.root / "in.db")
    assert world.rows(world.root / "in.db") == ROWS


def _adopted(world: World) -> None:
    for engine in ("sqlite", "duckdb"):
        assert world.rows(world.root / "old.db", engine) == 5
    world.is_whole(world.root / "old.db")
    assert Reader(world.root / "old.db").get("part") is not None
    assert (world.root / "old.db.before-1.0").read_bytes() == LEGACY.read_bytes()


CASES = {
    "log": Case(_log, _logged),
    "log_batch": Case(_log_batch, _batch_logged),
    "asset": Case(_log_asset, _asset_logged),
    "change": Case(_change, _changed),
    "tables": Case(_read("sqlite"), _reads("sqlite")),
    "tables of duckdb": Case(_read("duckdb"), _reads("duckdb")),
    "merge": Case(lambda world: merge(world.theirs, into=world.ours), _merged),
    "copy": Case(lambda world: copy(world.theirs, world.ours), _merged),
    "rebase": Case(lambda world: rebase(world.theirs, onto=world.ours, keys=["step"]), _rebased),
    "compact": Case(lambda world: compact(world.theirs), _compacted),
    "redact": Case(lambda world: redact(world.theirs, track_id="new", reason="r"), _redacted),
    "import": Case(lambda world: import_data(world.root / "rows.csv", world.root / "in.db"), _imported),
    "adopt": Case(lambda world: Reader(world.root / "old.db").to_df(), _adopted),
}


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", CASES)
def test_an_operation_in_which_a_call_fails(tmp_path: Path, name: str, error: int) -> None:
    world, case = World(tmp_path / "world"), CASES[name]
    # Another part of the positions for each error: together they are more.
    first = 0 if ALL else (errno.ENOSPC, errno.EIO, errno.EACCES).index(error) * 5
    fail_at_every_call(
        world.root, lambda: case.act(world), lambda: case.done(world), error=error, every=1 if ALL else 17, first=first
    )


@pytest.mark.parametrize("name", CASES)
def test_an_operation_that_is_killed(tmp_path: Path, name: str) -> None:
    world, case = World(tmp_path / "world"), CASES[name]
    kill_at_every_call(world.root, lambda: case.act(world), lambda: case.done(world), every=1 if ALL else 11)


def _meanwhile(world: World) -> None:
    """What another process does while one stands still: it logs to what is there, and reads it in both engines."""
    for db in (world.ours, world.theirs):
        with Tracker(db, track_id="meanwhile") as tracker:
            tracker.log({"step": -1, "late": "text"})
            tracker.log_batch([{"step": -2}, {"step": -3}])
        for engine in ("sqlite", "duckdb"):
            assert world.rows(db, engine, track_id="meanwhile") == 3
    assert world.rows(world.root / "old.db") == 5


def _and_meanwhile(world: World, done: Callable[[World], None]) -> None:
    """What the other process did is there; without it the rest is as it has to be."""
    for db in (world.ours, world.theirs):
        world.is_whole(db)
        for engine in ("sqlite", "duckdb"):
            assert world.rows(db, engine, track_id="meanwhile") in (3, 6)  # of both, where they were brought together
    for db in (world.ours, world.theirs):
        Reader(db).delete_run("meanwhile")
    done(world)


@pytest.mark.parametrize("name", CASES)
def test_an_operation_in_which_a_call_takes_long(tmp_path: Path, name: str) -> None:
    world, case = World(tmp_path / "world"), CASES[name]
    delay_at_every_call(
        world.root,
        lambda: case.act(world),
        lambda: _meanwhile(world),
        lambda: _and_meanwhile(world, case.done),
        every=1 if ALL else 47,
    )
