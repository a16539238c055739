"""``xetrack.copy``: the target follows the source, table by table, however often it is called."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.strategies import signed
from xetrack import Reader, Tracker, copy
from xetrack.errors import (
    AssetNotFound,
    DiskFull,
    FormatTooNew,
    InvalidArgument,
    InvalidTable,
    NotAStore,
    SameIdDifferentEvent,
    StoreNotFound,
    TableNotFound,
)
from xetrack.log.codec import jsonl
from xetrack.log.events import (
    AssetAdded,
    AssetRemoved,
    Event,
    EventUndone,
    PayloadRedacted,
    RunDeleted,
    event_key,
    split_id,
)
from xetrack.log.ranges import Frontier
from xetrack.store import open_store


class Weights:
    """An object that no column can hold."""

    def __init__(self, size: int) -> None:
        self.size = size


@pytest.fixture
def source(tmp_path: Path) -> str:
    db = str(tmp_path / "source.db")
    with Tracker(db, track_id="calm-otter-1") as tracker:
        tracker.log_batch([{"epoch": epoch, "loss": 1 / (epoch + 1)} for epoch in range(3)])
    with Tracker(db, track_id="bold-lynx-2", table="metrics") as tracker:
        tracker.log({"accuracy": 0.9})
    return db


@pytest.fixture
def target(tmp_path: Path) -> str:
    return str(tmp_path / "target.db")


def files(folder: str | Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    root = Path(folder)
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def log_of(db: str) -> dict[str, bytes]:
    return files(f"{db}.events")


def cells(db: str, table: str = "default") -> list[dict[str, Any]]:
    with contextlib.closing(open_store(db)) as store:
        return store.table(table).records()


def events_of(db: str) -> list[Event]:
    """All events of the default table."""
    with contextlib.closing(open_store(db)) as store:
        chunks = [chunk for s in store.log.segments("default") for chunk in store.log.scan("default", s.name)]
        return [event for chunk in chunks for event in chunk.events]


def segment(db: str, table: str = "default") -> Path:
    (path,) = Path(f"{db}.events", table).iterdir()
    return path


def test_rows_become_visible_once(source: str, target: str) -> None:
    assert copy(source, target) == 3
    before = log_of(target)
    assert copy(source, target) == 0
    assert log_of(target) == before
    assert cells(target) == cells(source)


def test_source_is_only_read(source: str, target: str) -> None:
    before = log_of(source)
    copy(source, target)
    assert log_of(source) == before


def test_without_names_only_the_default_table_is_copied(source: str, target: str) -> None:
    copy(source, target)
    with contextlib.closing(open_store(target)) as store:
        assert store.tables() == ["default"]


def test_named_tables_are_copied(source: str, target: str) -> None:
    assert copy(source, target, tables=["metrics"]) == 1
    assert copy(source, target, tables=["default", "metrics", "default"]) == 3
    assert cells(target, "metrics") == cells(source, "metrics")


def test_all_tables_are_copied(source: str, target: str) -> None:
    assert copy(source, target, tables="all") == 4


def test_value_set_in_the_source_follows(source: str, target: str) -> None:
    copy(source, target)
    Reader(source).set_value("label", "good", track_id="calm-otter-1")
    assert copy(source, target) == 0
    assert Reader(target).to_df()["label"].tolist() == ["good"] * 3


def test_run_deleted_in_the_source_is_deleted_in_the_target(source: str, target: str) -> None:
    copy(source, target)
    with Tracker(target, track_id="own-run-3") as tracker:
        tracker.log({"epoch": 9})
    Reader(source).delete_run("calm-otter-1")
    assert copy(source, target) == 0
    assert Reader(target).to_df()["track_id"].tolist() == ["own-run-3"]


def test_row_that_was_deleted_before_it_came_does_not_count(source: str, target: str) -> None:
    with Tracker(source, track_id="stays-4") as tracker:
        tracker.log({"epoch": 0})
    Reader(source).delete_run("calm-otter-1")
    assert copy(source, target) == 1


def test_run_brought_back_in_the_source_comes_back(source: str, target: str) -> None:
    Reader(source).delete_run("calm-otter-1")
    assert copy(source, target) == 0
    (deleted,) = [event for event in events_of(source) if isinstance(event, RunDeleted)]
    writer, _, seq = deleted.id.rpartition("-")
    with contextlib.closing(open_store(source)) as store:
        store.log.writer("default").append(EventUndone, events={writer: seq}, seen={writer: seq})
    assert copy(source, target) == 3
    assert len(Reader(target)) == 3


def test_copy_onto_itself_changes_nothing(source: str) -> None:
    before = log_of(source)
    assert copy(source, source) == 0
    assert copy(f"{source}.events", source) == 0
    assert log_of(source) == before


def test_copy_of_a_copied_folder_finds_nothing_new(source: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    shutil.copytree(f"{source}.events", f"{other}.events")
    assert copy(source, other) == 0
    with Tracker(source, track_id="calm-otter-1") as tracker:
        tracker.log({"epoch": 3, "loss": 0.1})
    before = log_of(other)
    assert copy(source, other) == 1
    assert len(log_of(other)) == len(before) + 1
    assert before.items() <= log_of(other).items()


def test_growing_segment_is_copied_piece_by_piece(source: str, target: str) -> None:
    with Tracker(source, track_id="live-run-5") as tracker:
        for number in range(3):
            tracker.log({"epoch": number})
            assert copy(source, target) == (4 if number == 0 else 1)
    assert cells(target) == cells(source)


def test_both_sides_of_one_segment_may_grow_apart(source: str, tmp_path: Path, target: str) -> None:
    whole = segment(source).read_bytes()
    shutil.copytree(f"{source}.events", f"{target}.events")
    lines = whole.splitlines(keepends=True)
    segment(target).write_bytes(b"".join(lines[:2]))
    assert copy(source, target) == len(lines) - 3
    assert cells(target) == cells(source)


def test_segment_of_messagepack_that_was_copied_in_mid_record_is_completed(tmp_path: Path, target: str) -> None:
    source = str(tmp_path / "packed.db")
    with Tracker(source, track_id="r", events="msgpack") as tracker:
        for step in range(5):
            tracker.log({"step": step})
    shutil.copytree(f"{source}.events", f"{target}.events")
    whole = segment(source).read_bytes()
    segment(target).write_bytes(whole[: len(whole) // 2])
    there = len(cells(target))
    assert 0 < there < 5
    assert copy(source, target) == 5 - there
    assert cells(target) == cells(source)


def test_records_of_messagepack_become_lines_that_say_the_same(tmp_path: Path, target: str) -> None:
    source = str(tmp_path / "packed.db")
    values = {"i": 1, "f": 1.0, "n": float("nan"), "big": 2**80, "b": b"\x00", "t": (1, {"a": None}), "s": "é\n"}
    with Tracker(source, track_id="r", events="msgpack") as tracker:
        tracker.log(values)
        tracker.log_batch([values, values])
    assert copy(source, target) == 3
    (line, *_) = [line for line in segment(target).read_bytes().splitlines() if b"row.logged" in line]
    event = jsonl.decode(line)
    assert event is not None and jsonl.encode(event) == line + b"\n"
    assert cells(target) == cells(source)


def test_lines_go_byte_for_byte_into_a_pack_named_by_its_content(source: str, target: str) -> None:
    with Tracker(source, track_id="second-writer") as second, Tracker(source, track_id="third-writer") as third:
        for epoch in range(3):
            second.log({"epoch": epoch})
            third.log({"epoch": epoch})
    # Trackers of one process share a writer: a segment from elsewhere, whose events lie between theirs.
    clock = events_of(source)[2].clock
    line = signed(b'{"kind":"row.logged","id":"aaaaaaaaaaaaaaaa-0","clock":%d,"run":"r","data":{}}' % clock)
    Path(f"{source}.events", "default", "z" * 16 + ".jsonl").write_bytes(line + b"\n")
    copy(source, target)
    pack = segment(target)
    with contextlib.closing(open_store(target)) as store:
        assert store.log.sha256("default", pack.name) == pack.name.partition(".")[0]
        assert store.verify().ok
    lines = [line for path in Path(f"{source}.events", "default").iterdir() for line in path.read_bytes().splitlines()]
    packed = pack.read_bytes().splitlines()
    assert sorted(packed) == sorted(lines)
    events = [event for line in packed if (event := jsonl.decode(line)) is not None]
    assert [event.id for event in events] == [event.id for event in sorted(events, key=event_key)]


def test_unknown_kinds_and_fields_survive(source: str, target: str) -> None:
    more = [
        signed(b'{"kind":"metric.renamed","id":"zzzzzzzzzzzzzzzz-0","clock":5,"to":{"deep":[1.0]}}'),
        signed(b'{"kind":"row.logged","id":"zzzzzzzzzzzzzzzz-1","clock":6,"run":"r","data":{"x":1},"mood":"good"}'),
    ]
    Path(f"{source}.events", "default", "z" * 16 + ".jsonl").write_bytes(b"\n".join([*more, b""]))
    assert copy(source, target) == 4
    assert set(more) <= set(segment(target).read_bytes().splitlines())


def test_damaged_and_torn_lines_stay_behind(source: str, target: str) -> None:
    path = segment(source)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"epoch":1', b'"epoch":8')
    path.write_bytes(b"".join(lines)[:-5])
    assert copy(source, target) == 2
    assert [row["epoch"] for row in cells(target)] == [0, 2]


def test_line_that_lost_its_end_is_taken_over_whole(source: str, target: str) -> None:
    path = segment(source)
    raw = path.read_bytes()
    place = raw.index(b"\n", raw.index(b"\n") + 1)
    for damaged in (raw[:place] + raw[place + 1 :], raw[:place] + b"#" + raw[place + 1 :]):
        path.write_bytes(damaged)
        assert copy(source, target) == 3
        assert sorted(segment(target).read_bytes().splitlines()) == sorted(raw.splitlines())
        segment(target).unlink()


def test_good_copy_heals_a_damaged_line(source: str, target: str) -> None:
    copy(source, target)
    pack = segment(target)
    pack.write_bytes(pack.read_bytes().replace(b'"epoch":1', b'"epoch":8'))
    Path(target).unlink()
    assert [row["epoch"] for row in cells(target)] == [0, 2]
    assert copy(source, target) == 1
    assert [row["epoch"] for row in cells(target)] == [0, 1, 2]


def test_objects_come_along(source: str, target: str) -> None:
    with Tracker(source, track_id="with-object") as tracker:
        tracker.log({"model": Weights(7)})
    assert copy(source, target) == 4
    digest = cells(target)[-1]["model"]
    assert Tracker(target).get(digest).size == 7


def test_objects_left_out_come_with_a_later_copy(source: str, target: str) -> None:
    with Tracker(source, track_id="with-object") as tracker:
        tracker.log({"model": Weights(7)})
    assert copy(source, target, assets=False) == 4
    digest = cells(target)[-1]["model"]
    with pytest.raises(AssetNotFound):
        Tracker(target).get(digest)
    assert copy(source, target) == 0
    assert Tracker(target).get(digest).size == 7


def test_object_that_is_damaged_in_the_source_stays_behind(source: str, target: str) -> None:
    with Tracker(source, track_id="with-object") as tracker:
        tracker.log({"model": Weights(7)})
    (path,) = Path(f"{source}.events", "_assets").rglob("*.zst")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert copy(source, target) == 4
    assert not list(Path(f"{target}.events").rglob("*.zst"))


def test_object_that_no_copied_table_names_stays_behind(source: str, target: str) -> None:
    with Tracker(source, track_id="with-object", table="metrics") as tracker:
        tracker.log({"model": Weights(7)})
    copy(source, target)
    assert not list(Path(f"{target}.events").rglob("*.zst"))


def test_what_was_redacted_does_not_come_back(source: str, target: str) -> None:
    with Tracker(source, track_id="patient-1") as tracker:
        tracker.log({"name": "secret", "model": Weights(7)})
    secret = Frontier()
    for event in events_of(source):
        if getattr(event, "run", None) == "patient-1" or isinstance(event, AssetAdded):
            secret.add(*split_id(event.id))
    with contextlib.closing(open_store(target, create=True)) as store:
        store.log.writer("default").append(PayloadRedacted, events=secret.to_wire(), reason="a name")
    assert copy(source, target) == 3
    assert not any(b"secret" in raw for raw in log_of(target).values())
    assert not list(Path(f"{target}.events").rglob("*.zst"))
    assert copy(source, target) == 0


@pytest.mark.parametrize("how", ["redacted", "removed"])
def test_object_that_was_given_up_does_not_come_back(source: str, target: str, how: str) -> None:
    with Tracker(source, track_id="with-object") as tracker:
        tracker.log({"model": Weights(7)})
    copy(source, target, assets=False)
    named = Frontier()
    for event in events_of(source):
        if getattr(event, "run", None) == "with-object" or isinstance(event, AssetAdded):
            named.add(*split_id(event.id))
    (digest,) = (event.digest for event in events_of(source) if isinstance(event, AssetAdded))
    with contextlib.closing(open_store(target)) as store:
        writer = store.log.writer("default")
        if how == "redacted":
            writer.append(PayloadRedacted, events=named.to_wire(), reason="a name")
        else:
            writer.append(AssetRemoved, digest=digest, seen=named.to_wire())
    assert copy(source, target) == 0
    assert not list(Path(f"{target}.events").rglob("*.zst"))
    with Tracker(source, track_id="again") as tracker:
        tracker.log({"model": Weights(7)})
    assert copy(source, target) == 1
    assert len(list(Path(f"{target}.events").rglob("*.zst"))) == 1


def test_absent_source_creates_nothing(source: str, tmp_path: Path, target: str) -> None:
    before = files(tmp_path)
    with pytest.raises(StoreNotFound, match="source.db"):
        copy(str(tmp_path / "sourc.db"), target)
    assert files(tmp_path) == before


def test_absent_table_names_those_there_are(source: str, target: str) -> None:
    with pytest.raises(TableNotFound, match="default, metrics"):
        copy(source, target, tables=["metric"])
    assert not Path(f"{target}.events").exists()


def test_empty_source_makes_an_empty_target(tmp_path: Path, target: str) -> None:
    open_store(tmp_path / "empty.db", create=True).close()
    assert copy(tmp_path / "empty.db", target) == 0
    assert log_of(target) == log_of(str(tmp_path / "empty.db"))


def test_path_that_is_no_store_is_refused(source: str, tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotAStore):
        copy(tmp_path / "folder", target)
    with pytest.raises(NotAStore):
        copy(source, tmp_path / "folder")
    assert not Path(f"{target}.events").exists()


def test_memory_is_neither_source_nor_target(source: str, target: str) -> None:
    for pair in ((":memory:", target), (source, ":memory:")):
        with pytest.raises(InvalidArgument):
            copy(*pair)


def test_newer_format_is_refused_and_changes_nothing(source: str, target: str) -> None:
    with Tracker(target, track_id="own") as tracker:
        tracker.log({"x": 1})
    before = log_of(target)
    path = segment(source)
    lines = path.read_bytes().splitlines()
    head = jsonl.decode(lines[0])
    assert head is not None
    lines[0] = jsonl.encode(msgspec.structs.replace(head, format="2.0"))[:-1]
    path.write_bytes(b"\n".join([*lines, b""]))
    with pytest.raises(FormatTooNew):
        copy(source, target)
    assert log_of(target) == before


def edited(source: str, path: Path) -> None:
    """Change a row and give its line the CRC of the change: damage that no CRC finds."""
    lines = path.read_bytes().splitlines()
    number = next(number for number, line in enumerate(lines) if b'"epoch":1' in line)
    body = lines[number].replace(b'"epoch":1', b'"epoch":8')
    lines[number] = signed(body[:-18] + b"}")
    path.write_bytes(b"\n".join([*lines, b""]))


def test_same_id_with_another_content_is_refused_and_changes_nothing(source: str, target: str) -> None:
    copy(source, target)
    edited(source, segment(source))
    before = log_of(target)
    with pytest.raises(SameIdDifferentEvent) as caught:
        copy(source, target)
    assert caught.value.event_id.endswith("-2")
    assert str(caught.value.path) == str(segment(source))
    assert log_of(target) == before


def test_same_id_with_another_content_in_a_shared_segment_is_refused(source: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    shutil.copytree(f"{source}.events", f"{other}.events")
    edited(source, segment(source))
    with pytest.raises(SameIdDifferentEvent):
        copy(source, other)


def test_tables_that_differ_in_case_are_refused(source: str, target: str) -> None:
    with Tracker(target, table="Default") as tracker:
        tracker.log({"x": 1})
    before = log_of(target)
    with pytest.raises(InvalidTable):
        copy(source, target)
    assert log_of(target) == before


@pytest.mark.parametrize("is_new", [True, False])
def test_full_disk_leaves_the_target_as_it_was(
    source: str, target: str, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    if not is_new:
        with Tracker(target, track_id="own") as tracker:
            tracker.log({"x": 1})
    before = log_of(target)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull):
            copy(source, target, tables="all")
    assert log_of(target) == before
    assert Path(f"{target}.events").exists() is not is_new
    assert copy(source, target, tables="all") == 4


def test_move_that_fails_takes_back_what_was_moved(source: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Tracker(target, track_id="own") as tracker:
        tracker.log({"x": 1})
    before = log_of(target)
    moves: list[str] = []
    replace = os.replace

    def fails_second(source: str, place: str) -> None:
        if str(place).endswith(".jsonl"):
            moves.append(str(place))
            if len(moves) == 2:
                raise OSError(5, "Input/output error")
        replace(source, place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails_second)
        with pytest.raises(Exception, match="Input/output"):
            copy(source, target, tables="all")
    assert len(moves) == 2
    assert log_of(target) == before
