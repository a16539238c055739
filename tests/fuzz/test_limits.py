"""No input makes a reader use memory out of proportion (docs/security.md, Sizes).

Each case is read by a child that may take 384 MiB beside the interpreter and its
packages: whoever holds what the bytes claim, or what they unpack to, fails.
"""

from __future__ import annotations

import gzip
import os
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.conftest import ROOT
from tests.strategies import signed
from xetrack import Reader, Tracker
from xetrack.errors import EventTooLarge
from xetrack.log.codec import MAX_LINE_BYTES
from xetrack.log.log import FileLog
from xetrack.log.packs import all_lines
from xetrack.log.verify import verify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of a process's memory that holds")

MIB = 1 << 20
_CHILD = """
import resource, sys
from xetrack import Reader, Tracker, import_data, merge
from xetrack.errors import XetrackError
from xetrack.log.compaction import compact
from xetrack.log.hints import hint_of
from xetrack.log.log import FileLog
from xetrack.log.verify import verify
import numpy, pandas, pyarrow.parquet, zstandard
with open("/proc/self/statm") as file:
    most = int(file.read().split()[0]) * resource.getpagesize() + (384 << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
folder = sys.argv[1]
db, log = folder + "/t.db", FileLog(folder + "/t.db.events")
try:
    print(eval(sys.argv[2]))
except XetrackError as error:
    print(type(error).__name__, error)
"""


