"""What git says of a work tree, and that nothing about git is ever an exception."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Git
from xetrack.config import git_environ
from xetrack.exchange.git import asked, facts

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to ask")
UNKNOWN = {"commit": None, "branch": None, "dirty": None}
ENOUGH_S = 60.0


def facts_of(folder: Path | str) -> dict[str, Any]:
    """With time enough on a busy machine."""
    return facts(folder, limit_s=ENOUGH_S)


@pytest.fixture
def repository(tmp_path: Path, git: Git) -> Path:
    """A work tree with one commit on main."""
    folder = tmp_path / "repository"
    git(folder, "init")
    (folder / "train.py").write_text("lr = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return folder


def clean(git: Git, folder: Path, branch: str | None = "main") -> dict[str, Any]:
    return {"commit": git(folder, "rev-parse", "HEAD"), "branch": branch, "dirty": False}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git program of one's own making, for what the real one does only on a bad day."""
    if os.name == "nt":
        pytest.skip("needs an executable script")
    place = tmp_path / "bin" / "git"
    place.parent.mkdir()
    monkeypatch.setenv("PATH", f"{place.parent}{os.pathsep}{os.environ['PATH']}")
    return place


def write_program(place: Path, code: str) -> None:
    place.write_text(f"#!{sys.executable}\n{code}")
    place.chmod(0o755)


# -- a work tree -------------------------------------------------------------


def test_clean_tree(repository: Path, git: Git) -> None:
    assert facts_of(repository) == clean(git, repository)
    (repository / "inside").mkdir()
    assert facts_of(repository / "inside") == clean(git, repository)
    assert facts_of(str(repository)) == clean(git, repository)


@pytest.mark.parametrize("change", ["edited", "staged", "removed", "added"])
def test_any_change_to_what_git_controls_makes_it_dirty(change: str, repository: Path, git: Git) -> None:
    (repository / "inside").mkdir()
    if change == "removed":
        (repository / "train.py").unlink()
    elif change == "added":
        (repository / "new.py").write_text("")
        git(repository, "add", "new.py")
    else:
        (repository / "train.py").write_text("lr = 2\n")
    if change == "staged":
        git(repository, "add", ".")
    assert facts_of(repository) == {**clean(git, repository), "dirty": True}
    assert facts_of(repository / "inside")["dirty"] is True


def test_untracked_files_and_the_log_of_a_store_are_no_change(repository: Path, git: Git) -> None:
    log = repository / "runs" / "track.db.events" / "default"
    log.mkdir(parents=True)
    (log / "segment.jsonl").write_text("{}\n")
    assert facts_of(repository)["dirty"] is False
    git(repository, "add", ".")
    assert facts_of(repository)["dirty"] is False
    git(repository, "commit", "-m", "the log so far")
    (log / "segment.jsonl").write_text("{}\n{}\n")  # its writer goes on
    assert facts_of(repository) == clean(git, repository)
    (repository / "track.db").write_text("")
    assert facts_of(repository) == clean(git, repository)


def test_a_file_that_was_only_touched_is_no_change_and_the_index_stays(repository: Path, git: Git) -> None:
    os.utime(repository / "train.py", (1, 1))
    index = (repository / ".git" / "index").read_bytes()
    assert facts_of(repository) == clean(git, repository)
    assert (repository / ".git" / "index").read_bytes() == index


def test_detached_head(repository: Path, git: Git) -> None:
    git(repository, "checkout", "--detach")
    assert facts_of(repository) == clean(git, repository, branch=None)


def test_empty_repository(tmp_path: Path, git: Git) -> None:
    git(tmp_path, "init")
    assert facts_of(tmp_path) == {"commit": None, "branch": "main", "dirty": False}
    (tmp_path / "new.py").write_text("")
    git(tmp_path, "add", "new.py")
    assert facts_of(tmp_path)["dirty"] is True


