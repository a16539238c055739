"""Lines of plain rows to columns, thousands at a time: checked by NumPy, parsed by DuckDB.

DuckDB's reader of JSON is fast but lenient: it takes ``1.5`` and ``"1"`` for an integer, passes over keys that nobody
asked for and commas too many. So what it found is held against the bytes, which must not hold anything else: the CRCs,
the form of each value, and each quote and comma. Where that fails, the lines go event by event instead (law 7).
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import msgspec

from xetrack.log.cells import MAX_PLAIN_INT
from xetrack.log.clock import MAX_CLOCK_US

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

#: `,"crc":"xxxxxxxx"}` and the line end.
_TAIL_BYTES = 19
ROW = b'{"kind":"row.logged",'
#: What a line of a row begins with; the comma shows that the clock has ended.
_HEAD = re.compile(rb'\{"kind":"row\.logged","id":"([^"\\]+)-(\d{1,15})","clock":(\d{1,16}),')
#: Heads that differ by more than digits: a writer, or how many digits there are.
_MAX_HEADS = 64
#: Fields behind the head, as DuckDB is asked for them: text as JSON keeps its quotes, all else is text of a number.
_FIELDS = {"run": "JSON", "wall": "VARCHAR", "batch": "VARCHAR", "timestamp": "JSON", "source": "JSON"}
_LEAVES = {"null": "JSON", "bool": "VARCHAR", "int": "VARCHAR", "float": "DOUBLE", "text": "JSON"}
#: Keys of each line that DuckDB is not asked for, or is not counted for: kind, id, clock, crc, data. Three are texts.
_OTHER_KEYS, _OTHER_TEXTS = 5, 3


class Rows(NamedTuple):
    """Rows in the order of their lines, with what ``Columns`` tells of them."""

    clocks: np.ndarray
    seqs: np.ndarray
    writers: list[str]
    codes: np.ndarray | None
    fields: dict[str, pa.Array]
    data: dict[str, pa.Array]


class _NotPlain(Exception):  # a signal within this room, never a user's error
    """Something in the lines that columns may not show as it is."""


class JsonReader:
    """Reads JSON by a connection of DuckDB's that is its own, for one thread."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self._conn.execute("PRAGMA disable_optimizer")
        self._scratch = bytearray()

    def read(self, lines: pa.Array, kinds: dict[str, str]) -> pa.Table | None:
        """The fields of events in JSON, a column each, and ``data`` as a struct; None if something is not JSON."""
        import duckdb
        import pyarrow as pa

        structure = {**_FIELDS, "data": {key: _LEAVES[kind] for key, kind in kinds.items()}}
        literal = msgspec.json.encode(structure).decode().replace("'", "''")
        self._conn.register("_xetrack_lines", pa.table({"line": lines}))
        try:
            found = self._conn.sql(f"SELECT from_json(line, '{literal}') AS event FROM _xetrack_lines")
            table = found.to_arrow_table() if hasattr(found, "to_arrow_table") else found.fetch_arrow_table()
            events = table.column("event").combine_chunks()
            return pa.table(events.flatten(), names=list(structure))
        except duckdb.Error:
            return None

    def copy(self, raw: bytes) -> memoryview:
        """The bytes to write to, where those of the last call were: new memory costs more than copying."""
        if len(self._scratch) < len(raw):
            self._scratch = bytearray(len(raw))
        self._scratch[: len(raw)] = raw
        return memoryview(self._scratch)[: len(raw)]

    def close(self) -> None:
        self._conn.close()


def read_rows(raw: bytes, ends: np.ndarray, kinds: dict[str, str], reader: JsonReader) -> Rows | None:
    """Lines whose CRCs are right as rows with columns of these kinds; None unless each is one, and as usual."""
    if len({key.casefold() for key in kinds}) < len(kinds) or any('"' in key or not key for key in kinds):
        return None  # one name for DuckDB, or one that upsets the count of quotes
    if not _is_text(raw):
        return None
    try:
        clocks, writers, codes, seqs = _heads(raw, ends)
        table = reader.read(_lines(raw, ends), kinds)
        if table is None:
            return None
        data = dict(zip(kinds, table.column("data").combine_chunks().flatten(), strict=True))
        given = {name: table.column(name).combine_chunks() for name in _FIELDS}
        if table.column("data").null_count or given["run"].null_count:
            return None
        fields = {name: _typed(array, "text" if _FIELDS[name] == "JSON" else "int") for name, array in given.items()}
        columns = {key: _typed(data[key], kind) for key, kind in kinds.items()}
        _account(raw, ends, fields, columns)
    except _NotPlain:
        return None
    return Rows(clocks, seqs, writers, codes, {name: fields[name] for name in ("run", "wall", "timestamp")}, columns)


