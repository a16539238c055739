"""Models in production and candidates: model_manager.py promote|prune|list. The same as `xt models`."""

from __future__ import annotations

from xetrack.cli.doors import model_manager

if __name__ == "__main__":
    model_manager()
