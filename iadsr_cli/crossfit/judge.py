"""Cross-fitting: the users are split into folds, and each fold is judged by what the others teach."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from iadsr_cli import noise
from iadsr_cli.crossfit import head
from iadsr_cli.crossfit.evidence import DIFFERENCES, FAMILIES, NAMES, beyond, family, gather
from iadsr_cli.crossfit.order import reliability, times
from iadsr_cli.crossfit.predictor import Features, Pieces, Predictor, predict
from iadsr_cli.crossfit.spaces import Fold, learn
from iadsr_cli.crossfit.texts import ItemTexts
from iadsr_cli.errors import InputError
from iadsr_cli.evidence import Scores, Status
from iadsr_cli.progress import Reporter
from iadsr_cli.sequences import Sequences, Windows, user_items, window_items
from iadsr_cli.threads import side_by_side

FOLDS = 5
# Predictors that are trained at the same time.
_AT_ONCE = 3
# Rates at which kinds of noise are injected to learn from: low ones, for the noise of a history makes its other rows
# look worse. The plain kinds come first.
MIXTURE = {
    "insert-uniform": 0.02,
    "insert-popular": 0.02,
    "insert-burst": 0.005,
    "insert-new-burst": 0.005,
    "insert-similar": 0.0025,
    "insert-account": 0.0075,
    "replace-history": 0.05,
}
# Bursts from users who do not teach what judges them. Of one that somebody has copied the original stands in the log,
# and a head that has learned from copies looks for it; others stand nowhere else.
_NEW = {"insert-new-burst": "insert-burst"}
_PLAIN = ("insert-uniform", "insert-popular")
# Noise that is a user's whole history. What is known of whole histories counts for it, and nothing else does.
_WHOLE = ("replace-history",)
_OF_HISTORIES = [column for column, name in enumerate(NAMES) if family(name) == "history"]
_OF_PREDICTORS = [column for column, name in enumerate(NAMES) if family(name) == "expected"]
_OF_TIMES = [column for column, name in enumerate(NAMES) if family(name) in ("when", "order")]
_REPEATS = NAMES.index("repeats: count")
# Known of items that others have.
_SHARED = NAMES.index("around: rest")
# Where the share of each kind is read among the injected rows that look worst, and how far to go on from there to where
# there would be no genuine rows. Rows near in text are read twice, and close to the end: genuine rows soon look like
# them. So are whole histories, without going on: one that is taken for a bot's may go as a whole.
_READ = {
    "insert-burst": [(0.15, 1.5)],
    "insert-new-burst": [(0.15, 1.5)],
    "insert-similar": [(0.05, 1.0), (0.1, 1.25)],
    "replace-history": [(0.1, 0.0), (0.4, 0.0)],
}
_READ_OTHERS = [(0.15, 2.5)]
# Genuine histories may hold what looks like these kinds, as stitched ones do.
_DOUBTFUL = ("insert-burst", "insert-new-burst", "insert-similar", "insert-account")
# Whatever is seen, so much of a log is taken to be of each of these kinds: enough for an order among rows that nothing
# else speaks against, and too little to remove any.
_AT_LEAST = 0.001
# Shares are read as if there were so many rows more without noise: from few rows, by heads that have learned from few,
# too much is read more often than too little, and what then goes is genuine.
_ROWS_OF_DOUBT = 5_000
# Rows of the users that noise is injected into: enough for the head. None of them has more than such a part of those.
_TAUGHT_ROWS, _LEAST_TAUGHT = 250_000, 10
# Noise is injected into them so many times, at least and at most, until so many rows have been read: more noise at once
# would make histories look worse than they are, and from fewer injected rows shares are estimated less exactly.
_LESSONS, _READ_ROWS = (3, 10), 600_000
# Times of items are known if no more of their differences is chance than not. Where they mean nothing, as in a
# generated log, they spoil what else there is.
_RELIABLE = 0.5
# Items that stand in a run of this many interactions stand close to each other.
_CLOSE = 5
# Streams of random numbers apart from those of anyone who injects noise with the same seed to measure us.
_STREAM = 7919
# A small log gets more, so that there is something to learn from: (rows, highest rate).
_LEAST_INJECTED = ((500, 0.02), (80, 0.3))
# But of long histories not so many that few are left, and none where there are fewer than this.
_MOST_REPLACED, _LEAST_LONG = 0.2, 300
# How surely items drawn by popularity have to be told from the rows of a log, as an AUROC, for these to be judged at
# all: where users are random it is 0.5 to 0.6, whatever the items are. In real logs it was 0.75 to 0.92.
_FITTING, _TOLD_APART = "insert-popular", 0.62
# That is asked of what users have once, if it is so much of the log.
_ONCE = 0.3
# Histories about as long as one are the nearest sixth of the long ones by length, but not fewer or more than this.
_ALIKE = (21, 201)


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

        rows = np.flatnonzero(_counted(_WHOLE[0], sequences))
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


@dataclass(frozen=True)
class Teaching:
    """What the users of one log teach, by which other users are judged.

    Attributes:
        fold: what they teach about items.
        texts: of the items.
        lack: of whole histories in that log.
        mixture: heads for evidence, and the weights of their kinds of noise.
        left_out: columns of the evidence that are taken as missing.
        shares: the estimated share of each kind of noise in that log.
    """

    fold: Fold
    texts: ItemTexts
    lack: Lack
    mixture: head.Mixture
    left_out: list[int]
    shares: dict[str, float]

    def judge(self, sequences: Sequences) -> Scores:
        """Return evidence and noise score of other users' interactions, flat-aligned with the sequences.

        Their histories are in the vocabulary of the log.
        """
        users = np.flatnonzero(sequences.lengths > 0)
        evidence = np.full((len(sequences.codes), len(NAMES)), np.nan, np.float32)
        gather(sequences, users, self.fold, self.texts, evidence)
        self.lack.make_up(sequences, evidence)
        evidence[:, self.left_out] = np.nan
        # Heads of either side have seen none of these users.
        side = np.zeros(len(evidence), np.int64)
        return _scored(self.mixture, _accompanied(sequences), evidence, side, self.shares)


@dataclass(frozen=True)
class _Lesson:
    """Histories with injected noise.

    Attributes:
        sequences: the histories.
        kind: of the noise that a row is, its number in the mixture, int64 [n]; -1 for rows that were there.
    """

    sequences: Sequences
    kind: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """Which rows have others to be compared with, bool [n]."""
        return _accompanied(self.sequences)

    @property
    def injected(self) -> np.ndarray:
        """Which of those are noise, bool [n]."""
        return self.usable & (self.kind >= 0)


class Judge:
    """Judges the rows of one log.

    Attributes:
        shares: the estimated share of each kind of noise, set by `scores`; empty where nothing can be told of the
            log, whose rows fit their users hardly better than items drawn at random.
        fit: how surely items drawn by popularity are told from the log's rows, an AUROC, set by `scores`; 1 where none
            were injected.
    """

    def __init__(
        self,
        sequences: Sequences,
        vectors: np.ndarray,
        texts: Sequence[str | None],
        seed: int,
        reporter: Reporter,
        mixture: dict[str, float] | None = None,
        folds: int = FOLDS,
        families: Collection[str] = FAMILIES,
    ) -> None:
        """Prepare to judge.

        Args:
            sequences: the log.
            vectors: semantic vector of each item code, float32 [V + 1, S]: unit rows, zero where unknown.
            texts: the items' texts, V of them, None where there is none.
            seed: of folds and of injected noise.
            reporter: told of the progress.
            mixture: rates of the kinds of noise to learn from; `MIXTURE` if None.
            folds: of the users; with 1, all are judged by what all of them teach, for comparison.
            families: the families of evidence that count; the others are taken as missing.
        """
        self._sequences, self._seed, self._reporter = sequences, seed, reporter
        self._mixture = MIXTURE if mixture is None else mixture
        self._texts = ItemTexts.of(np.asarray(vectors[1:], dtype=np.float32), texts)
        users = len(sequences.lengths)
        order = np.random.default_rng([_STREAM, seed]).permutation(users)
        self._fold = order % min(folds, users)
        # Heads are learned from the users of one side and judge those of the other; of each fold are some on both,
        # where it has several.
        self._side = (order if users <= folds else order // folds) % 2
        self._left_out = beyond(families)
        self.shares: dict[str, float] = {}
        self.fit = 1.0

    def scores(self) -> Scores:
        """Return evidence and noise score of every interaction, flat-aligned with the sequences."""
        judged = _accompanied(self._sequences)
        rows = min(_TAUGHT_ROWS, len(self._sequences.codes))
        lessons = [self._injected(number) for number in range(np.clip(_READ_ROWS // max(1, rows), *_LESSONS))]
        if not any(lesson.injected.any() for lesson in lessons) or not judged.any():
            raise InputError(
                "Every user with three or more rows has (nearly) every item, so nothing can be injected as noise, "
                "which the method crossfit learns from.",
                "Give a log with more items, name the right column with --item-column, or score with --method iadsr.",
            )
        # The rows that nothing was injected into are those of one lesson.
        used = [lesson.injected | (lesson.usable & (not number)) for number, lesson in enumerate(lessons)]
        evidence, *others = self._gathered(
            [(self._sequences, judged), *((lesson.sequences, rows) for lesson, rows in zip(lessons, used, strict=True))]
        )
        self._lack = Lack.of(self._sequences, evidence)
        self._lack.make_up(self._sequences, evidence)
        for lesson, other in zip(lessons, others, strict=True):
            self._lack.make_up(lesson.sequences, other)
        side = self._side[self._sequences.user_index]

        def joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
            return np.concatenate([array[rows] for array, rows in zip(arrays, used, strict=True)])

        taught = joined(others)
        kinds, kind = np.unique(joined(lesson.kind for lesson in lessons), return_inverse=True)
        names = [list(self._mixture)[number] for number in kinds[kinds >= 0]]
        kind -= len(kinds) - len(names)
        with self._reporter.stage("learn", None, "rows") as stage:
            taught_side = joined(self._side[lesson.sequences.user_index] for lesson in lessons)
            counted = [joined(_counted(name, lesson.sequences) for lesson in lessons) for name in names]
            heads = head.fit_kinds(taught, kind, taught_side, [*map(_unseen, names)], self._seed, counted)
            stage.advance(len(taught))
        told = kind >= 0
        of_log = head.ratios(heads, evidence[judged], side[judged])
        of_injected = head.ratios(heads, taught[told], taught_side[told])
        found = head.shares(
            of_log,
            of_injected,
            kind[told],
            [name in _PLAIN for name in names],
            [name in _DOUBTFUL for name in names],
            [_READ.get(name, _READ_OTHERS) for name in names],
            [(_counted(name, self._sequences)[judged], rows[told]) for name, rows in zip(names, counted, strict=True)],
        )
        found *= judged.sum() / (judged.sum() + _ROWS_OF_DOUBT)
        lengths = self._sequences.lengths
        in_long = lengths[lengths >= noise.LONG_HISTORY].sum() / judged.sum()
        fitting = names.index(_FITTING) if _FITTING in names else None
        if fitting is not None:
            # What a user has more than once is no noise that was injected, and would be told by that alone. Where users
            # have little else, that is how it fits them.
            once, own = ~(evidence[judged, _REPEATS] > 0), kind[told] == fitting
            once |= once.mean() < _ONCE
            # What is injected comes from others, who mostly have it still. What nobody else has would be told from it
            # by that alone, in a log of random users too.
            shared = ~np.isnan(evidence[judged, _SHARED])
            if shared.any():
                once, own = once & shared, own & ~np.isnan(taught[told, _SHARED])
            self.fit = head.told_apart(of_log[once, fitting], of_injected[own, fitting])
        if self.fit < _TOLD_APART:
            # Nearly all of it would be taken for noise.
            found[:] = 0
            self.shares = {}
        else:
            # Of the log's rows; that of whole histories is one of long ones.
            self.shares = {
                name: float(share * (in_long if name in _WHOLE else 1))
                for name, share in zip(names, found, strict=True)
            }
        believed = np.maximum(found, [_AT_LEAST * (name in _DOUBTFUL) for name in names])
        # Where no noise is seen at all, rows still have an order.
        least = np.array([self._mixture[name] for name in names])
        weights = believed + least / least.sum() * 0.5 / judged.sum()
        self._learned = head.Mixture(heads, weights)
        return _scored(self._learned, judged, evidence, side, self.shares)

    def teaching(self) -> Teaching:
        """Return what all users of the log teach; call `scores` first."""
        everyone = np.ones(len(self._sequences.lengths), dtype=bool)
        when, predictor = self._times(everyone), self._predictors([everyone])[0]
        fold = learn(self._held, self._windows[0], self._texts, self._seed, when, predictor)
        return Teaching(fold, self._texts, self._lack, self._learned, self._left_out, self.shares)

    @cached_property
    def _held(self) -> sparse.csr_array:
        return user_items(self._sequences, np.ones(len(self._sequences.codes), dtype=bool))

    @cached_property
    def _windows(self) -> tuple[sparse.csr_array, np.ndarray]:
        return window_items(self._sequences, _CLOSE)

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces.of(self._sequences)

    @cached_property
    def _features(self) -> Features:
        return Features.of(self._texts)

    @cached_property
    def _neighbours(self) -> np.ndarray | None:
        """What `noise.nearest_in_text` finds; None where there are no texts, or too many."""
        vectors = np.concatenate([np.zeros_like(self._texts.vectors[:1]), self._texts.vectors])
        if not vectors.any() or len(vectors) > noise.MOST_SIMILAR_ITEMS:
            return None
        return noise.nearest_in_text(vectors, np.asarray(vectors.any(axis=1)))

    def _asked(self, columns: list[int]) -> bool:
        """Return whether any of these columns of the evidence counts."""
        return not set(columns) <= set(self._left_out)

    @cached_property
    def _in_time(self) -> bool:
        """Whether the log's order says when items are had."""
        half = np.random.default_rng([_STREAM, self._seed, 3]).random(len(self._sequences.lengths)) < 0.5
        return reliability(self._sequences, half) >= _RELIABLE

    def _times(self, users: np.ndarray) -> np.ndarray | None:
        """Return when users, bool [U], have each item; None where the log's order does not say so, or none is asked."""
        return times(self._sequences, users) if self._asked(_OF_TIMES) and self._in_time else None

    def _predictors(self, teachers: Sequence[np.ndarray]) -> list[Predictor | None]:
        """Return what groups of users, bool [U] each, teach of which items go with which; None where none is asked."""
        if not self._asked(_OF_PREDICTORS):
            return [None] * len(teachers)
        features, windows = self._features, [self._pieces.of_users(users) for users in teachers]
        with self._reporter.stage("predict", sum(int(part.length.sum()) for part in windows), "rows") as stage:

            def learned(part: Windows) -> Predictor:
                found = predict(self._sequences.codes, part, features, self._seed)
                stage.advance(int(part.length.sum()))
                return found

            return [*side_by_side(learned, windows, at_once=_AT_ONCE)]

    def _gathered(self, parts: Sequence[tuple[Sequences, np.ndarray]]) -> list[np.ndarray]:
        """Return the evidence about histories of the log's users, as they are and with injected noise, [N, E] each.

        It is known for the users of the rows, bool [N], that stand beside each.
        """
        wanted = [np.bincount(part.user_index[rows], minlength=len(part.lengths)) > 0 for part, rows in parts]
        found = [np.full((len(part.codes), len(NAMES)), np.nan, np.float32) for part, _ in parts]
        windows, owner = self._windows
        folds = [self._fold == number for number in range(self._fold.max(initial=0) + 1)]
        # With one fold, all are judged by all.
        teachers = [~inside | inside.all() for inside in folds]
        predictors = self._predictors(teachers)
        total = sum(int(part.lengths[users].sum()) for (part, _), users in zip(parts, wanted, strict=True))
        with self._reporter.stage("evidence", total, "rows") as stage:
            for inside, users, predictor in zip(folds, teachers, predictors, strict=True):
                when = self._times(users)
                fold = learn(self._held[users], windows[users[owner]], self._texts, self._seed, when, predictor)
                for (part, _), those, out in zip(parts, wanted, found, strict=True):
                    judged = np.flatnonzero(inside & those)
                    gather(part, judged, fold, self._texts, out)
                    stage.advance(int(part.lengths[judged].sum()))
        for out in found:
            out[:, self._left_out] = np.nan
        return found

    def _injected(self, lesson: int) -> _Lesson:
        """Return histories with noise of all kinds, of as many users as are needed."""
        sequences = self._sequences
        order = np.random.default_rng([_STREAM, self._seed, 1, lesson]).permutation(len(sequences.lengths))
        # One history of very many rows would leave no room for others.
        usual = sequences.lengths[order] <= _TAUGHT_ROWS // _LEAST_TAUGHT
        order = order[usual | ~usual.any()]
        in_all = np.cumsum(sequences.lengths[order])
        enough = order[in_all <= max(_TAUGHT_ROWS, in_all[0])]
        taught = sequences.where(np.isin(sequences.user_index, enough))
        rows = len(taught.codes)
        kind = np.full(rows, -1)
        for number, (name, rate) in enumerate(self._mixture.items()):
            similar = name == "insert-similar"
            if similar and self._neighbours is None:
                continue
            seed = int(np.random.default_rng([_STREAM, self._seed, 2, lesson, number]).integers(2**32))
            enough_of_it = max(rate, *(min(most, least / max(1, rows)) for least, most in _LEAST_INJECTED))
            if name in _WHOLE:
                long = taught.lengths[taught.lengths >= noise.LONG_HISTORY]
                if len(long) < _LEAST_LONG:
                    continue
                enough_of_it = min(rate, _MOST_REPLACED * long.sum() / len(taught.codes))
            noisy = noise.inject(
                taught,
                _NEW.get(name, name),
                enough_of_it,
                seed,
                self._neighbours if similar else None,
                hold_out=0,
                groups=self._fold if name in _NEW else None,
            )
            kind = np.where(noisy.is_noise, number, kind[np.maximum(noisy.origin, 0)])
            taught = noisy.sequences
        return _Lesson(taught, kind)


