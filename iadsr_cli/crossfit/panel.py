"""Judging a log several times over, each time anew; what is said of it is averaged.

Each judge learns something else: it depends on who teaches whom, what is injected and where training begins, the more
the smaller the log, and each is too sure of what it has learned.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iadsr_cli.crossfit.judge import Judge, Teaching
from iadsr_cli.progress import Reporter, Silent, SilentStage, Stage
from iadsr_cli.scores import Scores
from iadsr_cli.sequences import Sequences

# If it is not said how many judge: so many at most, and together no more rows than these, or one.
_MOST, _READ_ROWS = 3, 600_000
# Of one judge.
_STAGES = 3
# Streams of random numbers apart from those of the first judge.
_STREAM = 6271


@dataclass(frozen=True)
class Teachings:
    """What the users of one log teach, by each of its judges."""

    each: Sequence[Teaching]

    def judge(self, sequences: Sequences) -> Scores:
        """Return evidence and noise score of other users' interactions: see `Teaching.judge`."""
        return together([teaching.judge(sequences) for teaching in self.each])


class _Steps(Silent):
    """Hears the stages of one judge, each of which is a step of all the judging."""

    def __init__(self, whole: Stage) -> None:
        self._whole = whole

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        """Open a stage that nobody watches but for its end."""
        yield SilentStage()
        self._whole.advance()


class Panel:
    """The judges of one log.

    Attributes:
        judges: each with folds of the users and injected noise of its own.
    """

    def __init__(
        self,
        sequences: Sequences,
        vectors: np.ndarray,
        texts: Sequence[str | None],
        seed: int,
        reporter: Reporter,
        judges: int | None = None,
        **options: Any,
    ) -> None:
        """Prepare to judge.

        Args:
            sequences: the log.
            vectors: semantic vectors of its items: see `Judge`.
            texts: of its items.
            seed: of the first judge, and of the seeds of the others.
            reporter: told of the progress.
            judges: how many there are; None for as many as the log is small.
            options: of each judge.
        """
        count = judges or int(np.clip(_READ_ROWS // max(1, len(sequences.codes)), 1, _MOST))
        seeds = [seed, *np.random.default_rng([_STREAM, seed]).integers(2**31, size=count - 1).tolist()]
        self.judges = [Judge(sequences, vectors, texts, each, reporter, **options) for each in seeds]
        self._reporter = reporter

    def scores(self) -> Scores:
        """Return evidence and noise score of every interaction, flat-aligned with the sequences."""
        if len(self.judges) == 1:
            return self.judges[0].scores()
        count = len(self.judges)
        with self._reporter.stage("judge", _STAGES * count, "steps") as stage:
            stage.describe(f"{count} judges")
            for judge in self.judges:
                judge.reporter = _Steps(stage)
            return together([judge.scores() for judge in self.judges])

    def teaching(self) -> Teachings:
        """Return what all users of the log teach; call `scores` first."""
        return Teachings([judge.teaching() for judge in self.judges])


def together(found: Sequence[Scores]) -> Scores:
    """Return the mean of what several judges say of the same rows.

    Where half of them or more can tell nothing of the log, the mean is of these; else it is of the others.
    """
    told = [scores for scores in found if scores.shares]
    agreed = told if 2 * len(told) > len(found) else [scores for scores in found if not scores.shares]
    first = agreed[0]
    if len(agreed) == 1:
        return first
    return replace(
        first,
        noise=_mean([scores.noise for scores in agreed]),
        terms=_mean([scores.terms for scores in agreed]),
        parts=_mean([scores.parts for scores in agreed if scores.parts is not None]),
        shares={
            kind: sum((scores.shares or {}).get(kind, 0.0) for scores in agreed) / len(agreed)
            for kind in dict.fromkeys(kind for scores in agreed for kind in scores.shares or {})
        },
    )


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of arrays of one shape, of what is known; NaN where nothing is."""
    total, known = np.zeros(arrays[0].shape), np.zeros(arrays[0].shape, np.int64)
    for array in arrays:
        there = ~np.isnan(array)
        total += np.where(there, array, 0)
        known += there
    return np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0).astype(np.float32)
