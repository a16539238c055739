"""The header's facts, above all what git's files say without git being run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Git
from xetrack.log.header import Head, facts, head_of

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to compare with")
MADE_UP = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def repository(tmp_path: Path, git: Git) -> Path:
    """A work tree with one commit on main."""
    folder = tmp_path / "repository"
    git(folder, "init")
    (folder / "train.py").write_text("lr = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return folder


def commit_of(git: Git, folder: Path) -> str:
    return git(folder, "rev-parse", "HEAD")


def test_commit_and_branch_of_a_work_tree(repository: Path, git: Git) -> None:
    assert head_of(repository) == Head(commit_of(git, repository), "main")
    inside = repository / "a" / "b"
    inside.mkdir(parents=True)
    assert head_of(inside) == head_of(repository)


def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert head_of(tmp_path) is None
    assert head_of(tmp_path / "gone" / "too") is None
    assert not {"commit", "branch", "dirty"} & set(facts({}))


def test_empty_repository_has_a_branch_only(tmp_path: Path, git: Git) -> None:
    git(tmp_path, "init")
    assert head_of(tmp_path) == Head(None, "main")


def test_detached_head_has_a_commit_only(repository: Path, git: Git) -> None:
    git(repository, "checkout", "--detach")
    assert head_of(repository) == Head(commit_of(git, repository), None)


def test_packed_refs(repository: Path, git: Git) -> None:
    git(repository, "tag", "-a", "v1", "-m", "a tag, whose line is followed by the commit it means")
    git(repository, "branch", "other/main")
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git" / "refs" / "heads" / "main").exists()
    assert head_of(repository) == Head(commit_of(git, repository), "main")


def test_branch_names_may_be_paths_in_any_language(repository: Path, git: Git) -> None:
    git(repository, "checkout", "-b", "ada/größer-β")
    assert head_of(repository) == Head(commit_of(git, repository), "ada/größer-β")


@pytest.mark.parametrize("packed", [False, True])
def test_linked_work_tree(repository: Path, git: Git, tmp_path: Path, packed: bool) -> None:
    linked = tmp_path / "linked"
    git(repository, "worktree", "add", "-b", "side", str(linked))
    git(linked, "commit", "--allow-empty", "-m", "second")
    if packed:
        git(repository, "pack-refs", "--all")
    assert head_of(linked) == Head(commit_of(git, linked), "side")
    assert head_of(repository) == Head(commit_of(git, repository), "main")
    assert head_of(linked) != head_of(repository)


def test_submodule(repository: Path, git: Git, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    git(outer, "init")
    git(outer, "submodule", "add", str(repository), "part")
    git(outer, "commit", "-m", "with a part")
    assert head_of(outer / "part") == Head(commit_of(git, repository), "main")
    assert head_of(outer) == Head(commit_of(git, outer), "main")


def test_symbolic_branches_are_followed_as_git_does(repository: Path, git: Git) -> None:
    git(repository, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(repository, "symbolic-ref", "HEAD", "refs/heads/alias")
    assert head_of(repository) == Head(commit_of(git, repository), "main")
    git(repository, "symbolic-ref", "refs/heads/alias", "refs/heads/alias")  # it names itself
    assert head_of(repository) == Head(None, "alias")


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"", Head(None, None)),
        (b"\x00\xff\xfe garbage", Head(None, None)),
        (b"ref: refs/heads/.invalid\n", Head(None, None)),
        (b"ref: refs/heads/gone\n", Head(None, "gone")),
        (b"ref: refs/heads/nul\x00\n", Head(None, "nul\x00")),
        (b"ref: /etc/passwd\n", Head(None, None)),
        (MADE_UP.encode() + b"\n", Head(MADE_UP, None)),
        (MADE_UP.encode() * 2, Head(None, None)),
    ],
)
def test_odd_heads(head: bytes, found: Head, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(head)
    assert head_of(tmp_path) == found


@pytest.mark.parametrize("link", [b"", b"gitdir: ../gone", b"gitdir: \x00", b"\xff\xfe", b"gitdir: ."])
def test_a_link_that_leads_nowhere_is_no_repository(link: bytes, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / ".git").write_bytes(link)
    assert head_of(tmp_path / "inner") is None


def test_facts_say_what_is_checked_out_where_the_program_runs(
    repository: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    found = facts({})
    assert (found["commit"], found["branch"]) == (commit_of(git, repository), "main")
    assert (found["pid"], "dirty" in found) == (os.getpid(), False)


def test_facts_from_above_win_and_may_take_away(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    found = facts({"commit": MADE_UP, "branch": None, "dirty": False})
    assert (found["commit"], found["dirty"]) == (MADE_UP, False)
    assert "branch" not in found


@pytest.mark.skipif(os.name == "nt", reason="a folder in use cannot be removed there")
def test_facts_where_the_current_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "commit" not in facts({})
