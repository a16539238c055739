"""`reader.assets`: a dict of what was logged, its removal and its waste; only loading unpickles."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import cloudpickle
import numpy as np
import pytest

import xetrack
from tests.conftest import ROOT
from tests.strategies import signed
from xetrack import Reader, Tracker, errors
from xetrack.errors import (
    AmbiguousAsset,
    AssetDamaged,
    AssetNotFound,
    AssetUnloadable,
    ColumnNotFound,
    DamagedLine,
    InvalidArgument,
    InvalidValue,
)
from xetrack.log.assets import FileAssets
from xetrack.log.events import AssetAdded, AssetRemoved, EventUndone, PayloadRedacted, RunProtected
from xetrack.log.log import FileLog
from xetrack.read.asset_events import AssetEvents
from xetrack.read.assets import AssetsView
from xetrack.store import open_store
from xetrack.track.rows import Row, make_rows
from xetrack.track.session import Session

ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def tracker(db: str) -> Iterator[Tracker]:
    with Tracker(db, track_id="run-1") as tracker:
        yield tracker


@pytest.fixture
def assets(db: str, tracker: Tracker) -> AssetsView:
    tracker.log({"step": 0})
    return Reader(db).assets


def stored(db: str) -> FileAssets:
    found = FileLog(f"{db}.events").assets
    assert isinstance(found, FileAssets)
    return found


def age_all(db: str, seconds: float = 7200) -> None:
    then = time.time() - seconds
    for file in stored(db).files():
        os.utime(file.path, (then, then))


# -- a dict ----------------------------------------------------------------------


def test_hash_and_key_give_the_object(tracker: Tracker, assets: AssetsView) -> None:
    row = tracker.log({"half": Fraction(1, 2), "none": Fraction(0), "array": np.arange(3), "metric": np.float64(0.9)})
    assert list(assets) == [row["half"], row["none"], row["array"]] and len(assets) == 3
    assert assets["half"] == assets[row["half"]] == Fraction(1, 2)
    assert assets.get("none") == Fraction(0) and assets.get("array").tolist() == [0, 1, 2]
    digest = assets.info("half").digest
    assert assets[digest] == Fraction(1, 2) and digest.startswith(row["half"]) and len(row["half"]) == 16
    assert row["half"] in assets and "half" in assets and digest in assets.keys()
    assert "metric" not in assets and "absent" not in assets and cast(Any, 5) not in assets
    assert assets.get("absent") is None and assets.get("absent", 7) == 7
    assert "3 assets" in repr(assets) and bool(assets) and assets == assets and assets != {}


@pytest.mark.parametrize("name", ["absent", "0" * 16, "0" * 64, "", "short"])
def test_unknown_name_is_a_key_error_that_says_so(assets: AssetsView, name: str) -> None:
    with pytest.raises(AssetNotFound) as caught:
        assets[name]
    assert caught.value.asset == name and isinstance(caught.value, KeyError)


def test_fewer_than_16_digits_are_no_hash(tracker: Tracker, assets: AssetsView) -> None:
    shown = tracker.log({"x": {1}})["x"]
    assert shown[:15] not in assets and shown in assets


def test_items_load_one_at_a_time_and_keys_none(
    tracker: Tracker, assets: AssetsView, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [tracker.log({"x": {number}})["x"] for number in range(3)]
    loaded: list[int] = []
    load = pickle.load

    def noted(stream: Any) -> Any:
        loaded.append(1)
        return load(stream)

    monkeypatch.setattr("pickle.load", noted)
    assert list(assets.keys()) == rows and len(assets.items()) == 3 and not loaded
    assert next(iter(assets.items())) == (rows[0], {0}) and len(loaded) == 1
    assert list(assets.values()) == [{0}, {1}, {2}]
    assert (rows[0], {0}) in assets.items() and ("absent", {0}) not in assets.items()


def test_key_means_the_newest_object_logged_under_it_also_one_logged_before(
    tracker: Tracker, assets: AssetsView, db: str
) -> None:
    for value in ({1}, {2}, {1}):
        tracker.log({"x": value})
        assert assets["x"] == value
    with Tracker(db, table="other") as other:
        other.log({"x": {3}})
    assert assets["x"] == {3}
    assert [info.keys for info in assets.listing()] == [("x",)] * 3


def test_objects_in_structures_params_and_sets_are_found_by_their_key(tracker: Tracker, assets: AssetsView) -> None:
    tracker.set_param("param", {1})
    tracker.log({"nested": [{"deep": ({2},)}], 3: {"$asset": "mine"}})
    tracker.set_value("set", {4})
    found = {info.keys: info.references for info in assets.listing()}
    assert found == {("param",): 1, ("nested",): 1, ("set",): 2}
    assert assets["nested"] == {2} and assets["set"] == {4}


def test_listing_tells_sizes_references_and_time_without_loading(
    tracker: Tracker, assets: AssetsView, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.zeros(10_000)
    before = time.time()
    shown = tracker.log({"array": array})["array"]
    tracker.log({"again": array})
    monkeypatch.setattr("pickle.load", lambda stream: pytest.fail("unpickled"))
    (info,) = assets.listing()
    assert info == assets.info("array") == assets.info(info.digest)
    assert (info.hash, info.keys, info.references) == (shown, ("again", "array"), 2)
    assert info.size_bytes == len(cloudpickle.dumps(array)) and info.stored_bytes is not None
    assert info.stored_bytes < 1000 < info.size_bytes
    assert before - 1 < info.first_logged.timestamp() < time.time() + 1
    assert (info.codec, info.name) == ("cloudpickle+zstd", None)


def test_every_view_of_a_store_sees_what_was_logged_before_the_call(db: str, tracker: Tracker) -> None:
    tracker.log({"x": {1}})
    reader = Reader(db)
    assert len(reader.assets) == 1 and reader.get("x") == {1}
    tracker.log({"x": {2}})
    assert len(reader.assets) == 2 and reader.get("x") == {2}
    assert reader.assets == reader.assets and hash(reader.assets) == hash(reader.assets)
    assert reader.assets != Reader(db).assets


def test_store_in_memory_has_assets_too() -> None:
    store = open_store(":memory:")
    session = Session(store, "default", "jsonl")
    (row,) = make_rows([{"x": {1}}], Row({}, {}), session.put)
    session.writer.append_row("run", row.wire)
    assets = AssetsView(store.table("default"), AssetEvents(store.log))
    assert assets["x"] == {1} and assets.info("x").references == 1
    assert assets.remove("x", column="x") and assets.gc() == []
    assert [waste.young for waste in assets.waste()] == [True]
    session.close()


def test_view_outlives_the_name_of_its_reader(db: str, tracker: Tracker) -> None:
    tracker.log({"x": {1}})
    assets = Reader(db).assets
    assert assets["x"] == {1} and assets.info("x").references == 1


def test_log_that_was_replaced_is_read_anew(db: str, tracker: Tracker, tmp_path: Path) -> None:
    tracker.log({"x": {1}})
    tracker.close()
    reader = Reader(db)
    assert list(reader.assets.values()) == [{1}]
    shutil.rmtree(f"{db}.events/default")
    with Tracker(db) as other:
        other.log({"y": {2}})
    assert list(reader.assets.values()) == [{2}] and "x" not in reader.assets


@pytest.mark.parametrize("in_place", [True, False])
def test_segment_that_went_back_is_read_anew(db: str, tracker: Tracker, in_place: bool) -> None:
    tracker.log({"x": {1}})
    path = next(Path(f"{db}.events/default").iterdir())
    earlier = path.read_bytes()
    tracker.log({"x": {2}})
    tracker.close()
    reader = Reader(db)
    assert list(reader.assets.values()) == [{1}, {2}]
    if in_place:
        path.write_bytes(earlier)
    else:  # as large as before, but another file
        later = path.with_name("aside")
        later.write_bytes(earlier + b"x" * (path.stat().st_size - len(earlier)))
        later.replace(path)
    assert list(reader.assets.values()) == [{1}] and reader.assets["x"] == {1}


# -- short hashes that are alike ---------------------------------------------------


def test_short_hash_of_two_objects_is_an_error_that_names_both(db: str, tracker: Tracker) -> None:
    shown = tracker.log({"x": {1}})["x"]
    digest = Reader(db).assets.info("x").digest
    other = shown + "0" * 48
    log = FileLog(f"{db}.events")
    log.writer("default").append(AssetAdded, digest=other, key="y", codec="cloudpickle+zstd")
    assets = Reader(db).assets
    for name in (shown, digest[:20] if other.startswith(digest[:20]) else shown):
        with pytest.raises(AmbiguousAsset) as caught:
            assets[name]
        assert caught.value.digests == sorted([digest, other]) and digest in str(caught.value)
    with pytest.raises(AmbiguousAsset):
        assets.get(shown, "default")
    with pytest.raises(AmbiguousAsset):
        assets.remove(shown)
    assert shown in assets and list(assets) == [digest, other]
    assert assets[digest] == {1} and assets["x"] == {1}
    with pytest.raises(AssetNotFound, match="not in this store"):
        assets[other]
    with pytest.raises(AmbiguousAsset):  # its cells may hold either
        assets.remove(digest, column="x")
    assert assets.remove(digest) and list(assets) == [other]
    with pytest.raises(AmbiguousAsset):  # a cell that shows it still means the removed one
        assets[shown]


# -- removal -----------------------------------------------------------------------


def test_removed_asset_is_not_found_and_its_bytes_stay(db: str, tracker: Tracker, assets: AssetsView) -> None:
    shown = tracker.log({"x": {1}})["x"]
    assert Reader(db).remove_asset(shown) is True
    assert len(assets) == 0 and shown not in assets and assets.get(shown, 5) == 5
    with pytest.raises(AssetNotFound, match="removed on 20"):
        assets[shown]
    with pytest.raises(AssetNotFound, match="nothing of that"):
        assets["x"]
    assert Reader(db).remove_asset(shown) is False and Reader(db).remove_asset("absent") is False
    assert len(stored(db).files()) == 1
    assert Reader(db).to_df()["x"].tolist()[-1] == shown
    assert open_store(db).verify().ok


def test_column_is_emptied_where_it_holds_the_removed_one(db: str, tracker: Tracker, assets: AssetsView) -> None:
    shown = tracker.log({"x": {1}, "y": {1}})["x"]
    tracker.log({"x": {2}})
    tracker.log({"x": shown})
    assert assets.remove(shown, column="x")
    frame = Reader(db).to_df()
    assert frame["x"].dropna().tolist() == [next(iter(assets))] and frame["y"].dropna().tolist() == [shown]
    assert assets["x"] == {2}


def test_nothing_is_removed_where_the_column_is_not_there_or_protected(
    db: str, tracker: Tracker, assets: AssetsView
) -> None:
    shown = tracker.log({"x": {1}})["x"]
    with pytest.raises(ColumnNotFound):
        assets.remove(shown, column="absent")
    writer = FileLog(f"{db}.events").writer("default")
    writer.append(RunProtected, run="run-1")
    with pytest.raises(errors.RunProtected):
        assets.remove(shown, column="x")
    assert assets[shown] == {1}


def test_key_goes_on_to_the_newest_asset_left_or_keeps_to_the_removed_one(tracker: Tracker, assets: AssetsView) -> None:
    rows = [tracker.log({"x": {number}})["x"] for number in range(3)]
    assert assets.remove(rows[2]) and assets["x"] == {1}
    assert assets.remove(rows[1], remove_keys=False)
    with pytest.raises(AssetNotFound, match="removed"):
        assets["x"]
    assert "x" not in assets and assets[rows[0]] == {0}
    tracker.log({"x": {4}})
    assert assets["x"] == {4}


def test_removal_reaches_every_table(db: str, tracker: Tracker, assets: AssetsView) -> None:
    shown = tracker.log({"x": {1}})["x"]
    with Tracker(db, table="other") as other:
        other.log({"y": {1}})
    assert assets.info(shown).references == 2
    assert assets.remove(shown) and shown not in assets
    log = FileLog(f"{db}.events")
    removals = [
        (table, event.seen)
        for table in log.tables()
        for segment in log.segments(table)
        for chunk in log.scan(table, segment.name)
        for event in chunk.events
        if isinstance(event, AssetRemoved)
    ]
    assert [table for table, _ in removals] == ["default", "other"] and all(seen for _, seen in removals)


def test_object_that_is_logged_again_comes_back(db: str, tracker: Tracker, assets: AssetsView) -> None:
    shown = tracker.log({"x": {1}})["x"]
    for _ in range(2):
        assets.remove(shown)
        age_all(db)
        assert shown not in assets
        assert tracker.log({"y": {1}})["y"] == shown  # the tracker told of it before
        assert assets[shown] == {1} == assets["y"] and assets.info(shown).references >= 1
        assert assets.waste() == []


def test_object_logged_by_somebody_who_had_not_seen_the_removal_stays(db: str, tracker: Tracker) -> None:
    shown = tracker.log({"x": {1}})["x"]
    tracker.close()
    branch = f"{db}2"
    shutil.copytree(f"{db}.events", f"{branch}.events")
    with Tracker(branch, track_id="run-2") as other:
        other.log({"x": {1}})
    Reader(db).remove_asset(shown)
    assert shown not in Reader(db).assets
    shutil.copytree(f"{branch}.events", f"{db}.events", dirs_exist_ok=True)
    assert Reader(db).assets[shown] == {1}


def test_undone_removal_and_undone_row_count_as_never_made(db: str, tracker: Tracker, assets: AssetsView) -> None:
    shown = tracker.log({"x": {1}})["x"]
    assets.remove(shown)
    writer = FileLog(f"{db}.events").writer("default")
    log = FileLog(f"{db}.events")
    events = [event for s in log.segments("default") for chunk in log.scan("default", s.name) for event in chunk.events]
    (removal,) = [event for event in events if isinstance(event, AssetRemoved)]
    of_writer, seq = removal.id.rpartition("-")[::2]
    undo = writer.append(EventUndone, events={of_writer: seq})
    assert assets[shown] == {1}
    of_writer, seq = undo.id.rpartition("-")[::2]
    writer.append(EventUndone, events={of_writer: seq})
    assert shown not in assets


@pytest.mark.parametrize("kind", [EventUndone, PayloadRedacted])
def test_asset_of_undone_and_redacted_events_only_is_not_listed(
    db: str, tracker: Tracker, assets: AssetsView, kind: Any
) -> None:
    tracker.log({"x": {1}})
    log = FileLog(f"{db}.events")
    events = [event for s in log.segments("default") for chunk in log.scan("default", s.name) for event in chunk.events]
    name = events[-1].id.rpartition("-")[0]
    assert len(assets) == 1
    log.writer("default").append(kind, events={name: f"0-{len(events)}"})
    assert len(assets) == 0
    age_all(db)
    assert [waste.reason for waste in assets.gc()] == ["never named"]
    report = open_store(db).verify()
    assert report.ok is (kind is PayloadRedacted) or kind is EventUndone


# -- references --------------------------------------------------------------------


def test_references_are_the_cells_of_rows_that_can_be_seen(db: str, tracker: Tracker, assets: AssetsView) -> None:
    shown = tracker.log({"x": {1}})["x"]
    tracker.log({"x": "text", "list": [{1}, {"deep": {1}}]})
    tracker.log({"x": shown, "note": "text of 16 chars"})
    with Tracker(db, table="other", track_id="run-2") as other:
        other.log_batch([{"x": {1}}, {"x": 5}])
    assert assets.info(shown).references == 4
    Reader(db, table="other").delete_run("run-2")
    assert assets.info(shown).references == 3
    Reader(db).set_value("x", None)
    assert assets.info(shown).references == 1
    Reader(db).delete_run("run-1")
    assert assets.info(shown).references == 0 and len(assets) == 1


def test_references_past_the_column_limit_count(db: str, tracker: Tracker, assets: AssetsView) -> None:
    tracker.log({f"key{number}": number for number in range(2100)})
    shown = tracker.log({"one_more": {1}, "last": [{1}]})["one_more"]
    assert assets.info(shown).references >= 1
    assert assets.remove(shown)
    age_all(db)
    assert assets.gc() == []


# -- waste ---------------------------------------------------------------------------


def test_gc_takes_removed_assets_that_no_row_shows(db: str, tracker: Tracker, assets: AssetsView) -> None:
    shown = tracker.log({"x": {1}})["x"]
    kept = tracker.log({"y": {2}})["y"]
    assert assets.remove(shown)
    age_all(db)
    assert assets.gc() == [] and assets.usage()["in use"][0] == 1
    Reader(db).set_value("x", None)
    (waste,) = assets.gc(dry_run=True)
    assert (waste.hash, waste.reason, waste.young) == (shown, "removed", False)
    assert Path(waste.path).stat().st_size == waste.stored_bytes
    assert assets.gc() == [waste] and not Path(waste.path).exists()
    assert assets.gc() == [] and list(assets) == [kept] and assets[kept] == {2}
    assert open_store(db).verify().ok
    with pytest.raises(AssetNotFound, match="removed"):
        assets[shown]
    assert tracker.log({"x": {1}})["x"] == shown and assets[shown] == {1}


def test_gc_leaves_what_another_table_shows(db: str, tracker: Tracker, assets: AssetsView) -> None:
    shown = tracker.log({"x": {1}})["x"]
    with Tracker(db, table="other") as other:
        other.log({"deep": [{"x": {1}}]})
    assets.remove(shown, column="x")
    age_all(db)
    assert assets.gc() == [] and len(stored(db).files()) == 1


def test_gc_leaves_young_files(db: str, tracker: Tracker, assets: AssetsView) -> None:
    tracker.log({"x": {1}})
    assets.remove("x", column="x")
    stored(db).put({"never": "named"})
    assert [(waste.reason, waste.young) for waste in sorted(assets.waste(), key=lambda waste: waste.reason)] == [
        ("never named", True),
        ("removed", True),
    ]
    age_all(db, 3500)
    assert assets.gc() == [] and len(stored(db).files()) == 2
    age_all(db, 3700)
    assert len(assets.gc()) == 2 and stored(db).files() == []


def test_gc_takes_drafts_and_files_that_no_event_names(db: str, tracker: Tracker, assets: AssetsView) -> None:
    tracker.log({"x": {1}})
    stored(db).put({"never": "named"})
    (stored(db).folder / "0123.draft").write_bytes(b"half")
    report = open_store(db).verify()
    assert report.ok and len(report.orphans) == 2 and all(path in str(report) for path in report.orphans)
    assert report.to_json()["orphans"] == report.orphans
    age_all(db)
    assert Counter(waste.reason for waste in assets.gc()) == {"never named": 1, "draft": 1}
    assert [file.digest for file in stored(db).files()] == [assets.info("x").digest]
    assert open_store(db).verify().orphans == []


def test_gc_refuses_where_a_damaged_line_may_name_an_asset(db: str, tracker: Tracker, assets: AssetsView) -> None:
    tracker.log({"x": {1}})
    tracker.log({"y": 1})
    stored(db).put({"never": "named"})
    age_all(db)
    (segment,) = FileLog(f"{db}.events").segments("default")
    path = Path(f"{db}.events/default/{segment.name}")
    assert len(assets) == 1
    path.write_bytes(path.read_bytes().replace(b'"y":1', b'"y":2'))
    for again in range(2):
        with pytest.raises(DamagedLine) as caught:
            Reader(db).assets.gc() if again else assets.gc()
        assert str(caught.value.path) == str(path) and caught.value.line == 5
    assert len(stored(db).files()) == 2


def test_gc_leaves_what_an_event_of_a_newer_release_names(db: str, tracker: Tracker, assets: AssetsView) -> None:
    digest, _ = stored(db).put({1})
    age_all(db)
    tracker.close()
    (segment,) = FileLog(f"{db}.events").segments("default")
    clock = time.time_ns() // 1000
    line = b'{"kind":"new.kind","id":"aaaaaaaaaaaaaaaa-7","clock":%d,"model":"%s"}' % (clock, digest.encode())
    with open(f"{db}.events/default/{segment.name}", "ab") as file:
        file.write(signed(line) + b"\n")
    assert assets.waste() == [] and assets[digest] == {1}


def test_usage_adds_up(db: str, tracker: Tracker, assets: AssetsView) -> None:
    tracker.log({"x": {1}, "y": {2}, "z": {3}})
    assets.remove("x")
    assets.remove("y", column="y")
    stored(db).put({4})
    usage = assets.usage()
    assert {state: count for state, (count, _) in usage.items()} == {
        "listed": 1,
        "in use": 1,
        "removed": 1,
        "never named": 1,
        "draft": 0,
    }
    assert sum(size for _, size in usage.values()) == sum(file.size_bytes for file in stored(db).files())


# -- files ---------------------------------------------------------------------------


def log_files(db: str, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows as a tracker with ``log_files`` hands them back."""
    with Tracker(db, track_id="run-1", log_files=True) as tracker:
        return [tracker.log(row) for row in rows]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    path.write_bytes(os.urandom(100_000))
    return path


