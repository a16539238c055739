"""Where rows go besides the log: log files, stdout and a JSONL file (docs/sinks.md).

Nothing of the process's own logging is touched: a sink is a descriptor of its own.
Any number of processes, threads and trackers may share a file, since each hands
whole lines to the system in one call that appends.
"""

from __future__ import annotations

import os
import stat
import string
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import msgspec

from xetrack.errors import InvalidArgument, StorageError, storage_error
from xetrack.log.clock import wall_us
from xetrack.track.lines import TRACKING, as_json, log_line

DAILY = "{time:YYYY-MM-DD}.log"

#: Tokens of a file name's time, and how to format a datetime and its milliseconds as each.
_TOKENS = {
    "YYYY": "{0.year:04d}",
    "YY": "{0:%y}",
    "MM": "{0.month:02d}",
    "M": "{0.month}",
    "DDDD": "{0:%j}",
    "DD": "{0.day:02d}",
    "D": "{0.day}",
    "HH": "{0.hour:02d}",
    "H": "{0.hour}",
    "mm": "{0.minute:02d}",
    "m": "{0.minute}",
    "ss": "{0.second:02d}",
    "s": "{0.second}",
    "SSS": "{1:03d}",
    "SSSSSS": "{0:%f}",
    "T": "T",
}
_UNNAMED = "YYYY-MM-DD_HH-mm-ss_SSSSSS"
#: How often a last line without an end is looked at again, a millisecond apart.
_LOOKS = 50

_files: weakref.WeakSet[AppendedFile] = weakref.WeakSet()


class Line(NamedTuple):
    """A row or a message on its way out: its log file, as it stands there, and as JSON; empty where nobody asked."""

    path: str
    text: bytes
    record: bytes


