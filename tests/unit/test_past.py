"""A store as it was: `Reader(at=…)` at times, events, spans and git revisions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest

from tests.conftest import Git
from xetrack import Reader, Tracker, compact, diff
from xetrack.errors import (
    AssetNotFound,
    EventNotFound,
    InvalidArgument,
    PastIsReadOnly,
    RevisionNotFound,
    StoreNotFound,
    TableNotFound,
)
from xetrack.log.events import AssetAdded, Event, PayloadRedacted, RowLogged, ValueSet, split_id
from xetrack.log.past import moment_of_time
from xetrack.log.ranges import Frontier
from xetrack.store import open_store

RUN = "calm-otter-1"
NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
Engine = Literal["sqlite", "duckdb"]
both_engines = pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to ask")


def events(db: str, kind: type[Event] = RowLogged, table: str = "default") -> list[Any]:
    """Events of a kind, in order."""
    log = open_store(db).log
    starts = {segment.name: 0 for segment in log.segments(table)}
    return [event for run in log.merged(table, starts) for event in run.events if isinstance(event, kind)]


def time_of(event: Event) -> datetime:
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=event.clock)


def redact(db: str, *ids: str) -> None:
    frontier = Frontier()
    for event_id in ids:
        frontier.add(*split_id(event_id))
    store = open_store(db)
    writer = store.log.writer("default")
    writer.acquire()
    writer.append(PayloadRedacted, events=frontier.to_wire(), reason="test")
    writer.release()


@pytest.fixture
def store(db: str) -> str:
    """Rows a=1 and a=2, then everything set to 5 and a third row with a new column."""
    with Tracker(db, track_id=RUN) as tracker:
        tracker.log({"a": 1})
        tracker.log({"a": 2})
        tracker.set_value("a", 5)
        tracker.log({"a": 2.5, "b": "x"})
    return db


# -- moments -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-28T10:00:00Z", datetime(2026, 2, 28, 10, tzinfo=timezone.utc)),
        ("2026-02-28 10:00:00.5+02:00", datetime(2026, 2, 28, 8, 0, 0, 500_000, tzinfo=timezone.utc)),
        ("2026-02-28T10:00:00.123456789+0200", datetime(2026, 2, 28, 8, 0, 0, 123_456, tzinfo=timezone.utc)),
        ("2026-02-28T10:00", datetime(2026, 2, 28, 10).astimezone()),
        ("2026-02-28", datetime(2026, 2, 28).astimezone()),
        ("-90s", NOW - timedelta(seconds=90)),
        ("-30m", NOW - timedelta(minutes=30)),
        ("-2h", NOW - timedelta(hours=2)),
        ("-1.5d", NOW - timedelta(days=1.5)),
        ("-1w", NOW - timedelta(weeks=1)),
        (datetime(2026, 2, 28, 10), datetime(2026, 2, 28, 10).astimezone()),
        (date(2026, 2, 28), datetime(2026, 2, 28).astimezone()),
        (pd.Timestamp("2026-02-28 10:00"), datetime(2026, 2, 28, 10).astimezone()),
        (pd.Timestamp("2026-02-28 10:00+02:00"), datetime(2026, 2, 28, 8, tzinfo=timezone.utc)),
    ],
)
def test_times_and_spans_name_a_moment(text: Any, expected: datetime) -> None:
    moment = moment_of_time(text, NOW)
    assert moment is not None
    assert moment[0] == (expected - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)
    assert moment > (moment[0], "z" * 16, 10**9)  # after every event of its microsecond


@pytest.mark.parametrize(
    "when",
    [
        "",
        "yesterday",
        "2h",
        "+2h",
        "-2y",
        "2026-13-45",
        "2026-02-28T25:00",
        "-h",
        "20260228",
        5,
        5.0,
        pd.NaT,
        Path("x"),
    ],
)
def test_what_names_no_moment_is_a_usage_error(store: str, when: Any) -> None:
    with pytest.raises(InvalidArgument):
        Reader(store, at=when)


def test_span_before_all_time_shows_nothing(store: str) -> None:
    assert len(Reader(store, at="-99999999w")) == 0


# -- reading -----------------------------------------------------------------


@both_engines
def test_all_reading_methods_show_the_moment(store: str, engine: Engine) -> None:
    second = events(store)[1]
    reader = Reader(store, engine=engine, at=second.id)
    assert reader.to_df()["a"].tolist() == [1, 2]
    assert reader.to_df(track_id=RUN, head=1)["a"].tolist() == [1]
    assert len(reader) == 2
    assert reader.columns == ["timestamp", "track_id", "a"]
    assert reader.dtypes["a"] is int
    assert reader.latest()["a"].tolist() == [1, 2]
    assert reader.sql("SELECT a FROM events WHERE a > 1")["a"].tolist() == [2]
    assert [row[0] for row in reader.conn.execute('SELECT a FROM "default" ORDER BY a').fetchall()] == [1, 2]
    assert reader.to_arrow()["a"].to_pylist() == [1, 2]
    now = Reader(store, engine=engine)
    assert now.to_df()["a"].tolist() == [5.0, 5.0, 2.5]
    assert now.columns == ["timestamp", "track_id", "a", "b"]


def test_time_of_an_event_includes_it_and_nothing_after(store: str) -> None:
    first, second, _ = events(store)
    assert len(Reader(store, at=time_of(second).isoformat())) == 2
    assert len(Reader(store, at=time_of(second))) == 2
    assert len(Reader(store, at=(time_of(second) - timedelta(microseconds=1)).isoformat())) == 1
    assert len(Reader(store, at=first.id)) == 1


def test_timestamp_that_the_table_shows_is_a_moment(store: str) -> None:
    shown = Reader(store).to_df()["timestamp"].tolist()
    assert [len(Reader(store, at=time)) for time in shown] == [1, 2, 3]


def test_moment_of_an_event_holds_for_every_table(db: str) -> None:
    with Tracker(db, track_id=RUN) as one, Tracker(db, track_id=RUN, table="other") as two:
        one.log({"a": 1})
        two.log({"b": 1})
        one.log({"a": 2})
        two.log({"b": 2})
    between = events(db, table="other")[0].id
    assert len(Reader(db, at=between)) == len(Reader(db, table="other", at=between)) == 1


def test_row_logged_elsewhere_by_then_is_there_once_it_is_merged(tmp_path: Path) -> None:
    from xetrack import merge

    one, two = str(tmp_path / "one.db"), str(tmp_path / "two.db")
    for db in (one, two, one):
        with Tracker(db, track_id=RUN) as tracker:
            tracker.log({"db": Path(db).stem})
    moment = events(two)[0].id
    with pytest.raises(EventNotFound):
        Reader(one, at=moment)
    merge(two, into=one)
    assert Reader(one, at=moment).to_df()["db"].tolist() == ["one", "two"]


@both_engines
def test_delete_and_undo_after_the_moment_do_not_count(store: str, engine: Engine) -> None:
    third = events(store)[2].id
    Reader(store).delete_run(RUN)
    assert len(Reader(store)) == 0
    assert Reader(store, engine=engine, at=third).to_df()["a"].tolist() == [5.0, 5.0, 2.5]


def test_table_that_came_later_is_empty_and_one_that_never_came_is_not_found(store: str) -> None:
    early = events(store)[0].id
    with Tracker(store, track_id=RUN, table="late") as tracker:
        tracker.log({"x": 1})
    assert len(Reader(store, table="late", at=early)) == 0
    with pytest.raises(TableNotFound):
        Reader(store, table="lat", at=early)


def test_moment_to_come_follows_the_log(store: str) -> None:
    reader = Reader(store, at="2999-01-01")
    assert len(reader) == 3
    with Tracker(store, track_id=RUN) as tracker:
        tracker.log({"a": 9})
        assert len(reader) == 4


def test_compaction_changes_nothing_of_the_past(db: str) -> None:
    for step in (1, 2, 3):
        with Tracker(db, track_id=RUN) as tracker:
            tracker.log({"step": step})
    second = events(db)[1].id
    reader = Reader(db, at=second)
    assert reader.to_df()["step"].tolist() == [1, 2]
    assert compact(db).tables
    assert reader.to_df()["step"].tolist() == Reader(db, at=second).to_df()["step"].tolist() == [1, 2]


def test_run_that_went_on_after_the_moment_was_running(store: str) -> None:
    runs = Reader(store, at=events(store)[1].id).runs()
    assert runs[["track_id", "state", "rows"]].values.tolist() == [[RUN, "running", 2]]
    assert Reader(store).runs()["state"].tolist() == ["finished"]


def test_assets_are_those_of_the_moment(db: str) -> None:
    with Tracker(db, track_id=RUN) as tracker:
        tracker.log({"weights": {1, 2}})
        tracker.log({"later": {3, 4}})
    reader = Reader(db, at=events(db)[0].id)
    assert len(reader.assets) == 1 and reader.get("weights") == {1, 2}
    with pytest.raises(AssetNotFound):
        reader.get("later")


# -- writing and cleaning up -------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda reader: reader.set_value("a", 1),
        lambda reader: reader.set_value("a", {1, 2}),
        lambda reader: reader.set_where("a", 1, "a", 2),
        lambda reader: reader.delete_run(RUN),
        lambda reader: reader.remove_asset("weights"),
        lambda reader: reader.assets.gc(),
    ],
)
def test_change_of_the_past_is_refused_and_writes_nothing(db: str, change: Callable[[Reader], Any]) -> None:
    with Tracker(db, track_id=RUN) as tracker:
        tracker.log({"a": 1, "weights": {1, 2}})
        tracker.log({"later": {3, 4}})
    for path in Path(f"{db}.events").rglob("*.zst"):
        os.utime(path, (0, 0))  # old enough to go, and named by nothing at that moment
    before = {path: path.read_bytes() for path in Path(f"{db}.events").rglob("*.*")}
    with pytest.raises(PastIsReadOnly, match="cannot be changed"):
        change(Reader(db, at=events(db)[0].id))
    assert {path: path.read_bytes() for path in Path(f"{db}.events").rglob("*.*")} == before


@both_engines
def test_temporary_tables_go_with_the_reader_and_those_of_the_store_are_not_touched(
    store: str, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Reader(store, engine=engine).to_df()
    before = {path.name: path.read_bytes() for path in Path(store).parent.iterdir() if path.is_file()}
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("XETRACK_TABLES_DIR", str(tmp_path / "node"))
    reader = Reader(store, engine=engine, at=events(store)[0].id)
    assert len(reader) == 1
    assert len(list((tmp_path / "tmp").glob("xetrack-at-*"))) == 1
    del reader
    # The folder in which DuckDB could spill stays, with nothing in it.
    assert [path for path in (tmp_path / "tmp").rglob("*") if not path.name.startswith("xetrack-spill-")] == []
    assert {path.name: path.read_bytes() for path in Path(store).parent.iterdir() if path.is_file()} == before
    assert not list((tmp_path / "node").glob("*")) if (tmp_path / "node").exists() else True


def test_absent_store_is_not_found_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        Reader(tmp_path / "absent.db", at="-2h")
    assert list(tmp_path.iterdir()) == []


# -- redaction ---------------------------------------------------------------


@both_engines
def test_redacted_row_does_not_come_back(store: str, engine: Engine) -> None:
    first, second, _ = events(store)
    redact(store, first.id)
    assert Reader(store, engine=engine, at=second.id).to_df()["a"].tolist() == [2]


def test_redacted_set_does_not_come_back(store: str) -> None:
    third = events(store)[2].id
    redact(store, events(store, ValueSet)[0].id)
    assert Reader(store, at=third).to_df()["a"].tolist() == [1, 2, 2.5]


# -- git ---------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path, git: Git) -> Path:
    """A store with a row at tag `one`, another on branch `other`, and a third in the work tree of main."""
    folder = tmp_path / "repository"
    git(folder, "init")
    (folder / ".gitignore").write_text("*.db\n")
    db = str(folder / "track.db")

    def commit(step: int) -> None:
        with Tracker(db, track_id=RUN) as tracker:
            tracker.log({"step": step, "weights": {step}})
        git(folder, "add", ".")
        git(folder, "commit", "-m", f"step {step}")

    commit(1)
    git(folder, "tag", "one")
    git(folder, "checkout", "-b", "other")
    commit(2)
    git(folder, "checkout", "main")
    commit(3)
    return folder


@needs_git
@both_engines
def test_revision_shows_what_its_tree_held(repository: Path, engine: Engine) -> None:
    db = repository / "track.db"
    assert Reader(db, engine=engine, at="git:one").to_df()["step"].tolist() == [1]
    assert Reader(db, engine=engine, at="git:other").to_df()["step"].tolist() == [1, 2]
    assert Reader(db, engine=engine, at="git:other:track.db").get("weights") == {2}
    assert Reader(db, engine=engine, at="git:HEAD").to_df()["step"].tolist() == [1, 3]
    with pytest.raises(RevisionNotFound):
        Reader(db, at="git:nope")


@needs_git
@pytest.mark.parametrize("tables_stay", [True, False])
def test_revision_has_a_store_that_the_work_tree_has_not(repository: Path, git: Git, tables_stay: bool) -> None:
    git(repository, "rm", "-r", "-q", "track.db.events")
    if not tables_stay:
        (repository / "track.db").unlink()
    assert Reader(repository / "track.db", at="git:HEAD").to_df()["step"].tolist() == [1, 3]
    assert diff(f"{repository}/track.db@git:HEAD", f"{repository}/track.db@git:one").rows_removed == 1
    assert not (repository / "track.db.events").exists()


@needs_git
@both_engines
def test_what_was_redacted_since_is_gone_from_a_revision_too(repository: Path, engine: Engine) -> None:
    db = str(repository / "track.db")
    reader = Reader(db, engine=engine, at="git:one")
    assert reader.to_df()["step"].tolist() == [1]
    redact(db, events(db)[0].id, events(db, AssetAdded)[0].id)
    # Also where it was open already.
    for one in (reader, Reader(db, engine=engine, at="git:one")):
        assert len(one) == 0
        with pytest.raises(AssetNotFound):
            one.get("weights")


def test_past_of_duckdb_ends_with_its_program_without_a_word(store: str) -> None:
    code = (
        "import sys\nfrom xetrack import Reader\nreader = Reader(sys.argv[1], 'duckdb', at='-0s')\nprint(len(reader))"
    )
    done = subprocess.run([sys.executable, "-c", code, store], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("3\n", "")
