"""What may stand at a store's path, what becomes of its tables, and what each then does."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from xetrack import Reader, Tracker, copy, merge
from xetrack.errors import (
    ForeignFile,
    InvalidArgument,
    InvalidTable,
    NotAStore,
    ReadOnlyTables,
    StorageFailed,
    StoreNotFound,
    TablesWithoutLog,
)
from xetrack.store import open_store
from xetrack.tables.layout import columns_of
from xetrack.tables.projector import Projector


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A store of five rows, closed."""
    path = tmp_path / "track.db"
    with Tracker(str(path), track_id="run") as tracker:
        for number in range(5):
            tracker.log({"x": number})
    return path


def values(db: Path) -> list[int]:
    return list(Reader(str(db)).to_df()["x"])


# -- paths -------------------------------------------------------------------


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match=str(tmp_path)):
        Tracker(str(tmp_path))


_BYTES: Any = b"track.db"


@pytest.mark.parametrize("path", [_BYTES, "track\ud800.db", "track\0.db"])
def test_path_that_no_file_can_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for act in (Tracker, Reader, open_store, partial(copy, target="to.db"), partial(merge, into="to.db")):
        with pytest.raises(InvalidArgument):
            act(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 there")
def test_path_of_other_bytes_serves_sqlite_and_is_refused_for_duckdb(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.db")
    with pytest.raises(InvalidArgument, match="DuckDB"):
        Tracker(path, engine="duckdb")
    with Tracker(path) as tracker:
        tracker.log({"x": 1})
    assert values(Path(path)) == [1]


def test_folder_of_the_log_names_its_store_with_a_slash_behind_it_too(db: Path) -> None:
    for name in (f"{db}.events", f"{db}.events/"):
        assert len(Reader(name).to_df()) == 5
        assert copy(str(db), name) == 0


def test_text_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(ForeignFile, match="notes.txt"):
        Tracker(str(file))
    assert file.read_text() == "mine" and os.listdir(tmp_path) == ["notes.txt"]


def test_foreign_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as conn:
        conn.execute("CREATE TABLE mine (a)")
    conn.close()
    before = file.read_bytes()
    with pytest.raises(ForeignFile, match="other.db"):
        Tracker(str(file))
    assert file.read_bytes() == before and os.listdir(tmp_path) == ["other.db"]


def test_foreign_database_in_place_of_the_tables_is_refused(db: Path) -> None:
    db.unlink()
    with sqlite3.connect(db) as conn:
        conn.execute("CREATE TABLE mine (a)")
    conn.close()
    with pytest.raises(ForeignFile):
        Reader(str(db)).to_df()


def test_empty_file_becomes_a_store(tmp_path: Path) -> None:
    file = tmp_path / "new.db"
    file.touch()
    with Tracker(str(file)) as tracker:
        tracker.log({"x": 1})
    assert values(file) == [1]


def test_reader_of_a_missing_store_names_near_ones_and_makes_nothing(db: Path) -> None:
    with pytest.raises(StoreNotFound, match="track.db"):
        Reader(str(db.parent / "trak.db"))
    assert not (db.parent / "trak.db").exists()


@pytest.mark.parametrize("name", ["", "_x", "assets", "Assets", "sqlite_x", "a\0b", "t" * 300])
def test_table_names_that_cannot_be_are_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidTable):
        Tracker(str(tmp_path / "track.db"), table=name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["order", "x; DROP TABLE y", "a/b", "..", 'q"q', "é", "events", "m", "1"])
def test_odd_table_names_work_and_stay_inside_the_store(tmp_path: Path, name: str) -> None:
    with Tracker(str(tmp_path / "track.db"), table=name) as tracker:
        tracker.log({"x": 1})
    assert len(Reader(str(tmp_path / "track.db"), table=name)) == 1
    assert all(entry.startswith("track.db") for entry in os.listdir(tmp_path))


# -- tables are derived ------------------------------------------------------


def test_deleted_tables_are_made_again(db: Path) -> None:
    db.unlink()
    assert values(db) == [0, 1, 2, 3, 4]


def test_tables_deleted_under_an_open_reader_are_made_again(db: Path) -> None:
    reader = Reader(str(db))
    assert len(reader) == 5
    for file in db.parent.glob("track.db*"):
        if file.is_file():
            file.unlink()
    assert len(reader) == 5


def test_tables_deleted_while_they_are_opened_are_made_again(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, left = sqlite3.connect, [db]

    def delete(statement: str) -> None:
        if left and "synchronous" in statement:  # the last one of opening them
            left.pop().unlink()

    def connect_before_another_deletes(*args: Any, **more: Any) -> Any:
        conn = connect(*args, **more)
        conn.set_trace_callback(delete)
        return conn

    monkeypatch.setattr(sqlite3, "connect", connect_before_another_deletes)
    reader = Reader(str(db))
    assert len(reader) == 5 and not left
    assert values(db) == [0, 1, 2, 3, 4] and db.exists()
    assert len(reader) == 5


@pytest.mark.parametrize("harm", ["garbage", "cut", "middle"])
def test_damaged_tables_are_made_again(db: Path, harm: str) -> None:
    raw = bytearray(db.read_bytes())
    if harm == "garbage":
        raw[:3000] = os.urandom(3000)
    elif harm == "cut":
        del raw[500:]
    else:
        raw[5000:12000] = os.urandom(7000)
    db.write_bytes(raw)
    assert values(db) == [0, 1, 2, 3, 4]


def _spoil_text(db: Path) -> None:
    """Make a byte of a cell of text one that no UTF-8 has."""
    with Tracker(str(db)) as tracker:
        tracker.log({"s": "plain text"})
    raw = db.read_bytes()
    assert raw.count(b"plain text") == 1
    db.write_bytes(raw.replace(b"plain text", b"plain\xfftext"))


_ROWS: list[Callable[[Reader], Any]] = [
    lambda reader: reader.to_df(),
    lambda reader: reader.sql("SELECT s FROM events"),
    lambda reader: reader.sql("SELECT CAST(x'ff' AS TEXT)"),
]


@pytest.mark.parametrize("read", _ROWS, ids=["rows", "query", "other text"])
def test_text_that_is_none_is_damage(db: Path, read: Callable[[Reader], Any]) -> None:
    _spoil_text(db)
    with pytest.raises(StorageFailed, match="anew"):
        read(Reader(str(db)))
    assert Reader(str(db)).to_df()["s"].tolist()[-1] == "plain text"


def test_verify_reports_text_that_is_none(db: Path) -> None:
    _spoil_text(db)
    store = open_store(db)
    try:
        report = store.verify()
        assert not report.ok and not report.damaged and "UTF-8" in report.tables[0]
        assert store.verify().ok
    finally:
        store.close()


def test_text_that_a_query_makes_wrong_is_no_damage(db: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="UTF-8"):
        Reader(str(db)).sql("SELECT CAST(x'ff' AS TEXT)")
    assert not list(db.parent.glob("*.damaged-*"))


def test_tables_without_their_log_are_not_shown_as_truth(db: Path) -> None:
    shutil.rmtree(f"{db}.events")
    with pytest.raises(TablesWithoutLog, match="import"):
        Reader(str(db)).to_df()
    with pytest.raises(TablesWithoutLog):
        Tracker(str(db))
    assert db.exists()


def test_killed_projector_leaves_tables_that_the_next_one_completes(db: Path) -> None:
    with Tracker(str(db)) as tracker:
        tracker.log_batch([{"x": number} for number in range(5, 60_005)])
    db.unlink()
    for delay in ("0.02", "0.1", "0.2"):
        code = (
            "import os, signal, threading, time, sys\n"
            "threading.Timer(float(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL)).start()\n"
            "from xetrack.store import open_store\n"
            "store = open_store(sys.argv[1])\n"
            "while True: store.replay()\n"
        )
        died = subprocess.run([sys.executable, "-c", code, str(db), delay], check=False)
        assert died.returncode == -signal.SIGKILL
        assert values(db) == list(range(60_005))


def test_vanished_segment_takes_its_rows_along(db: Path) -> None:
    with Tracker(str(db)) as tracker:
        tracker.log({"x": 5})
    segments = sorted(Path(f"{db}.events/default").iterdir(), key=lambda file: file.stat().st_size)
    assert len(values(db)) == 6
    segments[0].unlink()
    assert values(db) == [0, 1, 2, 3, 4]


def test_tables_dir_keeps_tables_away_from_the_log(db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db.unlink()
    monkeypatch.setenv("XETRACK_TABLES_DIR", str(tmp_path / "local"))
    assert values(db) == [0, 1, 2, 3, 4]
    assert not db.exists() and list((tmp_path / "local").iterdir())


def test_changed_tables_are_found_by_verify(db: Path) -> None:
    store = open_store(str(db))
    assert store.verify().ok
    with sqlite3.connect(db) as conn:
        conn.execute('UPDATE "default" SET x = 99 WHERE x = 3')
    conn.close()
    report = store.verify()
    assert not report.ok and "default" in report.tables[0]
    store.replay()
    assert store.verify().ok
    store.close()


# -- the users' connection ---------------------------------------------------


@pytest.mark.parametrize("where", ["file", "memory"])
@pytest.mark.parametrize("name", ["events", '"default"', "db.events", 'db."default"'])
def test_queries_read_alike_and_up_to_date(tmp_path: Path, where: str, name: str) -> None:
    tracker = Tracker(":memory:" if where == "memory" else str(tmp_path / "track.db"))
    for number in range(3):
        tracker.log({"x": number})
        assert tracker.conn.execute(f"SELECT count(*) FROM {name}").fetchone() == (number + 1,)
    tracker.close()


@pytest.mark.parametrize("where", ["file", "memory"])
@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE "default" SET x = 1',
        "DELETE FROM events",
        'DROP TABLE "default"',
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'other.db'",
        "PRAGMA query_only=OFF",
        "PRAGMA writable_schema=ON",
    ],
)
def test_writes_are_refused(tmp_path: Path, where: str, statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = Tracker(":memory:" if where == "memory" else str(tmp_path / "track.db"))
    tracker.log({"x": 0})
    with pytest.raises(ReadOnlyTables):
        tracker.conn.execute(statement)
    with pytest.raises(ReadOnlyTables):
        tracker.conn.cursor().execute(statement)
    assert tracker.to_df()["x"].tolist() == [0]
    assert not (tmp_path / "other.db").exists()
    tracker.close()


def test_cursor_held_open_neither_blocks_nor_changes(tmp_path: Path) -> None:
    tracker = Tracker(str(tmp_path / "track.db"))
    tracker.log_batch([{"x": number} for number in range(500)])
    held = tracker.conn.execute("SELECT x FROM events")
    assert held.fetchone() == (0,)
    tracker.log({"x": 500, "y": "new"})
    assert tracker.count_all() == 501
    assert len(held.fetchall()) == 499
    tracker.close()


def test_a_table_named_events_takes_the_place_of_the_view(tmp_path: Path) -> None:
    db = str(tmp_path / "track.db")
    with Tracker(db) as one, Tracker(db, table="events") as two:
        one.log({"x": 1})
        assert one.conn.execute("SELECT x FROM events").fetchall() == [(1,)]
        two.log({"x": 2})
        assert two.conn.execute("SELECT x FROM events").fetchall() == [(2,)]
        assert one.conn.execute('SELECT x FROM "default"').fetchall() == [(1,)]


def test_keys_past_the_column_limit_come_back(tmp_path: Path) -> None:
    row = {f"k{number}": number for number in range(2500)}
    with Tracker(str(tmp_path / "track.db"), track_id="wide") as tracker:
        tracker.log(row)
        tracker.log({"k2400": 0.5})
        assert tracker.set_value("k2450", "text") == 2
        frame = tracker.to_df()
        assert frame["k2499"].tolist()[0] == 2499 and frame["k2400"].tolist() == [2400.0, 0.5]
        assert frame["k2450"].tolist() == ["text", "text"]
        assert tracker.set_where("found", True, "k2400", 0.5) == 1


@pytest.mark.parametrize("held", ["our tables", "a database of the user's"])
def test_looking_at_a_file_takes_no_locks_from_those_who_have_it_open(db: Path, tmp_path: Path, held: str) -> None:
    """A process that closes any descriptor of a file gives up all its locks on it, SQLite's too."""
    if held == "our tables":
        reader = Reader(str(db))
        assert len(reader) == 5
        assert values(db) == list(range(5))
        asked = db
    else:
        asked = tmp_path / "other.db"
        conn = sqlite3.connect(asked, isolation_level=None)
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("CREATE TABLE mine (a)")
        with pytest.raises(ForeignFile):
            Tracker(str(asked))
    ask = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('PRAGMA journal_mode=DELETE')"
    other = subprocess.run([sys.executable, "-c", ask, str(asked)], capture_output=True, text=True, check=False)
    assert "database is locked" in other.stderr
    if held == "our tables":
        assert len(reader) == 5
    else:
        conn.close()


# -- tables that another process puts aside meanwhile ----------------------------


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), sqlite3.DatabaseError("malformed")])
def test_failure_of_tables_that_another_process_put_aside_leaves_its_new_ones(db: Path, error: sqlite3.Error) -> None:
    values(db)
    store = open_store(db)
    keeper = store.keeper("sqlite")
    made: list[int] = []

    def act(projector: Projector) -> int:
        if not made:
            # What another process does that finds them damaged first.
            db.rename(f"{db}.damaged-1")
            made.append(0)
            subprocess.run([sys.executable, "-c", _READ, str(db)], check=True)
            made.append(db.stat().st_ino)
            raise error
        return projector.backend.path.stat().st_ino  # type: ignore[attr-defined, no-any-return]

    try:
        assert keeper.guarded(act) == made[1]
        assert keeper.path() == db
    finally:
        store.close()
    assert [path.name for path in db.parent.glob("*.damaged-*")] == ["track.db.damaged-1"]
    assert values(db) == [0, 1, 2, 3, 4]


