"""A value as bytes: the same for the same type and content, in every process and on every host.

Nothing in them depends on ``hash()``, on an address or on the order of a set, and
no two values share them. Functions and classes go in by the name that leads to
them; those that no name leads to (lambdas, local ones) by code and captured values.
"""

from __future__ import annotations

import copyreg
import dataclasses
import functools
import hashlib
import pathlib
import struct
import sys
import types
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from typing import Any

from xetrack.track.equals import bytes_of_equal
from xetrack.track.outside import Outside, known_as
from xetrack.track.qualified import level_of, module_of, steps_to

MAX_DEPTH = 100
_HEAP_TYPE = 1 << 9
_LARGE_BYTES = 100_000


class Undecidable(Exception):
    """A value whose content cannot be told."""

    def __init__(self, value: object, reason: str) -> None:
        self.kind, self.reason = type(value), reason


def framed(tag: bytes, body: bytes) -> bytes:
    """A body that says what it is and where it ends, so that no two values share their bytes."""
    return b"%b%d:%b" % (tag, len(body), body)


def _str(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(raw), raw)


def _int(value: int) -> bytes:
    raw = b"%x" % value
    return b"i%d:%b" % (len(raw), raw)


def _float(value: float) -> bytes:
    # One NaN: which of them an operation yields depends on the processor.
    return b"f8:" + struct.pack(">d", value) if value == value else b"f3:nan"


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    str: _str,
    int: _int,
    float: _float,
    bool: lambda value: b"B1:1" if value else b"B1:0",
    bytes: lambda value: framed(b"b", value),
    type(None): lambda value: b"N0:",
    type(...): lambda value: b"E0:",
    type(NotImplemented): lambda value: b"X0:",
}

#: Types of the standard library, by parts that are the same in every release of Python.
_PARTS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    complex: lambda value: ("complex", value.real, value.imag),
    range: lambda value: ("range", value.start, value.stop, value.step),
    slice: lambda value: ("slice", value.start, value.stop, value.step),
    bytearray: lambda value: ("bytearray", bytes(value)),
    memoryview: lambda value: ("memoryview", value.format, value.shape, value.tobytes()),
    date: lambda value: ("date", value.isoformat()),
    datetime: lambda value: ("datetime", value.replace(tzinfo=None).isoformat(), value.fold, value.tzinfo),
    time: lambda value: ("time", value.replace(tzinfo=None).isoformat(), value.fold, value.tzinfo),
    timedelta: lambda value: ("timedelta", value.days, value.seconds, value.microseconds),
    timezone: lambda value: ("timezone", value.utcoffset(None), value.tzname(None)),
    Decimal: lambda value: ("Decimal", str(value)),
    Fraction: lambda value: ("Fraction", value.numerator, value.denominator),
    uuid.UUID: lambda value: ("UUID", value.hex),
    # A path is the same on the next host, also if that is of another system.
    pathlib.PosixPath: lambda value: ("Path", value.as_posix()),
    pathlib.WindowsPath: lambda value: ("Path", value.as_posix()),
    pathlib.PurePosixPath: lambda value: ("PurePosixPath", value.as_posix()),
    pathlib.PureWindowsPath: lambda value: ("PureWindowsPath", value.as_posix()),
}

_CONTENT = (str, int, float, complex, bytes, bytearray, tuple, list, dict, set, frozenset, BaseException)
_NUMBERS = (bool, int, float, complex, Decimal, Fraction)
_DESCRIPTORS = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)

#: Names with their bytes, in the order of these.
Fields = list[tuple[bytes, str]]

_code_bytes: weakref.WeakKeyDictionary[types.CodeType, bytes] = weakref.WeakKeyDictionary()


