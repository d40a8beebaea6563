"""Rows of logs, written as `denoise` writes them."""

from typing import Any

import numpy as np

from iadsr_cli.logs.reader import Log
from iadsr_cli.logs.writer import drafted_rows


def write_rows(log: Log, target: str, rows: np.ndarray, **options: Any) -> None:
    """Write some rows of a log to one file: `drafted_rows`, with its options, and no other file to wait for."""
    with drafted_rows(log, target, rows, **options):
        pass
