"""A log lists, scans and merges what its folder holds, whatever else lies there."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults import NO_FILES
from xetrack.errors import DiskFull, FormatTooNew, InvalidTable, NotAStore, PermissionDenied, StorageError
from xetrack.log import merged as merged_module
from xetrack.log import scan as scan_module
from xetrack.log.codec import Codec, jsonl, msgpack
from xetrack.log.events import Event, RowLogged, WriterStarted, event_key
from xetrack.log.hints import hint_of
from xetrack.log.log import STORE_BYTES, FileLog, Log, is_log
from xetrack.log.memory import MemoryLog
from xetrack.log.merged import OutOfOrder
from xetrack.log.names import check_table, table_folder, table_from_folder

NAMES = [letter * 16 for letter in "abcdefghijklmnopqrstuvwxyz"]


@pytest.fixture
def log(tmp_path: Path) -> FileLog:
    return FileLog(tmp_path / "track.db.events")


def row(writer: str, seq: int, clock: int, **data: Any) -> RowLogged:
    return RowLogged(id=f"{writer}-{seq}", clock=clock, run="r", data=data)


def put(log: FileLog, name: str, events: list[Event], codec: Codec = jsonl, table: str = "t") -> bytes:
    """Make a segment by hand; its bytes are given back."""
    folder = log.folder(table)
    folder.mkdir(parents=True, exist_ok=True)
    (log.path / "store.json").write_bytes(STORE_BYTES)
    lines = b"".join(map(codec.encode, events))
    (folder / name).write_bytes(zstandard.compress(lines) if name.endswith(".zst") else lines)
    return lines


def everything(log: Log, table: str = "t") -> list[Event]:
    return [event for run in log.merged(table, starts(log, table)) for event in run.events]


def starts(log: Log, table: str = "t") -> dict[str, int]:
    return {segment.name: 0 for segment in log.segments(table)}


# -- tables ------------------------------------------------------------------


@given(table=st.text(min_size=1, max_size=30))
def test_a_table_name_and_its_folder_name_each_other(table: str) -> None:
    try:
        check_table(table)
    except InvalidTable:
        return
    folder = table_folder(table)
    assert table_from_folder(folder) == table
    assert folder.isascii() and not set(folder) & set('/\\:*?"<>| ') and not folder.startswith((".", "_"))


@pytest.mark.parametrize("table", ["", "_x", "assets", "Assets", "é" * 50, "\ud800", "a\0", None, 7])
def test_names_that_no_table_can_have_are_refused(log: FileLog, table: Any) -> None:
    for each in (log, MemoryLog()):
        with pytest.raises(InvalidTable):
            each.writer(table)
    assert not log.path.exists()


@pytest.mark.parametrize("table", ["x; DROP TABLE", "../up", "select", ".hidden", "a.b", "größe", "%41", "con", "a/b"])
def test_odd_table_names_have_a_folder_inside_the_store(log: FileLog, table: str) -> None:
    log.writer(table).append_row("r", {"n": 1})
    assert log.tables() == [table]
    assert [path.name for path in log.path.iterdir() if path.is_dir()] == [table_folder(table)]
    assert len(everything(log, table)) == 2


def test_tables_that_differ_only_in_case_are_refused(log: FileLog) -> None:
    log.writer("Loss").append_row("r", {})
    with pytest.raises(InvalidTable, match="Loss"):
        FileLog(log.path).writer("loss")
    log.writer("Loss").append_row("r", {})


def test_folders_that_are_no_tables_are_not_listed(log: FileLog) -> None:
    put(log, f"{NAMES[0]}.jsonl", [row(NAMES[0], 1, 1)])
    for name in ("_assets", "%zz", "a b", "%41"):
        (log.path / name).mkdir()
    assert log.tables() == ["t"]


def test_nothing_there_is_an_empty_log(log: FileLog) -> None:
    assert not log.exists() and log.tables() == [] and log.segments("t") == [] and everything(log) == []
    assert log.first_clock("t", "x.jsonl") is None and log.find("t", "a-1") is None
    assert log.tail("t", "x.jsonl", 5, 5) == b"" and list(log.scan("t", "x.jsonl")) == []


def test_files_of_other_names_are_ignored(log: FileLog) -> None:
    put(log, f"{NAMES[0]}.jsonl", [row(NAMES[0], 1, 1)])
    for name in (
        "README",
        ".DS_Store",
        f"{NAMES[1]}.jsonl.tmp",
        "short.jsonl",
        f"{'A' * 16}.jsonl",
        f"{NAMES[0]}.jsonl~",
    ):
        (log.folder("t") / name).write_text("not ours")
    assert [segment.name for segment in log.segments("t")] == [f"{NAMES[0]}.jsonl"]


# -- format ------------------------------------------------------------------


def test_format_of_this_release_passes(log: FileLog) -> None:
    log.writer("t").append_row("r", {})
    log.check_format()


def test_newer_store_is_refused(log: FileLog) -> None:
    log.path.mkdir()
    (log.path / "store.json").write_text('{"format":2,"more":1}\n')
    with pytest.raises(FormatTooNew) as caught:
        log.check_format()
    assert caught.value.format == 2


def test_newer_segment_is_refused_and_a_newer_minor_is_read(log: FileLog) -> None:
    put(log, f"{NAMES[0]}.jsonl", [WriterStarted(id=f"{NAMES[0]}-0", clock=1, format="1.7")])
    assert len(everything(log)) == 1
    put(log, f"{NAMES[1]}.jsonl", [WriterStarted(id=f"{NAMES[1]}-0", clock=1, format="2.0")])
    with pytest.raises(FormatTooNew, match=r"2\.0"):
        everything(log)


@pytest.mark.parametrize("length", range(len(STORE_BYTES)))
def test_store_file_that_a_power_cut_left_short_is_written_again(log: FileLog, length: int) -> None:
    log.path.mkdir()
    (log.path / "store.json").write_bytes(STORE_BYTES[:length])
    log.check_format()
    log.create()
    assert (log.path / "store.json").read_bytes() == STORE_BYTES


@pytest.mark.parametrize("content", ["{}", "[]", '{"format":"x"}', '{"format":-1}', '{"format":0}', "\0"])
def test_store_file_that_says_no_format_is_no_store(log: FileLog, content: str) -> None:
    log.path.mkdir()
    (log.path / "store.json").write_text(content)
    with pytest.raises(NotAStore) as caught:
        log.check_format()
    assert caught.value.path == log.path


def test_folder_of_something_else_is_no_store(log: FileLog) -> None:
    log.path.mkdir()
    (log.path / "photo.jpg").write_text("x")
    with pytest.raises(NotAStore):
        log.check_format()
    (log.path / "photo.jpg").unlink()
    log.check_format()


@pytest.mark.parametrize("what", [what for what in NO_FILES if "link" not in what])
def test_what_is_no_file_in_the_place_of_the_store_file_is_no_store(log: FileLog, what: str) -> None:
    log.path.mkdir()
    NO_FILES[what](log.path / "store.json")
    for act in (log.check_format, log.create):
        with pytest.raises(NotAStore, match="store.json"):
            act()
    assert not is_log(log.path)


@pytest.mark.skipif(os.name == "nt", reason="no limit of a file's size to set")
def test_store_file_without_room_leaves_nothing_behind(log: FileLog) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, hard))
    try:
        with pytest.raises(DiskFull):
            log.create()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(log.path.iterdir())
    log.create()
    assert [path.name for path in log.path.iterdir()] == ["store.json"]


def test_store_that_was_being_made_by_a_killed_process_is_a_new_one(log: FileLog) -> None:
    log.path.mkdir()
    (log.path / "store.json.123.456").write_bytes(STORE_BYTES[:4])
    log.check_format()
    log.create()
    assert (log.path / "store.json").read_bytes() == STORE_BYTES


def test_store_that_appears_while_it_is_looked_at_is_one(log: FileLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.path.mkdir()
    listed = Path.iterdir

    def list_after_another_made_it(folder: Path) -> Any:
        (log.path / "_assets").mkdir(exist_ok=True)
        (log.path / "store.json").write_bytes(STORE_BYTES)
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", list_after_another_made_it)
    log.check_format()


def test_store_without_its_file_reads_and_gets_it_back_with_the_next_event(log: FileLog) -> None:
    log.writer("t").append_row("r", {"n": 1})
    (log.path / "store.json").unlink()
    log.check_format()
    log.writer("u").append_row("r", {"n": 1})
    assert (log.path / "store.json").read_bytes() == STORE_BYTES
    assert sorted(path.name for path in log.path.iterdir()) == ["store.json", "t", "u"]


# -- scanning ----------------------------------------------------------------


@pytest.mark.parametrize("codec", [jsonl, msgpack], ids=lambda codec: codec.name)
@pytest.mark.parametrize("chunk_bytes", [1, 50, 300, 1 << 20])
def test_scan_gives_every_event_once_whatever_the_chunks(
    log: FileLog, monkeypatch: pytest.MonkeyPatch, codec: Codec, chunk_bytes: int
) -> None:
    monkeypatch.setattr(scan_module, "CHUNK_BYTES", chunk_bytes)
    events: list[Event] = [row(NAMES[0], seq, seq, text="x" * (seq * 40 % 700)) for seq in range(30)]
    lines = put(log, f"{NAMES[0]}{codec.suffix}", events, codec)
    chunks = list(log.scan("t", f"{NAMES[0]}{codec.suffix}"))
    assert [event for chunk in chunks for event in chunk.events] == events
    assert [chunk.start for chunk in chunks] == [0, *(chunk.end for chunk in chunks[:-1])]
    assert chunks[-1].end == len(lines) and sum(chunk.line_count for chunk in chunks) == 30
    assert not any(chunk.damaged for chunk in chunks)
    for index in range(30):
        offset = sum(len(codec.encode(event)) for event in events[:index])
        later = log.scan("t", f"{NAMES[0]}{codec.suffix}", offset)
        assert [event for chunk in later for event in chunk.events] == events[index:]
        until = log.scan("t", f"{NAMES[0]}{codec.suffix}", 0, offset + 5)
        assert [event for chunk in until for event in chunk.events] == events[:index]


@pytest.mark.parametrize("where", ["file", "memory"])
@pytest.mark.parametrize("piece_bytes", [1, 90, 100, 101, 350, 5000, 1 << 20])
def test_undecoded_lines_are_those_of_the_segment_whatever_the_pieces(
    log: FileLog, monkeypatch: pytest.MonkeyPatch, piece_bytes: int, where: str
) -> None:
    monkeypatch.setattr(scan_module, "_LINE_END_WITHIN", 90)
    name = f"{NAMES[0]}.jsonl"
    lines = put(log, name, [row(NAMES[0], seq, seq, text="x" * (seq * 40 % 700)) for seq in range(60)])
    torn = lines[:50]
    with (log.folder("t") / name).open("ab") as file:
        file.write(torn)
    source: Log = log
    if where == "memory":
        source = MemoryLog()
        source._tables["t"] = {name: bytearray(lines + torn)}
    for offset in (0, lines.index(b"\n") + 1):
        for end in (None, len(lines), len(lines) - 1):
            chunks = list(source.scan("t", name, offset, end, undecoded=lambda: piece_bytes))
            raw = b"".join(chunk.raw for chunk in chunks)
            whole = lines if end != len(lines) - 1 else lines[: lines[:-1].rindex(b"\n") + 1]
            assert raw == whole[offset:]
            assert all(chunk.raw.endswith(b"\n") for chunk in chunks)
            assert [chunk.start for chunk in chunks] == [offset, *(chunk.end for chunk in chunks[:-1])]
            assert chunks[-1].end == len(whole)


@pytest.mark.parametrize("codec", [jsonl, msgpack], ids=["jsonl", "msgpack"])
def test_scan_ends_where_the_segment_did_when_it_began(
    log: FileLog, monkeypatch: pytest.MonkeyPatch, codec: Codec
) -> None:
    monkeypatch.setattr(scan_module, "CHUNK_BYTES", 200)
    name = f"{NAMES[0]}{codec.suffix}"
    put(log, name, [row(NAMES[0], seq, seq) for seq in range(30)], codec)
    read = []
    for chunk in log.scan("t", name):
        read += chunk.events
        if len(read) > 100:
            break
        with (log.folder("t") / name).open("ab") as file:  # somebody logs as fast as this reads
            file.write(b"".join(codec.encode(row(NAMES[0], 30 + len(read) + seq, seq)) for seq in range(30)))
    assert len(read) == 30


@pytest.mark.parametrize("codec", [jsonl, msgpack], ids=lambda codec: codec.name)
@pytest.mark.parametrize("chunk_bytes", [1, 90, 1 << 20])
def test_damage_is_told_by_its_place_in_the_file_whatever_the_chunks(
    log: FileLog, monkeypatch: pytest.MonkeyPatch, codec: Codec, chunk_bytes: int
) -> None:
    monkeypatch.setattr(scan_module, "CHUNK_BYTES", chunk_bytes)
    events: list[Event] = [row(NAMES[0], seq, seq) for seq in range(12)]
    name = f"{NAMES[0]}{codec.suffix}"
    lines = bytearray(put(log, name, events, codec))
    at = sum(len(codec.encode(event)) for event in events[:7])
    lines[at + 30] ^= 1
    (log.folder("t") / name).write_bytes(lines)
    chunks = list(log.scan("t", name))
    (damage,) = [damage for chunk in chunks for damage in chunk.damaged]
    assert (damage.offset, damage.line) == (at, 7)
    assert [event for chunk in chunks for event in chunk.events] == events[:7] + events[8:]


def test_torn_last_line_is_skipped_until_it_is_whole(log: FileLog) -> None:
    name = f"{NAMES[0]}.jsonl"
    events: list[Event] = [row(NAMES[0], seq, seq) for seq in range(3)]
    lines = put(log, name, events)
    for cut in range(len(lines)):
        (log.folder("t") / name).write_bytes(lines[:cut])
        chunks = list(log.scan("t", name))
        end = chunks[-1].end if chunks else 0
        assert [e for c in chunks for e in c.events] == events[: lines[:cut].count(b"\n")]
        (log.folder("t") / name).write_bytes(lines)
        assert [e for c in log.scan("t", name, end) for e in c.events] == events[lines[:cut].count(b"\n") :]


def test_compressed_pack_reads_as_the_lines_it_holds(log: FileLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "CHUNK_BYTES", 400)
    events: list[Event] = [row(NAMES[seq % 3], seq, seq, text=str(seq) * 30) for seq in range(200)]
    name = f"{'ab' * 32}.jsonl.zst"
    lines = put(log, name, events)
    assert everything(log) == events
    offset = len(jsonl.encode(events[0]))
    assert [e for c in log.scan("t", name, offset) for e in c.events] == events[1:]
    assert log.tail("t", name, 100, 10) == b"" and log.read("t", name, 5, 10) == lines[5:15]
    assert log.first_clock("t", name) == 0


def test_pack_that_does_not_decompress_is_damage(log: FileLog) -> None:
    name = f"{'ab' * 32}.jsonl.zst"
    put(log, name, [row(NAMES[0], seq, seq, text=str(seq)) for seq in range(200)])
    path = log.folder("t") / name
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    damaged = [damage for chunk in log.scan("t", name) for damage in chunk.damaged]
    assert damaged
    path.write_bytes(b"no pack at all")
    (chunk,) = log.scan("t", name)
    assert chunk.events == [] and "decompressed" in chunk.damaged[0].reason
    assert everything(log) == []


def test_tail_is_what_stands_before_an_offset(log: FileLog) -> None:
    lines = put(log, f"{NAMES[0]}.jsonl", [row(NAMES[0], 1, 1)])
    assert log.tail("t", f"{NAMES[0]}.jsonl", len(lines), 10) == lines[-10:]
    assert log.tail("t", f"{NAMES[0]}.jsonl", 4, 10) == lines[:4]
    assert log.tail("t", f"{NAMES[0]}.jsonl", len(lines) + 5, 10) == lines[-5:]


def test_find_looks_in_every_segment(log: FileLog) -> None:
    put(log, f"{NAMES[0]}.jsonl", [row(NAMES[0], 1, 1), row(NAMES[1], 7, 2)])
    put(log, f"{NAMES[1]}.jsonl", [row(NAMES[1], 1, 1)])
    assert log.find("t", f"{NAMES[1]}-7") == row(NAMES[1], 7, 2)
    assert log.find("t", f"{NAMES[1]}-8") is None


def test_segment_that_cannot_be_read_is_an_error_that_names_it(log: FileLog) -> None:
    put(log, f"{NAMES[0]}.jsonl", [row(NAMES[0], 1, 1)])
    path = log.folder("t") / f"{NAMES[0]}.jsonl"
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=NAMES[0]):
        list(log.scan("t", path.name))
    path.rmdir()
    path.write_text("")
    if os.name != "nt" and os.geteuid() != 0:
        path.chmod(0)
        with pytest.raises(PermissionDenied, match=NAMES[0]):
            everything(log)


@pytest.mark.parametrize("name", [f"{NAMES[0]}.jsonl", f"{NAMES[0]}.msgpack", f"{'a' * 64}.jsonl.zst"])
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_in_the_place_of_a_segment_is_an_error_that_names_it(
    log: FileLog, name: str, what: str
) -> None:
    put(log, f"{NAMES[1]}.jsonl", [row(NAMES[1], 1, 1)])
    NO_FILES[what](log.folder("t") / name)
    segment = log.segment("t", name)
    assert segment is not None and segment.size == 0 and segment in log.segments("t")
    for read in (lambda: everything(log), lambda: log.read("t", name, 0), lambda: log.find("t", "x-1")):
        with pytest.raises(StorageError, match=name):
            read()
    assert hint_of(log, "t", name) == []


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_link_to_itself_beside_the_tables_is_ignored(log: FileLog) -> None:
    put(log, f"{NAMES[0]}.jsonl", [row(NAMES[0], 1, 1)])
    (log.path / "loop").symlink_to("loop")
    assert log.tables() == ["t"]


# -- merging -----------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=14),
    seed=st.integers(0, 1000),
    steps=st.sampled_from([[0], [0, 1], [1, 5], [0, 0, 40]]),
    chunk_bytes=st.sampled_from([1, 200, 1 << 20]),
    few=st.sampled_from([0, 8]),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_merged_is_all_events_in_total_order(
    tmp_path_factory: Any, sizes: list[int], seed: int, steps: list[int], chunk_bytes: int, few: int
) -> None:
    log = FileLog(tmp_path_factory.mktemp("log") / "x.events")
    chance = random.Random(seed)
    written: list[Event] = []
    begins: dict[str, int] = {}
    for name, size in zip(NAMES, sizes, strict=False):
        clock = chance.randrange(0, 100)
        own: list[Event] = []
        for seq in range(size):
            clock += chance.choice(steps)
            own.append(row(name, seq, clock))
        lines = put(log, f"{name}.jsonl", own)
        skipped = chance.randrange(0, size + 1)
        begins[f"{name}.jsonl"] = sum(len(jsonl.encode(event)) for event in own[:skipped])
        written += own[skipped:]
        assert len(lines) >= begins[f"{name}.jsonl"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_module, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(merged_module, "_FEW", few)
        runs = list(log.merged("t", begins))
    assert [event for run in runs for event in run.events] == sorted(written, key=event_key)
    ends = {run.segment: run.end_offset for run in runs}
    for segment in log.segments("t"):
        assert ends.get(segment.name, begins[segment.name]) == segment.size


def test_lines_of_a_lost_segment_come_in_their_order(log: FileLog) -> None:
    put(
        log,
        f"{NAMES[0]}.jsonl",
        [row(NAMES[0], 0, 50), row(NAMES[3], 4, 10), row(NAMES[3], 5, 20), row(NAMES[0], 1, 50)],
    )
    for name in NAMES[4:18]:
        put(log, f"{name}.jsonl", [row(name, 0, 15), row(name, 1, 60)])
    found = everything(log)
    assert found == sorted(found, key=event_key) and len(found) == 32
    assert log.first_clock("t", f"{NAMES[0]}.jsonl") == 10


def test_equal_readings_are_ordered_by_writer_then_number(log: FileLog) -> None:
    put(log, f"{NAMES[0]}.jsonl", [row(NAMES[2], 10, 5), row(NAMES[2], 9, 5), row(NAMES[0], 1, 5)])
    put(log, f"{NAMES[1]}.jsonl", [row(NAMES[1], 1, 5), row(NAMES[1], 2, 5)])
    assert [event.id[-4:] for event in everything(log)] == ["aa-1", "bb-1", "bb-2", "cc-9", "c-10"]


def test_duplicates_are_given_as_often_as_they_stand_there(log: FileLog) -> None:
    events: list[Event] = [row(NAMES[0], seq, seq) for seq in range(3)]
    put(log, f"{NAMES[0]}.jsonl", events)
    put(log, f"{'ab' * 32}.jsonl", events)
    assert [event.clock for event in everything(log)] == [0, 0, 1, 1, 2, 2]


def test_long_segment_out_of_order_is_noticed_and_sorted_the_next_time(
    log: FileLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "CHUNK_BYTES", 300)
    events: list[Event] = [row(NAMES[0], seq, (seq * 7) % 50) for seq in range(50)]
    put(log, f"{NAMES[0]}.jsonl", events)
    put(log, f"{NAMES[1]}.jsonl", [row(NAMES[1], seq, seq) for seq in range(50)])
    with pytest.raises(OutOfOrder):
        everything(log)
    found = everything(log)
    assert found == sorted(found, key=event_key) and len(found) == 100


def test_damage_is_counted_with_its_segment(log: FileLog) -> None:
    name = f"{NAMES[0]}.jsonl"
    lines = put(log, name, [row(NAMES[0], seq, seq) for seq in range(3)])
    (log.folder("t") / name).write_bytes(lines.replace(b'"clock":1', b'"clock":7'))
    (log.folder("t") / f"{NAMES[1]}.jsonl").write_bytes(b"nothing here\n" * 9 + b"nothing" * 9 + b"\n")
    merged = log.merged("t", starts(log))
    runs = list(merged)
    assert sum(run.damaged for run in runs) == merged.damaged == 3
    assert {run.segment: run.damaged for run in runs if run.damaged} == {name: 1, f"{NAMES[1]}.jsonl": 2}
    assert [event.clock for run in runs for event in run.events] == [0, 2]


def test_many_segments_are_not_all_open_at_once(log: FileLog, monkeypatch: pytest.MonkeyPatch) -> None:
    for index, name in enumerate(NAMES):
        put(log, f"{name}.jsonl", [row(name, seq, index * 100 + seq) for seq in range(5)])
    opened: list[int] = []
    held: set[str] = set()
    real = FileLog.scan

    def scan(self: FileLog, table: str, name: str, offset: int = 0, end: int | None = None) -> Any:
        if end is None:
            held.add(name)
            opened.append(len(held))
        yield from real(self, table, name, offset, end)
        held.discard(name)

    monkeypatch.setattr(FileLog, "scan", scan)
    assert len(everything(log)) == 130
    assert max(opened) <= 2


def test_relative_path_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = FileLog("x.events")
    monkeypatch.chdir("/")
    log.writer("t").append_row("r", {})
    assert [path.name for path in tmp_path.iterdir()] == ["x.events"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_table_folder_that_the_system_cannot_look_at_is_an_error(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "track.db.events")
    log.writer("t").append_row("r", {"n": 1})
    (log.path / "other").symlink_to("x" * 1000)  # longer than a name may be
    with pytest.raises(StorageError):
        log.tables()
