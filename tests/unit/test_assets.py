"""Stored objects: once each, by their hash, and only checked bytes are unpickled."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import zstandard

from tests.conftest import ROOT
from xetrack.errors import AssetDamaged, AssetNotFound, AssetUnloadable, InvalidValue, StorageFailed
from xetrack.log.assets import Assets, FileAssets, digest_of
from xetrack.log.log import STORE_BYTES, FileLog
from xetrack.log.memory import MemoryLog

ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def run_code(code: str, folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A program of its own in a folder."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, check=check, timeout=100)


@pytest.fixture(params=["folder", "memory"])
def assets(request: pytest.FixtureRequest, tmp_path: Path) -> Assets:
    return FileLog(tmp_path / "x.events").assets if request.param == "folder" else MemoryLog().assets


@pytest.fixture
def files(tmp_path: Path) -> FileAssets:
    found = FileLog(tmp_path / "x.events").assets
    assert isinstance(found, FileAssets)
    return found


@pytest.mark.parametrize("value", [Fraction(0), None, {1, 2}, "text", lambda x: x + 1, b"x" * 10**6])
def test_objects_come_out_as_they_went_in(assets: Assets, value: Any) -> None:
    digest, size = assets.put(value)
    raw = assets.open(digest).read()
    assert hashlib.sha256(raw).hexdigest() == digest and len(raw) == size
    found = assets.get(digest)
    assert found(1) == 2 if callable(value) else found == value and type(found) is type(value)


def test_arrays_come_out_as_they_went_in(assets: Assets) -> None:
    digest, _ = assets.put(np.arange(3))
    assert assets.get(digest).tolist() == [0, 1, 2]


def test_equal_bytes_are_stored_once(assets: Assets) -> None:
    one, two = assets.put({1, 2}), assets.put({1, 2})
    other, _ = assets.put_pieces(lambda: [b"raw"])
    assert one == two
    assert assets.digests() == sorted([one[0], other]) and assets.has(other)
    assert assets.open(other).read() == b"raw"


@pytest.mark.parametrize("digest", ["0" * 64, "", "../../etc/passwd", "0" * 63, "Z" * 64])
def test_digest_of_nothing_is_an_error_that_names_it(assets: Assets, digest: str) -> None:
    with pytest.raises(AssetNotFound) as caught:
        assets.get(digest)
    assert caught.value.asset == digest


def test_object_that_cannot_be_pickled_is_an_error_and_stores_nothing(assets: Assets) -> None:
    with pytest.raises(InvalidValue, match="generator"):
        assets.put(number for number in range(3))
    assert assets.digests() == []


def test_files_are_where_the_format_says_and_hold_no_drafts(files: FileAssets) -> None:
    digest, _ = files.put({1})
    assert sorted(path.relative_to(files.folder).as_posix() for path in files.folder.rglob("*") if path.is_file()) == [
        f"{digest[:2]}/{digest}.zst"
    ]
    assert (files.folder.parent / "store.json").read_bytes() == STORE_BYTES


def test_file_that_is_there_is_not_written_again(files: FileAssets) -> None:
    digest, _ = files.put({1})
    before = files.path(digest).stat()
    files.put({1})
    assert files.path(digest).stat() == before


def no_unpickling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pickle.load", lambda stream: pytest.fail("unpickled damaged bytes"))


def test_every_flipped_bit_is_noticed_before_anything_is_unpickled(
    files: FileAssets, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, _ = files.put({"a": list(range(200)), "text": "hello world " * 20})
    path = files.path(digest)
    whole = path.read_bytes()
    no_unpickling(monkeypatch)
    for place in range(len(whole)):
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 115, 243):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            with pytest.raises(AssetDamaged, match=str(path)):
                files.get(digest)
            with pytest.raises(AssetDamaged):
                files.check(digest)


@pytest.mark.parametrize(
    "more", [b"\0", b"more", zstandard.compress(b""), zstandard.compress(b"x"), b"\x5e*M\x18\0\0\0\0"]
)
def test_bytes_after_the_end_are_noticed(files: FileAssets, more: bytes) -> None:
    digest, _ = files.put({1})
    path = files.path(digest)
    path.write_bytes(path.read_bytes() + more)
    with pytest.raises(AssetDamaged, match="end"):
        files.get(digest)


def test_file_cut_anywhere_is_noticed_or_loses_no_more_than_its_seal(files: FileAssets) -> None:
    digest, _ = files.put({"a": list(range(20))})
    path = files.path(digest)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        if cut == len(whole) - 12:
            assert files.get(digest) == {"a": list(range(20))}
            continue
        with pytest.raises(AssetDamaged):
            files.get(digest)


def test_file_that_is_cut_off_is_mended_by_storing_the_object_again(files: FileAssets) -> None:
    digest, _ = files.put({1})
    for left in (0, 5, -1):
        path = files.path(digest)
        path.write_bytes(path.read_bytes()[:left])
        assert files.put({1})[0] == digest and files.get(digest) == {1}


def test_file_of_any_zstandard_tool_is_read(files: FileAssets) -> None:
    raw = pickle.dumps({"a": 1})
    digest = hashlib.sha256(raw).hexdigest()
    files.path(digest).parent.mkdir(parents=True)
    files.path(digest).write_bytes(zstandard.compress(raw))
    assert files.get(digest) == {"a": 1}


def test_stored_file_is_read_by_any_zstandard_tool(files: FileAssets) -> None:
    digest, _ = files.put_pieces(lambda: [b"abc" * 1000])
    assert zstandard.ZstdDecompressor().decompress(files.path(digest).read_bytes()) == b"abc" * 1000
    with open(files.path(digest), "rb") as file:
        assert zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read() == b"abc" * 1000


def test_more_bytes_than_the_log_tells_are_not_unpacked(files: FileAssets) -> None:
    digest, _ = files.put_pieces(lambda: [bytes(200 << 20)])
    assert files.path(digest).stat().st_size < 100_000
    with pytest.raises(AssetDamaged, match="more than the 1000 bytes"):
        files.open(digest, 1000)
    assert files.open(digest, 200 << 20).read(3) == b"\0\0\0"
    files.path(digest).write_bytes(zstandard.compress(bytes(200 << 20)))
    with pytest.raises(AssetDamaged, match="more than the 1000 bytes"):
        files.open(digest, 1000)


def test_swapped_files_are_noticed(files: FileAssets) -> None:
    one, two = files.put({1})[0], files.put({2})[0]
    files.path(one).write_bytes(files.path(two).read_bytes())
    with pytest.raises(AssetDamaged):
        files.get(one)
    assert files.get(two) == {2}


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
def test_full_disk_leaves_no_asset_and_no_draft(tmp_path: Path) -> None:
    code = """
