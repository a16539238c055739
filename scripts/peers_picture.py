"""The picture of docs/performance.md: other trackers beside xetrack, drawn from docs/peers.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "docs" / "peers.json"
#: What is drawn: the key of a figure, the title of its panel. All in logarithmic scale, shorter is better.
PANELS = {
    "p50_us": "a call of log, median, µs",
    "p99_us": "a call of log, 99th percentile, µs",
    "read_100k_s": "100,000 rows to a data frame, s",
    "bytes_per_row": "bytes a row",
}
_OURS, _FLOOR, _OTHERS = "#1b6ca8", "#9aa5ad", "#d98e32"


def draw(path: Path) -> Path:
    """Write the picture as SVG."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, and the same figures give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "peers", "font.size": 9})
    from matplotlib import pyplot

    peers: dict[str, dict[str, Any]] = json.loads(RESULT.read_text(encoding="utf-8"))["peers"]
    figure, axes = pyplot.subplots(2, 2, figsize=(9.5, 6.4), layout="constrained")
    for axis, (key, title) in zip(axes.flat, PANELS.items(), strict=True):
        shown = [(name, one[key]) for name, one in peers.items() if one.get(key) and _whole(one, key)]
        shown.sort(key=lambda pair: -pair[1])
        bars = axis.barh([name for name, _ in shown], [value for _, value in shown], height=0.65)
        for bar, (name, _) in zip(bars, shown, strict=True):
            bar.set_color(_color(name))
        axis.bar_label(bars, [f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for _, value in shown], padding=3)
        axis.set_xscale("log")
        axis.margins(x=0.2)
        axis.set_title(title, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return path


def _whole(one: dict[str, Any], key: str) -> bool:
    """Whether a figure is of as many rows as its panel says; some peers get fewer, as they would take hours."""
    return key != "read_100k_s" or one.get("read_100k_rows") == 100_000


def _color(name: str) -> str:
    if name in ("xetrack", "xetrack-duckdb"):
        return _OURS
    return _FLOOR if name in ("file", "sqlite3") else _OTHERS
