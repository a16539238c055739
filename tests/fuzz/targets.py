"""What is fuzzed: each target takes bytes from anywhere and must end well or with an ``XetrackError``.

A target is the shortest way from the bytes to a user's call; it makes what it needs in a
folder of its own. ``tests/fuzz`` gives it Hypothesis's examples and the corpus,
``scripts/fuzz`` as many as there is time for.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

from xetrack import Reader, Tracker, import_data, merge
from xetrack.errors import XetrackError
from xetrack.log.codec import jsonl, msgpack
from xetrack.log.compaction import compact
from xetrack.log.hints import hint_of
from xetrack.log.log import FileLog
from xetrack.log.packs import all_lines, lines_of
from xetrack.log.verify import verify

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests/fixtures/corpus"
PEERS = ROOT / "tests/fixtures/peers"
WRITER = "k4w7aq2mzb3xn5ty"

Target = Callable[[bytes], None]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="xetrack-fuzz-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _allowed() -> Iterator[None]:
    with contextlib.suppress(XetrackError):
        yield


# -- the codecs --------------------------------------------------------------


def signed_lines(raw: bytes) -> bytes:
    """Lines with the CRC that belongs to them in place of what they end with: past the first check of a reader."""
    found = []
    for line in raw.split(b"\n"):
        body, crc, _ = line.rpartition(b',"crc":"')
        body = body if crc else line.removesuffix(b"}")
        found.append(b'%b,"crc":"%08x"}' % (body, crc32(body)) if body.startswith(b"{") else line)
    return b"\n".join(found)


def signed_records(raw: bytes) -> bytes:
    """The same for records of MessagePack: each marker with the length and CRC of what follows it."""
    head, *payloads = raw.split(b"\xc1XT\n")
    found = [head]
    for rest in payloads:
        payload = rest[8:]
        length = len(payload).to_bytes(4, "big")
        found.append(b"\xc1XT\n" + length + crc32(payload, crc32(length)).to_bytes(4, "big") + payload)
    return b"".join(found)


def lines(raw: bytes) -> None:
    """The decoder of lines: every byte is in an event, in a damage or behind the last line end."""
    found = jsonl.split(raw)
    assert found.consumed == raw.rfind(b"\n") + 1
    for event in found.events:
        jsonl.decode(jsonl.encode(event)[:-1])
    kept = lines_of(raw[: found.consumed], "x.jsonl", found.events, found.damaged)
    assert [jsonl.decode(line) for line in kept] == found.events


def records(raw: bytes) -> None:
    """The decoder of records."""
    found = msgpack.split(raw)
    assert found.consumed <= len(raw)
    kept = lines_of(raw[: found.consumed], "x.msgpack", found.events, found.damaged)
    assert len(kept) == len(found.events)
    msgpack.split(raw, False)
    msgpack.is_damage(raw[found.consumed :])


# -- a store -----------------------------------------------------------------


def _store(folder: Path, name: str, raw: bytes) -> Path:
    db = folder / "t.db"
    with Tracker(db, track_id="honest") as tracker:
        tracker.log({"x": 1, "loss": 0.5})
    (folder / "t.db.events/default" / name).write_bytes(raw)
    return db


def _read_through(db: Path, engine: str) -> None:
    """All that shows what a store holds."""
    with _allowed():
        reader = Reader(db, engine=engine)  # type: ignore[arg-type]
        for look in (
            reader.to_df,
            reader.runs,
            reader.history,
            reader.latest,
            lambda: reader.to_df(tail=3),
            lambda: list(reader.assets.items()),
            lambda: reader.sql("SELECT * FROM events"),
            lambda: reader.blame("honest", "loss"),
        ):
            with _allowed():
                look()


def _segment(raw: bytes, name: str, engine: str) -> None:
    with _folder() as folder:
        db = _store(folder, name, raw)
        _read_through(db, engine)
        log = FileLog(folder / "t.db.events")
        with _allowed():
            verify(log)
            compact(log, in_git=False, dry_run=True)
        for _ in all_lines(log, "default", name):
            pass
        with _allowed():
            merge(db, into=folder / "merged.db")


def segment(raw: bytes) -> None:
    """A segment of lines beside an honest one, read, verified and merged."""
    _segment(raw, f"{WRITER}.jsonl", "sqlite")


def segment_duckdb(raw: bytes) -> None:
    """The same for tables of DuckDB."""
    _segment(raw, f"{WRITER}.jsonl", "duckdb")


def segment_msgpack(raw: bytes) -> None:
    """A segment of MessagePack."""
    _segment(raw, f"{WRITER}.msgpack", "sqlite")


def pack(raw: bytes) -> None:
    """A compressed pack, which may say anything of its size, with or without a note."""
    name = f"{'0' * 64}.jsonl.zst"
    with _folder() as folder:
        db = _store(folder, name, raw)
        hint_of(FileLog(folder / "t.db.events"), "default", name)
        _read_through(db, "sqlite")


def asset(raw: bytes) -> None:
    """The file of a stored object."""
    with _folder() as folder:
        db = folder / "t.db"
        with Tracker(db, track_id="honest") as tracker:
            tracker.log({"object": {1, 2}})
        (file,) = (folder / "t.db.events/_assets").glob("??/*.zst")
        file.write_bytes(raw)
        with _allowed():
            Reader(db).get(file.stem)
            verify(FileLog(folder / "t.db.events"))


# -- importers ---------------------------------------------------------------


def _import(name: str, raw: bytes, kind: str | None = None) -> None:
    with _folder() as folder:
        (folder / name).write_bytes(raw)
        with _allowed():
            import_data(folder / name, folder / "t.db", kind=kind)
        if (folder / "t.db.events").exists():
            assert verify(FileLog(folder / "t.db.events")).ok
            Reader(folder / "t.db").to_df()


def import_csv(raw: bytes) -> None:
    """CSV."""
    _import("rows.csv", raw)


def import_jsonl(raw: bytes) -> None:
    """JSON lines."""
    _import("rows.jsonl", raw)


def import_packed(raw: bytes) -> None:
    """JSON lines, packed: whatever gzip makes of the bytes."""
    _import("rows.jsonl.gz", raw)


def import_parquet(raw: bytes) -> None:
    """Parquet."""
    _import("rows.parquet", raw)


def import_tensorboard(raw: bytes) -> None:
    """An event file of TensorBoard."""
    _import("events.out.tfevents.1.vm", raw)


def import_wandb(raw: bytes) -> None:
    """A run of wandb."""
    _import("run-x.wandb", raw)


def import_mlflow(raw: bytes) -> None:
    """A database of MLflow."""
    _import("mlflow.db", raw, "mlflow")


def import_mlruns(raw: bytes) -> None:
    """A file of an ``mlruns`` folder: each in turn is these bytes."""
    with _folder() as folder:
        shutil.copytree(PEERS / "mlruns", folder / "mlruns")
        for number, pattern in enumerate(("*/*/meta.yaml", "*/*/metrics/*", "*/*/params/*", "*/meta.yaml")):
            file = sorted((folder / "mlruns").glob(pattern))[0]
            file.write_bytes(raw)
            with _allowed():
                import_data(folder / "mlruns", folder / f"{number}.db")


def old_database(raw: bytes) -> None:
    """A database of 0.x, imported, and taken over where it is opened."""
    with _folder() as folder:
        (folder / "old.db").write_bytes(raw)
        with _allowed():
            import_data(folder / "old.db", folder / "t.db", kind="xetrack-0.x")
        with _allowed(), Tracker(folder / "old.db", track_id="r") as tracker:
            tracker.log({"x": 1})


# -- names and the command line ----------------------------------------------


def command_line(raw: bytes) -> None:
    """The arguments of `xt`, separated by zeros; what they name is in a folder that is the current one."""
    from typer.testing import CliRunner

    from xetrack.cli import app

    arguments = [part.decode("utf-8", "surrogateescape") for part in raw.split(b"\0")]
    with _folder() as folder, _inside(folder):
        _store(folder, "README", b"")
        result = CliRunner().invoke(app, arguments, prog_name="xt")
        assert result.exit_code in (0, 1, 2, 3), (arguments, result.exit_code)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception


def names(raw: bytes) -> None:
    """A table, a key and a value of any name, through all that makes SQL of them."""
    name, _, key = raw.decode("utf-8", "replace").partition("\0")
    from xetrack import copy

    with _folder() as folder:
        db = folder / "t.db"
        rows = 0
        with _allowed():
            with Tracker(db, table=name, track_id="r") as tracker:
                tracker.log({key: 1, f"{key}2'": "a"})
                rows = 1
                tracker.set_value(key, 2)
                tracker.set_where(key, 3, key, 2)
        for engine in ("sqlite", "duckdb"):
            with _allowed():
                reader = Reader(db, table=name, engine=engine)
                frame = reader.to_df()
                assert list(frame["track_id"]) == ["r"] * rows
                if rows:
                    reader.sql('SELECT * FROM "' + name.replace('"', '""') + '"')
        with _allowed():
            copy(db, folder / "c.db")
            merge(db, into=folder / "m.db")


#: Every target by its name, in the order of the floors.
TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        lines,
        records,
        segment,
        segment_duckdb,
        segment_msgpack,
        pack,
        asset,
        import_csv,
        import_jsonl,
        import_packed,
        import_parquet,
        import_tensorboard,
        import_wandb,
        import_mlflow,
        import_mlruns,
        old_database,
        command_line,
        names,
    )
}


def seeds(target: str) -> list[bytes]:
    """Honest bytes to begin with: of the fixtures, and the corpus of the target."""
    found = [file.read_bytes() for file in sorted((CORPUS / target).glob("*"))]
    if target in ("import_tensorboard", "import_wandb"):
        folder = PEERS / target.removeprefix("import_")
        found += [file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()]
    elif target == "import_mlflow":
        found.append(gzip.decompress((PEERS / "mlflow.db.gz").read_bytes()))
    elif target == "import_mlruns":
        found += [file.read_bytes() for file in sorted((PEERS / "mlruns").rglob("*")) if file.is_file()]
    elif target == "old_database":
        found += [file.read_bytes() for file in sorted((ROOT / "tests/fixtures/legacy").glob("*.db"))]
    return found


__all__ = ["CORPUS", "TARGETS", "Target", "seeds", "signed_lines", "signed_records"]