import os, resource
from xetrack.errors import DiskFull
from xetrack.log.log import FileLog
assets = FileLog("x.events").assets
kept, _ = assets.put({1})
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
data = os.urandom(20_000)
try:
    assets.put_pieces(lambda: [data])
except DiskFull as error:
    print(error.size_bytes > 20_000, assets.digests() == [kept], sum(map(os.path.isfile, assets.folder.rglob("*"))))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
digest, _ = assets.put_pieces(lambda: [data])
print(assets.open(digest).read() == data)
"""
    done = run_code(code, tmp_path)
    assert (done.stdout, done.stderr) == ("True True 1\nTrue\n", "")
    assert len([path for path in (tmp_path / "x.events" / "_assets").rglob("*") if path.is_file()]) == 2


# -- large objects and files ---------------------------------------------------


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as large."""
    monkeypatch.setattr("xetrack.log.assets._KEEP_BYTES", 1000)
    monkeypatch.setattr("xetrack.log.assets._CHUNK_BYTES", 512)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize(
    "value",
    [
        np.arange(9000.0),
        np.asfortranarray(np.arange(9000.0).reshape(90, 100)),
        np.arange(9000)[::3],
        b"x" * 9000,
        bytearray(b"x" * 9000),
        ["text" * 200, {"a": [np.ones(500), np.zeros(500)]}],
    ],
    ids=["array", "fortran", "strided", "bytes", "bytearray", "nested"],
)
def test_large_objects_come_out_as_they_went_in(assets: Assets, value: Any) -> None:
    digest, size = assets.put(value)
    assert len(assets.open(digest).read()) == size > 1000
    assert digest == hashlib.sha256(cloudpickle.dumps(value)).hexdigest()
    found = assets.get(digest)
    assert type(found) is type(value) and pickle.dumps(found) == pickle.dumps(value)
    if isinstance(found, np.ndarray):
        found[:] = 0  # writable, as the original


