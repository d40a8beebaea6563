"""What the judge learns from: histories of the log itself, with noise injected into them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from iadsr_cli import noise
from iadsr_cli.crossfit.kinds import Kind
from iadsr_cli.sequences import Sequences

# Rows of the users that noise is injected into: enough for the head. None of them has more than such a part of those.
_TAUGHT_ROWS, _LEAST_TAUGHT = 250_000, 10
# Noise is injected into them so many times, at least and at most, until so many rows have been read: more noise at once
# would make histories look worse than they are, and from fewer injected rows shares are estimated less exactly.
_LESSONS, _READ_ROWS = (3, 10), 600_000
# A small log gets more, so that there is something to learn from: (rows, highest rate).
_LEAST_INJECTED = ((500, 0.02), (80, 0.3))
# But of long histories not so many that few are left, and none where there are fewer than this.
_MOST_REPLACED, _LEAST_LONG = 0.2, 500


@dataclass(frozen=True)
class Lesson:
    """Histories with injected noise.

    Attributes:
        sequences: the histories.
        kind: of the noise that a row is, its number among the kinds, int64 [n]; -1 for rows that were there.
    """

    sequences: Sequences
    kind: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """Which rows have others to be compared with, bool [n]."""
        return accompanied(self.sequences)

    @property
    def injected(self) -> np.ndarray:
        """Which of those are noise, bool [n]."""
        return self.usable & (self.kind >= 0)


def accompanied(sequences: Sequences) -> np.ndarray:
    """Return which rows have others in their history to be compared with, bool [N]."""
    return (sequences.lengths > 1)[sequences.user_index]


def lessons(
    sequences: Sequences,
    kinds: Mapping[str, Kind],
    fold: np.ndarray,
    neighbours: np.ndarray | None,
    times: np.ndarray | None,
    seed: list[int],
) -> list[Lesson]:
    """Return histories with noise of all kinds: of as many users as are needed, as often as is needed.

    Args:
        sequences: the log.
        kinds: of noise, in the order in which they are injected.
        fold: of each user, int64 [U]; those of another fold teach what judges them.
        neighbours: what `noise.nearest_in_text` finds; None where there are no texts, or too many.
        times: when items are had, as made by `order.times`; None where the log's order does not say so.
        seed: of what is injected.
    """

    def lesson(turn: int) -> Lesson:
        taught = _of_some(sequences, [*seed, 1, turn])
        rows, long_ones = len(taught.codes), int((taught.lengths >= noise.LONG_HISTORY).sum())
        found = np.full(rows, -1)
        for number, kind in enumerate(kinds.values()):
            similar, timely = kind.injected == "insert-similar", kind.timely > 0 and turn % kind.timely == 0
            # By popularity at any time is another kind.
            if (similar and neighbours is None) or (kind.timely == 1 and times is None):
                continue
            enough_of_it = max(kind.rate, *(min(most, least / max(1, rows)) for least, most in _LEAST_INJECTED))
            if kind.whole:
                # What was injected has made some longer.
                if long_ones < _LEAST_LONG:
                    continue
                long = taught.lengths[taught.lengths >= noise.LONG_HISTORY]
                enough_of_it = min(kind.rate, _MOST_REPLACED * long.sum() / len(taught.codes))
            noisy = noise.inject(
                taught,
                kind.injected,
                enough_of_it,
                int(np.random.default_rng([*seed, 2, turn, number]).integers(2**32)),
                neighbours if similar else None,
                hold_out=0,
                groups=None if kind.copied else fold,
                source=sequences,
                times=times if timely else None,
            )
            found = np.where(noisy.is_noise, number, found[np.maximum(noisy.origin, 0)])
            taught = noisy.sequences
        return Lesson(taught, found)

    read = min(_TAUGHT_ROWS, len(sequences.codes))
    return [lesson(turn) for turn in range(np.clip(_READ_ROWS // max(1, read), *_LESSONS))]


def _of_some(sequences: Sequences, seed: list[int]) -> Sequences:
    """Return the histories of as many users as are needed, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(sequences.lengths))
    # One history of very many rows would leave no room for others.
    usual = sequences.lengths[order] <= _TAUGHT_ROWS // _LEAST_TAUGHT
    if (sequences.lengths[order[usual]] >= noise.SHORTEST_HISTORY).any():
        order = order[usual]
    in_all = np.cumsum(sequences.lengths[order])
    enough = order[in_all <= max(_TAUGHT_ROWS, in_all[0])]
    return sequences.where(np.isin(sequences.user_index, enough))
