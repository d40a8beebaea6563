"""Run examples/walkthrough.sh and put what it prints into examples/README.md.

    python docs/walkthrough.py

Every ```console block there begins with a command of the walk-through; what follows in the block is replaced.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "examples" / "README.md"
BLOCK = re.compile(r"```console\n(\$ [^\n]*\n)(.*?)```\n", re.DOTALL)


def outputs() -> dict[str, str]:
    """Return what each command of the walk-through prints, by its line with the prompt."""
    width = {"COLUMNS": "100", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        # A folder where examples/ is what it is in the repository, and out/ is nobody else's.
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        printed = subprocess.run(
            ["bash", "examples/walkthrough.sh", "out"],
            cwd=folder,
            env={**os.environ, **width},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        ).stdout
    found: dict[str, str] = {}
    for part in printed.split("\n$ ")[1:]:
        command, _, output = part.partition("\n")
        lines = "\n".join(line.rstrip() for line in output.splitlines()).strip("\n")
        found[f"$ {command}\n"] = f"{lines}\n" if lines else ""
    return found


def main() -> None:
    """Rewrite the blocks."""
    found = outputs()
    text = README.read_text(encoding="utf-8")
    README.write_text(BLOCK.sub(lambda block: f"```console\n{block[1]}{found[block[1]]}```\n", text), encoding="utf-8")


if __name__ == "__main__":
    main()
