"""History and configuration of offline runs of wandb: a row for each step.

A ``.wandb`` file is a log of blocks of 32 KiB, in the format of LevelDB's
(https://github.com/google/leveldb/blob/main/doc/log_format.md) behind seven bytes
of its own; each entry is a ``Record`` message of wandb.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xetrack.errors import InvalidArgument
from xetrack.exchange.contents import Contents, Wish
from xetrack.exchange.protobuf import Broken, by_number, fields, message, messages, real, signed, text
from xetrack.log import values
from xetrack.log.imported import ImportedRow, micros, time_text

_MAGIC = b":W&B"
_START_BYTES, _BLOCK_BYTES, _HEAD_BYTES = 7, 32_768, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
#: Keys that wandb adds to every step.
_STEP, _TIME, _RUNTIME = "_step", "_timestamp", "_runtime"


def run_files(path: Path) -> list[Path]:
    """The ``.wandb`` files at or below a path, in order of their names."""
    return [path] if path.is_file() else sorted(path.rglob("*.wandb"))


def read(path: Path, wish: Wish) -> Contents:
    """One row for each run and step.

    Raises:
        InvalidArgument: a file is none of wandb's.
    """
    contents, skipped = Contents(), Counter[str]()
    rows = contents.tables.setdefault(wish.table, [])
    for file in run_files(path):
        rows += _run(file, wish, skipped, contents.left_out)
    contents.left_out += [f"values of {kind}: {count}" for kind, count in sorted(skipped.items())]
    return contents


def _run(file: Path, wish: Wish, skipped: Counter[str], harm: list[str]) -> list[ImportedRow]:
    run, name, started_us = file.stem.removeprefix("run-"), "", 0
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    ended = False
    for record in _records(file, harm):
        ended = ended or any(number == 18 for number, _ in fields(record))
        for number, content in fields(record):
            try:
                if number == 2:
                    history.append(_items(content))
                elif number == 3:
                    summary.update(_items(content))
                elif number == 4:
                    config.update(_items(content))
                elif number == 17 and isinstance(content, bytes):
                    about = by_number(content)
                    run, name = text(about, 1) or run, text(about, 8) or name
                    config.update(_items(about.get(4)))
                    start = message(about, 17)
                    started_us = micros(signed(start, 1) + signed(start, 2) / 1e9)
            except Broken as error:
                harm.append(f"{file.name}: a record that is none ({error})")
    if not ended:
        harm.append(f"{file.name}: the end of the run, which was killed or is still going on")
    fixed = {"run_name": name} if name else {}
    fixed |= {key: value for key, value in config.items() if key != "_wandb"}
    rows = []
    for at in history or ([summary] if summary or config else []):
        time_s = at.get(_TIME)
        clock = micros(time_s) or started_us
        cells = {key: value for key, value in at.items() if key not in (_TIME, _RUNTIME, _STEP)}
        counted = at.get(_STEP)
        row = {**fixed, **({} if counted is None else {"step": counted}), **_kept(cells, skipped)}
        data = {key: values.encode(value, key) for key, value in values.check_keys(row).items()}
        rows.append(ImportedRow(wish.track_id or run, clock, time_text(clock), data))
    return rows


def _kept(cells: dict[str, Any], skipped: Counter[str]) -> dict[str, Any]:
    """What is a value; media, tables and histograms are counted."""
    found = {}
    for key, value in cells.items():
        if isinstance(value, dict) and isinstance(value.get("_type"), str):
            skipped[value["_type"]] += 1
        else:
            found[key] = value
    return found


def _items(record: Any) -> dict[str, Any]:
    """Keys and values of a record; nested keys make dicts."""
    found: dict[str, Any] = {}
    for item in messages(record, 1):
        parts = by_number(item)
        *outer, last = (
            [text(parts, 1)] if 1 in parts else [part.decode("utf-8", "replace") for part in messages(item, 2)] or [""]
        )
        inner = found
        for key in outer:
            if not isinstance(inner.get(key), dict):
                inner[key] = {}
            inner = inner[key]
        if last:
            inner[last] = _item(parts)
    return found


def _item(parts: dict[int, Any]) -> Any:
    if 16 in parts or 8 in parts:
        written = text(parts, 16) or text(parts, 8)
        try:
            return json.loads(written)
        except (ValueError, RecursionError):
            return written
    if 4 in parts:
        return bool(parts[4])
    if 5 in parts:
        return signed(parts, 5)
    return real(parts, 6) if 6 in parts else text(parts, 7) if 7 in parts else None


def _records(file: Path, harm: list[str]) -> Iterator[bytes]:
    raw = file.read_bytes()
    if raw[:4] != _MAGIC:
        raise InvalidArgument("source", f"{file.name} is no run of wandb")
    at, begun = _START_BYTES, b""
    while at + _HEAD_BYTES <= len(raw):
        # The seven bytes at the start belong to the first block.
        left = _BLOCK_BYTES - at % _BLOCK_BYTES
        if left < _HEAD_BYTES:
            at += left
            continue
        size, kind = int.from_bytes(raw[at + 4 : at + 6], "little"), raw[at + 6]
        piece = raw[at + _HEAD_BYTES : at + _HEAD_BYTES + size]
        if kind == 0 and size == 0:
            at += left
            continue
        if len(piece) < size or kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
            harm.append(f"{file.name}: what follows byte {at}, where it breaks off")
            return
        at += _HEAD_BYTES + size
        begun = piece if kind in (_FULL, _FIRST) else begun + piece
        if kind in (_FULL, _LAST):
            try:
                for _ in fields(begun):
                    pass
            except Broken:
                harm.append(f"{file.name}: a record before byte {at} that is none")
                continue
            yield begun
