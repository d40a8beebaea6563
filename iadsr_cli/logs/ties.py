"""Rows of a user whose order is that of their items, which does not say which came first.

So it is of rows that have the same time, or none, in a file that is sorted by item; and of all rows where the times are
those of items, such as when these came out. It would be believed all the more: to whoever learns what follows what,
histories in which nothing ever stands out of place look like perfect order, and injected noise like none.
"""

import shlex
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.logs.values import numbered
from iadsr_cli.progress import Reporter

# So many of the pairs of rows that follow each other stand in the order of their items, if a file is sorted by them;
# and so many of the rows of an item have the time of its first, if times are those of items.
_SORTED = 0.98
# But where more of them than this are of one item and the very next, people follow a series, and that is an order.
_SERIES = 0.5
# Of fewer pairs, or rows, it could be chance.
_LEAST_PAIRS = 50
# And if any two rows have the same time more often than this, that says nothing of items.
_ONE_TIME = 0.5
# Beyond this part of the pairs, order is a matter of ties.
_MOSTLY = 0.5


@dataclass(frozen=True)
class Ties:
    """Where the order of a user's rows says nothing, so that they are taken in random order.

    Attributes:
        part: of the rows that follow another of their user, those that do so by nothing but their items, 0 to 1.
        of_items: whether that is since times are those of items.
    """

    part: float = 0.0
    of_items: bool = False

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.part > 0

    @classmethod
    def found(cls, users: pa.Array, items: pa.Array, order: np.ndarray | None, named: bool) -> "Ties":
        """Return what is to be said of a log's rows.

        Args:
            users: of each row in the order of the file, n strings, null where it is missing.
            items: of each row, n strings, null where it is missing.
            order: comparable times, int64 [n], or None.
            named: whether somebody has said that these are the times, which is then believed.
        """
        # Items are numbered as they appear.
        (owner, _), (codes, distinct) = numbered(users), numbered(items)
        known = np.flatnonzero((owner >= 0) & (codes >= 0))
        if order is not None and not named and _of_items(owner[known], codes[known], order[known]):
            return cls(1.0, of_items=True)
        return cls(_sorted_by_item(owner, codes, distinct, order, known))

    def broken(self, order: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
        """Return comparable times without ties; as they are if there is nothing to be said of these.

        Args:
            order: comparable times, int64 [n], or None.
            rows: of the log, by whose numbers ties are broken, int64 [n].
        """
        return shuffled(None if self.of_items else order, rows) if self else order

    def tell(self, column: str | None, reporter: Reporter) -> None:
        """Say that rows are taken in random order; of most, it is a warning. `column` is that of the times."""
        if not self:
            return
        if self.of_items and column is not None:
            reporter.warn(
                f'Column "{column}" has one time for all rows of an item, such as when that came out, which does not '
                "say when a user had it: rows of a user are taken in random order. If another column says when, or "
                f"this one does, name it with --time-column, as in --time-column {shlex.quote(column)}."
            )
            return
        rows = "they" if column is None else f"the {self.part:.0%} of them that have the time of the one before"
        told = f"Rows of a user stand in the order of their items, which does not say when they happened: {rows} are "
        told += "taken in random order."
        if self.part < _MOSTLY:
            reporter.note(told)
        else:
            reporter.warn(f"{told} If a column says when, name it with --time-column.")


def _of_items(owner: np.ndarray, codes: np.ndarray, order: np.ndarray) -> bool:
    """Return whether rows [n] of an item, numbered from 0 on, have one time, and those of others mostly have not.

    That is asked of rows of other users than the item's first: one user may well have it several times at once.
    """
    first = np.full(codes.max(initial=0) + 1, -1)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    again = owner != owner[first[codes]]
    if again.sum() < _LEAST_PAIRS or float((order == order[first[codes]])[again].mean()) < _SORTED:
        return False
    _, counts = np.unique(order, return_counts=True)
    return float(((counts / len(order)) ** 2).sum()) <= _ONE_TIME


def _sorted_by_item(
    owner: np.ndarray, codes: np.ndarray, distinct: pa.Array, order: np.ndarray | None, known: np.ndarray
) -> float:
    """Return how many of the rows that follow another of their user have its time, where these are sorted by item.

    0 to 1; 0 where they are not. They are where nearly all stand in the order of their items' ids, as texts or as
    numbers, up or down, or in that in which a file has all rows of one item and then all of the next; not where most
    are of an item and the next, as of a series.

    Args:
        owner: the user of each row, int64 [n].
        codes: the item of each row, numbered as they appear, int64 [n].
        distinct: the items' ids.
        order: comparable times, int64 [n], or None.
        known: the rows that have both.
    """
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
