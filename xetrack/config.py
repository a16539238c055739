"""Settings, resolved once: the argument, else ``XETRACK_*``, else the default.

The only room that reads the environment. Every other room is handed what it
needs, so a test never has to set a variable to steer one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from xetrack.errors import InvalidArgument

Engine = Literal["sqlite", "duckdb"]
Durability = Literal["process", "disk"]
Codec = Literal["jsonl", "msgpack"]
OnError = Literal["raise", "warn"]
Adopt = Literal["auto", "never"]

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
#: Characters that the row of a tracked call keeps of a text, and values of a list.
TEXT_LIMIT = 1000
#: Seconds between two signs of life of a writer.
HEARTBEAT_S = 30.0
_GIT_PLACES = {
    "GIT_DIR",
    "GIT_COMMON_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
}
_RANK_VARIABLES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


class Default(str):
    """A default that signatures show and the environment may replace: text, told from an argument by its class."""

    __slots__ = ()


DEFAULT_DB, DEFAULT_ENGINE, DEFAULT_TABLE = Default("track.db"), Default("sqlite"), Default("default")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a tracker, a reader or a command runs with.

    ``durability="process"`` survives ``kill -9``, ``"disk"`` also a power cut.
    ``events`` is the codec of new segments; both are always read.
    ``tables_dir`` moves the tables off a network file system.
    ``on_error="warn"`` lets a tracker that cannot write go on without.
    ``disabled`` trackers only run functions.
    ``adopt="never"`` refuses a database of 0.x instead of taking it over where it is opened.
    ``text_limit`` is the number of characters that tracked calls keep of a text.
    ``heartbeat_s`` is the time between two signs of life of a writer, 0 for none.
    ``live`` keeps the tables up for other SQL clients while a tracker is open.
    ``autocompact`` has a store packed by whoever closes it, once it has hundreds of finished segments.
    """

    db: str = "track.db"
    engine: Engine = "sqlite"
    table: str = "default"
    track_id: str | None = None
    durability: Durability = "process"
    events: Codec = "jsonl"
    tables_dir: Path | None = None
    warnings: bool = True
    on_error: OnError = "raise"
    disabled: bool = False
    text_limit: int = TEXT_LIMIT
    heartbeat_s: float = HEARTBEAT_S
    live: bool = True
    autocompact: bool = False
    adopt: Adopt = "auto"

    @classmethod
    def resolve(
        cls,
        *,
        db: str | None = None,
        engine: str | None = None,
        table: str | None = None,
        track_id: str | None = None,
        durability: str | None = None,
        events: str | None = None,
        tables_dir: str | os.PathLike[str] | None = None,
        warnings: bool | None = None,
        on_error: str | None = None,
        text_limit: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Settings of one call; ``None``, a ``Default`` and empty variables mean "not given".

        Raises:
            InvalidArgument: naming the argument and what it may be.
        """
        env = os.environ if environ is None else environ

        def given(name: str, argument: str | None) -> str | None:
            if argument is None or type(argument) is Default:
                argument = env.get(f"XETRACK_{name.upper()}") or argument
            return argument if argument is None else str(argument)

        path, name = given("db", db), given("table", table)
        if path is not None:
            path = path_text(path)
        folder = given("tables_dir", None if tables_dir is None else os.fspath(tables_dir))
        return cls(
            db="track.db" if path is None else path,
            engine=cast(Engine, _one_of("engine", given("engine", engine), Engine)),
            table="default" if name is None else name,
            track_id=given("track_id", track_id),
            durability=cast(Durability, _one_of("durability", given("durability", durability), Durability)),
            events=cast(Codec, _one_of("events", given("events", events), Codec)),
            tables_dir=None if folder is None else Path(folder).expanduser().absolute(),
            warnings=_flag("XETRACK_WARNINGS", env, True) if warnings is None else warnings,
            on_error=cast(OnError, _one_of("on_error", given("on_error", on_error), OnError)),
            disabled=_flag("XETRACK_DISABLED", env, False),
            text_limit=_limit(env.get("XETRACK_TEXT_LIMIT") or None if text_limit is None else text_limit),
            heartbeat_s=_seconds("XETRACK_HEARTBEAT_S", env, HEARTBEAT_S),
            live=_flag("XETRACK_LIVE", env, True),
            autocompact=_flag("XETRACK_AUTOCOMPACT", env, False),
            adopt=cast(Adopt, _one_of("XETRACK_ADOPT", env.get("XETRACK_ADOPT") or None, Adopt)),
        )


def path_text(path: str | os.PathLike[str], name: str = "db") -> str:
    """A path as text.

    Raises:
        InvalidArgument: naming the argument, where it is none that a file can have.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise InvalidArgument(name, f"a path is text or a Path, not {type(text).__name__}; os.fsdecode makes it text")
    if "\x00" in text:
        raise InvalidArgument(name, f"{text!r} holds a NUL character")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise InvalidArgument(name, f"{text!r} has a lone surrogate, which no file name can hold") from error
    return text


def _one_of(name: str, chosen: str | None, choices: object) -> str:
    """The first of ``choices`` is the default."""
    allowed: tuple[str, ...] = get_args(choices)
    if chosen is None:
        return allowed[0]
    if chosen not in allowed:
        raise InvalidArgument(name, f"{chosen!r} is none of {', '.join(allowed)}")
    return chosen


def _flag(variable: str, env: Mapping[str, str], default: bool) -> bool:
    text = env.get(variable, "").strip().lower()
    if not text:
        return default
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InvalidArgument(variable, f"{text!r} is neither 1 nor 0")


def _limit(given: int | str | None) -> int:
    if given is None:
        return TEXT_LIMIT
    if isinstance(given, bool) or not str(given).isdecimal() or int(given) < 1:
        raise InvalidArgument("text_limit", f"{given!r} is not a number of characters, 1 or more")
    return int(given)


def store_of_environment(environ: Mapping[str, str] | None = None) -> str | None:
    """The store that commands mean where none is named."""
    return (os.environ if environ is None else environ).get("XETRACK_DB") or None


def forces_color(environ: Mapping[str, str] | None = None) -> bool | None:
    """Whether colours are wanted (``FORCE_COLOR``) or not (``NO_COLOR``) wherever output goes; None: as it goes."""
    env = os.environ if environ is None else environ
    if env.get("NO_COLOR"):
        return False
    return True if env.get("FORCE_COLOR") else None


def _seconds(variable: str, env: Mapping[str, str], default: float) -> float:
    text = env.get(variable, "").strip()
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InvalidArgument(variable, f"{text!r} is not a number of seconds, 0 or more")
    return seconds


def handles_signals(environ: Mapping[str, str] | None = None) -> bool:
    """Whether a program that is told to stop (SIGTERM, SIGHUP) and has no handler of its own notes that in the log."""
    return _flag("XETRACK_SIGNALS", os.environ if environ is None else environ, True)


def rank(environ: Mapping[str, str] | None = None) -> int | None:
    """This process's number in a distributed job, as its launcher says it."""
    env = os.environ if environ is None else environ
    for variable in _RANK_VARIABLES:
        if env.get(variable, "").isdecimal():
            return int(env[variable])
    return None


def cache_home(environ: Mapping[str, str] | None = None) -> Path:
    """The node-local folder for tables that cannot lie beside their log."""
    env = os.environ if environ is None else environ
    base = env.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "xetrack"


def git_environ(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of git programs: nothing that names another repository, as in a hook of git's, no questions."""
    env = os.environ if environ is None else environ
    kept = {name: value for name, value in env.items() if name not in _GIT_PLACES}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
