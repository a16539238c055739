"""What a row shows of the arguments and the result of a call.

Describing never fails, whatever an object does, and stays small: of a list of
ten million items a thousand are looked at. What is left out is marked by ``…``
and its size. Knows neither calls nor the log; ``functions.py`` makes the row.
"""

from __future__ import annotations

import contextlib
import functools
import time
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, NamedTuple

from xetrack.log.values import MAX_KEY_BYTES, decode, encode

#: Levels of lists, dicts, dataclasses and models inside each other that are followed in a value.
MAX_DEPTH = 20
#: Levels of dataclasses and models inside each other whose fields become columns.
MAX_LEVELS = 10
#: Seconds that the texts of one column's objects may take; of those after, only the type is shown.
MAX_SECONDS = 1.0

#: Not an object's own failure but somebody stopping the program; never held back.
STOPS = (KeyboardInterrupt, SystemExit)

_CONSTANTS = frozenset({float, bool, type(None)})
_BUILTINS = _CONSTANTS | {str, int, bytes, list, tuple, dict, set}
_SEQUENCES = (list, tuple)
_STRUCTURES = (list, tuple, dict, MappingProxyType)
_MODEL_ROOMS = ("pydantic.main", "pydantic.v1.main")
_LARGE = 2**64
_BITS_PER_DIGIT = 3  # rounded down

Text = Callable[[Any], str]


def describe(value: Any, limit: int) -> Any:
    """A value as a log can hold it, out of reach of later changes of the object.

    Scalars stay what they are, lists and dicts keep their structure, of all else
    there is its ``repr``. A text has at most ``limit`` characters before its
    mark, and the whole at most ``limit`` values.
    """
    if is_short(value, limit):
        return value
    kind = type(value)
    # Most arguments are flat: quick without the machinery. The copy first, another thread may change the original.
    if kind in _SEQUENCES and len(value) <= limit:
        return _Description(limit, repr).of_few(value, list(value))
    if kind is dict and len(value) <= limit:
        pairs = dict(value)
        if _are_short(pairs, limit) and _are_short(pairs.values(), limit):
            return pairs
    return _Description(limit, repr).of(value)


def describe_result(value: Any, limit: int) -> Any:
    """What a function returned: scalars and texts whole, of all else its ``str``, cut like above."""
    return value if is_short(value, limit) else _Description(limit, str).of(value, result=True)


def text_of(value: Any, limit: int, how: Text = repr) -> str:
    """Text of any value, cut at ``limit`` characters, also of one whose ``repr`` fails."""
    return _Description(limit, how).text(value)


def error_text(error: BaseException, limit: int) -> str:
    """``KeyError: 'x'``, as the last line of a traceback says it."""
    text = text_of(error, limit, str)
    return f"{type_name(error)}: {text}" if text else type_name(error)


def is_short(value: Any, limit: int) -> bool:
    """Whether a value is its own description, as most arguments are."""
    kind = type(value)
    if kind in _CONSTANTS:
        return True
    if kind is str:
        return len(value) <= limit and (value.isascii() or _clean(value) == value)
    return kind is int and bool(-_LARGE < value < _LARGE)


