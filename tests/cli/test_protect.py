"""`xt protect`."""

from __future__ import annotations

import json

from tests.cli.conftest import Call


def test_protected_run_is_not_changed_until_it_is_unprotected(call: Call, store: str) -> None:
    done = json.loads(call("protect", store, "bold-lynx-2", "--json").stdout)
    assert done == {"track_id": "bold-lynx-2", "protected": True, "rows": 1}
    for command in (("delete", store, "bold-lynx-2"), ("set", store, "loss", "1")):
        result = call(*command)
        assert (result.exit_code, "'bold-lynx-2' is protected" in result.stderr) == (1, True)
    assert call("set", store, "loss", "1", "--track-id=calm-otter-1").exit_code == 0
    assert call("protect", store, "bold-lynx-2", "--unprotect").exit_code == 0
    assert call("delete", store, "bold-lynx-2").exit_code == 0


def test_run_that_is_not_there_exits_3_and_names_near_matches(call: Call, store: str) -> None:
    result = call("protect", store, "bold-lynx")
    assert (result.exit_code, "bold-lynx-2" in result.stderr) == (3, True)
