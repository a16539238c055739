"""Settings: argument, environment, default, in that order."""

from __future__ import annotations

from pathlib import Path

import pytest

from xetrack.config import Default, Settings, cache_home, rank
from xetrack.errors import InvalidArgument


def test_nothing_given_takes_the_defaults() -> None:
    assert Settings.resolve(environ={}) == Settings()


def test_environment_comes_before_the_default() -> None:
    env = {
        "XETRACK_ENGINE": "duckdb",
        "XETRACK_TABLE": "metrics",
        "XETRACK_TRACK_ID": "run-1",
        "XETRACK_DURABILITY": "disk",
        "XETRACK_EVENTS": "msgpack",
        "XETRACK_TABLES_DIR": "/scratch",
        "XETRACK_WARNINGS": "0",
    }
    assert Settings.resolve(environ=env) == Settings(
        engine="duckdb",
        table="metrics",
        track_id="run-1",
        durability="disk",
        events="msgpack",
        tables_dir=Path("/scratch").absolute(),
        warnings=False,
    )


def test_argument_comes_before_the_environment() -> None:
    env = {"XETRACK_TABLE": "metrics", "XETRACK_WARNINGS": "0"}
    settings = Settings.resolve(table="predictions", warnings=True, environ=env)
    assert (settings.table, settings.warnings) == ("predictions", True)


def test_default_shown_in_a_signature_gives_way_to_the_environment() -> None:
    env = {"XETRACK_DB": "other.db", "XETRACK_TABLE": "metrics"}
    settings = Settings.resolve(db=Default("track.db"), table=Default("default"), environ=env)
    assert (settings.db, settings.table) == ("other.db", "metrics")
    assert Settings.resolve(db="track.db", table="default", environ=env) == Settings(db="track.db", table="default")
    assert Settings.resolve(db=Default("track.db"), environ={}) == Settings()


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5"])
def test_text_limit_is_a_count(limit: str) -> None:
    assert Settings.resolve(environ={"XETRACK_TEXT_LIMIT": "80"}).text_limit == 80
    with pytest.raises(InvalidArgument, match="text_limit"):
        Settings.resolve(environ={"XETRACK_TEXT_LIMIT": limit})


def test_switches_are_off_unless_set() -> None:
    assert Settings.resolve(environ={"XETRACK_DISABLED": "0"}).disabled is False
    assert Settings.resolve(environ={"XETRACK_DISABLED": "1"}).disabled is True
    assert Settings.resolve(environ={"XETRACK_ON_ERROR": "warn"}).on_error == "warn"


def test_empty_variable_is_not_given() -> None:
    assert Settings.resolve(environ={"XETRACK_ENGINE": "", "XETRACK_TABLES_DIR": ""}) == Settings()


def test_process_environment_is_read_where_none_is_handed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XETRACK_TABLE", "metrics")
    assert Settings.resolve().table == "metrics"


@pytest.mark.parametrize("name", ["engine", "durability", "events", "on_error"])
def test_unknown_choice_is_refused_naming_the_argument(name: str) -> None:
    with pytest.raises(InvalidArgument, match=name):
        Settings.resolve(**{name: "fast"}, environ={})  # type: ignore[arg-type]


def test_unknown_flag_is_refused_naming_the_variable() -> None:
    with pytest.raises(InvalidArgument, match="XETRACK_WARNINGS"):
        Settings.resolve(environ={"XETRACK_WARNINGS": "maybe"})


def test_relative_tables_folder_keeps_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.resolve(tables_dir="cache", environ={}).tables_dir == tmp_path / "cache"


def test_rank_is_what_the_launcher_says() -> None:
    assert rank({}) is None
    assert rank({"RANK": "3"}) == 3
    assert rank({"RANK": "", "SLURM_PROCID": "5"}) == 5


def test_cache_home_follows_the_desktop_standard() -> None:
    assert cache_home({"XDG_CACHE_HOME": "/scratch"}) == Path("/scratch/xetrack")
