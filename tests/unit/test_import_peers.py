"""What other trackers wrote, with their own releases: every number comes back, and only once."""

from __future__ import annotations

import gzip
import math
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from xetrack import Reader, import_data

PEERS = ROOT / "tests" / "fixtures" / "peers"
LOSSES = [1.0, 0.5, 1 / 3, 0.25]


@pytest.fixture(params=["mlflow.db", "mlruns"])
def mlflow(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    target = tmp_path / str(request.param)
    if request.param == "mlruns":
        shutil.copytree(PEERS / "mlruns", target)
    else:
        target.write_bytes(gzip.decompress((PEERS / "mlflow.db.gz").read_bytes()))
    return target


def test_runs_of_mlflow(mlflow: Path, tmp_path: Path) -> None:
    report = import_data(mlflow, tmp_path / "t.db")
    assert (report.kind, report.rows_added) == ("mlflow", 9)
    assert "1 runs that were deleted" in report.left_out
    frame = Reader(tmp_path / "t.db", engine="duckdb").to_df()
    first = frame[frame["run_name"] == "first"]
    assert first["loss"].tolist() == LOSSES
    assert first["step"].tolist() == [0, 1, 2, 3]
    assert (first["lr"].unique().tolist(), first["layers"].unique().tolist()) == ([0.1], [2])
    assert math.isnan(first["odd"].tolist()[1])
    assert set(frame["team"].dropna()) == {"vision"}
    assert frame[frame["run_name"] == "no metrics"]["lr"].tolist() == [1]
    assert import_data(mlflow, tmp_path / "t.db").rows_added == 0


def test_event_files_of_tensorboard(tmp_path: Path) -> None:
    report = import_data(PEERS / "tensorboard", tmp_path / "t.db")
    assert report.kind == "tensorboard"
    assert report.left_out == ["values of histograms: 2"]
    reader = Reader(tmp_path / "t.db", engine="duckdb")
    first = reader.to_df(track_id="first")
    assert first["loss_train"].tolist() == pytest.approx(LOSSES, rel=1e-7)
    assert first["note"].tolist()[0] == "a run with 0.1"
    assert math.isnan(first["odd"].tolist()[1])
    params = reader.to_df(track_id="second/hparams").iloc[0]
    assert (params["lr"], params["optimizer"], params["amsgrad"]) == (0.01, "adam", True)
    assert import_data(PEERS / "tensorboard", tmp_path / "t.db").rows_added == 0
    one = next((PEERS / "tensorboard" / "first").glob("*tfevents*"))
    assert import_data(one, tmp_path / "one.db").rows_added == 4


def test_offline_runs_of_wandb(tmp_path: Path) -> None:
    report = import_data(PEERS / "wandb", tmp_path / "t.db")
    assert (report.kind, report.rows_added) == ("wandb", 10)
    assert report.left_out == ["values of histogram: 2"]
    reader = Reader(tmp_path / "t.db", engine="duckdb")
    frame = reader.to_df()
    second = frame[frame["run_name"] == "second"]
    assert second["loss"].tolist()[:4] == LOSSES
    assert second["lr"].unique().tolist() == [0.01]
    assert second["note"].tolist()[4] == "é"
    assert math.isnan(second["odd"].tolist()[4])
    assert reader.conn.execute("SELECT DISTINCT net ->> 'layers' FROM events").fetchall() == [("2",)]
    assert import_data(PEERS / "wandb", tmp_path / "t.db").rows_added == 0


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_file_that_breaks_off_anywhere_gives_what_is_before(tmp_path: Path, kind: str) -> None:
    whole = next(path for path in sorted((PEERS / kind).rglob("*")) if path.is_file())
    raw = whole.read_bytes()
    cut = tmp_path / whole.name
    counts = set()
    for size in range(8, len(raw), 1 + len(raw) // 40):
        cut.write_bytes(raw[:size])
        report = import_data(cut, tmp_path / f"{size}.db", dry_run=True)
        counts.add(report.rows_added)
        assert size == len(raw) or report.left_out
    assert len(counts) > 2


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_flipped_bytes_never_end_in_anything_but_a_report(tmp_path: Path, kind: str) -> None:
    whole = next(path for path in sorted((PEERS / kind).rglob("*")) if path.is_file())
    raw = whole.read_bytes()
    broken = tmp_path / whole.name
    for at in range(8, len(raw), 1 + len(raw) // 300):
        broken.write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])
        import_data(broken, tmp_path / "t.db", dry_run=True)
