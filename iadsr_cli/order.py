"""When items are had, from the order of histories: of two that stand close to each other one mostly comes first.

Each item gets a place in time such that those who follow it in histories stand later, as nearly as can be: the gradient
of an order that pairs give, by least squares (Jiang, Lim, Yao and Ye 2011, "Statistical ranking and combinatorial Hodge
theory"). It needs no timestamps. Where histories are in no order all items come to stand anywhere, which users who
learn from different ones do not agree on.
"""

import numpy as np
from scipy import sparse

from iadsr_cli.sequences import Sequences
from iadsr_cli.threads import alone

# An item follows those that stand so close before it. As far as that, and how strongly places are drawn to the middle,
# was tried by injected noise on Amazon Beauty: from 1 to 10 and from 0.1 to 3 it hardly mattered.
_REACH = 3
_TO_MIDDLE = 1.0
_ITERATIONS, _EXACT = 60, 1e-4


@alone
def times(sequences: Sequences, users: np.ndarray) -> np.ndarray:
    """Return when items are had, as the part of the interactions that are of earlier items.

    Args:
        sequences: the log.
        users: whose histories to learn from, bool [U].

    Returns:
        In [0, 1], float32 [V], row i for code i + 1; NaN where an item stands beside no other.
    """
    follows = _follows(sequences, users)
    either = sparse.csr_array(follows + follows.T)
    pairs = either.sum(axis=1, dtype=np.float64)
    behind = follows.sum(axis=1, dtype=np.float64) - follows.sum(axis=0, dtype=np.float64)
    known = pairs > 0
    found = np.full(len(pairs), np.nan, np.float32)
    if known.any():
        place = _solved(sparse.csr_array(either, dtype=np.float64), pairs + _TO_MIDDLE, behind)
        counts = sequences.counts(np.where(users, sequences.lengths, 0))[1:]
        distinct, tie = np.unique(place[known], return_inverse=True)
        weight = np.bincount(tie, counts[known], minlength=len(distinct))
        found[known] = ((np.cumsum(weight) - weight / 2) / weight.sum())[tie]
    return found


def reliability(sequences: Sequences, users: np.ndarray) -> float:
    """Return which part of the differences between `times` is none of chance, 0 to 1.

    That is how far those of two halves of the users agree, made up to all of them as Spearman (1910) and Brown (1910)
    do.

    Args:
        sequences: the log.
        users: one half, bool [U].
    """
    one, other = (times(sequences, half).astype(np.float64) for half in (users, ~users))
    known = ~np.isnan(one) & ~np.isnan(other)
    weight = sequences.counts()[1:][known]
    if not weight.any():
        return 0.0
    one, other = (part[known] - np.average(part[known], weights=weight) for part in (one, other))
    spread = np.sqrt((weight * one**2).sum() * (weight * other**2).sum())
    agreed = max(0.0, float((weight * one * other).sum() / spread)) if spread else 0.0
    return 2 * agreed / (1 + agreed)


def _follows(sequences: Sequences, users: np.ndarray) -> sparse.csr_array:
    """Return how often an item came shortly behind another in the histories of users, float32 [V, V]."""
    items = len(sequences.items)
    found = sparse.csr_array((items, items), dtype=np.float32)
    owner, codes = sequences.user_index, sequences.codes
    for distance in range(1, _REACH + 1):
        first = np.flatnonzero((owner[distance:] == owner[:-distance]) & users[owner[distance:]])
        before, behind = codes[first] - 1, codes[first + distance] - 1
        apart = before != behind
        ones = np.ones(apart.sum(), np.float32)
        found = found + sparse.csr_array((ones, (behind[apart], before[apart])), shape=(items, items))
    return sparse.csr_array(found)


def _solved(either: sparse.csr_array, diagonal: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Return x with diagonal * x - either @ x = behind, by conjugate gradients; float64 [V]."""
    from scipy.sparse.linalg import LinearOperator, cg

    size = (len(behind), len(behind))
    matrix = LinearOperator(size, matvec=lambda x: diagonal * x - either @ x, dtype=np.float64)
    scaled = LinearOperator(size, matvec=lambda x: x / diagonal, dtype=np.float64)
    found: np.ndarray = cg(matrix, behind, rtol=_EXACT, maxiter=_ITERATIONS, M=scaled)[0]
    return found
