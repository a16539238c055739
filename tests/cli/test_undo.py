"""`xt undo`."""

from __future__ import annotations

import json

from tests.cli.conftest import Call
from xetrack import Reader


def test_event_is_undone_and_so_is_its_undo(call: Call, store: str) -> None:
    Reader(store).set_value("loss", 9.0, track_id="calm-otter-1")
    event_id = Reader(store).history().event_id[0]
    done = json.loads(call("undo", store, event_id, "--json").stdout)
    assert (done["table"], done["undone"], done["rows_changed"]) == ("default", [event_id], 3)
    assert "undone already" in call("undo", store, event_id).stdout
    again = call("undo", store, done["event_id"])
    assert again.stdout.startswith(f"undone: event.undone {done['event_id']}\n3 rows changed by ")
    assert Reader(store).to_df("calm-otter-1").loss.tolist() == [9.0] * 3


def test_event_of_any_table_is_found_unless_one_is_named(call: Call, store: str) -> None:
    event_id = Reader(store, table="metrics").history().event_id[0]
    assert call("undo", store, event_id, "--table=default").exit_code == 3
    assert call("undo", store, event_id).exit_code == 0
    assert len(Reader(store, table="metrics")) == 0


def test_deleted_run_is_brought_back(call: Call, store: str) -> None:
    call("delete", store, "bold-lynx-2")
    result = call("undo", store, "--run", "bold-lynx-2")
    assert "undone: run.deleted" in result.stdout and "1 row changed" in result.stdout
    assert call("undo", store, "--run", "bold-lynx-2").exit_code == 3
    result = call("undo", store, "--run", "bold-lynx")
    assert (result.exit_code, "bold-lynx-2" in result.stderr) == (3, True)


def test_what_is_not_there_exits_3_and_wrong_usage_2(call: Call, store: str) -> None:
    assert call("undo", store, "aaaaaaaaaaaaaaaa-7").exit_code == 3
    assert call("undo", store, "nonsense").exit_code == 3
    assert call("undo", store).exit_code == 2
    assert call("undo", store, "x-1", "--run=y").exit_code == 2
    assert call("undo", store, "--run=y", "--batch").exit_code == 2
