"""The kinds of noise that are learned from, and what is known of each before any log is seen."""

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from iadsr_cli.crossfit.evidence import FAMILIES, NAMES, beyond
from iadsr_cli.noise import LONG_HISTORY
from iadsr_cli.sequences import Sequences

ITEMS = NAMES.index("history: items")
"""The evidence that says how many items a whole history has."""


class Sort(Enum):
    """What a kind of noise is like.

    Attributes:
        PLAIN: single rows, found whatever the log. Kinds of this sort look like each other.
        DOUBTFUL: genuine histories may hold what looks like it, as stitched ones do.
        WHOLE: a user's whole history. What is known of whole histories counts for it, and nothing else does.
    """

    PLAIN = auto()
    DOUBTFUL = auto()
    WHOLE = auto()


@dataclass(frozen=True)
class Kind:
    """A kind of noise.

    Attributes:
        injected: what `noise.inject` calls it.
        rate: at which it is injected: a low one, for the noise of a history makes its other rows look worse.
        sort: what it is like.
        end: the part of the injected rows that look worst to which a line is followed to read its share, see `shares`:
            0 or, where what is genuine looks like the kind, below.
        copied: whether it is taken from any user, so that the original mostly stands in what judges it. All else is
            taken from users who do not teach that: as of a genuine row, nobody among those who teach may have the item.
        timely: every how many lessons it is of the time of the place where it goes, 0 for never. Who clicks amiss
            clicks on what there is then; heads that had learned from any time alone would take that for genuine.
    """

    injected: str
    rate: float
    sort: Sort
    end: float = 0.0
    copied: bool = False
    timely: int = 0

    @property
    def whole(self) -> bool:
        """Whether it is a user's whole history."""
        return self.sort is Sort.WHOLE

    @property
    def unseen(self) -> list[int]:
        """The columns of the evidence that it is not learned from."""
        if self.whole:
            return [*beyond(["history"]), ITEMS]
        return beyond([name for name in FAMILIES if name != "history"])

    def counted(self, sequences: Sequences) -> np.ndarray:
        """Return which rows it is learned and read from, bool [N]: one of each long history, or all.

        What is known of a whole history is one observation, however many rows it has.
        """
        if not self.whole:
            return np.ones(len(sequences.codes), dtype=bool)
        found = np.zeros(len(sequences.codes), dtype=bool)
        found[sequences.offsets[:-1][sequences.lengths >= LONG_HISTORY]] = True
        return found


# Plain ones come first.
KINDS = {
    "insert-uniform": Kind("insert-uniform", 0.02, Sort.PLAIN),
    "insert-popular": Kind("insert-popular", 0.02, Sort.PLAIN),
    "insert-timely": Kind("insert-timely", 0.02, Sort.PLAIN, timely=1),
    "insert-burst": Kind("insert-burst", 0.005, Sort.DOUBTFUL, -0.15, copied=True, timely=2),
    "insert-new-burst": Kind("insert-burst", 0.005, Sort.DOUBTFUL, -0.15, timely=2),
    "insert-similar": Kind("insert-similar", 0.0025, Sort.DOUBTFUL, -0.05),
    "insert-account": Kind("insert-account", 0.0075, Sort.DOUBTFUL, -0.225, copied=True),
    "replace-history": Kind("replace-history", 0.05, Sort.WHOLE),
}
"""By name, in the order in which they are injected."""