_READ = "import sys; from xetrack import Reader; print(len(Reader(sys.argv[1]).to_df()))"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="SQLite's code is not told")
def test_short_read_means_damaged_tables(db: Path) -> None:
    store = open_store(db)
    try:
        table = store.table("default", "sqlite")
        with Tracker(str(db), track_id="more") as tracker:
            tracker.log_batch([{"x": number, "text": "t" * 500} for number in range(500)])
            table.catch_up()
            os.truncate(f"{db}-wal", 5000)
            with contextlib.suppress(StorageFailed):
                Reader(str(db)).to_df()
            assert len(Reader(str(db)).to_df()) == 505
    finally:
        store.close()
    assert [path.name for path in db.parent.glob("*.damaged-*")] == ["track.db.damaged-1"]


@pytest.mark.parametrize(
    "lost", ["_xetrack_tables", "_xetrack_segments", "_xetrack_seen", "_xetrack_blocks", '"default"']
)
def test_tables_that_lack_one_of_ours_are_damaged(db: Path, lost: str) -> None:
    assert values(db) == [0, 1, 2, 3, 4]
    conn = sqlite3.connect(db)
    conn.execute(f"DROP TABLE {lost}")
    conn.close()
    with Tracker(str(db)) as tracker:
        tracker.log({"x": 5})
        assert tracker.count_all() == 6
    assert len(list(db.parent.glob("*.damaged-*"))) == 1
    assert values(db) == [0, 1, 2, 3, 4, 5]


