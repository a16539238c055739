"""Tables that are kept up while others log: by events of the file system, and by the clock alone."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import xetrack
from xetrack import Tracker
from xetrack.errors import InvalidArgument, StoreNotFound
from xetrack.read import watch as room
from xetrack.read.watch import Batch
from xetrack.tables.network import is_network

_WRITES = """
import os, sys
os.environ["XETRACK_LIVE"] = "0"
from xetrack import Tracker
tracker = Tracker(sys.argv[1])
for step in range(500):
    tracker.log({"step": step})
sys.stdin.read()
"""


def _count(db: Path) -> int:
    conn = sqlite3.connect(db)
    try:
        return int(conn.execute("SELECT count(*) FROM events").fetchone()[0])
    finally:
        conn.close()


def _fill(db: Path, rows: int, first: int = 0) -> None:
    with Tracker(db) as tracker:
        for step in range(first, first + rows):
            tracker.log({"step": step})


@pytest.mark.parametrize("events", [True, False])
def test_rows_of_an_open_tracker_reach_other_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: bool
) -> None:
    if not events:
        monkeypatch.setattr(room, "_observer", lambda *_: None)
    db = tmp_path / "track.db"
    _fill(db, 1)
    writer = subprocess.Popen([sys.executable, "-c", _WRITES, str(db)], stdin=subprocess.PIPE)
    stop, batches = threading.Event(), list[Batch]()

    def note(batch: Batch) -> None:
        batches.append(batch)
        if batch.total == 501:
            assert _count(db) == 501
            stop.set()

    xetrack.watch(db, note, stop=stop)
    writer.communicate()
    assert sum(batch.rows for batch in batches) == 501
    assert all(batch.lag_s >= 0 for batch in batches)


def test_folder_means_all_stores_in_it_new_ones_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_FIND_S", 0.0)
    (tmp_path / "a").mkdir()
    _fill(tmp_path / "a" / "one.db", 2)
    stop, seen = threading.Event(), dict[str, int]()

    def note(batch: Batch) -> None:
        seen[Path(batch.db).name] = batch.total
        if "two.db" not in seen:
            _fill(tmp_path / "two.db", 3)
        elif seen["two.db"] == 3:
            stop.set()

    xetrack.watch(tmp_path, note, stop=stop)
    assert seen == {"one.db": 2, "two.db": 3}


def test_once_is_one_batch_and_both_engines_have_it(tmp_path: Path) -> None:
    import duckdb

    db = tmp_path / "track.db"
    with Tracker(db, table="other") as tracker:
        tracker.log({"a": 1})
    _fill(db, 4)
    batches: list[Batch] = []
    xetrack.watch(db, batches.append, engines=["sqlite", "duckdb"], once=True)
    assert [(batch.rows, batch.total, batch.tables) for batch in batches] == [(5, 5, {"default": 4, "other": 1})]
    assert _count(db) == 4
    with duckdb.connect(str(tmp_path / "track.duckdb"), read_only=True) as conn:
        assert conn.execute("SELECT count(*) FROM events").fetchall() == [(4,)]


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        xetrack.watch(tmp_path / "absent.db")
    _fill(tmp_path / "track.db", 1)
    with pytest.raises(InvalidArgument):
        xetrack.watch(tmp_path / "track.db", engines=["postgres"])


def test_store_that_is_deleted_is_not_brought_back(tmp_path: Path) -> None:
    import shutil

    db = tmp_path / "deep" / "track.db"
    _fill(db, 1)
    _fill(tmp_path / "other.db", 1)
    stop, seen = threading.Event(), list[str]()

    def note(batch: Batch) -> None:
        seen.append(Path(batch.db).name)
        if set(seen) == {"track.db", "other.db"}:
            if len(seen) == 2:
                shutil.rmtree(db.parent)
                _fill(tmp_path / "other.db", 1)
            else:
                stop.set()

    xetrack.watch(tmp_path, note, stop=stop)
    assert not db.parent.exists()


def test_network_file_systems_are_known_by_their_names() -> None:
    mounts = (
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 22 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw\n"
        "31 30 0:41 / /home/local rw - tmpfs tmpfs rw\n"
        "32 22 0:42 / /mnt/two\\040words rw - fuse.sshfs host: rw\n"
        "33 22 0:43 / /mnt/disk rw - fuse.ntfs-3g /dev/sdb rw\n"
    )
    found = {path: is_network(Path(path), mounts) for path in ("/x", "/home/ada/track.db", "/homes", "/home/local/x")}
    assert found == {"/x": False, "/home/ada/track.db": True, "/homes": False, "/home/local/x": False}
    assert is_network(Path("/mnt/two words/x"), mounts) and not is_network(Path("/mnt/disk/x"), mounts)


@pytest.mark.parametrize("whole_folder", [True, False])
def test_a_store_that_was_deleted_and_made_again_is_a_new_one(tmp_path: Path, whole_folder: bool) -> None:
    db = tmp_path / "track.db"
    _fill(db, 7)
    watcher = room.Watcher(tmp_path if whole_folder else db, ["sqlite"])
    stop = threading.Event()
    assert [(batch.rows, batch.total) for batch in watcher.batches(stop, once=True)] == [(7, 7)]
    shutil.rmtree(f"{db}.events")
    db.unlink()
    assert list(watcher.batches(stop, once=True)) == []
    _fill(db, 5)
    watcher._found_s = -room._FIND_S  # a folder is searched now and then
    assert [(batch.rows, batch.total) for batch in watcher.batches(stop, once=True)] == [(5, 5)]
    watcher.close()
