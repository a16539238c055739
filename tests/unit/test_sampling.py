"""Sampling: what a call gets from start to end, from whichever thread and in whichever process."""

from __future__ import annotations

import gc
import logging
import math
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT
from xetrack.errors import InvalidArgument
from xetrack.track import sampling
from xetrack.track.sampling import CpuTimes, Machine, Sample, Sampler, Traffic

METHODS = [name for name in ("fork", "spawn", "forkserver") if name in multiprocessing.get_all_start_methods()]
SYSTEM = {"cpu_percent", "ram_percent", "p_memory_percent", "disk_percent"}
HOUR_S = 3600.0


class Dial(Machine):
    """A machine whose levels, CPU and traffic are set by hand."""

    def __init__(self) -> None:
        super().__init__(".")
        self.level = 0.0
        self.times: CpuTimes | None = CpuTimes(0.0, 0.0)
        self.interfaces: dict[str, Traffic] | None = {"eth0": Traffic(0, 0)}

    def levels(self) -> Sample:
        return dict.fromkeys(("ram_percent", "p_memory_percent", "disk_percent"), self.level)

    def cpu(self) -> CpuTimes | None:
        return self.times

    def traffic(self) -> dict[str, Traffic] | None:
        return self.interfaces

    def work(self, busy_s: float, total_s: float) -> None:
        assert self.times is not None
        self.times = CpuTimes(self.times.busy_s + busy_s, self.times.total_s + total_s)


@pytest.fixture
def dial() -> Dial:
    return Dial()


def sampler_of(machine: Machine, *, network: bool = False) -> Sampler:
    return Sampler(system=not network, network=network, interval_s=HOUR_S, machine=machine)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "xetrack-sampler"]


# -- means -------------------------------------------------------------------


def test_levels_are_means_of_start_ticks_and_end(dial: Dial) -> None:
    sampler = sampler_of(dial)
    dial.level = 10.0
    end = sampler.measure()
    for dial.level in (20.0, 90.0):
        sampler.tick()
    dial.level = 40.0
    columns = end()
    assert columns == {"cpu_percent": 0.0, "ram_percent": 40.0, "p_memory_percent": 40.0, "disk_percent": 40.0}


def test_calls_that_overlap_have_samples_of_their_own_time(dial: Dial) -> None:
    sampler = sampler_of(dial)
    dial.level = 10.0
    first = sampler.measure()
    dial.level = 40.0
    sampler.tick()
    second = sampler.measure()
    sampler.tick()
    assert first()["ram_percent"] == (10 + 40 + 40 + 40) / 4
    dial.level = 70.0
    sampler.tick()
    assert second()["ram_percent"] == (40 + 40 + 70 + 70) / 4


