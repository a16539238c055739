"""docs/format.md says what the bytes are: its examples decode, and are what the codec writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from xetrack.log.codec import jsonl, msgpack
from xetrack.log.events import Known, Mutation, PayloadStub
from xetrack.log.log import STORE_BYTES, FileLog
from xetrack.log.names import table_folder

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
LINES = [line.strip().encode() for line in PAGE.splitlines() if re.match(r'\s+\{"kind":"', line)]
KINDS = {kind.__struct_config__.tag: kind for kind in get_args(Known)}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[9:25].decode())
def test_example_lines_are_what_the_codec_writes(line: bytes) -> None:
    event = jsonl.decode(line)
    assert event is not None
    assert jsonl.encode(event) == line + b"\n"
    assert msgpack.split(msgpack.encode(event)).events == [event]


def test_every_kind_has_an_example_and_a_row_in_the_table() -> None:
    assert {type(jsonl.decode(line)) for line in LINES} == set(get_args(Known))
    listed = {
        name
        for row in re.findall(r"^\| (`[a-z]+\.[a-z]+`.*?) \|", PAGE, re.M)
        for name in re.findall(r"`([^`]+)`", row)
    }
    assert listed == set(KINDS)


def test_fields_of_every_kind_are_in_the_table() -> None:
    for names, fields in re.findall(r"^\| (`[a-z]+\.[a-z]+`.*?) \| (.*?) \|", PAGE, re.M):
        for name in re.findall(r"`([^`]+)`", names):
            listed = set(re.findall(r"\b[a-z_]+\b", re.sub(r"\(.*?\)|`[^`]*`", "", fields)))
            own = set(KINDS[name].__struct_fields__) - {"id", "clock", "wall"}
            assert own <= listed | {"state"}, name


def test_mutations_are_the_kinds_with_a_frontier() -> None:
    kinds = {kind for kind in KINDS.values() if "seen" in kind.__struct_fields__}
    assert {*get_args(Mutation), PayloadStub} == kinds  # a stub keeps it of the mutation that it stands for


def test_examples_make_a_store_that_reads(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "track.db.events")
    folder = log.folder("default")
    folder.mkdir(parents=True)
    (log.path / "store.json").write_bytes(STORE_BYTES)
    (folder / "k4w7aq2mzb3xn5ty.jsonl").write_bytes(b"\n".join(LINES) + b"\n")
    log.check_format()
    (chunk,) = log.scan("default", "k4w7aq2mzb3xn5ty.jsonl")
    assert len(chunk.events) == len(LINES) and not chunk.damaged
    assert STORE_BYTES.decode().strip() in PAGE


def test_folder_names_are_those_of_the_page() -> None:
    assert table_folder("a-Z_0.9") == "a-Z_0.9"
    assert table_folder("x; DROP TABLE") == "x%3B%20DROP%20TABLE"
    assert table_folder(".hidden") == "%2Ehidden"
    assert table_folder("é/%") == "%C3%A9%2F%25"
