"""From evidence to the probability that a row is noise.

Each kind of noise has a head: a sum of one step function per piece of evidence, each of which falls as the evidence
rises. So no combination of evidence can be learned that only our own injections show, and every score can be told as a
sum. A head learns to tell rows of the log from rows of its kind that were injected into it.

What is learned is a ratio of densities, that of injected rows over that of the log's rows. The probability that a row
is noise is the sum of its ratios, each times how much of the log is noise of that kind (`shares`). One head for all
kinds would be worse at each: a burst agrees with its neighbours and a misclick with nothing, so what tells the one from
genuine rows hides the other.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from iadsr_cli.threads import side_by_side

_STEPS = 64
_ROUNDS, _RATE, _LEAVES = 200, 0.1, 8
# Where a step has injected rows alone, its value would rise with every round, however few they are.
_SHRINKAGE = 10.0
# Heads that are learned at the same time, each of which takes a copy of what it learns from; and stretches of rows, of
# this many each, that are judged at the same time.
_AT_ONCE = 4
_ROWS_AT_ONCE = 8_192
# A share times a ratio is a probability, but an estimated one, which may be more than that.
_SURE = 0.99
# More rows of the log than this do not make a head better.
_COMPARED = 60_000


@dataclass(frozen=True)
class NoiseHead:
    """A sum of step functions, for one kind of noise.

    Attributes:
        edges: ascending bounds of the steps of each piece of evidence.
        steps: value of each step, one more than there are edges.
        base: what is added to the sum of steps, which count from that of the log's median: a missing piece adds 0.
    """

    edges: list[np.ndarray]
    steps: list[np.ndarray]
    base: float


@dataclass(frozen=True)
class Heads:
    """Heads of K kinds of noise as one: each piece of evidence is looked up once for all of them.

    Attributes:
        edges: ascending bounds of the steps of each piece of evidence: those of all heads.
        values: what each step of it adds to each head, float32 [s, K]; the last row is for what is missing, 0.
        base: what is added to the sum of steps, float64 [K].
    """

    edges: list[np.ndarray]
    values: list[np.ndarray]
    base: np.ndarray

    @classmethod
    def of(cls, heads: Sequence[NoiseHead]) -> "Heads":
        """Return heads of the same pieces of evidence as one."""
        edges = [np.unique(np.concatenate(bounds)) for bounds in zip(*(head.edges for head in heads), strict=True)]
        values = []
        for column, bounds in enumerate(edges):
            found = np.zeros((len(bounds) + 2, len(heads)), np.float32)
            for number, head in enumerate(heads):
                # A step of all begins within one step of each.
                beginning = np.searchsorted(head.edges[column], bounds, side="right")
                found[:-1, number] = head.steps[column][np.append(0, beginning)]
            values.append(found)
        return cls(edges, values, np.array([head.base for head in heads], dtype=np.float64))

    def ratios(self, evidence: np.ndarray) -> np.ndarray:
        """Return the density of injected rows over that of the log's rows, for evidence [n, E]; float64 [n, K]."""
        found = np.empty((len(evidence), len(self.base)))

        def look(first: int) -> None:
            rows = slice(first, first + _ROWS_AT_ONCE)
            found[rows] = self._ratios(self._steps(evidence[rows]))

        side_by_side(look, range(0, len(evidence), _ROWS_AT_ONCE), at_once=_AT_ONCE)
        return found

    def judge(
        self, evidence: np.ndarray, weights: np.ndarray, given: Mapping[int, "Odds"] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the sum of the ratios of evidence [n, E], each times its kind's weight, and what each piece adds.

        Float64 [n], and float32 [n, E], high for noise: what it adds to each head, in proportion to how likely the kind
        is. Weights are above 0, float64 [K]. `given` is what `Mixture` has.
        """
        found = np.empty(len(evidence))
        parts = np.empty(evidence.shape, dtype=np.float32)

        def look(first: int) -> None:
            rows = slice(first, first + _ROWS_AT_ONCE)
            steps = self._steps(evidence[rows])
            products = self._ratios(steps) * weights
            for kind, odds in (given or {}).items():
                products[:, kind] = odds.times(products[:, kind], evidence[rows])
            found[rows] = products.sum(axis=1)
            likely = (products / found[rows, None]).astype(np.float32)
            for column, (step, values) in enumerate(zip(steps, self.values, strict=True)):
                parts[rows, column] = np.einsum("nk,nk->n", np.take(values, step, axis=0), likely)

        side_by_side(look, range(0, len(evidence), _ROWS_AT_ONCE), at_once=_AT_ONCE)
        return found, parts

    def _steps(self, evidence: np.ndarray) -> list[np.ndarray]:
        """Return the step that each piece of evidence [n, E] is in, int64 [n] each."""
        found = []
        for bounds, column in zip(self.edges, np.ascontiguousarray(evidence.T), strict=True):
            step = np.searchsorted(bounds, column, side="right")
            step[np.isnan(column)] = len(bounds) + 1
            found.append(step)
        return found

    def _ratios(self, steps: list[np.ndarray]) -> np.ndarray:
        total = np.zeros((len(steps[0]), len(self.base)))
        for step, values in zip(steps, self.values, strict=True):
            total += np.take(values, step, axis=0)
        return np.exp(np.minimum(total + self.base, 50))


def fit(evidence: np.ndarray, injected: np.ndarray, seed: int) -> NoiseHead:
    """Learn to tell injected rows from others.

    Args:
        evidence: float [n, E], NaN where missing.
        injected: which rows were, bool [n]; some are and some are not.
        seed: of the learner, and of which rows it sees where there are many.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    others = np.flatnonzero(~injected)
    if len(others) > _COMPARED:
        others = np.random.default_rng(seed).choice(others, _COMPARED, replace=False)
        chosen = np.sort(np.concatenate([others, np.flatnonzero(injected)]))
        evidence, injected = evidence[chosen], injected[chosen]

    columns = np.ascontiguousarray(evidence.T)
    edges = [_edges(column[~np.isnan(column)]) for column in columns]
    # What is missing everywhere would take as much time as the rest.
    seen = [number for number, bounds in enumerate(edges) if len(bounds)] or [0]
    codes = np.empty((len(evidence), len(seen)), order="F")
    middle = np.zeros(len(seen))
    for place, number in enumerate(seen):
        bounds, column = edges[number], columns[number]
        known = ~np.isnan(column)
        if (known & ~injected).any():
            middle[place] = np.searchsorted(bounds, np.median(column[known & ~injected]), side="right")
        codes[:, place] = np.where(known, np.searchsorted(bounds, column, side="right"), middle[place])
    learner = HistGradientBoostingClassifier(
        max_iter=_ROUNDS,
        learning_rate=_RATE,
        max_leaf_nodes=_LEAVES,
        l2_regularization=_SHRINKAGE,
        monotonic_cst=[-1] * len(seen),
        interaction_cst="no_interactions",
        early_stopping=False,
        random_state=seed,
    )
    # One row per step of each piece of evidence, all else being at its median; the first row has all of them there.
    sizes = [len(edges[number]) + 1 for number in seen]
    grid = np.repeat(middle[None], 1 + sum(sizes), axis=0)
    grid[np.arange(1, len(grid)), np.repeat(np.arange(len(sizes)), sizes)] = np.concatenate([*map(np.arange, sizes)])
    values = learner.fit(codes, injected).decision_function(grid)
    origin = float(values[0])
    steps = [np.zeros(1)] * len(edges)
    for number, found in zip(seen, np.split(values[1:] - origin, np.cumsum(sizes)[:-1]), strict=True):
        steps[number] = found
    prior = np.log(injected.mean() / (1 - injected.mean()))
    return NoiseHead(edges, steps, origin - float(prior))


def _edges(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return np.zeros(0)
    found: np.ndarray = np.unique(np.quantile(values, np.linspace(0, 1, _STEPS + 1)[1:-1]))
    return found


@dataclass(frozen=True)
class Odds:
    """What a piece of evidence is worth that is not learned from: the odds of noise fall as its exponential rises.

    Attributes:
        column: of the evidence.
        usual: what it is of the rows that were learned from.
    """

    column: int
    usual: float

    def times(self, probability: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """Return the probabilities of noise [n] of evidence [n, E], with this piece of it."""
        found = np.minimum(probability, _SURE)
        odds = np.exp(self.usual - np.nan_to_num(evidence[:, self.column].astype(np.float64), nan=self.usual))
        return np.asarray(found * odds / (1 + found * (odds - 1)))


@dataclass(frozen=True)
class Mixture:
    """Noise of several kinds, learned twice, each time from half of the users to judge the other half.

    Attributes:
        heads: for each side those that judge its users.
        weights: the share of each kind in the log, float64 [K]; none is 0.
        given: what evidence that is not learned from is worth to a kind, by the number of that.
    """

    heads: Sequence[Heads]
    weights: np.ndarray
    given: Mapping[int, Odds] = field(default_factory=dict)

    def judge(self, evidence: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of noise of each row of evidence [n, E], float64 [n], and its parts.

        Those are what each piece of evidence adds, high for noise, float32 [n, E]: the parts of each kind's head in
        proportion to how likely the kind is. `side` is each row's user's, 0 or 1, int64 [n].
        """
        product = np.empty(len(evidence))
        parts = np.empty(evidence.shape, dtype=np.float32)
        for number, heads in enumerate(self.heads):
            own = side == number
            product[own], parts[own] = heads.judge(evidence[own], self.weights, self.given)
        return probability(product), parts


def fit_kinds(
    evidence: np.ndarray,
    kind: np.ndarray,
    side: np.ndarray,
    unseen: Sequence[Sequence[int]],
    seed: int,
    counted: Sequence[np.ndarray] | None = None,
) -> list[Heads]:
    """Learn a head for each kind of noise and each side: from the rows of the other side.

    Args:
        evidence: float [n, E], NaN where missing.
        kind: of each row, int64 [n]: 0 to K - 1 where it was injected, -1 where not.
        side: of each row's user, 0 or 1, int64 [n].
        unseen: for each of K kinds the columns of evidence that do not count for it.
        seed: of the learner.
        counted: for each of K kinds which rows it is learned from, bool [n]; all of them if None.
    """

    def learned(own: int, number: int) -> NoiseHead:
        usable = ((kind < 0) | (kind == number)) & (counted[number] if counted else True)
        chosen = usable & (side != own)
        if not (kind[chosen] == number).any() or not (kind[chosen] < 0).any():
            chosen = usable  # too few rows to be split
        seen = evidence[chosen]
        seen[:, list(unseen[number])] = np.nan
        return fit(seen, kind[chosen] == number, seed)

    both = np.repeat([0, 1], len(unseen)), np.tile(np.arange(len(unseen)), 2)
    # Scikit-learn changes the filters of warnings as it learns, which are those of all threads: for a moment there may
    # be none, and it would warn of that, or leave them so.
    with warnings.catch_warnings(record=True):
        heads = side_by_side(learned, *both, at_once=_AT_ONCE)
    return [Heads.of(heads[: len(unseen)]), Heads.of(heads[len(unseen) :])]


def ratios(heads: Sequence[Heads], evidence: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return what the heads that judge each row of evidence [n, E] say: ratios of densities, float64 [n, K]."""
    of_sides = [each.ratios(evidence[side == number]) for number, each in enumerate(heads)]
    found = np.empty((len(evidence), of_sides[0].shape[1]))
    for number, of_side in enumerate(of_sides):
        found[side == number] = of_side
    return found


def probability(product: np.ndarray) -> np.ndarray:
    """Return the probability of noise, 0 to 1, strictly rising with `product`: shares times ratios, summed over kinds.

    That is the probability where densities and shares are exact; above a half, where they are not, it is bent so that
    it tends to 1.
    """
    return np.where(product <= 0.5, product, 1 - 0.25 / np.maximum(product, 0.5))