@pytest.mark.usefixtures("small_limits")
def test_object_that_changes_while_it_is_stored_is_named_by_what_was_written(assets: Assets) -> None:
    class Growing:
        times = 0

        def __reduce__(self) -> Any:
            Growing.times += 1
            return (list, (["text" * 500] * Growing.times,))

    digest, size = assets.put(Growing())
    assert Growing.times == 2 and assets.digests() == [digest]
    assert len(assets.open(digest).read()) == size and assets.get(digest) == ["text" * 500] * 2


def test_file_comes_out_as_it_went_in(assets: Assets, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(3_000_000))
    digest, size = assets.put_file(path)
    assert size == 3_000_000 and assets.open(digest).read() == path.read_bytes()
    assert digest == digest_of(path) == assets.put_pieces(lambda: [path.read_bytes()])[0]
    assert assets.put_file(path) == (digest, size) and len(assets.digests()) == 1


def test_file_that_cannot_be_read_is_an_error_and_stores_nothing(assets: Assets, tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="absent"):
        assets.put_file(tmp_path / "absent")
    with pytest.raises(StorageFailed):
        assets.put_file(tmp_path)
    assert assets.files() == []


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from xetrack.log.log import FileLog
def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
assets = FileLog("x.events").assets
assets.put(np.arange(10))
array = np.random.default_rng(0).random(32 << 20)
before = peak_mb()
if sys.argv[1] == "array":
    digest, size = assets.put(array)
else:
    array.tofile("file")
    digest, size = assets.put_file(Path("file"))
assets.check(digest)
print(size, peak_mb() - before)
del array
if sys.argv[1] == "array":
    size = assets.get(digest).nbytes
print(size, peak_mb() - before)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs getrusage")
@pytest.mark.parametrize("kind", ["array", "file"])
def test_large_object_takes_no_second_copy_in_memory(tmp_path: Path, kind: str) -> None:
    for line in run_code(PEAK, tmp_path, kind).stdout.splitlines():
        size, above_mb = line.split()
        assert int(size) >= 256 << 20 and float(above_mb) < 0.3 * 256, line


# -- many at once, killed, taken away ------------------------------------------

PUTTER = """
import sys
import numpy as np
from xetrack.log.log import FileLog
assets = FileLog("x.events").assets
sys.stdin.readline()
for number in range(20):
    assets.put(np.full(50_000, number))
"""


