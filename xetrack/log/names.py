"""What tables and segments are called on disk, and which names a table cannot have."""

from __future__ import annotations

import re

from xetrack.errors import InvalidTable

_SEGMENT = re.compile(r"[a-z2-7]{16}\.(jsonl|msgpack)|[0-9a-f]{64}\.jsonl(\.zst)?")
_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
_MAX_FOLDER_BYTES = 255
_HASH_DIGITS = 64


def table_folder(table: str) -> str:
    """The folder of a table: its name, odd bytes as ``%XX``."""
    name = "".join([chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in table.encode()])
    return f"%2E{name[1:]}" if name.startswith(".") else name


def table_from_folder(folder: str) -> str | None:
    """The table of a folder, None if it is no table's."""
    if not folder or folder.startswith("_"):
        return None
    try:
        raw = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), folder.encode())
        table = raw.decode()
    except UnicodeError:
        return None
    return table if table_folder(table) == folder and "\0" not in table else None


def check_table(table: str) -> None:
    """Refuse a name that no table can have.

    Raises:
        InvalidTable: and says why.
    """
    if not isinstance(table, str) or not table:
        raise InvalidTable(table, "it is empty" if table == "" else "it is not text")
    if table.startswith("_"):
        raise InvalidTable(table, "names that begin with _ are xetrack's own")
    if table.casefold() == "assets":
        raise InvalidTable(table, "it is the table that lists assets")
    if "\0" in table:
        raise InvalidTable(table, "it has a NUL character, which no engine can hold")
    try:
        folder = table_folder(table)
    except UnicodeEncodeError as error:
        raise InvalidTable(table, "it has a lone surrogate, which no file name can hold") from error
    if len(folder) > _MAX_FOLDER_BYTES:
        raise InvalidTable(
            table, f"its folder would be named by {len(folder)} bytes, {_MAX_FOLDER_BYTES} are the limit"
        )


def is_segment_name(name: str) -> bool:
    """Whether a file of that name is a segment or a pack."""
    return _SEGMENT.fullmatch(name) is not None


def is_pack(name: str) -> bool:
    """Whether a segment of that name is a pack, to which nobody ever appends."""
    return len(name.partition(".")[0]) == _HASH_DIGITS
