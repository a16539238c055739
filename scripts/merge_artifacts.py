"""Stores or data files of experiments together: merge_artifacts.py --strategy merge|rebase --base-db DB --exp-db DB...

The same as `xt merge` and `xt rebase`, for several at once and into an output of its own.
"""

from __future__ import annotations

from xetrack.cli.doors import merge_artifacts

if __name__ == "__main__":
    merge_artifacts()