def _child(folder: Path, what: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder), what],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout.strip()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The folder of a table with one honest row."""
    with Tracker(tmp_path / "t.db", track_id="r") as tracker:
        tracker.log({"x": 1})
    return tmp_path / "t.db.events/default"


def _pack(folder: Path, pieces: Iterable[bytes], behind: bytes = b"") -> Path:
    path = folder / f"{'0' * 64}.jsonl.zst"
    with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file, closefd=False) as packing:
        for piece in pieces:
            packing.write(piece)
    with path.open("ab") as file:
        file.write(behind)
    return path


def _row(text: bytes) -> bytes:
    start = b'{"kind":"row.logged","id":"k4w7aq2mzb3xn5ty-0","clock":1,"run":"r","data":{"x":"'
    return signed(start + text + b'"}}') + b"\n"


# -- what is read ------------------------------------------------------------


def _segment_of_zeros(table: Path, suffix: str) -> None:
    path = table / f"k4w7aq2mzb3xn5ty.{suffix}"
    with path.open("wb") as file:
        file.truncate(512 * MIB)
    os.utime(path, (1e9, 1e9))  # not a hole that is being filled in


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a pack of one line of half a gigabyte": lambda table: _pack(table, [bytes(MIB)] * 512 + [b"\n"]),
    "a pack of empty lines": lambda table: _pack(table, [b"\n" * MIB] * 3),
    "a pack of millions of lines that are none": lambda table: _pack(table, [(b"x" * 60 + b"\n") * 16_000] * 12),
    "a pack whose lines never end": lambda table: _pack(table, [bytes(MIB)] * 512),
    "a segment of zeros": lambda table: _segment_of_zeros(table, "jsonl"),
    "a segment of MessagePack of zeros": lambda table: _segment_of_zeros(table, "msgpack"),
    "a record that claims four gigabytes": lambda table: (table / "k4w7aq2mzb3xn5ty.msgpack").write_bytes(
        b"\xc1XT\n\xff\xff\xff\xff0000" + b"\x81" * 99
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_line_is_one_damage_and_costs_no_memory(tmp_path: Path, table: Path, name: str) -> None:
    HOSTILE[name](table)
    told = _child(tmp_path, "[(found := verify(log)).ok, len(found.damaged) <= 10_001, found.events, len(Reader(db))]")
    assert told == "[False, True, 3, 1]"


def test_a_note_that_claims_any_size_is_skipped(tmp_path: Path, table: Path) -> None:
    claims = zstandard.ZstdCompressor(level=1).compress(bytes(512 * MIB))
    payload = claims + struct.pack("<I", len(claims)) + b"xt-packed"
    name = _pack(table, [_row(b"1")], struct.pack("<II", 0x184D2A5C, len(payload)) + payload).name
    assert _child(tmp_path, f"hint_of(log, 'default', {name!r})") == "[]"


def test_a_pack_that_unpacks_to_more_than_it_says_stays_as_it_is(tmp_path: Path, table: Path) -> None:
    lines = [
        b"".join(
            signed(b'{"kind":"writer.alive","id":"k4w7aq2mzb3xn5ty-%d","clock":1}' % (part * 10_000 + seq)) + b"\n"
            for seq in range(10_000)
        )
        for part in range(2)
    ]
    _pack(table, lines * 45)
    assert _child(tmp_path, "compact(log, in_git=False, dry_run=True).left") == "[]"


def test_a_stored_object_that_unpacks_to_anything_is_not_held(tmp_path: Path) -> None:
    with Tracker(tmp_path / "t.db", track_id="r") as tracker:
        tracker.log({"thing": {1, 2}})
    (file,) = (tmp_path / "t.db.events/_assets").glob("??/*.zst")
    file.write_bytes(zstandard.ZstdCompressor(level=1).compress(bytes(512 * MIB)))
    assert _child(tmp_path, f"[len(verify(log).assets_damaged), Reader(db).get({file.stem!r})]").startswith(
        "AssetDamaged"
    )


def test_a_packed_object_of_an_old_database_is_not_held(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old.db") as conn:
        conn.execute("CREATE TABLE events (track_id TEXT, timestamp TEXT, PRIMARY KEY (track_id, timestamp))")
        conn.execute("CREATE TABLE assets (key, value)")
        conn.execute("INSERT INTO assets VALUES ('abc', ?)", (zlib.compress(bytes(512 * MIB), 1),))
    conn.close()
    assert _child(tmp_path, "import_data(folder + '/old.db', db).assets") == "1"
    (packed,) = (tmp_path / "t.db.events/_assets").glob("??/*.zst")
    assert packed.stat().st_size < MIB


def test_imports_that_unpack_out_of_proportion_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with gzip.open(tmp_path / "rows.csv.gz", "wb", compresslevel=1) as file:
        file.write(b"a\n" + b"1\n" * (10 * MIB))
    (tmp_path / "rows.jsonl.zst").write_bytes(zstandard.ZstdCompressor(level=1).compress(b"{}\n" * (10 * MIB)))
    pq.write_table(pa.table({"a": pa.nulls(5_000_000)}), tmp_path / "rows.parquet")
    for name in ("rows.csv.gz", "rows.jsonl.zst", "rows.parquet"):
        told = _child(tmp_path, f"import_data(folder + '/{name}', db)")
        assert told.startswith("InvalidArgument") and "times its size" in told, name
    assert not (tmp_path / "t.db.events").exists()


def test_imports_do_not_believe_lengths(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.vm").write_bytes(struct.pack("<QI", (1 << 30) - 8, 0) + b"abc")
    with (tmp_path / "line.jsonl").open("wb") as file:
        file.write(b'{"a":"')
        file.truncate(512 * MIB)
    assert "it ends in a record" in _child(tmp_path, "import_data(folder + '/events.out.tfevents.1.vm', db).left_out")
    assert _child(tmp_path, "import_data(folder + '/line.jsonl', db)").startswith("InvalidArgument")


@pytest.mark.parametrize(("engine", "count"), [("sqlite", 20_000), ("duckdb", 5_000)])
def test_a_row_of_more_keys_than_a_table_has_columns_is_read(tmp_path: Path, engine: Any, count: int) -> None:
    with Tracker(tmp_path / "t.db", track_id="r", engine=engine) as tracker:
        tracker.log({f"m{number}": number for number in range(count)})
        tracker.log({f"m{count - 1}": -1})
    frame = Reader(tmp_path / "t.db", engine=engine).to_df()
    assert frame.shape == (2, count + 2)
    assert frame[f"m{count - 1}"].tolist() == [count - 1, -1]


# -- what is written ---------------------------------------------------------


@pytest.mark.parametrize("codec", ["jsonl", "msgpack"])
def test_an_event_too_large_for_a_line_is_refused_before_anything_is_written(tmp_path: Path, codec: str) -> None:
    # In MessagePack it is much shorter than its line, to which others turn it.
    too_large = [False] * (MAX_LINE_BYTES // 6)
    with Tracker(tmp_path / "t.db", track_id="r", events=codec) as tracker:  # type: ignore[arg-type]
        tracker.log({"x": 1})
        with pytest.raises(EventTooLarge) as refused:
            tracker.log({"x": too_large})
        with pytest.raises(EventTooLarge):
            tracker.log_batch([{"x": 2}, {"x": "a" * MAX_LINE_BYTES}])
        with pytest.raises(EventTooLarge):
            tracker.set_value("x", "a" * MAX_LINE_BYTES)
        tracker.log({"x": 3})
        assert refused.value.max_bytes == MAX_LINE_BYTES
        assert tracker.to_df()["x"].tolist() == [1, 3]
    assert verify(FileLog(tmp_path / "t.db.events")).ok


def test_a_line_may_have_just_the_largest_size(tmp_path: Path, table: Path) -> None:
    room = MAX_LINE_BYTES - len(_row(b""))
    name = "k4w7aq2mzb3xn5ty.jsonl"
    log = FileLog(tmp_path / "t.db.events")
    for more, damaged in ((0, 0), (1, 1)):
        long = _row(b"a" * (room + more))
        assert len(long) == MAX_LINE_BYTES + more
        (table / name).write_bytes(b"".join([_row(b"1"), long, _row(b"2")]))
        chunks = list(log.scan("default", name))
        assert sum(len(chunk.events) for chunk in chunks) == 3 - damaged
        assert [damage[:2] for chunk in chunks for damage in chunk.damaged] == [(len(_row(b"1")), len(long))] * damaged
        assert sum(map(len, all_lines(log, "default", name))) == 3 - damaged
        assert chunks[-1].end == (table / name).stat().st_size
