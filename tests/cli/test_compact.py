"""`xt compact`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Call


def test_compact_leaves_a_pack_and_says_so(call: Call, store: str) -> None:
    told = json.loads(call("compact", store, "--dry-run", "--json").stdout)
    assert told["dry_run"] is True and told["left"] == []
    assert told["tables"]["default"]["segments_packed"] == 2
    assert len(list(Path(f"{store}.events/default").iterdir())) == 2
    assert json.loads(call("compact", store, "--json").stdout) == {**told, "dry_run": False}
    assert len(list(Path(f"{store}.events/default").iterdir())) == 1
    assert call("compact", store).stdout == "nothing to pack\n"
    assert json.loads(call("verify", store, "--json").stdout)["ok"] is True


def test_compact_of_an_absent_store_exits_3(call: Call, tmp_path: Path) -> None:
    assert call("compact", str(tmp_path / "absent.db")).exit_code == 3
