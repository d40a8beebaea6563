"""Item vectors in which items are near that the same users have, and whose texts are alike, learned from some users.

IADSR aligns the vectors of a sequential recommender with those of a text encoder by training. Here the two meet in
closed form: the user-item matrix and the text features of the items are factorised together, which takes a second per
fold, so that K folds can be afforded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

# Of the user-item matrix: entries are users^-0.35 items^-0.4. The weights of text beside it, as parts of its norm, and
# the numbers of directions were chosen by injected noise on Amazon Beauty.
_USER_POWER, _ITEM_POWER = 0.35, 0.4
_TASTES = (16, 32, 64)
_AROUND = 32
_WORDS_WEIGHT, _WORDS_DIRECTIONS = 0.25, 48
_TEXT_WEIGHT, _TEXT_DIRECTIONS = 0.2, 32
_WORDS = 2**17
_ITERATIONS = 4
# Length, relative to the longest, under which an item's factor is rounding noise.
_NO_FACTOR = 1e-6


@dataclass(frozen=True)
class ItemTexts:
    """What is known of the items apart from who has them; row i is the item of code i + 1.

    Attributes:
        vectors: semantic vectors, float32 [V, S], unit rows, zero where unknown.
        words: TF-IDF of the words of the titles, sparse float32 [V, W], unit rows, zero where there is no title.
    """

    vectors: np.ndarray
    words: sparse.csr_array

    @cached_property
    def known_vectors(self) -> np.ndarray:
        """The semantic vectors, NaN where unknown."""
        return np.where(self.vectors.any(axis=1, keepdims=True), self.vectors, np.nan)

    @cached_property
    def levelled(self) -> np.ndarray:
        """The semantic vectors as they are factorised: the same for every fold."""
        return _levelled(self.vectors)

    @classmethod
    def of(cls, vectors: np.ndarray, texts: Sequence[str | None]) -> "ItemTexts":
        """Return the features of V items from their semantic vectors [V, S] and their texts."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        filled = [text or "" for text in texts]
        try:
            vectoriser = TfidfVectorizer(sublinear_tf=True, max_features=_WORDS, dtype=np.float32)
            words = sparse.csr_array(vectoriser.fit_transform(filled))
        except ValueError:  # no text has a word
            words = sparse.csr_array((len(filled), 1), dtype=np.float32)
        return cls(vectors, words)


@dataclass(frozen=True)
class Fold:
    """What users other than those of a fold teach about items; row i is the item of code i + 1.

    Attributes:
        users: how many of them have each item, float64 [V].
        together: how many have both of two items, sparse float32 [V, V].
        spaces: unit item vectors by name, float32 [V, D] each; rows are NaN where nothing is known of the item.
    """

    users: np.ndarray
    together: sparse.csr_array
    spaces: dict[str, np.ndarray]

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


def learn(held: sparse.csr_array, windows: sparse.csr_array, texts: ItemTexts, seed: int) -> Fold:
    """Learn from who has what.

    Args:
        held: who has what, float32 [U, V] of ones.
        windows: which items stand close to each other in a history, float32 [W, V] of ones: see `window_items`.
        texts: of the items.
        seed: of the factorisation.
    """
    users = np.asarray(held.sum(axis=0), dtype=np.float64).ravel()
    lengths = np.asarray(held.sum(axis=1), dtype=np.float64).ravel()
    together = (held.T @ held).tocsr()
    together.sort_indices()
    by_item = sparse.diags_array(np.maximum(users, 1) ** -_ITEM_POWER)
    whole = sparse.csr_array(sparse.diags_array(np.maximum(lengths, 1) ** -_USER_POWER) @ held @ by_item)
    factors = _factors(whole, max(_TASTES), seed)
    spaces = {f"taste {size}": _unit(factors[:, :size]) for size in _TASTES if size <= factors.shape[1]}
    spaces |= {f"{name} and taste": space for name, space in _joint(whole, texts, seed)}
    close = sparse.csr_array(windows @ by_item)
    spaces["around"] = _unit(_factors(close, _AROUND, seed))
    spaces |= {f"{name} and around": space for name, space in _joint(close, texts, seed)}
    return Fold(users, together, spaces)


def _joint(weighted: sparse.csr_array, texts: ItemTexts, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each kind of text feature there is and the space of a factorisation that has it too."""
    scale = float(np.sqrt((weighted.data**2).sum()))
    words = texts.words
    if words.nnz:
        part = words.T * (_WORDS_WEIGHT * scale / float(np.sqrt((words.data**2).sum())))
        yield "words", _unit(_factors(sparse.vstack([weighted, part]).tocsr(), _WORDS_DIRECTIONS, seed))
    if texts.vectors.any():
        part = sparse.csr_array((texts.levelled * (_TEXT_WEIGHT * scale)).T)
        yield "text", _unit(_factors(sparse.vstack([weighted, part]).tocsr(), _TEXT_DIRECTIONS, seed))


def _factors(matrix: sparse.csr_array, size: int, seed: int) -> np.ndarray:
    """Return the columns' factors of a truncated SVD, scaled by their singular values, float [V, D]."""
    from sklearn.utils.extmath import randomized_svd

    size = max(1, min(size, min(matrix.shape) - 1))
    _, strength, directions = randomized_svd(matrix, n_components=size, n_iter=_ITERATIONS, random_state=seed)
    factors: np.ndarray = directions.T * strength
    return factors


def _unit(factors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(factors, axis=1, keepdims=True)
    there = length > _NO_FACTOR * length.max(initial=0)
    return np.where(there, factors / np.where(there, length, 1), np.nan).astype(np.float32)


def _levelled(vectors: np.ndarray) -> np.ndarray:
    """Return vectors [V, S] centred, their directions nearer to each other in strength, of norm 1 as a whole.

    Encoders put most of their strength into a few directions, which would be all that a joint factorisation keeps.
    """
    known = np.asarray(vectors.any(axis=1))
    centred = (vectors - vectors[known].mean(axis=0)) * known[:, None]
    strength, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    strength = np.sqrt(np.maximum(strength, 0))
    used = strength > 1e-6 * strength.max(initial=0)
    if not used.any():
        return centred
    levelled: np.ndarray = centred @ (directions[:, used] / np.sqrt(strength[used]))
    return levelled / np.linalg.norm(levelled)
