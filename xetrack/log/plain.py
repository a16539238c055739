"""Lines of plain rows to columns, thousands at a time: checked by NumPy, parsed by DuckDB.

DuckDB's reader of JSON is fast but lenient: it takes ``1.5`` and ``"1"`` for an integer, passes over keys that nobody
asked for and commas too many. So what it found is held against the bytes, which must not hold anything else: the CRCs,
the form of each value, and each quote and comma. Where that fails, the lines go event by event instead (law 7).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from functools import cache
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
_HEAD = re.compile(rb'\{"kind":"row\.logged","id":"([^"\\\x00-\x1f]+)-(\d{1,15})","clock":(\d{1,16}),')
#: The same up to the data.
_HEAD_TO_DATA = re.compile(_HEAD.pattern + rb'(?:"wall":(\d{1,16}),)?"run":"([^"\\\x00-\x1f]+)","data":')
#: Heads that differ by more than digits: a writer, a run, or how many digits there are.
_MAX_HEADS, _MAX_HEADS_TO_DATA = 64, 8
#: Fields behind the head, as DuckDB is asked for them: text as JSON keeps its quotes, all else is text of a number.
_FIELDS = {"run": "JSON", "wall": "VARCHAR", "batch": "VARCHAR", "timestamp": "JSON", "source": "JSON"}
_LEAVES = {"null": "JSON", "bool": "VARCHAR", "int": "VARCHAR", "float": "DOUBLE", "text": "JSON"}
#: Keys of each line that DuckDB is not asked for, or is not counted for: kind, id, clock, crc, data. Three are texts.
_OTHER_KEYS, _OTHER_TEXTS = 5, 3


class _Heads(NamedTuple):
    """What the beginnings of lines say; with ``fields`` and where the data begins, if they go so far."""

    clocks: np.ndarray
    seqs: np.ndarray
    writers: list[str]
    codes: np.ndarray | None
    fields: dict[str, pa.Array]
    data: np.ndarray


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

    def read(self, texts: pa.Table, kinds: Mapping[str, Any]) -> dict[str, pa.Array]:
        """The members of the JSON objects that are ``wanted`` of the texts, an array each.

        Raises:
            _NotPlain: something is not JSON, or no object.
        """
        import duckdb

        literal = msgspec.json.encode(kinds).decode().replace("'", "''")
        self._conn.register("_xetrack_texts", texts)
        try:
            found = self._conn.sql(f"SELECT from_json(text, '{literal}') AS found FROM _xetrack_texts WHERE wanted")
            table = found.to_arrow_table() if hasattr(found, "to_arrow_table") else found.fetch_arrow_table()
        except duckdb.Error as error:
            raise _NotPlain from error
        return _members(table.column("found").combine_chunks(), kinds)

    def copy(self, raw: bytes) -> memoryview:
        """The bytes to write to, where those of the last call were: new memory costs more than copying."""
        if len(self._scratch) < len(raw):
            self._scratch = bytearray(len(raw) + (len(raw) >> 3))  # the next piece may be a little longer
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
    leaves = {key: _LEAVES[kind] for key, kind in kinds.items()}
    escapes = b"\\" in raw
    try:
        heads = _heads_to_data(raw, ends)
        if heads is not None:
            fields = heads.fields
            data = reader.read(_pieces(raw, heads.data, ends - _TAIL_BYTES + 1), leaves)
        else:
            heads = _heads(raw, ends, _HEAD, _MAX_HEADS)
            given = reader.read(_pieces(raw, _starts(ends), ends), {**_FIELDS, "data": leaves})
            data = _members(given.pop("data"), leaves)
            kinds_given = {name: "text" if _FIELDS[name] == "JSON" else "int" for name in given}
            fields = {name: _typed(array, kinds_given[name], escapes) for name, array in given.items()}
        if fields["run"].null_count:
            return None
        columns = {key: _typed(data[key], kind, escapes) for key, kind in kinds.items()}
        _account(raw, ends, fields, columns)
    except _NotPlain:
        return None
    shown = {name: fields[name] for name in ("run", "wall", "timestamp")}
    return Rows(heads.clocks, heads.seqs, heads.writers, heads.codes, shown, columns)


def checked_ends(raw: bytes, reader: JsonReader) -> np.ndarray | None:
    """Where the lines end, if the CRCs of all are right.

    After a message and its CRC, whatever the message, four bytes take the register of a CRC back to where it began. So
    one CRC of all bytes tells: each line's own is put in place of its text, xor those four.
    """
    import numpy as np

    copy = reader.copy(raw)
    ends = _line_ends(np.frombuffer(copy, np.uint8))
    if not len(ends) or ends[-1] != len(raw) - 1 or ends[0] < _TAIL_BYTES or (np.diff(ends) < _TAIL_BYTES).any():
        return None
    # Overlapping stretches of the bytes: to take one at each line end copies them at once.
    tails = np.ndarray((len(raw) - _TAIL_BYTES + 1,), f"V{_TAIL_BYTES}", copy, strides=(1,))
    places = ends - (_TAIL_BYTES - 1)
    found = tails[places].view(_tail())
    if (found["before"] != _number(b',"crc":"')).any() or (found["behind"] != _number(b'"}')).any():
        return None
    crcs = _bytes_of_hex()[found["crc"]]
    if (crcs < 0).any():
        return None
    found["rewind"] = crcs[:, ::-1].astype(np.uint8).view("<u4").ravel() ^ np.uint32(_number(_REWIND))
    found["nothing"] = np.frombuffer(_NOTHING, f"V{len(_NOTHING)}")
    tails[places] = found.view(tails.dtype)
    return ends if crc32(copy) == 0 else None


def _line_ends(octets: np.ndarray) -> np.ndarray:
    """Where the line feeds are. Few words of eight bytes hold one, and words are sooner looked through."""
    import numpy as np

    there = octets == 10
    size = len(there) & ~7
    words = np.flatnonzero(there[:size].view(np.uint64))
    word, octet = np.nonzero(there[:size].reshape(-1, 8)[words])
    return np.concatenate([words[word] * 8 + octet, np.flatnonzero(there[size:]) + size])


def stretches(raw: bytes, ends: np.ndarray) -> list[tuple[int, int, bool]]:
    """Lines, from which to before which, that begin as rows do, and those that do not, in turns."""
    import numpy as np

    if len(raw) < len(ROW):
        return [(0, len(ends), False)]
    windows = np.ndarray((len(raw) - len(ROW) + 1,), f"V{len(ROW)}", raw, strides=(1,))
    starts = _starts(ends)
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


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "little")


@cache
def _tail() -> np.dtype[np.void]:
    """The end of a line, as it is and as it is written over; the CRC as four pairs of digits."""
    import numpy as np

    fields = {
        "before": ("<u8", 0), "crc": (("<u2", 4), 8), "behind": ("<u2", 16),
        "rewind": ("<u4", 0), "nothing": (f"V{len(_NOTHING)}", 4),
    }  # fmt: skip
    types, offsets = zip(*fields.values(), strict=True)
    return np.dtype({"names": list(fields), "formats": types, "offsets": offsets, "itemsize": _TAIL_BYTES})


@cache
def _bytes_of_hex() -> np.ndarray:
    """The byte that two digits of hex in lower case mean, by the number that they are read as; -1 for others."""
    import numpy as np

    digits = np.frombuffer(b"0123456789abcdef", np.uint8).astype(np.int64)
    octets = np.full(1 << 16, -1, np.int16)
    octets[digits[:, None] + (digits << 8)] = np.arange(256).reshape(16, 16)
    return octets


def _is_text(raw: bytes) -> bool:
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _starts(ends: np.ndarray) -> np.ndarray:
    """Where the lines begin that end there."""
    import numpy as np

    return np.concatenate(([0], ends[:-1] + 1))


def _pieces(raw: bytes, starts: np.ndarray, ends: np.ndarray) -> pa.Table:
    """Pieces of the bytes as texts that are ``wanted``, in place, with those between them, which are not."""
    import numpy as np
    import pyarrow as pa

    bounds = np.empty(2 * len(starts), np.int32)
    bounds[::2], bounds[1::2] = starts, ends
    wanted = np.ones(len(bounds) - 1, bool)
    wanted[1::2] = False
    texts = pa.StringArray.from_buffers(len(wanted), pa.py_buffer(bounds), pa.py_buffer(raw))
    return pa.table({"text": texts, "wanted": wanted})


def _members(objects: pa.StructArray, names: Iterable[str]) -> dict[str, pa.Array]:
    if objects.null_count:
        raise _NotPlain
    return dict(zip(names, objects.flatten(), strict=True))


def _heads_to_data(raw: bytes, ends: np.ndarray) -> _Heads | None:
    """The heads up to the data, if nothing but the CRC stands behind it and they are few; else None."""
    import numpy as np

    if (np.frombuffer(raw, np.uint8)[ends - _TAIL_BYTES] != ord("}")).any():
        return None
    try:
        return _heads(raw, ends, _HEAD_TO_DATA, _MAX_HEADS_TO_DATA)
    except _NotPlain:
        return None


def _heads(raw: bytes, ends: np.ndarray, pattern: re.Pattern[bytes], most: int) -> _Heads:
    """What the heads say, of lines that are rows in order.

    Heads that differ in nothing but the digits of their numbers, each of one length, are read at once.

    Raises:
        _NotPlain: one is no such head, or they differ too much.
    """
    import numpy as np
    import pyarrow as pa

    starts = _starts(ends)
    clocks, seqs, codes, run_codes, data = (np.empty(len(ends), np.int64) for _ in range(5))
    walls = np.full(len(ends), -1)
    numbers = {2: seqs, 3: clocks, 4: walls}
    known: dict[bytes, int] = {}
    runs: dict[bytes, int] = {}
    rest = np.arange(len(ends))
    for _ in range(most):
        head = pattern.match(raw, starts[rest[0]], ends[rest[0]])
        if head is None:
            raise _NotPlain
        length = head.end() - head.start()
        windows = np.ndarray((len(raw) - length + 1,), f"V{length}", raw, strides=(1,))
        begins = starts[rest]
        fitting = begins + length <= ends[rest]
        there = windows[np.where(fitting, begins, begins[0])].view(np.uint8).reshape(-1, length)
        alike = there == np.frombuffer(head.group(), np.uint8)
        found = {}
        for number in numbers:
            if number > pattern.groups or head.group(number) is None:
                continue
            begin, end = head.start(number) - head.start(), head.end(number) - head.start()
            digits = there[:, begin:end] - 48
            alike[:, begin:end] = digits < 10
            if end - begin > 1:
                alike[:, begin] &= digits[:, 0] > 0
            found[number] = digits @ 10 ** np.arange(end - begin - 1, -1, -1, dtype=np.int64)
        good = fitting if alike.all() else alike.all(axis=1) & fitting  # the first is much faster
        if not good[0]:
            raise _NotPlain
        read: Any = rest[good]
        if len(read) == len(ends):
            read = good = slice(None)  # the same, and sooner
        for number, values in found.items():
            numbers[number][read] = values[good]
        codes[read] = known.setdefault(head.group(1), len(known))
        if pattern is _HEAD_TO_DATA:
            run_codes[read] = runs.setdefault(head.group(5), len(runs))
            data[read] = starts[read] + length
        rest = rest[~good] if isinstance(good, np.ndarray) else rest[:0]
        if not len(rest):
            break
    else:
        raise _NotPlain
    if (clocks[1:] < clocks[:-1]).any() or clocks[-1] > MAX_CLOCK_US or walls.max() > MAX_CLOCK_US:
        raise _NotPlain
    names = [writer.decode() for writer in known]
    writers = sorted(names)
    codes = np.array([writers.index(name) for name in names])[codes]
    alike = np.flatnonzero(clocks[1:] == clocks[:-1])
    higher = codes[alike + 1] - codes[alike]
    if not ((higher > 0) | ((higher == 0) & (seqs[alike + 1] > seqs[alike]))).all():
        raise _NotPlain
    fields = {}
    if runs:
        fields = {
            "run": pa.array([run.decode() for run in runs]).take(pa.array(run_codes)),
            "wall": pa.array(walls, mask=walls < 0),
            "timestamp": pa.nulls(len(ends), pa.string()),
        }
    return _Heads(clocks, seqs, writers, codes if len(writers) > 1 else None, fields, data)


def _typed(array: pa.Array, kind: str, escapes: bool) -> pa.Array:
    """A column of its kind, of what DuckDB read for it; ``escapes`` if some text may hold a backslash.

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
        return _unquoted(array, escapes)
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


def _unquoted(array: pa.Array, escapes: bool) -> pa.Array:
    """Texts, of their JSON."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.sum(pc.starts_with(array, '"')).as_py() < len(array) - array.null_count:
        raise _NotPlain
    texts = pc.binary_slice(array.cast(pa.binary()), 1, -1).cast(pa.string())
    if escapes and pc.any(escaped := pc.match_substring(array, "\\")).as_py():
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
    # Those of the texts are counted only where there are more than between values.
    commas = np.count_nonzero(octets == ord(",")) - (keys - 2 * count)
    if commas and commas != sum(pc.sum(pc.count_substring(array, ",")).as_py() or 0 for array in texts):
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
