"""`xt verify`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Call


def _segment(store: str) -> Path:
    """The segment of run calm-otter-1."""
    (segment,) = (p for p in Path(f"{store}.events", "default").glob("*.jsonl") if b"calm-otter-1" in p.read_bytes())
    return segment


def test_sound_store_exits_0(call: Call, store: str) -> None:
    result = call("verify", store)
    assert result.exit_code == 0
    assert "segments: 3" in result.stdout
    assert json.loads(call("verify", store, "--json").stdout)["ok"] is True


def test_damaged_line_exits_1_and_is_named(call: Call, store: str) -> None:
    segment = _segment(store)
    lines = segment.read_bytes().splitlines(keepends=True)
    assert b"calm" in lines[2]
    lines[2] = lines[2].replace(b"calm", b"balm")
    segment.write_bytes(b"".join(lines))
    result = call("verify", store)
    assert result.exit_code == 1
    assert f"{segment.name}, line 3" in result.stdout
    report = json.loads(call("verify", store, "--json").stdout)
    assert report["ok"] is False
    assert [damage["line"] for damage in report["damaged"]] == [3]


def test_torn_last_line_is_told_and_is_no_failure(call: Call, store: str) -> None:
    segment = _segment(store)
    segment.write_bytes(segment.read_bytes()[:-10])
    result = call("verify", store)
    assert result.exit_code == 0
    assert "torn" in result.stdout
    assert segment.name in result.stdout


def test_absent_store_exits_3(call: Call, tmp_path: Path) -> None:
    assert call("verify", str(tmp_path / "absent.db")).exit_code == 3
