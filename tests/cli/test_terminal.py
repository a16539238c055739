"""`xt` on a terminal, in a pipe, in a shell that completes, and interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import xetrack
from tests.cli.terminals import environ, on_terminal
from tests.conftest import Xt
from xetrack import Tracker
from xetrack.cli.progress import progress
from xetrack.log import progress as log_progress

ENGINES = ["sqlite", "duckdb"]


def _on_terminal(*args: str, **env: str) -> tuple[int, str]:
    return on_terminal(sys.executable, "-m", "xetrack", *args, **env)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="pseudo-terminals are missing on this system")
class TestTerminal:
    def test_rows_have_a_frame_and_colours_and_hidden_columns_are_named(self, store: str) -> None:
        status, shown = _on_terminal("head", store)
        assert status == 0
        assert "╭" in shown and "\x1b[" in shown
        assert "more columns" in shown and "note" in shown
        assert max(len(line) for line in _plain(shown).splitlines()[:8]) <= 80

    def test_wide_values_are_cut_before_columns_go(self, tmp_path: Path) -> None:
        db = str(tmp_path / "track.db")
        for run in ("number-1", "number-2"):
            with Tracker(db, track_id=run, params={"path": f"/data/{run}/" + "x" * 80}) as tracker:
                tracker.log({"loss": 1.0})
        status, shown = _on_terminal("compare", db, "number-1", "number-2")
        assert status == 0 and "more column" not in shown
        assert "/data/n" in shown and max(len(line) for line in _plain(shown).splitlines()) <= 80

    def test_no_color_has_no_escapes(self, store: str) -> None:
        status, shown = _on_terminal("head", store, "--columns=epoch,loss", NO_COLOR="1")
        assert status == 0 and "\x1b[" not in shown and "╭" in shown

    def test_json_is_json_here_too(self, store: str) -> None:
        status, shown = _on_terminal("head", store, "--json", "--columns=epoch")
        assert (status, json.loads(shown)) == (0, [{"epoch": 0}, {"epoch": 1}, {"epoch": 2}, {"epoch": 0}])

    def test_parquet_is_refused(self, store: str) -> None:
        status, shown = _on_terminal("head", store, "--format=parquet")
        assert status == 2 and "--out" in shown

    @pytest.mark.parametrize(
        "command",
        [("runs",), ("show", "calm-otter-1"), ("compare", "calm-otter-1", "bold-lynx-2"), ("plot", "line", "loss")],
    )
    def test_commands_that_read_runs_fit_the_width(self, store: str, command: tuple[str, ...]) -> None:
        names = command[:2] if command[0] == "plot" else command[:1]
        status, shown = _on_terminal(*names, store, *command[len(names) :])
        assert status == 0
        framed = [line for line in _plain(shown).splitlines() if line.startswith(("╭", "│", "╰", " "))]
        assert framed and max(map(len, framed)) <= 80


def _plain(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def test_forced_colours_go_into_a_pipe_and_cut_nothing(xt: Xt, tmp_path: Path) -> None:
    with Tracker(tmp_path / "wide.db") as tracker:
        tracker.log({f"column_{number}": "x" * 50 for number in range(20)})
    result = xt("head", "wide.db", FORCE_COLOR="1", COLUMNS="40")
    assert "\x1b[" in result.stdout and result.stdout.count("x" * 50) == 20
    assert "\x1b" not in xt("head", "wide.db").stdout


# -- completion --------------------------------------------------------------


@pytest.fixture
def complete(tmp_path: Path) -> Callable[[str], list[str]]:
    """What bash is offered for a line that ends in the word being typed."""

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        env = {"_XT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        code = "import sys; sys.argv = ['xt']; from xetrack.cli import app; app(prog_name='xt')"
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environ(**env), capture_output=True, text=True
        )
        assert run.stderr == ""
        return run.stdout.split()

    return ask


def test_shell_completes_names(store: str, complete: Callable[[str], list[str]]) -> None:
    assert complete("xt hea") == ["head"]
    assert complete("xt head tr") == ["track.db"]
    assert complete("xt head track.db --table me") == ["metrics"]
    assert complete("xt head track.db --columns epoch,lo") == ["epoch,loss"]
    assert complete("xt show track.db calm") == ["calm-otter-1"]
    assert complete("xt show track.db --table metrics calm") == ["calm-otter-1"]
    assert complete("xt plot line track.db lo") == ["loss"]
    assert complete("xt stats top track.db lo") == ["loss"]


def test_shell_is_offered_nothing_where_nothing_can_be_told(
    complete: Callable[[str], list[str]], tmp_path: Path
) -> None:
    assert complete("xt show absent.db c") == []
    (tmp_path / "odd.db").write_text("no database")
    (tmp_path / "odd.db.events").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert complete("xt show odd.db c") == []
    assert sorted(tmp_path.rglob("*")) == before


# -- a store that takes a while ----------------------------------------------

LONG = 200_000


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> str:
    db = str(tmp_path_factory.mktemp("long") / "long.db")
    with Tracker(db) as tracker:
        tracker.log_batch([{"step": step, "loss": 1 / (step + 1)} for step in range(LONG)])
    return db


def test_a_pipe_that_closes_early_is_nothing_to_speak_of(long: str) -> None:
    pipe = f"{sys.executable} -m xetrack head {long} --n {LONG} --columns step --csv"
    done = subprocess.run(["sh", "-c", f"{pipe} | head -2"], env=environ(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("step\n0\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_interrupted_command_exits_130_and_the_next_one_completes(long: str, tmp_path: Path) -> None:
    db = tmp_path / "copy.db"
    os.symlink(f"{long}.events", f"{db}.events")
    run = subprocess.Popen(
        [sys.executable, "-m", "xetrack", "replay", str(db)],
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while run.poll() is None and sum(path.stat().st_size for path in tmp_path.glob("copy.db*") if path.is_file()) < 1e6:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate()
    assert (run.returncode, out, err) == (130, "", "xt: interrupted\n")
    head = subprocess.run(
        [sys.executable, "-m", "xetrack", "sql", str(db), "SELECT count(*) FROM events", "--csv"],
        env=environ(),
        capture_output=True,
        text=True,
    )
    assert head.stdout.splitlines()[1] == str(LONG), head.stderr


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="pseudo-terminals are missing on this system")
def test_long_work_shows_a_bar_on_a_terminal(long: str, tmp_path: Path) -> None:
    db = str(tmp_path / "copy.db")
    os.symlink(f"{long}.events", f"{db}.events")
    status, shown = _on_terminal("replay", db)
    assert status == 0
    assert "MB/s" in shown and "━" in shown


@pytest.mark.parametrize("quiet", [True, False])
def test_nobody_listens_to_quiet_or_piped_work(quiet: bool) -> None:
    with progress("Replaying", quiet=quiet):
        assert log_progress._listener.get() is None


def test_listener_is_told_of_what_is_read_and_taken_in(store: str, tmp_path: Path) -> None:
    told: dict[str, int] = {"bytes": 0, "rows": 0}

    def listen(count: int, unit: str) -> None:
        told[unit] += count

    (tmp_path / "rows.csv").write_text("loss\n" + "0.5\n" * 1000)
    with log_progress.listening(listen):
        xetrack.replay(store)
        read_bytes = told["bytes"]
        xetrack.import_data(tmp_path / "rows.csv", tmp_path / "new.db")
    log_bytes = sum(path.stat().st_size for path in Path(f"{store}.events").glob("*/*.jsonl"))
    assert read_bytes >= log_bytes and told["rows"] == 1000


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
@pytest.mark.parametrize("engine", ENGINES)
def test_query_that_python_cannot_leave_is_interrupted(xt: Xt, tmp_path: Path, engine: str) -> None:
    db = str(tmp_path / "track.db")
    with Tracker(db) as tracker:
        tracker.log_batch([{"n": number} for number in range(20_000)])
    assert xt("replay", db, "--engine", engine).returncode == 0
    endless = "SELECT sum(a.n * b.n % (c.n + 1) * d.n) FROM events a, events b, events c, events d"
    run = subprocess.Popen(
        [sys.executable, "-m", "xetrack", "sql", db, endless, "--engine", engine],
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while run.poll() is None and psutil.Process(run.pid).cpu_times().user < 1.5:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err) == (130, "", "xt: interrupted\n")


def test_closed_output_is_told(xt: Xt, store: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m xetrack head {store} >&-"], env=environ(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (1, "xt: The output cannot be written: standard output is closed.\n")
