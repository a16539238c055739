"""`xt models`: which model is in production, which are candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from xetrack.cli.asking import ask
from xetrack.cli.commands import command
from xetrack.cli.options import AsJson
from xetrack.cli.output import Format, print_json, print_rows
from xetrack.config import DEFAULT_DB

if TYPE_CHECKING:
    from xetrack.workflow.models import Model, Models


@dataclass(frozen=True)
class Where:
    """The models' folder, and the store that is their index."""

    db: Annotated[
        str | None, typer.Option("--db", metavar="DB", help="Store with the table `models`, else track.db.")
    ] = None
    folder: Annotated[str, typer.Option("--models-dir", metavar="FOLDER", help="Folder of the models.")] = "models"

    def models(self, *, makes_store: bool = False) -> Models:
        """The models there. A store that was named must be there, unless it may be made."""
        from xetrack.store import open_store
        from xetrack.workflow.models import Models

        if self.db is not None and not makes_store:
            open_store(self.db).close()
        return Models(self.folder, self.db or DEFAULT_DB)


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    family = typer.Typer(no_args_is_help=True, help="Promote a model to production, keep the best candidates.")
    command(family, "list")(list_)
    for function in (promote, prune):
        command(family)(function)
    app.add_typer(family, name="models")


def list_(where: Where, as_json: AsJson = False) -> None:
    """List the model in production and the candidates, best first."""
    _print(where.models().all(), as_json)


def promote(
    where: Where,
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a candidate, or path of a file.")],
    metric: Annotated[str | None, typer.Option("--metric", metavar="NAME", help="What it is the best by.")] = None,
    score: Annotated[float | None, typer.Option("--score", help="Its value of the metric.")] = None,
    version: Annotated[str | None, typer.Option("--version", metavar="VERSION", help="Of which version it is.")] = None,
    as_json: AsJson = False,
) -> None:
    """Move a candidate into production; what was there becomes a candidate."""
    _print([where.models(makes_store=True).promote(name, metric=metric, score=score, version=version)], as_json)


def prune(
    where: Where,
    keep: Annotated[int, typer.Option("--keep", min=0, help="How many candidates stay.")] = 5,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would go and remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the candidates that are not among the best; their files are gone then."""
    models = where.models()
    going = models.prunable(keep)
    if going and not dry_run:
        ask("xt models prune", f"Remove {', '.join(model.name for model in going)}?", yes)
        models.prune(going)
    _print(going, as_json)


def _print(models: list[Model], as_json: bool) -> None:
    if as_json:
        print_json([model.to_dict() for model in models])
        return
    rows = [
        (one.name, one.place, one.metric, one.score, one.version, one.size_bytes, one.sha256[:16]) for one in models
    ]
    print_rows(["model", "place", "metric", "score", "version", "size_bytes", "sha256"], rows, Format.TABLE)
