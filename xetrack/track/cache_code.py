"""Whether a function still is what it was when a result was stored: its file is compiled, never run."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

from xetrack.track.cache_folder import Entry
from xetrack.track.cache_keys import PYTHON, code_digest


def is_stale(entry: Entry) -> bool | None:
    """Whether the function has been edited or removed since; ``None`` where that cannot be told.

    That is: it has no source, its file is not on this machine or cannot be
    compiled, or another Python stored the result.
    """
    if not entry.code or not entry.file or entry.python != PYTHON:
        return None
    try:
        state = os.stat(entry.file)
        module = _compiled(entry.file, state.st_mtime_ns, state.st_size)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names = [name for name in entry.qualname.split(".") if name != "<locals>"]
    return entry.code not in {code_digest(code) for code in _found(module, names)}


@functools.lru_cache(maxsize=32)
def _compiled(file: str, _mtime_ns: int, _size_bytes: int) -> CodeType:
    if not os.path.isfile(file):
        raise FileNotFoundError(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)


def _found(code: CodeType, names: list[str]) -> Iterator[CodeType]:
    """Code of that qualified name; a name may be defined more than once."""
    if not names:
        yield code
        return
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_name == names[0]:
                yield from _found(inner, names[1:])
            elif inner.co_name.startswith("<generic parameters"):  # what Python 3.12 puts around def f[T]
                yield from _found(inner, names)