class Encoder:
    """Encodes the values of one call.

    ``doubts`` are types whose bytes only this process knows. ``outside`` is what
    functions and local classes brought along. ``loose`` lets numbers that are
    equal have the same bytes.
    """

    def __init__(self, loose: bool = False) -> None:
        self.doubts: dict[type, str] = {}
        self.outside: list[Outside] = []
        self._loose = loose
        self._inside: list[int] = []
        #: How far out a cycle led, as an index of the line above.
        self._reached = MAX_DEPTH
        #: Above 0 within a class, of which what cannot be encoded is named by its type.
        self._lenient = 0

    def encode(self, value: Any) -> bytes:
        """The same bytes for the same type and content, other bytes for any other value.

        Raises:
            Undecidable: the content of the value, or of something in it, cannot be told.
        """
        kind = type(value)
        if self._loose and kind in _NUMBERS:
            return framed(b"n", b"%d" % hash(value))
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return scalar(value)
        me = id(value)
        if me in self._inside:  # a cycle: how many steps back it goes is content enough
            place = self._inside.index(me)
            self._reached = min(self._reached, place)
            return framed(b"r", b"%d" % (len(self._inside) - place))
        if len(self._inside) >= MAX_DEPTH:
            raise Undecidable(value, f"it is nested more than {MAX_DEPTH} levels deep")
        self._inside.append(me)
        try:
            return self._compound(kind, value)
        finally:
            self._inside.pop()

    def named(self, fields: Fields, values: Mapping[str, Any]) -> bytes:
        """What ``encode`` makes of a dict with just these keys, quicker where their order is known."""
        return framed(b"d", b"".join([name + self.encode(values[key]) for name, key in fields]))

    def definition(self, func: Any) -> bytes:
        """What a function and those it wraps do: their code, and the values their decorators were given."""
        parts = []
        for _ in range(MAX_DEPTH):
            if isinstance(func, types.FunctionType):
                with self._leniently():
                    parts.append(self._body(func))
            func = getattr(func, "__wrapped__", None)
            if func is None:
                break
        return b"".join(parts)

    def _compound(self, kind: type, value: Any) -> bytes:
        if kind is tuple:
            return self._all(b"t", value)
        if kind is dict:
            pairs = sorted([(self.encode(key), self.encode(item)) for key, item in value.items()])
            return framed(b"d", b"".join([part for pair in pairs for part in pair]))
        if kind is list:
            return self._all(b"l", value)
        if kind is frozenset or kind is set:
            return framed(b"F" if kind is frozenset else b"S", self._unordered(value))
        fields = _compared_fields(kind)
        if fields is not None:
            return self._record(kind, value, fields)
        if kind in _PARTS:
            return framed(b"v", self.encode(_PARTS[kind](value)))
        if isinstance(value, Enum):
            content = value._value_ if isinstance(value, Flag) else value._name_  # a combination may have no name
            return framed(b"e", self._type(kind) + self.encode(content))
        if issubclass(kind, type):
            return self._type(value)
        if kind is types.CodeType:
            return self._code(value)
        if kind is types.FunctionType:
            return self._function(value)
        if kind is types.BuiltinFunctionType or kind is types.MethodType:
            return self._method(value)
        if isinstance(value, _DESCRIPTORS):
            return framed(b"m", self._type(value.__objclass__) + self.encode(value.__name__))
        if isinstance(value, types.ModuleType):
            return framed(b"M", self.encode(value.__name__))
        return self._numpy(kind, value) or self._object(kind, value)

    def _record(self, kind: type, value: Any, fields: Fields) -> bytes:
        """A dataclass or a model, by the fields that it compares; one that was never set is left out."""
        parts: list[bytes] = []
        extra = getattr(value, "__pydantic_extra__", None)
        if extra:
            fields = sorted([*fields, *by_bytes(extra)])
        for name, attribute in fields:
            try:
                inner = getattr(value, attribute)
            except AttributeError:
                continue
            scalar = _SCALARS.get(type(inner))
            parts += (name, self.encode(inner) if scalar is None or self._loose else scalar(inner))
        return framed(b"D", self._type(kind) + framed(b"d", b"".join(parts)))

    def _all(self, tag: bytes, values: Iterable[Any]) -> bytes:
        return framed(tag, b"".join([self.encode(value) for value in values]))

    def _unordered(self, values: Iterable[Any]) -> bytes:
        return b"".join(sorted(self.encode(value) for value in values))

    def _numpy(self, kind: type, value: Any) -> bytes | None:
        numpy = sys.modules.get("numpy")
        if numpy is None or not (isinstance(value, numpy.generic) or kind is numpy.ndarray):
            return None
        content = value.tolist() if value.dtype.hasobject else value.tobytes()
        return framed(b"a", self._type(kind) + self.encode((str(value.dtype.descr), value.shape, content)))

    # functions and classes

    def _function(self, func: types.FunctionType) -> bytes:
        level = level_of(func)
        if level is not None:
            return framed(b"g", _name(func) + self.encode(level))
        return framed(b"G", _name(func) + self._body(func))

    def _body(self, func: types.FunctionType) -> bytes:
        """Code, defaults and captured values."""
        cells = zip(func.__code__.co_freevars, func.__closure__ or (), strict=True)
        captured = b"".join([self.encode(name) + self._captured(cell) for name, cell in cells])
        defaults = self._tolerant(func.__defaults__) + self._tolerant(func.__kwdefaults__)
        return framed(b"c", self._code(func.__code__) + defaults + captured)

    def _captured(self, cell: types.CellType) -> bytes:
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned so far
            return b"U0:"
        if type(value).__module__ in ("_thread", "threading"):  # a lock orders the calls, it is no input
            return self._type(type(value))
        if type(value) in _SCALARS:  # the function can only put another in its place
            return self._from_outside(id(cell), cell, lambda: cell.cell_contents)
        return self._from_outside(id(value), value, lambda: value)

    def _from_outside(self, mark: object, owner: object, read: Callable[[], Any]) -> bytes:
        digest = known_as(mark, owner, _digest(self._tolerant(read())))
        self.outside.append(Outside(mark, owner, digest, lambda: _digest(Encoder().encode(read()))))
        return framed(b"x", digest)

    def _tolerant(self, value: Any) -> bytes:
        try:
            return self.encode(value)
        except Undecidable:
            if not self._lenient:
                raise
            return self._type(type(value))

    def _code(self, code: types.CodeType) -> bytes:
        known = _code_bytes.get(code)
        if known is None:
            facts = (
                code.co_name,
                code.co_code,
                code.co_consts,
                code.co_names,
                code.co_varnames,
                code.co_freevars,
                code.co_cellvars,
                (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
                getattr(code, "co_exceptiontable", b""),
            )
            known = _code_bytes[code] = self._all(b"C", facts)
        return known

    def _method(self, func: Any) -> bytes:
        """A method bound to an object, or a builtin function, which is bound to its module."""
        if isinstance(func, types.MethodType):
            return framed(b"m", self.encode(func.__self__) + self.encode(func.__func__))
        if func.__self__ is None or isinstance(func.__self__, types.ModuleType):
            return framed(b"g", _name(func))
        return framed(b"m", self.encode(func.__self__) + self.encode(func.__name__))

    def _type(self, cls: type) -> bytes:
        """A class by name; one that its name does not lead to, such as a local one, also by what it defines."""
        try:
            return _named(cls)
        except LookupError:
            name = _name(cls)
        if id(cls) in self._inside[:-1]:
            return framed(b"T", name)
        self._inside.append(id(cls))
        try:
            with self._leniently():
                return framed(b"T", name + self._class_body(cls))
        finally:
            self._inside.pop()

    def _class_body(self, cls: type) -> bytes:
        parts = [self._type(base) for base in cls.__bases__]
        for name, attribute in sorted(vars(cls).items()):
            parts += [self.encode(name) + self._body(func) for func in _functions(attribute)]
            if not name.startswith("_") and not callable(attribute):
                read = functools.partial(getattr, cls, name)
                parts.append(self.encode(name) + self._from_outside((id(cls), name), cls, read))
        return b"".join(parts)

    @contextmanager
    def _leniently(self) -> Iterator[None]:
        self._lenient += 1
        try:
            yield
        finally:
            self._lenient -= 1

    # objects

    def _object(self, kind: type, value: Any) -> bytes:
        me, reached, self._reached = len(self._inside) - 1, self._reached, MAX_DEPTH
        written = isinstance(kind.__eq__, types.FunctionType) and isinstance(kind.__hash__, types.FunctionType)
        compares = written and not dataclasses.is_dataclass(kind)  # whose comparison nobody wrote
        try:
            own = framed(b"o", self._type(kind) + self._state(kind, value))
        except Undecidable as undecidable:
            if not compares:
                raise
            self.doubts[kind] = undecidable.reason
            return self._of_equal(value, None)
        finally:
            stands_alone = self._reached >= me  # else its bytes depend on what it is in
            self._reached = min(self._reached, reached)
        if not compares or not stands_alone or self._loose or len(own) > _LARGE_BYTES:
            return own
        return self._of_equal(value, own)

    def _state(self, kind: type, value: Any) -> bytes:
        """What pickle would keep of an object, in an order of its own."""
        if kind is object:
            raise Undecidable(value, "one object() cannot be told from another")
        if isinstance(value, (set, frozenset)):
            return self._unordered(value) + self.encode(getattr(value, "__dict__", None))
        try:
            reduce = copyreg.dispatch_table.get(kind)
            reduced = value.__reduce_ex__(4) if reduce is None else reduce(value)
            if isinstance(reduced, str):
                return self._global(value, reduced)
            make, args, state, items, pairs = (*reduced, None, None, None)[:5]
            more = [None if each is None else list(each) for each in (items, pairs)]
        except Undecidable:
            raise
        except Exception as error:  # an object's own pickling code may raise anything
            raise Undecidable(value, str(error)) from error
        return self.encode([make, args, state, *more])

    def _global(self, value: Any, name: str) -> bytes:
        """Something that pickle would look up by name, which need not lead to it."""
        if steps_to(value, name) == 0:
            return self.encode([value.__module__, name])
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is None:
            raise Undecidable(value, "its name does not lead to it")
        return self.encode([name, wrapped])

    def _of_equal(self, value: Any, own: bytes | None) -> bytes:
        try:
            return bytes_of_equal(value, own, _loosely)
        except Exception as error:  # its comparison may raise anything
            if own is None:
                raise Undecidable(value, str(error)) from error
            return own


def _loosely(value: Any) -> bytes | None:
    try:
        return Encoder(loose=True).encode(value)
    except Undecidable:
        return None


def _digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=16).digest()