def checked_ends(raw: bytes, reader: JsonReader) -> np.ndarray | None:
    """Where the lines end, if the CRCs of all are right.

    After a message and its CRC, whatever the message, four bytes take the register of a CRC back to where it began. So
    one CRC of all bytes tells: each line's own is put in place of its text, xor those four.
    """
    import numpy as np

    copy = reader.copy(raw)
    octets = np.frombuffer(copy, np.uint8)
    ends = np.flatnonzero(octets == 10)
    if not len(ends) or ends[-1] != len(raw) - 1 or ends[0] < _TAIL_BYTES or (np.diff(ends) < _TAIL_BYTES).any():
        return None
    # Overlapping stretches of the bytes: to take one at each line end copies them at once.
    tails = np.ndarray((len(raw) - _TAIL_BYTES + 1,), f"V{_TAIL_BYTES}", copy, strides=(1,))
    places = ends - (_TAIL_BYTES - 1)
    found = tails[places].view(np.uint8).reshape(-1, _TAIL_BYTES)
    values = _hex_values()[found[:, 8:16]]
    around = np.frombuffer(b',"crc":""}', np.uint8)
    if (found[:, :8] != around[:8]).any() or (found[:, 16:18] != around[8:]).any() or (values > 15).any():
        return None
    found[:, :4] = (values[:, ::2] << 4 | values[:, 1::2])[:, ::-1] ^ np.frombuffer(_REWIND, np.uint8)
    found[:, 4:] = np.frombuffer(_NOTHING, np.uint8)
    tails[places] = found.view(tails.dtype).ravel()
    return ends if crc32(copy) == 0 else None


def stretches(raw: bytes, ends: np.ndarray) -> list[tuple[int, int, bool]]:
    """Lines, from which to before which, that begin as rows do, and those that do not, in turns."""
    import numpy as np

    if len(raw) < len(ROW):
        return [(0, len(ends), False)]
    windows = np.ndarray((len(raw) - len(ROW) + 1,), f"V{len(ROW)}", raw, strides=(1,))
    starts = np.concatenate(([0], ends[:-1] + 1))
    there = windows[np.minimum(starts, len(windows) - 1)].view(np.uint8).reshape(-1, len(ROW))
    rows = (there == np.frombuffer(ROW, np.uint8)).all(axis=1)
    bounds = [0, *(np.flatnonzero(rows[1:] != rows[:-1]) + 1).tolist(), len(ends)]
    return [(first, last, bool(rows[first])) for first, last in itertools.pairwise(bounds)]


#: The four bytes, little-endian as the CRC is: the only ones whose CRC is 0.
_REWIND = bytes.fromhex("9d0ad96d")


def _rewound(message: bytes) -> bytes:
    """A message and what takes the register back."""
    crc = crc32(message).to_bytes(4, "little")
    return message + bytes(one ^ other for one, other in zip(crc, _REWIND, strict=True))


#: Fifteen bytes that leave the register as it was.
_NOTHING = _rewound(bytes(11))


def _hex_values() -> np.ndarray:
    """The value of each byte as a digit of hex in lower case; 255 where it is none."""
    import numpy as np

    values = np.full(256, 255, np.uint8)
    values[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
    return values


def _is_text(raw: bytes) -> bool:
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _lines(raw: bytes, ends: np.ndarray) -> pa.Array:
    """The lines as texts, in place."""
    import numpy as np
    import pyarrow as pa

    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends + 1
    return pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(raw))


def _heads(raw: bytes, ends: np.ndarray) -> tuple[np.ndarray, list[str], np.ndarray | None, np.ndarray]:
    """Clocks, writers, who wrote each line, and seqs, of lines that are rows in order.

    Heads that differ in nothing but the digits of two numbers of one length are read at once.
    """
    import numpy as np

    starts = np.concatenate(([0], ends[:-1] + 1))
    clocks, seqs, codes = (np.empty(len(ends), np.int64) for _ in range(3))
    known: dict[bytes, int] = {}
    rest = np.arange(len(ends))
    for _ in range(_MAX_HEADS):
        head = _HEAD.match(raw, starts[rest[0]], ends[rest[0]])
        if head is None:
            raise _NotPlain
        length = head.end() - head.start()
        windows = np.ndarray((len(raw) - length + 1,), f"V{length}", raw, strides=(1,))
        fitting = starts[rest] + length <= ends[rest]
        there = windows[np.where(fitting, starts[rest], starts[rest[0]])].view(np.uint8).reshape(-1, length)
        alike = there == np.frombuffer(head.group(), np.uint8)
        for number, into in ((2, seqs), (3, clocks)):
            begin, end = head.start(number) - head.start(), head.end(number) - head.start()
            digits = there[:, begin:end] - 48
            alike[:, begin:end] = digits < 10
            if end - begin > 1:
                alike[:, begin] &= digits[:, 0] > 0
            into[rest] = digits @ 10 ** np.arange(end - begin - 1, -1, -1, dtype=np.int64)
        good = alike.all(axis=1) & fitting
        codes[rest[good]] = known.setdefault(head.group(1), len(known))
        if not good[0]:
            raise _NotPlain
        rest = rest[~good]
        if not len(rest):
            break
    else:
        raise _NotPlain
    if (clocks[1:] < clocks[:-1]).any() or clocks[-1] > MAX_CLOCK_US:
        raise _NotPlain
    names = [writer.decode() for writer in known]
    writers = sorted(names)
    codes = np.array([writers.index(name) for name in names])[codes]
    alike = np.flatnonzero(clocks[1:] == clocks[:-1])
    higher = codes[alike + 1] - codes[alike]
    if not ((higher > 0) | ((higher == 0) & (seqs[alike + 1] > seqs[alike]))).all():
        raise _NotPlain
    return clocks, writers, codes if len(writers) > 1 else None, seqs