def test_logged_file_comes_back_as_a_path_with_its_name_and_bytes(db: str, weights: Path) -> None:
    (row,) = log_files(db, {"weights": weights, "more": [weights], "epoch": 1})
    assets = Reader(db).assets
    (info,) = assets.listing()
    assert (info.hash, info.codec, info.name) == (row["weights"], "file+zstd", "weights.pt")
    assert (info.size_bytes, info.references) == (100_000, 2) and set(info.keys) == {"more", "weights"}
    one, two = assets["weights"], assets[row["weights"]]
    assert one != two and one.name == two.name == "weights.pt"
    one.write_bytes(b"mine")
    assert two.read_bytes() == weights.read_bytes() == assets["weights"].read_bytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_copies_of_files_go_when_the_program_ends(db: str, weights: Path, tmp_path: Path) -> None:
    log_files(db, {"weights": weights})
    code = """
import multiprocessing, os, sys
from xetrack import Reader
def load(db):
    return str(Reader(db).get("weights"))
if __name__ == "__main__":
    paths = [load(sys.argv[1])]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        paths.append(pool.apply(load, sys.argv[1:]))
        pool.close()
        pool.join()
    if os.fork() == 0:
        sys.exit()
    os.wait()
    print(os.path.exists(paths[0]), *paths)
"""
    (tmp_path / "temp").mkdir()
    env = {**ENV, "TMPDIR": str(tmp_path / "temp")}
    done = subprocess.run([sys.executable, "-c", code, db], env=env, capture_output=True, text=True, check=True)
    there, *paths = done.stdout.split()
    assert there == "True" and len(paths) == 2 and not any(map(os.path.exists, paths))
    assert list((tmp_path / "temp").iterdir()) == []