def test_linked_work_tree(repository: Path, git: Git, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git(repository, "worktree", "add", "-b", "side", str(linked))
    git(linked, "commit", "--allow-empty", "-m", "second")
    (repository / "train.py").write_text("lr = 2\n")
    assert facts_of(linked) == clean(git, linked, branch="side")
    assert facts_of(repository) == {**clean(git, repository), "dirty": True}


def test_submodule(repository: Path, git: Git, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    git(outer, "init")
    git(outer, "submodule", "add", str(repository), "part")
    git(outer, "commit", "-m", "with a part")
    assert facts_of(outer) == clean(git, outer)
    (outer / "part" / "train.py").write_text("lr = 2\n")
    assert facts_of(outer / "part") == {**clean(git, outer / "part"), "dirty": True}
    assert facts_of(outer)["dirty"] is True


def test_branch_names_in_any_language(repository: Path, git: Git) -> None:
    git(repository, "checkout", "-b", "ada/größer-β\u2028x")
    assert facts_of(repository) == clean(git, repository, branch="ada/größer-β\u2028x")


def test_a_repository_that_the_environment_names_is_not_meant(
    repository: Path, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    git(other, "init")
    expected = clean(git, repository)
    for name, place in {"DIR": ".git", "WORK_TREE": ".", "INDEX_FILE": ".git/index"}.items():  # as in its hooks
        monkeypatch.setenv(f"GIT_{name}", str(other / place))
    assert facts_of(repository) == expected
    assert facts_of(tmp_path / "gone") == UNKNOWN


def test_git_keeps_the_environment_that_names_no_repository() -> None:
    kept = git_environ({"HOME": "/home/ada", "GIT_DIR": "x", "GIT_CONFIG_COUNT": "0", "GIT_SSH": "ssh"})
    assert {"HOME": "/home/ada", "GIT_CONFIG_COUNT": "0", "GIT_SSH": "ssh"}.items() <= kept.items()
    assert "GIT_DIR" not in kept


# -- no answer ---------------------------------------------------------------


@pytest.mark.parametrize("folder", [".", "gone", "a file", "nul\x00", "repository.git"])
def test_outside_of_a_work_tree_nothing_is_known(
    folder: str, tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").write_text("")
    git(tmp_path, "init", "--bare", "repository.git")
    assert facts_of(folder) == UNKNOWN
    assert asked(folder, limit_s=ENOUGH_S)() == UNKNOWN


def test_outside_of_a_work_tree_git_is_not_run(tmp_path: Path, program: Path) -> None:
    write_program(program, f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert facts_of(tmp_path) == UNKNOWN
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("folder", ["gone", "nul\x00", "surrogate\ud800"])
def test_a_folder_that_cannot_be_entered_leaves_it_to_the_files(folder: str, repository: Path, git: Git) -> None:
    assert facts_of(repository / folder) == {**clean(git, repository), "dirty": None}


@pytest.mark.skipif(os.name == "nt", reason="a folder in use cannot be removed there")
def test_a_current_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert facts_of(".") == asked(".")() == asked(".", early=True)() == UNKNOWN


def test_without_a_git_program_the_files_tell(
    repository: Path, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {**clean(git, repository), "dirty": None}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert facts_of(repository) == expected


def test_a_git_that_refuses_leaves_it_to_the_files(repository: Path, git: Git, program: Path) -> None:
    """As with a folder of another owner (safe.directory)."""
    expected = {**clean(git, repository), "dirty": None}
    write_program(program, f"import sys\nprint('# branch.oid {'a' * 40}')\nsys.exit('fatal: dubious ownership')\n")
    assert facts_of(repository) == expected


def test_a_git_that_is_no_program_leaves_it_to_the_files(
    repository: Path, git: Git, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {**clean(git, repository), "dirty": None}
    monkeypatch.setenv("PATH", str(program.parent))
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    assert facts_of(repository) == expected


def test_a_git_that_takes_too_long_is_ended(repository: Path, git: Git, program: Path, tmp_path: Path) -> None:
    expected = {**clean(git, repository), "dirty": None}
    os.mkfifo(tmp_path / "never")
    write_program(program, f"open({str(tmp_path / 'never')!r})\n")
    assert facts(repository, limit_s=0.2) == expected
    with pytest.raises(OSError):  # nobody waits at the other end any more
        os.close(os.open(tmp_path / "never", os.O_WRONLY | os.O_NONBLOCK))


def test_what_git_says_wins_over_the_files(repository: Path, program: Path) -> None:
    """As where refs are no files (reftable)."""
    write_program(program, f"print('# branch.oid {'a' * 40}'); print('# branch.head side')\n")
    assert facts_of(repository) == {"commit": "a" * 40, "branch": "side", "dirty": False}


@pytest.mark.parametrize("said", ["", "## main...origin/main", "?? new.py"])
def test_a_git_that_says_something_else_leaves_it_to_the_files(
    said: str, repository: Path, git: Git, program: Path
) -> None:
    expected = {**clean(git, repository), "dirty": None}
    write_program(program, f"print({said!r})\n")
    assert facts_of(repository) == expected


# -- asked once --------------------------------------------------------------


@pytest.mark.parametrize("early", [False, True])
def test_asked_once_and_the_answer_stays(early: bool, repository: Path, git: Git) -> None:
    answer = asked(repository, early=early, limit_s=ENOUGH_S)
    first = answer()
    assert first == clean(git, repository)
    first["commit"] = "changed by whoever got it"
    (repository / "train.py").write_text("lr = 2\n")
    assert answer() == clean(git, repository)
    assert asked(repository, early=early, limit_s=ENOUGH_S)()["dirty"] is True


@pytest.mark.parametrize("early", [False, True])
def test_git_is_run_once(early: bool, repository: Path, program: Path, tmp_path: Path) -> None:
    write_program(program, f"open({str(tmp_path / 'runs')!r}, 'a').write('run ')\nprint('# branch.oid {'a' * 40}')\n")
    answer = asked(repository, early=early, limit_s=ENOUGH_S)
    assert [answer()["commit"] for _ in range(3)] == ["a" * 40] * 3
    assert (tmp_path / "runs").read_text() == "run "


def test_a_relative_folder_keeps_its_place(repository: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    answer = asked(".", limit_s=ENOUGH_S)
    monkeypatch.chdir("/")
    assert answer() == clean(git, repository)


def test_early_asks_before_the_answer_is_wanted(repository: Path, git: Git) -> None:
    answer = asked(repository, early=True, limit_s=ENOUGH_S)
    for thread in threading.enumerate():
        if thread.name == "xetrack-git":
            thread.join(timeout=ENOUGH_S)
    expected = clean(git, repository)
    shutil.rmtree(repository)
    assert answer() == expected


def test_late_asks_nothing_before_the_answer_is_wanted(repository: Path, git: Git) -> None:
    answer = asked(repository, limit_s=ENOUGH_S)
    git(repository, "commit", "--allow-empty", "-m", "second")
    assert answer() == clean(git, repository)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_gives_the_answer_of_its_parent(repository: Path, git: Git) -> None:
    answer = asked(repository, limit_s=ENOUGH_S)
    expected = answer()
    (repository / "train.py").write_text("lr = 2\n")
    assert in_child(lambda: answer() == expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_forked_before_the_answer_asks_by_itself(
    repository: Path, git: Git, program: Path, tmp_path: Path
) -> None:
    expected = clean(git, repository)
    os.mkfifo(tmp_path / "go")
    write_program(program, f"open({str(tmp_path / 'go')!r}).read()\n")
    answer = asked(repository, early=True, limit_s=ENOUGH_S)
    with open(tmp_path / "go", "w"):  # git is running, and waits
        program.unlink()
        assert in_child(lambda: answer() == expected)
    assert answer() == {**expected, "dirty": None}


def in_child(check: Callable[[], bool]) -> bool:
    child = os.fork()
    if not child:
        os._exit(0 if check() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_where_no_thread_can_start_git_is_asked_later(
    repository: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        answer = asked(repository, early=True, limit_s=ENOUGH_S)
    assert answer() == clean(git, repository)
