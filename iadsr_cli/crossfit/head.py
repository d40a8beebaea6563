"""From evidence to the probability that a row is noise.

The head is additive and monotone: a sum of one step function per piece of evidence, each of which falls as the evidence
rises. So no combination of evidence can be learned that only our own injections show, and every score can be told as a
sum. It learns to tell rows of the log from rows that were injected into it; how much of the log is noise is then
estimated from the rows that look like injected ones (Elkan and Noto, KDD 2008, and Blanchard et al., JMLR 2010: the
share is at most the lowest ratio of the two densities).
"""

from dataclasses import dataclass

import numpy as np

_STEPS = 64
_ROUNDS, _RATE, _LEAVES = 200, 0.1, 8
# The share is read where this much of the injected rows lies above, and where twice as much does.
_TOP = 0.15


@dataclass(frozen=True)
class NoiseHead:
    """A sum of step functions.

    Attributes:
        edges: ascending bounds of the steps of each piece of evidence.
        steps: value of each step, one more than there are edges.
        neutral: value of a piece that is missing: that of the log's median.
        base: what is added to the sum of steps.
    """

    edges: list[np.ndarray]
    steps: list[np.ndarray]
    neutral: np.ndarray
    base: float

    def parts(self, evidence: np.ndarray) -> np.ndarray:
        """Return what each piece of evidence [n, E] adds, high for noise, 0 where it is missing; float32 [n, E]."""
        found = np.zeros(evidence.shape, dtype=np.float32)
        for column, (edges, steps) in enumerate(zip(self.edges, self.steps, strict=True)):
            values = evidence[:, column]
            known = ~np.isnan(values)
            found[known, column] = (steps - self.neutral[column])[np.searchsorted(edges, values[known], side="right")]
        return found

    def ratio(self, parts: np.ndarray) -> np.ndarray:
        """Return the density of injected rows over that of the log's rows, from `parts`; float64 [n]."""
        return np.exp(np.minimum(parts.sum(axis=1, dtype=np.float64) + self.neutral.sum() + self.base, 50))


def fit(evidence: np.ndarray, injected: np.ndarray, seed: int) -> NoiseHead:
    """Learn to tell injected rows from others.

    Args:
        evidence: float [n, E], NaN where missing.
        injected: which rows were, bool [n]; some are and some are not.
        seed: of the learner.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    edges = [_edges(column[~np.isnan(column)]) for column in evidence.T]
    codes = np.empty(evidence.shape, dtype=np.float32)
    middle = np.zeros(evidence.shape[1])
    for number, (bounds, column) in enumerate(zip(edges, evidence.T, strict=True)):
        known = ~np.isnan(column)
        if (known & ~injected).any():
            middle[number] = np.searchsorted(bounds, np.median(column[known & ~injected]), side="right")
        codes[:, number] = np.where(known, np.searchsorted(bounds, column, side="right"), middle[number])
    learner = HistGradientBoostingClassifier(
        max_iter=_ROUNDS,
        learning_rate=_RATE,
        max_leaf_nodes=_LEAVES,
        monotonic_cst=[-1] * evidence.shape[1],
        interaction_cst="no_interactions",
        early_stopping=False,
        random_state=seed,
    )
    learner.fit(codes, injected)
    origin = float(learner.decision_function(middle[None])[0])
    steps = []
    for number, bounds in enumerate(edges):
        grid = np.repeat(middle[None], len(bounds) + 1, axis=0)
        grid[:, number] = np.arange(len(bounds) + 1)
        steps.append(learner.decision_function(grid) - origin)
    prior = np.log(injected.mean() / (1 - injected.mean()))
    return NoiseHead(edges, steps, np.zeros(len(edges)), origin - float(prior))


def _edges(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return np.zeros(0)
    found: np.ndarray = np.unique(np.quantile(values, np.linspace(0, 1, _STEPS + 1)[1:-1]))
    return found


def share(ratio_of_log: np.ndarray, ratio_of_injected: np.ndarray) -> float:
    """Return the estimated share of noise in a log, 0 to 1.

    Among the rows that look most like injected ones, nearly all are noise: there the log has as many rows, relative to
    its size, as the injected ones have, times the share.

    Args:
        ratio_of_log: `NoiseHead.ratio` of the log's rows [n].
        ratio_of_injected: the same of rows that were injected by the plainest kinds [m].
    """
    if not len(ratio_of_injected) or not len(ratio_of_log):
        return 0.0

    def at(top: float) -> float:
        bound = np.quantile(ratio_of_injected, 1 - top)
        # Steps make many rows equal: all that reach the bound count, here and there.
        return float((ratio_of_log >= bound).mean() / (ratio_of_injected >= bound).mean())

    # Genuine rows are the fewer the worse the rows look: a straight line leads to where there would be none.
    return float(np.clip(2 * at(_TOP) - at(2 * _TOP), 0, 1))


def probability(ratio: np.ndarray, share: float) -> np.ndarray:
    """Return the probability of noise, 0 to 1, strictly rising with `ratio`.

    A row's probability is share * ratio where the densities are exact; above a half, where they are not, the product
    is bent so that it tends to 1.
    """
    product = share * ratio
    return np.where(product <= 0.5, product, 1 - 0.25 / np.maximum(product, 0.5))
