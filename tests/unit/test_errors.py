"""Every error class: message, hint, exit code, pickle, and its entry in docs/errors.md."""

from __future__ import annotations

import errno
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.docs import errors_page
from tests.conftest import ROOT
from xetrack import errors
from xetrack.errors import DiskFull, PermissionDenied, StorageFailed, XetrackError, storage_error


def _classes(base: type[XetrackError] = XetrackError) -> Iterator[type[XetrackError]]:
    yield base
    for subclass in base.__subclasses__():
        yield from _classes(subclass)


def _made(cls: type[XetrackError]) -> XetrackError:
    """An instance with a fitting argument for every parameter."""
    samples: dict[str, object] = {"path": Path("some where/{x}.db"), "near": ["a", "b"], "size_bytes": 12, "line": 3}
    names = list(inspect.signature(cls.__init__).parameters)[1:] if inspect.isfunction(cls.__init__) else []
    return cls(*(samples.get(name, f"{{{name}}}") for name in names))


ALL = sorted(set(_classes()), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", ALL)
def test_every_error_fills_its_message_from_its_facts(cls: type[XetrackError]) -> None:
    error = _made(cls)
    assert error.summary.endswith(".")
    assert str(error) == f"{error.summary} {error.advice}".strip()
    for fact in error.args:
        shown = ", ".join(fact) if isinstance(fact, list) else str(fact)
        assert shown in str(error) or cls is errors.MergeConflict


@pytest.mark.parametrize("cls", ALL)
def test_every_error_survives_pickle(cls: type[XetrackError]) -> None:
    error = _made(cls)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("cls", ALL)
def test_every_error_has_the_exit_code_of_its_branch(cls: type[XetrackError]) -> None:
    expected = 2 if issubclass(cls, errors.UsageError) else 3 if issubclass(cls, errors.NotFound) else 1
    assert cls.exit_code == expected


@pytest.mark.parametrize("cls", [cls for cls in ALL if not cls.__subclasses__()])
def test_every_leaf_says_what_to_do(cls: type[XetrackError]) -> None:
    assert _made(cls).advice


def test_every_error_is_in_the_docs_as_it_is_in_the_code() -> None:
    written = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert written == errors_page(), "run scripts/docs"
    for cls in ALL:
        assert f"`{cls.__name__}`" in written


def test_wrong_use_is_a_value_error_and_absence_a_lookup_error() -> None:
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.NotFound, LookupError)


def test_near_matches_are_offered_only_if_there_are_any() -> None:
    assert "Did you mean: track.db?" in str(errors.StoreNotFound("trak.db", ["track.db"]))
    assert "Did you mean" not in str(errors.StoreNotFound("trak.db", []))


def test_braces_in_a_fact_are_shown_as_they_are() -> None:
    assert "'{path}'" in str(errors.ReservedKey("{path}"))


def test_fact_whose_text_fails_is_shown_by_its_type() -> None:
    class Key:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "<Key>" in str(errors.InvalidKey(Key(), "a key is text"))
    assert "<list>" in str(errors.StoreNotFound("track.db", [Key()]))  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("number", "cls"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EACCES, PermissionDenied),
        (errno.EROFS, PermissionDenied),
        (errno.EIO, StorageFailed),
    ],
)
def test_a_refusal_of_the_system_becomes_the_error_that_names_it(number: int, cls: type[XetrackError]) -> None:
    error = storage_error(OSError(number, "why"), "track.db", 7)
    assert type(error) is cls
    assert "track.db" in str(error)


def test_a_newer_format_names_the_release_that_reads_it() -> None:
    assert "xetrack 2.0 or newer" in str(errors.FormatTooNew("log", "2.3", "1.0"))
