"""The power goes at any call of any operation, and the disk has only what was synced: no acknowledged row is lost.

This is what ``durability="disk"`` promises, and what joins, packs and redactions do always. Tables are made from the
log again, but one case looks whether what is left of them is right or told to be damaged.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults import can_trace
from tests.power import cuts, lay_out
from tests.test_faults import ALL, LEGACY, ROWS, World
from xetrack import Reader, Tracker, compact, copy, import_data, merge, rebase, redact, replay
from xetrack.errors import StorageFailed

pytestmark = pytest.mark.skipif(not can_trace(), reason="no child can be traced here")


class Disk(World):
    """The world of the other faults, of which only the log counts."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.drop_tables()

    def drop_tables(self) -> None:
        """Take away what is made from the log again, but not the database of 0.x."""
        for store in (self.ours, self.theirs, self.root / "in.db"):
            for path in self.root.glob(f"{store.name}*"):
                if path.is_file():
                    path.unlink()

    def steps(self, db: Path, run: str) -> list[int]:
        frame = Reader(db).to_df()
        return sorted(frame["step"][frame["track_id"] == run].tolist()) if len(frame) else []


class Case(NamedTuple):
    """``act`` tells of each call that has returned; ``check`` gets how many had, and tries again."""

    act: Callable[[Disk], object]
    check: Callable[[Disk, int], object]
    #: Whether the tables are looked at as the power cut left them, and not made again from the log.
    of_tables: bool = False


def _log(world: Disk) -> None:
    with Tracker(world.ours, track_id="more", durability="disk") as tracker:
        for step in range(3):
            tracker.log({"step": step, "model": {"m", step}})
            world.told[0] += 1


def _logged(world: Disk, told: int) -> None:
    found = world.steps(world.ours, "more")
    assert found == sorted(set(found)) and len(found) >= told
    reader = Reader(world.ours)
    for step in found:
        (digest,) = reader.to_df(track_id="more").query("step == @step")["model"]
        assert reader.get(digest) == {"m", step}
    _log(world)
    assert len(world.steps(world.ours, "more")) == len(found) + 3


def _log_batch(world: Disk) -> None:
    with Tracker(world.ours, track_id="more", durability="disk") as tracker:
        tracker.log_batch([{"step": step} for step in range(50)])
        world.told[0] += 1


def _batch_logged(world: Disk, told: int) -> None:
    found = world.steps(world.ours, "more")
    assert found == list(range(len(found)))
    assert len(found) == 50 or not told


def _change(world: Disk) -> None:
    with Tracker(world.ours, track_id="base", durability="disk") as tracker:
        tracker.set_value("label", "new")
        world.told[0] += 1
        tracker.set_where("label", "odd", "step", 1)
        world.told[0] += 1


def _changed(world: Disk, told: int) -> None:
    frame = Reader(world.ours).to_df()
    states = [["good"] * ROWS, ["new"] * ROWS, ["new", "odd", "new", "new"]]
    assert frame["label"].tolist() in states[told:]


def _take(act: Callable[[Disk], object]) -> Callable[[Disk], object]:
    def take(world: Disk) -> None:
        act(world)
        world.told[0] += 1

    return take


def _taken(act: Callable[[Disk], object]) -> Callable[[Disk, int], object]:
    def check(world: Disk, told: int) -> None:
        assert world.steps(world.ours, "new") == (list(range(ROWS)) if told else world.steps(world.ours, "new"))
        act(world)
        assert world.steps(world.ours, "new") == list(range(ROWS))
        world.is_whole(world.ours)

    return check


def _compacted(world: Disk, told: int) -> None:
    assert world.steps(world.theirs, "base") == world.steps(world.theirs, "new") == list(range(ROWS))
    compact(world.theirs)
    assert world.steps(world.theirs, "new") == list(range(ROWS))


def _redact(world: Disk) -> None:
    redact(world.theirs, track_id="new", reason="r")
    world.told[0] += 1


def _redacted(world: Disk, told: int) -> None:
    assert world.steps(world.theirs, "base") == list(range(ROWS))
    assert world.steps(world.theirs, "new") in ([[]] if told else [[], list(range(ROWS))])
    if world.steps(world.theirs, "new"):
        redact(world.theirs, track_id="new", reason="r")
    else:
        redact(world.theirs, pending=True)
    assert not any(b'"extra":"x"' in path.read_bytes() for path in Path(f"{world.theirs}.events").rglob("*.jsonl"))


