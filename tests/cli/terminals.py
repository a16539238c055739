"""What a program writes to a terminal of 80 columns."""

from __future__ import annotations

import os
import select
import subprocess

from tests.conftest import ROOT


def environ(**more: str) -> dict[str, str]:
    """The environment of a program with colours as it likes them."""
    own = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**own, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **more}


def on_terminal(*command: str, **env: str) -> tuple[int, str]:
    """Exit status of a command, and what its terminal was sent."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ(**{"COLUMNS": "80", **env})
    ) as run:
        os.close(theirs)
        sent = b""
        while select.select([ours], [], [], 120)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other side was closed
                break
            if not piece:
                break
            sent += piece
    os.close(ours)
    return run.returncode, sent.decode()
