"""`xt blame`."""

from __future__ import annotations

import json

from tests.cli.conftest import Call


def test_blame_tells_what_stands_and_what_it_replaced(call: Call, store: str) -> None:
    call("set", store, "ok", "null", "--track-id=bold-lynx-2")
    (line,) = json.loads(call("blame", store, "bold-lynx-2", "ok", "--json").stdout)
    assert (line["kind"], line["old"], line["new"], line["rows"]) == ("value.set", True, None, 1)
    assert line["user"] and line["host"] and line["pid"]


def test_blame_of_what_is_not_there_exits_3_and_names_near_matches(call: Call, store: str) -> None:
    for run, column, near in (("bold-lynx", "ok", "bold-lynx-2"), ("bold-lynx-2", "los", "loss")):
        result = call("blame", store, run, column)
        assert (result.exit_code, result.stdout) == (3, "")
        assert near in result.stderr
