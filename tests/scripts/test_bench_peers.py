"""The comparison with other trackers, with those that need no environment of their own."""

from __future__ import annotations

import pytest

from scripts import bench_peers


@pytest.mark.parametrize("name", ["xetrack"])
def test_every_figure_of_a_peer_is_measured(name: str) -> None:
    result = bench_peers.compared(quick=True, names=[name])
    found = result["peers"][name]
    assert found["workers_kept"] == found["workers_asked"]
    assert found["killed_kept"] == found["killed_asked"]
    assert found["read_100k_rows"] == 2_000
    assert {"mean_us", "p50_us", "p99_us", "max_us", "import_ms", "rows_per_s", "bytes_per_row"} <= found.keys()
    table = bench_peers.as_markdown(result)
    assert f"| {name} |" in table
    assert "401 of 401" in table
