"""Rows of a segment as Arrow columns, made from checked lines without an event for each.

For long stretches of rows with plain values, in tables that take columns. Whatever
is unusual (a tag, a list, an unknown field, another kind of value) makes a chunk be
decoded event by event instead: what comes out is the same, only sooner (law 7).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from xetrack.log.cells import MAX_PLAIN_INT
from xetrack.log.clock import MAX_CLOCK_US
from xetrack.log.codec import jsonl
from xetrack.log.events import Event, RowLogged, event_key

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from xetrack.log.log import Chunk

_ROW = b'{"kind":"row.logged",'
#: Fewer lines are decoded as soon as they are made columns.
MIN_LINES = 256
_MAX_KEYS = 256
#: So much is made columns ahead of who reads them, while he is busy with those before.
_AHEAD_BYTES = 32 << 20
#: After chunks that did not fit, the next ones are decoded without a try: one, two, four … of them.
_MAX_PAUSE = 64
_KINDS: dict[type, str] = {type(None): "null", bool: "bool", int: "int", float: "float", str: "text"}


class Columns:
    """Rows in the total order; ``len`` of them. Fields beside ``data`` may hold nulls where an event has no such field.

    ``clocks`` and ``seqs`` are int64 arrays, ``codes`` says which of ``writers`` wrote
    each row (None: the only one). ``data`` has the column of each key: null, bool,
    int64, double or string. A key that a row lacks is null there too, and a column
    of doubles may hold whole numbers that were written without a point.
    """

    __slots__ = ("_lines", "clocks", "codes", "data", "fields", "seqs", "writers")

    def __init__(
        self,
        clocks: np.ndarray,
        seqs: np.ndarray,
        writers: Sequence[str],
        codes: np.ndarray | None,
        fields: dict[str, pa.Array],
        data: dict[str, pa.Array],
        lines: list[tuple[_Lines, int, int]],
    ) -> None:
        self.clocks, self.seqs, self.writers, self.codes = clocks, seqs, writers, codes
        self.fields, self.data = fields, data
        #: Where the rows are written: lines, and from which to before which of them.
        self._lines = lines

    def __len__(self) -> int:
        return len(self.clocks)

    def key(self, index: int) -> tuple[int, str, int]:
        """Place of a row in the total order."""
        writer = self.writers[0 if self.codes is None else self.codes[index]]
        return int(self.clocks[index]), writer, int(self.seqs[index])

    def slice(self, start: int, stop: int) -> Columns:
        """Some of the rows, of columns of one segment."""
        ((lines, first, _),) = self._lines
        return Columns(
            self.clocks[start:stop],
            self.seqs[start:stop],
            self.writers,
            None if self.codes is None else self.codes[start:stop],
            {name: array.slice(start, stop - start) for name, array in self.fields.items()},
            {key: array.slice(start, stop - start) for key, array in self.data.items()},
            [(lines, first + start, first + stop)],
        )

    def behind(self, key: tuple[int, str, int]) -> int:
        """How many rows stand at a place in the order or before it."""
        import numpy as np

        low = int(np.searchsorted(self.clocks, key[0], "left"))
        while low < len(self) and self.key(low) <= key:
            low += 1
        return low

    def first(self) -> RowLogged | None:
        """The event of the first row, where that is cheap to have."""
        lines, start, _ = self._lines[0]
        event = lines.first() if start == 0 and len(self._lines) == 1 else None
        return event if isinstance(event, RowLogged) else None

    def events(self) -> list[Event]:
        """The rows as events, in their order."""
        found: list[Event] = []
        for lines, start, stop in self._lines:
            found += lines.events(start, stop)
        return found if len(self._lines) == 1 else sorted(found, key=event_key)


class _Lines:
    """The lines that rows were read from."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._cut: list[bytes] | None = None

    def first(self) -> Event | None:
        return jsonl.decode(self._raw[: self._raw.index(b"\n")])

    def events(self, start: int, stop: int) -> list[Event]:
        if self._cut is None:
            self._cut = self._raw.split(b"\n")
        return jsonl.split(b"\n".join([*self._cut[start:stop], b""]), checked=True).events


def joined(parts: Sequence[Columns]) -> Columns | None:
    """Rows of several segments in one order; None if they differ in their columns."""
    import numpy as np
    import pyarrow as pa

    first = parts[0]
    kinds = {key: array.type for key, array in first.data.items()}
    if any({key: array.type for key, array in part.data.items()} != kinds for part in parts):
        return None
    writers = sorted({writer for part in parts for writer in part.writers})
    rank = {writer: code for code, writer in enumerate(writers)}
    codes = np.concatenate(
        [
            np.array([rank[writer] for writer in part.writers])[
                np.zeros(len(part), np.int64) if part.codes is None else part.codes
            ]
            for part in parts
        ]
    )
    clocks, seqs = (np.concatenate([getattr(part, name) for part in parts]) for name in ("clocks", "seqs"))
    order = np.lexsort((seqs, codes, clocks))

    def sorted_(arrays: list[Any]) -> Any:
        return pa.concat_arrays(arrays).take(pa.array(order))

    return Columns(
        clocks[order],
        seqs[order],
        writers,
        codes[order],
        {name: sorted_([part.fields[name] for part in parts]) for name in first.fields},
        {key: sorted_([part.data[key] for part in parts]) for key in first.data},
        [line for part in parts for line in part._lines],
    )


