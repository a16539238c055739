"""Which kind of data frame trackers and readers give: pandas, polars or Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from xetrack.errors import InvalidArgument, MissingExtra

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from xetrack.table import Table

Backend = Literal["pandas", "polars", "arrow"]
_default: Backend = "pandas"


def get_backend() -> Backend:
    """The kind of frame that trackers give, and readers that are told no other: pandas, polars or arrow."""
    return _default


def set_backend(backend: str) -> None:
    """Have trackers, and readers that are made from now on, give this kind of frame.

    Raises:
        InvalidArgument: it is none of pandas, polars, arrow.
        MissingExtra: its package is not installed.
    """
    global _default
    _default = checked(backend)


def checked(backend: str | None, feature: str | None = None) -> Backend:
    """The backend of a name, the default one for None. Same errors as ``set_backend``; ``feature`` is what needs it."""
    if backend is None:
        return _default
    if backend not in get_args(Backend):
        raise InvalidArgument("backend", f"{backend!r} is none of {', '.join(get_args(Backend))}")
    try:
        if backend != "pandas":
            import pyarrow  # noqa: F401  # only to see that it is there
        if backend == "polars":
            import polars  # noqa: F401
    except ImportError as error:
        raise MissingExtra(feature or f"backend={backend!r}", backend) from error
    return cast(Backend, backend)


def rows_of(
    table: Table, backend: Backend, track_id: str | None = None, head: int | None = None, tail: int | None = None
) -> pd.DataFrame:
    """Rows of a table as a frame of that kind; the annotation says what it is for most."""
    if backend == "pandas":
        return table.frame(track_id, head=head, tail=tail)
    return frame_of(table.arrow(track_id, head=head, tail=tail), backend)


def frame_of(found: pa.Table, backend: Backend) -> pd.DataFrame:
    """An Arrow table as the kind of frame that is not pandas."""
    frame: Any = polars_of(found) if backend == "polars" else found
    return cast("pd.DataFrame", frame)


def polars_of(table: pa.Table) -> pl.DataFrame:
    """A polars frame of an Arrow table; whoever calls has seen that polars is there."""
    import polars

    made: Any = polars.from_arrow(table)
    return cast("pl.DataFrame", made)
