"""`xt runs`."""

from __future__ import annotations

import json

from tests.cli.conftest import Call


def test_runs_prints_every_column(call: Call, store: str) -> None:
    rows = json.loads(call("runs", store, "--json").stdout)
    assert [(row["track_id"], row["state"], row["rows"]) for row in rows] == [
        ("calm-otter-1", "finished", 3),
        ("bold-lynx-2", "finished", 1),
    ]
    assert list(rows[0]) == "track_id state started ended duration_s rows host user script commit".split()
    assert "finished" in call("runs", store, "--where", "rows > 2", "--columns", "track_id,state").stdout
