"""Versions as annotated tags: version_tag.py --version e0.1.0 --db DB. The same as `xt versions tag`."""

from __future__ import annotations

from xetrack.cli.doors import version_tag

if __name__ == "__main__":
    version_tag()
