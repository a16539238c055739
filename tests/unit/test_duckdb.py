"""The DuckDB engine: no locks, no network, generations that replace each other whole."""

from __future__ import annotations

import datetime as dt
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import ROOT
from xetrack import Reader, Tracker
from xetrack.config import Settings
from xetrack.errors import MissingExtra, ReadOnlyTables
from xetrack.store import Store, open_store
from xetrack.tables.duckdb import DuckdbTables
from xetrack.tables.files import tables_file

duckdb: Any = pytest.importorskip("duckdb")


@pytest.fixture
def tracker(db: str) -> Iterator[Tracker]:
    with Tracker(db, track_id="run-one-1") as tracker:
        yield tracker


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts and generations at every turn, where the original waits for millions of cells."""
    monkeypatch.setattr(DuckdbTables, "heavy_cells", 50)
    monkeypatch.setattr(DuckdbTables, "large_bytes", 500)


def opened(db: str) -> Store:
    return open_store(db, settings=Settings.resolve(engine="duckdb"))


def run(code: str, *args: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_columns_have_real_types(db: str, tracker: Tracker) -> None:
    tracker.log(
        {
            "i": 1,
            "h": 2**100,
            "f": math.nan,
            "b": True,
            "t": dt.datetime(2024, 1, 1),
            "y": b"x",
            "j": {"a": [1]},
            "s": "s",
        }
    )
    tracker.log({"f": math.inf})
    conn = opened(db).connection("duckdb")
    types = dict(row[:2] for row in conn.execute("DESCRIBE events").fetchall())
    assert types == {
        "timestamp": "VARCHAR", "track_id": "VARCHAR", "i": "BIGINT", "h": "HUGEINT", "f": "DOUBLE", "b": "BOOLEAN",
        "t": "TIMESTAMP", "y": "BLOB", "j": "JSON", "s": "VARCHAR",
    }  # fmt: skip
    assert conn.execute("SELECT count(*) FROM events WHERE isnan(f) OR isinf(f)").fetchall() == [(2,)]
    assert conn.execute("SELECT j->'a', json_extract(j, '$.a[0]') FROM events WHERE j IS NOT NULL").fetchall() == [
        ("[1]", "1")
    ]


def test_other_clients_see_the_rows_after_a_close(db: str, tracker: Tracker) -> None:
    tracker.log({"x": 1})
    store = opened(db)
    store.catch_up()
    store.close()
    with duckdb.connect(str(tables_file(Path(db), "duckdb")), read_only=True) as other:
        assert other.execute('SELECT x FROM "default"').fetchall() == [(1,)]
        assert other.execute("SELECT x FROM events").fetchall() == [(1,)]
        assert {("default",), ("events",)} <= set(other.execute("SHOW TABLES").fetchall())


@pytest.mark.usefixtures("eager")
def test_held_result_stays_and_the_next_statement_sees_everything(db: str, tracker: Tracker) -> None:
    for step in range(3000):
        tracker.log({"step": step})
    store = opened(db)
    conn: Any = store.connection()
    held = conn.cursor().execute("SELECT step FROM events")
    assert held.fetchone() == (0,)
    for step in range(3000, 6000):
        tracker.log({"step": step})
    tracker.set_value("step", -1)
    assert conn.execute("SELECT count(*), max(step) FROM events").fetchall() == [(6000, -1)]
    assert [row[0] for row in held.fetchall()] == list(range(1, 3000))
    store.close()
    assert conn.execute("SELECT count(*) FROM events").fetchall() == [(6000,)]


def test_unfinished_result_does_not_stop_the_next_call(db: str, tracker: Tracker) -> None:
    for step in range(9):
        tracker.log({"step": step})
    store = opened(db)
    conn: Any = store.connection()
    conn.execute("SELECT * FROM events").fetchone()
    assert len(conn.sql("SELECT * FROM events").df()) == 9
    assert conn.execute("SELECT step FROM events").arrow().num_rows == 9
    assert conn.execute("SELECT step FROM events").df()["step"].tolist() == list(range(9))
    assert [row for row in conn.execute("SELECT step FROM events LIMIT 2")] == [(0,), (1,)]
    assert store.table("default").latest_run() == "run-one-1" and len(store.table("default").frame()) == 9


@pytest.mark.parametrize(
    "statement",
    ["EXPLAIN ANALYZE DELETE FROM events", "COPY events TO 'out.csv'", "INSTALL httpfs", "LOAD json", "SET threads=1",
     "SELECT 1; CHECKPOINT", "USE memory", "PRAGMA memory_limit='1GB'", "BEGIN", "CALL force_checkpoint()",
     "EXPORT DATABASE 'out'", "DETACH base"],
)  # fmt: skip
def test_only_questions_are_answered(db: str, tracker: Tracker, statement: str) -> None:
    tracker.log({"x": 1})
    conn: Any = opened(db).connection()
    with pytest.raises(ReadOnlyTables):
        conn.execute(statement)
    with pytest.raises(ReadOnlyTables):
        conn.sql(statement)
    for name in ("register", "install_extension", "begin"):
        with pytest.raises(ReadOnlyTables):
            getattr(conn, name)("x", None)


@pytest.mark.parametrize(
    "statement",
    ["EXPLAIN SELECT * FROM events", "EXPLAIN ANALYZE SELECT x FROM events", "DESCRIBE events", "SHOW TABLES",
     "PRAGMA table_info('events')", "FROM events", "SUMMARIZE events", "VALUES (1)",
     "WITH e AS (FROM events) SELECT * FROM e"],
)  # fmt: skip
def test_questions_of_all_kinds(db: str, tracker: Tracker, statement: str) -> None:
    tracker.log({"x": 1})
    conn: Any = opened(db).connection()
    assert conn.execute(statement).fetchall()


def test_both_engines_at_once_see_what_the_other_wrote(db: str, tracker: Tracker) -> None:
    readers = [Reader(db, engine="sqlite"), Reader(db, engine="duckdb")]
    for turn, reader in enumerate(readers * 3):
        tracker.log({"turn": turn})
        assert reader.set_value("seen", turn) == turn + 1
        pd.testing.assert_frame_equal(readers[0].to_df(), readers[1].to_df())


def test_large_log_goes_through_a_draft(db: str, tracker: Tracker, eager: None) -> None:
    for step in range(200):
        tracker.log({"step": step, f"only{step % 7}": step / 2})
    store = opened(db)
    lite = open_store(db, settings=Settings.resolve(engine="sqlite"))
    pd.testing.assert_frame_equal(store.table("default").frame(), lite.table("default").frame())
    assert tables_file(Path(db), "duckdb").exists()
    other = opened(db)
    tracker.log({"step": "text now"})
    for each in (store, other):
        pd.testing.assert_frame_equal(each.table("default").frame(), lite.table("default").frame())
    assert store.verify().ok
    assert not list(Path(db).parent.glob("*.tmp*"))


def test_draft_of_a_killed_process_goes_after_an_hour(db: str, tracker: Tracker) -> None:
    tracker.log({"x": 1})
    path = tables_file(Path(db), "duckdb")
    old, young = (path.with_name(f"{path.name}.{pid}.0.tmp") for pid in (1, 2))
    for draft in (old, young):
        draft.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    store = opened(db)
    store.replay()
    store.close()
    assert not old.exists() and young.exists()


def test_somebody_who_writes_into_the_file_stops_nobody(db: str, tracker: Tracker) -> None:
    tracker.log({"x": 1})
    store = opened(db)
    store.replay()
    store.close()
    path = str(tables_file(Path(db), "duckdb"))
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "open\n"
    try:
        tracker.log({"x": 2})
        other = opened(db)
        assert other.table("default").column("x") == [1, 2]
        other.close()
    finally:
        holder.communicate()


WORK = """
import sys
from xetrack import Tracker
from xetrack.config import Settings
from xetrack.store import open_store
db, number = sys.argv[1:]
store = open_store(db, create=True, settings=Settings.resolve(engine="duckdb"))
table = store.table("default")
writer = store.log.writer("default")
writer.acquire()
for step in range(2000):
    writer.append_row(f"run-{number}", {"step": step, "writer": int(number), f"own{number}": 0.5})
    if step % 500 == 0:
        table.count()
