"""Fixtures for all tests: a clean environment, no leaked threads, an `xt` to call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# A shell has what it starts in the background ignore Ctrl-C; programs that a test starts and interrupts would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No time limits in tests: two cores may be shared with anything. The same examples every
# time, so that a red run is of the change at hand; `HYPOTHESIS_PROFILE=explore` draws new ones.
for name, fixed in (("xetrack", True), ("explore", False)):
    settings.register_profile(
        name, deadline=None, derandomize=fixed, print_blob=not fixed, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "xetrack"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("XETRACK_") or name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """A test fails if a thread that it started outlives it, but for that of trackers which somebody still holds."""
    before = set(threading.enumerate())
    yield
    leaked = [thread for thread in threading.enumerate() if thread not in before]
    for thread in leaked:
        if thread.name != "xetrack-pulse" or not sys.modules["xetrack.track.pulse"].pulse.sessions():
            thread.join(timeout=5)  # one that was told to stop may need a moment
    alive = [thread.name for thread in leaked if thread.is_alive()]
    pulse = sys.modules.get("xetrack.track.pulse")
    if pulse is not None and pulse.pulse.sessions():
        alive = [name for name in alive if name != "xetrack-pulse"]
    assert not alive


@pytest.fixture
def db(tmp_path: Path) -> str:
    """Path of a store that does not exist so far."""
    return str(tmp_path / "track.db")


Xt = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def xt(tmp_path: Path) -> Xt:
    """Run `python -m xetrack` with these arguments in a process of its own."""

    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "xetrack", *args],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


Git = Callable[..., str]


@pytest.fixture
def git(monkeypatch: pytest.MonkeyPatch) -> Git:
    """Runs the real git in a folder, unaware of this machine's settings; gives what it printed."""
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    settings = {"user.name": "Ada", "user.email": "ada@example.org", "init.defaultBranch": "main"}
    settings |= {"protocol.file.allow": "always", "commit.gpgSign": "false"}
    environ = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        environ |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def run(folder: Path, *args: str) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        return subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    return run
