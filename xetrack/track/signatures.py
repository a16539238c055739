"""What a function is and takes: its name, its kind, its parameters.

Answers for anything that can be called, also where ``inspect`` gives up or a
callable answers oddly: then by position, never by an error.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any, Literal

from xetrack.track.describe import STOPS, field_names, type_name

Kind = Literal["plain", "coroutine", "generator", "async generator"]

_OBJECTS = ("self", "cls")
_FLAGS = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def name_of(func: Callable[..., Any]) -> str:
    """The name a function is known by, also of a partial or a callable object."""
    if type(func) is FunctionType:
        return func.__name__
    while isinstance(func, functools.partial):
        func = func.func
    try:
        name = func.__name__
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - an object may answer anything
        name = None
    return name if type(name) is str else type_name(func)


def kind_of(func: Callable[..., Any]) -> Kind:
    """What a call of the function makes, as ``inspect`` sees it; of an object, its ``__call__``."""
    if type(func) is FunctionType and not func.__code__.co_flags & _FLAGS and not func.__dict__:
        return "plain"
    try:
        while isinstance(func, functools.partial):
            func = func.func
        is_object = not inspect.isroutine(func) and not isinstance(func, type)
        for called in (func, type(func).__call__) if is_object else (func,):
            if inspect.iscoroutinefunction(called):
                return "coroutine"
            if inspect.isgeneratorfunction(called):
                return "generator"
            if inspect.isasyncgenfunction(called):
                return "async generator"
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - as above
        pass
    return "plain"


def takes_object(func: Callable[..., Any], args: Sequence[Any]) -> bool:
    """Whether the first argument is the object or class of a method, which is no argument of the call.

    A function in the body of a class does not know that it is a method, so the
    name of its first parameter tells: ``self`` or ``cls``.
    """
    inner = _innermost(func) if args else None
    return type(inner) is FunctionType and _first_parameter(inner.__code__) in _OBJECTS


def _first_parameter(code: CodeType) -> str:
    return code.co_varnames[0] if code.co_argcount else ""


def records_of(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Arguments that are dataclasses or models, by parameter name, defaults included; ``*rest`` as ``rest_0``."""
    if not (_any_record(args) or _any_record(kwargs.values())):
        inner = _innermost(func.__func__ if type(func) is MethodType else func)
        if type(inner) is BuiltinFunctionType:
            return []
        if type(inner) is FunctionType:
            if not (_any_record(inner.__defaults__ or ()) or _any_record((inner.__kwdefaults__ or {}).values())):
                return []  # as most calls; a signature takes longer than all else
    while isinstance(func, functools.partial):
        args, kwargs = (*func.args, *args), {**func.keywords, **kwargs}
        func = func.func
    named = _bound(func, args, kwargs)
    return [(name, value) for name, value in named[takes_object(func, args) :] if field_names(value)]


def _any_record(values: Iterable[Any]) -> bool:
    for value in values:  # a loop: ``any`` of a generator takes twice as long
        if field_names(value):
            return True
    return False


def _innermost(func: Any) -> Any:
    """The function behind its decorators, as far as they tell; anything else that is called stays what it is."""
    kind = type(func)
    # What a class body binds like a function, such as that of ``lru_cache``. A method is bound already.
    if kind is MethodType or (kind is FunctionType and not func.__dict__) or not hasattr(kind, "__get__"):
        return func
    try:
        return inspect.unwrap(func)
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - a circle, or an object that answers anything
        return func


def _bound(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    named = _bound_by_name(func, args, kwargs)
    if named is not None:
        return named
    try:
        bound = inspect.signature(func).bind(*args, **kwargs)
        bound.apply_defaults()
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - a builtin, a signature that lies, a call that will fail by itself
        return [*((f"arg_{number}", value) for number, value in enumerate(args)), *kwargs.items()]
    named = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named += [(f"{name}_{number}", item) for number, item in enumerate(value)]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named += value.items()
        else:
            named.append((name, value))
    return named


def _bound_by_name(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[tuple[str, Any]] | None:
    """What ``inspect.signature`` would bind, of a plain function and a plain call of it: a tenth of the time."""
    if type(func) is not FunctionType or func.__dict__:
        return None
    code = func.__code__
    count = code.co_argcount
    if code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS) or code.co_posonlyargcount or len(args) > count:
        return None
    names = code.co_varnames[: count + code.co_kwonlyargcount]
    if len(args) == len(names) and not kwargs:
        return list(zip(names, args, strict=True))
    given = dict(zip(names, args, strict=False))
    if not given.keys().isdisjoint(kwargs):
        return None
    defaults = func.__defaults__ or ()
    values = {**dict(zip(names[count - len(defaults) : count], defaults, strict=True)), **(func.__kwdefaults__ or {})}
    values = {**values, **given, **kwargs}
    if values.keys() != set(names):
        return None
    return [(name, values[name]) for name in names]
