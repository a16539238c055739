"""What a call is known by in every process and on every host: its content key.

A key is made of the function's module and qualified name, the arguments bound to
its parameters, and the params, each value by its type and its content. What
cannot be told apart for sure has no key: a call is rather made again than
answered wrongly.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import sys
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from xetrack.track.canonical import Encoder, Undecidable, by_bytes, framed
from xetrack.track.outside import Outside
from xetrack.track.qualified import level_of, module_of

#: What code digests depend on: another Python compiles the same source to other bytes.
PYTHON = f"{sys.implementation.cache_tag}-{sys.flags.optimize}"
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_FORMAT = b"xetrack cache key 1"


class Call(NamedTuple):
    """A call as a cache knows it.

    ``key`` is ``module.name:digest``, or ``None`` if the call cannot be cached.
    ``doubts`` name the types that are the reason, or that have a key in this
    process only, each with what to tell the user. ``file``, ``qualname`` and
    ``code`` say where the function stands and what it does, as far as anybody knows.
    """

    key: str | None
    function: str
    file: str
    qualname: str
    code: str
    arguments: Mapping[str, Any]
    doubts: tuple[tuple[type, str], ...]
    outside: tuple[Outside, ...] = ()

    def settle(self) -> None:
        """After the function ran: what it changed of its own captured values is no new input of the next call."""
        for value in self.outside:
            value.settle()


def describe(
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    params: Mapping[Any, Any],
    *,
    cache_code: bool = False,
) -> Call:
    """The call of a function with these arguments, described before it is made.

    ``f(1, y=2)``, ``f(x=1, y=2)`` and ``f(1)`` with ``y`` at its default 2 share a
    key; so do a partial and the call it stands for. The object of a method is an
    argument. Every argument and param must be hashable, a default need not be.
    ``cache_code`` lets the compiled code of the function take part.
    """
    if type(func) is not types.FunctionType:
        func, args, kwargs = _unfolded(func, args, kwargs)
    about = _about(func)
    given = (*args, *kwargs.values(), *params.values())
    try:
        hash(given)
    except Exception:  # noqa: BLE001 - what a __hash__ raises is anyone's guess
        return about.call(None, {}, (_unhashable(given),))
    encoder = Encoder()
    try:
        arguments = about.bound(args, kwargs)
        parts = (
            about.head or _head(encoder.encode(func)),
            framed(b"-", about.encoded(arguments, encoder)),
            framed(b"-", encoder.encode(dict(params)) if params else b""),
            framed(b"-", about.definition(func, encoder) if cache_code else b""),
        )
    except Undecidable as undecidable:
        return about.call(None, {}, ((undecidable.kind, undecidable.reason),))
    except Exception as error:  # noqa: BLE001 - objects may answer being looked at with any error
        return about.call(None, {}, ((type(func), f"its arguments cannot be read: {error}"),))
    digest = hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()
    return about.call(f"{about.name}:{digest}", arguments, tuple(encoder.doubts.items()), tuple(encoder.outside))


def _head(identity: bytes) -> bytes:
    return framed(b"-", _FORMAT) + framed(b"-", identity)


def _unhashable(values: Sequence[Any]) -> tuple[type, str]:
    for value in values:
        try:
            hash(value)
        except Exception as error:  # noqa: BLE001 - as above
            return type(value), f"it is not hashable ({error})"
    return type(values), "it is hashable at times only"


def code_digest(code: types.CodeType) -> str:
    """Digest of what compiled code does; comments, formatting and line numbers do not count."""
    return hashlib.blake2b(PYTHON.encode() + Encoder().encode(code), digest_size=16).hexdigest()


class _About:
    """What is the same in every call of a function."""

    def __init__(self, func: Callable[..., Any]) -> None:
        named: Any = func if hasattr(func, "__qualname__") else type(func)
        self.name = f"{module_of(named)[1]}.{named.__qualname__}"
        try:
            self.signature: inspect.Signature | None = inspect.signature(func)
        except (TypeError, ValueError):  # a builtin
            self.signature = None
        parameters = () if self.signature is None else self.signature.parameters.values()
        #: Names of the parameters, those that a position fills first, if each takes one argument by name.
        self.names = [each.name for each in parameters if each.kind in _BY_NAME]
        self.in_place = sum(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)
        self.defaults = {each.name: each.default for each in parameters}
        self.required = {each.name for each in parameters if each.default is each.empty}
        self.easy = self.signature is not None and len(self.names) == len(parameters)
        self.fields = by_bytes(self.names)
        #: How its keys begin, if module and qualified name lead to the function.
        self.head = _head(Encoder().encode(func)) if _is_plain(func) and level_of(func) is not None else None
        self.file = self.qualname = self.code = ""
        inner = _innermost(func)
        code = getattr(inner, "__code__", None)
        if isinstance(code, types.CodeType):
            self.qualname, self.code = inner.__qualname__, code_digest(code)
            if not code.co_filename.startswith("<"):
                file = os.path.abspath(code.co_filename)
                self.file = os.fsencode(file).decode("utf-8", "backslashreplace")
        self._definition: bytes | None = None

    def bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by parameter, defaults included."""
        if self.easy and len(args) <= self.in_place:  # what ``bind`` does, five times as fast
            if len(args) == len(self.names) and not kwargs:
                return dict(zip(self.names, args, strict=True))
            given = dict(zip(self.names, args, strict=False))
            if given.keys().isdisjoint(kwargs):
                named = {**self.defaults, **given, **kwargs}
                if len(named) == len(self.names) and self.required <= given.keys() | kwargs.keys():
                    return named
        if self.signature is not None:
            try:
                bound = self.signature.bind(*args, **kwargs)
            except TypeError:  # the call will fail by itself
                pass
            else:
                bound.apply_defaults()
                return dict(bound.arguments)
        return {"*": tuple(args), "**": dict(kwargs)}

    def encoded(self, arguments: Mapping[str, Any], encoder: Encoder) -> bytes:
        if self.easy and "*" not in arguments:
            return encoder.named(self.fields, arguments)
        return encoder.encode(arguments)

    def definition(self, func: Callable[..., Any], encoder: Encoder) -> bytes:
        if self._definition is None:
            self._definition = encoder.definition(func)
        return self._definition

    def call(
        self,
        key: str | None,
        arguments: Mapping[str, Any],
        doubts: tuple[tuple[type, str], ...],
        outside: tuple[Outside, ...] = (),
    ) -> Call:
        return Call(key, self.name, self.file, self.qualname, self.code, arguments, doubts, outside)


_known: weakref.WeakKeyDictionary[Callable[..., Any], _About] = weakref.WeakKeyDictionary()


def _about(func: Callable[..., Any]) -> _About:
    if not _is_plain(func):
        return _About(func)
    about = _known.get(func)
    if about is None:
        about = _known[func] = _About(func)
    return about


def _is_plain(func: Callable[..., Any]) -> bool:
    """A function of Python, which is compared by identity and does not change its name."""
    return type(func) is types.FunctionType


def _unfolded(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]:
    """The function under partials, methods and callable objects, with the arguments these add."""
    while not _is_plain(func):
        called = getattr(type(func), "__call__", None)  # noqa: B004 - looked up as a call does
        if isinstance(func, types.MethodType):
            func, args = func.__func__, (func.__self__, *args)
        elif type(called) is types.FunctionType and not isinstance(func, type):
            func, args = called, (func, *args)
        elif isinstance(func, functools.partial):
            func, args, kwargs = func.func, (*func.args, *args), {**func.keywords, **kwargs}
        else:
            break
    return func, args, kwargs


def _innermost(func: Any) -> Any:
    try:
        return inspect.unwrap(func)
    except ValueError:  # it wraps itself
        return func
