"""What ``tracker.logger`` is: messages and rows to the tracker's sinks, not to its store.

For services that log what they see and read it later with ``Reader.read_logs``,
without a database. It is no ``logging`` logger and touches none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from xetrack.errors import InvalidArgument, StorageError
from xetrack.track.lines import EXPERIMENT, MONITOR, TRACKING, given_row
from xetrack.track.sinks import Sinks

_logger = logging.getLogger("xetrack")


class Logger:
    """Writes to log files, stdout and JSONL, whichever the tracker has. Thread-safe.

    Rows stand as they are given, without the params, the time or the run of the
    tracker; JSONL lines have the time and the level too. Without a sink, rows go
    nowhere and messages to the ``xetrack`` logger of ``logging``.
    """

    def __init__(self, sinks: Sinks | None, lose: Callable[[StorageError, int], None] | None = None) -> None:
        """``lose`` takes the error of a sink that cannot write, and how many lines it dropped; else it is raised."""
        self._sinks, self._lose = sinks, lose

    def monitor(self, data: Any) -> None:
        """Write one row (a dict) or several (a list of dicts, a data frame) with the level MONITOR.

        Raises:
            UsageError: that is no row, or it holds an object that is no data; nothing is written.
            StorageError: no room, no permission; earlier lines are whole.

        >>> tracker.logger.monitor({"model": "resnet18", "latency_ms": 12})
        """
        self.log(data, MONITOR)

    def experiment(self, data: Any) -> None:
        """Write a row with the level EXPERIMENT, spread over lines for the eye; JSONL has it in one. Same errors."""
        self.log(data, EXPERIMENT, indent=2)

    def track(self, data: Any) -> None:
        """Write rows as ``Tracker.log`` writes them to files, with the level TRACKING. Same errors as ``monitor``."""
        self.log(data, TRACKING)

    def log(self, data: Any, level: str = MONITOR, indent: int | None = None) -> None:
        """Write rows with a level of your own; ``indent`` spreads each over lines. Same errors as ``monitor``."""
        if not (isinstance(level, str) and level.isidentifier() and level.isascii()):
            raise InvalidArgument("level", f"{level!r} is not a word")
        rows = [given_row(row) for row in _records(data)]
        if self._sinks is not None and rows:
            self._kept(len(rows), self._sinks.write_given, level, rows, indent)

    def debug(self, message: object, *args: Any, **kwargs: Any) -> None:
        """Write a message; ``args`` and ``kwargs`` fill its ``{}``, or its ``%s`` if it has none."""
        self._message("DEBUG", message, args, kwargs)

    def info(self, message: object, *args: Any, **kwargs: Any) -> None:
        """As ``debug``, with the level INFO."""
        self._message("INFO", message, args, kwargs)

    def warning(self, message: object, *args: Any, **kwargs: Any) -> None:
        """As ``debug``, with the level WARNING."""
        self._message("WARNING", message, args, kwargs)

    def error(self, message: object, *args: Any, **kwargs: Any) -> None:
        """As ``debug``, with the level ERROR."""
        self._message("ERROR", message, args, kwargs)

    def _message(self, level: str, message: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        text = _filled(str(message), args, kwargs)
        if self._sinks is None:
            _logger.log(logging.getLevelName(level), "%s", text)
        else:
            self._kept(1, self._sinks.write_text, level, text)

    def _kept(self, count: int, write: Callable[..., None], *args: Any) -> None:
        try:
            write(*args)
        except StorageError as error:
            if self._lose is None:
                raise
            self._lose(error, count)


def _records(data: Any) -> list[Any]:
    """The rows of a dict, a list of dicts, or a frame of pandas, polars or Arrow."""
    if isinstance(data, Mapping):
        return [data]
    if isinstance(data, list | tuple):
        return list(data)
    if hasattr(data, "columns"):
        if hasattr(data, "to_dicts"):  # polars
            return list(data.to_dicts())
        if hasattr(data, "to_pylist"):  # Arrow
            return list(data.to_pylist())
        if hasattr(data, "iloc"):  # pandas
            return _pandas_records(data)
    raise InvalidArgument("data", f"rows are a dict, a list of dicts or a data frame, not {type(data).__name__}")


def _pandas_records(frame: Any) -> list[Any]:
    """Rows of a frame, whose NaN outside of float columns says that a cell is empty."""
    names = [name for name, dtype in frame.dtypes.items() if dtype.kind != "f"]
    records: list[Any] = frame.to_dict("records")
    for record in records:
        for name in names:
            if type(record[name]) is float and record[name] != record[name]:
                record[name] = None
    return records


def _filled(text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The message with its arguments. One that they do not fit is no reason to stop a program."""
    if not (args or kwargs):
        return text
    try:
        return text.format(*args, **kwargs) if "{" in text else text % (args or kwargs)
    except (LookupError, ValueError, TypeError, AttributeError):
        return " ".join([text, *map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])