def test_tables_whose_bookkeeping_has_a_name_that_is_no_utf8_are_made_anew(db: Path) -> None:
    assert values(db) == [0, 1, 2, 3, 4]
    with contextlib.closing(sqlite3.connect(db)) as conn:
        (state,) = conn.execute("SELECT state FROM _xetrack_tables").fetchone()
        broken = state.replace(b"\xa1x", b"\xa1\xff")
        assert broken != state
        with pytest.raises(UnicodeDecodeError):
            msgspec.msgpack.decode(broken)
        with conn:
            conn.execute("UPDATE _xetrack_tables SET state=?", (broken,))
    assert columns_of(broken) == []
    assert values(db) == [0, 1, 2, 3, 4]


def test_open_reader_sees_that_another_program_dropped_a_table(db: Path) -> None:
    reader = Reader(str(db))
    assert len(reader.to_df()) == 5
    with contextlib.closing(sqlite3.connect(db)) as conn:
        conn.execute('DROP TABLE "default"')
    assert len(reader.to_df()) == 5
    assert reader.sql("SELECT count(*) AS n FROM events")["n"].tolist() == [5]


def test_connection_whose_tables_were_made_anew_says_so(db: Path) -> None:
    with Tracker(str(db)) as tracker:
        held = tracker.conn
        assert held.execute("SELECT count(*) FROM events").fetchall() == [(5,)]
        with contextlib.closing(sqlite3.connect(db)) as conn:
            conn.execute('DROP TABLE "default"')
        tracker.log({"x": 5})
        for _ in range(2):
            with pytest.raises(StorageFailed, match="this connection has the old ones"):
                held.execute("SELECT count(*) FROM events")
        assert tracker.conn.execute("SELECT count(*) FROM events").fetchall() == [(6,)]


