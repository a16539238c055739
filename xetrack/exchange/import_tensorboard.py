"""Scalars, texts and hyperparameters of TensorBoard event files: a row for each step.

A folder's event files are one run, named by its path. The format: records of a
length, its checksum, an ``Event`` message and its checksum
(https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto).
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xetrack.exchange.contents import Contents, Wish
from xetrack.exchange.protobuf import Broken, by_number, fields, message, messages, real, signed, text
from xetrack.log import values
from xetrack.log.imported import ImportedRow, micros, time_text

EVENT_FILE = re.compile(r"\.tfevents\.")
_HEAD_BYTES = 12
#: No event is larger; what says so is damage.
_MAX_RECORD = 1 << 30
_HPARAMS = "hparams"
_MEDIA = {4: "images", 5: "histograms", 6: "audio"}


def event_files(path: Path) -> list[Path]:
    """The event files at or below a path, in order of their names."""
    if path.is_file():
        return [path]
    return sorted(found for found in path.rglob("*") if EVENT_FILE.search(found.name) and found.is_file())


def read(path: Path, wish: Wish) -> Contents:
    """One row for each run and step, in the order they were written."""
    contents, skipped = Contents(), Counter[str]()
    rows: list[ImportedRow] = []
    runs: dict[str, list[Path]] = {}
    for file in event_files(path):
        folder = file.parent.relative_to(path).as_posix() if path.is_dir() else "."
        runs.setdefault(folder, []).append(file)
    for folder, files in runs.items():
        name = (path.absolute().name if path.is_dir() else path.parent.absolute().name) if folder == "." else folder
        rows += _run(wish.track_id or name, files, skipped, contents.left_out)
    contents.tables[wish.table] = rows
    contents.left_out += [f"values of {kind}: {count}" for kind, count in sorted(skipped.items())]
    return contents


def _run(run: str, files: list[Path], skipped: Counter[str], harm: list[str]) -> Iterator[ImportedRow]:
    params: dict[str, Any] = {}
    steps: list[tuple[int, int, dict[str, Any]]] = []
    last: dict[int, int] = {}
    for file in files:
        for event in _events(file, harm):
            found = by_number(event)
            step, clock_us = signed(found, 2), micros(real(found, 1))
            try:
                cells = [_value(value, params, skipped) for value in messages(found.get(5), 1)]
            except Broken as error:
                harm.append(f"{file.name}: an event of step {step} ({error})")
                continue
            for tag, cell in cells:
                if not tag:
                    continue
                at = last.get(step)
                if at is None or tag in steps[at][2]:
                    last[step] = at = len(steps)
                    steps.append((step, clock_us, {}))
                steps[at][2][tag] = cell
    if params and not steps:
        steps.append((0, 0, {}))
    for step, clock_us, tagged in steps:
        row = _distinct({**params, "step": step, **tagged})
        data = {key: values.encode(value, key) for key, value in values.check_keys(row).items()}
        yield ImportedRow(run, clock_us, time_text(clock_us), data)


def _distinct(cells: dict[str, Any]) -> dict[str, Any]:
    """Tags whose columns would be one get a number behind them: ``a/b`` beside ``a_b``."""
    taken: set[str] = set()
    found = {}
    for tag, cell in cells.items():
        name, count = tag, 2
        while values.column_name(name).casefold() in taken:
            name, count = f"{tag}_{count}", count + 1
        taken.add(values.column_name(name).casefold())
        found[name] = cell
    return found


def _events(file: Path, harm: list[str]) -> Iterator[bytes]:
    with file.open("rb") as stream:
        left = file.stat().st_size
        while head := stream.read(_HEAD_BYTES):
            size = struct.unpack("<Q", head[:8])[0] if len(head) == _HEAD_BYTES else _MAX_RECORD
            # A length may say anything: no more is asked for than there is.
            left -= len(head) + size + 4
            event = stream.read(size + 4)[:-4] if left >= 0 else b""
            try:
                if len(event) != size:
                    raise Broken("it ends in a record")
                for _ in fields(event):
                    pass
            except Broken as error:
                harm.append(f"{file.name}: what follows byte {stream.tell() - len(event)} ({error})")
                return
            yield event


def _value(raw: bytes, params: dict[str, Any], skipped: Counter[str]) -> tuple[str | None, Any]:
    """Tag and cell of a value; no tag where it is none that a row can hold."""
    found = by_number(raw)
    tag = text(found, 1)
    plugin = message(message(found, 9), 1)
    kind = text(plugin, 1)
    if kind == _HPARAMS or tag.startswith("_hparams_/"):
        params.update(_hparams(plugin.get(2)))
        return None, None
    cell = real(found, 2) if 2 in found else _tensor(found.get(8))
    if cell is not None:
        return tag.removesuffix("/text_summary"), cell
    skipped[kind or next((name for number, name in _MEDIA.items() if number in found), "tensors")] += 1
    return None, None


def _tensor(raw: Any) -> float | str | None:
    """The number or text of a tensor with one element."""
    texts = messages(raw, 8)
    found = by_number(raw) if isinstance(raw, bytes) else {}
    match found.get(1):
        case 1:
            return real(found, 4) or real(found, 5)
        case 2:
            return real(found, 4) or real(found, 6)
        case 7 if len(texts) == 1:
            return texts[0].decode("utf-8", "replace")
    return None


def _hparams(raw: Any) -> dict[str, Any]:
    """The hyperparameters that a session began with."""
    found: dict[str, Any] = {}
    for start in messages(raw, 3):
        for entry in messages(start, 1):
            pair = by_number(entry)
            value, name = message(pair, 2), text(pair, 1)
            if 2 in value:
                found[name] = real(value, 2)
            elif 3 in value:
                found[name] = text(value, 3)
            elif 4 in value:
                found[name] = bool(value[4])
    return found
