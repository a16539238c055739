"""``xetrack.redact``: what is redacted is gone from the log, the tables and the objects, and nothing brings it back."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.conftest import ROOT, Git
from tests.faults import kill_at_every_call
from xetrack import Reader, Tracker, compact, copy, merge, rebase, redact
from xetrack.errors import ColumnNotFound, InvalidArgument, RunNotFound, RunProtected, StoreNotFound, TableNotFound
from xetrack.exchange import takeover
from xetrack.log import events as ev
from xetrack.log.clock import Clock, wall_us
from xetrack.log.log import FileLog
from xetrack.log.packs import draft_pack
from xetrack.log.ranges import Frontier
from xetrack.store import open_store

SECRET = "Mallory-Doe"
RUN, OTHER = "patient-1", "calm-otter-2"


class Scan:
    """An object that no column can hold."""

    def __init__(self, name: str) -> None:
        self.name = name


def make(db: str, events: str = "jsonl") -> None:
    """A run with a name in its rows, in a value that was set and in an object, and another run."""
    with Tracker(db, track_id=RUN, events=events) as tracker:  # type: ignore[arg-type]
        tracker.log({"name": SECRET, "age": 40})
        tracker.log({"name": SECRET, "scan": Scan(SECRET)})
        tracker.set_value("note", f"called {SECRET}")
    with Tracker(db, track_id=OTHER, events=events) as tracker:  # type: ignore[arg-type]
        tracker.log({"name": "nobody", "age": 30, "scan": Scan("nobody")})


@pytest.fixture
def store(tmp_path: Path) -> str:
    db = str(tmp_path / "track.db")
    make(db)
    return db


def holding(db: str, text: str = SECRET) -> list[str]:
    """Files of a store and its tables in which a text stands, compressed or not."""
    path = Path(db)
    files = [*path.parent.glob(f"{path.stem}*"), *Path(f"{db}.events").rglob("*")]
    return sorted(str(file) for file in files if file.is_file() and text.encode() in content(file))


def content(file: Path) -> bytes:
    raw = file.read_bytes()
    if file.suffix != ".zst":
        return raw
    return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()


def shown(db: str, engine: Any = "sqlite") -> list[Any]:
    return list(Reader(db, engine=engine).to_df()["track_id"])


def check(db: str) -> None:
    with contextlib.closing(open_store(db)) as opened:
        report = opened.verify()
    assert report.ok and not report.orphans, str(report)


def files(db: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(f"{db}.events").rglob("*")) if path.is_file()}


def events_of(db: str, table: str = "default") -> list[ev.Event]:
    log = FileLog(Path(f"{db}.events"))
    return [e for s in log.segments(table) for chunk in log.scan(table, s.name) for e in chunk.events]


# -- what goes ---------------------------------------------------------------


@pytest.mark.parametrize("events", ["jsonl", "msgpack"])
def test_payload_of_a_run_is_gone_from_every_file(tmp_path: Path, events: str) -> None:
    db = str(tmp_path / "track.db")
    make(db, events)
    Reader(db).to_df()
    pytest.importorskip("duckdb")
    Reader(db, engine="duckdb").to_df()
    assert len(holding(db)) >= 2
    report = redact(db, track_id=RUN, reason="withdrew")
    assert (report.runs, report.rows, report.values, len(report.assets)) == ([RUN], 2, 1, 1)
    assert (len(report.files_rewritten), report.files_left, report.values_kept) == (1, [], 0)
    assert holding(db) == []
    assert holding(db, RUN) == []
    assert shown(db) == shown(db, "duckdb") == [OTHER]
    assert Reader(db).columns == ["timestamp", "track_id", "name", "age", "scan"]
    assert len(Reader(db).assets) == 1
    check(db)
    redacted = [e for e in events_of(db) if isinstance(e, ev.PayloadRedacted)]
    assert [(e.reason, len(Frontier.from_wire(e.events))) for e in redacted] == [("withdrew", 4)]


def test_dry_run_reports_the_same_and_changes_nothing(store: str) -> None:
    before = files(store)
    planned = redact(store, track_id=RUN, dry_run=True)
    assert files(store) == before
    report = redact(store, track_id=RUN, reason="r")
    assert {**planned.to_dict(), "dry_run": False, "reason": "r"} == report.to_dict()


def test_rows_that_no_table_shows_are_redacted_too(store: str) -> None:
    Reader(store).delete_run(RUN)
    assert redact(store, track_id=RUN, reason="r").rows == 2
    assert holding(store) == []
    assert shown(store) == [OTHER]


def test_condition_chooses_rows_and_what_was_set_on_them_alone(store: str) -> None:
    Reader(store).set_where("tag", f"only {SECRET}", "age", 40)
    report = redact(store, where="age = 40", reason="r")
    assert (report.runs, report.rows, report.values, report.values_kept, report.assets) == ([RUN], 1, 1, 1, [])
    assert shown(store) == [RUN, OTHER]
    assert Reader(store).to_df()["note"].tolist()[0] == f"called {SECRET}"
    assert holding(store, f"only {SECRET}") == []
    assert redact(store, where="age = 40", reason="r").nothing
    check(store)


def test_condition_within_a_run(store: str) -> None:
    assert redact(store, track_id=OTHER, where="age > 0", reason="r").rows == 1
    assert shown(store) == [RUN, RUN]


def test_mistyped_name_in_double_quotes_redacts_nothing(store: str) -> None:
    with pytest.raises(ColumnNotFound) as error:
        redact(store, where='"aeg" > 1', reason="r")
    assert error.value.near == ["age"]
    assert shown(store) == [RUN, RUN, OTHER]
    assert redact(store, where='"age" = 40', reason="r").rows == 1


def test_value_set_for_all_rows_stays_in_the_others_and_is_counted(store: str) -> None:
    Reader(store).set_value("lab", "west")
    report = redact(store, track_id=RUN, reason="r")
    assert (report.values, report.values_kept) == (1, 1)
    assert Reader(store).to_df()["lab"].tolist() == ["west"]


def test_value_that_was_undone_is_redacted_too(store: str) -> None:
    Reader(store).set_value("pin", SECRET, track_id=RUN)
    (event,) = [e for e in events_of(store) if isinstance(e, ev.ValueSet) and e.key == "pin"]
    writer, seq = ev.split_id(event.id)
    FileLog(Path(f"{store}.events")).writer("default").append(ev.EventUndone, events={writer: str(seq)})
    redact(store, track_id=RUN, reason="r")
    assert holding(store) == []


def test_error_that_ended_a_redacted_run_goes(store: str) -> None:
    with contextlib.suppress(ValueError), Tracker(store, track_id="dawn-mole-3") as tracker:
        tracker.log({"x": 1})
        raise ValueError("no file of Trent")
    assert holding(store, "Trent")
    assert redact(store, track_id="dawn-mole-3", reason="r").others == 1
    assert not holding(store, "Trent")
    check(store)


def test_end_of_a_run_goes_with_it_while_its_writer_goes_on(store: str) -> None:
    with Tracker(store, track_id=OTHER) as going_on:
        going_on.log({"x": 1})
        with contextlib.suppress(ValueError), Tracker(store, track_id="dawn-mole-3") as tracker:
            tracker.log({"x": 1})
            raise ValueError("no file of Trent")
        report = redact(store, track_id="dawn-mole-3", reason="r")
        assert (report.rows, report.others, len(report.files_left)) == (1, 1, 1)
    redact(store, pending=True)
    assert not holding(store, "Trent") and not holding(store, "dawn-mole-3")
    assert Reader(store).runs()["state"].tolist() == ["finished", "finished"]
    check(store)


def test_object_that_another_row_has_stays(store: str) -> None:
    shared = Scan(SECRET)
    with Tracker(store, track_id=RUN) as tracker:
        tracker.log({"scan": shared})
    with Tracker(store, track_id=OTHER, table="metrics") as tracker:
        tracker.log({"scan": shared})
    assert redact(store, track_id=RUN, reason="r").assets == []
    assert Reader(store, table="metrics").get("scan").name == SECRET
    assert len(redact(store, track_id=OTHER, reason="r", table="metrics").assets) == 1
    assert holding(store) == []
    check(store)


def test_other_tables_of_the_run_are_named_and_left(store: str) -> None:
    with Tracker(store, track_id=RUN, table="metrics") as tracker:
        tracker.log({"x": 1})
    assert redact(store, track_id=RUN, reason="r").other_tables == ["metrics"]
    assert len(Reader(store, table="metrics")) == 1
    with pytest.raises(RunNotFound):
        redact(store, track_id=RUN, reason="r")
    assert redact(store, track_id=RUN, reason="r", table="metrics").rows == 1


def test_pack_gets_a_name_of_its_own(store: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    merge(store, into=other)
    (before,) = Path(f"{other}.events", "default").iterdir()
    report = redact(other, track_id=RUN, reason="r")
    packs = [path for path in Path(f"{other}.events", "default").iterdir() if len(path.stem) == 64]
    assert [str(path) for path in packs] == report.files_rewritten
    assert packs != [before]
    assert holding(other) == []
    check(other)


def test_compressed_pack_stays_compressed(store: str, tmp_path: Path) -> None:
    merge(store, into=tmp_path / "other.db")
    (pack,) = Path(f"{tmp_path}/other.db.events/default").iterdir()
    packed = pack.with_name(f"{pack.name}.zst")
    packed.write_bytes(zstandard.ZstdCompressor().compress(pack.read_bytes()))
    pack.unlink()
    db = str(tmp_path / "other.db")
    assert holding(db)
    (done,) = redact(db, track_id=RUN, reason="r").files_rewritten
    assert done.endswith(".jsonl.zst") and not packed.exists()
    assert holding(db) == []
    check(db)


@pytest.mark.parametrize("compacts_first", [True, False])
def test_compaction_before_and_after(store: str, compacts_first: bool) -> None:
    if compacts_first:
        compact(store)
    redact(store, track_id=RUN, reason="r")
    assert holding(store) == []
    compact(store)
    assert holding(store) == []
    assert shown(store) == [OTHER]
    check(store)


def test_compaction_finishes_what_was_left(store: str) -> None:
    tracker = Tracker(store, track_id="dawn-mole-3")
    tracker.log({"name": "Trent"})
    redact(store, track_id="dawn-mole-3", reason="r")
    tracker.close()
    compact(store)
    assert not holding(store, "Trent")
    assert redact(store, pending=True).nothing


def test_stub_keeps_what_the_author_had_seen(store: str) -> None:
    """A frontier may be told as what is new since an earlier one, whose value may be redacted."""
    log = FileLog(Path(f"{store}.events"))
    seen = Frontier()
    for event in events_of(store):
        seen.add(*ev.split_id(event.id))
    writer = log.writer("default")
    writer.acquire()
    first = writer.append(ev.ValueSet, run=RUN, key="k", value=SECRET, seen=seen.to_wire())
    writer.append(ev.ValueSet, run=OTHER, key="k", value="kept", seen={}, base=first.id)
    writer.release()
    assert Reader(store).to_df("calm-otter-2")["k"].tolist() == ["kept"]
    redact(store, track_id=RUN, reason="r")
    assert Reader(store).to_df()["k"].tolist() == ["kept"]
    assert holding(store) == []
    check(store)


# -- files that cannot be rewritten, and damage ------------------------------


def test_redaction_comes_after_what_a_clock_far_ahead_has_written(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "track.db.events", clock=Clock(lambda: wall_us() + 10**12))
    row = log.writer("default").append(ev.RowLogged, run=RUN, data={"name": SECRET})
    log.writer("default").release()
    redact(tmp_path / "track.db", RUN, reason="withdrawn")
    (redacted,) = [e for e in events_of(str(tmp_path / "track.db")) if isinstance(e, ev.PayloadRedacted)]
    assert redacted.clock > row.clock


def test_segment_of_a_living_writer_is_named_and_finished_later(store: str) -> None:
    tracker = Tracker(store, track_id="dawn-mole-3")
    tracker.log({"name": "Trent"})
    report = redact(store, track_id="dawn-mole-3", reason="r")
    assert report.files_left == holding(store, "Trent")
    assert len(report.files_left) == 1
    assert len(tracker) == 0
    tracker.log({"name": "Peggy"})
    assert len(tracker) == 1
    with pytest.raises(InvalidArgument):
        redact(store, track_id="dawn-mole-3", pending=True)
    assert redact(store, pending=True).files_left == report.files_left
    tracker.close()
    finished = redact(store, pending=True)
    assert (finished.rows, len(finished.files_rewritten), finished.files_left) == (0, 1, [])
    assert not holding(store, "Trent")
    assert holding(store, "Peggy")
    assert redact(store, pending=True).nothing
    check(store)


KILLED = """
import os, signal, sys
from xetrack import Tracker
Tracker(sys.argv[1], track_id="dawn-mole-3").log({"name": "Trent"})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_segment_of_a_killed_program_is_rewritten_with_its_torn_line(store: str, git: Git) -> None:
    git(Path(store).parent, "init")
    subprocess.run([sys.executable, "-c", KILLED, store], cwd=ROOT, check=False)
    (path,) = [name for name in holding(store, "Trent") if name.endswith(".jsonl")]
    with open(path, "ab") as file:
        file.write(b'{"kind":"row.logged","id":"x-1","data":{"name":"Tre')
    assert redact(store, track_id="dawn-mole-3", reason="r").files_rewritten == [path]
    assert not holding(store, "Tre")
    check(store)


