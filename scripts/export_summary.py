"""A table as Markdown: export_summary.py DB [TABLE]. The same as `xt summary`."""

from __future__ import annotations

from xetrack.cli.doors import export_summary

if __name__ == "__main__":
    export_summary()
