"""Scores become decisions: keep or remove, with budgets and protections."""

from dataclasses import dataclass, replace

import numpy as np

from iadsr_cli.config import DecisionSettings
from iadsr_cli.noise import LONG_HISTORY
from iadsr_cli.protections import Protections
from iadsr_cli.sequences import positions
from iadsr_cli.settings import parse_share

LIKELY = 0.5
"""A row with a higher noise score is more likely noise than not."""

# Of the rows of a user that looks like a bot, so many score as noise.
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Decisions:
    """One decision per row of the log, in its order.

    Attributes:
        keep: bool [rows]; unscored rows are kept.
        protected: bool [rows]; suspicious enough to go, kept by a protection.
        cutoff: the noise score above which rows were candidates, or None under a budget.
        protections: the rows that stay by the user's wish, or None where there was no asking.
    """

    keep: np.ndarray
    protected: np.ndarray
    cutoff: float | None
    protections: Protections | None = None

    def take(self, rows: np.ndarray) -> "Decisions":
        """Return the decisions on some rows, in that order."""
        protections = self.protections and self.protections.take(rows)
        return replace(self, keep=self.keep[rows], protected=self.protected[rows], protections=protections)


def decide(
    noise: np.ndarray,
    users: np.ndarray,
    items: np.ndarray,
    settings: DecisionSettings,
    spared: np.ndarray | None = None,
) -> Decisions:
    """Choose the rows to remove.

    Args:
        noise: noise score per row, float [rows], 0 (keep) to 1 (noise); NaN where unscored.
        users: user of each row as integers, int [rows]; -1 where unknown (such rows are unscored).
        items: item of each row as integers, int [rows]; -1 where unknown (such rows are unscored).
        settings: threshold or budget, and protections. Of one user's n rows at most
            min(n * max_user_share, n - min_user_rows) go, the most suspicious first; equal scores go in row order. With
            `whole_users`, more may go of those that look like bots, see `_of_bots`. Of the rows that an item has from
            others than these, `min_item_rows` stay, see `BestOfItems`, and under a threshold all that do not look worse
            than it by as much as the item is rare, see `_above_doubt`.
        spared: rows that may not go, bool [rows]; they count among their user's n, and as rows that their item keeps.
    """
    may_go = ~np.isnan(noise) if spared is None else ~np.isnan(noise) & ~spared
    allowed, best = within_limits(noise, users, items, may_go, np.bincount(items[items >= 0]), settings)
    allowed[best] = False
    if settings.budget is None:
        wanted = noise > settings.threshold
        removed = wanted & allowed
        return Decisions(~removed, wanted & ~allowed, settings.cutoff)
    size = int(np.floor(parse_share(settings.budget, "--budget") * len(noise) + 1e-9))
    candidates = np.flatnonzero(allowed)
    chosen = candidates[np.argsort(-noise[candidates], kind="stable")][:size]
    keep = np.ones(len(noise), dtype=bool)
    keep[chosen] = False
    # Protected are the rows that stayed though they look worse than some row that went.
    least = noise[chosen].min(initial=np.inf)
    return Decisions(keep, keep & ~allowed & (noise > least), settings.cutoff)


