"""Item-based nearest neighbours: a recommender in closed form, without seeds, that fits in seconds.

Source: Deshpande and Karypis, "Item-based top-N recommendation algorithms", 2004; shrinkage as in Koren, 2008.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from iadsr_cli.sequences import Sequences, positions, stretches, user_items

# Scores held at once while ranking; bounds memory whatever the catalogue's size.
_SCORES_AT_ONCE = 16_000_000

# Multiplications behind the co-occurrence counts that are held at once while fitting.
_PRODUCTS_AT_ONCE = 16_000_000

# What the most popular item gains: orders items that are alike otherwise, and is far below any similarity to a recent
# item of the history.
_TIE_BREAK = 1e-9


@dataclass(frozen=True)
class ItemNeighbours:
    """Scores an item by its similarity to the items of a history, the more the later they stand in it.

    Attributes:
        similarity: float64 [V, V], sparse, rows and columns are codes less 1: row j holds the nearest neighbours of
            j, and never j itself.
        popularity: share of the most popular item's users, float64 [V], times a tiny factor.
        decay: weight of an interaction relative to the one after it.
    """

    similarity: sparse.csr_array
    popularity: np.ndarray
    decay: float

    @classmethod
    def fit(
        cls, sequences: Sequences, ends: np.ndarray, neighbours: int = 200, shrink: float = 50.0, decay: float = 0.6
    ) -> "ItemNeighbours":
        """Learn from who has what, in the first `ends[u]` interactions of each user.

        The similarity of items i and j is C_ij / (sqrt(c_i c_j) + shrink) for C_ij users with both and c_i with i.

        Args:
            sequences: whole histories.
            ends: interactions of each user to learn from, int64 [U].
            neighbours: most neighbours per item that are kept, the most similar first, then those of lower code.
            shrink: draws similarities that few users support towards 0.
            decay: as in the attributes. This and `shrink` were chosen by the validation items of Amazon Beauty.
        """
        held = user_items(sequences, positions(sequences.lengths) < ends[sequences.user_index])
        by_item = held.T.tocsr()
        users = held.sum(axis=0, dtype=np.float64)
        kept = []
        for first, last in stretches(by_item @ held.sum(axis=1, dtype=np.float64), _PRODUCTS_AT_ONCE):
            both = (by_item[first:last] @ held).tocoo()
            row, column = both.coords[0] + first, both.coords[1]
            value = both.data / (np.sqrt(users[row] * users[column]) + shrink)
            other = row != column
            row, column, value = row[other], column[other], value[other]
            nearest = np.lexsort((column, -value, row))
            nearest = nearest[positions(np.bincount(row)) < neighbours]
            kept.append((value[nearest], row[nearest], column[nearest]))
        value, row, column = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        similarity = sparse.csr_array((value, (row, column)), shape=by_item.shape[:1] * 2)
        return cls(similarity, _TIE_BREAK * users / max(1, users.max()), decay)

    def scores(self, sequences: Sequences, users: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Score every item as the next one; column i is the item of code i + 1, and more is better.

        Items of the history compete like all others; what they gain comes from the rest of it.

        Args:
            sequences: histories of the same items.
            users: indices of the users [n].
            ends: the history of `users[i]` is its first `ends[i]` interactions, int64 [n].

        Returns:
            float64 [n, V].
        """
        step = positions(ends)
        flat = np.repeat(sequences.offsets[users], ends) + step
        weights = self.decay ** (np.repeat(ends, ends) - 1 - step)
        bounds = np.concatenate([[0], np.cumsum(ends)])
        histories = sparse.csr_array(
            (weights, sequences.codes[flat] - 1, bounds), shape=(len(users), len(self.popularity))
        )
        scores: np.ndarray = (histories @ self.similarity).toarray()
        scores += self.popularity
        return scores

    def ranks(
        self, sequences: Sequences, from_end: int, users: np.ndarray | None = None, shown: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield, chunk by chunk, users [n] and the rank int64 [n] of their `from_end`-th last item given all before it.

        The protocol is that of `ranking.held_out_ranks`: rank 1 is best, the whole catalogue competes, items of the
        history included, a tie counts against the item, and users with fewer than three interactions are passed over.

        Args:
            sequences: whole histories, of the items that were fitted.
            from_end: 1 for the last item (test), 2 for the one before (validation).
            users: indices of the users to rank, all if None.
            shown: bool [V + 1], where given: the codes among anyone's first ten are set in it.
        """
        eligible = sequences.lengths >= 3
        chosen = np.flatnonzero(eligible) if users is None else users[eligible[users]]
        size = max(1, _SCORES_AT_ONCE // len(self.popularity))
        for start in range(0, len(chosen), size):
            part = chosen[start : start + size]
            scores = self.scores(sequences, part, sequences.lengths[part] - from_end)
            targets = sequences.codes[sequences.offsets[part + 1] - from_end] - 1
            if shown is not None:
                first_ten = np.argpartition(-scores, min(10, scores.shape[1]) - 1, axis=1)[:, :10] + 1
                shown[first_ten] = True
            not_below = scores >= np.take_along_axis(scores, targets[:, None], axis=1)
            yield part, not_below.sum(axis=1)
