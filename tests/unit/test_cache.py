"""Stored results: found again, never in the way of a call, never unpickled by a listing."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diskcache
import msgspec
import pytest

from tests.conftest import ROOT
from xetrack import Tracker
from xetrack.errors import CacheNotFound, InvalidArgument, MissingExtra, StorageFailed
from xetrack.read.reader import Reader
from xetrack.track import cache_folder, cache_wait
from xetrack.track.cache import FunctionCache
from xetrack.track.cache_code import is_stale
from xetrack.track.cache_folder import list_entries
from xetrack.track.functions import track_call


@dataclasses.dataclass
class Score:
    value: float


def double(x: Any) -> Any:
    return x * 2


def fails(x: int) -> int:
    raise ValueError(x)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(folder: Path) -> Iterator[FunctionCache]:
    made = FunctionCache(folder)
    yield made
    made.close()


def tracked(
    cache: FunctionCache, func: Callable[..., Any], *args: Any, run: str = "run-1", force: bool = False, **kwargs: Any
) -> tuple[Any, dict[str, Any]]:
    """Result and row of a call, as a tracker makes it."""
    rows: list[dict[str, Any]] = []
    call = cache.call(func, args, kwargs, {}, run, force)
    result = track_call(func, args, kwargs, rows.append, cached=call)
    return result, rows[0]


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# hits and misses


def test_a_hit_gives_the_result_and_the_run_that_computed_it(cache: FunctionCache) -> None:
    calls = []

    def counted(x: int) -> dict[str, int]:
        calls.append(x)
        return {"score": x}

    first = cache.call(counted, [1], {}, {}, "run-1")
    assert first is not None and first.find() is None
    first.keep({"score": 1})
    again = cache.call(counted, [1], {}, {}, "run-2")
    assert again is not None and again.find() == ({"score": 1}, "run-1")


def test_the_row_of_a_hit_has_the_columns_of_the_miss(cache: FunctionCache) -> None:
    def scores(x: int) -> dict[str, int]:
        return {"score": x}

    _, miss = tracked(cache, scores, 1)
    result, hit = tracked(cache, scores, 1, run="run-2")
    assert result == {"score": 1}
    assert list(hit) == list(miss)
    assert (miss["cache"], hit["cache"], hit["function_time"], hit["score"]) == ("", "run-1", 0.0, 1)
    assert miss["function_time"] > 0


def test_force_computes_and_replaces(cache: FunctionCache) -> None:
    tracked(cache, double, 1)
    assert tracked(cache, double, 1, run="run-2", force=True)[1]["cache"] == ""
    assert tracked(cache, double, 1, run="run-3")[1]["cache"] == "run-2"


class Model:
    """Pickles to other bytes every time, as many models do that came out of a pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Model, (), {"noise": os.urandom(8)}


def train(seed: int) -> dict[str, Any]:
    return {"model": Model(), "layers": [Model(), {"last": Model()}], "loss": 0.5}


def shape(seed: int) -> Any:
    return [Model(), object]


def test_a_hit_logs_the_objects_of_the_miss_and_stores_none(tmp_path: Path) -> None:
    rows = []
    for run in ("run-1", "run-2", "run-3"):  # three sessions, so none of them knows what the others stored
        with Tracker(tmp_path / "track.db", track_id=run, cache=str(tmp_path / "cache")) as tracker:
            tracker.track(train, args=[1])
            rows.append({key: tracker.latest[key] for key in ("model", "layers", "loss", "cache")})
            assert isinstance(tracker.get(tracker.latest["model"]), Model)
    assert rows[1] == rows[2] == {**rows[0], "cache": "run-1"}
    assets = Reader(str(tmp_path / "track.db")).assets
    assert sorted(info.references for info in assets.listing()) == [3, 3, 3]
    assert len(list((tmp_path / "track.db.events" / "_assets").glob("*/*"))) == 3


def test_a_hit_in_a_store_without_the_objects_stores_them_there(tmp_path: Path) -> None:
    for name in ("a.db", "b.db", Tracker.SKIP_INSERT, "c.db"):
        path = name if name == Tracker.SKIP_INSERT else str(tmp_path / name)
        with Tracker(path, cache=str(tmp_path / "cache")) as tracker:
            tracker.track(train, args=[1])
            assert (tracker.latest["cache"] == "") is (name == "a.db")
            if name != Tracker.SKIP_INSERT:
                assert isinstance(tracker.get(tracker.latest["model"]), Model) and len(tracker.assets) == 3


