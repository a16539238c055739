"""`xt tail`."""

from __future__ import annotations

import json

from tests.cli.conftest import Call


def test_last_rows_come_oldest_first(call: Call, store: str) -> None:
    rows = json.loads(call("tail", store, "--n=2", "--json").stdout)
    assert [(row["track_id"], row["epoch"]) for row in rows] == [("calm-otter-1", 2), ("bold-lynx-2", 0)]


def test_more_rows_than_there_are_give_all(call: Call, store: str) -> None:
    assert len(json.loads(call("tail", store, "--n=100", "--json").stdout)) == 4


def test_no_rows_print_the_header_alone(call: Call, store: str) -> None:
    result = call("tail", store, "--n=0", "--format=csv")
    assert result.exit_code == 0
    assert result.stdout == "timestamp,track_id,model,epoch,loss,ok,note\n"