def test_damage_stays_unless_it_may_hold_what_is_redacted(store: str) -> None:
    (path,) = [Path(name) for name in holding(store) if name.endswith(".jsonl")]
    lines = path.read_bytes().split(b"\n")
    number = next(number for number, line in enumerate(lines) if b'"age":40' in line)
    copied = path.with_name("z" * 16 + ".jsonl")
    shutil.copy(path, copied)
    lines[number] = lines[number].replace(b"age", b"aGe")
    lines.insert(2, b"? someone's notes")
    path.write_bytes(b"\n".join(lines))
    redact(store, track_id=RUN, reason="r")
    assert holding(store) == []
    assert b"? someone's notes\n" in path.read_bytes()
    assert shown(store) == [OTHER]


def test_lines_that_lost_their_ends_are_rewritten(store: str, tmp_path: Path) -> None:
    db = str(tmp_path / "other.db")
    merge(store, into=db)
    (pack,) = Path(f"{db}.events", "default").iterdir()
    raw = pack.read_bytes()
    # One between two lines, and that of the last line, which is no line then.
    pack.write_bytes(raw.replace(b'\n{"kind":"row', b'?{"kind":"row', 1)[:-1] + b"?")
    count = len(events_of(db))
    redact(db, track_id=RUN, reason="r")
    assert holding(db) == []
    check(db)
    assert len([event for event in events_of(db) if event.id in {e.id for e in events_of(store)}]) == count + 1