def test_a_hit_stores_again_what_was_removed_and_cleaned_up(tmp_path: Path) -> None:
    with Tracker(tmp_path / "track.db", cache=str(tmp_path / "cache")) as tracker:
        tracker.track(train, args=[1])
    for file in (tmp_path / "track.db.events" / "_assets").glob("*/*"):
        file.unlink()
    with Tracker(tmp_path / "track.db", cache=str(tmp_path / "cache")) as tracker:
        tracker.track(train, args=[1])
        assert tracker.latest["cache"] and isinstance(tracker.get(tracker.latest["model"]), Model)


def test_a_hit_shows_the_text_of_the_miss(tmp_path: Path) -> None:
    with Tracker(tmp_path / "track.db", cache=str(tmp_path / "cache")) as tracker:
        tracker.track(shape, args=[1])
        shown = tracker.latest["function_result"]
        tracker.track(shape, args=[1])
        assert tracker.latest["cache"] and tracker.latest["function_result"] == shown
        assert " at 0x" in shown


def test_none_is_a_result(cache: FunctionCache) -> None:
    def nothing() -> None: ...

    tracked(cache, nothing)
    assert tracked(cache, nothing)[1]["cache"] == "run-1"


def test_errors_are_not_kept(cache: FunctionCache, folder: Path) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="1"):
            tracked(cache, fails, 1)
    assert list_entries(folder) == []


def test_each_hit_gives_a_copy(cache: FunctionCache) -> None:
    given, _ = tracked(cache, double, (1,))
    made, _ = tracked(cache, lambda: [1])
    made.append(2)

    def items() -> list[int]:
        return [1]

    tracked(cache, items)[0].append(2)
    tracked(cache, items)[0].append(3)
    assert tracked(cache, items)[0] == [1]
    assert given == (1, 1)


def test_results_come_back_as_the_class_they_were(cache: FunctionCache) -> None:
    def score() -> Score:
        return Score(0.5)

    tracked(cache, score)
    result, row = tracked(cache, score)
    assert row["cache"] == "run-1"
    assert type(result) is Score and result == Score(0.5)


def test_what_only_cloudpickle_can_keep_is_kept(cache: FunctionCache) -> None:
    def make() -> Callable[[int], int]:
        return lambda x: x + 1

    tracked(cache, make)
    result, row = tracked(cache, make)
    assert (result(1), row["cache"]) == (2, "run-1")


@pytest.mark.parametrize("size", [10, 100_000])
def test_large_and_small_results_come_back(cache: FunctionCache, size: int) -> None:
    raw = os.urandom(size)
    tracked(cache, double, raw)
    assert tracked(cache, double, raw)[0] == raw * 2


