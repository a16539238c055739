"""What a disk holds after a power cut: everything a child did to a folder, but what it had not synced is lost.

The child is traced. At each of its calls that changes or syncs files this process looks at the folder and at what
had been synced by then, and so knows what may be left: POSIX keeps the bytes of a synced file and the entries of a
synced folder, and nothing else. What was there before the child began is taken for synced.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.faults import Registers, Tracer, changes_files, forked

#: fsync and fdatasync on x86-64, and where a stopped child's registers have the number of its call.
_SYNCS, _CALL = {74, 75}, 15

#: What of a folder is left: None is a folder, bytes are a file.
Image = dict[str, bytes | None]


class Cut(NamedTuple):
    """A power cut: after which call, what of the unsynced was on the disk all the same, what is left, what was told."""

    call: int
    kept: str
    image: Image
    told: int


class Disk:
    """What of a folder is synced. Inodes are held open, so that none is given to another file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._contents: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, int]] = {}
        self._held: list[int] = []
        self.sync(root)
        for path in root.rglob("*"):
            self.sync(path)

    def sync(self, path: Path | str) -> None:
        """Take a file or a folder for synced as it is now; ``path`` may be one of /proc for a file without a name."""
        fd = os.open(path, os.O_RDONLY)
        self._held.append(fd)
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            self._entries[found.st_ino] = {entry.name: entry.inode() for entry in os.scandir(fd)}
        else:
            self._contents[found.st_ino] = os.pread(fd, found.st_size, 0)

    def close(self) -> None:
        for fd in self._held:
            os.close(fd)

    def images(self) -> Iterator[tuple[str, Image]]:
        """What may be left now: of the unsynced nothing, or names without bytes, or names and half of the bytes."""
        present = {path.stat().st_ino: path for path in [self.root, *self.root.rglob("*")]}
        folders = {inode for inode, path in present.items() if path.is_dir()} | self._entries.keys()
        yield "nothing", self._image(folders, self._entries.get, lambda inode: self._contents.get(inode, b""))

        def names(inode: int) -> dict[str, int]:
            return {entry.name: entry.inode() for entry in os.scandir(present[inode])}

        yield "names", self._image(folders, names, lambda inode: self._contents.get(inode, b""))

        def torn(inode: int) -> bytes:
            now, synced = present[inode].read_bytes(), self._contents.get(inode, b"")
            kept = len(synced) if now.startswith(synced) else 0
            return now[: kept + (len(now) - kept) // 2]

        yield "half", self._image(folders, names, torn)

    def _image(
        self, folders: set[int], entries: Callable[[int], dict[str, int] | None], content: Callable[[int], bytes]
    ) -> Image:
        image: Image = {}

        def walk(inode: int, place: str) -> None:
            for name, own in (entries(inode) or {}).items():
                if own in folders:
                    image[place + name] = None
                    walk(own, f"{place}{name}/")
                else:
                    image[place + name] = content(own)

        walk(self.root.stat().st_ino, "")
        return image


def cuts(root: Path, operation: Callable[[], object], told: Callable[[], int]) -> list[Cut]:
    """Run an operation in a traced child, and give what any power cut on the way would leave of ``root``.

    Each image is given once, with the most that was told before it: ``told`` is how much the child has had confirmed.
    """
    found: dict[frozenset[tuple[str, bytes | None]], Cut] = {}
    disk = Disk(root)
    number = 0

    def look() -> None:
        for kept, image in disk.images():
            found[frozenset(image.items())] = Cut(number, kept, image, told())

    def after(call: int, argument: int) -> None:
        nonlocal number
        number += 1
        if call in _SYNCS:
            target = f"/proc/{child}/fd/{argument}"
            if Path(os.readlink(target)).is_relative_to(root):
                disk.sync(target)
        look()

    child = forked(operation, syncs=True)
    try:
        status = Tracer(child, after=after, watched=_watched).run()
        assert os.waitstatus_to_exitcode(status) == 0, "the operation failed"
        look()
    finally:
        disk.close()
    return list(found.values())


def _watched(registers: Registers) -> bool:
    return registers[_CALL] in _SYNCS or changes_files(registers)


def lay_out(image: Image, root: Path) -> None:
    """Make a folder of an image."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for place, content in image.items():
        path = root / place
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
