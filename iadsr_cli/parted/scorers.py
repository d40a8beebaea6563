"""What judges the buckets of one log: a ready model, or the default method, which the first buckets teach."""

from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.artifacts import Manifest
from iadsr_cli.config import Config
from iadsr_cli.crossfit import Panel, Teachings
from iadsr_cli.encoders.folder import load_vectors
from iadsr_cli.engines.work import Engine
from iadsr_cli.logs.reader import ItemTexts
from iadsr_cli.parted.buckets import Bucket, Split, joined
from iadsr_cli.pipeline import crossfit_key, embedded
from iadsr_cli.progress import Reporter, Silent
from iadsr_cli.scores import Scores
from iadsr_cli.sequences import check_shared, check_trainable
from iadsr_cli.stages import vectors_by_code

if TYPE_CHECKING:
    from iadsr_cli.models.alignment import AlignedModel
    from iadsr_cli.models.store import Vocabulary

# Users of so many buckets teach the default method: about two million rows.
TEACHING_BUCKETS = 2
# Buckets grow where there are as many as there may be: of larger ones some users teach, with so many rows in all.
TEACHING_ROWS = 5 << 19


class Scorer(Protocol):
    """What judges the buckets of one log; once it is prepared, a copy in another process can do so."""

    def key(self) -> dict[str, Any]:
        """Return what the scores depend on, the log aside."""

    def prepare(self, split: Split) -> None:
        """Do what has to be done before the first bucket is judged."""

    def knows(self, number: int) -> bool:
        """Return whether the scores of a bucket were found while preparing; a copy has them not."""

    def judge(self, number: int, bucket: Bucket) -> Scores:
        """Return the evidence of a bucket's rows."""

    @property
    def shares(self) -> dict[str, float] | None:
        """The estimated share of each kind of noise, where the method estimates it."""


class ModelScorer:
    """IADSR as published, by the model of an `align` artifact."""

    def __init__(self, model: Path, config: Config) -> None:
        """Take the folder of the model."""
        self._folder, self._device = model, config.run.device
        self._codes = np.zeros(0, dtype=np.int64)

    @cached_property
    def _loaded(self) -> "tuple[AlignedModel, Vocabulary, Manifest]":
        from iadsr_cli.hardware import pick_device
        from iadsr_cli.models.store import load_aligned

        return load_aligned(self._folder, pick_device(self._device))

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the model: another process loads its own, onto a device of its own."""
        return {name: value for name, value in vars(self).items() if name != "_loaded"}

    def key(self) -> dict[str, Any]:
        """Return the seal of the model: its weights, and the window that it scores by.

        Raises:
            ArtifactError: if the folder is not such an artifact.
        """
        _, _, source = self._loaded
        return {"model": source.seal}

    def prepare(self, split: Split) -> None:
        """Find the log's items in the model's vocabulary.

        Raises:
            ArtifactError: if it knows none of them.
        """
        _, vocabulary, _ = self._loaded
        places = pc.index_in(split.items, value_set=vocabulary.items)
        self._codes = pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
        check_shared(self._codes, vocabulary.items, split.name, str(self._folder))

    def knows(self, number: int) -> bool:
        """Return False: nothing is judged before its turn."""
        return False

    def judge(self, number: int, bucket: Bucket) -> Scores:
        """Return the evidence of a bucket's rows; those of unknown items have none."""
        from iadsr_cli.cosines import score_rows

        model, vocabulary, _ = self._loaded
        sequences = bucket.sequences(vocabulary.items, self._codes)
        scores = score_rows(model, vocabulary.trained, sequences, bucket.items >= 0, Silent())
        return scores.without_times(bucket.timeless)

    @property
    def shares(self) -> None:
        """Nothing: the method estimates none."""


