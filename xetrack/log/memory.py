"""The log of a store that ends with its process."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

from xetrack.log import header
from xetrack.log.codec import codec_for
from xetrack.log.log import Facts, Log, SegmentInfo
from xetrack.log.names import check_table, table_folder
from xetrack.log.segment import MemoryWriter, Writer
from xetrack.log.shared import Shared

if TYPE_CHECKING:
    from xetrack.log.assets import Assets
    from xetrack.log.clock import Clock


class MemoryLog(Log):
    """A log in memory."""

    def __init__(self, *, clock: Clock | None = None, facts: Facts | None = None) -> None:
        from xetrack.log.assets import MemoryAssets

        self._more_facts = facts
        self._shared = Shared(clock)
        self.clock = self._shared.clock
        self.assets: Assets = MemoryAssets()
        self._tables: dict[str, dict[str, bytearray]] = {}
        self.unsorted: set[tuple[str, str]] = set()

    def create(self) -> None:
        """It is there from the start."""

    def exists(self) -> bool:
        return True

    def check_format(self) -> None:
        """It is always this release's own."""

    def tables(self) -> list[str]:
        return sorted(table for table, segments in list(self._tables.items()) if segments)

    def segments(self, table: str) -> list[SegmentInfo]:
        return sorted(SegmentInfo(name, len(lines), 0, 0) for name, lines in list(self._tables.get(table, {}).items()))

    def look(self, table: str) -> None:
        """Nothing can take them away."""

    def where(self, table: str, name: str) -> str:
        return f":memory:/{table_folder(table)}/{name}"

    def _open(self, table: str, name: str) -> BinaryIO | None:
        lines = self._tables.get(table, {}).get(name)
        return None if lines is None else io.BytesIO(bytes(lines))

    def writer(self, table: str, codec: str = "jsonl") -> Writer:
        check_table(table)
        with self._shared.lock:
            writer = self._shared.writers.get((table, codec))
            if writer is None:
                segments = self._tables.setdefault(table, {})
                writer = MemoryWriter(segments, codec_for(codec), self.clock, self._facts)
                self._shared.writers[table, codec] = writer
            return writer

    def _facts(self) -> dict[str, Any]:
        return header.facts(self._more_facts() if self._more_facts else {})
