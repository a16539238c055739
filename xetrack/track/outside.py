"""Values that functions use without being given them, and what their own calls made of them.

A function that appends to a list it captured is no other function afterwards.
Once somebody else changes the list, it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

_REMEMBERED = 1000

#: What a call found outside of its arguments and changed, by identity, with the digests before and after.
_changed: dict[object, tuple[object, bytes, bytes]] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class Outside:
    """A value that a call found outside of its arguments: its digest as keys hold it, and how to tell it now."""

    mark: object
    owner: object
    digest: bytes
    now: Callable[[], bytes]

    def settle(self) -> None:
        """After the call: what the function itself changed counts as it was before, unless somebody changes it too."""
        try:
            now = self.now()
        except Exception:  # noqa: BLE001 - it may be gone, or have become anything
            return
        if now != self.digest:
            if len(_changed) >= _REMEMBERED:  # a program that makes up functions must not grow
                _changed.pop(next(iter(_changed)), None)
            _changed[self.mark] = (self.owner, self.digest, now)


def known_as(mark: object, owner: object, digest: bytes) -> bytes:
    """The digest a value had before calls changed it, if nobody else did; else the one it has."""
    changed = _changed.get(mark)
    if changed is None:
        return digest
    if changed[0] is owner and changed[2] == digest:
        return changed[1]
    _changed.pop(mark, None)
    return digest
