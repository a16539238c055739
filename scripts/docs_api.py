"""The text of docs/api.md: every public name with its signature and its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import xetrack
from xetrack.exchange.importers import ImportReport
from xetrack.exchange.report import MergeReport, RebaseReport
from xetrack.read.assets import AssetsView

_HEAD = """\
# Python API

Made from the docstrings by `scripts/docs`. `Tracker`, `Reader` and the functions are imported from `xetrack`
itself. Errors are in [errors.md](errors.md).
"""
#: What public names give, in the order of this page.
_CLASSES = [xetrack.Tracker, xetrack.Reader, AssetsView]
_RESULTS = [MergeReport, RebaseReport, ImportReport]
_SECTION = re.compile(r"^(Args|Raises|Returns):$")


def api_page() -> str:
    """Classes, functions, and what functions give."""
    functions = [getattr(xetrack, name) for name in xetrack.__all__]
    parts = [_HEAD]
    for cls in _CLASSES:
        parts += _class(cls)
    parts.append("\n## Functions\n")
    parts += [_entry(one.__name__, one) for one in functions if inspect.isfunction(one)]
    parts.append("\n## Results\n")
    for cls in _RESULTS:
        parts.append(f"\n### `{cls.__name__}`\n\n{_text(cls)}")
        parts += [_entry(name, member, level="####") for name, member in _members(cls)]
    return "".join(parts)


def _class(cls: type) -> list[str]:
    name = cls.__name__
    parts = [f"\n## `{name}`\n\n{_text(cls)}"]
    if "__init__" in vars(cls) and cls is not AssetsView:
        parts.append(_entry(name, vars(cls)["__init__"]))
    parts += [_entry(member_name, member, of=name) for member_name, member in _members(cls)]
    return parts


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties with a docstring, inherited ones of our own too, in the order of the source."""
    seen: set[str] = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("xetrack"):
            continue
        for name, member in vars(base).items():
            shown = not name.startswith("_") or name in ("__len__", "__getitem__", "__contains__", "__iter__")
            if name in seen or not shown:
                continue
            seen.add(name)
            inner = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if inspect.isfunction(inner) or isinstance(inner, property):
                yield name, member


def _entry(name: str, member: Any, of: str = "", level: str = "###") -> str:
    inner = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    prefix = f"{of}." if isinstance(member, classmethod | staticmethod) and of else ""
    if isinstance(inner, property):
        return f"\n{level} `{name}`\n\n{_text(inner)}"
    signature = inspect.signature(inner)
    kept = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
    returns = signature.return_annotation
    arrow = "" if returns in (inspect.Signature.empty, "None", None) else f" -> {_shown(returns)}"
    arguments = ", ".join(_parameter(one, kept, at) for at, one in enumerate(kept))
    return f"\n{level} `{prefix}{name}`\n\n```text\n{name}({arguments}){arrow}\n```\n\n{_text(inner)}"


def _parameter(one: inspect.Parameter, all_of_them: list[inspect.Parameter], at: int) -> str:
    text = f"*{one.name}" if one.kind is inspect.Parameter.VAR_POSITIONAL else one.name
    if one.annotation is not inspect.Parameter.empty:
        text += f": {_shown(one.annotation)}"
    if one.default is not inspect.Parameter.empty:
        text += f" = {one.default!r}"
    starred = any(earlier.kind is inspect.Parameter.VAR_POSITIONAL for earlier in all_of_them[:at])
    first = at == 0 or all_of_them[at - 1].kind is not inspect.Parameter.KEYWORD_ONLY
    if one.kind is inspect.Parameter.KEYWORD_ONLY and first and not starred:
        text = f"*, {text}"
    return text


def _shown(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else str(getattr(annotation, "__name__", annotation))


def _text(member: Any) -> str:
    """A docstring as Markdown: sections become lists, examples code."""
    lines, found, listed, code = inspect.cleandoc(member.__doc__ or "").splitlines(), [], False, False
    for line in lines:
        if line.startswith((">>> ", "... ")) != code:
            code = not code
            found.append("```text" if code else "```")
        section = _SECTION.match(line)
        if section:
            listed = True
            found += [f"**{section[1]}**", ""]
        elif listed and line.startswith("        "):
            found[-1] += f" {line.strip()}"
        elif listed and line.startswith("    "):
            name, _, rest = line.strip().partition(": ")
            found.append(f"* `{name}`: {rest}" if rest else f"* {name}")
        else:
            listed = listed and not line
            found.append(line.replace("``", "`"))
    return "\n".join([*found, *(["```"] if code else []), ""])