_FAMILIES: tuple[tuple[Any, str], ...] = (
    (str, "text"),
    (int, "integer"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((list, tuple), "sequence"),
    ((dict, MappingProxyType), "pairs"),
    ((set, frozenset, deque, array), "shown as text"),
)


@functools.lru_cache(maxsize=512)
def _family(kind: Any) -> str:
    """How values of a type are described."""
    for types, family in _FAMILIES:
        if issubclass(kind, types):
            return family
    if _names_of_fields(kind) != []:
        return "record"
    return "mapping" if issubclass(kind, Mapping) else "other"


def _are_short(values: Iterable[Any], limit: int) -> bool:
    for value in values:  # a loop: ``all`` of a generator takes twice as long
        if not is_short(value, limit):
            return False
    return True


def field_names(value: Any) -> list[str]:
    """Fields of a dataclass or a pydantic model (v1 or v2) in order; none of anything else.

    Of a model they are those of its dump: computed and extra fields too, and
    none that it excludes.
    """
    kind = type(value)
    if kind in _BUILTINS:
        return []
    try:
        names = _names_of_fields(kind)  # type: ignore[arg-type]  # mypy thinks a class is not hashable
        return list(_model_fields(value)) if names is None else names
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - a look-alike: its class may answer anything
        pass
    return []


@functools.lru_cache(maxsize=512)
def _names_of_fields(kind: Any) -> list[str] | None:
    """Fields of a dataclass, none of another class; ``None`` of a model, whose objects may have more of their own."""
    if type(getattr(kind, "__dataclass_fields__", None)) is dict:
        return [field.name for field in fields(kind)]
    is_model = any(base.__name__ == "BaseModel" and base.__module__ in _MODEL_ROOMS for base in kind.__mro__)
    return None if is_model else []


def unpack(name: str, value: Any, limit: int, _inside: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Described fields of a dataclass or a model, nested ones too, as ``{name}_{field}``.

    One that is inside of itself is ``…`` there. Takes one step per column, so
    whoever has enough of them can stop.
    """
    known = _known_of(value, limit)
    if known is not None:
        for field, inner in known.pairs:
            yield f"{name}_{field}", inner
        return
    inside = (*_inside, id(value))
    for field, inner in _field_values(value, field_names(value)):
        key = f"{name}_{field}"
        if is_short(inner, limit):
            yield key, inner
        elif id(inner) in inside:
            yield key, "…"
        elif len(inside) < MAX_LEVELS and is_column(key) and field_names(inner):
            yield from unpack(key, inner, limit, inside)
        else:
            yield key, describe(inner, limit)


class _Known(NamedTuple):
    """A config that was described before: it is frozen, and all of its fields are short and cannot change."""

    of: weakref.ref[Any]
    limit: int
    text: str
    pairs: list[tuple[str, Any]]


#: By the identity of the object: equal ones may differ in type, and show it. One goes with its object.
_known: dict[int, _Known] = {}


def _know(value: Any, limit: int, text: str, pairs: list[tuple[str, Any]]) -> None:
    params = getattr(type(value), "__dataclass_params__", None)
    if getattr(params, "frozen", False) is True:
        place = id(value)
        with contextlib.suppress(TypeError):  # slots without a place for weak references
            _known[place] = _Known(weakref.ref(value, lambda _: _known.pop(place, None)), limit, text, pairs)


def _known_of(value: Any, limit: int) -> _Known | None:
    """What is known of this very object under this limit; the same config is often passed many times."""
    known = _known.get(id(value))
    return known if known is not None and known.limit == limit and known.of() is value else None


def is_column(key: str) -> bool:
    """Whether a column can have this name, as far as its length goes."""
    return (len(key) if key.isascii() else len(key.encode(errors="backslashreplace"))) <= MAX_KEY_BYTES


def type_name(value: Any) -> str:
    """The name of a value's class, whatever its metaclass makes of it."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return name


class _Shown(str):
    """A text that stands for an object, so without quotes inside of another text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class _Description:
    """A description in the making: how much of it is left, and the containers it is inside of."""

    def __init__(self, limit: int, how: Text) -> None:
        self.limit = self.left = limit
        self.how = how
        self.made: type[str] = str
        self.cut = False
        self.inside: list[int] = []
        self.until: float | None = None

    def of(self, value: Any, result: bool = False) -> Any:
        return value if is_short(value, self.limit) else self._odd(value, result)

    def _odd(self, value: Any, result: bool = False) -> Any:
        try:
            return self._of_result(value, type(value)) if result else self._of(value, type(value))
        except STOPS:
            raise
        except BaseException:  # noqa: BLE001 - no value for a log, or an object that answers oddly
            return self.text(value)

    def of_few(self, value: Any, items: list[Any]) -> list[Any]:
        """Of a list or tuple shorter than the limit, in place of the ``items`` that it had: quicker than ``of``."""
        self.inside.append(id(value))
        size, done = len(items), 0
        for place, item in enumerate(items):
            if type(item) not in _CONSTANTS and not is_short(item, self.limit):
                before = place + 1 - done  # short ones, and this
                if before > self.left:
                    break
                self.left -= before
                done = place + 1
                known = _known_of(item, self.limit)
                if known is not None and len(known.pairs) <= self.left:
                    self.left -= len(known.pairs)
                    items[place] = known.text
                else:
                    items[place] = self._odd(item)
        room = done + max(self.left, 0)
        if room < size:
            items[room:] = [f"…[{size} items]"]
        return items

    def text(self, value: Any, how: Text | None = None, otherwise: Callable[[], str] = str) -> str:
        """Text of a value, ``otherwise`` if it has none or those before it took too long."""
        now = time.monotonic()
        if self.until is None:
            self.until = now + MAX_SECONDS
        if now > self.until:
            return self.made(self._short(otherwise()) or f"<{type_name(value)}>")
        try:
            return self.made(self._short(str.__str__((how or self.how)(value))))
        except STOPS:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a ``__repr__`` raises, the call goes on
            return self.made(self._short(otherwise()) or _failed(value, error))

    def _of_result(self, value: Any, kind: type) -> Any:
        if issubclass(kind, str):
            return _clean(str.__str__(value))
        if kind is bytes or kind is int:
            return value
        if issubclass(kind, _STRUCTURES):
            return self._whole(value, f"[{len(value)} items]", lambda: str(self.of(value)))
        return self._of(value, kind)

    def _of(self, value: Any, kind: type) -> Any:
        # The type is asked, not the object: ``isinstance`` would read a ``__class__`` that it may make up.
        match _family(kind):
            case "record" if names := field_names(value):
                return self._record(value, names)
            case "text":
                return self._short(str.__str__(value))
            case "integer" if int.bit_length(value) > self.limit * _BITS_PER_DIGIT:
                self.cut = True
                return f"…[an integer of {int.bit_length(value)} bits]"
            case "bytes":
                return self._bytes(value)
            case "sequence":
                return self._within(value, lambda: self._items(value, f"[{len(value)} items]"))
            case "pairs":
                return self._within(value, lambda: self._pairs(value))
            case "shown as text":
                size = f"[{len(value)} items]"
                return self._whole(value, size, lambda: self._called(value, lambda: str(self._items(value, size))))
            case "mapping":  # one that reads a file, say, is not walked
                return self.text(value)
        return decode(encode(value, type_name(value)))

    def _within(self, value: Any, walk: Callable[[], Any]) -> Any:
        if id(value) in self.inside or len(self.inside) >= MAX_DEPTH:
            self.cut = True
            return self.made("…")
        self.inside.append(id(value))
        try:
            return walk()
        finally:
            self.inside.pop()

    def _whole(self, value: Any, size: str, walk: Callable[[], str]) -> str:
        """The text that a container has of itself, or where that is longer, what was seen in it."""
        cut, made = self.cut, self.made
        self.cut, self.made = False, _Shown
        try:
            walked = walk()
        finally:
            self.made = made
        if not self.cut:
            text = self.text(value, otherwise=lambda: walked)
        elif len(walked) <= self.limit:
            text = self.made(walked)
        else:
            text = self.made(_clean(walked[: self.limit]) + "…" + size)
        self.cut = self.cut or cut
        return text

    def _record(self, value: Any, names: list[str]) -> str:
        if len(names) <= self.left and len(self.inside) < MAX_DEPTH:
            pairs, limit = list(_field_values(value, names)), self.limit
            for _, inner in pairs:
                if type(inner) not in _CONSTANTS and not is_short(inner, limit):
                    break
            else:  # as in most configs: nothing in it is cut
                self.left -= len(pairs)
                text = self.text(value, otherwise=lambda: _called_with(value, pairs))
                if self.made is str and not self.cut:
                    _know(value, limit, text, pairs)
                return text
        size = f"[{len(names)} fields]"
        return self._whole(value, size, lambda: self._called(value, lambda: self._fields(value, names, size)))

    def _called(self, value: Any, walk: Callable[[], str]) -> str:
        return f"{type_name(value)}({self._within(value, walk)})"

    def _items(self, values: Iterable[Any], size: str) -> list[Any]:
        shown: list[Any] = []
        for value in values:
            if not self._takes_one():
                shown.append(self.made("…" + size))
                break
            shown.append(self.of(value))
        return shown

    def _pairs(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        shown: dict[Any, Any] = {}
        for key, value in values.items():
            if not self._takes_one():
                shown["…"] = f"[{len(values)} items]"
                break
            shown[key if is_short(key, self.limit) else self.text(key, str)] = self.of(value)
        return shown

    def _fields(self, value: Any, names: list[str], size: str) -> str:
        shown = []
        for name, inner in _field_values(value, names):
            if not self._takes_one():
                shown.append("…" + size)
                break
            shown.append(f"{name}={self.of(inner)!r}")
        return ", ".join(shown)

    def _takes_one(self) -> bool:
        self.left -= 1
        self.cut = self.cut or self.left < 0
        return self.left >= 0

    def _short(self, text: str) -> str:
        if len(text) <= self.limit:
            return _clean(text)
        self.cut = True
        return f"{_clean(text[: self.limit])}…[{len(text)} characters]"

    def _bytes(self, value: bytes | bytearray | memoryview) -> bytes | str:
        size = memoryview(value).nbytes
        if size <= self.limit:
            return bytes(value)
        self.cut = True
        return f"{repr(bytes(value[: self.limit]))[: self.limit]}…[{size} bytes]"


def _clean(text: str) -> str:
    """Text that a file can hold."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _called_with(value: Any, pairs: Iterable[tuple[str, Any]]) -> str:
    return f"{type_name(value)}({', '.join(f'{name}={inner!r}' for name, inner in pairs)})"


def _failed(value: Any, error: BaseException) -> str:
    return f"<{type_name(value)}, its text raised {type_name(error)}>"


def _model_fields(value: Any) -> Iterator[str]:
    kind = type(value)
    if hasattr(kind, "__pydantic_decorators__"):  # v2; asked for its v1 names, it warns
        yield from (name for name, field in kind.model_fields.items() if not field.exclude)
        yield from kind.__pydantic_decorators__.computed_fields
        yield from value.__pydantic_extra__ or ()
    else:
        declared = kind.__fields__
        yield from (name for name, field in declared.items() if not field.field_info.exclude)
        yield from (name for name in vars(value) if name not in declared)


def _field_values(value: Any, names: list[str]) -> Iterable[tuple[str, Any]]:
    """Fields and what is in them; one that was never set is left out."""
    try:
        stored = value.__dict__
        return [(name, stored[name]) for name in names]
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - slots, fields that are computed, an object that answers anything
        return _asked_for(value, names)


def _asked_for(value: Any, names: list[str]) -> Iterator[tuple[str, Any]]:
    for name in names:
        try:
            # A stored value first: pydantic warns where a deprecated field is asked for.
            stored = getattr(value, "__dict__", {})
            inner = stored[name] if name in stored else getattr(value, name)
        except AttributeError:
            continue
        except STOPS:
            raise
        except BaseException as error:  # noqa: BLE001 - a computed field, say
            inner = _failed(value, error)
        yield name, inner
