"""`xt delete`."""

from __future__ import annotations

import json

from tests.cli.conftest import Call
from xetrack import Reader


def test_rows_of_the_run_go_and_are_counted(call: Call, store: str) -> None:
    result = call("delete", store, "calm-otter-1")
    assert (result.exit_code, result.stdout) == (0, "3 rows deleted\n")
    assert Reader(store).to_df()["track_id"].tolist() == ["bold-lynx-2"]
    assert len(Reader(store, table="metrics")) == 1


def test_json_counts_the_rows(call: Call, store: str) -> None:
    assert json.loads(call("delete", store, "bold-lynx-2", "--json").stdout) == {"rows_deleted": 1}


def test_absent_run_exits_3_and_deletes_nothing(call: Call, store: str) -> None:
    result = call("delete", store, "nope")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "nope" in result.stderr
    assert len(Reader(store)) == 4


def test_second_delete_finds_nothing(call: Call, store: str) -> None:
    assert call("delete", store, "calm-otter-1").exit_code == 0
    assert call("delete", store, "calm-otter-1").exit_code == 3
