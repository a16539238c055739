"""Stored objects: once each, by their hash, and only checked bytes are unpickled."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xetrack.errors import AssetNotFound, InvalidValue, StorageFailed
from xetrack.log.assets import Assets, FileAssets
from xetrack.log.log import STORE_BYTES, FileLog, MemoryLog


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
    raw = assets.raw_bytes(digest)
    assert hashlib.sha256(raw).hexdigest() == digest and len(raw) == size
    found = assets.get(digest)
    assert found(1) == 2 if callable(value) else found == value and type(found) is type(value)


def test_arrays_come_out_as_they_went_in(assets: Assets) -> None:
    digest, _ = assets.put(np.arange(3))
    assert assets.get(digest).tolist() == [0, 1, 2]


def test_equal_bytes_are_stored_once(assets: Assets) -> None:
    one, two = assets.put({1, 2}), assets.put({1, 2})
    other, _ = assets.put_bytes(b"raw")
    assert one == two
    assert assets.digests() == sorted([one[0], other]) and assets.has(other)
    assert assets.raw_bytes(other) == b"raw"


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


def test_every_flipped_byte_is_noticed_before_anything_is_unpickled(
    files: FileAssets, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, _ = files.put({"a": list(range(20))})
    path = files.path(digest)
    whole = path.read_bytes()
    raw = files.raw_bytes(digest)
    monkeypatch.setattr("pickle.loads", lambda raw: pytest.fail("unpickled damaged bytes"))
    noticed = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            # A byte of the frame may not matter: then the bytes are the right ones.
            assert files.raw_bytes(digest) == raw
        except StorageFailed as error:
            assert digest in str(error)
            noticed += 1
            with pytest.raises(StorageFailed):
                files.get(digest)
    assert noticed > len(whole) - 8
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(StorageFailed):
            files.raw_bytes(digest)


def test_swapped_files_are_noticed(files: FileAssets) -> None:
    one, two = files.put({1})[0], files.put({2})[0]
    files.path(one).write_bytes(files.path(two).read_bytes())
    with pytest.raises(StorageFailed):
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
    assets.put_bytes(data)
except DiskFull as error:
    print(error.size_bytes > 20_000, assets.digests() == [kept], sum(map(os.path.isfile, assets.folder.rglob("*"))))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
digest, _ = assets.put_bytes(data)
print(assets.raw_bytes(digest) == data)
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True True 1\nTrue\n", "")
    assert len([path for path in (tmp_path / "x.events" / "_assets").rglob("*") if path.is_file()]) == 2