def _import(world: Disk) -> None:
    import_data(world.root / "rows.csv", world.root / "in.db")
    world.told[0] += 1


def _imported(world: Disk, told: int) -> None:
    if told:
        assert world.steps(world.root / "in.db", "csv") == list(range(ROWS))
    import_data(world.root / "rows.csv", world.root / "in.db")
    assert world.steps(world.root / "in.db", "csv") == list(range(ROWS))


def _adopted(world: Disk, told: int) -> None:
    assert len(Reader(world.root / "old.db").to_df()) == 5
    assert Reader(world.root / "old.db").get("part") is not None
    assert (world.root / "old.db.before-1.0").read_bytes() == LEGACY.read_bytes()


def _read(world: Disk) -> None:
    reader = Reader(world.theirs)
    assert len(reader.to_df()) == 2 * ROWS
    reader.set_value("note", "x")
    Reader(world.theirs).to_df()
    replay(world.theirs)


def _tables_read(world: Disk, told: int) -> None:
    with contextlib.suppress(StorageFailed):  # what is damaged is told, put aside and made anew
        Reader(world.theirs).to_df()
    frame = Reader(world.theirs).to_df()
    assert len(frame) == 2 * ROWS
    assert "note" not in frame or set(frame["note"]) == {"x"}


def _merge(world: Disk) -> object:
    return merge(world.theirs, into=world.ours)


def _copy(world: Disk) -> object:
    return copy(world.theirs, world.ours)


def _rebase(world: Disk) -> object:
    return rebase(world.theirs, onto=world.ours, keys=["step"])


def _log_deep(world: Disk) -> None:
    with Tracker(world.root / "deep" / "er" / "new.db", track_id="more", durability="disk") as tracker:
        tracker.log({"step": 0})
        world.told[0] += 1


def _deep_logged(world: Disk, told: int) -> None:
    db = world.root / "deep" / "er" / "new.db"
    assert not told or world.steps(db, "more") == [0]


def _log_known_object(world: Disk) -> None:
    """An object that a tracker has stored which waits for no device, named by one that does."""
    with Tracker(world.ours, track_id="hasty", durability="process") as tracker:
        tracker.log({"model": {"m"}})
    with Tracker(world.ours, track_id="more", durability="disk") as tracker:
        tracker.log({"step": 0, "model": {"m"}})
        world.told[0] += 1


def _known_object_logged(world: Disk, told: int) -> None:
    found = world.steps(world.ours, "more")
    assert len(found) >= told
    if found:
        assert Reader(world.ours).get("model") == {"m"}


def _change_by_reader(world: Disk) -> None:
    os.environ["XETRACK_DURABILITY"] = "disk"
    reader = Reader(world.ours)
    reader.set_value("label", "new")
    world.told[0] += 1
    reader.set_where("label", "odd", "step", 1)
    world.told[0] += 1


CASES = {
    "log": Case(_log, _logged),
    "log_batch": Case(_log_batch, _batch_logged),
    "new folder": Case(_log_deep, _deep_logged),
    "known object": Case(_log_known_object, _known_object_logged),
    "change": Case(_change, _changed),
    "change by a reader": Case(_change_by_reader, _changed),
    "tables": Case(_read, _tables_read, of_tables=True),
    "merge": Case(_take(_merge), _taken(_merge)),
    "copy": Case(_take(_copy), _taken(_copy)),
    "rebase": Case(_take(_rebase), _taken(_rebase)),
    "compact": Case(lambda world: compact(world.theirs), _compacted),
    "redact": Case(_redact, _redacted),
    "import": Case(_import, _imported),
    "adopt": Case(lambda world: Reader(world.root / "old.db").to_df(), _adopted),
}


@pytest.mark.parametrize("name", CASES)
def test_power_goes(tmp_path: Path, name: str) -> None:
    world, case = Disk(tmp_path / "world"), CASES[name]
    found = cuts(world.root, lambda: case.act(world), lambda: world.told[0])
    assert len(found) > 3
    # Everything that was told is looked at after the last call.
    for cut in found if ALL else [*found[::4], found[-1]]:
        lay_out(cut.image, world.root)
        if not case.of_tables:
            world.drop_tables()
        world.told[0] = 0
        try:
            case.check(world, cut.told)
        except BaseException as error:
            raise AssertionError(
                f"power cut after call {cut.call}, {cut.kept} of the unsynced left: {error}"
            ) from error
