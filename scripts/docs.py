"""Write the pages of docs/ that are made from the code. `tests/` fails when one has drifted."""

from __future__ import annotations

import enum
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from typer.models import ArgumentInfo

from scripts import peers_picture
from scripts.bench_peers import as_markdown
from scripts.docs_api import api_page
from scripts.docs_architecture import architecture_page
from xetrack import errors
from xetrack.cli.root import FAMILIES, app, family
from xetrack.errors import NotFound, XetrackError

DOCS = Path(__file__).resolve().parent.parent / "docs"

_ERRORS_HEAD = """\
# Errors

Made from `xetrack/errors.py` by `scripts/docs`. Every error is an `XetrackError`. Its facts are attributes, named in
braces below; `summary` is the message and `advice` the hint. `xt` prints both and ends with the exit code.
"""


_CLI_HEAD = """\
# Commands of `xt`

Made from `xetrack/cli/` by `scripts/docs`. Exit codes: 0 done, 1 failure or damage found, 2 wrong usage, 3 not found.
`xt --version` prints the release. `--debug` with any command shows the traceback of an error.

`DB` may be left out where `$XETRACK_DB` names a store: then a first argument is taken for the DB if it ends in `.db`,
`.duckdb`, `.sqlite`, `.sqlite3` or `.events`, or if a store of that name is there, and else for the argument behind it.

`--where` is a condition in the SQL of the engine, also about keys past the column limit; `xt export`, `xt redact`,
`xt tail -f` and what prints other rows than a table's (`xt runs`, `xt columns`, `xt sql`) take SQLite's.

SQLite has no NaN: where one was logged its tables have an empty cell, `null` in JSON, and `loss IS NULL` finds it.
DuckDB's have NaN, in JSON the text `"NaN"`; there it is larger than any number, so `loss > 0.5` finds it and
`NOT isnan(loss)` leaves it out. `--sort` has it among the empty cells, last, and `xt log` shows it, in both.
"""


def cli_page() -> str:
    """The text of docs/cli.md."""
    return _CLI_HEAD + "".join(_command(name, callback) for name, callback in commands().items())


def commands() -> dict[str, Callable[..., Any]]:
    """The function of every command by its name, those of groups as ``assets ls``, in the order of the help."""
    found: dict[str, Callable[..., Any]] = {}
    for module in FAMILIES:
        made = family(module)
        groups = [("", made), *((f"{group.name} ", group.typer_instance) for group in made.registered_groups)]
        for prefix, group in groups:
            for info in group.registered_commands if group else []:
                callback: Any = info.callback
                found[prefix + (info.name or callback.__name__)] = callback
    return found


def _command(name: str, command: Callable[..., object]) -> str:
    arguments, options = [], []
    hints = inspect.get_annotations(command, eval_str=True)
    for parameter in inspect.signature(command).parameters.values():
        kind, info = _annotation(hints[parameter.name])
        if isinstance(info, ArgumentInfo):
            arguments.append(info.metavar or parameter.name.upper())
        options.append(_option(parameter, kind, info))
    text = inspect.cleandoc(command.__doc__ or "")
    rows = "\n".join(options)
    return f"\n## `xt {' '.join([name, *arguments])}`\n\n{text}\n\n| argument | | default |\n|---|---|---|\n{rows}\n"


def _annotation(hint: Any) -> tuple[Any, Any]:
    """Type and Typer's description of a parameter; Python 3.10 wraps those that default to None once more."""
    parts = get_args(hint)
    if get_origin(hint) is not Annotated:
        parts = next(get_args(part) for part in parts if get_origin(part) is Annotated)
    return parts[0], parts[1]


def _option(parameter: inspect.Parameter, kind: Any, info: Any) -> str:
    if isinstance(info, ArgumentInfo):
        names, default = info.metavar or parameter.name.upper(), parameter.default
    else:
        # Typer keeps the first name of an annotated option where a default would stand.
        names, default = ", ".join([info.default, *info.param_decls]), parameter.default
        if info.metavar:
            names += f" {info.metavar}"
    text = info.help
    for choices in (kind, *get_args(kind)):
        if inspect.isclass(choices) and issubclass(choices, enum.Enum):
            text += f" One of {', '.join(choice.value for choice in choices)}."
    if isinstance(default, enum.Enum):
        default = default.value
    shown = "" if default in (None, False, inspect.Parameter.empty) else f"`{default}`"
    return f"| `{names}` | {text} | {shown} |"


def errors_page() -> str:
    """The text of docs/errors.md."""
    return _ERRORS_HEAD + "".join(_branch(XetrackError))


def _branch(cls: type[XetrackError]) -> list[str]:
    leaves = [sub for sub in cls.__subclasses__() if not sub.__subclasses__() and sub.__bases__[0] is cls]
    parts = [f"\n## `{cls.__name__}`, exit code {cls.exit_code}\n\n{_meaning(cls)}\n"]
    parts += [_entry(leaf) for leaf in leaves]
    for sub in cls.__subclasses__():
        if sub.__subclasses__():
            parts += _branch(sub)
    return parts


def _entry(cls: type[XetrackError]) -> str:
    hint = f"{cls.hint} (without near matches: {cls.hint_without_near})" if issubclass(cls, NotFound) else cls.hint
    hint = cls.hint if hint.endswith("(without near matches: )") else hint
    return f"\n### `{cls.__name__}`\n\n{_meaning(cls)}\n\n    {cls.message}\n    {hint}\n"


_PEERS = "<!-- The table is made from docs/peers.json by scripts/docs. -->\n\n"


def performance_page(text: str) -> str:
    """The text of docs/performance.md with its table of peers made anew."""
    before, _, rest = text.partition(_PEERS)
    after = rest.partition("\n\n## ")[2]
    table = as_markdown(json.loads(peers_picture.RESULT.read_text(encoding="utf-8")))
    return f"{before}{_PEERS}{table}\n\n## {after}"


def _meaning(cls: type[XetrackError]) -> str:
    return (cls.__doc__ or "").strip()


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    (DOCS / "errors.md").write_text(errors_page(), encoding="utf-8")
    (DOCS / "cli.md").write_text(cli_page(), encoding="utf-8")
    (DOCS / "api.md").write_text(api_page(), encoding="utf-8")
    (DOCS / "architecture.md").write_text(architecture_page(), encoding="utf-8")
    performance = DOCS / "performance.md"
    performance.write_text(performance_page(performance.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote errors.md from {errors.__name__}, cli.md from {app.info.name}, and from docstrings", end=" ")
    print(f"api.md and architecture.md, and the peers' table of performance.md to {DOCS}")


if __name__ == "__main__":
    main()
