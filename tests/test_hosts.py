"""Many hosts, one folder: what others wrote is seen late and in pieces, and nothing is lost or called damaged."""

from __future__ import annotations

import io
import itertools
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from xetrack import Tracker
from xetrack.config import Settings
from xetrack.log.log import FileLog, SegmentInfo
from xetrack.read.follow import Follow
from xetrack.store import Store, open_store

_WRITES = """
import sys
from xetrack import Tracker
with Tracker(sys.argv[1], track_id=sys.argv[2]) as tracker:
    for step in range(int(sys.argv[3])):
        tracker.log({"step": step})
"""


class LaggingLog(FileLog):
    """What a host sees through the caches of a network file system: late lists, old sizes, holes filled later."""

    def __init__(self, path: Path | str, seed: int = 0) -> None:
        super().__init__(path)
        self.random = random.Random(seed)
        self.is_calm = False
        self.lists = 0

    def segments(self, table: str) -> list[SegmentInfo]:
        self.lists += 1
        found = super().segments(table)
        if self.is_calm:
            return found
        seen = [info for info in found if self.random.random() > 0.2]
        return [info._replace(size=int(info.size * self._share())) for info in seen]

    def _share(self) -> float:
        return self.random.choice([1.0, 1.0, 0.9, 0.5, 0.999])

    def _open(self, table: str, name: str) -> BinaryIO | None:
        file = super()._open(table, name)
        if file is None or self.is_calm:
            return file
        with file:
            raw = bytearray(file.read())
        if self.random.random() < 0.3 and len(raw) > 200:
            # The last writes came, some before them did not: zeros until they do.
            start = self.random.randrange(len(raw) // 2, len(raw))
            end = min(start + self.random.randrange(1, 5000), len(raw))
            raw[start:end] = bytes(end - start)
        if self.random.random() < 0.3:
            del raw[int(len(raw) * self._share()) :]
        return io.BytesIO(bytes(raw))


def _start(db: str, run: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _WRITES, db, run, str(count)])


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_readers_lose_nothing_and_see_no_damage_where_writes_are_seen_late(tmp_path: Path, engine: Any) -> None:
    writers, count = 4, 10_000
    db = str(tmp_path / "track.db")
    open_store(db, create=True).close()
    processes = [_start(db, f"host-{number}", count) for number in range(writers)]
    log = LaggingLog(f"{db}.events")
    store = Store(db, tmp_path / "elsewhere" / "track.db", log, Settings(engine=engine))
    (tmp_path / "elsewhere").mkdir()
    table = store.table("default")
    while any(process.poll() is None for process in processes):
        assert table.count() <= writers * count
        assert store.projector().damaged("default") == 0
    assert [process.returncode for process in processes] == [0] * writers
    log.is_calm = True
    assert table.count() == writers * count
    assert store.projector().damaged("default") == 0
    for number in range(writers):
        assert table.column("step", f"host-{number}") == list(range(count))
    store.close()
    assert open_store(db).verify().ok


def test_follower_gives_every_row_once_where_writes_are_seen_late(tmp_path: Path) -> None:
    writers, count = 4, 2_000
    db = str(tmp_path / "track.db")
    open_store(db, create=True).close()
    processes = [_start(db, f"host-{number}", count) for number in range(writers)]
    log = LaggingLog(f"{db}.events", seed=1)
    (tmp_path / "elsewhere").mkdir()
    store = Store(db, tmp_path / "elsewhere" / "track.db", log, Settings())
    following = Follow(store.table("default"))
    found: dict[str, list[int]] = {}
    for turn in itertools.count():
        log.is_calm = turn > 20 and all(process.poll() is not None for process in processes)
        for row in following.ready():
            found.setdefault(row["track_id"], []).append(row["step"])
        if log.is_calm:
            break
    assert {run: sorted(steps) for run, steps in found.items()} == {
        f"host-{number}": list(range(count)) for number in range(writers)
    }
    store.close()


def test_hole_in_a_file_that_nobody_writes_to_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = str(tmp_path / "track.db")
    with Tracker(db) as tracker:
        for step in range(10):
            tracker.log({"step": step})
    (segment,) = Path(f"{db}.events/default").iterdir()
    raw = bytearray(segment.read_bytes())
    place = raw.index(b'"step":4')
    raw[place : place + 4] = bytes(4)
    segment.write_bytes(raw)
    assert open_store(db).verify().damaged == []
    monkeypatch.setattr("xetrack.log.log.FILLED_IN_NS", 0)
    assert len(open_store(db).verify().damaged) == 1
    Path(db).unlink()  # tables that have read it know it still
    assert open_store(db).table("default").count() == 9


def test_tables_of_a_store_on_a_network_file_system_lie_in_the_cache_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xetrack.store.is_network", lambda path: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "shared").mkdir()
    with Tracker(str(tmp_path / "shared/track.db")) as tracker:
        tracker.log({"a": 1})
        assert len(tracker) == 1
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["track.db.events"]
    assert len(list((tmp_path / "cache/xetrack/tables").glob("track-*.db"))) == 1


_SFTP = next(
    (path for path in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server") if Path(path).exists()), None
)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Path]]:
    """Three mounts of one folder through sshfs, each with caches of its own, as three hosts have them."""
    if _SFTP is None or shutil.which("sshfs") is None or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("no sshfs")
    program = tmp_path / "sftp"
    program.write_text(f"#!/bin/sh\nexec {_SFTP}\n")
    program.chmod(0o755)
    (tmp_path / "server").mkdir()
    mounts: list[Path] = []
    try:
        for name in ("one", "two", "three"):
            (tmp_path / name).mkdir()
            mounted = subprocess.run(
                [
                    "sshfs",
                    f"localhost:{tmp_path}/server",
                    str(tmp_path / name),
                    "-o",
                    f"ssh_command={program},cache_timeout=1",
                ],
                capture_output=True,
            )
            if mounted.returncode:
                pytest.skip(f"sshfs cannot mount here: {mounted.stderr.decode()}")
            mounts.append(tmp_path / name)
        yield mounts
    finally:
        for mount in mounts:
            subprocess.run(["fusermount3", "-u", "-z", str(mount)], check=False)


def test_hosts_log_through_a_real_network_file_system(
    hosts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    writers, count = 4, 10_000
    open_store(hosts[2] / "track.db", create=True).close()
    processes = [_start(str(hosts[number % 2] / "track.db"), f"host-{number}", count) for number in range(writers)]
    store = open_store(hosts[2] / "track.db")
    table = store.table("default")
    while table.count() < writers * count:
        assert store.projector().damaged("default") == 0
        assert all(process.poll() in (None, 0) for process in processes)
    assert [process.wait() for process in processes] == [0] * writers
    for number in range(writers):
        assert table.column("step", f"host-{number}") == list(range(count))
    assert store.verify().ok
    store.close()
    assert os.listdir(tmp_path / "server") == ["track.db.events"]