def test_a_level_that_is_missing_in_some_samples_is_the_mean_of_the_others(
    dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = sampler_of(dial)
    dial.level = 10.0
    end = sampler.measure()
    monkeypatch.setattr(dial, "levels", lambda: {"ram_percent": 30.0, "gpu_percent": 50.0})
    assert end() == {
        "cpu_percent": 0.0,
        "ram_percent": 20.0,
        "p_memory_percent": 10.0,
        "disk_percent": 10.0,
        "gpu_percent": 50.0,
    }


def test_cpu_is_the_busy_share_of_each_calls_own_time(dial: Dial) -> None:
    sampler = sampler_of(dial)
    first = sampler.measure()
    dial.work(busy_s=10, total_s=10)
    second = sampler.measure()
    dial.work(busy_s=0, total_s=10)
    assert first()["cpu_percent"] == 50.0
    dial.work(busy_s=0, total_s=20)
    assert second()["cpu_percent"] == 0.0


def test_cpu_of_a_call_within_a_tick_reaches_back_to_an_earlier_reading(dial: Dial) -> None:
    sampler = sampler_of(dial)
    assert sampler.measure()()["cpu_percent"] == 0.0  # nothing has been counted yet
    dial.work(busy_s=1, total_s=4)
    assert sampler.measure()()["cpu_percent"] == 25.0
    assert sampler.measure()()["cpu_percent"] == 25.0
    dial.work(busy_s=4, total_s=4)
    assert sampler.measure()()["cpu_percent"] == 100.0


def test_cpu_stays_within_its_bounds_when_a_cpu_goes_offline(dial: Dial) -> None:
    sampler = sampler_of(dial)
    end = sampler.measure()
    dial.work(busy_s=-5, total_s=10)
    assert end()["cpu_percent"] == 0.0


def test_network_counts_what_passed_during_the_call(dial: Dial) -> None:
    dial.interfaces = {"eth0": Traffic(1000, 2000), "vpn0": Traffic(9000, 9000)}
    sampler = sampler_of(dial, network=True)
    end = sampler.measure()
    dial.interfaces = {"eth0": Traffic(1100, 2030), "wlan0": Traffic(7, 8)}  # one went down, one came up
    assert end() == {"bytes_sent": 107, "bytes_recv": 38}


def test_network_is_not_negative_when_an_interface_starts_over(dial: Dial) -> None:
    dial.interfaces = {"eth0": Traffic(1000, 2000)}
    end = sampler_of(dial, network=True).measure()
    dial.interfaces = {"eth0": Traffic(5, 2001)}
    assert end() == {"bytes_sent": 0, "bytes_recv": 1}


def test_a_row_that_is_no_call_has_levels_of_the_moment_and_what_was_since_the_last(dial: Dial) -> None:
    sampler = Sampler(system=True, network=True, interval_s=1, machine=dial)
    for busy_s, sent in ((1.0, 100), (3.0, 250)):
        dial.level, dial.interfaces = 10 * busy_s, {"eth0": Traffic(sent, 0)}
        dial.work(busy_s, 4)
        columns = sampler.now()
        assert (columns["ram_percent"], columns["cpu_percent"]) == (10 * busy_s, 25 * busy_s)
    assert columns["bytes_sent"] == 150
    assert not threads()


# -- the thread --------------------------------------------------------------


def test_one_daemon_thread_serves_all_calls_and_is_gone_after_the_last(dial: Dial) -> None:
    sampler = sampler_of(dial)
    ends = [sampler.measure() for _ in range(3)]
    (thread,) = threads()
    assert thread.daemon
    ends.pop(1)()
    ends.pop(0)()
    assert threads() == [thread]
    ends.pop()()
    assert not threads()
    sampler.measure()()
    assert not threads()


def test_network_alone_needs_no_thread(dial: Dial) -> None:
    end = sampler_of(dial, network=True).measure()
    assert not threads()
    end()


def test_the_thread_takes_a_sample_every_interval(dial: Dial) -> None:
    taken = threading.Semaphore(0)

    class Counted(Dial):
        def levels(self) -> Sample:
            if threading.current_thread().name == "xetrack-sampler":
                self.level = 90.0
                taken.release()
            return super().levels()

    machine = Counted()
    end = Sampler(system=True, network=False, interval_s=1e-9, machine=machine).measure()
    assert all(taken.acquire(timeout=60) for _ in range(3))
    assert end()["ram_percent"] > 45.0


def _later(kept: list[Callable[[], None]]) -> Callable[[Callable[[], None]], bool]:
    """Keeps what is to be called."""

    def keep(function: Callable[[], None]) -> bool:
        kept.append(function)
        return True

    return keep


def test_a_call_that_is_over_soon_needs_no_thread_where_one_can_be_started_later(dial: Dial) -> None:
    soon: list[Callable[[], None]] = []
    sampler = Sampler(system=True, network=False, interval_s=1, machine=dial, call_soon=_later(soon))
    sampler.measure()()
    assert len(soon) == 1 and not threads()
    soon.pop()()
    assert not threads()  # nobody is measured any more
    end = sampler.measure()
    assert not threads()
    soon.pop()()
    assert len(threads()) == 1
    assert set(end()) == SYSTEM
    assert not threads()


def test_a_thread_that_is_wanted_often_or_that_nobody_starts_later_is_there_at_once(dial: Dial) -> None:
    for interval_s, takes in ((0.9, True), (1, False)):
        call_soon = _later([]) if takes else lambda _: False
        sampler = Sampler(system=True, network=False, interval_s=interval_s, machine=dial, call_soon=call_soon)
        end = sampler.measure()
        assert len(threads()) == 1
        end()


def test_a_thread_that_is_started_late_takes_its_samples_when_they_are_due(dial: Dial) -> None:
    taken = threading.Event()

    class Told(Dial):
        def levels(self) -> Sample:
            if threading.current_thread().name == "xetrack-sampler":
                taken.set()
            return super().levels()

    soon: list[Callable[[], None]] = []
    sampler = Sampler(system=True, network=False, interval_s=60, machine=Told(), call_soon=_later(soon))
    end = sampler.measure()
    measurement = next(iter(sampler._active.values()))()
    assert measurement is not None
    measurement.began_s -= 119.9  # two intervals all but a tenth of a second ago
    soon.pop()()
    assert taken.wait(timeout=30)
    end()


def test_a_call_that_is_dropped_without_an_end_stops_the_thread(dial: Dial) -> None:
    sampler = Sampler(system=True, network=False, interval_s=1e-9, machine=dial)
    end = sampler.measure()
    (thread,) = threads()
    del end
    gc.collect()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert set(sampler.measure()()) == SYSTEM


def test_a_call_that_ends_on_the_thread_itself_does_not_wait_for_it(dial: Dial) -> None:
    done = threading.Event()
    ends: list[Callable[[], Any]] = []

    class Ending(Dial):
        def levels(self) -> Sample:
            if threading.current_thread().name == "xetrack-sampler" and ends:
                ends.pop()()  # as a generator does that is collected there
                done.set()
            return super().levels()

    ends.append(Sampler(system=True, network=False, interval_s=1e-9, machine=Ending()).measure())
    thread = threads()[0]
    assert done.wait(timeout=60)
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_call_is_measured_where_no_thread_can_start(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    sampler = sampler_of(dial)
    dial.level = 10.0
    end = sampler.measure()
    dial.level = 30.0
    assert end()["ram_percent"] == 20.0


def test_64_threads_measure_at_once_and_leave_no_thread() -> None:
    sampler = Sampler(system=True, network=True, interval_s=0.01)
    barrier = threading.Barrier(64)

    def call(_: int) -> dict[str, Any]:
        barrier.wait(timeout=60)
        end = sampler.measure()
        sum(range(10_000))
        return end()

    with ThreadPoolExecutor(64) as pool:
        rows = list(pool.map(call, range(64)))
    assert not threads()
    assert all(0 <= row[name] <= 100 for row in rows for name in SYSTEM)
    assert all(row["bytes_sent"] >= 0 for row in rows)


# -- processes ---------------------------------------------------------------


def measure_in_worker(_: int) -> tuple[dict[str, Any], int, bool]:
    """What a pool's worker, which is daemonic and may have no children, does."""
    sampler = Sampler(system=True, network=True, interval_s=0.01)
    end = sampler.measure()
    sampling_threads = len(threads())
    return end(), sampling_threads, bool(threads())


@pytest.mark.parametrize("method", METHODS)
def test_pool_workers_measure(method: str) -> None:
    with multiprocessing.get_context(method).Pool(2) as pool:
        for columns, sampling_threads, leaked in pool.map(measure_in_worker, range(4)):
            assert SYSTEM | {"bytes_sent", "bytes_recv"} <= set(columns)
            assert (sampling_threads, leaked) == (1, False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_call_that_forks_is_measured_on_both_sides() -> None:
    # -W error: Python 3.12 warns of a fork beside a running thread. In a process of its own, which forks.
    script = """
import os, threading
beside = []
os.register_at_fork(before=lambda: beside.append(threading.active_count()))
from xetrack.track.sampling import Sampler
sampler = Sampler(system=True, network=True, interval_s=0.01)
end = sampler.measure()
before = threading.active_count()
child = os.fork()
alive = threading.active_count()
nested = sampler.measure()
inside = threading.active_count()
columns = nested()
after = threading.active_count()
assert columns.keys() == end().keys()
assert threading.active_count() == 1
if not child:
    assert sampler.machine._process.pid == os.getpid()
    os._exit(100 * alive + 10 * inside + after)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 121, "a thread only while the child measures"
print(before, *beside, alive, inside, after)
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "2 1 2 2 2\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_no_thread_starts_while_the_process_forks() -> None:
    # The hook runs after the sampler's own, as those of libraries do that were there before. Another thread that
    # forks at the time, or a signal handler, is done while it runs.
    script = """
import os, threading
beside, ends = [], []

def measure():
    if not ends:
        ends.append(None)
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        ends.append(sampler.measure())
    beside.append(threading.active_count())

os.register_at_fork(before=measure)
from xetrack.track.sampling import Sampler
sampler = Sampler(system=True, network=False, interval_s=0.01)
child = os.fork()
if not child:
    sampler.measure()()
    os._exit(threading.active_count())
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
during = threading.active_count()
columns = ends[1]()
assert columns["ram_percent"] > 0
print(beside, during, threading.active_count())
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "[1, 1] 2 1\n", "")


def test_a_call_that_ends_on_a_thread_that_is_being_started_does_not_wait_for_it() -> None:
    # As a generator does that is collected there, before the thread says that it runs.
    script = """
import threading
from xetrack.track.sampling import Sampler
sampler = Sampler(system=True, network=False, interval_s=3600)
collected, inside = [], threading.Thread._bootstrap_inner

def begin(thread):
    collected.pop()()
    inside(thread)

collected.append(Sampler(system=True, network=False, interval_s=3600, call_soon=lambda _: True).measure())
threading.Thread._bootstrap_inner = begin
end = sampler.measure()
print(threading.active_count())
end()
print(threading.active_count())

own = Sampler(system=True, network=False, interval_s=3600, call_soon=lambda start: starts.append(start) or True)
starts = []
collected.append(own.measure())
starts.pop()()
[thread.join() for thread in threading.enumerate() if thread.name == "xetrack-sampler"]
print(own._thread, threading.active_count())
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "2\n1\nNone 1\n", "")


def test_no_process_is_started_and_the_thread_keeps_no_program_alive() -> None:
    script = """
import sys
started = []
sys.addaudithook(lambda event, _: started.append(event) if event in {
    "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen", "os.exec"} else None)
from xetrack.track.sampling import Sampler
sampler = Sampler(system=True, network=True, interval_s=3600)
sampler.measure()()
print(started)
left_open = sampler.measure()
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")


# -- the machine -------------------------------------------------------------


def test_this_machine_tells_its_levels(tmp_path: Path) -> None:
    sampler = Sampler(system=True, network=True, interval_s=1, path=tmp_path)
    end = sampler.measure()
    columns = end()
    assert SYSTEM | {"bytes_sent", "bytes_recv"} <= set(columns)
    assert all(isinstance(columns[name], float) and 0 <= columns[name] <= 100 for name in SYSTEM)
    assert columns["ram_percent"] > 0 and columns["p_memory_percent"] > 0
    assert columns["disk_percent"] == pytest.approx(psutil.disk_usage(str(tmp_path)).percent, abs=5)
    assert all(isinstance(columns[name], int) for name in ("bytes_sent", "bytes_recv"))


def test_bytes_are_bytes() -> None:
    end = Sampler(system=False, network=True, interval_s=1).measure()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            client.sendall(bytes(40_000))
            received = 0
            while received < 40_000:
                received += len(accepted.recv(65_536))
    columns = end()
    if "lo" in psutil.net_io_counters(pernic=True):  # elsewhere loopback may not be counted
        assert columns["bytes_sent"] >= 40_000 and columns["bytes_recv"] >= 40_000


def test_busy_share_leaves_out_what_linux_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("user", "nice", "system", "idle", "iowait", "guest", "guest_nice")
    times = types.SimpleNamespace(
        _asdict=lambda: dict(zip(names, (30.0, 5.0, 5.0, 50.0, 10.0, 20.0, 5.0), strict=True))
    )
    monkeypatch.setattr(psutil, "cpu_times", lambda: times)
    assert Machine(".").cpu() == CpuTimes(busy_s=40.0, total_s=100.0)


def test_what_the_system_does_not_tell_is_none_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", "/proc/net/dev")

    for name in ("cpu_times", "virtual_memory", "net_io_counters", "Process"):
        monkeypatch.setattr(psutil, name, refuse)
    caplog.set_level(logging.DEBUG, logger="xetrack")
    sampler = Sampler(system=True, network=True, interval_s=1, path=tmp_path / "gone")
    for _ in range(2):
        assert sampler.measure()() == dict.fromkeys([*sorted(SYSTEM), "bytes_sent", "bytes_recv"])
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said)) == 5
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