writer.release()
store.flush()
store.close()
"""
WATCH = """
import os, sys
from xetrack.config import Settings
from xetrack.store import open_store
db, until = sys.argv[1:]
store = open_store(db, create=True, settings=Settings.resolve(engine="duckdb"))
conn = store.connection()
last = 0
while not os.path.exists(until):
    if last or store.table("default").count():
        (count,) = conn.execute("SELECT count(*) FROM events").fetchone()
        assert count >= last, (count, last)
        last = count
store.close()
"""


def test_eight_processes_log_while_two_read(db: str, tmp_path: Path) -> None:
    until = tmp_path / "done"
    watchers = [run(WATCH, db, str(until)) for _ in range(2)]
    workers = [run(WORK, db, str(number)) for number in range(8)]
    for process in workers:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    until.touch()
    for process in watchers:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    store = opened(db)
    table = store.table("default")
    assert table.count() == 16_000 and len(table.runs()) == 8
    lite = open_store(db, settings=Settings.resolve(engine="sqlite")).table("default").frame()
    pd.testing.assert_frame_equal(table.frame(), lite)
    store.close()
    with duckdb.connect(str(tables_file(Path(db), "duckdb")), read_only=True) as other:
        assert other.execute("SELECT count(*) FROM events").fetchone() == (16_000,)
    assert not list(tmp_path.glob("*.tmp*"))


KILLED = """
import os, signal, sys
from xetrack.config import Settings
from xetrack.store import open_store
from xetrack.tables import duckdb as engine
from xetrack.tables.duckdb_file import Draft
engine.DuckdbTables.large_bytes = 100
calls = 0
def killed(original):
    def wrapper(*args, **kwargs):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    return wrapper
