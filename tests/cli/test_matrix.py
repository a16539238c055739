"""Every command of the app, on both engines: a small store, an empty one, what is missing, a pipe, a terminal.

The list of commands comes from the app: one that has no case here fails.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.cli.conftest import Call
from tests.cli.terminals import on_terminal
from tests.conftest import Git
from xetrack import Reader, Tracker
from xetrack.cli import app
from xetrack.track.cache import FunctionCache

ENGINES = ["sqlite", "duckdb"]


@dataclass(frozen=True)
class Case:
    """How a command is called, and what it then says.

    In lines ``DB`` is the store and ``OTHER`` another one. ``out`` is what stdout has, ``empty`` the exit code on a
    store without rows and what is said of it, ``absent`` a line that names nothing there, with its exit code and a
    word of the message, where that is not the line itself with another DB.
    """

    line: str
    out: str
    empty: tuple[int, str] | None = None
    err: str = ""
    absent: tuple[str, int, str] | None = None
    column: str | None = None
    framed: bool = False
    git: bool = False


_NO_RUN = (3, "There is no run 'calm-otter-1'")
_NO_LOSS = (3, "There is no column 'loss'")
_NO_TABLES = (3, "no tables so far")
_NO_ASSET = (3, "There is no asset 'net'")
NO_REPOSITORY = "not a git repository"
_NO_VERSION = "e9.9.9"

#: By the words behind `xt`.
CASES = {
    "head": Case("DB", r"calm-otter-1 .*\n.*\n.*\n.*bold-lynx-2", (0, r"^timestamp +track_id\n$"), framed=True),
    "tail": Case("DB -n 1", r"^timestamp.*\n.*bold-lynx-2.*\n$", (0, r"^timestamp +track_id\n$"), framed=True),
    "ls": Case("DB", r"^timestamp\ntrack_id\nmodel\nepoch\nloss\n", (0, "^timestamp\ntrack_id\n$"), column="DB los"),
    "columns": Case("DB", r"loss +float\n", (0, r"^column +type\ntimestamp +str\ntrack_id +str\n$"), framed=True),
    "sql": Case(
        "DB 'SELECT count(*) AS n, min(loss) AS low FROM events'",
        r"^n  low\n4  0\.25\n$",
        _NO_TABLES,
        column="DB 'SELECT los FROM events'",
        framed=True,
    ),
    "runs": Case(
        "DB", r"calm-otter-1 +finished .*\nbold-lynx-2 +finished ", (0, r"^track_id  state [^\n]*\n$"), framed=True
    ),
    "show": Case(
        "DB calm-otter-1",
        r"^calm-otter-1: finished, 3 rows in table default\n(.|\n)*loss +1\.0 +0\.25 +0\.25 +1\.0",
        _NO_RUN,
        absent=("DB calm-oter-1", 3, "Did you mean: calm-otter-1?"),
        framed=True,
    ),
    "compare": Case(
        "DB calm-otter-1 bold-lynx-2",
        r"parameter +model +true +resnet +bert",
        _NO_RUN,
        absent=("DB calm-oter-1 bold-lynx-2", 3, "Did you mean: calm-otter-1?"),
        framed=True,
    ),
    "best": Case(
        "DB loss --min -n 1", r"^track_id.*\ncalm-otter-1 +0\.25 .*\n$", _NO_LOSS, column="DB los --min", framed=True
    ),
    "stats describe": Case(
        "DB --columns loss", r"\nloss +float +4 +0 +3 ", _NO_LOSS, column="DB --columns los", framed=True
    ),
    "stats top": Case("DB loss", r"^timestamp.*\n.*calm-otter-1.*\n$", _NO_LOSS, column="DB los", framed=True),
    "stats bottom": Case("DB loss", r"\n.*calm-otter-1 +resnet +2 +0\.25 ", _NO_LOSS, column="DB los", framed=True),
    "plot hist": Case("DB loss", r"loss histogram(.|\n)*observations: 4   min value: 0.25 ", _NO_LOSS, column="DB los"),
    "plot scatter": Case(
        "DB epoch loss", r"loss against epoch", (3, "There is no column 'epoch'"), column="DB epoch los"
    ),
    "plot line": Case("DB loss", r"calm-otter-1 (.|\n)*loss", _NO_LOSS, column="DB los"),
    "set": Case("DB loss 1 --track-id bold-lynx-2", r"^1 row changed\n$", _NO_RUN[:1] + ("bold-lynx-2",)),
    "delete": Case(
        "DB bold-lynx-2",
        r"^1 row deleted\n$",
        (3, "There is no run 'bold-lynx-2'"),
        absent=("DB bold-linx-2", 3, "Did you mean: bold-lynx-2?"),
    ),
    "log": Case("DB -n 1", r"^event_id .*\n.*\n$", (0, r"^event_id [^\n]*\n$"), column="DB --column los", framed=True),
    "blame": Case(
        "DB calm-otter-1 loss", r"(row\.logged .*\n.*){3}", _NO_RUN, column="DB calm-otter-1 los", framed=True
    ),
    "undo": Case("DB --run gone-owl-3", r"^undone: run\.deleted .*\n1 row changed by ", _NO_TABLES),
    "protect": Case("DB calm-otter-1", r"^calm-otter-1 is protected: 3 rows\n$", _NO_RUN),
    "export": Case("DB rows.csv", r"4 rows  rows\.csv\n", (0, "0 rows  rows.csv\n")),
    "import": Case(
        "rows.in.csv DB",
        r"\ndefault +1 +0 +0\n$",
        (0, r"\ndefault +1 +0 +0\n$"),
        absent=("absent.csv DB", 3, "absent.csv"),
        framed=True,
    ),
    "merge": Case(
        "OTHER --into DB",
        r"1 new run: swift-crane-4\n",
        (0, "nothing to take over\n"),
        absent=("absent.db --into DB", 3, "absent.db"),
        framed=True,
    ),
    "rebase": Case(
        "OTHER --onto DB --key epoch",
        r"^table 'default', by epoch: 2 rows replaced, 1 row added\n",
        _NO_TABLES,
        absent=("absent.db --onto DB --key epoch", 3, "absent.db"),
        column="OTHER --onto DB --key epoc",
    ),
    "copy": Case("DB new.db", r"^4 rows copied\n$", (0, "^0 rows copied\n$")),
    "redact": Case(
        "DB --track-id bold-lynx-2 --reason private --yes",
        r"1 row of bold-lynx-2, .* redacted\n",
        _NO_TABLES,
        err="still there",
    ),
    "diff": Case(
        "DB OTHER",
        r"^1 row added, 4 rows removed, 0 cells changed\n$",
        (0, "0 rows added"),
        column="DB OTHER --key epoc",
    ),
    "assets ls": Case("DB", r" net ", (0, r"^hash [^\n]*\n$"), framed=True),
    "assets export": Case("DB net out.pkl", r"", _NO_ASSET),
    "assets delete": Case("DB net", r"^1 asset removed; ", _NO_ASSET),
    "assets gc": Case("DB --yes", r"^freed 0 bytes, files: 0\n", (0, "^freed 0 bytes, files: 0\n")),
    "assets du": Case("DB", r"total +1 +[1-9]", (0, r"total +0 +0\n"), framed=True),
    "cache ls": Case("cache", r"calm-otter-1", absent=("absent", 3, "absent"), framed=True),
    "cache delete": Case("cache calm-otter-1", r"^1 entry deleted\n$", absent=("absent calm-otter-1", 3, "absent")),
    "cache hits": Case(
        "DB --table calls", r"1 of 2 calls came from the cache", (3, "There is no column 'cache'"), framed=True
    ),
    "validate": Case(
        "DB", r"^4 rows in 2 runs of table 'default'\n(.|\n)*ok\n$", (0, "^0 rows in 0 runs"), err="not checked"
    ),
    "summary": Case("DB", r"\| calm-otter-1 \| 3 \| resnet \|", (0, "0 rows in 0 runs")),
    "versions list": Case("", r"e0\.0\.1", absent=("", 1, NO_REPOSITORY), git=True, framed=True),
    "versions show": Case("e0.0.1", r"model.*bert", absent=(_NO_VERSION, 3, _NO_VERSION), git=True),
    "versions diff": Case(
        "e0.0.1 e0.0.2",
        r"loss +0\.5000 +0\.2500",
        absent=(f"e0.0.1 {_NO_VERSION}", 3, _NO_VERSION),
        git=True,
        framed=True,
    ),
    "versions tag": Case(
        "--description third", r"^e0\.0\.3  third", absent=("--db absent.db", 3, "absent.db"), git=True
    ),
    "versions suggest": Case("", r"^e0\.0\.3\n$", absent=("", 1, NO_REPOSITORY), git=True),
    "versions get": Case(
        "e0.0.1 notes.txt --output got.txt", r"got\.txt", absent=("e0.0.1 absent.txt", 3, "absent.txt"), git=True
    ),
    "versions checkout": Case("e0.0.1", r"e0\.0\.1", absent=(_NO_VERSION, 3, _NO_VERSION), git=True, framed=True),
    "versions worktree": Case("mine", r"mine", absent=("mine", 1, NO_REPOSITORY), git=True, framed=True),
    "versions worktrees": Case("", r"main", absent=("", 1, NO_REPOSITORY), git=True, framed=True),
    "versions cleanup": Case("", r"", absent=("", 1, NO_REPOSITORY), git=True, framed=True),
    "models list": Case("", r"a\.bin +candidate", framed=True),
    "models promote": Case("a --metric f1 --score 0.5", r"a\.bin", absent=("zzz", 3, "zzz"), framed=True),
    "models prune": Case("--keep 0 --yes", r"a\.bin", framed=True),
    "skills list": Case("", r"^benchmark\ngit-versioning\nxetrack\n$"),
    "skills install": Case("xetrack --to skills", r"^skills.xetrack\n$", absent=("nope --to skills", 2, "benchmark")),
    "git init": Case("", r"\.gitignore", absent=("", 1, NO_REPOSITORY), git=True),
    "git catch-up": Case("", r"", absent=("", 1, NO_REPOSITORY), git=True),
    "watch": Case("DB --once", r"^$", (0, r"^$"), err="stopped at 6 rows"),
    "replay": Case("DB", r"\ndefault +4\n", (0, r"^table +rows\n$"), framed=True),
    "verify": Case("DB", r"\nok\n$", (0, "^events: 0, segments: 0, assets: 0\nok\n$")),
    "compact": Case("DB", r"default: \d files of \d+ bytes are now 1 of ", (0, "^nothing to pack\n$")),
}


def commands() -> dict[str, Any]:
    """All commands of the app by the words behind `xt`."""
    root: Any = typer.main.get_command(app)
    found = {}
    for name in root.list_commands(None):
        made = root.get_command(None, name)
        for words, one in [(f"{name} {sub}", one) for sub, one in getattr(made, "commands", {}).items()] or [
            (name, made)
        ]:
            found[words] = one
    return found


COMMANDS = commands()


def takes(name: str, option: str) -> bool:
    return any(option in one.opts for one in COMMANDS[name].params)


def has_db(name: str) -> bool:
    return "DB" in CASES[name].line.split()


def test_every_command_has_a_case() -> None:
    assert set(CASES) == set(COMMANDS)


# -- stages -------------------------------------------------------------------


def made(engine: Any) -> None:
    """What the cases speak of, in this folder."""
    with Tracker("track.db", engine=engine, track_id="calm-otter-1", params={"model": "resnet"}) as tracker:
        for epoch in range(3):
            tracker.log({"epoch": epoch, "loss": 1 / 2**epoch, "net": frozenset({1})})
    odd = {"odd": math.nan, "raw": b"\x00\xff", "note": 'é 🎈, "said"\nx'}
    with Tracker("track.db", engine=engine, track_id="bold-lynx-2", params={"model": "bert"}) as tracker:
        tracker.log({"epoch": 0, "loss": 0.5, **odd})
    with Tracker("track.db", engine=engine, track_id="gone-owl-3") as tracker:
        tracker.log({"epoch": 9, "loss": 9.0})
    Reader("track.db", engine=engine).delete_run("gone-owl-3")
    with Tracker("track.db", engine=engine, track_id="calm-otter-1", table="calls", cache="results") as tracker:
        for _ in range(2):
            tracker.track(len, args=["abc"])
    with Tracker("other.db", engine=engine, track_id="swift-crane-4") as tracker:
        tracker.log({"epoch": 0, "loss": 0.125})


def beside() -> None:
    """What the cases need but a store."""
    Path("rows.in.csv").write_text("track_id,loss\nnew-fox-5,0.5\n")
    (Path("models") / "candidates").mkdir(parents=True)
    (Path("models") / "candidates" / "a.bin").write_text("a")
    cache = FunctionCache(Path("cache"))
    one = cache.call(len, ["abc"], {}, {}, "calm-otter-1")
    assert one is not None
    one.keep(3)
    cache.close()


Stage = Callable[..., Path]


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Stages that were made already, by engine and kind; a copy is quicker."""
    return {("", ""): tmp_path_factory.mktemp("stages")}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git: Git, templates: dict[tuple[str, str], Path]) -> Stage:
    """Makes what a case needs in the working folder: of a store the rows, or none, or not even the store."""

    def template(engine: str, kind: str) -> Path:
        folder = templates["", ""] / f"{engine}-{kind}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        beside()
        if kind == "git":
            git(folder, "init", "-q")
            for number, loss in ((1, 0.5), (2, 0.25)):
                Path("notes.txt").write_text(str(loss))
                git(folder, "add", "notes.txt")
                git(folder, "commit", "-q", "-m", str(loss))
                git(folder, "tag", "-a", f"e0.0.{number}", "-m", f"model=bert | loss={loss:.4f}")
        elif kind == "small":
            made(engine)
        elif kind == "empty":
            for db in ("track.db", "other.db"):
                Tracker(db, engine=engine).close()  # type: ignore[arg-type]
        return folder

    def make(name: str, engine: str, kind: str = "small") -> Path:
        monkeypatch.setenv("XETRACK_ENGINE", engine)
        kind = "git" if CASES[name].git and kind == "small" else kind
        if (engine, kind) not in templates:
            templates[engine, kind] = template(engine, kind)
        folder = tmp_path / "here" / name.replace(" ", "-")
        shutil.copytree(templates[engine, kind], folder)
        monkeypatch.chdir(folder)
        return folder

    return make


