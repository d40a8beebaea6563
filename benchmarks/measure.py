"""What the benchmarks share: the command, run and timed as a process, and intervals over seeds."""

import json
import os
import subprocess
import sys
import time
from typing import Any

from iadsr_cli.evaluation.metrics import seed_interval


def iadsr(*arguments: object) -> tuple[float, float, dict[str, Any]]:
    """Run the command; return its seconds, its peak memory in GB, and its JSON summary."""
    command = [sys.executable, "-m", "iadsr_cli", *map(str, arguments)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    seconds = time.perf_counter() - start
    return seconds, usage.ru_maxrss / 1e6, json.loads(output) if output.startswith(b"{") else {}


def interval(values: list[float]) -> str:
    """Return the mean and the half-width of its 95% interval over seeds, by Student's t."""
    found = seed_interval(values)
    return f"{found['mean']:.4f} " + ("(1 seed)" if found["half"] is None else f"± {found['half']:.4f}")
