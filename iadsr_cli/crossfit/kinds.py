"""The kinds of noise that are learned from, and what is known of each before any log is seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iadsr_cli import noise
from iadsr_cli.crossfit.evidence import FAMILIES, beyond
from iadsr_cli.sequences import Sequences


@dataclass(frozen=True)
class Reading:
    """Where the share of a kind is read, see `shares.estimate`.

    Attributes:
        parts: of the injected rows that look worst, ascending.
        end: the part where a straight line through what is seen at these is followed to: 0 or, where what is genuine
            looks like the kind, below.
        certain: whether as many of the log's rows are left out of account as may look like that by chance.
    """

    parts: Sequence[float]
    end: float = 0.0
    certain: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of noise.

    Attributes:
        rate: at which it is injected: a low one, for the noise of a history makes its other rows look worse.
        readings: of its share; the lowest counts.
        injected: what `noise.inject` calls it.
        from_strangers: whether it is taken from users who do not teach what judges it. Of a burst that somebody has
            copied the original stands in the log, and a head that has learned from copies looks for it; others stand
            nowhere else.
        plain: whether it is found whatever the log. Plain kinds look like each other.
        doubtful: whether genuine histories may hold what looks like it, as stitched ones do.
        whole: whether it is a user's whole history. What is known of whole histories counts for it, and nothing else
            does.
    """

    rate: float
    readings: Sequence[Reading]
    injected: str
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


_PARTS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
# Genuine rows are the fewer the worse rows look: at the limit, where no injected row is, there would be none.
_LIMIT = (Reading(_PARTS),)
_BURST = (Reading((0.15, 0.3), end=-0.075),)
# Genuine rows soon look like those near in text.
_SIMILAR = (Reading((0.05, 0.1)), Reading((0.1, 0.2), end=-0.025))
_ACCOUNT = (Reading(_PARTS, end=-0.225),)
# Who is taken for a bot may go as a whole, so nothing is followed, and a few who look like one are none.
_BOT = tuple(Reading((part, 2 * part), end=part, certain=True) for part in (0.1, 0.4))

# The plain ones come first.
KINDS = {
    "insert-uniform": Kind(0.02, _LIMIT, "insert-uniform", plain=True),
    "insert-popular": Kind(0.02, _LIMIT, "insert-popular", plain=True),
    "insert-burst": Kind(0.005, _BURST, "insert-burst", doubtful=True),
    "insert-new-burst": Kind(0.005, _BURST, "insert-burst", from_strangers=True, doubtful=True),
    "insert-similar": Kind(0.0025, _SIMILAR, "insert-similar", doubtful=True),
    "insert-account": Kind(0.0075, _ACCOUNT, "insert-account", doubtful=True),
    "replace-history": Kind(0.05, _BOT, "replace-history", whole=True),
}
"""By name, in the order in which they are injected."""