@pytest.mark.parametrize("interval", [0, -1, -0.5, math.nan, math.inf, 10**400, True, "1", None, [1], 1j])
def test_an_interval_that_is_no_positive_number_is_refused(interval: Any) -> None:
    with pytest.raises(InvalidArgument, match="measurement_interval") as refused:
        Sampler(system=True, network=False, interval_s=interval)
    assert refused.value.name == "measurement_interval"


@pytest.mark.parametrize("interval", [1, 0.5, Fraction(1, 2), 1e300, 5e-324])
def test_an_interval_is_any_positive_number(interval: Any, dial: Dial) -> None:
    sampler = Sampler(system=True, network=False, interval_s=interval, machine=dial)
    sampler.measure()()
    assert 0.01 <= sampler.interval_s <= threading.TIMEOUT_MAX


# -- GPUs --------------------------------------------------------------------


class Nvml(types.ModuleType):
    """Stands for the driver's library, which a machine without a GPU does not have."""

    class NVMLError(Exception):
        pass

    def __init__(self, *devices: tuple[int | None, int, int]) -> None:
        super().__init__("pynvml")
        self.devices = devices
        self.started: list[int] = []

    def nvmlInit(self) -> None:
        self.started.append(os.getpid())
        if not self.devices:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> tuple[int | None, int, int]:
        return self.devices[index]

    def nvmlDeviceGetUtilizationRates(self, device: tuple[int | None, int, int]) -> types.SimpleNamespace:
        if device[0] is None:
            raise self.NVMLError("Not Supported")
        return types.SimpleNamespace(gpu=device[0], memory=1)

    def nvmlDeviceGetMemoryInfo(self, device: tuple[int | None, int, int]) -> types.SimpleNamespace:
        return types.SimpleNamespace(used=device[1], total=device[2])