def test_draft_of_a_killed_merge_goes(store: str) -> None:
    log = FileLog(Path(f"{store}.events"))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    draft = log.folder("default") / f".{'a' * 64}.jsonl.{ended.pid}.1"
    draft.write_text(SECRET)
    mine = draft.with_name(f".{'a' * 64}.jsonl.{os.getpid()}.1")
    mine.write_text("being written")
    assert redact(store, track_id=RUN, reason="r").files_left == [str(mine)]
    assert holding(store) == []


# -- nothing brings it back --------------------------------------------------


@pytest.fixture
def unredacted(store: str, tmp_path: Path) -> str:
    db = str(tmp_path / "unredacted.db")
    shutil.copytree(f"{store}.events", f"{db}.events")
    return db


def test_merge_with_an_unredacted_copy_brings_nothing_back(store: str, unredacted: str) -> None:
    redact(store, track_id=RUN, reason="r")
    with Tracker(unredacted, track_id="dawn-mole-3") as tracker:
        tracker.log({"x": 1})
    assert merge(unredacted, into=store).rows_added == 1
    assert copy(unredacted, store) == 0
    assert holding(store) == []
    assert shown(store) == [OTHER, "dawn-mole-3"]
    check(store)
    report = merge(store, into=unredacted)
    assert (report.rows_added, report.redacted_here) == (0, 4)
    assert "xt redact" in str(report)
    assert shown(unredacted) == [OTHER, "dawn-mole-3"]
    assert Reader(unredacted).to_df().equals(Reader(store).to_df())
    assert not redact(unredacted, pending=True).files_left
    assert holding(unredacted) == []
    check(unredacted)
    assert merge(store, into=unredacted).redacted_here == 0


