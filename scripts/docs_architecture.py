"""The map of floors and rooms: a line for each room, from its docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "xetrack"

#: From the ground up; a room imports from its own floor and from below. What a name ending in ``/`` holds is a folder.
FLOORS: list[tuple[str, ...]] = [
    ("errors.py", "config.py"),
    ("log/",),
    ("tables/",),
    ("adopt.py", "forks.py", "store.py", "table.py"),
    ("track/", "read/", "exchange/"),
    ("workflow/",),
    ("cli/",),
]

_HEAD = """\
# Architecture

Made from the package's docstrings by `scripts/docs`. Each module is a room with one job, and rooms of one stage share a
floor. Imports run one way, from a floor to itself and to those below it; `tests/test_architecture.py` checks it, and
these walls: only `config.py` reads the environment, only `exchange/git.py` runs git, the log knows no table, the
backends of the tables see no event, and heavy packages are imported by the function that needs them.

```text
your code -> track/ --event--> log/ --event--> tables/ --row--> read/ -> your eyes
                                ^                 ^
                    exchange/ (merge, copy,   store.py (the log grew: catch up)
                    import, export, git)          cli/ calls all of them
```

## One event, from the call to the row

1. `Tracker.log` (`track/tracker.py`) takes a dict, and `track/recorder.py` records it. Where its keys are not known yet
   or its values not plain, `track/rows.py` makes of it what a log can hold, as `log/values.py` says, and what is shown
   of it; an object that is no cell's value goes to `log/assets.py` first.
2. `track/session.py` holds the writer of this process: one segment of the table. `log/segment.py` gives the event its
   clock and its sequence number, `log/codec.py` makes one line of it, and the line is with the operating system when
   the call returns. No table was touched.
3. Whoever reads, a `Reader` (`read/reader.py`) or a command, asks a `Table` (`table.py`), which first catches up:
   `tables/keeper.py` opens the tables, and `tables/projector.py` looks how far they have read the log.
4. `log/merged.py` hands on what is new, of all segments, in the total order. `tables/apply.py` decides for each event
   what it does to the rows, and `tables/layout.py` which column a key gets.
5. A backend (`tables/sqlite.py`, `tables/duckdb.py`) writes rows and position in one transaction. `tables/frames.py`
   makes a data frame of them.

What an event may be is in `log/events.py`, and as bytes on disk in [the format](format.md).
"""


def architecture_page() -> str:
    """The text of docs/architecture.md."""
    parts = [_HEAD]
    for number, names in reversed(list(enumerate(FLOORS, 1))):
        parts.append(f"\n## Floor {number}: {', '.join(f'`{name}`' for name in names)}\n")
        for name in names:
            door = PACKAGE / name / "__init__.py" if name.endswith("/") else PACKAGE / name
            rooms = sorted(set(door.parent.glob("*.py")) - {door}) if name.endswith("/") else [door]
            if name.endswith("/"):
                parts.append(f"\n`{name}`: {_said(door)}\n")
            parts.append(
                "\n" + "".join(f"- `{room.relative_to(PACKAGE).as_posix()}`: {_said(room)}\n" for room in rooms)
            )
    return "".join(parts)


def _said(room: Path) -> str:
    """The first sentence at a room's door, with code marked as Markdown has it."""
    text = ast.get_docstring(ast.parse(room.read_text(encoding="utf-8"))) or ""
    return re.sub(r"``(.+?)``", r"`\1`", text.partition("\n")[0])