class CrossfitScorer:
    """The default method: the users of the first buckets are judged by each other and teach how to judge the others."""

    def __init__(self, texts: ItemTexts, config: Config, reporter: Reporter, engine: Engine) -> None:
        """Embed the items' texts, if there are any."""
        self._texts, self._config, self._reporter = texts, config, reporter
        self._vectors = embedded(texts, config, reporter, engine)
        # Of a bucket which rows teach, bool [n], and their scores.
        self._taught: dict[int, tuple[np.ndarray, Scores]] = {}
        self._panel: Panel | None = None
        self.shares: dict[str, float] | None = None
        self._items = pa.array([], pa.large_string())

    @cached_property
    def _teaching(self) -> Teachings:
        assert self._panel is not None
        return self._panel.teaching()

    def __getstate__(self) -> dict[str, Any]:
        """Return what it takes to judge the buckets that do not teach."""
        return {"_teaching": self._teaching, "_items": self._items, "_taught": {}, "shares": self.shares}

    def key(self) -> dict[str, Any]:
        """Return what is learned from, and how."""
        learned_from = {"buckets": TEACHING_BUCKETS, "rows": TEACHING_ROWS}
        return {**crossfit_key(self._vectors, self._texts, self._config), **learned_from}

    def prepare(self, split: Split) -> None:
        """Learn from the first buckets.

        Raises:
            InputError: if nothing can be learned from their users.
        """
        # In memory, too, there are no others to learn from.
        self._items = split.owned
        teaching: list[tuple[Bucket, np.ndarray]] = []
        left = TEACHING_ROWS
        for number in range(min(TEACHING_BUCKETS, split.count)):
            bucket = split.bucket(number)
            rows = _teaching_rows(bucket, left, self._config.run.seed)
            teaching.append((bucket if rows.all() else bucket.take(rows), rows))
            left -= int(rows.sum())
            if not rows.all():
                break
        together = joined([bucket for bucket, _ in teaching])
        sequences = together.sequences(self._items)
        check_trainable(sequences, split.name)
        matrix, _ = vectors_by_code(self._items, load_vectors(self._vectors) if self._vectors else None)
        texts = self._texts.of(self._items)
        run, decision = self._config.run, self._config.decision
        self._panel = Panel(sequences, matrix, texts, run.seed, self._reporter, decision.judges)
        found = self._panel.scores()
        self.shares = found.shares
        scores = found.by_row(sequences.row_ids, together.items >= 0)
        scores = scores.without_times(together.timeless)
        ends = np.cumsum([0, *(len(bucket.rows) for bucket, _ in teaching)])
        self._taught = {
            number: (rows, scores.take(np.arange(first, end)))
            for number, ((_, rows), (first, end)) in enumerate(zip(teaching, pairwise(ends.tolist()), strict=True))
        }

    def knows(self, number: int) -> bool:
        """Return whether users of a bucket teach."""
        return number in self._taught

    def judge(self, number: int, bucket: Bucket) -> Scores:
        """Return the evidence of a bucket's rows."""
        if number not in self._taught:
            return self._judged(bucket)
        rows, scores = self._taught[number]
        if rows.all():
            return scores
        place = np.argsort(np.concatenate([np.flatnonzero(rows), np.flatnonzero(~rows)]))
        return scores.followed_by(self._judged(bucket.take(~rows))).take(place)

    def _judged(self, bucket: Bucket) -> Scores:
        sequences = bucket.sequences(self._items)
        scores = self._teaching.judge(sequences).by_row(sequences.row_ids, bucket.items >= 0)
        return scores.without_times(bucket.timeless)


def _teaching_rows(bucket: Bucket, most: int, seed: int) -> np.ndarray:
    """Return which rows of a bucket teach, bool [n]: all or, where they are more than `most`, those of some people.

    These are drawn at random, as far as there is room for them; all teach where there is for none.
    """
    lengths = np.bincount(bucket.people)
    chosen = np.full(len(lengths), len(bucket.rows) <= most)
    if not chosen.all():
        for person in np.random.default_rng(seed).permutation(len(lengths)).tolist():
            if lengths[person] <= most:
                chosen[person], most = True, most - lengths[person]
    return (chosen if chosen.any() else ~chosen)[bucket.people]