def test_wrong_statement_is_neither_damage_nor_a_failing_disk(db: Path) -> None:
    values(db)
    error = sqlite3.OperationalError('near "FORM": syntax error')

    def act(_: Projector) -> None:
        raise error

    store = open_store(db)
    try:
        with pytest.raises(sqlite3.OperationalError) as raised:
            store.keeper("sqlite").guarded(act)
        assert raised.value is error and store.keeper("sqlite").path() == db
        for wrong in ("no such table: nope", "no such table: _xetrack_nope", "no such column: nope"):
            store.keeper("sqlite").heal(sqlite3.OperationalError(wrong))
        assert store.keeper("sqlite").is_open
    finally:
        store.close()
    assert not list(db.parent.glob("*.damaged-*"))


# -- forks -------------------------------------------------------------------

_FORK = """
import os, sys, signal, threading
from xetrack import Tracker
from xetrack.log.progress import listening

db, engine, inside, go = *sys.argv[1:], threading.Event(), threading.Event()
tracker = Tracker(db, engine=engine)
tracker.log({"x": 0})
tracker.to_df()
tracker.log_batch([{"x": number} for number in range(1, 3000)])

def in_the_middle(*_):
    inside.set()
    go.wait()

def read():
    with listening(in_the_middle):
        tracker.to_df()

thread = threading.Thread(target=read)
thread.start()
inside.wait()
os.register_at_fork(before=go.set)  # the last one is called first
child = os.fork()
if child == 0:
    signal.alarm(30)
    tracker.log({"x": 3000})
    os._exit(0 if len(tracker.to_df()) == 3001 else 9)
thread.join()
assert os.waitpid(child, 0)[1] == 0
assert len(tracker.to_df()) == 3001
tracker.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_child_forked_while_a_thread_projects_waits_for_nobody(tmp_path: Path, engine: str) -> None:
    args = [sys.executable, "-W", "ignore", "-c", _FORK, str(tmp_path / "track.db"), engine]
    done = subprocess.run(args, capture_output=True, text=True, check=False, env={**os.environ, "XETRACK_LIVE": "0"})
    assert (done.returncode, done.stderr) == (0, "")


_FORK_HOLDING = """
import os, sys
from xetrack import forks
from xetrack.store import open_store
one, two = open_store(sys.argv[1], create=True), open_store(":memory:")
with two.locked(), one.locked():
    child = os.fork()
    if child == 0:
        with one.locked(), two.locked():
            os._exit(0)
