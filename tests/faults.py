"""Disks that fail on cue, put in the place of a writer's system call, and children that are killed at any call."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import platform
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from xetrack.errors import XetrackError

Put = Callable[[int, bytes], int]
Registers = ctypes.Array[ctypes.c_ulonglong]


#: What may stand in the place of a file and be none. Each is made at a path.
NO_FILES: dict[str, Callable[[Path], None]] = {"a folder": Path.mkdir}
if os.name != "nt":
    NO_FILES |= {
        "a link that leads nowhere": lambda path: path.symlink_to("../.git/annex/objects/not-fetched"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a pipe": os.mkfifo,
    }


class FullDisk:
    """Room for so many bytes more, then none. Writes what fits, as a real one does."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, fd: int, lines: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(fd, lines[: self.room])
        self.room -= written
        return written


class Script:
    """Fails as it is told, a letter a call: ``R`` writes, ``P`` a part, ``E`` raises EIO, ``I`` is Ctrl-C.

    ``i`` is Ctrl-C right after the whole write, ``p`` after a part of it. At the
    end of the script every call writes.
    """

    def __init__(self, script: str) -> None:
        self.script = list(script)

    def __call__(self, fd: int, lines: bytes) -> int:
        step = self.script.pop(0) if self.script else "R"
        if step == "E":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if step == "I":
            raise KeyboardInterrupt
        written = os.write(fd, lines[: max(len(lines) // 2, 1)] if step in "Pp" else lines)
        if step in "ip":
            raise KeyboardInterrupt
        return written


# -- killed at any call of the system ----------------------------------------

#: Calls that change files, by their numbers on x86-64. What only reads or syncs leaves the files as the one before.
_CHANGING = {
    **{1: "write", 18: "pwrite64", 20: "writev", 76: "truncate", 77: "ftruncate", 82: "rename", 83: "mkdir"},
    **{84: "rmdir", 86: "link", 87: "unlink", 88: "symlink", 90: "chmod", 257: "openat", 258: "mkdirat"},
    **{263: "unlinkat", 264: "renameat", 265: "linkat", 280: "utimensat", 285: "fallocate", 316: "renameat2"},
    **{2: "open", 40: "sendfile", 326: "copy_file_range"},
}
_IN_PYTHON = "open write pwrite replace rename link unlink remove mkdir rmdir truncate ftruncate utime".split()
_TRACEME, _SYSCALL, _GETREGS, _SETREGS, _SETOPTIONS = 0, 24, 12, 13, 0x4200
#: Stops at calls are told apart from signals, and nothing outlives the tracer.
_OPTIONS = 0x1 | 0x100000
_RAX, _RDX, _RSI, _RDI, _RESULT = 15, 12, 13, 14, 10


def kill_at_every_call(
    root: Path, operation: Callable[[], object], check: Callable[[], object], *, every: int = 1
) -> int:
    """Kill a child that runs ``operation`` before its first call that changes a file, its second, and so on.

    The child is forked from this process, so it is warm, and it is killed by SIGKILL. Before each it finds the
    folder ``root`` as it was; after each that left other files than any before, ``check`` looks at them. Give both
    paths below ``root``. ``every`` goes on by so many calls, for one more of several operations that are much the
    same. Returns how many calls it went through. Where the system lets a child be traced these are all calls of the
    system, SQLite's too; elsewhere those of Python's ``os``.
    """
    seen: set[str] = set()

    def attempt(number: int) -> bool:
        ended = _run_until(number, operation)
        state = _state_of(root)
        if state not in seen:
            seen.add(state)
            with _told(f"killed before call {number}"):
                check()
        return ended

    return _at_each(root, attempt, every=every)


def fail_at_every_call(
    root: Path,
    operation: Callable[[], object],
    check: Callable[[], object],
    *,
    every: int = 1,
    first: int = 0,
    error: int = errno.ENOSPC,
) -> int:
    """The same with a call that fails: the system says ``error`` in its place, once, and the operation goes on.

    It may raise an ``XetrackError`` then, and nothing else. Returns how many calls it went through, ``first``
    the first that fails. Where no child can be traced the test is skipped.
    """
    _skip_untraced()

    def attempt(number: int) -> bool:
        tracer = Tracer(forked(functools.partial(_tolerant, operation)), number, error)
        status = tracer.run()
        with _told(f"call {number} ({tracer.name}) failed"):
            assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, "it ended with another error"
            check()
        return not tracer.reached

    return _at_each(root, attempt, every=every, first=first)


def delay_at_every_call(
    root: Path,
    operation: Callable[[], object],
    other: Callable[[], object],
    check: Callable[[], object],
    *,
    every: int = 1,
    first: int = 0,
) -> int:
    """The same with a call that takes long: before it another child runs ``other``, as far as it gets meanwhile.

    What waits for the operation goes on when it does. Both have to end well.
    """
    _skip_untraced()

    def attempt(number: int) -> bool:
        rival = _Rival(other)
        tracer = Tracer(forked(operation), number, before=rival.run)
        status = tracer.run()
        if not tracer.reached:
            return True
        rival_ended = rival.result()
        with _told(f"call {number} ({tracer.name}) was late"):
            assert os.waitstatus_to_exitcode(status) == 0, "the operation failed"
            assert rival_ended == 0, "the other one failed"
            check()
        return False

    return _at_each(root, attempt, every=every, first=first)


def _at_each(root: Path, attempt: Callable[[int], bool], *, every: int, first: int = 0) -> int:
    """Give an attempt one number after the other, and the folder as it was, until it says that this was the last."""
    start = root.with_name(f"{root.name}.start")
    shutil.copytree(root, start)
    number = first
    try:
        while True:
            shutil.rmtree(root)
            shutil.copytree(start, root)
            if attempt(number):
                return number
            number += every
    finally:
        shutil.rmtree(start)


@contextlib.contextmanager
def _told(when: str) -> Iterator[None]:
    """What fails says when."""
    try:
        yield
    except BaseException as error:
        raise AssertionError(f"{when}: {error}") from error


class _Rival:
    """A child that does something while another stands still."""

    #: So long that other one stands still, if the rival is not done sooner.
    _delay_s = 0.5

    def __init__(self, operation: Callable[[], object]) -> None:
        self._operation = operation
        self._child = 0
        self._status: int | None = None

    def run(self) -> None:
        self._child = forked(self._operation, traced=False)
        end = time.monotonic() + self._delay_s
        while time.monotonic() < end and self._status is None:
            time.sleep(0.005)
            child, status = os.waitpid(self._child, os.WNOHANG)
            self._status = status if child else None

    def result(self) -> int:
        if self._status is None:
            self._status = os.waitpid(self._child, 0)[1]
        return os.waitstatus_to_exitcode(self._status)


def forked(
    operation: Callable[[], object], number: int | None = None, *, syncs: bool = False, traced: bool = True
) -> int:
    """Begin an operation in a child: stopped, to be traced by this process, if that is asked for.

    Else it is killed at call ``number`` of Python's ``os``, if there is one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if not child:
        _be_child(operation, number, syncs=syncs, traced=traced)
    return child


def _skip_untraced() -> None:
    if not can_trace():
        pytest.skip("no child can be traced here")


def _tolerant(operation: Callable[[], object]) -> None:
    with contextlib.suppress(XetrackError):
        operation()


def _state_of(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        digest.update(str(path).encode() + b"\0")
        if path.is_file():
            raw = path.read_bytes()
            digest.update(b"%d\0" % len(raw) + raw)
    return digest.hexdigest()


def _run_until(number: int, operation: Callable[[], object]) -> bool:
    """Run an operation in a child and kill it before its call ``number``, from 0; True if it had fewer."""
    traced = can_trace()
    child = forked(operation, None if traced else number, traced=traced)
    status = Tracer(child, number).run() if traced else os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.waitstatus_to_exitcode(status) == 0, "the operation failed"
    return True


def _be_child(operation: Callable[[], object], number: int | None, *, syncs: bool, traced: bool) -> NoReturn:
    """Run an operation and end."""
    if not syncs:
        os.fsync = lambda fd: None  # a killed process leaves to the system what it wrote, synced or not
    try:
        if number is not None:
            _count_in_python(number)
        elif traced:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
        operation()
        os._exit(0)  # nothing after it, not even what stands under finally
    finally:
        traceback.print_exc()  # it failed, whatever it was that failed
        os._exit(1)


class Tracer:
    """Follows a stopped child from call to call, up to the one that it does not live to see, or that fails.

    It lives to see that one after ``before`` was called, where that is given. Without a ``number`` it lives to see
    all of them, and ``after`` is called at the end of each that is ``watched``.
    """

    def __init__(
        self,
        child: int,
        number: int = -1,
        error: int | None = None,
        *,
        before: Callable[[], object] | None = None,
        after: Callable[[int, int], object] | None = None,
        watched: Callable[[Registers], bool] | None = None,
    ) -> None:
        self.child, self.number, self.error = child, number, error
        self._before, self._after, self._watched = before, after, watched or changes_files
        self.reached = False
        #: What the call was.
        self.name = ""

    def run(self) -> int:
        """How the child ended."""
        child, registers = self.child, (ctypes.c_ulonglong * 27)()
        entered: tuple[int, int] | None = None
        _, status = os.waitpid(child, 0)
        if os.WIFSTOPPED(status):
            _ptrace(_SETOPTIONS, child, _OPTIONS)
        passed, is_entry, pending, fails_here = 0, True, 0, False
        while os.WIFSTOPPED(status):
            _ptrace(_SYSCALL, child, pending)
            _, status = os.waitpid(child, 0)
            if not os.WIFSTOPPED(status):
                break
            pending = os.WSTOPSIG(status)
            if pending != signal.SIGTRAP | 0x80:
                continue
            pending = 0
            _ptrace(_GETREGS, child, ctypes.addressof(registers))
            if fails_here:  # its exit: the system did nothing, and says that it failed
                registers[_RESULT] = (1 << 64) - (self.error or 0)
                _ptrace(_SETREGS, child, ctypes.addressof(registers))
                fails_here = False
            elif not is_entry and entered is not None and self._after is not None:
                self._after(*entered)
            elif is_entry and self._watched(registers):
                if passed == self.number:
                    self.reached, self.name = True, _CHANGING[registers[_RAX]]
                    if self._before is not None:
                        self._before()
                    elif self.error is None:
                        os.kill(child, signal.SIGKILL)
                        return os.waitpid(child, 0)[1]
                    else:
                        registers[_RAX] = (1 << 64) - 1  # no call at all
                        _ptrace(_SETREGS, child, ctypes.addressof(registers))
                        fails_here = True
                passed += 1
            if is_entry:
                entered = (registers[_RAX], registers[_RDI]) if self._watched(registers) else None
            is_entry = not is_entry
        return status


def changes_files(registers: Registers) -> bool:
    name = _CHANGING.get(registers[_RAX])
    if name in ("open", "openat"):
        return bool(registers[_RDX if name == "openat" else _RSI] & (os.O_CREAT | os.O_TRUNC))
    return name is not None


def _count_in_python(number: int) -> None:
    left = number

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return wrapped

    for name in _IN_PYTHON:
        if hasattr(os, name):
            setattr(os, name, counted(getattr(os, name)))


@functools.cache
def _libc_ptrace() -> Any:
    call = ctypes.CDLL(None).ptrace
    call.argtypes, call.restype = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_long
    return call


def _ptrace(request: int, child: int, data: int = 0) -> int:
    return int(_libc_ptrace()(request, child, None, data))


@functools.cache
def can_trace() -> bool:
    """Whether this system lets a process trace its child, in a way that is known here."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os._exit(0 if _ptrace(_TRACEME, 0) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
