"""Imports run one way, and the walls stand: read from the source with ``ast``."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.docs_architecture import FLOORS as _FLOORS
from tests.conftest import ROOT

PACKAGE = ROOT / "xetrack"
#: Floors from the ground up, as docs/architecture.md shows them.
FLOORS = [{name.removesuffix("/").removesuffix(".py") for name in names} for names in _FLOORS]
#: Packages that are imported inside the function that needs them.
HEAVY = {"pandas", "numpy", "duckdb", "typer", "rich", "watchdog", "polars", "pyarrow", "diskcache", "plotext", "torch"}

ROOMS = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py" and path != PACKAGE / "__init__.py")


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _floor(room: str) -> int:
    top = room.split(".")[0]
    return next(number for number, names in enumerate(FLOORS) if top in names)


def _imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _all_imports(path: Path, *, for_types: bool = True) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in [] if for_types else list(ast.walk(tree)):
        if isinstance(node, ast.If) and _is_for_types(node):
            node.body = []
    return set(_imports(ast.walk(tree)))


def _is_for_types(node: ast.If) -> bool:
    return "TYPE_CHECKING" in ast.unparse(node.test)


def _top_imports(path: Path) -> set[str]:
    """Imports that run when the module is loaded: not those in functions, not those for types."""

    def walk(body: list[ast.stmt]) -> Iterator[ast.AST]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(node, ast.If) and _is_for_types(node):
                continue
            yield node
            for field in ("body", "orelse", "finalbody"):
                yield from walk(getattr(node, field, []))

    return set(_imports(walk(ast.parse(path.read_text(encoding="utf-8")).body)))


def _crossings(room: str, walls: set[str]) -> set[str]:
    """Imports of ``room`` behind a wall, but for names in annotations; a room that is not built crosses none."""
    path = PACKAGE / f"{room.replace('.', '/')}.py"
    found = _all_imports(path, for_types=False) if path.exists() else set()
    return {name for name in found if any(name == wall or name.startswith(f"{wall}.") for wall in walls)}


@pytest.mark.parametrize("path", ROOMS, ids=_name)
def test_imports_run_one_way(path: Path) -> None:
    own = _floor(_name(path))
    for name in _all_imports(path):
        top, _, rest = name.partition(".")
        if top == "xetrack" and rest.split(".")[0] in set().union(*FLOORS):
            assert _floor(rest) <= own, f"{_name(path)} imports {name} from a floor above"


@pytest.mark.parametrize("path", ROOMS, ids=_name)
def test_heavy_packages_load_where_they_are_used(path: Path) -> None:
    allowed = {"typer"} if _name(path).startswith("cli") else set()
    tops = {name.split(".")[0] for name in _top_imports(path)}
    assert not tops & (HEAVY - allowed)


@pytest.mark.parametrize(
    ("room", "walls"),
    [
        ("track.sampling", {"xetrack.log", "xetrack.store"}),
        ("track.functions", {"xetrack.log", "xetrack.store"}),
        ("track.tracker", {"xetrack.tables", "xetrack.log.segment", "xetrack.log.codec"}),
        ("read.reader", {"xetrack.tables", "xetrack.log", "os", "io"}),
        ("read.history", {"xetrack.log.segment", "xetrack.log.codec", "os", "io"}),
        ("read.steps", {"xetrack.store", "xetrack.config", "xetrack.log.log", "xetrack.log.segment", "os", "io"}),
        ("exchange.merge", {"xetrack.store", "xetrack.config"}),
        ("log.verify", {"xetrack.store", "xetrack.config"}),
        ("log.compaction", {"xetrack.store", "xetrack.config"}),
    ],
)
def test_walls_stand(room: str, walls: set[str]) -> None:
    assert not _crossings(room, walls)


#: Rooms of tables/ in which events become changes, and the one that brings both together; others see rows only.
OF_EVENTS = {"apply", "assets", "keeper", "projector", "runs", "state", "times"}


@pytest.mark.parametrize("path", [path for path in ROOMS if path.parent.name == "tables"], ids=_name)
def test_backends_never_see_an_event(path: Path) -> None:
    assert path.stem in OF_EVENTS or not _crossings(_name(path), {"xetrack.log.events", "xetrack.log.log"})


def test_log_knows_neither_tables_nor_how_a_store_is_opened() -> None:
    for path in (PACKAGE / "log").glob("*.py"):
        assert not _crossings(_name(path), {"xetrack.tables", "xetrack.store", "xetrack.config"}), path.name


@pytest.mark.parametrize("path", ROOMS, ids=_name)
def test_only_one_room_runs_git(path: Path) -> None:
    """Others may run what the user names: a command of ``xt watch``, a program that fetches artifacts."""
    runs_programs = "subprocess" in _all_imports(path)
    assert not runs_programs or _name(path) in {"exchange.git", "cli.watch", "workflow.worktrees"}
    commands = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if _begins_with_git(node)]
    assert not commands or _name(path) == "exchange.git"


def _begins_with_git(node: ast.AST) -> bool:
    """Whether it is the command line of a git program."""
    first = node.elts[0] if isinstance(node, ast.Tuple | ast.List) and node.elts else None
    return isinstance(first, ast.Constant) and first.value == "git"


@pytest.mark.parametrize("path", ROOMS, ids=_name)
def test_only_config_reads_the_environment(path: Path) -> None:
    reads = {
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv")
    }
    assert not reads or _name(path) == "config"


@pytest.mark.parametrize("path", ROOMS, ids=_name)
def test_every_room_says_at_the_door_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("statement", ["import xetrack", "from xetrack import Tracker, Reader"])
def test_import_loads_nothing_heavy(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint(*sorted(name for name in sys.modules if '.' not in name))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & HEAVY


def test_import_leaves_the_start_method_of_processes_alone() -> None:
    code = "import xetrack, multiprocessing; xetrack.Tracker; multiprocessing.set_start_method('spawn')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