assert os.waitpid(child, 0)[1] == 0
with one.locked(), two.locked():
    assert not forks._forking.taken
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_thread_that_has_the_tables_can_fork(tmp_path: Path) -> None:
    args = [sys.executable, "-W", "ignore", "-c", _FORK_HOLDING, str(tmp_path / "track.db")]
    done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


_FORK_CROSSED = """
import os, sys, threading
from xetrack.store import open_store
one, two = open_store(sys.argv[1], create=True), open_store(":memory:")
holds, forks = threading.Event(), threading.Event()

def other():  # holds the second, and wants the first once the fork has begun to take them
    with two.locked():
        holds.set()
        forks.wait()
        with one.locked():
            pass

thread = threading.Thread(target=other)
thread.start()
holds.wait()
os.register_at_fork(before=forks.set)
child = os.fork()
if child == 0:
    with one.locked(), two.locked():
        os._exit(0)
assert os.waitpid(child, 0)[1] == 0
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork_does_not_hold_a_store_while_it_waits_for_another(
    tmp_path: Path,
) -> None:
    code = f"import xetrack.forks\nxetrack.forks._WAIT_S = 1e6\n{_FORK_CROSSED}"
    args = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "track.db")]
    done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "statement",
    [
        'ALTER TABLE "default" ADD COLUMN b',
        'ALTER TABLE "default" DROP COLUMN a',
        "ALTER TABLE _xetrack_segments ADD COLUMN more",
        "CREATE VIEW other AS SELECT 1 AS x",
        'CREATE INDEX other ON "default" (a)',
    ],
)
def test_tables_that_another_client_changed_are_made_anew(tmp_path: Path, statement: str) -> None:
    db = tmp_path / "track.db"
    with Tracker(str(db)) as tracker:
        tracker.log({"a": 1})
    with contextlib.closing(sqlite3.connect(db)) as other:
        other.execute(statement)
        other.commit()
    for table, row in (("default", {"a": 2, "b": 3}), ("other", {"q": 1})):
        with Tracker(str(db), table=table) as tracker:
            tracker.log(row)
            assert tracker.to_df().iloc[-1][list(row)].to_dict() == row
        assert Reader(str(db), table=table).to_df().iloc[-1][list(row)].to_dict() == row


def test_schema_of_tables_that_is_no_text_is_damage(tmp_path: Path) -> None:
    db = tmp_path / "track.db"
    with Tracker(str(db)) as tracker:
        tracker.log({"a": 1})
    raw = db.read_bytes()
    assert raw.count(b"CREATE TABLE _xetrack_segments") == 1
    db.write_bytes(raw.replace(b"CREATE TABLE _xetrack_segments", b"CREATE TABLE _xetrack_segm\xe5nts"))
    assert Reader(str(db)).to_df()["a"].tolist() == [1]


_SHARED = """
import sys, threading
from xetrack import Reader, Tracker
Tracker(sys.argv[1]).log_batch([{"a": n, "b": str(n) * 20} for n in range(3000)])
reader = Reader(sys.argv[1])

def ask():
    for _ in range(60):
        assert len(reader.sql('SELECT b, count(*) FROM "default" GROUP BY b')) == 3000

threads = [threading.Thread(target=ask) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_may_ask_one_reader_at_once(tmp_path: Path) -> None:
    args = [sys.executable, "-c", _SHARED, str(tmp_path / "track.db")]
    done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
