"""Stores in real git repositories: after anything git does, the next read shows exactly that tree's rows.

Every scenario ends with the same question: do the tables of both engines show what
a store made from nothing but the files of the work tree shows?
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Git
from xetrack import Reader, Tracker, merge
from xetrack.errors import StorageFailed
from xetrack.exchange.worktrees import prepare
from xetrack.store import ENGINES, open_store

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

Rows = list[tuple[Any, ...]]


class Repo:
    """A work tree with a store ``track.db`` in it."""

    def __init__(self, folder: Path, git: Git) -> None:
        self.folder, self._git = folder, git
        self.db = str(folder / "track.db")

    def __call__(self, *args: str) -> str:
        return self._git(self.folder, *args)

    def fails(self, *args: str) -> str:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            self(*args)
        return str(caught.value.stdout) + str(caught.value.stderr)

    def log(self, run: str, *xs: Any, **more: Any) -> None:
        with Tracker(self.db, track_id=run) as tracker:
            for x in xs:
                tracker.log({"x": x, **more})

    def commit(self, message: str = "results") -> str:
        self("add", "--all")
        self("commit", "-qm", message)
        return self("rev-parse", "HEAD")

    def branch(self, name: str, start: str = "HEAD") -> None:
        self("checkout", "-qb", name, start)

    def rows(self) -> Rows:
        """What the store shows, alike in both engines and in a store made anew from the files."""
        shown = [table_of(self.db, engine) for engine in ENGINES]
        fresh = self.folder.parent / "fresh"
        shutil.copytree(f"{self.db}.events", fresh / "track.db.events")
        shown.append(table_of(str(fresh / "track.db"), "sqlite"))
        shutil.rmtree(fresh)
        assert shown[0] == shown[1] == shown[2]
        return shown[0]

    def xs(self) -> list[Any]:
        """The column ``x``, in order of the runs."""
        rows = self.rows()
        return [x for _, x in sorted((row[0], row[-1]) for row in rows)]

    def like_merge(self, *revisions: str) -> None:
        """The tables are those that ``xt merge`` makes of the revisions."""
        other = self.folder.parent / "merged"
        here = os.getcwd()
        os.chdir(self.folder)
        try:
            merge(*(f"git:{revision}:track.db" for revision in revisions), into=other / "track.db")
        finally:
            os.chdir(here)
        assert self.rows() == table_of(str(other / "track.db"), "sqlite")
        shutil.rmtree(other)


def table_of(db: str, engine: str) -> Rows:
    with contextlib.closing(open_store(db)) as store:
        table = store.table("default", engine)
        columns = sorted(name for name in table.columns if name not in ("track_id", "timestamp"))
        return [tuple(row[name] for name in ("track_id", *columns)) for row in table.records()]


@pytest.fixture
def new(tmp_path: Path, git: Git) -> Callable[[str], Repo]:
    """A repository of a name, made ready by ``xt git init``."""

    def make(name: str) -> Repo:
        repo = Repo(tmp_path / name, git)
        repo("init", "-q")
        prepare(repo.folder)
        return repo

    return make


@pytest.fixture
def repo(new: Callable[[str], Repo]) -> Repo:
    """One run of two rows, committed on main."""
    repo = new("repo")
    repo.log("a", 1, 2)
    repo.commit()
    repo.rows()
    return repo


def diverge(repo: Repo) -> None:
    """Branches ``left`` and ``right`` of main on which the same run was gone on with, judged, and others deleted."""
    repo.log("b", 5)
    repo.log("c", 6)
    repo.commit()
    for name, doomed in (("left", "b"), ("right", "c")):
        repo("checkout", "-qb", name, "main")
        repo.log("a", 3 if name == "left" else 4)
        repo.log(name, 7)
        Reader(repo.db).set_value("label", name, track_id="a")
        Reader(repo.db).delete_run(doomed)
        repo.commit(name)
    repo("checkout", "-q", "main")


# -- one tree after the other ------------------------------------------------


def test_checkout_shows_the_rows_of_each_branch(repo: Repo) -> None:
    repo.branch("other")
    repo.log("b", 3)
    Reader(repo.db).set_value("label", "good", track_id="a")
    repo.commit()
    for _ in range(2):
        assert repo.xs() == [1, 2, 3]
        repo("checkout", "-q", "main")
        assert repo.xs() == [1, 2]
        assert Reader(repo.db).columns == ["timestamp", "track_id", "x"]
        repo("checkout", "-q", "other")


def test_only_the_log_is_committed(repo: Repo) -> None:
    repo.rows()
    assert repo("status", "--porcelain") == ""
    tracked = repo("ls-files").splitlines()
    assert {name.partition("/")[0] for name in tracked} == {".gitattributes", ".gitignore", "track.db.events"}


def test_commit_without_a_store_has_none_and_coming_back_brings_it_back(repo: Repo) -> None:
    repo("checkout", "-q", "--orphan", "empty")
    repo("rm", "-rfq", "--cached", ".")
    shutil.rmtree(f"{repo.db}.events")
    repo("commit", "-q", "--allow-empty", "-m", "nothing")
    (repo.folder / ".gitignore").unlink()
    (repo.folder / ".gitattributes").unlink()
    repo("checkout", "-q", "main")
    assert repo.xs() == [1, 2]


def test_stash_takes_rows_away_and_brings_them_back(repo: Repo) -> None:
    repo.log("b", 3)
    Reader(repo.db).delete_run("a")
    repo("stash", "-q", "--include-untracked")
    assert repo.xs() == [1, 2]
    repo.log("c", 4)
    repo("stash", "pop", "-q")
    assert repo.xs() == [3, 4]


def test_reset_and_clean_take_rows_away(repo: Repo) -> None:
    repo.log("b", 3)
    repo.commit()
    assert repo.xs() == [1, 2, 3]
    repo("reset", "-q", "--hard", "HEAD~1")
    repo.log("c", 4)
    repo("clean", "-fdq")
    assert repo.xs() == [1, 2]


def test_revert_of_a_result_commit_takes_its_rows_away(repo: Repo) -> None:
    repo.log("b", 3)
    commit = repo.commit()
    assert repo.xs() == [1, 2, 3]
    repo("revert", "--no-edit", commit)
    assert repo.xs() == [1, 2]


def test_worktree_has_tables_of_its_own(repo: Repo, git: Git, tmp_path: Path) -> None:
    repo("worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    tree = Repo(tmp_path / "tree", git)
    tree.log("b", 3)
    repo.log("c", 4)
    assert (repo.xs(), tree.xs()) == ([1, 2, 4], [1, 2, 3])
    tree.commit("other")
    repo.commit("main")
    repo("merge", "-q", "--no-edit", "other")
    assert repo.xs() == [1, 2, 3, 4]


@pytest.mark.parametrize("depth", [(), ("--depth=1",)])
def test_clone_shows_the_rows_of_its_head(repo: Repo, git: Git, tmp_path: Path, depth: tuple[str, ...]) -> None:
    repo.log("b", 3)
    repo.commit()
    git(tmp_path, "clone", "-q", *depth, f"file://{repo.folder}", "clone")
    clone = Repo(tmp_path / "clone", git)
    assert clone.xs() == [1, 2, 3]
    assert clone.rows() == repo.rows()
    clone.log("d", 9)
    clone.commit()
    repo("pull", "-q", "--no-rebase", str(clone.folder), "main")
    assert repo.xs() == [1, 2, 3, 9]


# -- branches that come together ---------------------------------------------


def test_two_branches_that_logged_edited_and_deleted_merge_without_conflict(repo: Repo) -> None:
    diverge(repo)
    repo("checkout", "-q", "left")
    repo("merge", "-q", "--no-edit", "right")
    assert repo.xs() == [1, 2, 3, 4, 7, 7]
    labels = dict.fromkeys(Reader(repo.db).to_df("a")["label"].tolist()[:2])
    assert list(labels) == ["right"]  # the later one, as everywhere
    repo.like_merge("left~1", "right")
    repo.like_merge("right", "left~1")


def test_merge_the_other_way_round_shows_the_same(repo: Repo) -> None:
    diverge(repo)
    seen = []
    for here, there in (("left", "right"), ("right", "left")):
        repo("checkout", "-q", "--detach", here)
        repo("merge", "-q", "--no-edit", there)
        seen.append(repo.rows())
    assert seen[0] == seen[1]


def test_git_merge_after_a_merge_of_the_branch_doubles_nothing(repo: Repo) -> None:
    diverge(repo)
    repo("checkout", "-q", "left")
    merge("git:right", into=repo.db)
    merged = repo.rows()
    repo.commit("merged by xt")
    repo("merge", "-q", "--no-edit", "right")
    assert repo.rows() == merged
    repo("checkout", "-q", "right")
    repo("merge", "-q", "--no-edit", "left")
    assert repo.rows() == merged


def test_both_branches_merged_each_other_and_then_git_does(repo: Repo) -> None:
    diverge(repo)
    repo("checkout", "-q", "left")
    merge("git:right", into=repo.db)
    repo.commit()
    repo("checkout", "-q", "right")
    merge("git:left~1:track.db", into=repo.db)
    repo.commit()
    expected = repo.rows()
    repo("merge", "-q", "--no-edit", "left")
    assert repo.rows() == expected


def test_rows_logged_to_a_run_deleted_on_another_branch_survive(repo: Repo) -> None:
    repo.branch("other")
    Reader(repo.db).delete_run("a")
    repo.commit()
    repo("checkout", "-q", "main")
    repo.log("a", 3)
    repo.commit()
    assert merge("git:other", into=repo.db, dry_run=True).conflicts[0].kind == "delete/rows"
    repo("merge", "-q", "--no-edit", "other")
    assert repo.xs() == [3]


def test_set_without_a_run_spares_rows_that_git_merges_in(repo: Repo) -> None:
    repo.branch("other")
    repo.log("b", 3)
    repo.commit()
    repo("checkout", "-q", "main")
    Reader(repo.db).set_value("label", "seen")
    repo.commit()
    repo("merge", "-q", "--no-edit", "other")
    assert [row[1] for row in repo.rows()] == ["seen", "seen", None]


def test_both_branches_made_the_store(new: Callable[[str], Repo]) -> None:
    repo = new("twice")
    repo.commit("no results so far")
    for name in ("left", "right"):
        repo("checkout", "-qb", name, "main")
        repo.log(name, 1, 2)
        repo.commit()
    repo("merge", "-q", "--no-edit", "left")
    assert repo.xs() == [1, 2, 1, 2]
    repo.like_merge("left", "right~1")


def test_two_repositories_that_never_met(new: Callable[[str], Repo]) -> None:
    one, two = new("one"), new("two")
    one.log("a", 1)
    one.commit()
    two.log("b", 2)
    two.commit()
    one("pull", "-q", "--no-rebase", "--allow-unrelated-histories", "--no-edit", str(two.folder), "main")
    assert one.xs() == [1, 2]


def test_one_branch_compacted(repo: Repo) -> None:
    for number in range(3):
        repo.log("a", 10 + number)
    repo.commit()
    repo.branch("compacted")
    expected = repo.rows()
    files = set(os.listdir(f"{repo.db}.events/default"))
    compact_store(repo.db)
    assert set(os.listdir(f"{repo.db}.events/default")) != files
    assert repo.rows() == expected
    repo.commit()
    repo("checkout", "-q", "main")
    assert repo.rows() == expected
    repo.log("b", 3)
    Reader(repo.db).set_value("label", "late", track_id="a")
    repo.commit()
    repo("merge", "-q", "--no-edit", "compacted")
    assert repo.xs() == [1, 2, 10, 11, 12, 3]
    assert Reader(repo.db).to_df("a")["label"].tolist() == ["late"] * 5
    repo.like_merge("main~1", "compacted")


def compact_store(db: str) -> None:
    from typer.testing import CliRunner

    from xetrack.cli import app

    result = CliRunner().invoke(app, ["compact", db])
    assert result.exit_code == 0, result.output


def test_criss_cross_merges_show_the_same_on_both_sides(repo: Repo) -> None:
    diverge(repo)
    left, right = repo("rev-parse", "left"), repo("rev-parse", "right")
    repo("checkout", "-q", "left")
    repo("merge", "-q", "--no-edit", right)
    repo("checkout", "-q", "right")
    repo("merge", "-q", "--no-edit", left)
    for name, x in (("left", 20), ("right", 21)):
        repo("checkout", "-q", name)
        repo.log("late", x)
        Reader(repo.db).set_value("label", f"late {name}", track_id="a")
        repo.commit()
    repo("merge", "-q", "--no-edit", "left")
    assert repo.xs() == [1, 2, 3, 4, 20, 21, 7, 7]
    expected = repo.rows()
    repo("checkout", "-q", "left")
    repo("merge", "-q", "--no-edit", "right~1")
    assert repo.rows() == expected


def test_octopus(repo: Repo) -> None:
    for number in range(3):
        repo("checkout", "-qb", f"b{number}", "main")
        repo.log(f"b{number}", number)
        repo.commit()
    repo("checkout", "-q", "main")
    repo("merge", "-q", "--no-edit", "b0", "b1", "b2")
    assert repo.xs() == [1, 2, 0, 1, 2]
    repo.like_merge("b2", "b0", "b1")


def test_cherry_pick_of_a_result_commit_brings_only_its_rows(repo: Repo) -> None:
    repo.branch("other")
    repo.log("b", 3)
    repo.commit()
    repo.log("c", 4)
    Reader(repo.db).set_value("label", "all")
    picked = repo.commit()
    repo("checkout", "-q", "main")
    repo("cherry-pick", picked)
    assert repo.xs() == [1, 2, 4]  # the run that the set saw too is not there, and nothing is amiss
    repo("merge", "-q", "--no-edit", "other")
    assert repo.xs() == [1, 2, 3, 4]
    assert [row[1] for row in repo.rows()] == ["all"] * 4


def test_rebase_of_a_branch_with_results(repo: Repo) -> None:
    diverge(repo)
    repo("checkout", "-q", "left")
    repo("merge", "-q", "--no-edit", "right")
    expected = repo.rows()
    repo("reset", "-q", "--hard", "HEAD~1")
    repo("rebase", "-q", "right")
    assert repo.rows() == expected
    repo("rebase", "-q", "--onto", "main", "right", "left")
    assert repo.xs() == [1, 2, 3, 6, 7]


# -- trackers that live through it -------------------------------------------


def test_tracker_lives_through_checkouts_and_each_branch_has_what_was_logged_on_it(repo: Repo) -> None:
    repo.branch("other")
    repo("checkout", "-q", "main")
    with Tracker(repo.db, track_id="live") as tracker:
        tracker.log({"x": 10})
        repo.commit()
        repo("checkout", "-q", "other")
        for x in range(20, 30):
            tracker.log({"x": x})
        tracker.flush()
        repo.commit()
        on_other = repo.xs()
        repo("checkout", "-q", "main")
        for x in range(30, 40):
            tracker.log({"x": x})
    repo.commit()
    assert on_other[:2] == [1, 2] and set(range(20, 30)) <= set(on_other)
    on_main = repo.xs()
    assert on_main[:2] == [1, 2] and {10, *range(30, 40)} <= set(on_main)
    assert len(on_main) == len(set(on_main))
    repo("merge", "-q", "--no-edit", "other")
    assert repo.xs() == [1, 2, 10, *range(20, 40)]


def test_tracker_lives_through_a_merge_and_its_file_grows_on_one_side_only(repo: Repo) -> None:
    with Tracker(repo.db, track_id="live") as tracker:
        tracker.log({"x": 10})
        repo.commit()
        repo.branch("other")
        tracker.log({"x": 11})
        repo.commit()
        repo("checkout", "-q", "main")
        for x in range(20, 30):
            tracker.log({"x": x})
        tracker.flush()
        repo.commit()
        repo("merge", "-q", "--no-edit", "other")
        tracker.log({"x": 30})
    assert repo.xs() == [1, 2, 10, 11, *range(20, 31)]


def test_reader_lives_through_checkouts(repo: Repo) -> None:
    repo.branch("other")
    repo.log("b", 3)
    repo.commit()
    readers = [Reader(repo.db, engine=engine) for engine in ENGINES]
    for branch, count in (("main", 2), ("other", 3), ("main", 2)):
        repo("checkout", "-q", branch)
        assert [len(reader.to_df()) for reader in readers] == [count] * 2


# -- derived files in the repository -----------------------------------------


@pytest.fixture
def careless(tmp_path: Path, git: Git) -> Repo:
    """A repository in which somebody commits everything, tables of both engines too."""
    repo = Repo(tmp_path / "careless", git)
    repo("init", "-q")
    repo.log("a", 1, 2)
    repo.rows()
    repo.commit()
    assert {"track.db", "track.duckdb"} <= set(repo("ls-files").splitlines())
    return repo


def test_committed_tables_are_followed_by_what_the_log_says(careless: Repo, git: Git, tmp_path: Path) -> None:
    careless.branch("other")
    careless.log("b", 3)
    assert careless.xs() == [1, 2, 3]
    careless.commit()
    for branch, xs in (("main", [1, 2]), ("other", [1, 2, 3]), ("main", [1, 2])):
        careless("checkout", "-q", "--force", branch)
        assert careless.xs() == xs
    git(tmp_path, "clone", "-q", "careless", "clone")
    clone = Repo(tmp_path / "clone", git)
    assert clone.xs() == [1, 2]
    clone.log("c", 4)
    assert clone.xs() == [1, 2, 4]


def test_stale_write_ahead_log_beside_tables_from_another_commit_is_no_truth(careless: Repo) -> None:
    careless.branch("other")
    careless.log("b", *range(200))
    careless.rows()
    careless.commit()
    careless("checkout", "-q", "--force", "main")
    careless.rows()
    # A process that was killed leaves its write-ahead log; then git puts other tables beside it.
    conn = sqlite3.connect(careless.db)
    conn.execute("PRAGMA wal_autocheckpoint=0")
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute("CREATE TABLE _xetrack_junk AS SELECT * FROM sqlite_master")
    conn.commit()
    left = Path(f"{careless.db}-wal").read_bytes()
    conn.close()
    careless("checkout", "-q", "--force", "other")
    Path(f"{careless.db}-wal").write_bytes(left)
    with contextlib.suppress(StorageFailed):  # says that the next call makes the tables anew
        careless.rows()
    assert len(careless.xs()) == 202


def test_tables_merged_by_git_with_a_conflict_are_made_anew(careless: Repo) -> None:
    for name in ("left", "right"):
        careless("checkout", "-qb", name, "main")
        careless.log(name, 7)
        careless.rows()
        careless.commit()
    said = careless.fails("merge", "--no-edit", "left")
    assert "track.db" in said and "track.db.events" not in said
    assert careless.xs() == [1, 2, 7, 7]
    careless("checkout", "--theirs", "--", "track.db", "track.duckdb")
    assert careless.xs() == [1, 2, 7, 7]
    prepare(careless.folder)
    careless("rm", "-qf", "--cached", "track.db", "track.duckdb")
    careless.commit()
    assert careless.xs() == [1, 2, 7, 7]


def test_tracker_lives_through_checkouts_of_committed_tables(careless: Repo) -> None:
    careless.branch("other")
    careless.log("b", *range(300))
    careless.commit()
    careless.log("c", *range(300, 400))
    careless.commit()
    with Tracker(careless.db, track_id="live") as tracker:
        tracker.log({"x": 1000})
        assert len(tracker.to_df()) == 1
        reader = Reader(careless.db)
        assert len(reader.to_df()) == 403
        for branch, count in (("main", 2), ("other~1", 302), ("other", 402)):
            careless("checkout", "-q", "--force", branch)
            runs = Reader(careless.db).to_df()["track_id"].tolist()
            assert len(runs) - runs.count("live") == count
            assert len(reader.to_df()) == len(Reader(careless.db).to_df())
            tracker.log({"x": count})
    assert set(careless.xs()) >= {1000, 2, 302, 402}
