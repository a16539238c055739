"""What the tools of the proofs say: usage by the name that was typed, one line for what is missing, a verdict."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import bench, fuzz, profile, soak
from tests.fuzz.targets import TARGETS


def _status(module: object, monkeypatch: pytest.MonkeyPatch, *args: str) -> object:
    monkeypatch.setattr(sys, "argv", ["anything.py", *args])
    with pytest.raises(SystemExit) as ended:
        module.main()  # type: ignore[attr-defined]
    return ended.value.code


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """Fuzzing silences the program's log for good."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def odd_nine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that fails at some bytes."""

    def target(raw: bytes) -> None:
        if b"9" in raw:
            raise ValueError("nine")

    monkeypatch.setitem(TARGETS, "lines", target)


@pytest.mark.parametrize("module", [bench, fuzz, profile, soak], ids=lambda module: module.__name__)
def test_usage_names_the_command(
    module: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _status(module, monkeypatch, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: {module.__name__.replace('.', '/')} ")  # type: ignore[attr-defined]


def test_large_and_peers_are_refused_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _status(bench, monkeypatch, "--large", "--peers") == 2
    assert "not allowed with" in capsys.readouterr().err


def test_fuzzing_tells_what_was_tried_and_the_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _status(fuzz, monkeypatch, "--minutes", "0.005", "--seed", "7", "--target", "records") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("1 target, ") and last.endswith(" s, seed 7: nothing wrong")


def test_fuzzing_tells_what_failed(
    odd_nine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _status(fuzz, monkeypatch, "--minutes", "0.005", "--target", "lines", "--out", str(out)) == 1
    said = capsys.readouterr().out
    assert "times lines: ValueError in " in said
    assert said.endswith(f"seed 0: 1 failure, the bytes are in {out}\n") and len(list(out.iterdir())) == 1


def test_fuzzing_that_is_interrupted_tells_how_far_it_got(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def target(raw: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(TARGETS, "lines", target)
    assert _status(fuzz, monkeypatch, "--target", "lines") == 130
    assert capsys.readouterr().out.endswith("1 target, 1 example, 0 s, seed 0: nothing wrong, interrupted\n")


def test_without_atheris_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    assert _status(fuzz, monkeypatch, "--coverage") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "install atheris" in line


def test_without_py_spy_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda *args, **options: None)
    assert _status(profile, monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "install py-spy" in line
