"""States of runs, read from the log: real processes, real signals."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xetrack import Reader, Tracker
from xetrack.log.codec import jsonl
from xetrack.log.events import Event, WriterAlive, WriterEnded, WriterStarted
from xetrack.log.liveness import Origin, is_alive, is_dead, is_held

_LIVES = """
import sys
from xetrack import Tracker
tracker = Tracker(sys.argv[1], track_id=sys.argv[2])
tracker.log({"a": 1})
print("logged", flush=True)
sys.stdin.read()
"""


def _states(db: str, **options: str) -> dict[str, str]:
    frame = Reader(db, **options).runs()  # type: ignore[arg-type]  # the engine
    return dict(zip(frame["track_id"], frame["state"], strict=True))


def _events(db: str) -> Iterator[Event]:
    for path in sorted(Path(f"{db}.events/default").iterdir()):
        for line in path.read_bytes().split(b"\n")[:-1]:
            event = jsonl.decode(line)
            assert event is not None
            yield event


def _start(db: str, run: str, code: str = _LIVES, **env: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, db, run],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **env},
    )
    assert process.stdout is not None and process.stdout.readline() == b"logged\n"
    return process


def _handled_in_worker(db: str, queue: Any) -> None:
    inherited = signal.getsignal(signal.SIGTERM)
    with Tracker(db) as tracker:
        tracker.log({"x": 1})
        queue.put([inherited == signal.SIG_DFL, signal.getsignal(signal.SIGTERM) == signal.SIG_DFL])


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_workers_die_of_a_signal_as_they_do_without_a_tracker(tmp_path: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    db = str(tmp_path / "track.db")
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # another test may have left its own
    try:
        with Tracker(db) as tracker:
            tracker.log({"x": 0})
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
            queue = context.SimpleQueue()
            worker = context.Process(target=_handled_in_worker, args=(db, queue))  # type: ignore[attr-defined]
            worker.start()
            assert queue.get() == [True, True]
            worker.join()
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(process: subprocess.Popen[bytes], number: int) -> int:
    process.send_signal(number)
    process.communicate()
    return process.returncode


def test_columns_and_types_are_the_same_with_and_without_runs(db: str) -> None:
    with Tracker(db) as tracker:
        empty = Reader(db).runs()
        tracker.log({"a": 1})
    frame = Reader(db).runs()
    assert list(frame) == "track_id state started ended duration_s rows host user script commit".split()
    assert len(empty) == 0 and list(empty.dtypes[2:]) == list(frame.dtypes[2:])
    assert str(frame["started"].dtype) == str(frame["ended"].dtype) == "datetime64[us, UTC]"


def test_open_tracker_is_running_and_a_closed_one_finished(db: str) -> None:
    tracker = Tracker(db, track_id="a")
    tracker.log({"x": 1})
    (row,) = Reader(db).runs().to_dict("records")
    assert row["state"] == "running" and str(row["ended"]) == "NaT"
    tracker.close()
    (row,) = Reader(db).runs().to_dict("records")
    assert row["state"] == "finished" and row["rows"] == 1
    assert row["duration_s"] == (row["ended"] - row["started"]).total_seconds()


def test_trackers_that_share_a_process_end_one_by_one(db: str) -> None:
    one, two = Tracker(db, track_id="one"), Tracker(db, track_id="two")
    one.log({"x": 1})
    two.log({"x": 1})
    one.close()
    assert _states(db) == {"one": "finished", "two": "running"}
    with pytest.raises(ValueError, match="no"), two:
        raise ValueError("no")
    assert _states(db) == {"one": "finished", "two": "failed"}


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_exception_that_ends_the_block_makes_a_failed_run(db: str, engine: str) -> None:
    with pytest.raises(ValueError), Tracker(db, track_id="a") as tracker:
        tracker.log({"x": 1})
        raise ValueError
    assert _states(db, engine=engine) == {"a": "failed"}


def test_run_that_is_taken_up_again_is_as_its_last_writer_left_it(db: str) -> None:
    with pytest.raises(ValueError), Tracker(db, track_id="a") as tracker:
        tracker.log({"x": 1})
        raise ValueError
    again = Tracker(db, track_id="a")
    again.log({"x": 2})
    assert _states(db) == {"a": "running"}
    again.close()
    assert _states(db) == {"a": "finished"}
    assert Reader(db).runs()["rows"].tolist() == [2]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "state"), [(signal.SIGKILL, "died"), (signal.SIGTERM, "failed"), (signal.SIGINT, "failed")]
)
def test_process_that_is_ended_by_a_signal(db: str, number: int, state: str) -> None:
    process = _start(db, "a")
    assert _states(db) == {"a": "running"}
    assert _end(process, number) == -number
    assert _states(db) == {"a": state}
    ends = [event for event in _events(db) if isinstance(event, WriterEnded)]
    assert [(event.state, event.signal) for event in ends] == ([] if state == "died" else [("stopped", number)])


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_handler_of_the_program_is_left_alone(db: str) -> None:
    code = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
    process = _start(db, "a", _LIVES.replace("from xetrack", f"{code}from xetrack", 1))
    assert _end(process, signal.SIGTERM) == 7
    process = _start(db, "b", _LIVES.replace("print(", f"{code}print(", 1))
    assert _end(process, signal.SIGTERM) == 7


def test_heartbeats_are_written_while_nothing_is_logged(db: str) -> None:
    process = _start(db, "a", XETRACK_HEARTBEAT_S="0.01")
    while not any(isinstance(event, WriterAlive) for event in _events(db)):
        pass
    process.communicate()
    kinds = [type(event) for event in _events(db)]
    assert kinds[0] is WriterStarted and kinds[-1] is WriterEnded
    assert Reader(db).runs()["state"].tolist() == ["finished"]


def test_forked_child_has_heartbeats_of_its_own(db: str) -> None:
    code = """
