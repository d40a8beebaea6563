"""Scores become decisions: keep or remove, with budgets and protections."""

from dataclasses import dataclass, replace

import numpy as np

from iadsr_cli.config import DecisionSettings, parse_share
from iadsr_cli.noise import LONG_HISTORY
from iadsr_cli.protections import Protections
from iadsr_cli.sequences import positions

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
    noise: np.ndarray, users: np.ndarray, settings: DecisionSettings, spared: np.ndarray | None = None
) -> Decisions:
    """Choose the rows to remove.

    Args:
        noise: noise score per row, float [rows], 0 (keep) to 1 (noise); NaN where unscored.
        users: user of each row as integers, int [rows]; -1 where unknown (such rows are unscored).
        settings: threshold or budget, and protections. Of one user's n rows at most
            min(n * max_user_share, n - min_user_rows) go, the most suspicious first; equal scores go in row order. With
            `whole_users`, more may go of those that look like bots, see `like_bots`.
        spared: rows that may not go, bool [rows]; they count among their user's n.
    """
    may_go = ~np.isnan(noise) if spared is None else ~np.isnan(noise) & ~spared
    allowed = within_limits(noise, users, may_go, settings)
    if settings.budget is None:
        wanted = noise > settings.threshold
        removed = wanted & allowed
        return Decisions(~removed, wanted & ~allowed, settings.threshold)
    size = int(np.floor(parse_share(settings.budget, "--budget") * len(noise) + 1e-9))
    candidates = np.flatnonzero(allowed)
    chosen = candidates[np.argsort(-noise[candidates], kind="stable")][:size]
    keep = np.ones(len(noise), dtype=bool)
    keep[chosen] = False
    # Protected are the rows that stayed though they look worse than some row that went.
    least = noise[chosen].min(initial=np.inf)
    return Decisions(keep, keep & ~allowed & (noise > least), None)


def within_limits(noise: np.ndarray, users: np.ndarray, may_go: np.ndarray, settings: DecisionSettings) -> np.ndarray:
    """Return which of the rows that may go are the worst of their users, as many as the limits allow; bool [rows]."""
    candidates = np.flatnonzero(may_go)
    if not len(candidates):
        return np.zeros(len(noise), dtype=bool)
    sizes = np.bincount(users[users >= 0])
    # The small term keeps 0.29 * 100 from being 28.
    limit = np.minimum(np.floor(sizes * settings.max_user_share + 1e-9), sizes - settings.min_user_rows)
    if settings.whole_users:
        limit = np.where(like_bots(noise, users, len(sizes)), sizes, limit)
    ranked = candidates[np.lexsort((candidates, -noise[candidates], users[candidates]))]
    starts = np.flatnonzero(np.r_[True, np.diff(users[ranked]) != 0])
    place = positions(np.diff(np.r_[starts, len(ranked)]))
    allowed = np.zeros(len(noise), dtype=bool)
    allowed[ranked[place < limit[users[ranked]]]] = True
    return allowed


def like_bots(noise: np.ndarray, users: np.ndarray, count: int) -> np.ndarray:
    """Return which of `count` users have 20 rows or more and scores above one half for 90% of them, bool [count].

    `noise` and `users` are as in `decide`; rows that are not scored do not speak for a bot.
    """
    rows = np.bincount(users[users >= 0], minlength=count)
    suspicious = np.bincount(users[(users >= 0) & (noise > 0.5)], minlength=count)
    return (rows >= LONG_HISTORY) & (suspicious >= _NEARLY_ALL * rows)
