"""`xt watch`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from xetrack import Tracker


def _start(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "xetrack", "watch", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_once_says_how_many_rows_there_are(store: str) -> None:
    done = _start(store, "--once")
    _, told = done.communicate()
    assert done.returncode == 0 and "stopped at 5 rows" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_batches_come_until_a_signal_and_again_after_a_kill(store: str, tmp_path: Path, number: int) -> None:
    out = tmp_path / "batches"
    code = f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read())"
    for index, end in enumerate((signal.SIGKILL, number)):
        watching = _start(store, "--json", "--exec", f'{sys.executable} -c "{code}"')
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        with Tracker(store, track_id=f"new-{index}") as tracker:
            tracker.log({"loss": 0.1})
        total = 0
        while total != first["total"] + 1:
            total = json.loads(watching.stdout.readline())["total"]
        watching.send_signal(end)
        watching.communicate()
    assert watching.returncode == 0
    assert json.loads(out.read_text().splitlines()[0])["db"] == store


def test_wrong_engine_exits_2_and_an_absent_store_3(call: Call, store: str, tmp_path: Path) -> None:
    assert call("watch", store, "--engine", "postgres").exit_code == 2
    assert call("watch", str(tmp_path / "absent.db"), "--once").exit_code == 3


def test_signals_mean_what_they_meant_before_once_it_has_ended(call: Call, store: str) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert call("watch", store, "--once").exit_code == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_command_that_fails_is_told(call: Call, store: str) -> None:
    done = call("watch", store, "--once", "--exec", "exit 3")
    assert done.exit_code == 0 and "'exit 3' ended with 3" in done.stderr
