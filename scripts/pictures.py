"""Pictures for docs/images: what `xt` prints of runs that learned to read handwritten digits, and the peers' figures.

The data are scikit-learn's 1,797 digits. What is in the pictures is what the commands print, colours included.
"""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from rich.console import Console
from rich.text import Text

from scripts import peers_picture
from xetrack import Tracker

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
WIDTH = 92
EPOCHS = 40
RUNS = {
    "calm-otter-1": {"loss": "log_loss", "alpha": 0.0001, "eta0": 0.01},
    "bold-lynx-2": {"loss": "log_loss", "alpha": 0.01, "eta0": 0.001},
    "dry-fox-3": {"loss": "hinge", "alpha": 0.0001, "eta0": 0.0002},
}
PICTURES = {
    "compare": "xt compare digits.db calm-otter-1 bold-lynx-2 dry-fox-3",
    "plot-line": f"xt plot line digits.db accuracy --width {WIDTH} --height 20",
}


def learn(db: str) -> None:
    """Three runs, a row an epoch."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import train_test_split

    images, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images / 16, digits, test_size=0.3, random_state=0)
    for run, given in RUNS.items():
        model = SGDClassifier(learning_rate="constant", random_state=0, **given)
        with Tracker(db, track_id=run, params={"data": "digits", **given}) as tracker:
            for epoch in range(EPOCHS):
                model.partial_fit(train_x, train_y, classes=range(10))
                tracker.log({"epoch": epoch, "accuracy": float(model.score(test_x, test_y))})


def draw(name: str, command: str, folder: str) -> Path:
    """The picture of one command's output."""
    done = subprocess.run(
        [sys.executable, "-m", "xetrack", *shlex.split(command)[1:]],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "FORCE_COLOR": "1",
            "TERM": "xterm-256color",
            "COLUMNS": str(WIDTH),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    screen = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    screen.print(Text.assemble(("$ ", "bold green"), command))
    screen.print(Text.from_ansi(done.stdout.rstrip("\n")), no_wrap=True, crop=True)
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / f"{name}.svg"
    # A name of its own for the classes, so that the same output gives the same file.
    path.write_text(screen.export_svg(title="xetrack", unique_id=name), encoding="utf-8")
    return path


def main() -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="xetrack-pictures-") as folder:
        learn(os.path.join(folder, "digits.db"))
        for name, command in PICTURES.items():
            print(f"wrote {draw(name, command, folder).relative_to(ROOT)}")
    print(f"wrote {peers_picture.draw(IMAGES / 'peers.svg').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
