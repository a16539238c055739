"""`xetrack.replay`: tables again from the log, a past state as a store of its own."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.conftest import Git
from tests.unit.test_past import RUN, both_engines, events, needs_git, redact, repository, store
from xetrack import Reader, Tracker, copy, merge, replay
from xetrack.errors import InvalidArgument, StoreNotFound
from xetrack.log.events import AssetAdded, ValueSet
from xetrack.store import open_store

__all__ = ["repository", "store"]


def test_without_a_target_the_tables_are_made_again(store: str) -> None:
    before = Reader(store).to_df()
    Path(store).unlink()
    assert replay(store) == {"default": 3}
    assert Reader(store).to_df().equals(before)


@both_engines
def test_past_state_is_a_store_of_its_own(store: str, tmp_path: Path, engine: str) -> None:
    past = tmp_path / "past" / "past.db"
    second = events(store)[1]
    assert replay(store, at=second.id, to=past, engine=engine) == {"default": 2}
    assert Reader(past).to_df().equals(Reader(store, at=second.id).to_df())
    assert [event.id for event in events(str(past))] == [event.id for event in events(store)[:2]]
    assert not events(str(past), ValueSet)
    assert open_store(past).verify().ok
    # It lives on as any store does.
    with Tracker(str(past), track_id=RUN) as tracker:
        tracker.log({"a": 7})
    assert len(Reader(past)) == 3


def test_past_tables_are_read_by_plain_sqlite(store: str, tmp_path: Path) -> None:
    replay(store, at=events(store)[1].id, to=tmp_path / "past.db")
    connection = sqlite3.connect(tmp_path / "past.db")
    assert connection.execute('SELECT a FROM "default"').fetchall() == [(1,), (2,)]
    connection.close()


def test_lines_are_those_of_the_store_so_it_merges_with_its_past(store: str, tmp_path: Path) -> None:
    past = tmp_path / "past.db"
    replay(store, at=events(store)[1].id, to=past)
    lines = b"".join(path.read_bytes() for path in Path(f"{store}.events").rglob("*.jsonl"))
    for pack in Path(f"{past}.events").rglob("*.jsonl"):
        assert pack.read_bytes() in lines
    assert not merge(past, into=store).tables["default"].rows_added
    assert merge(store, into=past).tables["default"].rows_added == 1
    assert Reader(past).to_df().equals(Reader(store).to_df())


def test_all_of_it_is_taken_over_without_a_moment(db: str, tmp_path: Path) -> None:
    for codec in ("jsonl", "msgpack"):
        with Tracker(db, track_id=RUN, events=codec) as tracker:
            tracker.log({"codec": codec, "weights": {codec}})
    with Tracker(db, track_id=RUN, table="other") as tracker:
        tracker.log({"x": float("nan")})
    past = tmp_path / "past.db"
    assert replay(db, to=past) == {"default": 2, "other": 1}
    assert Reader(past).to_df().equals(Reader(db).to_df())
    assert Reader(past).get("weights") == {"msgpack"}


def test_object_that_came_later_is_not_taken_along(db: str, tmp_path: Path) -> None:
    with Tracker(db, track_id=RUN) as tracker:
        tracker.log({"weights": {1}})
        tracker.log({"weights": {2}})
    past = tmp_path / "past.db"
    replay(db, at=events(db)[0].id, to=past)
    assert Reader(past).get("weights") == {1}
    assert len(list(Path(f"{past}.events").rglob("*.zst"))) == 1


def test_redacted_payload_is_a_stub_there_and_stays_one(store: str, tmp_path: Path) -> None:
    first, second, _ = events(store)
    stale = tmp_path / "stale.db"
    copy(store, stale)
    redact(store, first.id)
    past = tmp_path / "past.db"
    assert replay(store, at=second.id, to=past) == {"default": 1}
    assert '"a":1' not in "".join(path.read_text() for path in Path(f"{past}.events").rglob("*.jsonl"))
    merge(stale, into=past)
    assert len(Reader(past)) == 2  # the third row, not the first again


def test_events_that_stand_in_several_files_come_once(store: str, tmp_path: Path) -> None:
    folder = Path(f"{store}.events") / "default"
    (segment,) = folder.glob("*.jsonl")
    shutil.copy(segment, folder / f"{'ab' * 32}.jsonl")
    past = tmp_path / "past.db"
    assert replay(store, to=past) == {"default": 3}
    assert len(list(Path(f"{past}.events").rglob("*.jsonl"))) == 1


def test_moment_needs_a_target(store: str) -> None:
    with pytest.raises(InvalidArgument, match="to"):
        replay(store, at="-2h")


@pytest.mark.parametrize("there", ["past.db", "past.duckdb", "past.db.events/x"])
def test_place_that_is_taken_is_left_alone(store: str, tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_text("mine")
    with pytest.raises(InvalidArgument, match="there already"):
        replay(store, to=tmp_path / "past.db")
    assert (tmp_path / there).read_text() == "mine"


def test_store_itself_is_no_target(store: str) -> None:
    with pytest.raises(InvalidArgument):
        replay(store, at="-2h", to=store)
    assert len(Reader(store)) == 3


def test_nothing_is_left_of_a_failed_call(store: str, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        replay(tmp_path / "absent.db", at="-2h", to=tmp_path / "past.db")
    with pytest.raises(InvalidArgument):
        replay(store, at="yesterday", to=tmp_path / "past.db")
    assert not list(tmp_path.glob("*past*"))


@needs_git
def test_revision_is_made_a_store(repository: Path, tmp_path: Path, git: Git) -> None:
    past = tmp_path / "past.db"
    assert replay(repository / "track.db", at="git:other", to=past) == {"default": 2}
    assert Reader(past).to_df()["step"].tolist() == [1, 2]
    assert Reader(past).get("weights") == {2}


@needs_git
def test_what_was_redacted_since_is_a_stub_in_a_store_of_a_revision(repository: Path, tmp_path: Path) -> None:
    db = str(repository / "track.db")
    redact(db, events(db)[0].id, events(db, AssetAdded)[0].id)
    past = tmp_path / "past.db"
    assert replay(db, at="git:one", to=past) == {"default": 0}
    assert "calm-otter-1" not in "".join(path.read_text() for path in Path(f"{past}.events").rglob("*.jsonl"))
    assert not list(Path(f"{past}.events").rglob("*.zst"))
