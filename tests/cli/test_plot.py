"""`xt plot hist`, `scatter`, `line`."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.conftest import Xt
from xetrack import Tracker
from xetrack.cli.charts import Chart, Curve, _thinned, binned

ENGINES = ["sqlite", "duckdb"]


@pytest.mark.parametrize("engine", ENGINES)
def test_line_has_a_curve_with_a_mark_for_each_run(call: Call, store: str, engine: str) -> None:
    result = call("plot", "line", store, "loss", f"--engine={engine}", "--width=60", "--height=12")
    assert (result.exit_code, result.stderr) == (0, "")
    legend, title = result.stdout.splitlines()[:2]
    assert legend == "• calm-otter-1   + bold-lynx-2"
    assert title.strip() == "loss" and "epoch" in result.stdout.splitlines()[-1]
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 60


def test_one_run_is_drawn_alone(call: Call, store: str) -> None:
    result = call("plot", "line", store, "loss", "--track-id=bold-lynx-2")
    assert result.stdout.startswith("+ bold-lynx-2") or result.stdout.startswith("• bold-lynx-2")
    assert "calm-otter-1" not in result.stdout


def test_group_is_the_mean_of_its_runs(call: Call, db: str) -> None:
    for run, loss in (("a", 0.0), ("b", 10.0)):
        with Tracker(db, track_id=run, params={"model": "bert"}) as tracker:
            for step in range(3):
                tracker.log({"step": step, "loss": loss})
    result = call("plot", "line", db, "loss", "--group-by=model")
    assert result.stdout.startswith("• bert\n")
    ticks = {line.partition("┤")[0].strip() for line in result.stdout.splitlines() if "┤" in line}
    assert any(float(tick) == 5.0 for tick in ticks) and "10.0" not in ticks


def test_time_is_seconds_since_the_run_began(call: Call, store: str) -> None:
    result = call("plot", "line", store, "loss", "--x=timestamp")
    assert result.exit_code == 0 and result.stdout.splitlines()[-1].strip() == "seconds"


@pytest.mark.parametrize("engine", ENGINES)
def test_histogram_counts_and_sums_up(call: Call, store: str, engine: str) -> None:
    result = call("plot", "hist", store, "epoch", "--bins=3", f"--engine={engine}", "--height=10")
    assert result.exit_code == 0 and "█" in result.stdout
    assert result.stdout.splitlines()[-1] == "observations: 4   min value: 0   mean: 0.75   max value: 2"


def test_scatter_draws_points_by_group(call: Call, store: str) -> None:
    result = call("plot", "scatter", store, "epoch", "loss", "--group-by=model")
    assert result.exit_code == 0 and result.stdout.startswith("• resnet   + bert\n")


@pytest.mark.parametrize("command", [("hist", "loss"), ("scatter", "epoch", "loss"), ("line", "loss")])
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_picture_is_written_by_matplotlib(
    call: Call, store: str, tmp_path: Path, command: tuple[str, ...], suffix: str
) -> None:
    out = tmp_path / f"chart.{suffix}"
    result = call("plot", command[0], store, *command[1:], f"--save={out}")
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert out.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


def test_picture_of_no_known_kind_is_wrong_usage(call: Call, store: str, tmp_path: Path) -> None:
    assert call("plot", "hist", store, "loss", f"--save={tmp_path / 'chart.txt'}").exit_code == 2


@pytest.mark.parametrize(("package", "extra"), [("plotext", "plot"), ("matplotlib.figure", "matplotlib")])
def test_missing_package_is_named(store: str, package: str, extra: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules['{package}'] = None; from xetrack.cli import main; "
        f"sys.argv = ['xt', 'plot', 'hist', {store!r}, 'loss'] + {['--save=a.png'] if extra == 'matplotlib' else []}; "
        "main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (1, "")
    assert f"pip install 'xetrack[{extra}]'" in run.stderr


def test_column_without_numbers_is_wrong_usage(call: Call, store: str) -> None:
    result = call("plot", "hist", store, "model")
    assert (result.exit_code, result.stdout) == (2, "") and "resnet" in result.stderr


def test_nothing_to_draw_is_told(call: Call, db: str) -> None:
    with Tracker(db) as tracker:
        tracker.log({"loss": math.nan, "gone": None})
    for command in (("hist", "loss"), ("line", "gone"), ("scatter", "loss", "gone")):
        result = call("plot", command[0], db, *command[1:])
        assert (result.exit_code, result.stdout) == (0, "") and "No numbers" in result.stderr


@pytest.mark.parametrize("command", [("hist", "los"), ("scatter", "epoch", "los"), ("line", "los")])
def test_absent_column_exits_3(call: Call, store: str, command: tuple[str, ...]) -> None:
    result = call("plot", command[0], store, *command[1:])
    assert (result.exit_code, result.stdout) == (3, "") and "loss" in result.stderr
    assert call("plot", command[0], store, *command[1:], "--table=metric").exit_code == 3


def test_colours_come_where_they_are_forced(xt: Xt, store: str) -> None:
    assert "\x1b[" in xt("plot", "line", store, "loss", FORCE_COLOR="1").stdout
    assert "\x1b[" not in xt("plot", "line", store, "loss", FORCE_COLOR="1", NO_COLOR="1").stdout


def test_values_at_the_edge_are_in_the_last_bar() -> None:
    assert binned([0, 1, 2, 3], 3) == ([0.5, 1.5, 2.5], [1, 1, 2])
    assert binned([7, 7], 2)[1] == [0, 2]


def test_many_points_keep_their_extremes() -> None:
    y = [0.0] * 100_000
    y[4321] = 9.0
    curve = Curve("", [float(n) for n in range(100_000)], y)
    _, kept = _thinned(Chart("line", ""), curve, 80, 20)
    assert 9.0 in kept and len(kept) < 1000
