"""Judging a log several times over, each time anew; what is said of it is averaged.

Each judge learns something else: it depends on who teaches whom, what is injected and where training begins, the more
the smaller the log, and each is too sure of what it has learned.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iadsr_cli.crossfit.judge import Judge, Teaching
from iadsr_cli.crossfit.known import Known
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
        if len(self.each) == 1:
            return self.each[0].judge(sequences)
        return together(teaching.judge(sequences) for teaching in self.each)


class _Steps(Silent):
    """Hears the stages of judges, each of which is a step of all the judging while that goes on."""

    def __init__(self) -> None:
        self._whole: Stage = SilentStage()

    @contextmanager
    def of(self, whole: Stage) -> Iterator[None]:
        """Count what ends within as steps of a whole stage."""
        self._whole = whole
        yield
        self._whole = SilentStage()

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
            vectors: semantic vectors of its items: see `Known.of`.
            texts: of its items: see there.
            seed: of the first judge, and of the seeds of the others.
            reporter: told of the progress.
            judges: how many there are; None for as many as the log is small.
            options: of each judge.
        """
        count = judges or int(np.clip(_READ_ROWS // max(1, len(sequences.codes)), 1, _MOST))
        seeds = [seed, *np.random.default_rng([_STREAM, seed]).integers(2**31, size=count - 1).tolist()]
        self._reporter, self._steps = reporter, _Steps()
        heard = reporter if count == 1 else self._steps
        known = Known.of(sequences, vectors, texts)
        self.judges = [Judge(known, each, heard, **options) for each in seeds]

    def scores(self) -> Scores:
        """Return evidence and noise score of every interaction, flat-aligned with the sequences."""
        if len(self.judges) == 1:
            return self.judges[0].scores()
        count = len(self.judges)
        with self._reporter.stage("judge", _STAGES * count, "steps") as stage, self._steps.of(stage):
            stage.describe(f"{count} judges")
            return together(judge.scores() for judge in self.judges)

    def teaching(self) -> Teachings:
        """Return what all users of the log teach; call `scores` first."""
        return Teachings([judge.teaching() for judge in self.judges])


def together(found: Iterable[Scores]) -> Scores:
    """Return the mean of what several judges say of the same rows.

    Where half of them or more can tell nothing of the log, the mean is of these; else it is of the others.
    """
    told, untold = _Together(), _Together()
    for scores in found:
        (told if scores.shares else untold).add(scores)
    return (told if told.count > untold.count else untold).scores()


class _Sum:
    """A sum of arrays of one shape; what is NaN does not count."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._total, self._known = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)

    def add(self, array: np.ndarray) -> None:
        """Add one more."""
        there = ~np.isnan(array)
        np.add(self._total, array, out=self._total, where=there)
        self._known += there

    def mean(self) -> np.ndarray:
        """Return their mean, float32; NaN where nothing was known."""
        nothing = np.full(self._total.shape, np.nan, np.float32)
        found: np.ndarray = np.divide(self._total, self._known, out=nothing, where=self._known > 0)
        return found


class _Together:
    """What several judges say of the same rows, of which only sums are held.

    Attributes:
        count: how many they are.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, _Sum] = {}
        self._shares: dict[str, float] = {}
        self._first: Scores | None = None

    def add(self, scores: Scores) -> None:
        """Hear one more."""
        if self._first is None:
            self._first = replace(scores, noise=scores.noise[:0], terms=scores.terms[:0], parts=None)
            self._sums = {name: _Sum(array.shape) for name, array in _arrays(scores).items()}
        for name, array in _arrays(scores).items():
            self._sums[name].add(array)
        for kind, share in (scores.shares or {}).items():
            self._shares[kind] = self._shares.get(kind, 0.0) + share
        self.count += 1

    def scores(self) -> Scores:
        """Return the mean."""
        assert self._first is not None
        means = {name: each.mean() for name, each in self._sums.items()}
        return replace(self._first, **means, shares={kind: share / self.count for kind, share in self._shares.items()})


def _arrays(scores: Scores) -> dict[str, np.ndarray]:
    assert scores.parts is not None, "judges tell what each piece of evidence adds"
    return {"noise": scores.noise, "terms": scores.terms, "parts": scores.parts}