def test_path_stays_a_path_where_files_are_not_asked_for(db: str, tracker: Tracker, weights: Path) -> None:
    assert tracker.log({"weights": weights})["weights"] == weights
    assert Reader(db).to_df()["weights"].tolist() == [str(weights)] and len(Reader(db).assets) == 0


def test_files_are_params_values_and_nothing_where_nothing_is_kept(db: str, weights: Path) -> None:
    with Tracker(db, params={"base": weights}, log_files=True) as tracker:
        row = tracker.log({"epoch": 1})
        assert tracker.set_value("later", weights) == 1
        assert tracker.get("base").read_bytes() == tracker.get("later").read_bytes() == weights.read_bytes()
        assert tracker.assets.info(row["base"]).references == 2
        assert tracker.remove_asset(row["base"], column="base") and row["base"] not in tracker.assets
    unkept = Tracker(Tracker.SKIP_INSERT, log_files=True)
    assert unkept.log({"base": weights})["base"] == row["base"] and len(unkept.assets) == 0


@pytest.mark.parametrize("what", ["absent", "folder", "device"])
def test_path_without_a_plain_file_is_an_error_before_anything_is_written(db: str, tmp_path: Path, what: str) -> None:
    path = {"absent": tmp_path / "no.pt", "folder": tmp_path, "device": Path(os.devnull)}[what]
    with Tracker(db, log_files=True) as tracker:
        for act in (tracker.log, tracker.set_params, lambda row: tracker.log_batch([{"first": {1}}, row])):
            with pytest.raises(InvalidValue, match="weights") as caught:
                act({"first": {1}, "weights": [path]})
            assert caught.value.key == "weights" and str(path) in str(caught.value)
    assert stored(db).files() == [] and FileLog(f"{db}.events").tables() == []


