"""What a call used of the machine: CPU, memory, disk, network, GPUs, as columns.

Knows neither tracker nor log: ``Sampler.measure`` begins a measurement, and what
it returns ends it and gives the columns. While calls are being measured, one
daemon thread of this process takes samples for all of them; it is gone when the
last call ended. Where somebody else can start it soon, a call that is over by then
needs none. No process is started, so worker processes can do it too; a
forked child starts a thread of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import numbers
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

from xetrack.errors import InvalidArgument
from xetrack.forks import Rests

logger = logging.getLogger("xetrack")

#: Columns of ``system=True``, always there; None where the system would not tell.
SYSTEM_COLUMNS = ("cpu_percent", "ram_percent", "p_memory_percent", "disk_percent")
#: Columns of ``network=True``.
NETWORK_COLUMNS = ("bytes_sent", "bytes_recv")

#: Samples are not taken more often: each takes the interpreter away from the call.
_MIN_INTERVAL_S = 0.01
#: A thread that is due to take samples so often, or less, may be started by somebody else, half a second late.
_PATIENT_S = 1.0
#: CPU time is counted in ticks of often 10 ms; a share of less than this (of all CPUs together) would be noise.
_MIN_CPU_S = 0.5
#: A GPU's driver renews its utilisation a few times a second.
_GPU_RENEWED_S = 0.1

T = TypeVar("T")
#: Levels at one moment: percent by column. What could not be read is absent.
Sample = dict[str, float]


class CpuTimes(NamedTuple):
    """Seconds of all CPUs together since the machine started."""

    busy_s: float
    total_s: float


class Traffic(NamedTuple):
    """Bytes of one network interface since it came up."""

    sent: int
    received: int


class Sampler:
    """Measures calls. Threads may share one, each call gets its own numbers.

    Columns with ``system``, each a percentage from 0 to 100:

    - ``cpu_percent``: busy share of all CPUs of the machine during the call. The
      system counts in ticks, so for a call of less than about half a second of CPU time
      (of all CPUs together) it reaches back to an earlier measurement, at the
      earliest to when the sampler was made; 0.0 before the first tick.
    - ``ram_percent``: physical memory in use, ``p_memory_percent``: what this
      process has of it (resident), ``disk_percent``: what is used of the file
      system at ``path``; means of a sample at the start, one at the end and one
      every ``interval_s`` (not under 10 ms).
    - ``gpu_percent`` and ``gpu_memory_percent``: utilisation and memory, means
      over the samples and all GPUs that NVML sees; absent where there is none.

    Columns with ``network``: ``bytes_sent`` and ``bytes_recv``, bytes during the
    call over all interfaces of the machine.

    A column is None where the system would not tell. Nothing here fails a call.

    Raises:
        InvalidArgument: ``interval_s`` is no positive, finite number.
    """

    def __init__(
        self,
        *,
        system: bool,
        network: bool,
        interval_s: float,
        path: Path | str = ".",
        machine: Machine | None = None,
        call_soon: Callable[[Callable[[], None]], bool] | None = None,
    ) -> None:
        """``call_soon`` calls a function half a second later, or gives False: to start a thread takes longest here."""
        self._call_soon = call_soon
        self.interval_s = min(max(_checked(interval_s), _MIN_INTERVAL_S), threading.TIMEOUT_MAX)
        self.system, self.network = system, network
        self.machine = machine or Machine(path)
        self._numbers = itertools.count()
        self._reset_process()
        if system:
            self.sample()  # what is slow the first time, such as finding the GPUs, is not part of a call
        #: Two earlier readings, the older first, for calls too short for a share of their own.
        self._earlier: tuple[CpuTimes, ...] = ()
        self._last = _Measurement(self)
        _samplers[next(_sampler_numbers)] = self

    def _reset_process(self) -> None:
        # Reentrant: a generator that is collected at any point ends its measurement there.
        self._lock = threading.RLock()
        self._thread: tuple[threading.Thread, threading.Event] | None = None
        #: Calls being measured. Each operation on it is atomic, so that the thread needs no lock.
        self._active: dict[int, weakref.ref[_Measurement]] = {}

    def measure(self) -> Callable[[], dict[str, Any]]:
        """Begin to measure a call; the function returned ends it and gives its columns.

        Begin before the clock of the call starts and end after it stopped: both cost a fraction of a millisecond.
        """
        measurement = _Measurement(self, self.sample() if self.system else {})
        if self.system:
            self._join(measurement)
        return measurement.end

    def now(self) -> dict[str, Any]:
        """Columns for a row that is no call: levels of this moment, CPU and traffic since the last such row."""
        last, self._last = self._last, _Measurement(self)
        return last.end()

    def sample(self) -> Sample:
        """Levels of this moment."""
        return self.machine.levels()

    def tick(self) -> None:
        """Take a sample for all calls being measured, as the thread does every ``interval_s``."""
        measured = [found for ref in list(self._active.values()) if (found := ref()) is not None]
        if measured:
            sample = self.sample()
            for measurement in measured:
                measurement.add(sample)

    # the thread

    def _join(self, measurement: _Measurement) -> None:
        """Have a thread take samples for a call. One that is dropped without an end leaves by itself."""
        active, number = self._active, next(self._numbers)
        measurement.number = number
        active[number] = weakref.ref(measurement, lambda _: active.pop(number, None))
        if self._call_soon is None or self.interval_s < _PATIENT_S or not self._call_soon(self._start):
            self._start()

    def _start(self) -> None:
        """Have the thread run if a call is being measured and nobody forks.

        Not under the lock: a new thread is waited for, and the garbage collector may end a measurement in it.
        """
        with self._lock:
            if self._thread is not None or _forks or not self._active:
                return
            stop = threading.Event()
            thread = threading.Thread(target=self._run, args=(stop,), name="xetrack-sampler", daemon=True)
            self._thread = started = (thread, stop)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending: two samples are enough
            with self._lock:
                if self._thread is started:
                    self._thread = None
            logger.debug("No thread for samples: %s", error)

    def _leave(self, measurement: _Measurement) -> None:
        """Take no more samples for a call, and end the thread with the last one."""
        self._active.pop(measurement.number, None)
        self._stop(only_if_idle=True)

    def _stop(self, *, only_if_idle: bool) -> None:
        with self._lock:
            if self._thread is None or (only_if_idle and self._active):
                return
            (thread, stop), self._thread = self._thread, None
        stop.set()
        if thread is not threading.current_thread():
            with contextlib.suppress(RuntimeError):  # it is about to be started, and will find that it is to stop
                thread.join(timeout=1)  # longer only if a disk or a driver hangs; the thread is a daemon

    def _run(self, stop: threading.Event) -> None:
        wait_s = self._until_due_s()
        while not stop.wait(wait_s):
            self.tick()
            if self._is_over(stop):
                return
            wait_s = self.interval_s

    def _until_due_s(self) -> float:
        """Until a whole number of intervals after the first of the calls began."""
        began_s = min((found.began_s for ref in list(self._active.values()) if (found := ref())), default=0.0)
        return self.interval_s - (time.monotonic() - began_s) % self.interval_s

    def _is_over(self, stop: threading.Event) -> bool:
        """Whether the calls were dropped without an end, or Ctrl-C came before the thread could be told."""
        current = self._thread
        if current is None or current[1] is not stop:
            return True
        # Not waiting for the lock: its holder may be waiting for this thread.
        if self._active or not self._lock.acquire(blocking=False):
            return False
        try:
            if not self._active and self._thread is current:
                self._thread = None
                return True
            return False
        finally:
            self._lock.release()

    # CPU time

    def _cpu(self) -> CpuTimes | None:
        cpu, earlier = self.machine.cpu(), self._earlier
        if cpu is not None and (not earlier or cpu.total_s - earlier[-1].total_s >= _MIN_CPU_S):
            self._earlier = (*earlier[-1:], cpu)
        return cpu

    def _cpu_percent(self, start: CpuTimes | None, end: CpuTimes | None) -> float | None:
        """Busy share of all CPUs between two readings, or since an earlier one if they are too close."""
        if start is None or end is None:
            return None
        starts = [start, *reversed(self._earlier)]
        enough = (reading for reading in starts if end.total_s - reading.total_s >= _MIN_CPU_S)
        start = next(enough, starts[-1])
        total_s = end.total_s - start.total_s
        # Bounded: a CPU that goes offline takes its counts along.
        return min(max(100 * (end.busy_s - start.busy_s) / total_s, 0.0), 100.0) if total_s > 0 else 0.0


class _Measurement:
    """One call between its start and its end. Samples come from the sampler's thread."""

    def __init__(self, sampler: Sampler, sample: Sample | None = None) -> None:
        self.sampler, self.number = sampler, -1
        self.began_s = time.monotonic()
        #: Sum and count by column. Replaced, never changed: a fork or an end at any moment finds it whole.
        self._sums = _added({}, sample or {})
        self._traffic = sampler.machine.traffic() if sampler.network else None
        self._cpu = sampler._cpu() if sampler.system else None

    def add(self, sample: Sample) -> None:
        self._sums = _added(self._sums, sample)

    def end(self) -> dict[str, Any]:
        """The columns of the call."""
        sampler, columns = self.sampler, dict[str, Any]()
        if sampler.system:
            cpu = sampler._cpu()
            sampler._leave(self)
            # Not `add`: the thread may be adding its last sample.
            sums = _added(self._sums, sampler.sample())
            columns = {name: None for name in SYSTEM_COLUMNS}
            columns |= {name: total / count for name, (total, count) in sums.items()}
            columns["cpu_percent"] = sampler._cpu_percent(self._cpu, cpu)
        if sampler.network:
            columns |= zip(NETWORK_COLUMNS, _traffic(self._traffic, sampler.machine.traffic()), strict=True)
        return columns