class Sinks:
    """The files of one tracker, and stdout if it is asked for. Thread-safe.

    Folders and files are made at the first line. A file that another program
    renamed or removed is made again. Every write may raise ``StorageError``, after
    the other sinks have got their line; earlier lines are whole.
    """

    def __init__(
        self, names: Names | None, jsonl: str | None, stdout: bool, now_us: Callable[[], int] = wall_us
    ) -> None:
        self._names, self._jsonl, self._stdout, self._now_us = names, jsonl, stdout, now_us
        self._log_file = AppendedFile()
        self._jsonl_file = AppendedFile()
        #: The second written last: when it began, as local text, as UTC text, and its log file.
        self._second: tuple[int, str, str, str] = (-1_000_000, "", "", "")

    @classmethod
    def open(
        cls,
        logs_path: str | os.PathLike[str] | None = None,
        logs_file_format: str | None = None,
        logs_stdout: bool = False,
        jsonl: str | os.PathLike[str] | None = None,
        now_us: Callable[[], int] = wall_us,
    ) -> Sinks | None:
        """The sinks that were asked for, ``None`` if there are none. Paths are pinned here.

        ``logs_file_format`` is a name below ``logs_path``, by default a file a day.

        Raises:
            InvalidArgument: the format has an unknown time token or leaves the folder.
        """
        # A folder that nobody asked for is not looked up: the current one may be gone.
        names = Names(_pinned("logs_path", logs_path) if logs_path else "", logs_file_format or DAILY)
        if not (logs_path or logs_stdout or jsonl):
            return None
        return cls(names if logs_path else None, _pinned("jsonl", jsonl) if jsonl else None, logs_stdout, now_us)

    def write(self, track_id: str, rows: Sequence[Mapping[str, Any]], clocks_us: Sequence[int]) -> None:
        """Write rows that were logged: wire values with the params, and the clock of each.

        Rows of one call stay together in a file.
        """
        lines: list[Line] = []
        for row, clock_us in zip(rows, clocks_us, strict=True):
            local, utc, path = self._at(clock_us)
            text = record = b""
            if self._jsonl is not None:
                # A row's own "level" wins: what a user logs is never replaced.
                shown = {"timestamp": utc, "level": TRACKING, **row, "track_id": track_id}
                shown["timestamp"] = utc
                record = as_json(shown)
            if self._names is not None or self._stdout:
                text = log_line(local, TRACKING, as_json({**row, "timestamp": local, "track_id": track_id}))
            lines.append(Line(path, text, record))
        self._deliver(lines)

    def write_given(self, level: str, rows: Iterable[Mapping[str, Any]], indent: int | None = None) -> None:
        """Write rows of no run, as they are given: wire values, now.

        JSONL lines have ``timestamp`` and ``level`` in front; a row's own keys win.
        """
        local, utc, path = self._at(self._now_us())
        lines: list[Line] = []
        for row in rows:
            shown = as_json(row)
            if indent is not None:
                shown = msgspec.json.format(shown, indent=indent)
            record = b"" if self._jsonl is None else as_json({"timestamp": utc, "level": level, **row})
            lines.append(Line(path, log_line(local, level, shown), record))
        self._deliver(lines)

    def write_text(self, level: str, text: str) -> None:
        """Write a message, now: to log files and stdout, JSONL holds rows only."""
        local, _, path = self._at(self._now_us())
        self._deliver([Line(path, log_line(local, level, text.encode("utf-8", "backslashreplace")), b"")])

    def close(self) -> None:
        """Let go of the files. A later line opens them again."""
        self._log_file.close()
        self._jsonl_file.close()

    def _deliver(self, lines: list[Line]) -> None:
        failed: StorageError | None = None
        parts: list[tuple[AppendedFile, str, bytes]] = []
        if self._names is not None:
            for path, group in groupby(lines, lambda line: line.path):
                parts.append((self._log_file, path, b"".join([line.text for line in group])))
        if self._jsonl is not None:
            parts.append(
                (self._jsonl_file, self._jsonl, b"".join([line.record + b"\n" for line in lines if line.record]))
            )
        for file, path, text in parts:
            if text:
                try:
                    file.append(path, text)
                except StorageError as error:
                    failed = failed or error
        if self._stdout:
            _print([line.text.decode() for line in lines])
        if failed is not None:
            raise failed

    def _at(self, clock_us: int) -> tuple[str, str, str]:
        """A reading as local text and as UTC text, and the log file of that time."""
        start_us, local, utc, path = self._second
        microsecond = clock_us - start_us
        if not 0 <= microsecond < 1_000_000:
            second, microsecond = divmod(clock_us, 1_000_000)
            local = time.strftime("%Y-%m-%d %H:%M:%S.", time.localtime(second))
            utc = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            path = "" if self._names is None else self._names.at(clock_us)
            self._second = (clock_us - microsecond, local, utc, path)
        digits = f"{microsecond:06d}"
        return local + digits, f"{utc}{digits}+00:00", path


