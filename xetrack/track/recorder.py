"""How a row gets from the caller into the log, and back to the caller as it was logged.

The one place on the way that is quick: a row of known keys and plain values is
written and handed back here. Any other is checked, sampled, copied to the sinks
or counted as lost on a longer way.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from xetrack.errors import InvalidArgument, StorageError
from xetrack.log.cells import MAX_PLAIN_INT
from xetrack.log.codec import refuse_too_large
from xetrack.log.values import check_keys
from xetrack.track.rows import (
    LEAST,
    LOWEST,
    MOST,
    Put,
    Row,
    are_fast,
    digest_of,
    is_fast,
    is_fast_call,
    make_params,
    make_rows,
    make_value,
)

if TYPE_CHECKING:
    from xetrack.track.losses import Losses
    from xetrack.track.sampling import Sampler
    from xetrack.track.session import Session
    from xetrack.track.sinks import Sinks

#: Key tuples remembered as checked. Programs have a few; one that makes up keys must not grow.
_SHAPES = 1024
#: Three digits of a number, found sooner than made.
_DIGITS = [f"{number:03d}" for number in range(1000)]


class _Shapes(set[tuple[str, ...]]):
    """Keys of rows that were checked."""

    #: Those of the row remembered last. Some of them are as good as all, and sooner looked up than a tuple.
    latest: frozenset[str] = frozenset()


class Recorder:
    """Records rows of one run, with its params. Threads may share it.

    Args:
        run: Its track id.
        session: What writes to the log.
        sampler: Adds levels of the system to every row.
        sinks: Get a copy of every row.
        losses: Count what cannot be written, which is raised without them.
        skip: There is no log to write to, only sinks.
        off: Rows go nowhere.
        files: A path as value stands for its file.
        unopened: Why there is no log.
    """

    def __init__(
        self,
        run: str,
        session: Session,
        *,
        sampler: Sampler | None,
        sinks: Sinks | None,
        losses: Losses | None,
        skip: bool,
        off: bool,
        files: bool,
        unopened: StorageError | None,
    ) -> None:
        #: The row recorded last.
        self.latest: dict[str, Any] = {}
        self._run, self._session, self._sampler, self._sinks, self._losses = run, session, sampler, sinks, losses
        self._skip, self._off, self._files, self._unopened = skip, off, files, unopened
        self._to_disk = session.to_disk
        #: Whether plain rows may go straight to the log, past what samples them or copies them elsewhere.
        self._fast = sampler is None and sinks is None
        self.take_params(Row({}, {}))
        self._second: tuple[int, str] = (-1_000_000, "")

    def log(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Record one row. See ``Tracker.log``."""
        # The fast path: keys seen before, values that JSON holds as they are. As ``is_fast`` and ``_stamp``, without
        # the calls: this is where a loop spends its time.
        shapes, wire, shown = self._known
        if type(data) is not dict or not (shapes.latest.issuperset(data) or tuple(data) in shapes):
            return self.record([data])
        for value in data.values():
            kind = type(value)
            if kind is float:
                if not LEAST <= value <= MOST:
                    return self.record([data])
            elif kind is int:
                if not LOWEST <= value <= MAX_PLAIN_INT:
                    return self.record([data])
            elif kind is not str and kind is not bool and value is not None:
                return self.record([data])
        writer = self._session.current
        if writer is None:
            return self.record([data])
        row = {**shown, **data}
        try:
            wire = row if wire is shown else {**wire, **data}
            _, clock_us, _ = writer.append_row(self._run, wire, self._to_disk)
        except UnicodeEncodeError:
            return self.record([data])  # a lone surrogate: there the error names its key
        except StorageError as error:
            return self._lose(error, [data])
        start_us, text = self._second
        microsecond = clock_us - start_us
        if not 0 <= microsecond < 1_000_000:
            microsecond, text = self._new_second(clock_us)
        row["timestamp"] = f"{text}{_DIGITS[microsecond // 1000]}{_DIGITS[microsecond % 1000]}"
        row["track_id"] = self._run
        self.latest = row
        return row

    def log_batch(self, data: Iterable[Mapping[Any, Any]]) -> dict[str, Any]:
        """Record several rows in one write. See ``Tracker.log_batch``."""
        if isinstance(data, (Mapping, str, bytes)) or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
            raise InvalidArgument("data", f"log_batch takes a list of rows, not one {type(data).__name__}")
        given: list[Any] = list(data)
        if not given:
            return {}
        shapes, wire, shown = self._known
        if are_fast(given, shapes):
            try:
                wires = [{**wire, **row} for row in given] if wire else given
                return self._write(wires, {**shown, **given[-1]}, batch=True)
            except UnicodeEncodeError:
                pass  # a lone surrogate: below, the error names its key
            except StorageError as error:
                return self._lose(error, given)
        return self.record(given, batch=True)

    def record_call(self, row: dict[Any, Any], put: Put) -> dict[str, Any]:
        """Record the row of a call: as ``record`` does, sooner where it is as plain as the one before."""
        shapes, wire, shown = self._known
        if self._fast and not self._off and tuple(row) in shapes and is_fast_call(row):
            try:
                return self._write([{**wire, **row}], {**shown, **row}, batch=False)
            except UnicodeEncodeError:
                pass  # a lone surrogate: below, the error names its key
            except StorageError as error:
                return self._lose(error, [row])
        return self.record([row], call=put)

    def record(self, given: list[Mapping[Any, Any]], batch: bool = False, call: Put | None = None) -> dict[str, Any]:
        """Check rows, write them and return the last one as it was logged.

        The row of a call brings what stores its objects. It was measured while it ran, and a path in it stays a path.
        """
        shapes, wire, shown = self._known
        params = Row(wire, shown)
        if self._off:
            return self._stamp({**shown, **given[-1]}, time.time_ns() // 1000)
        try:
            if self._sampler is not None and not call:
                levels = self._sampler.now()
                given = [{**levels, **row} if isinstance(row, Mapping) else row for row in given]
            rows = make_rows(given, params, call or self.put, files=self._files and not call)
            if self._fast:
                _remember(given, shapes)
            return self._write([row.wire for row in rows], rows[-1].shown, batch)
        except StorageError as error:
            return self._lose(error, given)

    def _write(self, wires: list[dict[str, Any]], shown: dict[str, Any], batch: bool) -> dict[str, Any]:
        try:
            clocks_us = self._append(wires, batch)
        except StorageError:
            if self._losses is not None and self._sinks is not None:  # they may lie elsewhere, where there is room
                with contextlib.suppress(StorageError):
                    self._sinks.write(self._run, wires, _now_us(len(wires)))
            raise
        if self._sinks is not None:
            with self.tolerant(len(wires)):
                self._sinks.write(self._run, wires, clocks_us)
        return self._stamp(shown, clocks_us[-1])

    def _append(self, wires: list[dict[str, Any]], batch: bool) -> list[int]:
        """Append rows to the log, if there is one, and give the clock of each."""
        run, to_disk = self._run, self._to_disk
        if self._unopened is not None:
            raise self._unopened
        if self._skip:
            return _now_us(len(wires))
        if batch:
            return [place[1] for place in self._session.writer.append_rows(run, wires, to_disk=to_disk)]
        return [self._session.writer.append_row(run, wires[0], to_disk=to_disk)[1]]

    def _stamp(self, shown: dict[str, Any], clock_us: int) -> dict[str, Any]:
        """Complete a row as it is handed back."""
        start_us, text = self._second
        microsecond = clock_us - start_us
        if not 0 <= microsecond < 1_000_000:
            microsecond, text = self._new_second(clock_us)
        shown["timestamp"] = f"{text}{microsecond:06d}"
        shown["track_id"] = self._run
        self.latest = shown
        return shown

    def _lose(self, error: StorageError, rows: list[Any]) -> dict[str, Any]:
        """Raise, or count the rows as dropped and hand back the last as if it was logged."""
        if self._losses is None:
            raise error
        self._losses.add(error, len(rows))
        return self._stamp({**self.params.shown, **rows[-1]}, time.time_ns() // 1000)

    @contextlib.contextmanager
    def tolerant(self, count: int = 1) -> Iterator[None]:
        """Count what cannot be written instead of raising, if the tracker was made so."""
        try:
            yield
        except StorageError as error:
            if self._losses is None:
                raise
            self._losses.add(error, count)

    def _new_second(self, clock_us: int) -> tuple[int, str]:
        """Microsecond of a reading and the local time of its second, kept for the rows that share it."""
        second, microsecond = divmod(clock_us, 1_000_000)
        text = time.strftime("%Y-%m-%d %H:%M:%S.", time.localtime(second))
        self._second = (clock_us - microsecond, text)
        return microsecond, text

    # params

    def take_params(self, params: Row) -> None:
        #: Keys checked with the params, and the two forms of these. Read and replaced together: threads may share a
        #: recorder.
        self._known: tuple[_Shapes, dict[str, Any], dict[str, Any]] = (_Shapes(), *params)

    @property
    def params(self) -> Row:
        """What is added to every row."""
        return Row(*self._known[1:])

    def set_params(self, params: Mapping[Any, Any]) -> None:
        """Add values to every row from now on.

        Raises:
            EventTooLarge: no row would have room beside them; the params stay as they were.
        """
        with self.tolerant():
            made, before = make_params(params, self.put, files=self._files), self.params
            wire, shown = {**before.wire, **made.wire}, {**before.shown, **made.shown}
            check_keys(shown)
            if not (self._skip or self._off):  # else every row would be refused from now on
                refuse_too_large(wire)
            self.take_params(Row(shown, shown) if is_fast(wire) else Row(wire, shown))

    # values and objects

    def value(self, key: Any, value: Any) -> tuple[str, Any]:
        """One key and its value as ``log`` would write them, an object stored."""
        return make_value(key, value, self.put, files=self._files)

    def put(self, key: str, value: Any) -> str:
        """Digest of an object, stored if there is a store."""
        return self.stored(key, value)[0]

    def stored(self, key: str, value: Any) -> tuple[str, int]:
        """Digest and size of an object, stored if there is a store; else the size is -1."""
        return (digest_of(value), -1) if self._skip else self._session.stored(key, value)

    def put_again(self, key: str, digest: str, size_bytes: int) -> bool:
        """See ``Session.put_again``."""
        return self._skip or self._session.put_again(key, digest, size_bytes)


def _now_us(count: int) -> list[int]:
    return [time.time_ns() // 1000] * count


def _remember(rows: Iterable[Mapping[Any, Any]], shapes: _Shapes) -> None:
    """Let rows of these keys, which were checked, take the fast path."""
    for data in rows:
        if type(data) is dict and all(type(key) is str for key in data):
            if len(shapes) >= _SHAPES:
                shapes.clear()
            shapes.add(tuple(data))
            shapes.latest = frozenset(data)