class Machine:
    """What psutil and NVML say about this machine and this process at the moment.

    Never raises: what cannot be read, in a container or a sandbox, is None or
    absent, and the debug log says so once.
    """

    def __init__(self, path: Path | str) -> None:
        """``path`` is on the file system whose use is told."""
        self.path = path
        self._process: psutil.Process | None = None
        self._told: set[str] = set()

    def cpu(self) -> CpuTimes | None:
        return self._try("CPU time", _cpu_times)

    def traffic(self) -> dict[str, Traffic] | None:
        """Bytes by network interface."""
        return self._try("network traffic", _interfaces)

    def levels(self) -> Sample:
        """Every level, those of GPUs where there are some."""
        sample = {
            "ram_percent": self._try("memory", lambda: psutil.virtual_memory().percent),
            "p_memory_percent": self._try("the process's memory", self._process_percent),
            "disk_percent": self._try("disk use", lambda: psutil.disk_usage(str(self.path)).percent),
            **(self._try("GPU use", _gpus.levels) or {}),
        }
        return {name: level for name, level in sample.items() if level is not None}

    def _process_percent(self) -> float:
        if self._process is None or self._process.pid != os.getpid():  # the first time, and after a fork
            self._process = psutil.Process()
        return self._process.memory_percent()

    def _try(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except Exception as error:  # noqa: BLE001 - whatever a system lacks, the user's call goes on
            if what not in self._told:
                self._told.add(what)
                logger.debug("%s cannot be measured: %s: %s", what, type(error).__name__, error)
            return None


class _Gpus:
    """The GPUs that NVML sees. Looked for once a process; again in a forked child, where NVML has to start anew."""

    def __init__(self) -> None:
        self._pid = 0
        self._devices: tuple[Any, ...] = ()
        self._none = False
        self._read: tuple[float, Sample] = (-math.inf, {})

    def levels(self) -> Sample:
        """Utilisation and used memory in percent, means over the devices that tell; empty without one."""
        if self._none:
            return {}
        if self._pid != os.getpid():
            self._open()
        at_s, sample = self._read
        if time.monotonic() - at_s >= _GPU_RENEWED_S:
            sums: dict[str, tuple[float, int]] = {}
            for device in self._devices:
                sums = _added(sums, _device_levels(device))
            sample = {name: total / count for name, (total, count) in sums.items()}
            self._read = (time.monotonic(), sample)
        return sample

    def _open(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._devices = tuple(pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count))
        except Exception:  # noqa: BLE001 - no package, no driver, no right to use it: then there are no GPU columns
            self._devices = ()
        self._none = not self._devices
        self._pid, self._read = os.getpid(), (-math.inf, {})


def _device_levels(device: Any) -> Sample:
    import pynvml

    sample: Sample = {}
    try:
        sample["gpu_percent"] = float(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)
    except pynvml.NVMLError:
        pass  # a slice of a device (MIG) does not tell
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
        sample["gpu_memory_percent"] = 100 * memory.used / memory.total
    except (pynvml.NVMLError, ZeroDivisionError):
        pass
    return sample


def _cpu_times() -> CpuTimes:
    times = psutil.cpu_times()._asdict()
    # Linux counts guests also as user and nice.
    total_s = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return CpuTimes(total_s - times["idle"] - times.get("iowait", 0.0), total_s)


def _interfaces() -> dict[str, Traffic]:
    # Not `nowrap=True`: it takes a lock that a fork at the wrong moment would leave locked in the child.
    found = psutil.net_io_counters(pernic=True, nowrap=False)
    return {name: Traffic(count.bytes_sent, count.bytes_recv) for name, count in found.items()}


def _traffic(start: dict[str, Traffic] | None, end: dict[str, Traffic] | None) -> tuple[int, int] | tuple[None, None]:
    """Bytes sent and received between two readings. An interface that came up since then began at 0."""
    if start is None or end is None:
        return None, None
    before = [(start.get(name, Traffic(0, 0)), after) for name, after in end.items()]
    return (
        sum(max(after.sent - earlier.sent, 0) for earlier, after in before),
        sum(max(after.received - earlier.received, 0) for earlier, after in before),
    )


def _added(sums: dict[str, tuple[float, int]], sample: Sample) -> dict[str, tuple[float, int]]:
    """Sums and counts with one more sample in them."""
    more = dict(sums)
    for name, level in sample.items():
        total, count = sums.get(name, (0.0, 0))
        more[name] = (total + level, count + 1)
    return more


def _checked(interval_s: object) -> float:
    if not isinstance(interval_s, bool) and isinstance(interval_s, numbers.Real):
        try:
            seconds = float(interval_s)
        except OverflowError:
            seconds = math.inf
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    raise InvalidArgument("measurement_interval", f"{interval_s!r} is not a number of seconds above 0")


_gpus = _Gpus()
#: By number and not a set: its ``valuerefs`` is a copy, which no other thread changes while it is gone through.
_samplers: weakref.WeakValueDictionary[int, Sampler] = weakref.WeakValueDictionary()
_sampler_numbers = itertools.count()
#: Forks under way, also of other threads. No thread starts meanwhile.
_forks = Rests()


def _all() -> list[Sampler]:
    return [sampler for ref in _samplers.valuerefs() if (sampler := ref()) is not None]


def _before_fork() -> None:
    # A child that is forked beside a running thread may inherit a lock that the thread holds, in the system's
    # libraries too; Python 3.12 warns of it.
    _forks.begin()
    for sampler in _all():
        sampler._stop(only_if_idle=False)


def _after_fork() -> None:
    _forks.end()
    for sampler in _all():
        sampler._start()


def _forked() -> None:
    _forks.__init__()  # type: ignore[misc]  # none in the child
    for sampler in _all():
        sampler._reset_process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_forked)
