"""Scores become decisions: keep or remove, with budgets and protections."""

from dataclasses import dataclass

import numpy as np

from iadsr_cli.config import DecisionSettings, parse_share
from iadsr_cli.sequences import positions


@dataclass(frozen=True)
class Decisions:
    """One decision per row of the log, in its order.

    Attributes:
        keep: bool [rows]; unscored rows are kept.
        protected: bool [rows]; suspicious enough to go, kept by a protection.
        cutoff: the noise score above which rows were candidates, or None under a budget.
    """

    keep: np.ndarray
    protected: np.ndarray
    cutoff: float | None


def decide(noise: np.ndarray, users: np.ndarray, settings: DecisionSettings) -> Decisions:
    """Choose the rows to remove.

    Args:
        noise: noise score per row, float [rows], 0 (keep) to 1 (noise); NaN where unscored.
        users: user of each row as integers, int [rows]; -1 where unknown (such rows are unscored).
        settings: threshold or budget, and protections. Of one user's n rows at most
            min(n * max_user_share, n - min_user_rows) go, the most suspicious first; equal scores go in row order.
    """
    allowed = within_protections(noise, users, settings)
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


def within_protections(noise: np.ndarray, users: np.ndarray, settings: DecisionSettings) -> np.ndarray:
    """Return which scored rows may go, bool [rows]: the worst of each user, as many as the protections allow."""
    scored = np.flatnonzero(~np.isnan(noise))
    if not len(scored):
        return np.zeros(len(noise), dtype=bool)
    sizes = np.bincount(users[users >= 0])
    # The small term keeps 0.29 * 100 from being 28.
    limit = np.minimum(np.floor(sizes * settings.max_user_share + 1e-9), sizes - settings.min_user_rows)
    ranked = scored[np.lexsort((scored, -noise[scored], users[scored]))]
    starts = np.flatnonzero(np.r_[True, np.diff(users[ranked]) != 0])
    place = positions(np.diff(np.r_[starts, len(ranked)]))
    allowed = np.zeros(len(noise), dtype=bool)
    allowed[ranked[place < limit[users[ranked]]]] = True
    return allowed
