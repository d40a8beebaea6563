"""Sequences of histories that a test writes down."""

import numpy as np
import pyarrow as pa

from iadsr_cli.sequences import Sequences


def make(histories: list[list[int]], items: int) -> Sequences:
    """Return the sequences of histories of item codes, which are of so many items."""
    codes = np.array([code for history in histories for code in history], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    names = pa.array([f"i{number}" for number in range(items)], pa.large_string())
    return Sequences(names, codes, np.arange(len(codes)), offsets)
