"""Sessions: what a user does without a long pause, taken as a history of its own."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.times import Times
from iadsr_cli.logs.values import numbered


def check_gap(time_column: str | None, log: str) -> None:
    """Check that a log has times, by which its sessions can be told.

    Raises:
        UsageError: if it has not.
    """
    if time_column is None:
        raise UsageError(
            f"--session-gap needs times, and no column of {log} is used as time.", "Name it with --time-column."
        )


def seconds_of(times: Times, column: str, log: str) -> np.ndarray:
    """Return times in seconds, float64 [rows].

    Raises:
        InputError: if their unit is not known.
    """
    if times.seconds is None:
        raise InputError(
            f'--session-gap needs times in a known unit, and the numbers in column "{column}" of {log} are no dates of '
            "1980 to 2099 in any.",
            "Say it with --time-unit s, ms, us or ns; write dates such as 20240131 as 2024-01-31.",
        )
    return times.seconds()


def session_numbers(users: np.ndarray, order: np.ndarray, seconds: np.ndarray, gap: float) -> np.ndarray:
    """Return which of its user's sessions each row is in, from 1 on, int64 [n].

    Args:
        users: user of each row as integers, [n]; those of -1 are taken as one.
        order: comparable times, int64 [n]; ties are in row order.
        seconds: the same in seconds, float64 [n].
        gap: seconds of a pause after which a new session begins: longer ones do.
    """
    place = np.lexsort((np.arange(len(users)), order, users))
    user, when = users[place], seconds[place]
    first = np.r_[True, user[1:] != user[:-1]] if len(user) else np.zeros(0, dtype=bool)
    begins = first | np.r_[True, np.diff(when) > gap] if len(user) else first
    count = np.cumsum(begins)
    numbers = np.empty(len(users), dtype=np.int64)
    numbers[place] = count - np.maximum.accumulate(np.where(first, count, 0)) + 1
    return numbers


def session_ids(users: pa.Array, order: np.ndarray, seconds: np.ndarray, gap: float) -> pa.Array:
    """Return the users' ids with the number of the session after them, as in "u1#2"; null where they are."""
    codes, _ = numbered(users)
    numbers = pa.array(session_numbers(codes, order, seconds, gap)).cast(pa.large_string())
    return pc.binary_join_element_wise(users, numbers, pa.scalar("#", pa.large_string()))
