"""The kinds of noise that are learned from, and what is known of each before any log is seen."""

from dataclasses import dataclass

import numpy as np

from iadsr_cli import noise
from iadsr_cli.crossfit.evidence import FAMILIES, beyond
from iadsr_cli.sequences import Sequences


@dataclass(frozen=True)
class Kind:
    """A kind of noise.

    Attributes:
        injected: what `noise.inject` calls it.
        rate: at which it is injected: a low one, for the noise of a history makes its other rows look worse.
        end: the part of the injected rows that look worst to which a line is followed to read its share, see `shares`:
            0 or, where what is genuine looks like the kind, below.
        from_strangers: whether it is taken from users who do not teach what judges it. Of a burst that somebody has
            copied the original stands in the log, and a head that has learned from copies looks for it; others stand
            nowhere else.
        plain: whether it is found whatever the log. Plain kinds look like each other.
        doubtful: whether genuine histories may hold what looks like it, as stitched ones do.
        whole: whether it is a user's whole history. What is known of whole histories counts for it, and nothing else
            does.
    """

    injected: str
    rate: float
    end: float = 0.0
    from_strangers: bool = False
    plain: bool = False
    doubtful: bool = False
    whole: bool = False

    @property
    def unseen(self) -> list[int]:
        """The columns of the evidence that do not count for it."""
        return beyond(["history"] if self.whole else [name for name in FAMILIES if name != "history"])

    def counted(self, sequences: Sequences) -> np.ndarray:
        """Return which rows it is learned and read from, bool [N]: one of each long history, or all.

        What is known of a whole history is one observation, however many rows it has.
        """
        if not self.whole:
            return np.ones(len(sequences.codes), dtype=bool)
        found = np.zeros(len(sequences.codes), dtype=bool)
        found[sequences.offsets[:-1][sequences.lengths >= noise.LONG_HISTORY]] = True
        return found


# The plain ones come first.
KINDS = {
    "insert-uniform": Kind("insert-uniform", 0.02, plain=True),
    "insert-popular": Kind("insert-popular", 0.02, plain=True),
    "insert-burst": Kind("insert-burst", 0.005, -0.15, doubtful=True),
    "insert-new-burst": Kind("insert-burst", 0.005, -0.15, doubtful=True, from_strangers=True),
    "insert-similar": Kind("insert-similar", 0.0025, -0.05, doubtful=True),
    "insert-account": Kind("insert-account", 0.0075, -0.225, doubtful=True),
    "replace-history": Kind("replace-history", 0.05, whole=True),
}
"""By name, in the order in which they are injected."""
