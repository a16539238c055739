"""Switches of a tracker: on_error, log_files, XETRACK_DISABLED, and defaults from the environment."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults import FullDisk
from xetrack.errors import DiskFull, InvalidKey, StorageError, UsageError
from xetrack.read.reader import Reader
from xetrack.track.tracker import Tracker


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fill_disk(tracker: Tracker, room: int = 0) -> None:
    tracker._session.writer._put = FullDisk(room)


def free_disk(tracker: Tracker) -> None:
    tracker._session.writer._put = os.write


# -- on_error ----------------------------------------------------------------


def test_full_disk_raises_unless_told_otherwise() -> None:
    tracker = Tracker("track.db")
    tracker.log({"x": 1})
    fill_disk(tracker)
    for _ in range(2):
        with pytest.raises(DiskFull):
            tracker.log({"x": 2})
    free_disk(tracker)
    tracker.log({"x": 3})
    assert tracker["x"].tolist() == [1, 3]


def test_full_disk_is_warned_of_once_counted_and_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker("track.db", track_id="run", on_error="warn", params={"p": 7})
    tracker.log({"x": 1})
    fill_disk(tracker)
    lost = tracker.log({"x": 2})
    tracker.log({"x": 2, "new": "key"})
    tracker.log_batch([{"x": 2}, {"x": 3}])
    tracker.log_batch([{"x": 2}, {"y": 3}])
    assert tracker.set_value("z", 1) == 0
    assert tracker.set_where("z", 1, "x", 1) == 0
    assert {key: lost[key] for key in ("x", "p", "track_id")} == {"x": 2, "p": 7, "track_id": "run"}
    assert len(caplog.records) == 1
    assert "Run run" in caplog.text and "No room" in caplog.text
    free_disk(tracker)
    tracker.log({"x": 4})
    tracker.close()
    assert Reader("track.db").to_df()["x"].tolist() == [1, 4]
    assert "8 rows or changes could not be written" in caplog.records[-1].message
    tracker.close()
    assert len(caplog.records) == 2


def test_object_that_finds_no_room_is_dropped_with_its_row(caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker("track.db", on_error="warn")
    tracker.log({"x": 1})
    assets = Path("track.db.events/_assets")
    assets.write_text("in the way")
    tracker.log({"x": 2, "model": object})
    tracker.set_param("model", {1}.__class__)
    assets.unlink()
    tracker.log({"x": 3})
    assert tracker["x"].tolist() == [1, 3]


def test_store_that_cannot_be_made_stops_no_training(caplog: pytest.LogCaptureFixture) -> None:
    Path("file").write_text("mine")
    with pytest.raises(StorageError):
        Tracker("file/track.db")
    tracker = Tracker("file/track.db", on_error="warn", reset=True)
    assert tracker.track(max, args=[1, 2]) == 2
    assert tracker.log({"x": 1})["x"] == 1
    assert len(tracker.to_df()) == 0
    tracker.close()
    assert "2 rows or changes could not be written" in caplog.text
    assert Path("file").read_text() == "mine"


def test_wrong_use_is_an_error_also_where_a_full_disk_is_not() -> None:
    tracker = Tracker("track.db", on_error="warn")
    with pytest.raises(InvalidKey):
        tracker.log({"": 1})


def test_program_that_forgets_to_close_is_told_at_its_exit(tmp_path: Path) -> None:
    program = (
        "from xetrack import Tracker; open('file', 'w').close()\n"
        "t = Tracker('file/track.db', track_id='run')\n"
        "for n in range(3): t.log({'n': n})\n"
        "print('trained')"
    )
    env = {**os.environ, "XETRACK_ON_ERROR": "warn"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert "Run run: 3 rows or changes could not be written" in done.stderr


# -- XETRACK_DISABLED --------------------------------------------------------


def test_disabled_tracker_only_runs_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XETRACK_DISABLED", "1")
    with Tracker("track.db", params={"p": 1}, reset=True, on_error="warn") as tracker:

        @tracker.wrap()
        def double(x: int) -> int:
            return 2 * x

        assert double(4) == 8
        assert tracker.track(double, kwargs={"x": 5}) == 10
        with pytest.raises(ZeroDivisionError):
            tracker.track(lambda: 1 // 0)
        row = tracker.log({"x": 1, "": object()})
        assert (row["p"], row["x"], row["track_id"]) == (1, 1, tracker.track_id)
        tracker.log_batch([{"x": 1}, {"x": 2}])
        assert tracker.log_batch([]) == {}
        assert (tracker.set_value("y", 1), len(tracker), tracker.to_df().empty) == (0, 0, True)
        tracker.flush()
    assert list(tmp_path.iterdir()) == []


# -- defaults from the environment -------------------------------------------


def test_environment_names_store_table_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XETRACK_DB", "other.db")
    monkeypatch.setenv("XETRACK_TABLE", "metrics")
    monkeypatch.setenv("XETRACK_TRACK_ID", "resumed")
    with Tracker() as tracker:
        assert (tracker.db, tracker.table_name, tracker.track_id) == ("other.db", "metrics", "resumed")
        tracker.log({"x": 1})
    with Tracker() as tracker:
        tracker.log({"x": 2})
    assert Reader("other.db", table="metrics").to_df(track_id="resumed")["x"].tolist() == [1, 2]
    with Tracker("track.db", table="default", track_id="mine") as named:
        assert (named.db, named.table_name, named.track_id) == ("track.db", "default", "mine")


def test_track_id_resumes_a_run() -> None:
    for epoch in range(2):
        with Tracker("track.db", track_id="run") as tracker:
            tracker.log({"epoch": epoch})
            assert len(tracker) == epoch + 1
            assert tracker[1] is not None and tracker[1]["epoch"] == 0


def test_warnings_are_silenced_by_argument_or_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def odd() -> dict[str, int]:
        return {"function_name": 1}

    Tracker(":memory:", warnings=False).track(odd)
    monkeypatch.setenv("XETRACK_WARNINGS", "0")
    Tracker(":memory:").track(odd)
    assert not caplog.records
    monkeypatch.setenv("XETRACK_WARNINGS", "1")
    Tracker(":memory:").track(odd)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


# -- log_files ---------------------------------------------------------------


def test_path_stands_for_its_file_if_the_tracker_was_made_so() -> None:
    Path("model.pt").write_bytes(b"weights" * 1000)
    with Tracker("track.db", log_files=True) as tracker:
        row = tracker.log({"weights": Path("model.pt")})
        tracker.set_value("last", Path("model.pt"))
        Path("model.pt").unlink()
        assert tracker.get(row["weights"]).read_bytes() == b"weights" * 1000
        assert tracker["last"].tolist() == [row["weights"]]
        with pytest.raises(UsageError, match=r"model\.pt is not there"):
            tracker.log({"weights": Path("model.pt")})
        assert len(tracker) == 1
        assert tracker.track(str, args=[Path("model.pt")]) == "model.pt"
        assert tracker.latest["args"] == [Path("model.pt")]
    with Tracker("track.db") as plain:
        assert plain.log({"weights": Path("model.pt")})["weights"] == Path("model.pt")


def test_rows_that_the_store_has_no_room_for_still_reach_the_other_files(caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker("track.db", on_error="warn", jsonl="rows.jsonl", track_id="run")
    tracker.log({"x": 1})
    fill_disk(tracker)
    tracker.log({"x": 2})
    tracker.log_batch([{"x": 3}, {"x": 4}])
    Path("file").touch()
    Tracker("file/track.db", on_error="warn", jsonl="rows.jsonl").log({"x": 5})
    assert Reader.read_jsonl("rows.jsonl")["x"].tolist() == [1, 2, 3, 4, 5]
    free_disk(tracker)
    assert tracker["x"].tolist() == [1]
    tracker.close()
    assert "3 rows or changes could not be written" in caplog.records[-1].message


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_child_tells_of_its_own_losses_only(tmp_path: Path) -> None:
    program = (
        "import os, signal; from xetrack import Tracker; open('file', 'w').close()\n"
        "t = Tracker('file/track.db', track_id='run', on_error='warn')\n"
        "t.log_batch([{'n': 1}] * 4)\n"
        "t._session.losses._lock.acquire()\n"  # as another thread of the parent may hold it
        "pid = os.fork()\n"
        "if not pid: signal.alarm(20); t.log({'n': 2}); t.close(); os._exit(0)\n"
        "t._session.losses._lock.release(); os.waitpid(pid, 0); t.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True
    )
    told = [line for line in done.stderr.splitlines() if "could not be written" in line]
    assert told == [
        "Run run: 1 rows or changes could not be written.",
        "Run run: 4 rows or changes could not be written.",
    ]


def test_disabled_tracker_holds_back_the_errors_that_it_was_to_hold_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XETRACK_DISABLED", "1")
    tracker = Tracker("track.db", raise_on_error=False)

    @tracker.wrap()
    async def fail() -> int:
        return 1 // 0

    assert tracker.track(lambda: 1 // 0) is None
    assert asyncio.run(fail()) is None
    assert tracker.track(max, args=[1, 2]) == 2
    assert tracker.latest == {} and not Path("track.db.events").exists()


def test_warnings_false_also_silences_that_a_result_is_text(caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(":memory:", warnings=False)
    tracker.track(lambda: {"": 1})
    assert tracker.latest["function_result"] == "{'': 1}"
    assert not caplog.records


def test_current_folder_that_is_gone_matters_only_to_paths_in_it(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    with Tracker(":memory:", git_root=".", log_system_params=True) as tracker:
        assert tracker.track(max, args=[1, 2]) == 2
    with Tracker(tmp_path / "track.db", jsonl=str(tmp_path / "rows.jsonl")) as tracker:
        tracker.log({"x": 1})
        assert tracker["x"].tolist() == [1]
    assert len(Reader.read_jsonl(tmp_path / "rows.jsonl")) == 1


@pytest.mark.parametrize(("name", "value"), [("track_id", "run-\ud800"), ("db", "track\x00.db")])
def test_name_that_nothing_can_have_is_refused_before_anything_is_made(tmp_path: Path, name: str, value: str) -> None:
    given: Any = {name: value}
    with pytest.raises(UsageError, match=name):
        Tracker(**given)
    assert list(tmp_path.iterdir()) == []
