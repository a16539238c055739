"""The programs in ``scripts/`` for benchmarks: the commands of ``xt`` under the names and options of older guides."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from xetrack.cli import benchmark, cache, versions
from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, Db, EngineName
from xetrack.cli.output import print_json
from xetrack.cli.versions import Strategy
from xetrack.errors import InvalidArgument, XetrackError

Table = Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Table of the store.")]
VersionOption = Annotated[str | None, typer.Option("--version", metavar="VERSION", help="Such as e0.1.0.")]
TableOption = Annotated[str, typer.Option("--table", metavar="NAME", help="Table of the store.")]


def _run(app: typer.Typer) -> None:
    """Run a program; an error is told in one line and ends with its exit code."""
    try:
        app()
    except XetrackError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)


def _program(*functions: Callable[..., Any], help: str | None = None) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, help=help, no_args_is_help=bool(help))
    for function in functions:
        command(app, function.__name__.rstrip("_"))(function)
    return app


def validate_benchmark() -> None:
    """``validate_benchmark.py DB [TABLE]``"""

    def validate(
        db: Db,
        table: Table = None,
        engine: EngineName = None,
        split: benchmark.Split = None,
        item: benchmark.Item = None,
        as_json: AsJson = False,
    ) -> None:
        """Check a table for failures, duplicates, leaks, gaps, renames and unrounded floats; exit status 1 if any."""
        benchmark.validate(db, table, engine, split, item, as_json)

    _run(_program(validate))


def analyze_cache_hits() -> None:
    """``analyze_cache_hits.py DB [TABLE]``"""

    def analyze(db: Db, table: Table = None, engine: EngineName = None, as_json: AsJson = False) -> None:
        """Count the hits and misses of tracked calls, and the time that hits saved."""
        cache.hits(db, table, engine, as_json)

    _run(_program(analyze))


def export_summary() -> None:
    """``export_summary.py DB [TABLE]``"""

    def summary(db: Db, table: Table = None, engine: EngineName = None, as_json: AsJson = False) -> None:
        """Print a table as a page of Markdown."""
        benchmark.summary(db, table, engine, as_json)

    _run(_program(summary))


def version_tag() -> None:
    """``version_tag.py --version e0.1.0 --db track.db``"""

    def tag(
        name: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="The same as --version.")] = None,
        version: VersionOption = None,
        db: versions.DbOption = None,
        table: TableOption = "default",
        description: Annotated[str | None, typer.Option("--description", metavar="TEXT")] = None,
        suggest: Annotated[bool, typer.Option("--suggest", help="Print the next version.")] = False,
        list_: Annotated[bool, typer.Option("--list", help="List all versions.")] = False,
        show: Annotated[bool, typer.Option("--show", help="Show --version in full.")] = False,
        level: versions.Level = "patch",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the tag and make none.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Tag the current commit with a version, and the newest run of a store as its message."""
        version = version or name
        if suggest:
            versions.suggest(level, as_json)
        elif list_:
            versions.list_(None, as_json)
        elif show:
            versions.show(_needed("--version", version), db, table, as_json)
        else:
            described = versions.Described(db, table, None, description)
            versions.make_tag(_needed("--version", version), described.message(), level, dry_run, as_json)

    _run(_program(tag))


