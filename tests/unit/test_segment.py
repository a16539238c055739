"""One writer, one file: what it keeps when the disk, the folder or its process fails it."""

from __future__ import annotations

import functools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import FullDisk, Script
from tests.interrupts import stepped
from xetrack.errors import DiskFull, StorageFailed
from xetrack.log.clock import Clock
from xetrack.log.events import Event, RowLogged, RunDeleted, WriterEnded, WriterStarted, split_id
from xetrack.log.log import FileLog, Log
from xetrack.log.memory import MemoryLog
from xetrack.log.segment import Writer
from xetrack.log.verify import verify

ROOT = Path(__file__).resolve().parents[2]
METHODS = multiprocessing.get_all_start_methods()
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX only")

pytestmark = pytest.mark.parametrize("codec", ["jsonl", "msgpack"])


@pytest.fixture
def log(tmp_path: Path) -> FileLog:
    return FileLog(tmp_path / "track.db.events")


def events(log: Log, table: str = "t") -> list[Event]:
    """All events, segment by segment; every byte must be one of theirs."""
    found: list[Event] = []
    for segment in log.segments(table):
        for chunk in log.scan(table, segment.name):
            assert not chunk.damaged
            found += chunk.events
    return found


def numbers(log: Log) -> list[int]:
    return sorted(event.data["n"] for event in events(log) if isinstance(event, RowLogged))


