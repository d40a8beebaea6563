"""No model at all: TF-IDF over words and letters, reduced by a truncated SVD (latent semantic analysis)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders.contract import unit_rows
from iadsr_cli.progress import Stage
from iadsr_cli.threads import alone

DIMENSION = 256
FEATURES = 2**17  # most n-grams of each kind, the commonest first: bounds memory at 2 * FEATURES * S floats
SEED = 0  # of the randomised SVD: part of what this encoder is, so not the run's seed


class TfidfEncoder:
    """Vectors in which texts are near that share words (one or two in a row) or letters (three to five).

    They are fitted on all the texts at hand, so a text's vector depends on its company: nothing is kept for
    other logs, and `embed_items` adds a hash of the texts to the identity. S is `dimension`, or less where
    there are fewer texts or n-grams.
    """

    per_text = False

    def __init__(self, dimension: int) -> None:
        """`dimension` is the most that S may be."""
        self._dimension = dimension
        self.identity: dict[str, Any] = {
            "kind": "tfidf",
            "words": [1, 2],
            "letters": [3, 5],
            "features": FEATURES,
            "dimension": dimension,
            "seed": SEED,
            "normalised": True,
        }

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of characters of each text."""
        return [len(text) for text in texts]

    def encode(self, texts: Sequence[str], stage: Stage) -> np.ndarray:
        """Return float32 [n, S] fitted on `texts`; a text that shares nothing with others may get zeros."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import FeatureUnion

        shared = {"sublinear_tf": True, "max_features": FEATURES, "dtype": np.float32}
        # Runs of punctuation count as words, so that no text is without one.
        words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]+", **shared)
        letters = TfidfVectorizer(ngram_range=(3, 5), analyzer="char_wb", **shared)
        features = FeatureUnion([("words", words), ("letters", letters)]).fit_transform(texts)
        vectors = _reduced(features, min(self._dimension, *features.shape))
        # A text outside the space that was kept is left with rounding noise, and noise scaled to length 1
        # would look like a vector.
        vectors[np.linalg.norm(vectors, axis=1) < 1e-4] = 0
        return unit_rows(vectors, None, "The tfidf encoder")


@alone
def _reduced(features: sparse.csr_matrix, size: int) -> np.ndarray:
    from sklearn.utils.extmath import randomized_svd

    left, strength, _ = randomized_svd(features, n_components=size, random_state=SEED)
    reduced: np.ndarray = left * strength
    return reduced


def make(rest: str, settings: EncoderSettings, device: str) -> TfidfEncoder:
    """Return the encoder; `rest` is empty and the device plays no role."""
    return TfidfEncoder(settings.encoder_dimension or DIMENSION)
