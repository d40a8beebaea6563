"""Rows of a user that have the same time, or none: whether their places in the file say which came first.

A file that is sorted by item says nothing of it, and would be believed all the more: to whoever learns what follows
what, histories in which nothing ever stands out of place look like perfect order, and injected noise like none.
"""

from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.logs.values import numbered
from iadsr_cli.progress import Reporter

# So many of the pairs of rows that follow each other stand in the order of their items, if a file is sorted by them.
_SORTED = 0.98
# But where more of them than this are of one item and the very next, people follow a series, and that is an order.
_SERIES = 0.5
# Of fewer pairs it could be chance.
_LEAST_PAIRS = 50
# Beyond this part of the pairs, order is a matter of ties.
_MOSTLY = 0.5


def sorted_by_item(users: pa.Array, items: pa.Array, order: np.ndarray | None) -> float:
    """Return how many of the rows that follow another of their user have its time, where these are sorted by item.

    0 to 1; 0 where they are not. They are where nearly all stand in the order of their items' ids, as texts or as
    numbers, up or down, or in that in which a file has all rows of one item and then all of the next; not where most
    are of an item and the next, as of a series.

    Args:
        users: of each row in the order of the file, n strings, null where it is missing.
        items: of each row, n strings, null where it is missing.
        order: comparable times, int64 [n], or None.
    """
    # Items are numbered as they appear.
    (owner, _), (codes, distinct) = numbered(users), numbered(items)
    known = np.flatnonzero((owner >= 0) & (codes >= 0))
    place = known[np.lexsort((owner[known],) if order is None else (order[known], owner[known]))]
    former, latter = place[:-1], place[1:]
    following = owner[former] == owner[latter]
    pairs = following if order is None else following & (order[former] == order[latter])
    tied = float(pairs.sum() / max(1, following.sum()))
    pairs &= codes[former] != codes[latter]
    former, latter = former[pairs], latter[pairs]
    appeared = np.zeros(len(codes), dtype=bool)
    appeared[known[np.unique(codes[known], return_index=True)[1]]] = True
    # Where an item appears, it follows all that appeared before.
    again = ~(appeared[former] | appeared[latter])
    if any(_sorted(rank[codes[former]], rank[codes[latter]]) for rank in _ranks(distinct)):
        return tied
    return tied if _sorted(codes[former[again]], codes[latter[again]]) else 0.0


def _sorted(former: np.ndarray, latter: np.ndarray) -> bool:
    if len(former) < _LEAST_PAIRS:
        return False
    step = latter - former
    rising = float((step > 0).mean())
    return max(rising, 1 - rising) >= _SORTED and float((np.abs(step) == 1).mean()) <= _SERIES


def _ranks(items: pa.Array) -> list[np.ndarray]:
    """Return the place of each of V ids among all of them, as texts and, if they are numbers, as those; int64 [V]."""
    keys = [items]
    with suppress(pa.ArrowInvalid):
        keys.append(pc.cast(items, pa.float64()))
    return [pc.rank(key).to_numpy(zero_copy_only=False).astype(np.int64) for key in keys]


def shuffled(order: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """Return comparable times in which ties are broken at random: the same way whatever other rows there are.

    Args:
        order: comparable times, int64 [n], or None.
        rows: of the log, by whose numbers ties are broken, int64 [n].
    """
    # SplitMix64 (Steele et al., OOPSLA 2014): no two numbers have the same.
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    if order is None:
        return mixed.view(np.int64)
    found = np.empty(len(rows), dtype=np.int64)
    found[np.lexsort((mixed, order))] = np.arange(len(rows))
    return found


def tell_of_ties(tied: float, timed: bool, reporter: Reporter) -> None:
    """Say that ties are broken at random, as `sorted_by_item` found them; a log that is nearly all ties is warned of.

    `timed` says whether the log has times at all.
    """
    if not tied:
        return
    rows = f"the {tied:.0%} of them that have the time of the one before" if timed else "they"
    told = f"Rows of a user stand in the order of their items, which does not say when they happened: {rows} are taken "
    told += "in random order."
    if tied < _MOSTLY:
        reporter.note(told)
    else:
        reporter.warn(f"{told} If a column says when, name it with --time-column.")