def test_file_and_object_of_the_same_name_and_bytes_are_each_what_they_were(db: str, weights: Path) -> None:
    other = weights.with_name("copy.pt")
    shutil.copy(weights, other)
    log_files(db, {"one": weights}, {"two": other})
    assets = Reader(db).assets
    assert len(assets) == 1 and assets.info("one").name == "copy.pt"
    assert assets["one"].read_bytes() == weights.read_bytes()


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "..\\..\\evil", "..", "", None, "a\0b"])
def test_name_of_a_foreign_file_leads_nowhere_else(db: str, tracker: Tracker, name: str | None) -> None:
    digest, size = stored(db).put_pieces(lambda: [b"bytes"])
    writer = FileLog(f"{db}.events").writer("default")
    writer.append(AssetAdded, digest=digest, key="x", size=size, codec="file+zstd", name=name)
    path = Reader(db).get("x")
    assert path.read_bytes() == b"bytes" and path.parent.parent.name.startswith("xetrack-")
    assert path.name == path.resolve().name and path.name in ("evil", "ab", digest[:16])


# -- export --------------------------------------------------------------------------


def test_export_is_read_by_cloudpickle(db: str, tracker: Tracker, assets: AssetsView, tmp_path: Path) -> None:
    tracker.log({"x": lambda value: value + 1})
    path = assets.export("x", tmp_path / "out")
    with open(path, "rb") as file:
        assert cloudpickle.load(file)(1) == 2
    assert path == tmp_path / "out"
    with pytest.raises(InvalidArgument, match="object"):
        assets.export("x", tmp_path / "raw", raw=True)
    assert not (tmp_path / "raw").exists()


