"""`xt` itself: version, help, wrong usage, both ways to start it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import xetrack
from scripts.docs import cli_page
from tests.cli.conftest import Call
from tests.conftest import ROOT, Xt
from xetrack.cli.root import FAMILIES, family

COMMANDS = [name for names in FAMILIES.values() for name in names.split()]


def test_version_is_the_packages(call: Call) -> None:
    result = call("--version")
    assert (result.exit_code, result.stdout) == (0, f"xetrack {xetrack.__version__}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(call: Call, command: str) -> None:
    assert call(command, "--help").exit_code == 0


def test_every_command_has_a_test_file() -> None:
    assert all((Path(__file__).parent / f"test_{name}.py").exists() for name in COMMANDS)


def test_families_add_the_commands_that_they_are_listed_with() -> None:
    for module, names in FAMILIES.items():
        made = family(module)
        found = [info.name or str(getattr(info.callback, "__name__", "")) for info in made.registered_commands]
        assert [*found, *(str(group.name) for group in made.registered_groups)] == names.split()


@pytest.mark.parametrize("args", [("head",), ("nonsense",), ("head", "a.db", "--nonsense")])
def test_wrong_usage_exits_2(call: Call, args: tuple[str, ...]) -> None:
    assert call(*args).exit_code == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("head", "trac.db"), "xt: There is no store at "),
        (("hed", "track.db"), "xt: No such command 'hed'. Did you mean head? Try 'xt --help'."),
        (("head", "track.db", "--colums", "a"), "xt: No such option"),
        (("sql", "track.db"), "xt: Missing argument 'QUERY'. Try 'xt sql --help'."),
        (("--nonsense",), "xt: No such option"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(call: Call, args: tuple[str, ...], said: str) -> None:
    result = call(*args)
    assert result.exit_code in (2, 3) and result.stdout == ""
    assert result.stderr.startswith(said) and result.stderr.count("\n") == 1


def test_a_command_group_alone_shows_its_help(call: Call) -> None:
    result = call("plot")
    assert result.exit_code == 2 and "scatter" in result.output


def test_module_and_entry_point_are_the_same_command(xt: Xt) -> None:
    module = xt("--version")
    entry = Path(sys.executable).with_name("xt")
    assert (module.returncode, module.stderr) == (0, "")
    if entry.exists():  # only in an installed checkout
        assert subprocess.run([entry, "--version"], capture_output=True, text=True).stdout == module.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a Linux device")
def test_output_that_has_no_room_is_told_as_such(store: str) -> None:
    with open("/dev/full", "w") as full:
        run = subprocess.run([sys.executable, "-m", "xetrack", "head", store], stdout=full, stderr=subprocess.PIPE)
    assert run.returncode == 1
    assert run.stderr.startswith(b"xt: The output cannot be written: ") and run.stderr.count(b"\n") == 1


def test_reading_commands_load_no_pandas() -> None:
    code = "import sys, xetrack.cli; print('pandas' in sys.modules, 'numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False False\n"


def test_reference_is_what_the_code_says() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == cli_page(), "run scripts/docs"