def test_processes_that_store_the_same_objects_do_not_disturb_each_other(tmp_path: Path) -> None:
    programs = [
        subprocess.Popen([sys.executable, "-c", PUTTER], cwd=tmp_path, env=ENV, stdin=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    for program in programs:
        program.communicate(timeout=100)
        assert program.returncode == 0
    assets = FileLog(tmp_path / "x.events").assets
    assert len(assets.digests()) == len(assets.files()) == 20
    assert sorted(assets.get(digest)[0] for digest in assets.digests()) == list(range(20))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_in_the_middle_of_a_write_leaves_a_draft_and_no_asset(tmp_path: Path) -> None:
    code = """
import os, signal
from xetrack.log.log import FileLog
assets = FileLog("x.events").assets
class Deadly:
    times = 0
    def __reduce__(self):
        Deadly.times += 1
        if Deadly.times == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return (list, ())
assets.put([os.urandom(40 << 20), Deadly()])
"""
    done = run_code(code, tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    assets = FileLog(tmp_path / "x.events").assets
    (draft,) = assets.files()
    assert draft.digest is None and assets.digests() == [] and draft.size_bytes > 1 << 20
    assert not assets.discard(draft, 3600) and Path(draft.path).exists()
    assert assets.discard(draft, 0) and assets.files() == []


def age(assets: FileAssets, digest: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(assets.path(digest), (then, then))


def test_object_that_is_stored_again_counts_as_new(files: FileAssets) -> None:
    digest, _ = files.put({1})
    age(files, digest, 7200)
    (listed,) = files.files()
    files.put({1})
    assert not files.discard(listed, 3600) and files.get(digest) == {1}
    age(files, digest, 7200)
    assert files.discard(listed, 3600) and files.files() == []
    assert not files.discard(listed, 3600)
    assert files.put({1})[0] == digest and files.get(digest) == {1}


def test_strangers_in_the_folder_are_no_assets(files: FileAssets) -> None:
    digest, _ = files.put({1})
    (files.folder / "README").write_text("mine")
    (files.folder / "ab").mkdir()
    (files.folder / "ab" / f"{digest}.zst").write_text("wrong folder")
    (files.folder / digest[:2] / "short.zst").write_text("x")
    assert [file.digest for file in files.files()] == [digest]


def test_object_is_taken_over_from_another_store(
    assets: Assets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = FileLog(tmp_path / "y.events").assets
    assert isinstance(other, FileAssets)
    digest, _ = other.put({1})
    with monkeypatch.context() as patch:
        no_unpickling(patch)
        assets.copy_from(other, digest)
        assets.copy_from(other, digest)
    assert assets.get(digest) == {1}
    broken, _ = other.put({2})
    other.path(broken).write_bytes(other.path(digest).read_bytes())
    with pytest.raises(AssetDamaged):
        assets.copy_from(other, broken)
    with pytest.raises(AssetNotFound):
        assets.copy_from(other, "0" * 64)
    assert assets.digests() == [digest]


# -- unpickling ----------------------------------------------------------------


def test_object_whose_module_is_gone_is_an_error_that_names_it(
    files: FileAssets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone_module.py").write_text("class Gone:\n    pass\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        import gone_module  # type: ignore[import-not-found]

        digest, _ = files.put(gone_module.Gone())
        assert isinstance(files.get(digest), gone_module.Gone)
    monkeypatch.delitem(sys.modules, "gone_module")
    with pytest.raises(AssetUnloadable, match="gone_module") as caught:
        files.get(digest)
    assert caught.value.asset == digest and isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_bytes_that_are_no_pickle_are_an_error(assets: Assets) -> None:
    digest, _ = assets.put_pieces(lambda: [b"no pickle"])
    with pytest.raises(AssetUnloadable):
        assets.get(digest)


def frames() -> list[Any]:
    import pandas as pd
    import polars as pl

    return [
        pd.DataFrame({"a": [1, None], "b": ["x", "y"]}),
        pd.Series([1.5, 2.5], name="s"),
        pl.DataFrame({"a": [1, None], "b": ["x", "y"]}),
    ]


@pytest.mark.parametrize("number", range(3))
def test_frames_come_out_as_they_went_in(assets: Assets, number: int) -> None:
    value = frames()[number]
    found = assets.get(assets.put(value)[0])
    assert type(found) is type(value) and found.equals(value)


def test_images_figures_and_models_come_out_as_they_went_in(assets: Assets) -> None:
    import matplotlib
    from PIL import Image
    from sklearn.linear_model import LogisticRegression

    matplotlib.use("Agg")
    from matplotlib import pyplot

    image = Image.new("RGB", (4, 3), (1, 2, 3))
    assert assets.get(assets.put(image)[0]).tobytes() == image.tobytes()
    figure, axes = pyplot.subplots()
    axes.plot([1, 2, 3])
    found = assets.get(assets.put(figure)[0])
    assert found.axes[0].lines[0].get_ydata().tolist() == [1, 2, 3]
    pyplot.close("all")
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    assert assets.get(assets.put(model)[0]).predict([[1.0]]) == [1]
