"""What a method says of every row of a log: a noise score, the evidence for it, or why there is none."""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np


class Status(IntEnum):
    """Why a row has a score or not."""

    SCORED = 0
    NO_ID = 1
    UNKNOWN_ITEM = 2
    SHORT_HISTORY = 3
    NO_EVIDENCE = 4
    NO_TIME = 5


@dataclass(frozen=True)
class Scores:
    """The evidence of every row of a log, in its order.

    Attributes:
        noise: p_noise = 1 - P(keep), float32 [rows], 0 (keep) to 1 (noise); NaN where unscored.
        terms: the evidence, high for a row to keep: of IADSR its three cosines, float32 [rows, 3]; of crossfit what
            `crossfit.evidence.NAMES` names, float32 [rows, E]. NaN where unknown or unscored.
        status: a `Status` per row, int8 [rows].
        parts: how much each piece of evidence moved the score towards noise, float32 [rows, E], or None where the
            score is the plain sum of the evidence.
        shares: the estimated share of the log of each kind of noise, or None where the method estimates none; empty
            where nothing can be told of the log.
    """

    noise: np.ndarray
    terms: np.ndarray
    status: np.ndarray
    parts: np.ndarray | None = None
    shares: dict[str, float] | None = None

    @property
    def share(self) -> float | None:
        """The estimated share of noise in the log, or None where the method estimates none."""
        return sum(self.shares.values()) if self.shares else None

    def take(self, rows: np.ndarray) -> "Scores":
        """Return the evidence of some rows, in that order."""
        parts = None if self.parts is None else self.parts[rows]
        return replace(self, noise=self.noise[rows], terms=self.terms[rows], status=self.status[rows], parts=parts)

    def followed_by(self, other: "Scores") -> "Scores":
        """Return this evidence and after it that of other rows, by the same method."""
        parts = None if self.parts is None or other.parts is None else np.concatenate([self.parts, other.parts])
        return replace(
            self,
            noise=np.concatenate([self.noise, other.noise]),
            terms=np.concatenate([self.terms, other.terms]),
            status=np.concatenate([self.status, other.status]),
            parts=parts,
        )

    def without_times(self, rows: np.ndarray) -> "Scores":
        """Return the same, where `rows` (bool) are not scored as they have no time, and not for want of an id."""
        return replace(self, status=np.where(rows, Status.NO_TIME, self.status).astype(np.int8))

    def by_row(self, row_ids: np.ndarray, has_ids: np.ndarray) -> "Scores":
        """Return the evidence of all rows of a log from that of its interactions, whose rows are `row_ids` [N].

        `has_ids` says which rows have both a user and an item, bool [rows].
        """
        place = np.full(len(has_ids), -1)
        place[row_ids] = np.arange(len(row_ids))
        there = place >= 0
        found = self.take(np.maximum(place, 0))
        found.noise[~there], found.terms[~there] = np.nan, np.nan
        found.status[~there] = np.where(has_ids[~there], Status.UNKNOWN_ITEM, Status.NO_ID)
        if found.parts is not None:
            found.parts[~there] = 0
        return found
