"""Does a path lie on a network file system? There SQLite's locks and maps, and events of changes, do not work.

Linux says it in ``/proc/self/mountinfo``. Elsewhere, and where it cannot be
told, the answer is no: ``XETRACK_TABLES_DIR`` says it then.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    "nfs nfs3 nfs4 cifs smb smb2 smb3 smbfs afs ceph lustre gpfs glusterfs 9p beegfs orangefs pvfs2 gfs2 ocfs2 ncpfs "
    "panfs wekafs davfs quobyte pxd".split()
)
#: File systems of programs, of which some are networks.
_FUSE_NETWORK = frozenset(
    "sshfs glusterfs s3fs rclone davfs2 gcsfuse goofys juicefs ceph ceph-fuse beegfs mountpoint-s3 curlftpfs".split()
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def is_network(path: Path, mounts: str | None = None) -> bool:
    """Whether the file system of a path, there or not, is a network's. ``mounts`` is what Linux says of all."""
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text(errors="surrogateescape")
        except OSError:
            return False
    place = os.path.realpath(path)
    found, kind = "", ""
    for line in mounts.splitlines():
        fields, _, more = line.partition(" - ")
        columns, told = fields.split(), more.split()
        if len(columns) < 5 or not told:
            continue
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), columns[4])
        is_above = place == point or place.startswith(point.rstrip("/") + "/")
        # The last mount at a place hides those before.
        if is_above and len(point) >= len(found):
            found, kind = point, told[0]
    if kind.startswith("fuse."):
        return kind.removeprefix("fuse.") in _FUSE_NETWORK
    return kind in _NETWORK