def words(name: str, line: str | None = None, db: str = "track.db") -> list[str]:
    given = CASES[name].line if line is None else line
    stands = {"DB": db, "OTHER": "other.db"}
    return [*name.split(), *(stands.get(word, word) for word in shlex.split(given))]


def those(choose: Callable[[str], bool]) -> Any:
    return pytest.mark.parametrize("name", [name for name in sorted(CASES) if choose(name)])


on_both = pytest.mark.parametrize("engine", ENGINES)


# -- what each says ------------------------------------------------------------


@on_both
@pytest.mark.parametrize("name", sorted(CASES))
def test_piped_output_is_plain_and_complete(call: Call, stage: Stage, name: str, engine: str) -> None:
    stage(name, engine)
    result = call(*words(name))
    assert result.exit_code == 0, result.output
    assert re.search(CASES[name].out, result.stdout), result.stdout
    assert re.search(CASES[name].err or "^$", result.stderr), result.stderr
    assert "\x1b" not in result.stdout and "…" not in result.stdout


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@on_both
@those(lambda name: takes(name, "--json"))
def test_json_is_valid(call: Call, stage: Stage, name: str, engine: str) -> None:
    stage(name, engine)
    result = call(*words(name), "--json")
    assert result.exit_code == 0, result.output
    for text in result.stdout.splitlines() if name == "watch" else [result.stdout]:
        json.loads(text, parse_constant=_no_constant)


