"""Benchmarks that need what the tests' machine has not got run small, so that they run where it is there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_runs_small_on_a_processor() -> None:
    small = ["--items", "50", "--steps", "1", "--rows", "200", "--texts", "4", "--batches", "2"]
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", *small]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.partition(":")[0].partition(",")[0] for line in done.stdout.splitlines()[1:]]
    assert lines == [
        "products of 256 x 256",
        "copies",
        "step",
        "step",
        "loop",
        "scoring",
        "MiniLM",
        "encoder of 7 billion",
        "encoder of 2 layers of 64",
    ]
    assert done.stdout.count("times the limit by") >= 5