def gpu_columns(monkeypatch: pytest.MonkeyPatch, nvml: Nvml | None, calls: int = 1) -> dict[str, Any]:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(sampling, "_gpus", sampling._Gpus())
    sampler = Sampler(system=True, network=False, interval_s=1)
    for _ in range(calls):
        columns = sampler.measure()()
    return {name: columns[name] for name in columns if name not in SYSTEM}


def test_gpu_columns_are_means_over_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml((100, 4, 8), (20, 0, 8))
    assert gpu_columns(monkeypatch, nvml, calls=3) == {"gpu_percent": 60.0, "gpu_memory_percent": 25.0}
    assert nvml.started == [os.getpid()]


def test_a_gpu_that_tells_its_memory_only_counts_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_columns(monkeypatch, Nvml((50, 2, 8), (None, 6, 8))) == {"gpu_percent": 50.0, "gpu_memory_percent": 50.0}
    assert gpu_columns(monkeypatch, Nvml((None, 6, 8))) == {"gpu_memory_percent": 75.0}


@pytest.mark.parametrize("nvml", [None, Nvml()], ids=["no package", "no driver"])
def test_without_a_gpu_there_are_no_columns_and_no_words(
    nvml: Nvml | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="xetrack")
    assert gpu_columns(monkeypatch, nvml, calls=3) == {}
    assert not caplog.records
    if nvml is not None:
        monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a child
        assert sampling._gpus.levels() == {}
        assert len(nvml.started) == 1, "looked for once, not again after a fork"


def test_a_forked_child_starts_nvml_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml((10, 1, 2))
    gpu_columns(monkeypatch, nvml)
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a child
    assert sampling._gpus.levels() == {"gpu_percent": 10.0, "gpu_memory_percent": 50.0}
    assert len(nvml.started) == 2