for name in ("add_column", "insert", "commit", "_publish", "_write_books", "_flush"):
    setattr(engine.DuckdbTables, name, killed(getattr(engine.DuckdbTables, name)))
Draft.finish = killed(Draft.finish)
os.replace = killed(os.replace)
store = open_store(sys.argv[1], settings=Settings.resolve(engine="duckdb"))
store.replay()
store.close()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_projector_does_no_harm(db: str, tracker: Tracker) -> None:
    for step in range(50):
        tracker.log({"step": step})
    store = opened(db)
    store.replay()
    store.close()
    tracker.log({"step": 50, "other": 0.5})
    killed = 0
    for moment in range(1, 30):
        process = run(KILLED, db, str(moment))
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        killed += 1
        store = opened(db)
        assert store.table("default").column("step") == list(range(51))
        store.close()
    assert killed > 5


def test_nothing_is_asked_of_the_network_or_installed(db: str, tmp_path: Path, tracker: Tracker) -> None:
    tracker.log({"j": {"a": 1}, "d": dt.datetime(2024, 1, 1), "b": b"x"})
    code = """
import socket, sys
def refuse(*args, **kwargs):
    raise OSError("no network here")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from xetrack import Reader
reader = Reader(sys.argv[1], engine="duckdb")
assert reader.conn.execute("SELECT j->'a' FROM db.events").fetchall() == [("1",)]
assert len(reader.to_df()) == len(reader.to_arrow()) == 1
loaded = reader.conn.execute(
    "SELECT extension_name FROM duckdb_extensions() WHERE installed AND install_mode NOT IN ('STATICALLY_LINKED')"
).fetchall()
assert not loaded, loaded
assert reader.conn.execute(
    "SELECT count(*) FROM duckdb_settings() WHERE name LIKE 'auto%known_extensions' AND value='false'"
).fetchall() == [(2,)]
"""
    home = tmp_path / "home"
    home.mkdir()
    process = run(code, db, HOME=str(home))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert not list(home.rglob("*.duckdb_extension"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_child_opens_its_own(db: str, tracker: Tracker) -> None:
    tracker.log({"x": 1})
    code = """
import os, sys, warnings
from xetrack import Reader
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of a fork beside threads
reader = Reader(sys.argv[1], engine="duckdb")
conn = reader.conn
assert conn.execute("SELECT x FROM events").fetchall() == [(1,)]
pid = os.fork()
if pid == 0:
    assert reader.to_df()["x"].tolist() == [1]
    assert conn.execute("SELECT x FROM events").fetchall() == [(1,)]
    sys.exit(0)
_, status = os.waitpid(pid, 0)
assert status == 0, status
assert conn.execute("SELECT x FROM events").fetchall() == [(1,)]
"""
    process = run(code, db)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and not errors, errors


def test_threads_share_a_store(db: str, tracker: Tracker, eager: None) -> None:
    store = opened(db)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            table = store.table("default")
            conn: Any = store.connection().cursor()
            for step in range(20):
                tracker.log({"number": number, "step": step})
                assert table.count() > 0
                assert conn.execute("SELECT count(*) FROM events").fetchone()[0] > 0
        except BaseException as error:  # noqa: BLE001  # told to the test
            failures.append(error)

    tracker.log({"number": -1})
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.table("default").count() == 121


@pytest.mark.parametrize("package", ["duckdb", "pyarrow"])
def test_missing_package_names_the_extra(
    db: str, tracker: Tracker, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.log({"x": 1})
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match="duckdb"):
        Reader(db, engine="duckdb")


def test_closing_writes_nothing_that_is_there(db: str, tracker: Tracker) -> None:
    tracker.log({"x": 1})
    path = tables_file(Path(db), "duckdb")
    store = opened(db)
    store.flush()
    store.close()
    before = path.stat().st_ino
    store = opened(db)
    assert store.table("default").count() == 1
    store.close()
    assert path.stat().st_ino == before


@pytest.mark.parametrize(
    ("store", "engine", "tables"),
    [
        ("a/track.db", "sqlite", "a/track.db"),
        ("a/track.db", "duckdb", "a/track.duckdb"),
        ("a/exp", "duckdb", "a/exp.duckdb"),
        ("a/v1.2.sqlite", "duckdb", "a/v1.2.sqlite.duckdb"),
        ("a/own.duckdb", "duckdb", "a/own.duckdb"),
        ("a/own.duckdb", "sqlite", "a/own.duckdb.sqlite"),
    ],
)
def test_tables_lie_beside_the_log(store: str, engine: str, tables: str) -> None:
    assert tables_file(Path(store), engine) == Path(tables)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of processes")
@pytest.mark.parametrize("limit", ["RLIMIT_FSIZE", "RLIMIT_NOFILE"])
def test_commit_that_the_system_refuses_leaves_the_rows_in_memory(db: str, limit: str) -> None:
    code = """
import os, resource, signal, sys
from xetrack import Tracker
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
db, limit = sys.argv[1], getattr(resource, sys.argv[2])
tracker = Tracker(db, engine="duckdb")
tracker.log({"x": 0})
assert len(tracker.to_df()) == 1
tracker.log_batch([{"x": number, "text": str(number) * 20} for number in range(3000)])
assert len(tracker.to_df()) == 3001
hard = resource.getrlimit(limit)[1]
if limit == resource.RLIMIT_FSIZE:
    most = 65536
else:  # room for the draft, not for what DuckDB keeps beside it
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    most = free + 1
resource.setrlimit(limit, (most, hard))
tracker.flush()
resource.setrlimit(limit, (hard, hard))
assert len(tracker.to_df()) == 3001
tracker.close()
"""
    done = subprocess.run([sys.executable, "-c", code, db, limit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("could not be written, its rows stay in memory") == 1
    assert len(Reader(db, engine="duckdb").to_df()) == 3001


def test_names_in_a_wrong_query_do_not_pass_for_damage(db: str) -> None:
    with Tracker(db, engine="duckdb") as tracker:
        tracker.log({"x": 1})
    store = open_store(db, settings=Settings.resolve(engine="duckdb"))
    try:
        table = store.table("default")
        with pytest.raises(duckdb.BinderException) as raised:
            table.connection().execute("SELECT checksum FROM events")
        table.heal(raised.value)
    finally:
        store.close()
    assert not list(Path(db).parent.glob("*.damaged-*"))


@pytest.mark.parametrize("rows", [1, 20_000])
def test_program_that_only_logs_leaves_tables_at_its_end_without_a_word(db: str, rows: int) -> None:
    code = "import sys; from xetrack import Tracker; t = Tracker(sys.argv[1], engine='duckdb')"
    code += f"; t.log_batch([{{'x': n}} for n in range({rows})])"
    done = subprocess.run([sys.executable, "-c", code, db], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with duckdb.connect(str(tables_file(Path(db), "duckdb")), read_only=True) as conn:
        assert conn.execute("SELECT count(*) FROM events").fetchone() == (rows,)
