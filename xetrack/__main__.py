"""`python -m xetrack`: the same as `xt`."""

from __future__ import annotations

from xetrack.cli import main

if __name__ == "__main__":
    main()