@on_both
@those(lambda name: CASES[name].empty is not None)
def test_empty_store(call: Call, stage: Stage, name: str, engine: str) -> None:
    stage(name, engine, "empty")
    code, said = CASES[name].empty or (0, "")
    result = call(*words(name))
    assert result.exit_code == code, result.output
    assert re.search(said, result.stderr if code else result.stdout), result.output
    assert not code or (result.stdout == "" and result.stderr.count("\n") == 1)


@on_both
@those(lambda name: CASES[name].absent is not None or has_db(name))
def test_what_is_not_there_is_told_and_nothing_is_made(call: Call, stage: Stage, name: str, engine: str) -> None:
    line, code, said = CASES[name].absent or (CASES[name].line, 3, "absent.db")
    folder = stage(name, engine, "none" if said == NO_REPOSITORY else "small")
    _refused(call, folder, words(name, line, db="absent.db" if said == "absent.db" else "track.db"), code, said)


def _refused(call: Call, folder: Path, line: list[str], code: int, *said: str) -> None:
    """Exit code, nothing on stdout, one line on stderr, no new file."""
    before = files(folder)
    result = call(*line)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert result.stderr.startswith("xt: ") and result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in said), result.stderr
    assert files(folder) == before


def files(folder: Path) -> list[str]:
    """All but what an engine leaves beside its tables while they are open."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if ".git" not in path.parts)
    return sorted(name for name in found if not name.endswith(("-wal", "-shm", ".wal", ".duckdb")))


_MAKES_ITS_TABLE = {"import"}


@on_both
@those(lambda name: takes(name, "--table") and name not in _MAKES_ITS_TABLE and not CASES[name].git)
def test_missing_table_is_told_with_those_that_are_there(call: Call, stage: Stage, name: str, engine: str) -> None:
    line = CASES[name].line.replace("--table calls", "")
    _refused(call, stage(name, engine), words(name, f"{line} --table call"), 3, "'call'", "default")


@on_both
@those(lambda name: CASES[name].column is not None or takes(name, "--columns"))
def test_missing_column_is_told_with_a_near_one(call: Call, stage: Stage, name: str, engine: str) -> None:
    folder = stage(name, engine)
    if takes(name, "--columns"):
        _refused(call, folder, words(name, f"{CASES[name].line} --columns nothing_like_it"), 3, "'nothing_like_it'")
    if (line := CASES[name].column) is not None:
        _refused(call, folder, words(name, line), 3, f"Did you mean: {'epoch' if line.endswith('epoc') else 'loss'}?")


def test_unknown_option_is_wrong_usage(call: Call) -> None:
    for name in CASES:
        result = call(*words(name), "--no-such-option")
        assert (result.exit_code, result.stdout) == (2, ""), name
        assert "--no-such-option" in result.stderr and result.stderr.count("\n") == 1


# -- a terminal ----------------------------------------------------------------

#: Calls the app on each line, one after the other, on the terminal that its stdout is.
_DRIVER = """
import json, os, sys
from xetrack.cli import app
for name, folder, line in json.load(open(sys.argv[1])):
    os.chdir(folder)
    code = 0
    try:
        app(line, prog_name="xt")
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    print(f"@@{code}@@{name}@@", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="pseudo-terminals are missing on this system")
@on_both
def test_every_command_on_a_terminal(stage: Stage, tmp_path: Path, engine: str) -> None:
    lines = [(name, str(stage(name, engine)), words(name)) for name in sorted(CASES)]
    todo = tmp_path / "lines.json"
    todo.write_text(json.dumps(lines))
    status, sent = on_terminal(sys.executable, "-c", _DRIVER, str(todo), XETRACK_ENGINE=engine)
    assert status == 0, sent
    shown = sent.replace("\r\n", "\n").replace("\r", "")
    parts = re.split(r"@@(\d+)@@(.+?)@@\n", shown)
    told = {name: (int(code), said) for said, code, name in zip(parts[::3], parts[1::3], parts[2::3], strict=False)}
    assert {name: code for name, (code, _) in told.items()} == dict.fromkeys(CASES, 0), shown[-2000:]
    frames = {}
    for name, (_, said) in told.items():
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
        frames[name] = [line for line in plain.splitlines() if line and line[0] in "╭│├╰"]
        assert max(map(len, frames[name]), default=0) <= 80, (name, said)
    assert {name for name in CASES if frames[name]} == {name for name, case in CASES.items() if case.framed}
    assert all("\x1b[" in told[name][1] for name, case in CASES.items() if case.framed)
