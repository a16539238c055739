"""`xt columns`."""

from __future__ import annotations

import json

from tests.cli.conftest import Call


def test_columns_come_with_their_types(call: Call, store: str) -> None:
    rows = json.loads(call("columns", store, "--json").stdout)
    assert {row["column"]: row["type"] for row in rows} == {
        "timestamp": "str",
        "track_id": "str",
        "model": "str",
        "epoch": "int",
        "loss": "float",
        "ok": "bool",
        "note": "str",
    }


def test_table_is_chosen(call: Call, store: str) -> None:
    result = call("columns", store, "--table=metrics")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()][-1] == ["accuracy", "float"]