def within_limits(
    noise: np.ndarray,
    users: np.ndarray,
    items: np.ndarray,
    may_go: np.ndarray,
    item_rows: np.ndarray,
    settings: DecisionSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the limits make of the rows that may go, of whole users.

    The first are those that the limits of their users let go, bool [rows]. The second are the rows that items keep even
    so, places int64 [n]; of some users' rows, all that items could keep of the log's. Rows of bots are no reason to
    keep an item. `item_rows` is how many rows each item has in the whole log, int64 [V].
    """
    bots = _of_bots(noise, users, settings)
    # What its item keeps in any case takes no other row's place within the limit of its user.
    may_go = may_go & (bots | (np.append(item_rows, np.inf)[items] > settings.min_item_rows))
    if settings.budget is None:
        may_go = may_go & (bots | _above_doubt(noise, items, item_rows, settings))
    allowed = _within_users(noise, users, may_go, bots, settings)
    rows = np.flatnonzero(~bots)
    best = BestOfItems(settings.min_item_rows)
    best.add(rows, items[rows], noise[rows], allowed[rows])
    return allowed, best.rows()


def _above_doubt(noise: np.ndarray, items: np.ndarray, item_rows: np.ndarray, settings: DecisionSettings) -> np.ndarray:
    """Return which rows score above the threshold by as much as their item is rare, bool [rows].

    The less is known of an item, the less the scores of its rows are to be trusted: where it has n of them, the odds of
    noise must be 1 + min_item_rows * 4^(2 - n) times those of the threshold.
    """
    rows = np.append(item_rows, np.inf)[items]
    odds = settings.threshold * (1 + settings.min_item_rows * 0.25 ** (rows - 2))
    above: np.ndarray = noise > odds / (odds + 1 - settings.threshold)
    return above


def _within_users(
    noise: np.ndarray, users: np.ndarray, may_go: np.ndarray, bots: np.ndarray, settings: DecisionSettings
) -> np.ndarray:
    """Return which of the rows that may go are the worst of their users, as many as the limits allow; bool [rows].

    All rows that may go of `bots` (bool [rows]) are.
    """
    candidates = np.flatnonzero(may_go & ~bots)
    allowed = may_go & bots
    if not len(candidates):
        return allowed
    sizes = np.bincount(users[users >= 0])
    # The small term keeps 0.29 * 100 from being 28.
    limit = np.minimum(np.floor(sizes * settings.max_user_share + 1e-9), sizes - settings.min_user_rows)
    ranked = candidates[np.lexsort((candidates, -noise[candidates], users[candidates]))]
    allowed[ranked[_place_in_group(users[ranked]) < limit[users[ranked]]]] = True
    return allowed


def _of_bots(noise: np.ndarray, users: np.ndarray, settings: DecisionSettings) -> np.ndarray:
    """Return which rows are of users that may go whole, bool [rows], where the settings let any.

    These have 20 rows or more, 90% of them with scores above one half; rows that are not scored do not speak for a bot.
    """
    if not settings.whole_users:
        return np.zeros(len(noise), dtype=bool)
    known = users >= 0
    rows = np.bincount(users[known], minlength=1)
    suspicious = np.bincount(users[known & (noise > LIKELY)], minlength=len(rows))
    bot = (rows >= LONG_HISTORY) & (suspicious >= _NEARLY_ALL * rows)
    found: np.ndarray = known & bot[users]
    return found


class BestOfItems:
    """The rows that items keep, so many of each, found from any number of parts of a log.

    What stays anyway comes first, then the least suspicious rows; of equal ones the last stay, as the first go. Memory
    is that of so many rows of each item.
    """

    def __init__(self, least: int) -> None:
        """Take how many rows an item keeps."""
        self._least = least
        self._items, self._rows = np.zeros((2, 0), dtype=np.int64)
        self._noise = np.zeros(0, dtype=np.float32)

    def add(self, rows: np.ndarray, items: np.ndarray, noise: np.ndarray, allowed: np.ndarray) -> None:
        """Take in rows: their places in the log, items (-1 where unknown), scores, and whether they may go."""
        new = np.flatnonzero(items >= 0)
        # Items that these rows say nothing of are left alone: there may be many of them.
        seen = np.zeros(max(items.max(initial=-1), self._items.max(initial=-1)) + 1, dtype=bool)
        seen[items[new]] = True
        old = seen[self._items]
        item = np.r_[self._items[old], items[new]]
        score = np.r_[self._noise[old], np.where(allowed, noise, -np.inf)[new]]
        row = np.r_[self._rows[old], rows[new]]
        order = np.lexsort((-row, score, item))
        best = order[_place_in_group(item[order]) < self._least]
        self._items = np.r_[self._items[~old], item[best]]
        self._noise = np.r_[self._noise[~old], score[best]]
        self._rows = np.r_[self._rows[~old], row[best]]

    def rows(self) -> np.ndarray:
        """Return the rows of the log that items keep, int64 [n], ascending."""
        return np.sort(self._rows)


def _place_in_group(groups: np.ndarray) -> np.ndarray:
    """Return the place of each element among its neighbours of the same group, from 0; int64 [n]."""
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    return positions(np.diff(np.r_[starts, len(groups)]))
