"""Check what is in a wheel and an sdist, and print the lowest release of each dependency as constraints for pip."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile

IN_WHEEL = ("xetrack/py.typed", "xetrack/skills/xetrack/SKILL.md", "xetrack/skills/benchmark/SKILL.md")
IN_SDIST = ("xetrack/__init__.py", "tests/conftest.py", "docs/format.md", "examples/run_all.py", "scripts/test")


def main(wheel: str, sdist: str) -> None:
    """Print ``name==release`` for each ``name>=release`` of the wheel; exit with what is wrong."""
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        requirements = file.read(metadata).decode()
    odd = [name for name in names if not name.startswith(("xetrack/", metadata.split("/")[0]))]
    missing = [name for name in IN_WHEEL if name not in names]
    with tarfile.open(sdist) as packed:
        packed_names = {name.partition("/")[2] for name in packed.getnames()}
    missing += [name for name in IN_SDIST if name not in packed_names]
    if odd or missing:
        sys.exit(f"not in the package: {missing}; should not be in the wheel: {odd}")
    lowest = re.findall(r"^Requires-Dist: ([\w.-]+)>=([\w.]+)(?:; extra == 'all')?$", requirements, re.MULTILINE)
    for name, release in lowest:
        print(f"{name}=={release}")


if __name__ == "__main__":
    main(*sys.argv[1:])
