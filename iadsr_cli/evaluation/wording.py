"""Numbers, settings and texts of a report as they are read."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from iadsr_cli.evaluation.metrics import seed_interval

DASH = "–"
LOG, TRAINING = "rows", "rows that train"
"""What figures are of: all rows of the log, or all but the last two of each user, which choose and test."""


def finite(value: Any) -> float | None:
    """Return a number that can be shown, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return None
    return float(value) if math.isfinite(value) else None


def numbers(values: Iterable[Any]) -> np.ndarray:
    """Return float [N], NaN where there is no number."""
    found = (finite(value) for value in values)
    return np.array([np.nan if value is None else value for value in found], dtype=float)


def _shown(value: Any, pattern: str, unit: str = "") -> str:
    number = finite(value)
    if number is None:
        return DASH
    text = pattern.format(number)
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−") + unit


def count(value: Any) -> str:
    """Return 1234 as "1,234"; a mean of counts that is no whole number as "0.5"."""
    number = finite(value)
    return _shown(number, "{:,.0f}" if number is None or number.is_integer() else "{:,.1f}")


def counted(value: Any, noun: str) -> tuple[str, str]:
    """Return "seed" or "seeds", as many as there are, and their number."""
    return noun if finite(value) == 1 else f"{noun}s", count(value)


def decimal(value: Any, digits: int = 3) -> str:
    """Return 0.8564 as "0.856"."""
    return _shown(value, f"{{:.{digits}f}}")


def percent(value: Any) -> str:
    """Return 0.0321 as "3.2%"."""
    number = finite(value)
    return DASH if number is None else _shown(100 * number, "{:.1f}", "%")


def part(number: float, share: float) -> str:
    """Return a share as "5.0%", and of no rows, or of hardly any, as "none" and "less than 0.1%"."""
    return "none" if not number else "less than 0.1%" if share < 0.0005 else f"{share:.1%}"


def change(value: Any, unit: str = "%") -> str:
    """Return 0.0321 as "+3.2%"; differences of shares have another unit."""
    number = finite(value)
    return DASH if number is None else _shown(100 * number, "{:+.1f}", unit)


def change_within(found: Mapping[str, float | None]) -> str:
    """Return a change and its interval, in plain characters, as "+3.2% [+2.0, +4.4]"; "-" where there is none."""
    mean, low, high = (found[name] for name in ("mean", "low", "high"))
    if mean is None or low is None or high is None:
        return "-"
    return f"{mean:+.1%} [{100 * low:+.1f}, {100 * high:+.1f}]"


def plain(value: Any) -> str:
    """Return a setting as a reader would write it."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or DASH
    return f"{value:g}" if isinstance(value, float) else str(value)


def cut(text: Any, most: int = 600) -> str:
    """Return a text, or its beginning where it is longer than `most` characters."""
    text = plain(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def mean(values: Sequence[Any]) -> float | None:
    """Return the mean of the numbers among them, None where there is none."""
    found = numbers(values)
    return float(np.nanmean(found)) if np.isfinite(found).any() else None


def half_interval(values: Sequence[Any], show: Callable[[Any], str]) -> str:
    """Return "± 0.012", half of the mean's 95% interval over seeds by Student's t; nothing for one seed.

    Nothing, too, where the interval of these shares would be as wide as all that a share can be: two seeds that differ
    do not tell how much others would.
    """
    found = numbers(values)
    found = found[np.isfinite(found)]
    half = seed_interval(found)["half"] if len(found) else None
    return "" if half is None or half >= 0.5 else f"± {show(half)}"


def known(values: Sequence[Any]) -> str:
    """Return "1 of 2 seeds", of how many seeds there is a number where it is not of all; nothing if of all or none."""
    found = int(np.isfinite(numbers(values)).sum())
    return f"{found} of {len(values)} seeds" if 0 < found < len(values) else ""


def listed(parts: Sequence[str]) -> str:
    """Return parts of a sentence as one."""
    return "; ".join(parts) + "." if parts else ""
