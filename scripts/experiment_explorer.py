"""Past experiments: experiment_explorer.py list|show|diff|get|checkout|worktrees|cleanup. The same as `xt versions`."""

from __future__ import annotations

from xetrack.cli.doors import experiment_explorer

if __name__ == "__main__":
    experiment_explorer()
