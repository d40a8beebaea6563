"""Cross-fitting: the users are split into folds, and each fold is judged by what the others teach."""

from collections.abc import Collection, Sequence

import numpy as np

from iadsr_cli import noise
from iadsr_cli.crossfit import head
from iadsr_cli.crossfit.evidence import FAMILIES, NAMES, family, gather
from iadsr_cli.crossfit.spaces import ItemTexts, learn
from iadsr_cli.errors import InputError
from iadsr_cli.evidence import Scores, Status
from iadsr_cli.progress import Reporter
from iadsr_cli.sequences import Sequences, user_items

FOLDS = 5
# Rates at which kinds of noise are injected to learn from: low ones, for the noise of a history makes its other rows
# look worse. The plainer kinds are more likely, and too many rows that text speaks for would teach that it means
# nothing.
MIXTURE = {"insert-uniform": 0.02, "insert-popular": 0.02, "insert-burst": 0.0075, "insert-similar": 0.0025}
_PLAIN = ("insert-uniform", "insert-popular")
# Rows of the users that noise is injected into: enough for the head.
_TAUGHT_ROWS = 250_000
# Streams of random numbers apart from those of anyone who injects noise with the same seed to measure us.
_STREAM = 7919
# A small log gets more, so that there is something to learn from.
_LEAST_INJECTED, _MOST = 40, 0.3
# Beyond this many items, neighbours in text are not looked for, and noise of that kind is left out.
_MOST_SIMILAR_ITEMS = 50_000


class Judge:
    """Judges the rows of one log.

    Attributes:
        share: the estimated share of noise, set by `scores`.
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
        families: Collection[str] = tuple(FAMILIES),
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
        self._fold = np.random.default_rng([_STREAM, seed]).permutation(users) % min(folds, users)
        self._left_out = [column for column, name in enumerate(NAMES) if family(name) not in families]
        self.share = 0.0

    def scores(self) -> Scores:
        """Return evidence and noise score of every interaction, flat-aligned with the sequences."""
        taught, kind = self._injected()
        lengths = self._sequences.lengths
        both = [np.full((len(part.codes), len(NAMES)), np.nan, np.float32) for part in (self._sequences, taught)]
        held = user_items(self._sequences, np.ones(len(self._sequences.codes), dtype=bool)).astype(np.float32)
        rows = len(self._sequences.codes) + len(taught.codes)
        with self._reporter.stage("evidence", rows, "rows") as stage:
            for number in range(self._fold.max(initial=0) + 1):
                inside = self._fold == number
                teachers = held if inside.all() else held[~inside]
                fold = learn(teachers, self._texts, self._seed)
                for part, out in zip((self._sequences, taught), both, strict=True):
                    users = np.flatnonzero(inside & (part.lengths > 0))
                    gather(part, users, fold, self._texts, out)
                    stage.advance(int(part.lengths[users].sum()))
        evidence, lesson = both
        evidence[:, self._left_out] = lesson[:, self._left_out] = np.nan
        judged = (lengths > 1)[self._sequences.user_index]
        status = np.where(judged, Status.SCORED, Status.SHORT_HISTORY).astype(np.int8)
        usable = (taught.lengths > 1)[taught.user_index]
        injected = kind[usable] >= 0
        if not injected.any() or not judged.any():
            raise InputError(
                "The histories are too short to inject noise into, which the method crossfit learns from.",
                "Give longer histories, or score with --method iadsr.",
            )
        with self._reporter.stage("learn", None, "rows") as stage:
            learned = head.fit(lesson[usable], injected, self._seed)
            stage.advance(len(injected))
        parts = learned.parts(evidence)
        ratio = learned.ratio(parts)
        plain = np.isin(kind, [list(self._mixture).index(name) for name in _PLAIN if name in self._mixture]) & usable
        self.share = head.share(ratio[judged], learned.ratio(learned.parts(lesson[plain if plain.any() else usable])))
        # Where no noise is seen at all, rows still have an order.
        share = max(self.share, 0.5 / len(ratio))
        found = np.where(judged, head.probability(ratio, share), np.nan).astype(np.float32)
        return Scores(found, evidence, status, parts, self.share)

    def _injected(self) -> tuple[Sequences, np.ndarray]:
        """Return histories with noise of all kinds, of as many users as are needed, and each row's kind or -1."""
        sequences = self._sequences
        order = np.random.default_rng([_STREAM, self._seed, 1]).permutation(len(sequences.lengths))
        enough = np.zeros(len(order), dtype=bool)
        enough[order[np.cumsum(sequences.lengths[order]) <= max(_TAUGHT_ROWS, sequences.lengths[order[:1]].sum())]] = (
            True
        )
        taught = sequences.where(enough[sequences.user_index])
        rows = len(taught.codes)
        kind = np.full(rows, -1)
        for number, (name, rate) in enumerate(self._mixture.items()):
            neighbours = None
            if name == "insert-similar":
                vectors = np.concatenate([np.zeros_like(self._texts.vectors[:1]), self._texts.vectors])
                if not vectors.any() or len(vectors) > _MOST_SIMILAR_ITEMS:
                    continue
                neighbours = noise.nearest_in_text(vectors, np.asarray(vectors.any(axis=1)))
            seed = int(np.random.default_rng([_STREAM, self._seed, 2, number]).integers(2**32))
            enough_of_it = min(_MOST, max(rate, _LEAST_INJECTED / max(1, rows)))
            noisy = noise.inject(taught, name, enough_of_it, seed, neighbours, hold_out=0)
            kind = np.where(noisy.is_noise, number, kind[np.maximum(noisy.origin, 0)])
            taught = noisy.sequences
        return taught, kind