class Names:
    """Names of log files after a format such as ``{time:YYYY-MM-DD}.log``, in local time.

    A file begins when the name changes, at midnight for a name with the day in it.
    Minutes and what is finer say when a file began: they do not end it, midnight does.
    """

    def __init__(self, folder: str, file_format: str) -> None:
        """Raises ``InvalidArgument`` if the format names no file inside the folder."""
        self._folder = folder
        self._template, tokens = _template(file_format)
        self._fine = not tokens.isdisjoint({"mm", "m", "ss", "s", "SSS", "SSSSSS"})
        self._day: tuple[Any, ...] = ()
        self._path = ""
        name = self._template.format(datetime.now(), 0)
        windows = PureWindowsPath(name)
        if PurePosixPath(name).is_absolute() or windows.root or windows.drive or ".." in windows.parts:
            raise InvalidArgument("logs_file_format", f"{file_format!r} leaves the folder logs_path")
        if not windows.name or name.endswith(("/", "\\")) or "\x00" in name:
            raise InvalidArgument("logs_file_format", f"{file_format!r} names no file")

    def at(self, clock_us: int) -> str:
        """Path of the file for a line of this time."""
        moment = datetime.fromtimestamp(clock_us // 1_000_000).replace(microsecond=clock_us % 1_000_000)
        day = (moment.year, moment.month, moment.day)
        if not self._fine or day != self._day:
            name = self._template.format(moment, moment.microsecond // 1000)
            self._day, self._path = day, os.path.join(self._folder, name)
        return self._path


class AppendedFile:
    """Appends whole lines to the file at a path, whoever else does. Thread-safe.

    One file is open at a time; a forked child opens its own.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._fd = -1
        self._path = ""
        self._identity = (0, 0)
        #: Where the file ends if nobody else has written.
        self._end = -1
        #: The system call; a test puts a failing disk in its place.
        self._put: Callable[[int, bytes], int] = os.write
        _files.add(self)

    def append(self, path: str, lines: bytes) -> None:
        """Add lines at the end, in one call to the system. After half a line of somebody else a new one begins.

        Raises:
            StorageError: naming the file. What was there before is whole.
        """
        with self._lock:
            try:
                size = self._open(path)
                if size and size != self._end and self._is_torn():
                    lines = b"\n" + lines
                self._end = -1
                written = self._put(self._fd, lines)
                while written < len(lines):
                    written += self._put(self._fd, lines[written:])
                self._end = size + len(lines)
            except OSError as error:
                raise storage_error(error, path, len(lines)) from error

    def close(self) -> None:
        with self._lock:
            fd, self._fd, self._end = self._fd, -1, -1
            if fd >= 0:
                os.close(fd)

    def _open(self, path: str) -> int:
        """Have the file that is at the path now, and return its size; 0 for what has none, such as a pipe."""
        if self._fd >= 0 and path == self._path:
            try:
                status = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                pass
            else:
                if (status.st_dev, status.st_ino) == self._identity:
                    return status.st_size
        self.close()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            fd = os.open(path, flags, 0o666)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            fd = os.open(path, flags, 0o666)
        self._fd, self._path = fd, path
        status = os.fstat(fd)
        self._identity = (status.st_dev, status.st_ino)
        return status.st_size if stat.S_ISREG(status.st_mode) else 0

    def _is_torn(self) -> bool:
        """Whether the file ends within a line, and nobody is just writing the rest of it."""
        for _ in range(_LOOKS):
            size = os.lseek(self._fd, 0, os.SEEK_END)
            os.lseek(self._fd, max(size - 1, 0), os.SEEK_SET)
            if not size or os.read(self._fd, 1) == b"\n":
                return False
            time.sleep(0.001)
        return True

    def _forked(self) -> None:
        self._lock = threading.RLock()
        self.close()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # An argument: at the end of a program the module may be empty already.
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            close(fd)


def _pinned(name: str, path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if "\x00" in text:
        raise InvalidArgument(name, f"{text!r} holds a NUL character")
    return str(Path(text).absolute())


def _template(file_format: str) -> tuple[str, set[str]]:
    """A file format as a template for ``str.format``, and its time tokens."""
    template, tokens = "", set()
    try:
        for literal, field, spec, conversion in string.Formatter().parse(file_format):
            template += _escaped(literal)
            if field is None:
                continue
            if field != "time" or conversion:
                raise ValueError(f"it has no field but {{time}}, and {field!r} is another")
            for piece in _pieces(spec or _UNNAMED):
                if piece in _TOKENS:
                    tokens.add(piece)
                    template += _TOKENS[piece]
                elif piece.isalpha() and piece.isascii():
                    raise ValueError(f"{piece!r} is no time token; these are: {', '.join(_TOKENS)}")
                else:
                    template += _escaped(piece.removeprefix("[").removesuffix("]"))
    except ValueError as error:
        raise InvalidArgument("logs_file_format", f"{file_format!r}: {error}") from error
    return template, tokens


def _pieces(spec: str) -> list[str]:
    """Runs of one letter, text in brackets, and single characters of all else."""
    pieces: list[str] = []
    rest = spec
    while rest:
        first = rest[0]
        if first == "[" and "]" in rest:
            piece = rest[: rest.index("]") + 1]
        elif first.isalpha():
            piece = rest[: len(rest) - len(rest.lstrip(first))]
        else:
            piece = first
        pieces.append(piece)
        rest = rest[len(piece) :]
    return pieces


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _print(lines: list[str]) -> None:
    """Write lines to what ``sys.stdout`` is now; one that is closed or that nobody reads stops no program."""
    stream = sys.stdout
    if stream is None:
        return
    try:
        for line in lines:
            try:
                stream.write(line)
            except UnicodeEncodeError:
                encoding = stream.encoding or "ascii"
                stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        pass


def _forked() -> None:
    for file in list(_files):
        file._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