def test_export_of_a_file_is_its_bytes_pickled_or_raw(db: str, weights: Path, tmp_path: Path) -> None:
    log_files(db, {"weights": weights})
    assets = Reader(db).assets
    assert assets.export("weights", tmp_path / "raw", raw=True).read_bytes() == weights.read_bytes()
    with open(assets.export("weights", tmp_path / "pickled"), "rb") as file:
        assert cloudpickle.load(file) == weights.read_bytes()


def test_export_replaces_only_when_told(tracker: Tracker, assets: AssetsView, tmp_path: Path) -> None:
    tracker.log({"x": {1}})
    out = tmp_path / "out" / "x"
    out.parent.mkdir()
    out.write_text("mine")
    with pytest.raises(InvalidArgument, match="there already"):
        assets.export("x", out)
    with pytest.raises(InvalidArgument, match="folder"):
        assets.export("x", out.parent, force=True)
    assert out.read_text() == "mine"
    assert cloudpickle.loads(assets.export("x", out, force=True).read_bytes()) == {1}
    assert list(out.parent.iterdir()) == [out]


def test_export_that_fails_at_the_end_leaves_nothing(
    tracker: Tracker, assets: AssetsView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.log({"x": {1}})

    def refuse(*paths: object) -> None:
        raise PermissionError(13, "no")

    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(errors.PermissionDenied, match=str(out / "x")):
        assets.export("x", out / "x")
    assert list(out.iterdir()) == []
    with pytest.raises(errors.StorageFailed):
        assets.export("x", tmp_path / "absent" / "x")


def test_export_of_a_damaged_asset_writes_nothing(
    db: str, tracker: Tracker, assets: AssetsView, tmp_path: Path
) -> None:
    tracker.log({"x": {1}})
    path = stored(db).path(assets.info("x").digest)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    out = tmp_path / "out"
    acts: list[Callable[[], Any]] = [lambda: assets.export("x", out), lambda: assets["x"], lambda: assets.get("x")]
    for act in acts:
        with pytest.raises(AssetDamaged, match=str(path)):
            act()
    assert not out.exists() and [p for p in tmp_path.iterdir() if "draft" in p.name] == []
    assert open_store(db).verify().assets_damaged == [str(path)]


# -- loading -------------------------------------------------------------------------


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.mark,))