def test_first_event_makes_store_header_and_line(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    assert not log.path.exists()
    seq, clock_us, wall_us = writer.append_row("run", {"n": 1})
    header, row = events(log)
    assert (log.path / "store.json").read_bytes() == b'{"format":1}\n'
    assert isinstance(header, WriterStarted) and header.format == "1.0" and header.pid == os.getpid()
    assert row == RowLogged(id=f"{writer.name}-1", clock=clock_us, run="run", data={"n": 1})
    assert seq == 1 and clock_us == wall_us
    assert [segment.name for segment in log.segments("t")] == [f"{writer.name}.{codec}"]


def test_events_are_read_as_soon_as_append_returns(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    for n in range(40):
        writer.append_row("r", {"n": n}, to_disk=n % 20 == 0)
        assert numbers(log) == list(range(n + 1))


def test_batch_shares_its_id_and_other_kinds_follow(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    writer.append_row("r", {"n": 0})
    places = writer.append_rows("r", [{"n": 1}, {"n": 2}], to_disk=True)
    deleted = writer.append(RunDeleted, run="r", seen={writer.name: "0-3"}, to_disk=True)
    assert [place[0] for place in places] == [2, 3]
    assert writer.append_rows("r", []) == []
    found = events(log)
    assert [getattr(event, "batch", None) for event in found] == [None, None, 2, 2, None]
    assert found[-1] == deleted and deleted.id == f"{writer.name}-4"


def test_memory_and_folder_hold_the_same_lines(tmp_path: Path, codec: str) -> None:
    logs: list[Log] = [FileLog(tmp_path / "x.events", clock=Clock(lambda: 7)), MemoryLog(clock=Clock(lambda: 7))]
    for log in logs:
        writer = log.writer("t", codec)
        writer.acquire()
        writer.append_rows("r", [{"n": n} for n in range(30)])
        for n in range(30):
            writer.append_row("r", {"n": n})
        writer.release("failed", error="ValueError: x")
    one, two = ([(split_id(e.id)[1], e.clock, type(e), getattr(e, "data", None)) for e in events(log)] for log in logs)
    assert one == two and len(one) == 62


# -- ends --------------------------------------------------------------------


def test_last_release_seals_the_segment_and_a_later_event_opens_another(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    writer.acquire()
    writer.acquire()
    writer.append_row("r", {"n": 1})
    writer.release()
    assert not any(isinstance(event, WriterEnded) for event in events(log))
    writer.release("stopped", signal=15)
    last = events(log)[-1]
    assert isinstance(last, WriterEnded) and (last.state, last.signal) == ("stopped", 15)
    writer.append_row("r", {"n": 2})
    assert numbers(log) == [1, 2] and len(log.segments("t")) == 2


def test_release_without_events_writes_nothing(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    writer.acquire()
    writer.release()
    assert not log.path.exists()


def test_store_deleted_meanwhile_is_not_brought_back_by_a_release(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    writer.acquire()
    writer.append_row("r", {"n": 1})
    shutil.rmtree(log.path)
    writer.release()
    assert not log.path.exists()


def test_segment_removed_before_a_release_is_written_again(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    writer.acquire()
    writer.append_row("r", {"n": 1})
    shutil.rmtree(log.folder("t"))
    writer.release()
    assert numbers(log) == [1]
    assert isinstance(events(log)[-1], WriterEnded)


# -- a file taken away -------------------------------------------------------


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    """What a checkout does: another file of that name, with less in it."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def replace_by_equal(path: Path) -> None:
    content = path.read_bytes()
    path.rename(path.with_name("kept"))
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, 10)


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def remove_store(path: Path) -> None:
    shutil.rmtree(path.parent.parent)


@pytest.mark.parametrize("harm", [remove, replace, replace_by_equal, truncate, remove_folder, remove_store])
@pytest.mark.parametrize("before", [1, 31, 32, 40])
def test_segment_taken_away_is_noticed_within_a_few_writes(
    log: FileLog, codec: str, harm: Callable[[Path], None], before: int
) -> None:
    writer = log.writer("t", codec)
    for n in range(before):
        writer.append_row("r", {"n": n})
    ids = {event.data["n"]: event.id for event in events(log) if isinstance(event, RowLogged)}
    old = log.folder("t") / log.segments("t")[0].name
    harm(old)
    for n in range(before, before + 40):
        writer.append_row("r", {"n": n})
    new = log.folder("t") / f"{writer.name}.{codec}"
    assert new != old
    found = [event for chunk in log.scan("t", new.name) for event in chunk.events]
    again = {event.data["n"]: event.id for event in found if isinstance(event, RowLogged)}
    # Everything since the file was last seen in its place is there again, with its id.
    assert set(range(before, before + 40)) <= set(again)
    assert all(again[n] == ids[n] for n in set(again) & set(ids))
    assert isinstance(found[0], WriterStarted) and found[0].id == f"{writer.name}-0"
    clocks = [event.clock for event in found if event.id.startswith(writer.name)]
    assert clocks == sorted(clocks)


def test_segment_taken_away_is_noticed_after_a_while(tmp_path: Path, codec: str) -> None:
    now = [1_000_000]
    log = FileLog(tmp_path / "x.events", clock=Clock(lambda: now[0]))
    writer = log.writer("t", codec)
    writer.append_row("r", {"n": 0})
    (log.folder("t") / log.segments("t")[0].name).unlink()
    now[0] += 100_001
    writer.append_row("r", {"n": 1})
    assert numbers(log) == [0, 1]


def test_lines_that_found_no_room_elsewhere_are_not_forgotten(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    writer.append_row("r", {"n": 0})
    (log.folder("t") / log.segments("t")[0].name).unlink()
    real, writer._put = writer._put, FullDisk(0)
    for _ in range(20):
        with pytest.raises(DiskFull):
            writer.append(RunDeleted, run="r")
    writer._put = real
    writer.append_row("r", {"n": 1})
    assert numbers(log) == [0, 1]


# -- a disk that fails -------------------------------------------------------


def test_full_disk_at_every_byte_keeps_earlier_events_and_works_later(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    size = len(writer.codec.encode(RowLogged(id=f"{'a' * 16}-100", clock=2**51, run="r", data={"n": 100})))
    writer.append_row("r", {"n": 100})
    for room in range(size - 2):
        before = log.segments("t")
        writer._put = FullDisk(room)
        with pytest.raises(DiskFull) as caught:
            writer.append_row("r", {"n": 200 + room})
        assert caught.value.path == log.folder("t") / before[0].name
        assert [s.size for s in log.segments("t")] == [s.size for s in before]
        writer._put = os.write
        writer.append_row("r", {"n": 300 + room})
    assert numbers(log) == [100, *range(300, 298 + size)]
    assert verify(log).ok


def test_full_disk_in_a_batch_keeps_none_of_it(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    writer.append_row("r", {"n": 0})
    for room in (0, 1, 150, 400):
        writer._put = FullDisk(room)
        with pytest.raises(DiskFull):
            writer.append_rows("r", [{"n": n} for n in range(1, 9)])
        assert numbers(log) == [0]
    writer._put = os.write
    writer.append_rows("r", [{"n": 1}])
    assert numbers(log) == [0, 1] and verify(log).torn == []


def test_full_disk_at_the_first_event_leaves_no_segment(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    writer.acquire()
    for room in (0, 20, 60):
        writer._put = FullDisk(room)
        with pytest.raises(DiskFull):
            writer.append_row("r", {"n": room})
        assert log.segments("t") == [] or numbers(log) == []
    writer._put = os.write
    writer.append_row("r", {"n": 1})
    writer.release()
    assert numbers(log) == [1] and verify(log).ok


def test_no_room_for_the_end_is_no_error(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    writer.acquire()
    writer.append_row("r", {"n": 0})
    writer._put = FullDisk(5)
    writer.release()
    assert len(events(log)) == 2 and verify(log).torn == []


@pytest.mark.parametrize("script", ["RE", "RPE", "RPPE", "RI", "Ri", "RPi", "Rp", "RPI"])
def test_a_write_broken_off_leaves_whole_lines_and_an_id_is_never_used_twice(
    log: FileLog, codec: str, script: str
) -> None:
    writer = log.writer("t", codec)
    writer._put = Script("R" + script)
    writer.append_row("r", {"n": 0})
    with pytest.raises((StorageFailed, KeyboardInterrupt)):
        writer.append_row("r", {"n": 1})
    writer.append_row("r", {"n": 2})
    assert numbers(log) in ([0, 2], [0, 1, 2])
    assert (1 in numbers(log)) == script.endswith("i")
    ids = [event.id for event in events(log)]
    assert len(set(ids)) == len(ids)
    assert verify(log).ok and not verify(log).torn


def _close(writer: Writer) -> None:
    writer.release()
    writer.acquire()


#: What a signal handler may do in the middle of an append, and the rows that come of it.
HANDLERS: dict[str, tuple[Callable[[Writer], Any], list[tuple[str, int]]]] = {
    "row": (lambda writer: writer.append_row("r", {"n": 100}), [("r", 100)]),
    "row of another run": (lambda writer: writer.append_row("other", {"n": 100}), [("other", 100)]),
    "batch": (lambda writer: writer.append_rows("r", [{"n": 100}, {"n": 101}]), [("r", 100), ("r", 101)]),
    "close": (_close, []),
}
APPENDS: dict[str, tuple[Callable[[Writer], Any], list[tuple[str, int]]]] = {
    "row": (lambda writer: writer.append_row("r", {"n": 1}), [("r", 1)]),
    "batch": (lambda writer: writer.append_rows("r", [{"n": 1}, {"n": 2}]), [("r", 1), ("r", 2)]),
    "event": (lambda writer: writer.append(RunDeleted, run="gone"), []),
}


@pytest.mark.parametrize("inner", HANDLERS)
@pytest.mark.parametrize("outer", APPENDS)
@pytest.mark.parametrize("first", [True, False])
def test_signal_handler_in_the_middle_of_an_append_costs_no_row_and_no_id(
    tmp_path: Path, codec: str, first: bool, outer: str, inner: str
) -> None:
    (append, appended), (handle, handled) = APPENDS[outer], HANDLERS[inner]
    step, ran = 0, [True]
    while ran:
        step, ran = step + 1, []
        log = FileLog(tmp_path / f"{step}.events")
        writer = log.writer("t", codec)
        writer.acquire()
        if not first:
            writer.append_row("r", {"n": 0})

        def handler(writer: Writer = writer, ran: list[bool] = ran) -> None:
            ran.append(True)
            handle(writer)

        stepped(functools.partial(append, writer), handler, step)
        writer.append_row("r", {"n": 9})
        writer.release()
        found = events(log)
        rows = sorted((event.run, event.data["n"]) for event in found if isinstance(event, RowLogged))
        wanted = [*appended, *(handled if ran else []), ("r", 9), *([] if first else [("r", 0)])]
        assert rows == sorted(wanted), step
        assert len({event.id for event in found}) == len(found), step
        assert sum(isinstance(event, WriterStarted) for event in found) == len(log.segments("t"))
    assert step > 20


def test_a_disk_that_writes_bytes_one_by_one_is_fed_them_all(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    writer._put = lambda fd, lines: os.write(fd, lines[:7])
    for n in range(5):
        writer.append_row("r", {"n": n})
    writer.append_rows("r", [{"n": 5}, {"n": 6}])
    assert numbers(log) == list(range(7))


@posix
def test_file_size_limit_of_the_system_is_a_full_disk(tmp_path: Path, codec: str) -> None:
    code = f"""
import resource, sys
from xetrack.errors import DiskFull
from xetrack.log.log import FileLog
writer = FileLog("x.events").writer("t", {codec!r})
writer.append_row("r", {{"n": 0}})
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
n = 1
try:
    while True:
        writer.append_row("r", {{"n": n}})
        n += 1
except DiskFull:
    print(n)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.append_row("r", {{"n": n}})
"""
    done = run_python(code, tmp_path)
    log = FileLog(tmp_path / "x.events")
    assert int(done) > 5 and numbers(log) == list(range(int(done) + 1))


@posix
def test_folder_without_permission_is_named(tmp_path: Path, codec: str) -> None:
    code = f"""
import os
from xetrack.errors import PermissionDenied
from xetrack.log.log import FileLog
writer = FileLog("x.events").writer("t", {codec!r})
os.chmod(".", 0o500)
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    writer.append_row("r", {{}})
except PermissionDenied as error:
    print(error.path)
"""
    try:
        assert str(tmp_path / "x.events") in run_python(code, tmp_path)
    finally:
        tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == []


def test_file_where_the_folder_belongs_is_named_and_left_alone(tmp_path: Path, codec: str) -> None:
    (tmp_path / "x.events").write_text("mine")
    with pytest.raises(StorageFailed) as caught:
        FileLog(tmp_path / "x.events").writer("t", codec).append_row("r", {})
    assert "x.events" in str(caught.value)
    assert (tmp_path / "x.events").read_text() == "mine"


# -- processes and threads ---------------------------------------------------


def run_python(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@posix
def test_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path, codec: str) -> None:
    code = f"""
import os
from xetrack.log.log import FileLog
writer = FileLog("x.events").writer("t", {codec!r})
n = 0
while True:
    writer.append_row("r", {{"n": n, "text": "x" * 100}})
    os.write(1, b"%d\\n" % n)
    n += 1
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    while child.stdout.readline() != b"500\n":
        pass
    child.send_signal(signal.SIGKILL)
    acknowledged = [500, *map(int, child.stdout.read().split(b"\n")[:-1])][-1]
    child.stdout.close()
    child.wait()
    log = FileLog(tmp_path / "x.events")
    found = numbers(log)
    assert found == list(range(len(found))) and acknowledged < len(found) <= acknowledged + 2
    assert verify(log).ok


def write_numbers(path: str, codec: str, first: int, count: int) -> None:
    writer = FileLog(path).writer("t", codec)
    writer.acquire()
    for n in range(first, first + count):
        writer.append_row("r", {"n": n})
    writer.release()


@pytest.mark.parametrize("method", METHODS)
def test_each_process_writes_a_segment_of_its_own(tmp_path: Path, codec: str, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    path = str(tmp_path / "x.events")
    keeper = FileLog(path).writer("t", codec)
    keeper.append_row("r", {"n": 0})
    children = [context.Process(target=write_numbers, args=(path, codec, 1 + 200 * k, 200)) for k in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    keeper.append_row("r", {"n": 601})
    log = FileLog(path)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert numbers(log) == list(range(602)) and len(log.segments("t")) == 4


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
@pytest.mark.parametrize("kind", [FileLog, MemoryLog])
def test_forked_child_goes_on_as_a_new_writer_with_the_writer_it_inherits(
    tmp_path: Path, codec: str, kind: type[Log]
) -> None:
    log = FileLog(tmp_path / "x.events") if kind is FileLog else MemoryLog()
    writer = log.writer("t", codec)
    writer.acquire()
    writer.append_row("r", {"n": 0})
    name = writer.name

    def child() -> int:
        writer.append_row("r", {"n": 1})
        own = log.writer("t", codec)
        own.append_row("r", {"n": 2})
        ids = [event.id for event in events(log)]
        return 0 if writer.name != name and len(set(ids)) == len(ids) and numbers(log) == [0, 1, 2] else 1

    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = child()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    writer.append_row("r", {"n": 3})
    assert writer.name == name
    assert numbers(log) == ([0, 1, 2, 3] if kind is FileLog else [0, 3])


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
def test_fork_while_other_threads_append_does_not_hang_the_child(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    stop = threading.Event()

    def keep_on() -> None:
        while not stop.is_set():
            writer.append_row("r", {"n": -1})
            log.clock.witness(1)
            log.writer("t", codec)

    threads = [threading.Thread(target=keep_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for n in range(20):
            pid = os.fork()
            if pid == 0:
                code = 99
                try:
                    signal.alarm(30)
                    writer.append_row("r", {"n": n})
                    log.clock.witness(1)
                    log.writer("t", codec).append_row("r", {"n": n})
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [n for n in numbers(log) if n >= 0] == sorted([*range(20)] * 2)


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
def test_locks_that_a_thread_holds_at_a_fork_are_free_in_the_child(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)
    writer.append_row("r", {"n": 0})
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with writer._lock, log.clock._lock, log._shared.lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            signal.alarm(30)
            log.clock.witness(2**51)
            log.writer("t", codec).append_row("r", {"n": 1})
            writer.append_row("r", {"n": 2})
            code = 0
        finally:
            os._exit(code)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert numbers(log) == [0, 1, 2]


def test_threads_share_one_segment(log: FileLog, codec: str) -> None:
    writer = log.writer("t", codec)

    def work(k: int) -> None:
        for n in range(300):
            if n % 10:
                writer.append_row(f"r{k}", {"n": k * 300 + n})
            else:
                writer.append_rows(f"r{k}", [{"n": k * 300 + n}])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(log) == list(range(1800)) and len(log.segments("t")) == 1
    found = [event for event in events(log) if isinstance(event, RowLogged)]
    assert all(event.run == f"r{event.data['n'] // 300}" for event in found)
    assert [split_id(event.id)[1] for event in found] == list(range(1, 1801))


@posix
def test_living_writer_holds_a_lock_that_others_can_see(log: FileLog, codec: str) -> None:
    import fcntl

    writer = log.writer("t", codec)
    writer.acquire()
    writer.append_row("r", {})
    with open(log.folder("t") / log.segments("t")[0].name, "rb") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        writer.release()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
