"""Run all examples, each in a temporary folder of its own, and say how they went."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

failed = []
for example in sorted(Path(__file__).parent.glob("[0-9]*.py")):
    print(f"--- {example.name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "TMPDIR": folder, "TEMP": folder}
        if subprocess.run([sys.executable, str(example.resolve())], cwd=folder, env=env).returncode:
            failed.append(example.name)
print(f"failed: {', '.join(failed)}" if failed else "all examples ran")
sys.exit(bool(failed))
