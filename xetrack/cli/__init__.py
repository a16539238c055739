"""The command line `xt`: parse, call one function, print.

``root`` has the app and the one place where an error becomes a message and an
exit code; the other rooms are one command family each. Nothing imports this
floor but the entry points.
"""

from __future__ import annotations

from xetrack.cli.root import app, main

__all__ = ["app", "main"]
