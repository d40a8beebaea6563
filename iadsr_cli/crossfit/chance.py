"""What items have in common by chance, and how far a whole history is from it."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from iadsr_cli.noise import LONG_HISTORY
from iadsr_cli.sequences import stretches

MOST = 50.0
"""What is said of a history at most, and of one of which nothing is said."""

_VALUES_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Chance:
    """What items that are drawn at random have in common in one space, apart for each level of how many have them.

    Whoever draws items draws rare ones more often than people do, or frequent ones as often, and either have something
    in common. So the vectors of the items of a level are seen from their mean: what is left of them has nothing in
    common by chance, whichever levels are drawn from.

    Attributes:
        vectors: of the items, float32 [V, D]; NaN where unknown.
        level: of each item, int64 [V]: 0 where nobody has it, else n where 2^(n-1) to 2^n - 1 users do.
        items: how many of each level are known, float64 [L].
        means: of the vectors of each level, float64 [L, D].
        squares: of each item, squared length of what is left of its vector, float64 [V].
        products: mean squared product of what is left of two items, for each pair of levels, float64 [L, L].
    """

    vectors: np.ndarray
    level: np.ndarray
    items: np.ndarray
    means: np.ndarray
    squares: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, users: np.ndarray) -> "Chance":
        """Return that of a space, float32 [V, D], for the number of users who have each item, float64 [V]."""
        level = np.frexp(users)[1].astype(np.int64)
        levels, size = level.max(initial=0) + 1, vectors.shape[1]
        items, means, scatter = np.zeros(levels), np.zeros((levels, size)), np.zeros((levels, size * size))
        squares = np.zeros(len(vectors))
        for number in np.unique(level):
            own = np.flatnonzero((level == number) & ~np.isnan(vectors[:, 0]))
            if not len(own):
                continue
            items[number] = len(own)
            left = vectors[own].astype(np.float64)
            means[number] = left.mean(axis=0)
            left -= means[number]
            squares[own] = np.einsum("nd,nd->n", left, left)
            scatter[number] = (left.T @ left).ravel() / len(own)
        return cls(vectors, level, items, means, squares, scatter @ scatter.T)

    def coherence(self, held: sparse.csr_array) -> np.ndarray:
        """Return how much more the items of histories have to do with each other than by chance, float64 [u].

        `held` says who has what: [u, V] of ones. What is had again and again has everything to do with itself.

        That is the sum over pairs of different items of the products of what is left of their vectors, less what it
        is on the mean of as many items drawn from each level, in standard deviations of that. It is `MOST` at most, and
        where fewer than 20 items are known, or more than half of all: who has nearly everything has what there is.
        """
        levels, size = self.means.shape
        different = np.diff(held.indptr)
        found = np.full(len(different), MOST)
        # Of others nothing is said, and they are most.
        long = np.flatnonzero(different >= LONG_HISTORY)
        of_pairs = np.bincount(self.level, self.squares, levels) / np.maximum(self.items * (self.items - 1), 1)
        for first, last in stretches(different[long], max(1, _VALUES_AT_ONCE // size)):
            user, item = held[long[first:last]].nonzero()
            known = ~np.isnan(self.vectors[item, 0])
            user, item = user[known], item[known]
            histories = sparse.csr_array((np.ones(len(item)), (user, np.arange(len(item)))), (last - first, len(item)))
            of_levels = np.bincount(user * levels + self.level[item], minlength=(last - first) * levels)
            of_levels = of_levels.reshape(last - first, levels).astype(np.float64)
            total = histories @ self.vectors[item].astype(np.float64) - of_levels @ self.means
            together = np.einsum("ud,ud->u", total, total) - histories @ self.squares[item]
            # What is left of all items of a level adds up to nothing, so two of them have less than nothing in common.
            together += (of_levels * np.maximum(of_levels - 1, 0)) @ of_pairs
            variance = np.einsum("ul,ul->u", of_levels @ self.products, of_levels) - of_levels @ np.diag(self.products)
            count = of_levels.sum(axis=1)
            told = (count >= LONG_HISTORY) & (count <= self.items.sum() / 2) & (variance > 0)
            found[long[first:last][told]] = np.minimum(together[told] / np.sqrt(2 * variance[told]), MOST)
        return found
