"""What is known of items apart from who has them: their texts, as vectors and as words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

_WORDS = 2**17
_STRONGEST = 64


@dataclass(frozen=True)
class TextFeatures:
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

    @cached_property
    def strongest(self) -> np.ndarray:
        """The strongest directions of the levelled vectors, float32 [V, S], of norm 1 in the mean of known items."""
        if not self.vectors.any():
            return self.vectors[:, :1]
        # Directions are in ascending order.
        found = self.levelled[:, -_STRONGEST:]
        norm = float(np.linalg.norm(found))
        known = np.sqrt(self.vectors.any(axis=1).sum())
        return np.asarray(found * np.float32(known / norm) if norm else found)

    @cached_property
    def shared_words(self) -> sparse.csr_array:
        """The words of the titles that several items have, sparse float32 [V, W]."""
        return self.words[:, np.bincount(self.words.indices, minlength=self.words.shape[1]) > 1]

    @classmethod
    def of(cls, vectors: np.ndarray, texts: Sequence[str | None]) -> "TextFeatures":
        """Return the features of V items from their semantic vectors [V, S] and their texts."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        filled = [text or "" for text in texts]
        try:
            vectoriser = TfidfVectorizer(sublinear_tf=True, max_features=_WORDS, dtype=np.float32)
            words = sparse.csr_array(vectoriser.fit_transform(filled))
        except ValueError:  # no text has a word
            words = sparse.csr_array((len(filled), 1), dtype=np.float32)
        return cls(vectors, words)


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
    return (levelled / np.linalg.norm(levelled)).astype(np.float32)