def test_copy_of_a_redacted_store_hides_it_in_the_target(store: str, unredacted: str) -> None:
    redact(store, track_id=RUN, reason="r")
    assert copy(store, unredacted) == 0
    assert shown(unredacted) == [OTHER]


def test_store_that_only_knows_of_the_redaction_takes_nothing_over(store: str, unredacted: str, tmp_path: Path) -> None:
    redact(store, track_id=RUN, reason="r")
    only = str(tmp_path / "only.db")
    folder = Path(f"{only}.events", "default")
    folder.mkdir(parents=True)
    (path,) = [
        path for path in Path(f"{store}.events", "default").iterdir() if b"payload.redacted" in path.read_bytes()
    ]
    shutil.copy(path, folder)
    shutil.copy(f"{store}.events/store.json", folder.parent)
    assert merge(unredacted, into=only).rows_added == 1
    assert holding(only) == []
    assert shown(only) == [OTHER]
    check(only)


def test_both_copies_at_once_in_any_order(store: str, unredacted: str, tmp_path: Path) -> None:
    redact(store, track_id=RUN, reason="r")
    for number, sources in enumerate([(store, unredacted), (unredacted, store)]):
        db = str(tmp_path / f"{number}.db")
        assert merge(*sources, into=db).rows_added == 1
        assert holding(db) == []
        check(db)