def _accompanied(sequences: Sequences) -> np.ndarray:
    """Return which rows have others in their history to be compared with, bool [N]."""
    return (sequences.lengths > 1)[sequences.user_index]


def _unseen(kind: str) -> list[int]:
    """Return the columns of the evidence that do not count for a kind of noise.

    Plain noise is neither a run nor like in text: heads that saw differences took too much for it where there was much.
    """
    if kind in _WHOLE:
        return beyond(["history"])
    hidden = ("history", *DIFFERENCES) if kind in _PLAIN else ("history",)
    return beyond([name for name in FAMILIES if name not in hidden])


def _counted(kind: str, sequences: Sequences) -> np.ndarray:
    """Return which rows a kind of noise is learned and read from, bool [N]: one of each long history, or all.

    What is known of a whole history is one observation, however many rows it has.
    """
    if kind not in _WHOLE:
        return np.ones(len(sequences.codes), dtype=bool)
    found = np.zeros(len(sequences.codes), dtype=bool)
    found[sequences.offsets[:-1][sequences.lengths >= noise.LONG_HISTORY]] = True
    return found


def _scored(
    mixture: head.Mixture, judged: np.ndarray, evidence: np.ndarray, side: np.ndarray, shares: dict[str, float]
) -> Scores:
    probability, parts = mixture.judge(evidence, side)
    status = np.where(judged, Status.SCORED, Status.SHORT_HISTORY).astype(np.int8)
    return Scores(np.where(judged, probability, np.nan).astype(np.float32), evidence, status, parts, shares)
