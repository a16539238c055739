"""How a function becomes a command: bundles of options, and a DB that may be left out.

A parameter whose type is a dataclass stands for the options that are its fields,
so the vocabulary of ``options.py`` is written down once and a command takes what it
needs of it in a word.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from xetrack.config import store_of_environment
from xetrack.errors import InvalidArgument

F = TypeVar("F", bound=Callable[..., Any])

#: How names of stores end; what ends otherwise is one if its log is there.
STORE_SUFFIXES = (".db", ".duckdb", ".sqlite", ".sqlite3", ".events")


def command(app: typer.Typer, name: str | None = None, **settings: Any) -> Callable[[F], F]:
    """Add a function to an app as a command, with the fields of its bundles as options."""

    def add(function: F) -> F:
        app.command(name, cls=_Command, help=_unwrapped(function), **settings)(expanded(function))
        return function

    return add


def _unwrapped(function: Callable[..., Any]) -> str:
    """The docstring with a line for each paragraph: the terminal wraps it."""
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(function) or "").split("\n\n"))


def expanded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with each bundle among its parameters replaced by the bundle's fields.

    Arguments come first, then the function's own options, then those of the bundles.
    """
    # Not get_type_hints: on Python 3.10 it hides an Annotated whose default is None in an Optional.
    hints = inspect.get_annotations(function, eval_str=True)
    own: list[inspect.Parameter] = []
    shared: list[inspect.Parameter] = []
    bundles: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if inspect.isclass(hint) and is_dataclass(hint):
            bundles[parameter.name] = hint
            for made in _parameters_of(hint):
                (own if _is_argument(made.annotation) else shared).append(made)
        else:
            own.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hint))

    @functools.wraps(function)
    def call(**given: Any) -> Any:
        for name, bundle in bundles.items():
            given[name] = bundle(**{field.name: given.pop(field.name) for field in fields(bundle)})
        return function(**given)

    parameters = [*own, *shared]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect looks for
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _parameters_of(bundle: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(bundle)
    ]


def _is_argument(hint: Any) -> bool:
    from typer.models import ArgumentInfo

    return get_origin(hint) is Annotated and any(isinstance(extra, ArgumentInfo) for extra in get_args(hint)[1:])


class _Command(TyperCommand):
    """A command whose DB may be left out where ``$XETRACK_DB`` names one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing and args and self._takes_value(args[-1]):
            args = args[:-1]  # its value is being completed; without it nothing of the line would be known
        arguments = [parameter for parameter in self.params if parameter.param_type_name == "argument"]
        named = store_of_environment()
        places = [argument.name for argument in arguments]
        if named and "db" in places:
            given = self.make_parser(ctx).parse_args(args=list(args))[0].get("db")
            if places[0] != "db":
                args = args if isinstance(given, str) else [*args, named]
            elif not (isinstance(given, str) and is_store_name(given)):
                args = [named, *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InvalidArgument as error:
            for parameter in self.params:  # told as it is typed, not by its name in Python
                if parameter.name == error.name:
                    error.name = _typed_name(parameter)
            raise

    def _takes_value(self, text: str) -> bool:
        return any(text in option.opts and not getattr(option, "is_flag", False) for option in self.params)


def _typed_name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper()).strip("[]")
    return str(max(parameter.opts, key=len))


def is_store_name(text: str) -> bool:
    """Whether a first argument is taken for a DB, though ``$XETRACK_DB`` names one: by its end, or as it is there."""
    return text.endswith(STORE_SUFFIXES) or text.startswith("git:") or os.path.isdir(f"{text}.events")