def _typed(array: pa.Array, kind: str) -> pa.Array:
    """A column of its kind, of what DuckDB read for it.

    Raises:
        _NotPlain: a value has another kind, or a number is such that a double does not hold integers beside it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if array.null_count == len(array):
        return pa.nulls(len(array), _arrow_type(kind))
    if kind == "null":
        raise _NotPlain
    if kind == "text":
        return _unquoted(array)
    if kind == "bool":
        # A text could stand for it, which the count of quotes will show; a number could not.
        truths = pc.equal(array, "true")
        if pc.sum(truths).as_py() + pc.sum(pc.equal(array, "false")).as_py() < len(array) - array.null_count:
            raise _NotPlain
        return truths
    try:
        numbers = array.cast(pa.int64()) if kind == "int" else array  # Arrow takes nothing but digits for one
    except pa.ArrowInvalid as error:
        raise _NotPlain from error
    values = (numbers.fill_null(0) if numbers.null_count else numbers).to_numpy()
    if not ((values <= MAX_PLAIN_INT) & (values >= -MAX_PLAIN_INT)).all():
        raise _NotPlain
    return numbers


def _unquoted(array: pa.Array) -> pa.Array:
    """Texts, of their JSON."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.sum(pc.starts_with(array, '"')).as_py() < len(array) - array.null_count:
        raise _NotPlain
    texts = pc.binary_slice(array.cast(pa.binary()), 1, -1).cast(pa.string())
    escaped = pc.match_substring(array, "\\")
    if pc.any(escaped).as_py():
        decoded = msgspec.json.decode(f"[{','.join(array.filter(escaped).to_pylist())}]", type=list[str])
        texts = pc.replace_with_mask(texts, escaped.fill_null(False), pa.array(decoded))
    return texts


def _arrow_type(kind: str) -> pa.DataType:
    import pyarrow as pa

    types = {"null": pa.null(), "bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    return types[kind]


def _account(raw: bytes, ends: np.ndarray, fields: dict[str, pa.Array], columns: dict[str, pa.Array]) -> None:
    """See that the lines hold what was found in them, and nothing else.

    Each key and each text has two quotes. A key that was not asked for, one that comes twice, a text where none was
    found, a value that became null: each makes more quotes than were found, and nothing makes fewer.

    Raises:
        _NotPlain: they hold more.
    """
    import numpy as np
    import pyarrow.compute as pc

    count = len(ends)
    found = [*fields.values(), *columns.values()]
    texts = [array for array in found if array.type == "string"]
    quotes = 0
    if b"\\" in raw:
        if _ESCAPED.search(raw):
            raise _NotPlain
        quotes = sum(pc.sum(pc.count_substring(array, '"')).as_py() or 0 for array in texts)
    commas = sum(pc.sum(pc.count_substring(array, ",")).as_py() or 0 for array in texts)
    keys = _OTHER_KEYS * count + sum(count - array.null_count for array in found)
    quotes += 2 * (keys + _OTHER_TEXTS * count + sum(count - array.null_count for array in texts))
    octets = np.frombuffer(raw, np.uint8)
    left = np.count_nonzero(octets == ord('"')) - quotes
    if left:
        nulls = sum(_written_nulls(raw, ends, key, array) for key, array in columns.items() if array.null_count)
        if left != 2 * nulls:
            raise _NotPlain
        keys += nulls
    if not any(array.null_count == 0 for array in columns.values()):
        raise _NotPlain  # perhaps there are rows without keys, which have no comma fewer than keys
    if np.count_nonzero(octets == ord(",")) != keys - 2 * count + commas:
        raise _NotPlain


#: What stands behind a text in a line, and so could make the quote that ends it look like one that begins a key.
_BEHIND_A_TEXT = ("", ",", ":", "}", "]")
_ENVELOPE = frozenset({"kind", "id", "clock", "data", "crc", *_FIELDS})


def _written_nulls(raw: bytes, ends: np.ndarray, key: str, array: pa.Array) -> int:
    """In how many lines a key is written with a null, of the rows that have no value of it.

    Raises:
        _NotPlain: one may stand for something else: a key twice in a line, a field of the envelope, a piece of a text.
    """
    import numpy as np

    if key.lstrip()[:1] in _BEHIND_A_TEXT or key in _ENVELOPE:
        raise _NotPlain
    written = re.compile(rb"[,{]" + re.escape(msgspec.json.encode(key)) + rb":null")
    lines = np.searchsorted(ends, [found.start() for found in written.finditer(raw)])
    if len(np.unique(lines)) < len(lines) or not array.is_null().to_numpy(zero_copy_only=False)[lines].all():
        raise _NotPlain
    return len(lines)


#: A quote or a comma of a text in other words.
_ESCAPED = re.compile(rb"\\u002[2cC]")
