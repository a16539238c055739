"""`xt versions`: tagged versions of an experiment, their artifacts, and work trees for them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xetrack.cli.commands import command
from xetrack.cli.options import AsJson, EngineName, TableName
from xetrack.cli.output import Format, print_json, print_rows
from xetrack.config import Settings

if TYPE_CHECKING:
    from xetrack.workflow.versions import Version
    from xetrack.workflow.worktrees import Worktree

DbOption = Annotated[str | None, typer.Option("--db", metavar="DB", help="Store whose rows are told of.")]
VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="Such as e0.1.0.")]
Level = Annotated[str, typer.Option("--level", metavar="LEVEL", help="What to count up: major, minor or patch.")]


class Strategy(str, enum.Enum):
    """What ``--strategy`` may be."""

    AUTO = "auto"
    WORKTREE = "worktree"
    DVC_GET = "dvc-get"


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    family = typer.Typer(no_args_is_help=True, help="Versions of an experiment as git tags: list, tag, compare, fetch.")
    command(family, "list")(list_)
    for function in (show, diff, tag, suggest, get, checkout, worktree, worktrees, cleanup):
        command(family)(function)
    app.add_typer(family, name="versions")


def list_(
    sort: Annotated[str | None, typer.Option("--sort", metavar="FACT", help="Best first by what the tags say.")] = None,
    as_json: AsJson = False,
) -> None:
    """List all versions with what their tags say, oldest first."""
    from xetrack.workflow.explorer import list_versions

    print_versions(list_versions(sort=sort), as_json)


def print_versions(found: list[Version], as_json: bool) -> None:
    """Print a line for each version."""
    if as_json:
        print_json([version.to_dict() for version in found])
        return
    names = list(dict.fromkeys(name for version in found for name in version.facts))
    rows = [
        (version.name, version.created, version.commit[:7], *(version.facts.get(name) for name in names))
        for version in found
    ]
    print_rows(["version", "created", "commit", *names], rows, Format.TABLE)


def show(version: VersionName, db: DbOption = None, table: TableName = None, as_json: AsJson = False) -> None:
    """Show a version in full; with --db also what its store held then."""
    from xetrack.workflow.explorer import show as shown

    print_facts(shown(version, db, Settings.resolve(table=table).table), as_json)


def print_facts(facts: dict[str, Any], as_json: bool) -> None:
    """Print what is known of one thing."""
    if as_json:
        print_json(facts)
        return
    summary = facts.pop("summary", None)
    inner = facts.pop("facts", {})
    for name, value in {**facts, **inner}.items():
        typer.echo(f"{name}: {value}")
    if summary is not None:
        from xetrack.workflow.summary import as_markdown

        typer.echo()
        typer.echo(as_markdown(summary))


def diff(
    v1: Annotated[str, typer.Argument(metavar="V1", help="The earlier one.")],
    v2: Annotated[str, typer.Argument(metavar="V2", help="The later one.")],
    db: DbOption = None,
    table: TableName = None,
    as_json: AsJson = False,
) -> None:
    """Show what two versions say differently; with --db also the means of their metrics then."""
    from xetrack.workflow.explorer import diff as compared

    print_diff(compared(v1, v2, db, Settings.resolve(table=table).table), as_json)


def print_diff(found: dict[str, Any], as_json: bool) -> None:
    """Print two versions side by side."""
    if as_json:
        print_json(found)
        return
    rows = [("tag", name, both["v1"], both["v2"]) for name, both in found["facts"].items()]
    rows += [("mean", name, both["v1"], both["v2"]) for name, both in found.get("metrics", {}).items()]
    if "rows" in found:
        rows.append(("count", "rows", found["rows"]["v1"], found["rows"]["v2"]))
    print_rows(["of", "name", found["v1"], found["v2"]], rows, Format.TABLE)


@dataclass(frozen=True)
class Described:
    """What a tag's message is made from."""

    db: DbOption = None
    table: TableName = None
    engine: EngineName = None
    description: Annotated[str | None, typer.Option("--description", metavar="TEXT", help="Words to begin with.")] = (
        None
    )

    def message(self) -> str:
        """The message of the tag."""
        from xetrack.workflow.versions import describe

        if self.db is None:
            return self.description or ""
        settings = Settings.resolve(table=self.table, engine=self.engine)
        return describe(self.db, settings.table, engine=settings.engine, description=self.description)


def tag(
    described: Described,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="By default the next one.")] = None,
    level: Level = "patch",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the tag and make none.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tag the current commit with a version, and the newest run of --db as its message."""
    make_tag(version, described.message(), level, dry_run, as_json)


def make_tag(version: str | None, message: str, level: str, dry_run: bool, as_json: bool) -> None:
    """Make a tag, or only say what it would be."""
    from xetrack.workflow import versions

    name = version or versions.suggest(level=level)
    versions.check_new(name)
    if not dry_run:
        versions.tag(name, message)
    if as_json:
        print_json({"version": name, "message": message, "dry_run": dry_run})
    else:
        typer.echo(f"{name}  {message}")
        if dry_run:
            typer.echo("nothing was tagged: this was a dry run")


def suggest(level: Level = "patch", as_json: AsJson = False) -> None:
    """Print the next version."""
    from xetrack.workflow.versions import suggest as suggested

    name = suggested(level=level)
    if as_json:
        print_json({"version": name})
    else:
        typer.echo(name)


def get(
    version: VersionName,
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="Path of a file or of what DVC keeps.")],
    output: Annotated[str | None, typer.Option("--output", metavar="PATH", help="Where to write it.")] = None,
    strategy: Annotated[Strategy, typer.Option("--strategy", help="How to get it.")] = Strategy.AUTO,
    as_json: AsJson = False,
) -> None:
    """Write a file as it was in a version: from git, by `dvc get`, or from a work tree made for the moment."""
    from xetrack.workflow.explorer import get as fetched

    path = fetched(version, artifact, output, strategy=strategy.value)
    if as_json:
        print_json({"version": version, "artifact": artifact, "output": str(path)})
    else:
        typer.echo(path)


def checkout(
    version: VersionName,
    output: Annotated[str | None, typer.Option("--output", metavar="PATH", help="Folder of the work tree.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a work tree of a version beside the repository, to look around in."""
    from xetrack.workflow.worktrees import checkout as made

    print_worktrees([made(version, output=output)], as_json)


def worktree(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Branch of the experiment, made if it is not there.")],
    as_json: AsJson = False,
) -> None:
    """Make a work tree with a branch of its own beside the repository; it shares the cache of DVC."""
    from xetrack.workflow.worktrees import add

    print_worktrees([add(name)], as_json)


def worktrees(as_json: AsJson = False) -> None:
    """List the work trees of the repository."""
    from xetrack.workflow.worktrees import worktrees as listed

    print_worktrees(listed(), as_json)


def cleanup(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would go and remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the work trees of versions, but for those with changes."""
    from xetrack.workflow.worktrees import cleanup as removed

    print_worktrees(removed(dry_run=dry_run), as_json)


def print_worktrees(found: list[Worktree], as_json: bool) -> None:
    """Print a line for each work tree."""
    if as_json:
        print_json([tree.to_dict() for tree in found])
    else:
        print_rows(
            ["path", "commit", "branch"], [(tree.path, tree.commit[:7], tree.branch) for tree in found], Format.TABLE
        )
