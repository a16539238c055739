"""Local time where a row was logged, as text, of rows one by one and by column."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from xetrack.log.events import RowLogged, split_id, wall_us_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from xetrack.log.columns import Columns
    from xetrack.tables.columnar import Part

#: Wall times that Arrow writes as the rest of the package does: of the years 1970 to 2400.
_LATEST_US = 13_569_465_600_000_000
_wall, _timestamp = attrgetter("wall"), attrgetter("timestamp")


class LocalTimes:
    """Texts of times, given by writer the seconds that its zone is ahead of UTC; more may come to be known."""

    def __init__(self, offsets: Mapping[str, int | None]) -> None:
        self._offsets = offsets
        self._seconds = _Seconds()

    def text(self, time_us: int, writer: str) -> str:
        """Local time of a writer."""
        offset_s = self._offsets.get(writer)
        time_us += (offset_s or 0) * 1_000_000
        # Without its header a segment's local time is not known: UTC then, and said so.
        zone = "+00:00" if offset_s is None else ""
        return f"{self._seconds[time_us // 1_000_000]}{time_us % 1_000_000:06d}{zone}"

    def texts(self, events: list[RowLogged]) -> list[str]:
        """Of each row what it was told, else of the event's clock."""
        seconds = self._seconds
        writers = {event.id.rpartition("-")[0] for event in events}
        in_utc = all(self._offsets.get(writer) == 0 for writer in writers)
        if in_utc and not any(map(_wall, events)) and not any(map(_timestamp, events)):
            return [f"{seconds[event.clock // 1_000_000]}{event.clock % 1_000_000:06d}" for event in events]
        texts = []
        for event in events:
            if event.timestamp is not None:
                texts.append(event.timestamp)
                continue
            texts.append(self.text(wall_us_of(event), split_id(event.id)[0]))
        return texts

    def column(self, columns: Columns, parts: Sequence[Part]) -> pa.Array | None:
        """The same of rows by column; None if some writer's zone is not known."""
        import numpy as np

        if any(self._offsets.get(part.writer) is None for part in parts):
            return None
        walls, given = columns.fields["wall"], columns.fields["timestamp"]
        times = columns.clocks
        if walls.null_count < len(walls):
            told = walls.is_valid().to_numpy(zero_copy_only=False)
            times = np.where(told, walls.fill_null(0).to_numpy(), times)
        for part in parts:
            if offset_s := self._offsets[part.writer]:
                times = times.copy()
                times[slice(None) if part.which is None else part.which] += offset_s * 1_000_000
        if times.min() < 0 or times.max() > _LATEST_US:
            return None
        texts = _texts(times)
        if given.null_count < len(given):
            import pyarrow.compute as pc

            texts = pc.coalesce(given, texts)
        return texts


class _Seconds(dict[int, str]):
    """Text of each second since 1970, up to its fraction."""

    def __missing__(self, second: int) -> str:
        if len(self) >= 100_000:
            self.clear()
        text = self[second] = time.strftime("%Y-%m-%d %H:%M:%S.", time.gmtime(second))
        return text


def _texts(times: np.ndarray) -> pa.Array:
    """Microseconds as text: the text of each second is made once, and six digits put behind it."""
    import numpy as np
    import pyarrow as pa

    seconds = times // 1_000_000
    firsts = np.concatenate(([0], np.flatnonzero(seconds[1:] != seconds[:-1]) + 1))
    heads = pa.array(seconds[firsts]).cast(pa.timestamp("s")).cast(pa.string()).to_pylist()
    octets = np.empty((len(times), 26), np.uint8)
    octets[:, :20] = np.repeat(
        np.frombuffer("".join(f"{head}." for head in heads).encode(), np.uint8).reshape(-1, 20),
        np.diff(firsts, append=len(times)),
        axis=0,
    )
    rest = (times - seconds * 1_000_000).astype(np.uint32)
    for place in range(25, 19, -1):
        octets[:, place] = rest % 10 + ord("0")
        rest //= 10
    ends = np.arange(0, octets.size + 1, 26, dtype=np.int32)
    return pa.StringArray.from_buffers(len(times), pa.py_buffer(ends), pa.py_buffer(octets))