def test_a_result_that_cannot_be_kept_is_returned_and_told_of_once(
    cache: FunctionCache, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def locks() -> Any:
        return threading.Lock()

    for _ in range(2):
        result, row = tracked(cache, locks)
        assert result.acquire() and row["cache"] == ""
    assert len(warned(caplog)) == 1
    assert "lock" in warned(caplog)[0]
    assert list_entries(folder) == []


def test_a_generator_that_a_function_returns_is_not_used_up(cache: FunctionCache, folder: Path) -> None:
    def lazy() -> Any:
        return (x for x in (1, 2))

    for _ in range(2):
        assert list(tracked(cache, lazy)[0]) == [1, 2]
    assert list_entries(folder) == []


def test_coroutines_are_kept_by_their_results(cache: FunctionCache) -> None:
    calls = []

    async def work(x: int) -> int:
        await asyncio.sleep(0)
        calls.append(x)
        return x + 1

    assert asyncio.run(tracked_later(cache, work, 1)) == (2, "")
    assert asyncio.run(tracked_later(cache, work, 1)) == (2, "run-1")


async def tracked_later(cache: FunctionCache, func: Callable[..., Any], *args: Any) -> tuple[Any, str]:
    rows: list[dict[str, Any]] = []
    result = await track_call(func, args, {}, rows.append, cached=cache.call(func, args, {}, {}, "run-1"))
    return result, rows[0]["cache"]


def test_an_argument_changed_by_the_call_is_known_as_it_was_before(cache: FunctionCache) -> None:
    class Box:
        def __init__(self) -> None:
            self.items: list[int] = []

    def fill(box: Box) -> int:
        box.items.append(1)
        return len(box.items)

    tracked(cache, fill, Box())
    assert tracked(cache, fill, Box())[1]["cache"] == "run-1"


def test_the_key_is_that_of_the_entry(cache: FunctionCache, folder: Path) -> None:
    tracked(cache, double, 4)
    key = cache.key(double, [4], {}, {})
    assert key is not None
    assert Reader.read_cache(folder, key) == {"result": 8, "cache": "run-1"}
    assert Reader.read_cache(folder, key + "0") is None
    assert cache.key(double, [[4]], {}, {}) is None


def test_the_key_of_a_call_is_had_from_the_tracker_as_in_the_original(db: str, folder: Path) -> None:
    with Tracker(db, cache=str(folder), params={"seed": 1}) as tracker:
        tracker.track(double, args=[4], params={"lr": 0.1})
        key = tracker._generate_cache_key(double, [4], {}, {"lr": 0.1})
        assert key is not None and (Reader.read_cache(folder, key) or {})["result"] == 8
        assert tracker._generate_cache_key(double, [[4]], {}, {}) is None
    with Tracker(db) as tracker:
        assert tracker._generate_cache_key(double, [4], {}, {}) is None


def test_arguments_that_cannot_be_cached_are_told_of_once_per_type(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = FunctionCache(folder)
    for value in ([1], [2], {"a": 1}, [3]):
        assert cache.call(double, [value], {}, {}, "run-1") is None
    assert len(warned(caplog)) == 2
    caplog.clear()
    assert FunctionCache(folder, warn=False).call(double, [[1]], {}, {}, "run-1") is None
    assert warned(caplog) == []


def test_files_that_define_the_same_name_share_results_only_of_the_same_code(folder: Path, tmp_path: Path) -> None:
    def run(place: str, body: str) -> str:
        script = tmp_path / place / "job.py"
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            "import sys\nfrom xetrack.track.cache import FunctionCache\n"
            f"def f(x):\n    return {body}\n"
            "call = FunctionCache(sys.argv[1], warn=False).call(f, [1], {}, {}, 'run-1')\n"
            "found = call.find()\n"
            "found or call.keep(f(1))\n"
            "print(found and found[0])\n"
        )
        return python(script, folder).strip()

    assert run("a", "x + 1") == "None"
    assert run("a", "x + 1") == "2"
    assert run("b", "x + 1") == "2"
    assert run("b", "x + 2") == "None"
    assert run("b", "x + 5") == "3"  # the same file, edited: the code takes part only if asked, here without a warning


def python(script: Path, *args: object, **env: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **env}
    done = subprocess.run(
        [sys.executable, str(script), *map(str, args)], env=environ, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# reading


def test_scan_gives_every_result(cache: FunctionCache, folder: Path) -> None:
    tracked(cache, double, 1)
    tracked(cache, double, "a", run="run-2")
    found = list(Reader.scan_cache(folder))
    assert [data for _, data in found] == [{"result": 2, "cache": "run-1"}, {"result": "aa", "cache": "run-2"}]
    assert found[0][0] == cache.key(double, [1], {}, {})


def test_delete_reaches_the_results_of_one_run_and_their_files(cache: FunctionCache, folder: Path) -> None:
    for number in range(3):
        tracked(cache, double, os.urandom(100_000), run="run-1")
        tracked(cache, double, number, run="run-2")
    assert Reader.delete_cache_by_track_id(folder, "run-1") == 3
    assert Reader.delete_cache_by_track_id(folder, "run-1") == 0
    assert len(list_entries(folder)) == 3
    assert not list(folder.rglob("*.val"))


@pytest.mark.parametrize(
    "read",
    [
        lambda path: Reader.read_cache(path, "key"),
        Reader.scan_cache,
        lambda path: Reader.delete_cache_by_track_id(path, "run-1"),
        list_entries,
    ],
)
def test_reading_what_is_not_there_is_an_error_and_makes_nothing(tmp_path: Path, read: Callable[[Any], Any]) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(CacheNotFound, match=path.name):
            read(str(path))
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_without_diskcache_the_error_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diskcache", None)
    for use in (lambda: FunctionCache(folder), lambda: Reader.read_cache(folder, "key")):
        with pytest.raises(MissingExtra, match=r"xetrack\[cache\]"):
            use()


def test_what_others_keep_in_the_folder_is_left_alone(cache: FunctionCache, folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    tracked(cache, double, 1)
    with diskcache.Cache(str(folder)) as other:
        other["name"] = {"result": 1, "cache": "run-1"}
        other[("a", "tuple")] = [1]
        other["code"] = Canary(canary)
        other[Canary(canary)] = 1
        other["number"] = 1
    canary.unlink(missing_ok=True)
    assert len(list_entries(folder)) == len(list(Reader.scan_cache(folder))) == 1
    assert Reader.read_cache(folder, "code") is None
    assert Reader.delete_cache_by_track_id(folder, "run-1") == 1
    assert not canary.exists()


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_listing_and_deleting_unpickle_nothing(cache: FunctionCache, folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    def bad() -> Any:
        return Canary(canary)

    tracked(cache, bad)
    assert [entry.cache for _, _, entry in list_entries(folder) if entry] == ["run-1"]
    assert Reader.delete_cache_by_track_id(folder, "run-1") == 1
    assert not canary.exists()


# damage


@pytest.mark.parametrize("size", [1, 50_000])
def test_every_flipped_byte_of_an_entry_is_a_miss_with_a_warning(
    cache: FunctionCache, folder: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    call = cache.call(double, ["a"], {}, {}, "run-1")
    assert call is not None
    call.keep("x" * size)
    with diskcache.Cache(str(folder)) as disk:
        raw, tag = disk.get(call.key, tag=True)
        places = [*range(min(len(raw), 600)), *range(600, len(raw), 997), len(raw) - 1]
        for place in places:
            caplog.clear()
            disk.set(call.key, raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :], tag=tag)
            assert call.find() is None, place
            assert len(warned(caplog)) == 1 and call.key in warned(caplog)[0]
            assert Reader.read_cache(folder, call.key) is None
        disk.set(call.key, raw, tag=tag)
    assert call.find() == ("x" * size, "run-1")


@pytest.mark.parametrize("length", [0, 1, 8, 100, -1])
def test_a_truncated_entry_is_computed_again_and_then_whole(
    cache: FunctionCache, folder: Path, caplog: pytest.LogCaptureFixture, length: int
) -> None:
    text = "a" * 50_000
    tracked(cache, double, text)
    (path,) = folder.rglob("*.val")
    path.write_bytes(path.read_bytes()[:length])
    assert tracked(cache, double, text, run="run-2")[1]["cache"] == ""
    assert len(warned(caplog)) == 1
    assert tracked(cache, double, text)[1]["cache"] == "run-2"


def test_a_lost_value_file_is_a_miss(cache: FunctionCache, folder: Path) -> None:
    text = "a" * 50_000
    tracked(cache, double, text)
    (path,) = folder.rglob("*.val")
    path.unlink()
    assert tracked(cache, double, text)[1]["cache"] == ""
    assert tracked(cache, double, text)[1]["cache"] == "run-1"


def test_an_entry_under_another_key_is_damaged(cache: FunctionCache, folder: Path) -> None:
    one, two = (cache.call(double, [x], {}, {}, "run-1") for x in (1, 2))
    assert one and two
    one.keep(2)
    with diskcache.Cache(str(folder)) as disk:
        disk[two.key] = disk[one.key]
    assert two.find() is None


def test_a_result_that_cannot_be_loaded_is_computed_with_a_warning(
    cache: FunctionCache, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score() -> Score:
        return Score(1.0)

    tracked(cache, score)
    key = cache.key(score, [], {}, {})
    assert key is not None
    with monkeypatch.context() as gone:
        gone.delattr(sys.modules[__name__], "Score")
        gone.setattr(pickle, "dumps", pickle.dumps)
        call = cache.call(score, [], {}, {}, "run-2")
        assert call is not None and call.find() is None
        assert Reader.read_cache(folder, key) is None
        assert list(Reader.scan_cache(folder)) == []
    assert len(warned(caplog)) == 3
    assert tracked(cache, score)[1]["cache"] == "run-1"


@pytest.mark.parametrize("damage", ["header", "pages", "empty", "folder"])
def test_a_damaged_database_fails_no_call(folder: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    first = FunctionCache(folder)
    for number in range(200):
        tracked(first, double, number)
    first.close()
    database = folder / "cache.db"
    raw = database.read_bytes()
    if damage == "folder":
        database.unlink()
        database.mkdir()
    else:
        cut = 100 if damage == "header" else 4096
        database.write_bytes(b"" if damage == "empty" else raw[: cut - 100] + b"\xa5" * (len(raw) - cut + 100))
    cache = FunctionCache(folder)
    for _ in range(3):
        assert tracked(cache, double, 3)[0] == 6
    cache.close()
    if damage != "empty":  # which is a new database
        assert 1 <= len(warned(caplog)) <= 3
        assert str(folder) in warned(caplog)[0]


def test_reading_a_damaged_database_is_an_error_that_names_it(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"\xa5" * 10_000)
    with pytest.raises(StorageFailed, match="cache"):
        list_entries(folder)


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_full_disk_fails_no_call_and_is_left_as_it_was(
    cache: FunctionCache, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    tracked(cache, double, 1)
    real_open = open

    class Full:
        def __init__(self, *args: Any) -> None:
            self.file = real_open(*args)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, raw: bytes) -> None:
            self.file.write(raw[: len(raw) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache_folder, "open", Full, raising=False)
    with cache.opened() as disk:
        (pages,) = disk._sql("PRAGMA page_count").fetchone()
        disk._sql(f"PRAGMA max_page_count = {pages}")  # what SQLite has instead of a full disk
    for number in range(100):
        text = f"{number}" * size
        assert tracked(cache, double, text)[0] == text * 2
    assert tracked(cache, double, 1)[1]["cache"] == "run-1"
    assert len(warned(caplog)) == 1
    assert not list(folder.rglob("*.val"))


def test_a_folder_that_cannot_be_made_fails_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    cache = FunctionCache(tmp_path / "file" / "cache")
    for _ in range(3):
        assert tracked(cache, double, 1)[0] == 2
    assert 1 <= len(warned(caplog)) <= 2


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match="is a file"):
        FunctionCache(tmp_path / "file")
    for wait in (-1, float("nan")):
        with pytest.raises(InvalidArgument, match="wait"):
            FunctionCache(tmp_path, wait=wait)


def test_a_relative_folder_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = FunctionCache("cache")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir("other")
    tracked(cache, double, 1)
    cache.close()
    assert (tmp_path / "cache" / "cache.db").exists()
    assert not list((tmp_path / "other").iterdir())


def test_nothing_is_thrown_out(cache: FunctionCache) -> None:
    tracked(cache, double, 1)
    with cache.opened() as disk:
        assert disk.eviction_policy == "none"


# threads and processes


def test_threads_share_a_cache_and_leave_no_connection(folder: Path) -> None:
    cache = FunctionCache(folder)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: tracked(cache, double, number % 10)[0], range(200)))
    assert results == [number % 10 * 2 for number in range(200)]
    assert len(list_entries(folder)) == 10
    cache.close()


def test_a_thread_leaves_no_connection(cache: FunctionCache) -> None:
    tracked(cache, double, 1)

    def connection() -> object:
        assert tracked(cache, double, 1)[1]["cache"] == "run-1"
        return getattr(cache._opened["disk"][0]._local, "con", None)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(connection).result() is None


def work(folder: str, seed: int) -> list[str]:
    cache = FunctionCache(folder)
    rows = [tracked(cache, double, number, run=f"run-{seed}") for number in range(50)]
    assert [result for result, _ in rows] == [number * 2 for number in range(50)]
    cache.close()
    return [row["cache"] for _, row in rows]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_a_cache(folder: Path, method: str) -> None:
    with multiprocessing.get_context(method).Pool(4) as pool:
        pool.starmap(work, [(str(folder), seed) for seed in range(4)])
    assert len(list_entries(folder)) == 50
    assert "" not in work(str(folder), 5)


def forked_work(cache: FunctionCache, queue: Any) -> None:
    queue.put([tracked(cache, double, number, run="child")[1]["cache"] for number in (1, 2)])


def test_a_forked_child_goes_on_with_the_cache(cache: FunctionCache) -> None:
    tracked(cache, double, 1)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=forked_work, args=(cache, queue))
    child.start()
    assert queue.get() == ["run-1", ""]
    child.join()
    assert tracked(cache, double, 2)[1]["cache"] == "child"


def test_a_worker_of_a_script_shares_its_results(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        """
import dataclasses, sys
from xetrack.track.cache import FunctionCache

@dataclasses.dataclass(frozen=True)
class Config:
    name: str

def f(config):
    return config

def cached(name):
    call = FunctionCache(sys.argv[1]).call(f, [Config(name)], {}, {}, "run-1")
    found = call.find()
    found or call.keep(f(Config(name)))
    return found is not None and found[0] == Config(name)

if __name__ == "__main__":
    print(cached("a"))
    if sys.argv[2:]:
        print(cached("b"), "multiprocessing" in sys.modules)
        sys.exit()
    import multiprocessing
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(cached, ["a", "b"]))
    print(cached("b"))
"""
    )
    assert python(script, folder).split("\n")[:3] == ["False", "[True, False]", "True"]
    assert python(script, folder, "again").split("\n")[:2] == ["True", "True False"]


# waiting


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each step of waiting was."""
    taken: list[float] = []

    def sleep(seconds: float) -> None:
        taken.append(seconds)
        time.sleep(seconds)

    monkeypatch.setattr(cache_wait, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    return taken


class Slow:
    """A function that is in the middle of its work until it is let go."""

    def __init__(self, error: bool = False) -> None:
        self.calls: list[int] = []
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.error = error

    def __call__(self, x: int) -> int:
        self.calls.append(x)
        self.begun.set()
        assert self.let_go.wait(30)
        if self.error and len(self.calls) == 1:
            raise ValueError(x)
        return x * 2

    def __reduce__(self) -> Any:
        return Slow, ()


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_the_second_waits_for_the_first(folder: Path, naps: list[float]) -> None:
    cache, work = FunctionCache(folder, wait=60), Slow()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(tracked, cache, work, 1, run="run-1")
        assert work.begun.wait(30)
        second = pool.submit(tracked, cache, work, 1, run="run-2")
        until(lambda: naps)
        work.let_go.set()
        assert (first.result()[0], second.result()[0]) == (2, 2)
        assert second.result()[1]["cache"] == "run-1"
    assert work.calls == [1]
    with cache.opened() as disk:
        assert len(disk) == 1  # the turn is over
    cache.close()


def test_without_waiting_both_compute(folder: Path, naps: list[float]) -> None:
    cache, work = FunctionCache(folder), Slow()
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(tracked, cache, work, 1) for _ in range(2)]
        until(lambda: len(work.calls) == 2)
        work.let_go.set()
        assert [each.result()[0] for each in calls] == [2, 2]
    assert naps == []


def test_a_first_that_fails_lets_the_second_compute(folder: Path, naps: list[float]) -> None:
    cache, work = FunctionCache(folder, wait=60), Slow(error=True)

    def first() -> None:
        with pytest.raises(ValueError, match="1"):
            tracked(cache, work, 1)

    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(first)
        assert work.begun.wait(30)
        second = pool.submit(tracked, cache, work, 1, run="run-2")
        until(lambda: naps)
        work.let_go.set()
        failing.result()
        assert second.result()[0] == 2
    assert sum(naps) < 30


def test_a_first_that_takes_too_long_is_not_waited_for(folder: Path, naps: list[float]) -> None:
    cache, work = FunctionCache(folder, wait=0.2), Slow()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(tracked, cache, work, 1)
        assert work.begun.wait(30)
        others = [pool.submit(tracked, cache, work, 1) for _ in range(2)]
        until(lambda: len(work.calls) == 3)
        work.let_go.set()
        assert [each.result()[0] for each in (first, *others)] == [2, 2, 2]
    assert all(nap >= 0 for nap in naps)
    assert sum(naps) <= 2 * 0.2 + 0.001


def take_turn(folder: str, begun: Any) -> None:
    call = FunctionCache(folder, wait=60).call(double, [1], {}, {}, "killed")
    assert call is not None and call.find() is None
    begun.put(True)
    time.sleep(60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs kill -9")
def test_a_first_that_was_killed_is_not_waited_for(folder: Path, naps: list[float]) -> None:
    context = multiprocessing.get_context("spawn")
    begun = context.SimpleQueue()
    process = context.Process(target=take_turn, args=(str(folder), begun))
    process.start()
    assert begun.get()
    process.kill()
    process.join()
    cache = FunctionCache(folder, wait=60)
    assert tracked(cache, double, 1)[1]["cache"] == ""
    assert len(naps) < 3
    assert tracked(cache, double, 1)[1]["cache"] == "run-1"
    cache.close()


def test_coroutines_of_one_thread_do_not_wait_for_each_other(folder: Path, naps: list[float]) -> None:
    cache = FunctionCache(folder, wait=60)

    async def work(x: int) -> int:
        await asyncio.sleep(0.01)
        return x + 1

    async def both() -> Any:
        return await asyncio.gather(tracked_later(cache, work, 1), tracked_later(cache, work, 1))

    assert [result for result, _ in asyncio.run(both())] == [2, 2]
    assert naps == []
    cache.close()


# stale entries


JOB = """
def job(x):
    return x + {step}

class Trainer:
    def train(self, x):
        return x
"""


def stale(folder: Path) -> dict[str, bool | None]:
    return {entry.function: is_stale(entry) for _, _, entry in list_entries(folder) if entry}


def test_entries_of_an_edited_function_are_stale_and_nothing_is_run(folder: Path, tmp_path: Path) -> None:
    job, script = tmp_path / "job.py", tmp_path / "main.py"
    job.write_text(JOB.format(step=1))
    script.write_text(
        "import sys\nfrom job import job, Trainer\nfrom xetrack.track.cache import FunctionCache\n"
        "cache = FunctionCache(sys.argv[1])\n"
        "for func, args in ((job, [1]), (Trainer().train, [1]), (len, ['a']), (lambda: 1, [])):\n"
        "    cache.call(func, args, {}, {}, 'run-1').keep(1)\n"
    )
    python(script, folder)
    assert stale(folder) == {"job.job": False, "job.Trainer.train": False, "builtins.len": None, "main.<lambda>": False}
    job.write_text("# moved\n\n" + JOB.format(step=1))
    assert stale(folder)["job.job"] is False
    job.write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n" + JOB.format(step=2))
    assert stale(folder)["job.job"] is True
    assert stale(folder)["job.Trainer.train"] is False
    job.write_text("job = 1\n")
    assert stale(folder)["job.Trainer.train"] is True
    job.write_text("def job(:\n")
    assert stale(folder)["job.job"] is None
    job.unlink()
    assert stale(folder)["job.job"] is None
    assert not (tmp_path / "canary").exists()


def test_entries_of_another_python_are_neither_stale_nor_fresh(folder: Path, cache: FunctionCache) -> None:
    tracked(cache, double, 1)
    ((_, _, entry),) = list_entries(folder)
    assert entry is not None and is_stale(entry) is False
    assert is_stale(msgspec.structs.replace(entry, python="cpython-27-0")) is None


def test_a_hit_of_an_edited_function_is_told_of_once(folder: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    text = (
        "import sys\nfrom xetrack import Tracker\n"
        "def f(x):\n    return x + {step}\n"
        "tracker = Tracker(Tracker.SKIP_INSERT, cache=sys.argv[1], warnings={warnings})\n"
        "for x in (1, 2, 1, 2):\n    print(tracker.track(f, args=[x]), tracker.latest['cache'] != '')\n"
    )

    def run(step: int, warnings: bool = True) -> tuple[list[str], int]:
        job.write_text(text.format(step=step, warnings=warnings))
        done = subprocess.run([sys.executable, job, folder], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.split(), done.stderr.count("edited since")

    hits = ["2", "True", "3", "True"]
    assert run(1) == (["2", "False", "3", "False", *hits], 0)
    assert run(1) == ([*hits, *hits], 0)
    assert run(5) == ([*hits, *hits], 1)
    assert run(5, warnings=False) == ([*hits, *hits], 0)


def test_an_edited_function_misses_if_its_code_takes_part(folder: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.py"

    def run() -> str:
        return python(job, folder).strip()

    text = (
        "import sys\nfrom xetrack.track.cache import FunctionCache\n"
        "def f(x):\n    return x + {step}\n"
        "call = FunctionCache(sys.argv[1], cache_code=True).call(f, [1], {{}}, {{}}, 'run-1')\n"
        "found = call.find()\n"
        "found or call.keep(f(1))\n"
        "print(found and found[0])\n"
    )
    for step, expected in ((1, "None"), (1, "2"), (2, "None"), (2, "3"), (1, "2")):
        job.write_text(text.format(step=step))
        assert run() == expected
