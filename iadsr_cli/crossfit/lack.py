"""What long histories of a log lack, next to others of it."""

from dataclasses import dataclass

import numpy as np

from iadsr_cli import noise
from iadsr_cli.crossfit.evidence import NAMES, family
from iadsr_cli.sequences import Sequences

_OF_HISTORIES = [column for column, name in enumerate(NAMES) if family(name) == "history"]
# Histories about as long as one are the nearest sixth of the long ones by length, but not fewer or more than this.
_ALIKE = (21, 201)


def of_long_histories(sequences: Sequences) -> np.ndarray:
    """Return one row of each long history, int64 [n]: what is known of a whole history is known of any row of it."""
    return sequences.offsets[:-1][sequences.lengths >= noise.LONG_HISTORY]


@dataclass(frozen=True)
class Lack:
    """How much less the items of histories of some lengths have to do with each other than those of others of a log.

    Who has seen everything has not kept to anything: where genuine histories of thousands of rows have no more in
    common than random items, that says nothing about one of them. That others have more in common than is usual says
    nothing against one that has as much as is.

    Attributes:
        lengths: ascending, float64 [l], of each piece of evidence about whole histories.
        sizes: what the median of histories about as long lacks to that of all lengths, 0 or more, float64 [l].
    """

    lengths: list[np.ndarray]
    sizes: list[np.ndarray]

    @classmethod
    def of(cls, sequences: Sequences, evidence: np.ndarray) -> "Lack":
        """Return what long histories of a log lack, from the evidence about its rows [N, E]."""
        from scipy.ndimage import median_filter

        rows = of_long_histories(sequences)
        rows = rows[np.argsort(sequences.lengths[sequences.user_index[rows]], kind="stable")]
        found = cls([], [])
        for column in _OF_HISTORIES:
            known = rows[~np.isnan(evidence[rows, column])]
            around = int(np.clip(len(known) // 6, *_ALIKE))
            # Beyond the shortest and the longest there are others like them, not the first and the last many times.
            medians = median_filter(evidence[known, column].astype(np.float64), size=around, mode="reflect")
            lengths, place = np.unique(sequences.lengths[sequences.user_index[known]], return_inverse=True)
            levels = np.bincount(place, medians) / np.bincount(place)
            found.lengths.append(lengths.astype(np.float64))
            found.sizes.append(np.maximum(np.median(levels) - levels, 0) if len(levels) else levels)
        return found

    def make_up(self, sequences: Sequences, evidence: np.ndarray) -> None:
        """Add what histories as long lack to the evidence about rows of long histories [N, E]."""
        lengths = sequences.lengths[sequences.user_index]
        long = lengths >= noise.LONG_HISTORY
        for column, bounds, sizes in zip(_OF_HISTORIES, self.lengths, self.sizes, strict=True):
            if len(bounds):
                evidence[long, column] += np.interp(lengths[long], bounds, sizes)
