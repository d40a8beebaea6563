"""What is known of a log whoever judges it: what hangs on no folds, no injected noise and no seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from iadsr_cli import noise
from iadsr_cli.crossfit.predictor import Features, Pieces
from iadsr_cli.crossfit.texts import TextFeatures
from iadsr_cli.order import times
from iadsr_cli.sequences import Sequences, user_items, window_items

# Items that stand in a run of this many interactions stand close to each other.
_CLOSE = 5


@dataclass(frozen=True)
class Known:
    """What all judges of one log start from; each part is made when one first asks for it.

    Attributes:
        sequences: the log.
        texts: of its items.
    """

    sequences: Sequences
    texts: TextFeatures

    @classmethod
    def of(cls, sequences: Sequences, vectors: np.ndarray, texts: Sequence[str | None]) -> "Known":
        """Return what is known of a log.

        Args:
            sequences: the log.
            vectors: semantic vector of each item code, float32 [V + 1, S]: unit rows, zero where unknown.
            texts: the items' texts, V of them, None where there is none.
        """
        return cls(sequences, TextFeatures.of(np.asarray(vectors[1:], dtype=np.float32), texts))

    @cached_property
    def held(self) -> sparse.csr_array:
        """Who has what: see `user_items`."""
        return user_items(self.sequences, np.ones(len(self.sequences.codes), dtype=bool))

    @cached_property
    def windows(self) -> tuple[sparse.csr_array, np.ndarray]:
        """Which items stand close to each other in a history, and whose that is: see `window_items`."""
        return window_items(self.sequences, _CLOSE)

    @cached_property
    def times(self) -> np.ndarray:
        """When all users together have each item: see `order.times`."""
        return times(self.sequences, np.ones(len(self.sequences.lengths), dtype=bool))

    @cached_property
    def pieces(self) -> Pieces:
        """What predictors learn from."""
        return Pieces.of(self.sequences)

    @cached_property
    def features(self) -> Features:
        """What items are made of to predictors."""
        return Features.of(self.texts)

    @cached_property
    def neighbours(self) -> np.ndarray | None:
        """What `noise.nearest_in_text` finds; None where there are no texts, or too many."""
        vectors = np.concatenate([np.zeros_like(self.texts.vectors[:1]), self.texts.vectors])
        if not vectors.any() or len(self.texts.vectors) > noise.MOST_SIMILAR_ITEMS:
            return None
        return noise.nearest_in_text(vectors, vectors.any(axis=1) & (self.sequences.counts() > 0))
