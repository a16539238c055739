"""`verify` names every harm with its file and line, and calls nothing harm that is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from tests.faults import NO_FILES
from tests.strategies import signed
from xetrack.errors import FormatTooNew
from xetrack.log import verify as verify_module
from xetrack.log.clock import wall_us
from xetrack.log.codec import codec_for, jsonl
from xetrack.log.events import AssetAdded, AssetRemoved, Event, RowLogged
from xetrack.log.log import FileLog
from xetrack.log.memory import MemoryLog
from xetrack.log.redaction import stub_of
from xetrack.log.scan import Chunk
from xetrack.log.segment import Writer
from xetrack.log.verify import verify


@pytest.fixture
def log(tmp_path: Path) -> FileLog:
    return FileLog(tmp_path / "track.db.events")


@pytest.fixture(params=["jsonl", "msgpack"])
def writer(request: pytest.FixtureRequest, log: FileLog) -> Writer:
    writer = log.writer("t", request.param)
    for n in range(5):
        writer.append_row("r", {"n": n, "text": "é" * n})
    return writer


def segment(log: FileLog) -> Path:
    info = max(log.segments("t"), key=lambda info: info.size)
    return log.folder("t") / info.name


def test_whole_log_is_ok(log: FileLog, writer: Writer) -> None:
    log.writer("other").append_row("r", {})
    report = verify(log, lambda: [])
    assert report.ok and (report.segments, report.events) == (2, 8)
    assert str(report).splitlines()[-1] == "ok"


@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_named_and_all_else_is_checked(log: FileLog, writer: Writer, what: str) -> None:
    raw = bytearray(segment(log).read_bytes())
    log.writer("other").append_row("r", {})
    log.assets.put("named by a segment that cannot be read")
    place = log.folder("t") / f"{'b' * 16}.jsonl"
    NO_FILES[what](place)
    raw[-30] ^= 1
    segment(log).with_name(f"{'c' * 16}{segment(log).suffix}").write_bytes(raw)
    report = verify(log, lambda: pytest.fail("tables cannot be compared"))
    assert not report.ok and report.segments == 4 and len(report.damaged) == 1
    assert len(report.unreadable) == 1 and str(place) in report.unreadable[0] and str(place) in str(report)
    assert report.to_json()["unreadable"] == report.unreadable and not report.orphans


@pytest.mark.parametrize("within", [False, True], ids=["other-segment", "same-segment"])
@pytest.mark.parametrize("suffix", ["jsonl", "msgpack"])
def test_one_id_of_two_events_is_named_and_equal_lines_and_stubs_are_none(
    log: FileLog, writer: Writer, suffix: str, within: bool
) -> None:
    path = segment(log)
    rows = [event for chunk in log.scan("t", path.name) for event in chunk.events if isinstance(event, RowLogged)]
    codec, other = codec_for(path.name if within else f"_.{suffix}"), log.folder("t") / f"{'c' * 16}.{suffix}"
    place = path if within else other

    def add(*events: Event) -> None:
        with place.open("ab") as file:
            file.write(b"".join(map(codec.encode, events)))

    add(rows[0], stub_of(rows[2]))
    assert verify(log).ok
    add(msgspec.structs.replace(rows[1], data={"n": 7}))
    report = verify(log)
    assert not report.ok and not report.damaged
    assert [found[0] for found in report.conflicting] == [rows[1].id]
    paths = list(report.conflicting[0][1:])
    assert set(paths) == {str(path), str(place)}
    assert report.to_json()["conflicting"] == [{"event_id": rows[1].id, "paths": paths}]
    assert f"have the id {rows[1].id}: one is in {paths[0]}, another in {paths[1]}" in str(report)


def test_log_in_memory_and_no_log_are_ok(tmp_path: Path) -> None:
    memory = MemoryLog()
    memory.writer("t").append_row("r", {})
    assert verify(memory).ok and verify(memory).events == 2


def test_cut_at_every_byte_names_the_torn_line_and_is_no_failure(log: FileLog, writer: Writer) -> None:
    path = segment(log)
    whole = path.read_bytes()
    ends = [0]
    for chunk in log.scan("t", path.name):
        for event in chunk.events:
            ends.append(ends[-1] + len(writer.codec.encode(event)))
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        report = verify(log)
        count = sum(end <= cut for end in ends) - 1
        assert report.ok and report.events == count
        torn = [(fault.path, fault.line, fault.offset) for fault in report.torn]
        assert torn == ([] if cut in ends else [(str(path), count + 1, ends[count])])


def test_every_flipped_byte_is_named_by_file_and_line(log: FileLog, writer: Writer) -> None:
    path = segment(log)
    whole = path.read_bytes()
    (chunk,) = log.scan("t", path.name)
    ends = [0]
    for event in chunk.events:
        ends.append(ends[-1] + len(writer.codec.encode(event)))
    named = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        report = verify(log)
        assert not report.ok and report.torn == []
        (fault,) = report.damaged
        line = sum(end <= place for end in ends)
        assert (fault.path, fault.line) == (str(path), line)
        assert f"{path}, line {line}" in str(report)
        named += fault.event_id == chunk.events[line - 1].id
    assert named > len(whole) * 0.6


def test_unfinished_line_that_was_gone_on_from_is_damage(log: FileLog, writer: Writer) -> None:
    path = segment(log)
    whole = path.read_bytes()
    (chunk,) = log.scan("t", path.name)
    size = len(writer.codec.encode(chunk.events[-1]))
    path.write_bytes(whole[:-size] + whole[-size:-10] + b"\n" + whole[-size:])
    report = verify(log)
    assert not report.ok and [fault.line for fault in report.damaged] == [6] and report.events == 6


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
def test_pack_must_hold_what_its_name_says(log: FileLog, suffix: str) -> None:
    events = [RowLogged(id=f"{'a' * 16}-{n}", clock=n, run="r", data={"n": n}) for n in range(3)]
    log.folder("t").mkdir(parents=True)

    def pack(lines: bytes, name: str) -> Path:
        path = log.folder("t") / f"{name}{suffix}"
        path.write_bytes(zstandard.compress(lines) if suffix.endswith("zst") else lines)
        return path

    lines = b"".join(map(jsonl.encode, events))
    good = hashlib.sha256(lines).hexdigest()
    path = pack(lines, good)
    assert verify(log).ok and verify(log).events == 3
    path.unlink()
    bad = pack(b"".join(map(jsonl.encode, events[:2])), good)
    assert [fault.path for fault in verify(log).damaged] == [str(bad)]
    bad.write_bytes(bad.read_bytes()[:-5])
    assert [fault.path for fault in verify(log).damaged] == [str(bad)]


def test_damaged_and_missing_assets_are_named(log: FileLog) -> None:
    writer = log.writer("t")
    digests = [log.assets.put({n})[0] for n in range(4)]
    for digest in digests[:2]:
        writer.append(AssetAdded, digest=digest)
    writer.append_row("r", {"a": [{"$tuple": [{"$asset": digests[2]}]}], "b": {"$dict": {"$asset": "no digest"}}})
    writer.append(AssetAdded, digest=digests[3])
    writer.append(AssetRemoved, digest=digests[3], seen={writer.name: "0-9"})
    assert verify(log).ok and verify(log).assets_checked == 4
    paths = [Path(log.assets.where(digest)) for digest in digests]
    paths[0].write_bytes(b"x")
    for path in paths[1:]:
        path.unlink()
    report = verify(log)
    assert report.assets_damaged == [str(paths[0])]
    assert report.missing_assets == sorted(digests[1:3]) and not report.ok


def test_clock_far_ahead_and_unknown_kinds_are_told_and_no_failure(log: FileLog) -> None:
    log.writer("t").append_row("r", {})
    ahead = wall_us() + 2 * 86_400_000_000
    path = segment(log)
    with open(path, "ab") as file:
        file.write(signed(b'{"kind":"new.kind","id":"aaaaaaaaaaaaaaaa-7","clock":%d}' % ahead) + b"\n")
    report = verify(log)
    assert report.ok
    assert report.future_clocks == {str(path): ahead} and report.unknown_kinds == {"new.kind": 1}


def test_differing_tables_are_a_failure(log: FileLog, writer: Writer) -> None:
    report = verify(log, lambda: ["table 't' differs"])
    assert not report.ok and report.tables == ["table 't' differs"]


def test_newer_format_is_refused(log: FileLog) -> None:
    log.path.mkdir()
    (log.path / "store.json").write_text('{"format":9}')
    with pytest.raises(FormatTooNew):
        verify(log)


def test_report_is_json(log: FileLog, writer: Writer) -> None:
    path = segment(log)
    path.write_bytes(path.read_bytes()[:-1])
    fields = json.loads(json.dumps(verify(log).to_json()))
    assert fields["ok"] is True and fields["torn"][0]["line"] == 6


class _LoggedTo(FileLog):
    """A log to which somebody appends rows each time that somebody else has read a segment."""

    def scan(self, table: str, name: str, *args: Any, **options: Any) -> Iterator[Chunk]:
        yield from super().scan(table, name, *args, **options)
        writer, seq = name.partition(".")[0], 100
        encode = codec_for(name).encode
        lines = [encode(RowLogged(id=f"{writer}-{seq + n}", clock=1, run="r", data={"x": n})) for n in range(9)]
        with (self.folder(table) / name).open("ab") as file:
            file.write(b"".join(lines))


def test_what_is_appended_during_the_look_is_not_torn(
    log: FileLog, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.append_row("r", {"x": 1})
    # More came than is read of a line that has no end.
    monkeypatch.setattr(verify_module, "MAX_LINE_BYTES", 250)
    report = verify(_LoggedTo(log.path))
    assert report.ok and not report.torn, report.to_json()


def test_a_damaged_end_behind_a_hole_is_told(log: FileLog, writer: Writer) -> None:
    for step in range(50):
        writer.append_row("r", {"x": step})
    (path,) = log.path.glob("*/*")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] = 0  # it may be on its way from another host, for some seconds
    raw[-1] ^= 1
    path.write_bytes(raw)
    report = verify(log)
    assert not report.ok or report.torn
