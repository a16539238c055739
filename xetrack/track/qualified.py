"""By which name a function or a class is found, the same in every process and on every host."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

MAX_LEVELS = 100


def module_of(thing: Any) -> tuple[str, str]:
    """Module of a function or class, as keys hold it and as people read it.

    A script's is ``__main__`` and the name it would be imported by, the same on
    every host and in the worker processes that it starts.
    """
    module = getattr(thing, "__module__", None) or ""
    if module not in ("__main__", "__mp_main__"):
        return module, module
    main = sys.modules.get(module)
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    name = spec.name if spec is not None else pathlib.Path(file).stem if file else "__main__"
    return f"__main__ {name}", name


def level_of(thing: Any) -> int | None:
    """How often what module and qualified name lead to must be unwrapped to get this; ``None`` if never."""
    return steps_to(thing, getattr(thing, "__qualname__", ""))


def steps_to(thing: Any, qualname: str) -> int | None:
    """The same of any name in the module of a thing."""
    try:
        found: Any = sys.modules[thing.__module__]
        for name in qualname.split("."):
            found = getattr(found, name)
        for level in range(MAX_LEVELS):
            if found is thing or getattr(found, "__func__", None) is thing:
                return level
            found = found.__wrapped__
    except Exception:  # noqa: BLE001 - a module or a class may answer an attribute with any error
        return None
    return None
