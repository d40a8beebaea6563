"""Item vectors in which items are near that the same users have, and whose texts are alike, learned from some users.

IADSR aligns the vectors of a sequential recommender with those of a text encoder by training. Here the two meet in
closed form: the user-item matrix and the text features of the items are factorised together, which takes a second per
fold, so that K folds can be afforded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from iadsr_cli.crossfit.chance import Chance
from iadsr_cli.crossfit.predictor import Predictor
from iadsr_cli.crossfit.texts import TextFeatures
from iadsr_cli.sequences import positions
from iadsr_cli.threads import alone, side_by_side

# Of the user-item matrix: entries are users^-0.35 items^-0.4. The weights of text beside it, as parts of its norm, and
# the numbers of directions were chosen by injected noise on Amazon Beauty.
_USER_POWER, _ITEM_POWER = 0.35, 0.4
_TASTES = (16, 32, 64)
_AROUND = 32
_WORDS_WEIGHT, _WORDS_DIRECTIONS = 0.25, 48
_TEXT_WEIGHT, _TEXT_DIRECTIONS = 0.2, 32
_ITERATIONS = 4
# Length, relative to the longest, under which an item's factor is rounding noise.
_NO_FACTOR = 1e-4
# Pairs of items are counted in so many items of a user: the pairs of a bot that has all of them are all there can be.
_MOST_TOGETHER = 500
# Factorisations that are made at the same time.
_AT_ONCE = 3


@dataclass(frozen=True)
class Fold:
    """What users other than those of a fold teach about items; row i is the item of code i + 1.

    Attributes:
        users: how many of them have each item, float64 [V]; of who has very many items, some count.
        together: how many have both of two items, sparse float32 [V, V]; of the same.
        spaces: unit item vectors by name, float32 [V, D] each; rows are NaN where nothing is known of the item.
        times: when each item is had, as `order.times` says, float32 [V]; None where that is not known or asked for.
        predictor: which items go with which, as far as that is learned by training; None where it is not asked for.
    """

    users: np.ndarray
    together: sparse.csr_array
    spaces: dict[str, np.ndarray]
    times: np.ndarray | None = None
    predictor: Predictor | None = None

    @cached_property
    def chances(self) -> dict[str, Chance]:
        """What items have in common by chance in each space."""
        return {name: Chance.of(vectors, self.users) for name, vectors in self.spaces.items()}

    def having_both(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return how many users have both of two items, for each of n pairs of them, float32 [n].

        That is `together` at these places; to look them up there by its own means reads all of it each time.
        """
        columns, last = self.together.indices, self.together.nnz - 1
        if last < 0:
            return np.zeros(len(one), np.float32)
        left, end = (self.together.indptr[row].astype(np.int64) for row in (one, one + 1))
        right = end
        for _ in range(int((end - left).max(initial=0)).bit_length()):
            middle = (left + right) // 2
            before = (middle < right) & (columns[np.minimum(middle, last)] < other)
            left, right = np.where(before, middle + 1, left), np.where(before, right, middle)
        place = np.minimum(left, last)
        found: np.ndarray = np.where((left < end) & (columns[place] == other), self.together.data[place], 0)
        return found


@alone
def learn(
    held: sparse.csr_array,
    windows: sparse.csr_array,
    texts: TextFeatures,
    seed: int,
    times: np.ndarray | None = None,
    predictor: Predictor | None = None,
) -> Fold:
    """Learn from who has what.

    Args:
        held: who has what, float32 [U, V] of ones.
        windows: which items stand close to each other in a history, float32 [W, V] of ones: see `window_items`.
        texts: of the items.
        seed: of the factorisation.
        times: when the same users have each item, float32 [V].
        predictor: what the same users teach of which items go with which.
    """
    counted = _thinned(held, _MOST_TOGETHER, seed)
    together = (counted.T @ counted).tocsr()
    together.sort_indices()
    users, lengths = held.sum(axis=0), held.sum(axis=1)
    by_item = sparse.diags_array((np.maximum(users, 1) ** -_ITEM_POWER).astype(np.float32))
    by_user = sparse.diags_array((np.maximum(lengths, 1) ** -_USER_POWER).astype(np.float32))
    rows = {"taste": sparse.csr_array(by_user @ held @ by_item), "around": sparse.csr_array(windows @ by_item)}
    # What takes longest comes first, so that the threads end together.
    wanted = [
        (f"{name} and {own}", matrix, beside, size)
        for name, beside, size in _features(texts)
        for own, matrix in rows.items()
    ]
    wanted += [("around", rows["around"], None, _AROUND), ("taste", rows["taste"], None, max(_TASTES))]

    def factorised(matrix: sparse.csr_array, beside: sparse.csr_array | None, size: int) -> np.ndarray:
        if beside is not None:
            beside = beside * np.sqrt((matrix.data**2).sum(dtype=np.float64)).astype(np.float32)
            matrix = sparse.vstack([matrix, beside]).tocsr()
        return _factors(matrix, size, seed)

    names, *arguments = zip(*wanted, strict=True)
    factors = dict(zip(names, side_by_side(factorised, *arguments, at_once=_AT_ONCE), strict=True))
    tastes = factors.pop("taste")
    spaces = {f"taste {size}": _unit(tastes[:, :size]) for size in _TASTES if size <= tastes.shape[1]}
    spaces |= {name: _unit(part) for name, part in factors.items()}
    return Fold(counted.sum(axis=0, dtype=np.float64), together, spaces, times, predictor)


def _thinned(held: sparse.csr_array, most: int, seed: int) -> sparse.csr_array:
    """Return who has what, of those who have more than `most` items that many of them, drawn at random."""
    sizes = np.diff(held.indptr)
    if sizes.max(initial=0) <= most:
        return held
    row = np.repeat(np.arange(len(sizes)), sizes)
    drawn = np.lexsort((np.random.default_rng(seed).random(len(row)), row))
    kept = np.sort(drawn[positions(sizes) < most])
    ends = np.concatenate([[0], np.cumsum(np.minimum(sizes, most))]).astype(held.indptr.dtype)
    return sparse.csr_array((held.data[kept], held.indices[kept], ends), shape=held.shape)


def _features(texts: TextFeatures) -> Iterator[tuple[str, sparse.csr_array, int]]:
    """Yield each kind of text feature there is: its name, its rows [F, V] and the number of directions.

    The norm of the rows is the weight that they have, that of the matrix which they stand below being 1.
    """
    if texts.vectors.any():
        yield "text", sparse.csr_array(_TEXT_WEIGHT * texts.levelled.T), _TEXT_DIRECTIONS
    words = texts.words
    if words.nnz:
        yield "words", words.T * (_WORDS_WEIGHT / np.sqrt((words.data**2).sum())), _WORDS_DIRECTIONS


def _factors(matrix: sparse.csr_array, size: int, seed: int) -> np.ndarray:
    """Return the columns' factors of a truncated SVD, scaled by their singular values, float32 [V, D]."""
    from sklearn.utils.extmath import randomized_svd

    size = max(1, min(size, min(matrix.shape) - 1))
    _, strength, directions = randomized_svd(
        matrix.astype(np.float32, copy=False), n_components=size, n_iter=_ITERATIONS, random_state=seed
    )
    factors: np.ndarray = directions.T * strength
    return factors


def _unit(factors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(factors, axis=1, keepdims=True)
    there = length > _NO_FACTOR * length.max(initial=0)
    return np.where(there, factors / np.where(there, length, 1), np.nan).astype(np.float32)