def test_segments_of_a_stale_clone_over_the_rewritten_ones_show_nothing(store: str, unredacted: str) -> None:
    redact(store, track_id=RUN, reason="r")
    shutil.copytree(f"{unredacted}.events", f"{store}.events", dirs_exist_ok=True)
    assert shown(store) == [OTHER]
    assert holding(store)
    assert len(redact(store, pending=True).files_rewritten) == 1
    assert holding(store) == []
    check(store)


def test_revision_from_before_the_redaction_brings_nothing_back(store: str, git: Git) -> None:
    folder = Path(store).parent
    git(folder, "init")
    git(folder, "add", f"{Path(store).name}.events")
    git(folder, "commit", "-m", "results")
    redact(store, track_id=RUN, reason="r")
    assert merge("git:HEAD", into=store).rows_added == 0
    assert holding(store) == []
    assert shown(store) == [OTHER]
    git(folder, "checkout", "HEAD", "--", ".")
    assert shown(store) == [OTHER]
    check(store)


def test_git_merge_of_a_stale_branch_shows_nothing(store: str, git: Git) -> None:
    folder = Path(store).parent
    git(folder, "init")
    git(folder, "add", f"{Path(store).name}.events")
    git(folder, "commit", "-m", "results")
    git(folder, "checkout", "-b", "stale")
    with Tracker(store, track_id="dawn-mole-3") as tracker:
        tracker.log({"x": 1})
    git(folder, "add", "-A", ".")
    git(folder, "commit", "-m", "more")
    git(folder, "checkout", "main")
    redact(store, track_id=RUN, reason="r")
    git(folder, "add", "-A", f"{Path(store).name}.events")
    git(folder, "commit", "-m", "redacted")
    git(folder, "merge", "stale")
    assert shown(store) == [OTHER, "dawn-mole-3"]
    assert holding(store) == []


def test_a_past_state_shows_nothing_of_it(store: str) -> None:
    """Also where the payload still stands, in the segment of a living writer."""
    with Tracker(store, track_id="dawn-mole-3") as tracker:
        tracker.log({"name": "Trent"})
        before = max(events_of(store), key=ev.event_key).id
        redact(store, track_id="dawn-mole-3", reason="r")
        assert holding(store, "Trent")
        assert list(Reader(store, at=before).to_df()["track_id"]) == [RUN, RUN, OTHER]
    redact(store, track_id=RUN, reason="r")
    assert list(Reader(store, at=before).to_df()["track_id"]) == [OTHER]


# -- refusals ----------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [False, True])
def test_protected_run_is_refused(store: str, dry_run: bool) -> None:
    Reader(store).protect(RUN)
    before = files(store)
    with pytest.raises(RunProtected):
        redact(store, where="age > 0", reason="r", dry_run=dry_run)
    assert files(store) == before
    assert redact(store, track_id=OTHER, reason="r").rows == 1
    Reader(store).unprotect(RUN)
    assert redact(store, track_id=RUN, reason="r", dry_run=dry_run).rows == 2


def test_redaction_and_what_it_took_cannot_be_undone(store: str) -> None:
    (row, _) = [e.id for e in events_of(store) if isinstance(e, ev.RowLogged) and e.run == RUN]
    redact(store, track_id=RUN, reason="r")
    (redaction,) = [e.id for e in events_of(store) if isinstance(e, ev.PayloadRedacted)]
    before = files(store)
    for event_id in (redaction, row):
        with pytest.raises(InvalidArgument):
            Reader(store).undo(event_id)
    assert files(store) == before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, InvalidArgument),
        ({"reason": "r"}, InvalidArgument),
        ({"track_id": RUN}, InvalidArgument),
        ({"track_id": RUN, "reason": " "}, InvalidArgument),
        ({"where": "age >", "reason": "r"}, InvalidArgument),
        ({"where": "age = 40", "pending": True}, InvalidArgument),
        ({"track_id": "patient-2", "reason": "r"}, RunNotFound),
        ({"track_id": RUN, "reason": "r", "table": "metrics"}, TableNotFound),
    ],
)
def test_call_that_cannot_be_changes_nothing(store: str, arguments: dict[str, Any], error: type[Exception]) -> None:
    before = files(store)
    with pytest.raises(error):
        redact(store, **arguments)
    assert files(store) == before


