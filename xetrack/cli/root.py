"""The app, its global options, and the one error handler of the command line.

An error is one line on stderr, its message and its hint, and ends with the exit code
of its class: 1 failure, 2 wrong usage, 3 not found; an interrupt with 130. A reader
that stops early, such as ``head``, ends the command without a word. The module of
a command family is loaded when one of its commands is asked for.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

import xetrack
from xetrack.cli.interrupts import INTERRUPTED, heeded, pressed
from xetrack.errors import XetrackError

#: New objects until the collector looks for garbage.
_COLLECTED_AFTER = 20_000
#: Modules of this floor, and the commands that each adds to the app, in the order of the help.
FAMILIES = {
    "rows": "head tail ls columns",
    "query": "sql",
    "runs": "runs show compare best",
    "stats": "stats",
    "plots": "plot",
    "change": "set delete",
    "history": "log blame undo protect",
    "export": "export",
    "importing": "import",
    "merge": "merge rebase copy",
    "redact": "redact",
    "diff": "diff",
    "git": "git",
    "assets": "assets",
    "cache": "cache",
    "benchmark": "validate summary",
    "versions": "versions",
    "models": "models",
    "skills": "skills",
    "watch": "watch",
    "upkeep": "replay verify compact",
}
#: What the parser raises; typer hands on only the most special kind, and where it is defined depends on its release.
_WrongUsage: Any = typer.BadParameter.__mro__[1]


class _Commands(TyperGroup):
    """Finds commands, and turns what they raise into a message and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        if "--debug" in args[:end]:  # wherever it is typed, it is the app's option
            args = ["--debug", *(arg for i, arg in enumerate(args) if i >= end or arg != "--debug")]
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().make_context(*args, **kwargs)
        except _WrongUsage as error:
            raise _told(error) from error

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for names in FAMILIES.values() for name in names.split()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            for module, names in FAMILIES.items():
                if cmd_name in names.split():
                    self.commands.update(typer.main.get_group(family(module)).commands)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not ctx.resilient_parsing and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from difflib import get_close_matches

            near = " or ".join(get_close_matches(args[0], self.list_commands(ctx)))
            ctx.fail(f"No such command '{args[0]}'.{f' Did you mean {near}?' if near else ''}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                result = super().invoke(ctx)
                sys.stdout.flush()
                return result
            except Exception as error:
                if pressed():
                    raise KeyboardInterrupt from error
                raise
        except _WrongUsage as error:
            raise _told(error) from error
        except BrokenPipeError:
            # The reader has what it wanted; the exit must not flush into the pipe again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            typer.echo("xt: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            if error.filename is not None:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            typer.echo(f"xt: The output cannot be written: {error.strerror}.", err=True)
            raise typer.Exit(1) from error
        except XetrackError as error:
            from xetrack.cli.output import visible

            if ctx.params.get("debug"):
                import traceback

                traceback.print_exc()
            typer.echo("\n".join(map(visible, f"xt: {error}".split("\n"))), err=True)
            raise typer.Exit(error.exit_code) from error


def _told(error: Any) -> Exception:
    """The exit of a wrong usage, told in one line; the error itself where its words are the help of a command group."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return cast(Exception, error)
    from xetrack.cli.output import visible

    message = visible(" ".join(error.format_message().split()))
    more = f" Try '{error.ctx.command_path} --help'." if error.ctx else ""
    typer.echo(f"xt: {message}{'' if message.endswith(('.', '?')) else '.'}{more}", err=True)
    return typer.Exit(error.exit_code)


app = typer.Typer(
    name="xt",
    cls=_Commands,
    help="Look at, change and check an experiment store. Without a command: the stores of this folder.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def family(module: str) -> typer.Typer:
    """The commands of one family, in an app of their own."""
    made = typer.Typer()
    import_module(f"xetrack.cli.{module}").register(made)
    return made


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xetrack {xetrack.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the release and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback if a command fails.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Without a command: the stores of this folder as JSON.")
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        from xetrack.cli import here

        here.show(as_json=as_json)


def main() -> None:
    """Run the command line; the entry point of `xt` and `python -m xetrack`."""
    # Imports make objects that stay: the collector need not look at all of them time and again.
    gc.set_threshold(_COLLECTED_AFTER)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # for as long as the program runs
    if sys.stdout is None:
        typer.echo("xt: The output cannot be written: standard output is closed.", err=True)
        sys.exit(1)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with heeded():
            app()
    except Exception as error:  # the last resort: a bug, told in one line
        if "--debug" in sys.argv:
            raise
        said = f"unexpected {type(error).__name__}: {error}. This is a bug; the same command with --debug shows where."
        typer.echo(f"xt: {said}", err=True)
        sys.exit(1)