import os, sys
from xetrack import Tracker
tracker = Tracker(sys.argv[1], track_id=sys.argv[2])
tracker.log({"a": 1})
if os.fork() == 0:
    tracker.log({"a": 2})
print("logged\\n", end="", flush=True)  # in one write, as both do
sys.stdin.read()
"""
    if not hasattr(os, "fork"):
        pytest.skip("no fork")
    process = _start(db, "a", code, XETRACK_HEARTBEAT_S="0.01")
    while len({e.id.partition("-")[0] for e in _events(db) if isinstance(e, WriterAlive)}) < 2:
        pass
    process.communicate()


def test_foreign_writer_is_alive_as_long_as_it_was_heard_of(tmp_path: Path) -> None:
    origin, path = Origin("another-host", 1, 0), tmp_path / "gone.jsonl"
    assert is_alive(path, origin, last_us=100, now_us=150, silence_us=60)
    assert not is_alive(path, origin, last_us=100, now_us=161, silence_us=60)
    assert not is_dead(path, origin)


def test_lock_is_seen_by_others_and_asking_takes_none(db: str) -> None:
    tracker = Tracker(db)
    tracker.log({"a": 1})
    (path,) = Path(f"{db}.events/default").iterdir()
    assert is_held(path) is not False
    tracker.close()
    assert is_held(path) is not True
    assert is_held(path.with_name("absent")) is None


def test_rank_is_in_the_header_and_only_rank_zero_logs(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    with Tracker(db) as tracker:
        tracker.log({"a": 1})
    with Tracker(db, rank_zero_only=True) as tracker:
        assert tracker.log({"a": 2})["a"] == 2
        assert tracker.track(lambda: 5) == 5
    assert [event.rank for event in _events(db) if isinstance(event, WriterStarted)] == [3]
    monkeypatch.setenv("RANK", "0")
    with Tracker(db, rank_zero_only=True) as tracker:
        tracker.log({"a": 3})
    assert Reader(db).to_df()["a"].tolist() == [1, 3]


class Mute(Exception):
    def __str__(self) -> str:
        raise LookupError("no words")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("cannot read data/\udcff.csv"), "RuntimeError: cannot read data/\\udcff.csv"),
        (Mute(), "Mute"),
        (ValueError("x" * 100_000), "ValueError: xxx"),
        (KeyError(), "KeyError"),
    ],
)
def test_an_error_that_cannot_be_told_as_it_is_stays_the_users_and_ends_the_run(
    tmp_path: Path, error: Exception, told: str
) -> None:
    db = str(tmp_path / "track.db")
    with pytest.raises(type(error)) as caught, Tracker(db, track_id="r") as tracker:
        tracker.log({"x": 1})
        raise error
    assert caught.value is error
    assert _states(db) == {"r": "failed"}
    (ended,) = [event for event in _events(db) if isinstance(event, WriterEnded)]
    assert ended.error is not None and ended.error.startswith(told) and len(ended.error) < 2000
