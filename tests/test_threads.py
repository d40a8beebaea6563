"""Threads of ours work side by side; those of libraries do not share what one of them does."""

import os
import subprocess
import sys


def test_work_is_done_side_by_side_by_threads_that_compute_alone() -> None:
    program = """
import threading
import torch
from threadpoolctl import threadpool_info
from iadsr_cli.threads import side_by_side

def threads():
    return {library["num_threads"] for library in threadpool_info()}

met = threading.Barrier(2, timeout=60)

def meeting(number):
    met.wait()  # for another thread
    return number, threads()

print(threads(), side_by_side(meeting, range(4), at_once=3), threads(), torch.get_num_threads())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert done.stdout == "{2} [(0, {1}), (1, {1}), (2, {1}), (3, {1})] {2} 2\n", done.stderr