def experiment_explorer() -> None:
    """``experiment_explorer.py list|show|diff|get|checkout|worktrees|cleanup``"""

    def list_(
        sort: Annotated[str | None, typer.Option("--sort", metavar="FACT", help="Best first by it.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """List all versions with what their tags say."""
        versions.list_(sort, as_json)

    def show(
        version: VersionOption = None,
        db: versions.DbOption = None,
        table: TableOption = "default",
        as_json: AsJson = False,
    ) -> None:
        """Show a version in full; with --db also what its store held then."""
        versions.show(_needed("--version", version), db, table, as_json)

    def diff(
        v1: Annotated[str | None, typer.Option("--v1", metavar="VERSION")] = None,
        v2: Annotated[str | None, typer.Option("--v2", metavar="VERSION")] = None,
        db: versions.DbOption = None,
        table: TableOption = "default",
        as_json: AsJson = False,
    ) -> None:
        """Show what two versions say differently."""
        versions.diff(_needed("--v1", v1), _needed("--v2", v2), db, table, as_json)

    def get(
        version: VersionOption = None,
        artifact: Annotated[str | None, typer.Option("--artifact", metavar="PATH")] = None,
        output: Annotated[str | None, typer.Option("--output", metavar="PATH")] = None,
        strategy: Annotated[Strategy, typer.Option("--strategy")] = Strategy.AUTO,
        as_json: AsJson = False,
    ) -> None:
        """Write a file as it was in a version."""
        versions.get(_needed("--version", version), _needed("--artifact", artifact), output, strategy, as_json)

    def checkout(
        version: VersionOption = None,
        output: Annotated[str | None, typer.Option("--output", metavar="PATH")] = None,
        as_json: AsJson = False,
    ) -> None:
        """Make a work tree of a version."""
        versions.checkout(_needed("--version", version), output, as_json)

    def worktrees(as_json: AsJson = False) -> None:
        """List the work trees of the repository."""
        versions.worktrees(as_json)

    def cleanup(
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would go.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Remove the work trees of versions."""
        versions.cleanup(dry_run, as_json)

    _run(_program(list_, show, diff, get, checkout, worktrees, cleanup, help="Past experiments, by their tags."))


def model_manager() -> None:
    """``model_manager.py promote|prune|list``"""
    from xetrack.cli import models

    _run(_program(models.promote, models.prune, models.list_, help="The model in production, and the candidates."))


def merge_artifacts() -> None:
    """``merge_artifacts.py --strategy rebase --base-db main.db --exp-db a.db b.db --output-db all.db``"""
    many = ("--exp-db", "--exp-data", "--key-columns")

    def combine(
        strategy: Annotated[str, typer.Option("--strategy", help="merge or rebase.")] = "merge",
        base_db: Annotated[str | None, typer.Option("--base-db", metavar="DB")] = None,
        exp_db: Annotated[list[str] | None, typer.Option("--exp-db", metavar="DB...", help="One or more.")] = None,
        output_db: Annotated[
            str | None, typer.Option("--output-db", metavar="DB", help="By default --base-db.")
        ] = None,
        table: TableOption = "default",
        key_columns: Annotated[list[str] | None, typer.Option("--key-columns", metavar="COL...")] = None,
        base_data: Annotated[str | None, typer.Option("--base-data", metavar="FILE")] = None,
        exp_data: Annotated[
            list[str] | None, typer.Option("--exp-data", metavar="FILE...", help="One or more.")
        ] = None,
        output_data: Annotated[str | None, typer.Option("--output-data", metavar="FILE")] = None,
        data_strategy: Annotated[str | None, typer.Option("--data-strategy", help="By default --strategy.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """Bring the stores, or the data files, of experiments together: all rows, or theirs in place of equal keys."""
        from xetrack.workflow.artifacts import combine_data, combine_stores

        keys, found = key_columns or [], {}
        if base_db is None and base_data is None:
            raise InvalidArgument("--base-db", "neither a store nor a data file is named")
        if base_db is not None:
            found["db"] = combine_stores(base_db, exp_db or [], output_db or base_db, strategy, table, keys)
        if base_data is not None:
            output = _needed("--output-data", output_data)
            found["data"] = combine_data(base_data, exp_data or [], output, data_strategy or strategy, keys)
        if as_json:
            print_json(found)
        for what, one in found.items():
            if not as_json:
                typer.echo(f"{what}: {one['strategy']} into {one['output']}")

    sys.argv[1:] = _repeated(sys.argv[1:], many)
    _run(_program(combine))


def _repeated(args: list[str], options: tuple[str, ...]) -> list[str]:
    """``--exp-db a b`` as ``--exp-db a --exp-db b``."""
    found: list[str] = []
    current = None
    for arg in args:
        if arg.startswith("-"):
            current = arg if arg in options else None
            found.append(arg)
        elif current is not None and found[-1] != current:
            found += [current, arg]
        else:
            found.append(arg)
    return found


def _needed(option: str, given: str | None) -> str:
    if given is None:
        raise InvalidArgument(option, "it is needed here")
    return given