def test_absent_store_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        redact(tmp_path / "absent.db", track_id=RUN, reason="r")
    with pytest.raises(InvalidArgument):
        redact(":memory:", track_id=RUN, reason="r")
    assert not list(tmp_path.iterdir())


# -- killed half way ---------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_redaction_that_is_killed_is_completed_by_the_next(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    db = str(root / "track.db")
    make(db)
    merge(db, into=root / "other.db")
    shutil.copytree(root / "other.db.events", f"{db}.events", dirs_exist_ok=True)
    for name in list(root.iterdir()):
        if name.is_file():
            name.unlink()
    shutil.rmtree(root / "other.db.events")
    Reader(db).to_df()

    def check_completed() -> None:
        with contextlib.closing(open_store(db)) as opened:
            assert opened.verify().ok
        is_told = any(isinstance(event, ev.PayloadRedacted) for event in events_of(db))
        assert shown(db) == ([OTHER] if is_told else [RUN, RUN, OTHER])
        redact(db, pending=True) if is_told else redact(db, track_id=RUN, reason="r")
        assert holding(db) == []
        assert shown(db) == [OTHER]
        check(db)

    assert kill_at_every_call(root, lambda: redact(db, track_id=RUN, reason="r"), check_completed) > 20


@pytest.mark.parametrize("take", ["merge", "copy", "rebase"])
def test_what_is_redacted_while_it_is_taken_over_comes_as_redacted(
    take: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its object is gone when the bytes are fetched, and the plan was made before that."""
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    with Tracker(source, track_id=RUN) as tracker:
        tracker.log({"n": 1, "scan": Scan(SECRET)})
    with Tracker(source, track_id=OTHER) as tracker:
        tracker.log({"n": 3})
    with Tracker(target, track_id=OTHER) as tracker:
        tracker.log({"n": 2})
    real = draft_pack

    redacted = []

    def overtaken(*given: Any) -> Any:
        monkeypatch.setattr(takeover, "draft_pack", real)
        redacted.append(source)
        assert len(redact(source, track_id=RUN, reason="withdrew").assets) == 1
        return real(*given)

    monkeypatch.setattr(takeover, "draft_pack", overtaken)
    if take == "merge":
        assert merge(source, into=target).assets_missing == []
    elif take == "copy":
        assert copy(source, target) == 1
    else:
        assert rebase(source, target, keys=["n"]).rows_added == 1
    assert redacted == [source]
    assert Reader(target).to_df()["n"].tolist() == [3, 2]
    assert holding(str(target)) == []
    with contextlib.closing(open_store(target)) as store:
        assert store.verify().ok
    assert not list(target.with_name("target.db.events").rglob(".*"))


def test_tables_beside_the_log_go_too_where_a_setting_says_that_they_lie_elsewhere(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(Reader(store).to_df()) == 3
    assert store in holding(store)
    monkeypatch.setenv("XETRACK_TABLES_DIR", str(tmp_path / "tables"))
    assert len(Reader(store).to_df()) == 3
    redact(store, track_id=RUN, reason="asked for")
    assert holding(store) == []
    assert [path for path in (tmp_path / "tables").iterdir() if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_tables_that_were_put_aside_as_damaged_go_too(store: str, engine: Any) -> None:
    with contextlib.closing(open_store(store)) as opened:
        tables = opened.keeper(engine).path()
    assert shown(store, engine)
    raw = bytearray(tables.read_bytes())
    kept = 4096 if engine == "duckdb" else 100
    raw[kept : 3 * 4096] = b"\xff" * (3 * 4096 - kept)
    tables.write_bytes(raw)
    assert shown(store, engine)
    aside = tables.with_name(f"{tables.name}.damaged-1")
    assert aside.is_file()
    redact(store, track_id=RUN, reason="asked for")
    assert not aside.exists()