class Parser:
    """Makes columns in a thread of its own, as long as it is open; without one where the program is ending."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        #: Bytes of the lines that were read ahead, of all segments.
        self.waiting = 0

    def submit(self, raw: bytes, line_count: int, kinds: dict[str, str]) -> Future[Columns | None]:
        if self._pool is None:
            import pyarrow.json  # noqa: F401  # not for the first time in the thread

            self._pool = ThreadPoolExecutor(1, "xetrack-columns")
        try:
            return self._pool.submit(parse, raw, line_count, kinds)
        except RuntimeError:  # no thread can be had any more
            done: Future[Columns | None] = Future()
            done.set_result(parse(raw, line_count, kinds))
            return done

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


class _Ahead(NamedTuple):
    chunk: Chunk
    columns: Future[Columns | None] | None


def by_columns(chunks: Iterator[Chunk], parser: Parser) -> Iterator[Chunk]:
    """The chunks of one segment; those that are not decoded come with columns, or decoded after all."""
    known: dict[str, str] = {}
    ahead: deque[_Ahead] = deque()
    pause = skip = 0
    more = True
    while True:
        while more and (not ahead or parser.waiting < _AHEAD_BYTES):
            chunk = next(chunks, None)
            more = chunk is not None
            for part in _cut(chunk) if chunk is not None else ():
                columns = None
                if not part.decoded and not skip and (kinds := _kinds_of(part.raw, known)) is not None:
                    columns = parser.submit(part.raw, part.line_count, kinds)
                elif not part.decoded:
                    skip = max(skip - 1, 0)
                parser.waiting += len(part.raw)
                ahead.append(_Ahead(part, columns))
        if not ahead:
            return
        part, future = ahead.popleft()
        parser.waiting -= len(part.raw)
        made = None if future is None else future.result()
        if made is not None:
            pause = 0
            yield part._replace(columns=made)
            continue
        if not part.decoded:
            part = _decoded(part)
            known = _learn(part.events) or known
            if future is not None:
                skip = pause = min(max(2 * pause, 1), _MAX_PAUSE)
        yield part


def _cut(chunk: Chunk) -> list[Chunk]:
    """A chunk as long stretches of rows, and what stands before, between and behind them, decoded."""
    raw = chunk.raw
    if chunk.decoded or (chunk.line_count >= MIN_LINES and raw.count(_ROW) == chunk.line_count):
        return [chunk]
    stretches: list[tuple[bool, list[bytes]]] = []
    for rows, lines in groupby(raw.split(b"\n")[:-1], lambda line: line.startswith(_ROW)):
        stretch = list(lines)
        long = rows and len(stretch) >= MIN_LINES
        if not long and stretches and not stretches[-1][0]:
            stretches[-1][1].extend(stretch)
        else:
            stretches.append((long, stretch))
    parts, start = [], chunk.start
    for long, stretch in stretches:
        piece = b"\n".join([*stretch, b""])
        part = chunk._replace(start=start, end=start + len(piece), line_count=len(stretch), raw=piece)
        parts.append(part if long else _decoded(part))
        start = part.end
    return parts


def _decoded(chunk: Chunk) -> Chunk:
    """A chunk whose lines all check with its events; ``line`` of what is damaged counts from its own start."""
    found = jsonl.split(chunk.raw, checked=True)
    damaged = [damage._replace(offset=chunk.start + damage.offset) for damage in found.damaged]
    return chunk._replace(events=found.events, damaged=damaged, decoded=True)


def _kinds_of(raw: bytes, known: dict[str, str]) -> dict[str, str] | None:
    """What columns to expect: those of the first line, and those known from before. None if there cannot be any."""
    event = _Lines(raw).first()
    if not isinstance(event, RowLogged):
        return None
    kinds = known.copy()
    for key, wire in event.data.items():
        kind = _KINDS.get(type(wire))
        if kind is None:
            return None
        kinds[key] = _both(kinds.get(key, "null"), kind) or kind
    return kinds if kinds and len(kinds) <= _MAX_KEYS else None


def _learn(events: Sequence[Event]) -> dict[str, str] | None:
    """The columns of these events, None if some value would not fit into one."""
    seen: dict[str, set[type]] = {}
    for event in events:
        if isinstance(event, RowLogged):
            for key, wire in event.data.items():
                seen.setdefault(key, set()).add(type(wire))
    kinds: dict[str, str] = {}
    for key, types in seen.items():
        kind: str | None = "null"
        for wire_type in types:
            kind = _both(kind, _KINDS.get(wire_type)) if kind is not None else None
        if kind is None:
            return None
        kinds[key] = kind
    return kinds


def _both(one: str, two: str | None) -> str | None:
    """The kind that holds both, None if there is none."""
    if two is None or one == two or two == "null":
        return one if two is not None else None
    if one == "null":
        return two
    return "float" if {one, two} == {"int", "float"} else None


def parse(raw: bytes, line_count: int, kinds: dict[str, str]) -> Columns | None:
    """Checked lines of rows as columns of these kinds; None unless every value has its kind and all is as usual."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import json

    types = {"null": pa.null(), "bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    text, number = pa.string(), pa.int64()
    schema = pa.schema(
        [
            ("kind", text),
            ("id", text),
            ("clock", number),
            ("wall", number),
            ("run", text),
            ("data", pa.struct([(key, types[kind]) for key, kind in kinds.items()])),
            ("batch", number),
            ("timestamp", text),
            ("source", text),
            ("crc", text),
        ]
    )
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            return None
    try:
        table = json.read_json(
            pa.BufferReader(raw),
            json.ReadOptions(use_threads=False, block_size=len(raw) + 1),
            json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    if len(table) != line_count or any(column.num_chunks != 1 for column in table.columns):
        return None
    fields = {name: table.column(name).chunk(0) for name in schema.names}
    if any(fields[name].null_count for name in ("kind", "id", "clock", "run", "data")):
        return None
    if not _all_alike(fields.pop("kind"), "row.logged"):
        return None
    clocks = fields.pop("clock").to_numpy()
    if clocks[0] < 0 or clocks[-1] > MAX_CLOCK_US or (clocks[1:] < clocks[:-1]).any():
        return None
    origins = _origins(fields.pop("id"), clocks)
    if origins is None:
        return None
    writers, codes, seqs = origins
    data = dict(zip(kinds, fields.pop("data").flatten(), strict=True))
    for key, kind in kinds.items():
        if kind in ("int", "float") and not _safe(data[key], np):
            return None
    kept = {name: fields[name] for name in ("run", "wall", "timestamp")}
    return Columns(clocks, seqs, writers, codes, kept, data, [(_Lines(raw), 0, line_count)])


def _all_alike(array: Any, text: str) -> bool:
    return bool(array.dictionary_encode().dictionary.to_pylist() == [text])


def _safe(array: Any, np: Any) -> bool:
    """Whether all numbers are such that a double holds an integer as well: none past 2**53, NaN or infinite."""
    numbers = (array.fill_null(0) if array.null_count else array).to_numpy()
    return bool((np.abs(numbers) <= MAX_PLAIN_INT).all()) and (
        numbers.dtype.kind != "i" or bool((numbers >= -MAX_PLAIN_INT).all())
    )


def _origins(ids: Any, clocks: Any) -> tuple[list[str], Any, Any] | None:
    """Writers, who wrote each row, and seqs; None for ids that are none, or not in order where clocks are equal."""
    import numpy as np

    (writer, dash, seq), last = ids[0].as_py().rpartition("-"), ids[len(ids) - 1].as_py()
    if dash and writer and seq.isascii() and seq.isdecimal():
        first = int(seq)
        expected = (f"{writer.replace('%', '%%')}-%d" * len(ids)) % tuple(range(first, first + len(ids)))
        if last == f"{writer}-{first + len(ids) - 1}":
            start, stop = np.frombuffer(ids.buffers()[1], np.int32, len(ids) + 1, 4 * ids.offset)[[0, -1]]
            if ids.buffers()[2][start:stop].to_pybytes() == expected.encode():
                return [writer], None, np.arange(first, first + len(ids))
    parts = [id.rpartition("-") for id in ids.to_pylist()]
    if not all(writer and seq.isascii() and seq.isdecimal() for writer, _, seq in parts):
        return None
    writers = sorted({writer for writer, _, _ in parts})
    rank = {writer: code for code, writer in enumerate(writers)}
    codes = np.array([rank[writer] for writer, _, _ in parts])
    try:
        seqs = np.array([int(seq) for _, _, seq in parts], np.int64)
    except (OverflowError, ValueError):
        return None
    alike = np.flatnonzero(clocks[1:] == clocks[:-1])
    behind, before = alike + 1, alike
    ordered = (codes[behind] > codes[before]) | ((codes[behind] == codes[before]) & (seqs[behind] > seqs[before]))
    return (writers, codes if len(writers) > 1 else None, seqs) if bool(ordered.all()) else None
