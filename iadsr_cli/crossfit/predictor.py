"""Which items go with which, learned from some users: each item of a history is predicted from the others.

IADSR aligns what a recommender and a text encoder say of an item by contrastive losses. This is one such loss alone:
an item is the sum of what is learned of itself, of the words of its title and of its semantic vector, and one that
nobody has yet is known by the latter two. The gradient is written out, as a few products of matrices, so that folds
train side by side, each in one thread and to the same bits wherever it runs.

What an item is told from are items drawn as often as users have them. So what is learned is how much likelier it is
than anywhere, and an item that nobody has is never drawn: to be rare says nothing against a row.

Source: the loss is InfoNCE (van den Oord, Li and Vinyals 2018) with the mean over what is drawn, the step that of Adam
(Kingma and Ba 2015), taken in those rows alone that a batch has seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from iadsr_cli.crossfit.texts import TextFeatures
from iadsr_cli.sequences import Sequences, Windows, positions, stretches
from iadsr_cli.threads import alone

# The sizes, rates and the number of epochs were chosen by uniform noise injected into Amazon Beauty and MovieLens: what
# trains longer learns single histories by heart.
_SIZE = 64
_STRETCH = 50
_NEGATIVES = 512
_EPOCHS, _MOST_ROWS = 4, 1_000_000
# Rows of a batch: a small log has smaller ones, so that there are so many steps.
_BATCH, _STEPS = (256, 2048), 64
# The rate rises to its highest over a fifth of the steps, and falls to nothing.
_RATE, _RISING = 0.007, 0.2
_MEAN_KEPT, _SQUARE_KEPT = 0.9, 0.999
# Numbers that are learned start as small as this: of items, words and semantic vectors.
_START = (0.02, 0.1, 0.05)
# So many of the items with a text are known by that alone in a batch, as those are that nobody has yet.
_HIDDEN = 0.25
FURTHEST = 50
"""Exponentials are taken of nothing further from zero."""
_LEVEL_SAMPLE, _ITEMS_AT_ONCE = 1500, 8192


@dataclass(frozen=True)
class Predictor:
    """How much likelier an item is in the history of who has another than elsewhere; row i is the item of code i + 1.

    For items i and j the logarithm of that is asked[i] @ given[j] - level[j].

    Attributes:
        given: of an item that a user has, float32 [V, D]; NaN where nothing is known of it.
        asked: of an item that is asked for, float32 [V, D]; NaN where nothing is known of it.
        level: the logarithm of the mean of exp(asked[i] @ given[j]) over items i as frequent as they are, float32 [V].
    """

    given: np.ndarray
    asked: np.ndarray
    level: np.ndarray


@dataclass(frozen=True)
class Pieces:
    """The histories of a log in pieces, in each of which every item is predicted from the others.

    Attributes:
        windows: those of two interactions or more, as even as can be, that do not overlap.
        user: of each, int64 [P].
    """

    windows: Windows
    user: np.ndarray

    @classmethod
    def of(cls, sequences: Sequences) -> "Pieces":
        """Cut the histories of a log."""
        number = -(-sequences.lengths // _STRETCH)
        user = np.repeat(np.arange(len(number)), number)
        piece = positions(number)
        least, more = np.divmod(sequences.lengths, np.maximum(number, 1))
        start = sequences.offsets[user] + piece * least[user] + np.minimum(piece, more[user])
        length = least[user] + (piece < more[user])
        several = length > 1
        return cls(Windows(start[several], length[several]), user[several])

    def of_users(self, chosen: np.ndarray) -> Windows:
        """Return the pieces of the chosen users, bool [U]."""
        return self.windows.take(np.flatnonzero(chosen[self.user]))


@dataclass(frozen=True)
class Features:
    """What items are made of, the same for all who learn from the log.

    Attributes:
        parts: themselves and the words of their titles, sparse float32 [V, V + W].
        dense: their semantic vectors, float32 [V, S].
        texts: which have a text, bool [V].
    """

    parts: sparse.csr_array
    dense: np.ndarray
    texts: np.ndarray

    @classmethod
    @alone
    def of(cls, texts: TextFeatures) -> "Features":
        """Return those of V items."""
        words, dense = texts.shared_words, texts.strongest
        own = sparse.eye_array(words.shape[0], dtype=np.float32, format="csr")
        parts = sparse.csr_array(sparse.hstack([own, words], format="csr"))
        return cls(parts, dense, dense.any(axis=1) | (np.diff(words.indptr) > 0))

    @property
    def items(self) -> int:
        """V."""
        return len(self.dense)


@alone
def predict(codes: np.ndarray, pieces: Windows, features: Features, seed: int) -> Predictor:
    """Learn from histories.

    Args:
        codes: of all interactions, int64 [N].
        pieces: those to learn from, two interactions or more each.
        features: of the V items.
        seed: of the start, the order and what is drawn.
    """
    generator = np.random.default_rng(seed)
    counts = np.bincount(codes[pieces.rows()] - 1, minlength=features.items).astype(np.float64)
    common = counts / max(1, counts.sum())
    ends = np.cumsum(common)
    sides = (_Side.new(features, generator), _Side.new(features, generator))
    rows = int(pieces.length.sum())
    size = int(np.clip(rows // _STEPS, *_BATCH))
    steps = min(_EPOCHS * rows, _MOST_ROWS) // size
    for number, batch in zip(range(1, steps + 1), _batches(pieces, size, generator), strict=False):
        others = _draw(ends, _NEGATIVES, generator)
        hidden = features.texts & (generator.random(features.items, np.float32) < _HIDDEN)
        gradients = _gradients(sides, features, _Batch.of(codes, batch, others, hidden))
        for side, gradient in zip(sides, gradients, strict=True):
            side.step(gradient, number, _rate(number / steps))
    given, asked = (side.of(features) for side in sides)
    sample = asked[_draw(ends, _LEVEL_SAMPLE, generator)] if rows else asked
    level = np.empty(features.items, np.float32)
    for first in range(0, len(level), _ITEMS_AT_ONCE):
        products = np.clip(given[first : first + _ITEMS_AT_ONCE] @ sample.T, -FURTHEST, FURTHEST)
        level[first : first + _ITEMS_AT_ONCE] = np.log(np.exp(products).mean(axis=1))
    unknown = (counts == 0) & ~features.texts
    given[unknown] = asked[unknown] = np.nan
    return Predictor(given, asked, level)


@dataclass(frozen=True)
class _Table:
    """Numbers that are learned, float32 [F, D], and the means of their gradients and of these squared."""

    values: np.ndarray
    mean: np.ndarray
    square: np.ndarray

    @classmethod
    def new(cls, values: np.ndarray) -> "_Table":
        return cls(values, np.zeros_like(values), np.zeros_like(values))

    def step(self, rows: np.ndarray | slice, gradient: np.ndarray, number: int, rate: float) -> None:
        """Go a step of Adam, in these rows alone: the others keep their means, too."""
        self.mean[rows] = mean = _MEAN_KEPT * self.mean[rows] + (1 - _MEAN_KEPT) * gradient
        self.square[rows] = square = _SQUARE_KEPT * self.square[rows] + (1 - _SQUARE_KEPT) * gradient**2
        scale = np.float32(rate * np.sqrt(1 - _SQUARE_KEPT**number) / (1 - _MEAN_KEPT**number))
        self.values[rows] -= scale * mean / (np.sqrt(square) + np.float32(1e-8))


@dataclass(frozen=True)
class _Side:
    """What is learned of items as those that are given, or as those that are asked for.

    Attributes:
        parts: of items and words.
        dense: of semantic vectors.
    """

    parts: _Table
    dense: _Table

    @classmethod
    def new(cls, features: Features, generator: np.random.Generator) -> "_Side":
        words = features.parts.shape[1] - features.items
        own, of_words, dense = (
            (scale * generator.standard_normal((rows, _SIZE))).astype(np.float32)
            for scale, rows in zip(_START, (features.items, words, features.dense.shape[1]), strict=True)
        )
        return cls(_Table.new(np.concatenate([own, of_words])), _Table.new(dense))

    def of(self, features: Features) -> np.ndarray:
        """Return the vectors of all items, float32 [V, D]."""
        return np.asarray(features.parts @ self.parts.values + features.dense @ self.dense.values)

    def step(self, gradient: "_Gradient", number: int, rate: float) -> None:
        """Go a step against a gradient."""
        self.parts.step(gradient.columns, gradient.parts, number, rate)
        self.dense.step(slice(None), gradient.dense, number, rate)


@dataclass(frozen=True)
class _Gradient:
    """That of one side: of those of its parts that take part, int64 [C] and float32 [C, D], and of all of `dense`."""

    columns: np.ndarray
    parts: np.ndarray
    dense: np.ndarray


@dataclass(frozen=True)
class _Batch:
    """Pieces of histories, n interactions of d items in all, and m items that were drawn.

    Attributes:
        items: those that take part, less 1, ascending, int64 [d].
        own: the item of each interaction, a sparse float32 [n, d] of ones.
        drawn: that of each that was drawn, likewise [m, d].
        piece: that of each interaction, likewise [n, pieces].
        size: interactions of the piece that each is of, float32 [n].
        hidden: which of the items are known by their text alone, bool [d].
    """

    items: np.ndarray
    own: sparse.csr_array
    drawn: sparse.csr_array
    piece: sparse.csr_array
    size: np.ndarray
    hidden: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, pieces: Windows, drawn: np.ndarray, hidden: np.ndarray) -> "_Batch":
        own = codes[pieces.rows()] - 1
        items, place = np.unique(np.concatenate([own, drawn]), return_inverse=True)
        piece = np.repeat(np.arange(len(pieces)), pieces.length)
        return cls(
            items,
            _chosen(place[: len(own)], len(items)),
            _chosen(place[len(own) :], len(items)),
            _chosen(piece, len(pieces)),
            pieces.length[piece].astype(np.float32),
            hidden[items],
        )


def _gradients(sides: tuple[_Side, _Side], features: Features, batch: _Batch) -> tuple[_Gradient, _Gradient]:
    """Return the gradient of a batch's loss, of what is learned as given and as asked for.

    The loss of an interaction is that of a softmax over its item and those that were drawn, given the mean of the rest
    of its piece. Pieces weigh as much as the root of their interactions.

    Args:
        sides: what is learned.
        features: of the items.
        batch: interactions and what was drawn.
    """
    parts = features.parts[batch.items]
    # An item stands first among its parts.
    parts.data[parts.indptr[:-1][batch.hidden]] = 0
    columns, place = np.unique(parts.indices, return_inverse=True)
    parts = sparse.csr_array((parts.data, place, parts.indptr), shape=(len(batch.items), len(columns)))
    dense = features.dense[batch.items]
    given, asked = (parts @ side.parts.values[columns] + dense @ side.dense.values for side in sides)
    of_given, right, wrong = batch.own @ given, batch.own @ asked, batch.drawn @ asked
    others = (batch.size - 1)[:, None]
    rest = (batch.piece @ (batch.piece.T @ of_given) - of_given) / others
    # The item itself, where it was drawn, is not wrong.
    same = (batch.own @ batch.drawn.T).tocoo()
    odds = rest @ wrong.T
    odds -= np.float32(np.log(wrong.shape[0]))
    odds[same.row, same.col] = -np.inf
    of_right = np.einsum("nd,nd->n", rest, right)
    highest = np.maximum(odds.max(axis=1), of_right)
    odds -= highest[:, None]
    np.exp(odds, out=odds)
    of_right = np.exp(of_right - highest)
    total = odds.sum(axis=1) + of_right
    weight = batch.size**-0.5
    weight /= weight.sum()
    odds *= (weight / total)[:, None]
    of_right = ((of_right / total - 1) * weight)[:, None]
    to_rest = (of_right * right + odds @ wrong) / others
    to_given = batch.own.T @ (batch.piece @ (batch.piece.T @ to_rest) - to_rest)
    to_asked = batch.own.T @ (of_right * rest) + batch.drawn.T @ (odds.T @ rest)
    one, other = (_Gradient(columns, parts.T @ part, dense.T @ part) for part in (to_given, to_asked))
    return one, other


def _batches(pieces: Windows, size: int, generator: np.random.Generator) -> Iterator[Windows]:
    """Yield pieces of about so many interactions together, all of them in a random order, again and again."""
    while True:
        mixed = pieces.take(generator.permutation(len(pieces)))
        for first, last in stretches(mixed.length, size):
            yield mixed.take(np.arange(first, last))


def _rate(part: float) -> float:
    """Return the size of a step, such a part of all of them being done."""
    if part < _RISING:
        return _RATE * part / _RISING
    return _RATE * 0.5 * (1 + np.cos(np.pi * (part - _RISING) / (1 - _RISING)))


def _draw(ends: np.ndarray, number: int, generator: np.random.Generator) -> np.ndarray:
    """Return items drawn at random, less 1, int64 [number], whose probabilities add up to `ends`, float64 [V]."""
    return np.searchsorted(ends[:-1], generator.random(number) * ends[-1], side="right")


def _chosen(place: np.ndarray, columns: int) -> sparse.csr_array:
    """Return a sparse float32 [n, columns] with a one in each row, at such a place."""
    n = len(place)
    return sparse.csr_array((np.ones(n, np.float32), place, np.arange(n + 1)), shape=(n, columns))
