"""Rows of a segment as Arrow columns, made from its lines without an event for each.

For long stretches of rows with plain values, in tables that take columns. Whatever
is unusual (a tag, a list, an unknown field, another kind of value) makes a chunk be
decoded event by event instead: what comes out is the same, only sooner (law 7).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from xetrack.log.codec import jsonl
from xetrack.log.events import Event, RowLogged, event_key
from xetrack.log.plain import ROW, JsonReader, checked_ends, read_rows, stretches

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from xetrack.log.scan import Chunk

#: Fewer lines are decoded as soon as they are made columns, a query of DuckDB's each.
MIN_LINES = 2000
_MAX_KEYS = 256
#: So much is made columns ahead of who reads them, while he is busy with those before.
_AHEAD_BYTES = 64 << 20
_PIECE_BYTES, _LEAST_PIECE_BYTES = 8 << 20, 1 << 20
_THREADS = 2
#: How much less of a busy core they get: a tenth.
_NICE = 10
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
    """Makes columns in threads of its own, as long as it is open; without one where the program is ending.

    ``connect`` gives connections of DuckDB's, which it closes.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._pool: ThreadPoolExecutor | None = None
        #: Those that no thread is using.
        self._readers: list[JsonReader] = []
        #: Segments that are being read, and bytes of their lines that were read ahead.
        self.sources = self.waiting = 0

    def piece_bytes(self) -> int:
        """How much of a segment to read at a time: more is faster, but all that are open share the memory."""
        return min(max(_AHEAD_BYTES // max(self.sources, 1), _LEAST_PIECE_BYTES), _PIECE_BYTES)

    def submit(self, raw: bytes, known: dict[str, str]) -> Future[_Parsed]:
        """Begin with whole lines; ``known`` are the columns to expect beside those of the first row."""
        if self._pool is None and len(raw) < _LEAST_PIECE_BYTES:
            return self._now(raw, known)
        if self._pool is None:
            import numpy  # noqa: F401  # not for the first time in a thread
            import pyarrow.compute  # noqa: F401

            self._pool = ThreadPoolExecutor(_THREADS, "xetrack-columns", _step_back)
        try:
            return self._pool.submit(self._parse, raw, known)
        except RuntimeError:  # no thread can be had any more
            return self._now(raw, known)

    def _now(self, raw: bytes, known: dict[str, str]) -> Future[_Parsed]:
        done: Future[_Parsed] = Future()
        done.set_result(self._parse(raw, known))
        return done

    def _parse(self, raw: bytes, known: dict[str, str]) -> _Parsed:
        try:
            reader = self._readers.pop()
        except IndexError:
            reader = JsonReader(self._connect())
        parsed = _parse(raw, known, reader)
        self._readers.append(reader)
        return parsed

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        while self._readers:
            self._readers.pop().close()


def _step_back() -> None:
    """Let the thread that takes the columns go first, where there are fewer cores: whoever reads ahead can wait."""
    if sys.platform == "linux":  # elsewhere the whole process would
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


class _Parsed(NamedTuple):
    """Stretches of lines, from which byte to before which, with their columns; None for those to be decoded.

    ``failed`` if columns were not to be had where there are rows enough.
    """

    parts: list[tuple[int, int, Columns | None]]
    failed: bool


def _parse(raw: bytes, known: dict[str, str], reader: JsonReader) -> _Parsed:
    """All lines as columns, else long stretches of rows, and what stands before, between and behind them."""
    ends = checked_ends(raw, reader)
    if ends is None:
        return _Parsed([(0, len(raw), None)], True)
    columns = _columns(raw, ends, known, reader)
    if columns is not None:
        return _Parsed([(0, len(raw), columns)], False)
    parts: list[tuple[int, int, Columns | None]] = []
    failed = False
    for first, last, is_rows in stretches(raw, ends):
        start, end = int(ends[first - 1]) + 1 if first else 0, int(ends[last - 1]) + 1
        long = is_rows and last - first >= MIN_LINES
        columns = (
            _columns(raw[start:end], ends[first:last] - start, known, reader)
            if long and end - start < len(raw)
            else None
        )
        failed = failed or (long and columns is None)
        if columns is None and parts and parts[-1][2] is None:
            start = parts.pop()[0]
        parts.append((start, end, columns))
    return _Parsed(parts, failed)


def _columns(raw: bytes, ends: np.ndarray, known: dict[str, str], reader: JsonReader) -> Columns | None:
    kinds = _kinds_of(raw, known) if len(ends) >= MIN_LINES and raw.startswith(ROW) else None
    rows = None if kinds is None else read_rows(raw, ends, kinds, reader)
    return None if rows is None else Columns(*rows, [(_Lines(raw), 0, len(ends))])


class _Ahead(NamedTuple):
    chunk: Chunk
    parsed: Future[_Parsed] | None


def by_columns(chunks: Iterator[Chunk], parser: Parser) -> Iterator[Chunk]:
    """The chunks of one segment; what was not decoded comes with columns, or decoded after all."""
    parser.sources += 1
    try:
        yield from _by_columns(chunks, parser)
    finally:
        parser.sources -= 1


def _by_columns(chunks: Iterator[Chunk], parser: Parser) -> Iterator[Chunk]:
    known: dict[str, str] = {}
    ahead: deque[_Ahead] = deque()
    pause = skip = 0
    more = True
    while True:
        while more and (not ahead or parser.waiting < _AHEAD_BYTES):
            chunk = next(chunks, None)
            more = chunk is not None
            if chunk is not None:
                tried = not chunk.decoded and not skip and _is_long(chunk.raw)
                ahead.append(_Ahead(chunk, parser.submit(chunk.raw, known) if tried else None))
                parser.waiting += len(chunk.raw)
                if not chunk.decoded:
                    skip = max(skip - 1, 0)
        if not ahead:
            return
        chunk, future = ahead.popleft()
        parser.waiting -= len(chunk.raw)
        if chunk.decoded:
            yield chunk
            continue
        parsed = future.result() if future is not None else _Parsed([(0, len(chunk.raw), None)], False)
        for start, end, columns in parsed.parts:
            part = chunk._replace(start=chunk.start + start, end=chunk.start + end, raw=chunk.raw[start:end])
            if columns is None:
                part = _decoded(part)
                if more or ahead:
                    known = _learn(part.events) or known
            yield part._replace(columns=columns)
        if parsed.failed:
            skip = pause = min(max(2 * pause, 1), _MAX_PAUSE)
        elif future is not None:
            pause = 0


def _is_long(raw: bytes) -> bool:
    """Whether there may be rows enough in it."""
    return len(raw) >= _LEAST_PIECE_BYTES or raw.count(b"\n") >= MIN_LINES


def _decoded(chunk: Chunk) -> Chunk:
    """A chunk with its events; ``line`` of what is damaged counts from its own start."""
    found = jsonl.split(chunk.raw)
    damaged = [damage._replace(offset=chunk.start + damage.offset) for damage in found.damaged]
    return chunk._replace(events=found.events, damaged=damaged, line_count=found.lines, decoded=True)


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