def _name(thing: Any) -> bytes:
    return _str(module_of(thing)[0]) + _str(thing.__qualname__)


@functools.lru_cache(maxsize=512)
def _named(cls: Any) -> bytes:
    """Bytes of a class that its name leads to; of others a ``LookupError``, which is not remembered."""
    if cls.__flags__ & _HEAP_TYPE and level_of(cls) != 0:
        raise LookupError(cls)
    return framed(b"T", _name(cls))


def by_bytes(names: Iterable[str]) -> Fields:
    """Names in the order in which a dict of them is encoded."""
    return sorted((_str(name), name) for name in names)


@functools.lru_cache(maxsize=512)
def _compared_fields(kind: Any) -> Fields | None:
    """Fields of a dataclass or a pydantic model; ``None`` for anything else, and for what is more than its fields."""
    if issubclass(kind, (Enum, type, types.ModuleType)):
        return None
    if hasattr(kind, "__dataclass_fields__") and not issubclass(kind, _CONTENT):
        names = [field.name for field in dataclasses.fields(kind) if field.compare]
    else:
        declared = getattr(kind, "model_fields", None)
        if not (isinstance(declared, dict) and hasattr(kind, "model_dump")):
            return None
        names = list(declared)
    return by_bytes(names)


def _functions(attribute: Any) -> Iterator[types.FunctionType]:
    """Functions that a class attribute is made of."""
    if isinstance(attribute, property):
        found = [attribute.fget, attribute.fset, attribute.fdel]
    elif isinstance(attribute, (staticmethod, classmethod)):
        found = [attribute.__func__]
    else:
        found = [getattr(attribute, "func", attribute)]  # a cached property
    yield from (func for func in found if isinstance(func, types.FunctionType))