def test_only_get_runs_the_code_of_an_object(db: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with Tracker(db) as tracker:
        tracker.log({"x": Bomb(str(mark)), "list": [Bomb(str(mark))]})
    reader = Reader(db)
    assets = reader.assets
    assert list(assets) and len(assets) == 1 and "x" in assets and assets.listing() and assets.info("x")
    assert len(assets.items()) == 1 and repr(assets) and assets.usage() and assets.waste() == [] and assets.gc() == []
    assets.export("x", tmp_path / "out")
    store = open_store(db)
    assert store.verify().ok
    store.replay()
    assert len(reader.to_df()) == 1 and reader.conn.execute("SELECT * FROM events").fetchall()
    other = FileLog(tmp_path / "other.events").assets
    other.copy_from(stored(db), assets.info("x").digest)
    assert xetrack.copy(db, str(tmp_path / "copied.db")) == 1
    xetrack.merge(db, into=str(tmp_path / "merged.db"))
    for taken in ("copied.db", "merged.db"):
        duck = Reader(str(tmp_path / taken), engine="duckdb")
        assert len(duck.to_df()) == 1 and duck.conn.execute("SELECT * FROM assets").fetchall()
        assert open_store(tmp_path / taken).verify().ok
    assert not mark.exists()
    assert assets["x"] is None and mark.exists()


def test_bytes_that_are_missing_are_an_error_that_says_so(db: str, tracker: Tracker, assets: AssetsView) -> None:
    tracker.log({"x": {1}})
    digest = assets.info("x").digest
    stored(db).path(digest).unlink()
    assert assets.info("x").stored_bytes is None and "x" in assets
    with pytest.raises(AssetNotFound, match="not in this store"):
        assets["x"]
    with pytest.raises(AssetNotFound, match="not in this store"):
        assets.get("x")
    assert open_store(db).verify().missing_assets == [digest]
    assets.remove("x")
    assert open_store(db).verify().ok
    tracker.log({"x": {1}})
    stored(db).path(digest).unlink()
    assert open_store(db).verify().missing_assets == [digest]


def test_codec_of_a_newer_release_is_an_error_that_names_it(db: str, tracker: Tracker, assets: AssetsView) -> None:
    digest, size = stored(db).put({1})
    FileLog(f"{db}.events").writer("default").append(AssetAdded, digest=digest, key="x", size=size, codec="arrow")
    with pytest.raises(AssetUnloadable, match="arrow"):
        assets["x"]


# -- many, and killed ------------------------------------------------------------------


def test_object_logged_many_times_is_stored_and_told_once(db: str, tracker: Tracker, assets: AssetsView) -> None:
    array = np.random.default_rng(0).random(100_000)
    for _ in range(30):
        tracker.log({"x": array})
    (file,) = stored(db).files()
    assert file.size_bytes < 900_000 and assets.info("x").references == 30
    assert Path(f"{db}.events/default").stat().st_size < 20_000
    events = b"".join(path.read_bytes() for path in Path(f"{db}.events/default").iterdir())
    assert events.count(b"asset.added") == 1


KILLED = """
import os, signal, sys
from xetrack import Tracker
tracker = Tracker(sys.argv[1], track_id="killed")
tracker.log({"x": {1}})
def kill(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "bytes":
    class Deadly:
        times = 0
        def __reduce__(self):
            Deadly.times += 1
            if Deadly.times == 2:
                kill()
            return (list, ())
    class Holder:
        def __init__(self):
            self.parts = [os.urandom(40 << 20), Deadly()]
    tracker.log({"z": Holder()})
else:
    tracker._session.writer.append = kill
    tracker.log({"y": {2}})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(("moment", "reason"), [("bytes", "draft"), ("event", "never named")])
def test_killed_while_an_asset_is_stored_leaves_waste_and_no_dangling_name(db: str, moment: str, reason: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, db, moment], env=ENV, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    report = open_store(db).verify()
    assert report.ok and report.missing_assets == [] and len(report.orphans) == 1
    assets = Reader(db).assets
    assert [waste.reason for waste in assets.waste()] == [reason] and assets.gc() == []
    age_all(db)
    assert [waste.reason for waste in assets.gc()] == [reason]
    assert assets["x"] == {1} and open_store(db).verify().orphans == []
