"""Cross-fitting: the users are split into folds, and each fold is judged by what the others teach."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from iadsr_cli import noise
from iadsr_cli.crossfit import head
from iadsr_cli.crossfit.evidence import FAMILIES, NAMES, beyond, family, gather
from iadsr_cli.crossfit.kinds import ITEMS, KINDS, Kind, Sort
from iadsr_cli.crossfit.known import Known
from iadsr_cli.crossfit.lessons import Lesson, accompanied, lessons
from iadsr_cli.crossfit.predictor import Predictor, predict
from iadsr_cli.crossfit.shares import estimate, told_apart
from iadsr_cli.crossfit.spaces import Fold, learn
from iadsr_cli.crossfit.texts import TextFeatures
from iadsr_cli.errors import InputError
from iadsr_cli.order import reliability, times
from iadsr_cli.progress import Reporter
from iadsr_cli.scores import Scores, Status
from iadsr_cli.sequences import Sequences, Windows
from iadsr_cli.threads import side_by_side

FOLDS = 5
# Predictors that are trained at the same time.
_AT_ONCE = 3
_OF_PREDICTORS = [column for column, name in enumerate(NAMES) if family(name) == "expected"]
_OF_TIMES = [column for column, name in enumerate(NAMES) if family(name) in ("when", "order")]
_REPEATS = NAMES.index("repeats: count")
# Known of items that others have.
_SHARED = NAMES.index("around: rest")
# Whatever is seen, so much of a log is taken to be of a kind of some sort: of doubtful ones enough for an order among
# rows that nothing else speaks against, and too little to remove any; of whole histories enough for one that has
# hundreds of items with nothing in common.
_AT_LEAST = {Sort.PLAIN: 0.0, Sort.DOUBTFUL: 0.001, Sort.WHOLE: 0.0001}
ROWS_OF_DOUBT = 5_000
"""Shares are read as if there were so many rows more without noise: from few rows, by heads that have learned from few,
too much is read more often than too little, and what then goes is genuine."""
# Times of items are known if no more of their differences is chance than not. Where they mean nothing, as in a
# generated log, they spoil what else there is.
_RELIABLE = 0.5
# Streams of random numbers apart from those of anyone who injects noise with the same seed to measure us.
_STREAM = 7919
# How surely items drawn by popularity have to be told from the rows of a log, as an AUROC, for these to be judged at
# all: where users are random it is 0.5 to 0.6, whatever the items are. In real logs it was 0.75 to 0.92.
_FITTING, _TOLD_APART = "insert-popular", 0.62
# That is asked of what users have once, if it is so much of the log.
_ONCE = 0.3


@dataclass(frozen=True)
class Teaching:
    """What the users of one log teach, by which other users are judged.

    Attributes:
        fold: what they teach about items.
        texts: of the items.
        mixture: heads for evidence, and the weights of their kinds of noise.
        left_out: columns of the evidence that are taken as missing.
        shares: the estimated share of each kind of noise in that log.
    """

    fold: Fold
    texts: TextFeatures
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
        evidence[:, self.left_out] = np.nan
        # Heads of either side have seen none of these users.
        side = np.zeros(len(evidence), np.int64)
        return _scored(self.mixture, accompanied(sequences), evidence, side, self.shares)


@dataclass(frozen=True)
class _Taught:
    """Rows that heads are learned from: those of one lesson that nothing was injected into, and all that were injected.

    Attributes:
        kinds: those of which any row was injected, K of them.
        evidence: about the rows, float32 [n, E].
        kind: of the noise that a row is, its number among them, int64 [n]; -1 for rows that were there.
        side: of each row's user, int64 [n].
        counted: for each kind which rows it is learned and read from, bool [n].
    """

    kinds: dict[str, Kind]
    evidence: np.ndarray
    kind: np.ndarray
    side: np.ndarray
    counted: list[np.ndarray]

    @classmethod
    def of(
        cls,
        given: Sequence[Lesson],
        used: Sequence[np.ndarray],
        evidence: Sequence[np.ndarray],
        side: np.ndarray,
        kinds: Mapping[str, Kind],
    ) -> "_Taught":
        """Return the used rows, bool [N] each, of several lessons, whose evidence is [N, E] each.

        `side` is each user's, [U], and the numbers of kinds in lessons are those among all `kinds`.
        """

        def joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
            return np.concatenate([array[rows] for array, rows in zip(arrays, used, strict=True)])

        present, kind = np.unique(joined(lesson.kind for lesson in given), return_inverse=True)
        names = [list(kinds)[number] for number in present[present >= 0]]
        return cls(
            {name: kinds[name] for name in names},
            joined(evidence),
            kind - (len(present) - len(names)),
            joined(side[lesson.sequences.user_index] for lesson in given),
            [joined(kinds[name].counted(lesson.sequences) for lesson in given) for name in names],
        )

    @property
    def injected(self) -> np.ndarray:
        """Which rows were, bool [n]."""
        return self.kind >= 0

    def fit(self, ratios: np.ndarray) -> float:
        """Return how surely items drawn by popularity are told from others, by what all heads say of the rows [n, K].

        As an AUROC, 0 to 1; 1 where none were injected.
        """
        if _FITTING not in self.kinds:
            return 1.0
        number = list(self.kinds).index(_FITTING)
        there, own = ~self.injected, self.kind == number
        # What a user has more than once is no noise that was injected, and would be told by that alone. Where users
        # have little else, that is how it fits them.
        once = there & ~(self.evidence[:, _REPEATS] > 0)
        if once.sum() < _ONCE * there.sum():
            once = there
        # Of what nobody else has, little is known, whoever has it.
        shared = ~np.isnan(self.evidence[:, _SHARED])
        if shared[there].any():
            once, own = once & shared, own & shared
        return told_apart(ratios[once, number], ratios[own, number])


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
        known: Known,
        seed: int,
        reporter: Reporter,
        kinds: Mapping[str, Kind] | None = None,
        folds: int | None = None,
        families: Collection[str] = FAMILIES,
    ) -> None:
        """Prepare to judge.

        Args:
            known: of the log, whoever judges it.
            seed: of folds and of injected noise.
            reporter: told of the progress.
            kinds: of noise to learn from; `KINDS` if None.
            folds: of the users, `FOLDS` if None; with 1, all are judged by what all of them teach, for comparison.
            families: the families of evidence that count; the others are taken as missing.
        """
        self._known, self._sequences, self._seed, self._reporter = known, known.sequences, seed, reporter
        self._kinds = KINDS if kinds is None else kinds
        # Sessions of one person are all judged by what others teach.
        people = self._sequences.num_people
        order = np.random.default_rng([_STREAM, seed]).permutation(people)[self._sequences.people]
        folds = FOLDS if folds is None else folds
        self._fold = order % min(folds, people)
        # Heads are learned from the users of one side and judge those of the other; of each fold are some on both,
        # where it has several.
        self._side = (order if people <= folds else order // folds) % 2
        self._left_out = beyond(families)
        self.shares: dict[str, float] = {}
        self.fit = 1.0

    def scores(self) -> Scores:
        """Return evidence and noise score of every interaction, flat-aligned with the sequences."""
        judged = accompanied(self._sequences)
        when, seed = self._times(None), [_STREAM, self._seed]
        given = lessons(self._sequences, self._kinds, self._fold, self._known.neighbours, when, seed)
        if not any(lesson.injected.any() for lesson in given) or not judged.any():
            raise InputError(
                "Every user with three or more rows has (nearly) every item, so nothing can be injected as noise, "
                "which the method crossfit learns from.",
                "Give a log with more items, name the right column with --item-column, or score with --method iadsr.",
            )
        # The rows that nothing was injected into are those of one lesson.
        used = [lesson.injected | (lesson.usable & (not number)) for number, lesson in enumerate(given)]
        evidence, *others = self._gathered(
            [(self._sequences, judged), *((one.sequences, rows) for one, rows in zip(given, used, strict=True))]
        )
        side = self._side[self._sequences.user_index]
        taught = _Taught.of(given, used, others, self._side, self._kinds)
        kinds = list(taught.kinds.values())
        with self._reporter.stage("learn", None, "rows") as stage:
            unseen = [each.unseen for each in kinds]
            heads = head.fit_kinds(taught.evidence, taught.kind, taught.side, unseen, self._seed, taught.counted)
            stage.advance(len(taught.kind))
        ratios = head.ratios(heads, taught.evidence, taught.side)
        self.fit = taught.fit(ratios)
        believed = np.zeros(len(kinds))
        # Else nearly all of it would be taken for noise.
        if self.fit >= _TOLD_APART:
            found = self._found(taught, heads, ratios, evidence, judged)
            believed = np.maximum(found, [_AT_LEAST[each.sort] for each in kinds])
        # Where no noise is seen at all, rows still have an order.
        least = np.array([each.rate for each in kinds])
        weights = believed + least / least.sum() * 0.5 / judged.sum()
        # Of genuine histories the fewer look like chance the longer they are, in proportion: their items have something
        # in common, of which more pairs tell more surely. Of others as many do, and heads have learned from usual ones.
        by_items = {
            number: head.Odds(ITEMS, float(np.median(taught.evidence[of_kind & (taught.kind == number), ITEMS])))
            for number, (of_kind, each) in enumerate(zip(taught.counted, kinds, strict=True))
            if each.whole
        }
        self._learned = head.Mixture(heads, weights, by_items)
        return _scored(self._learned, judged, evidence, side, self.shares)

    def _found(
        self,
        taught: _Taught,
        heads: Sequence[head.Heads],
        ratios: np.ndarray,
        evidence: np.ndarray,
        judged: np.ndarray,
    ) -> np.ndarray:
        """Return how much of what it is read from is noise of each kind, float64 [K], and set `shares`, of the log.

        Args:
            taught: rows of lessons.
            heads: what was learned from them.
            ratios: what those say of them, [n, K].
            evidence: about the rows of the log [N, E].
            judged: which of those are judged, bool [N].
        """
        kinds, injected = list(taught.kinds.values()), taught.injected
        side = self._side[self._sequences.user_index]

        def of_log(number: int) -> np.ndarray:
            """Return what the head of a kind says of the rows of the log that its share is read from."""
            if not kinds[number].whole:
                # Injected rows are in histories with others, which makes these look worse: so are rows of lessons.
                return ratios[~injected, number]
            # A history with injected rows looks more like a bot's, but a bot's own no more so.
            rows = judged & kinds[number].counted(self._sequences)
            return head.ratios(heads, evidence[rows], side[rows])[:, number]

        counted = [rows[injected] for rows in taught.counted]
        said = [*map(of_log, range(len(kinds)))]
        found = estimate(said, ratios[injected], taught.kind[injected], counted, kinds)
        # Of whole histories their own number says how sure that is.
        found *= [1 if each.whole else judged.sum() / (judged.sum() + ROWS_OF_DOUBT) for each in kinds]
        lengths = self._sequences.lengths[self._sequences.lengths >= noise.LONG_HISTORY]

        def of_rows(number: int) -> float:
            """Return the share of a kind of all rows: that of whole histories is one of long ones, however long."""
            if not kinds[number].whole or not found[number]:
                return float(found[number])
            likely = head.probability(found[number] * said[number])
            return float(found[number] * len(lengths) * (likely @ lengths) / likely.sum() / judged.sum())

        self.shares = {name: of_rows(number) for number, name in enumerate(taught.kinds)}
        return found

    def teaching(self) -> Teaching:
        """Return what all users of the log teach; call `scores` first."""
        everyone = np.ones(len(self._sequences.lengths), dtype=bool)
        known, when, predictor = self._known, self._times(None), self._predictors([everyone])[0]
        fold = learn(known.held, known.windows[0], known.texts, self._seed, when, predictor)
        return Teaching(fold, known.texts, self._learned, self._left_out, self.shares)

    def _asked(self, columns: list[int]) -> bool:
        """Return whether any of these columns of the evidence counts."""
        return not set(columns) <= set(self._left_out)

    @cached_property
    def _in_time(self) -> bool:
        """Whether the log's order says when items are had."""
        half = np.random.default_rng([_STREAM, self._seed, 3]).random(self._sequences.num_people) < 0.5
        return reliability(self._sequences, half[self._sequences.people]) >= _RELIABLE

    def _times(self, users: np.ndarray | None) -> np.ndarray | None:
        """Return when users, bool [U], have each item, or all users if None.

        None where the log's order does not say so, or none is asked.
        """
        if not self._asked(_OF_TIMES) or not self._in_time:
            return None
        return self._known.times if users is None else times(self._sequences, users)

    def _predictors(self, teachers: Sequence[np.ndarray]) -> list[Predictor | None]:
        """Return what groups of users, bool [U] each, teach of which items go with which; None where none is asked."""
        if not self._asked(_OF_PREDICTORS):
            return [None] * len(teachers)
        features, windows = self._known.features, [self._known.pieces.of_users(users) for users in teachers]
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
        known, (windows, owner) = self._known, self._known.windows
        folds = [self._fold == number for number in range(self._fold.max(initial=0) + 1)]
        # With one fold, all are judged by all.
        teachers = [~inside | inside.all() for inside in folds]
        predictors = self._predictors(teachers)
        total = sum(int(part.lengths[users].sum()) for (part, _), users in zip(parts, wanted, strict=True))
        with self._reporter.stage("evidence", total, "rows") as stage:
            for inside, users, predictor in zip(folds, teachers, predictors, strict=True):
                when = self._times(users)
                fold = learn(known.held[users], windows[users[owner]], known.texts, self._seed, when, predictor)
                for (part, _), those, out in zip(parts, wanted, found, strict=True):
                    judged = np.flatnonzero(inside & those)
                    gather(part, judged, fold, known.texts, out)
                    stage.advance(int(part.lengths[judged].sum()))
        for out in found:
            out[:, self._left_out] = np.nan
        return found


def _scored(
    mixture: head.Mixture, judged: np.ndarray, evidence: np.ndarray, side: np.ndarray, shares: dict[str, float]
) -> Scores:
    probability, parts = mixture.judge(evidence, side)
    status = np.where(judged, Status.SCORED, Status.SHORT_HISTORY).astype(np.int8)
    return Scores(np.where(judged, probability, np.nan).astype(np.float32), evidence, status, parts, shares)
