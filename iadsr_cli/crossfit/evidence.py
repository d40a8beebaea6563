"""Evidence about a row: how it agrees with the rest of its user's history, in item spaces of other users.

Each piece has a name, a range and one direction: high speaks for the row. It is NaN where it cannot be known, such as
an item's taste that no other user has, and then counts neither for the row nor against it.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from iadsr_cli.crossfit.predictor import FURTHEST, Predictor
from iadsr_cli.crossfit.spaces import Fold
from iadsr_cli.crossfit.texts import TextFeatures
from iadsr_cli.noise import LONG_HISTORY
from iadsr_cli.sequences import Sequences, Windows, positions, stretches, user_items
from iadsr_cli.threads import alone, side_by_side

# A row is compared with at most this many before it and after it.
_REACH = 100
# Rows at this distance or more in the history are of another occasion.
_FAR = 5
_FADING = 0.7
_DECIMALS = 5
_PAIRS_AT_ONCE = 250_000
# Memory of a row's vectors, in pairs.
_VECTOR_PLACES = 16
_VALUES_AT_ONCE = 4_000_000
# Threads that gather evidence, each of which holds so much.
_AT_ONCE = 4

# What a low value says, by the part of a name before the colon.
SAID = {
    "text": "unlike this user's other items in text",
    "words": "shares hardly any words with this user's other items",
    "taste": "not what users with this user's other items have",
    "around": "not what users have close to this user's other items",
    "together": "hardly ever had by one user together with this user's other items",
    "expected": "not to be expected of who has this user's other items",
    "when": "had by others earlier or later than this user's items around it",
    "order": "had by others in another order with this user's items",
    "repeats": "had once by this user",
    "apart": "goes with the items next to it, not with this user's others",
    "text alone": "near this user's items in text, not in who has them",
    "history": "this user's items have no more to do with each other than random ones",
}
JOINED = ("words and taste", "text and taste", "words and around", "text and around")
"""The joint spaces, in which items are near by either."""
FAMILIES = (*SAID, *JOINED)
_PAIRED = ("mean", "nearest", "beside", "far", "against history")
# How likely one item makes another is not how likely that makes the first, so there is no agreement of the other rows
# among each other to compare with.
_DIRECTED = ("likely", "mean", "nearest", "beside", "nearby", "far")
_WHEN = ("nearby", *_PAIRED)
_JOINT = ("rest", "nearby", *_PAIRED[1:])
_MEASURES = (*_PAIRED, "nearby", "share", "likely")
_SPACES = ("words and taste", "text and taste", "around", "words and around", "text and around")
# The spaces in which whole histories are looked at.
_WHOLE = {"taste": "taste 32", "around": "around", **{name: name for name in JOINED}}
# The differences, which a sum of falling steps could not tell: each the first less the second.
_CONTRASTS = {
    **{
        f"apart: {space}": (f"{space}: far", f"{space}: beside")
        for space in (
            "text",
            "words",
            "taste 32",
            "around",
            "words and around",
            "text and around",
            "together",
            "expected",
            "when",
        )
    },
    **{
        f"text alone: {space} and {text}": (f"{space}: nearest", f"{text}: nearest")
        for space in ("taste 32", "around", "together")
        for text in ("text", "words")
    },
}
NAMES = (
    *(f"text: {name}" for name in _PAIRED),
    *(f"words: {name}" for name in _PAIRED),
    "taste 16: rest",
    "taste 16: far",
    "taste 64: rest",
    *(f"taste 32: {name}" for name in _JOINT),
    *(f"{space}: {name}" for space in _SPACES for name in _JOINT),
    "together: share",
    *(f"together: {name}" for name in _PAIRED),
    *(f"expected: {name}" for name in _DIRECTED),
    *(f"{space}: {name}" for space in ("when", "order") for name in _WHEN),
    "repeats: count",
    *_CONTRASTS,
    *(f"history: {name}" for name in _WHOLE),
    "history: items",
)
"""Cosines are in [-1, 1]: "rest" is to the mean vector of the rest of the history, "mean" and "nearest" are over its
rows, "beside" is over the rows before and after, "nearby" weighs rows less the further away they are, "far" is over
rows at a distance of five or more, or all where none is, "against history" is the mean less that of the other rows
among each other. "taste" is of items that the same users have, "around" of items that stand close to each other in
their histories. "together" is C_ij / sqrt(c_i c_j), in [0, 1], for C_ij users of other folds with both items; its
"share" is that of rows with any such user. "expected" is the logarithm of how much likelier the item is where the
other is, its "likely" that of the mean of how much, in [-50, 50]. "when" is how far apart in time two items are had
by others, as a part of all their interactions that is of items between, below 0; "order" is the same above 0 where
the two stand in that order in the history and below where not. "repeats" counts, by its logarithm, the item's other
rows within 100 of this one. "apart" is "far" less "beside", low for a run of rows that go with each other alone, and
"text alone" the "nearest" of one less that of the other, low for what only reads alike; of cosines both are in [-2,
2]. "history" is the same for all rows of a user: how far what the items have in common is from chance, as
`chance.Chance.coherence` says, and for "items" the logarithm of 20 over how many different ones there are, 0 at
most."""


def family(name: str) -> str:
    """Return the family of a piece of evidence: "taste 16: rest" is of "taste"."""
    return name.partition(":")[0].rstrip("0123456789 ")


def beyond(families: Collection[str]) -> list[int]:
    """Return the columns of the evidence that are not of these families, or are differences of what is not."""
    return [
        column
        for column, name in enumerate(NAMES)
        if not {family(each) for each in (name, *_CONTRASTS.get(name, ()))} <= set(families)
    ]


@dataclass(frozen=True)
class _Block:
    """Pieces of B histories in a grid: R rows each, beside the C rows of the same history that they are compared with.

    Attributes:
        rows, others: places in a `_Stretch`, int64 [B, R] and [B, C]; padding repeats the last.
        there: which rows are no padding, bool [B, R].
        distance: between the two in the history, int32 [B, R, C].
        paired: which are compared, bool [B, R, C]: those that are there, no further away than the reach.
    """

    rows: np.ndarray
    others: np.ndarray
    there: np.ndarray
    distance: np.ndarray
    paired: np.ndarray

    @classmethod
    def of(cls, rows: Windows, others: Windows) -> "_Block":
        """Return a block of rows and what stands around them."""
        place, there = rows.grid()
        # Most histories are one piece, whose vectors are then looked up once.
        whole = np.array_equal(rows.start, others.start) and np.array_equal(rows.length, others.length)
        other, other_there = (place, there) if whole else others.grid()
        distance = np.abs(place[:, :, None] - other[:, None, :]).astype(np.int32)
        paired = there[:, :, None] & other_there[:, None, :] & (distance > 0) & (distance <= _REACH)
        return cls(place, other, there, distance, paired)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """What a row counts for in weighted means, by their names; float32 [B, R, C] each."""
        return {
            "beside": (self.distance == 1).astype(np.float32),
            "nearby": (_FADING ** np.arange(self.distance.max(initial=0) + 1)).astype(np.float32)[self.distance],
            "far": (self.distance >= _FAR).astype(np.float32),
        }

    def measured(self, values: np.ndarray, wanted: Collection[str]) -> dict[str, np.ndarray]:
        """Return what is made of similarities [B, R, C] that are NaN where unknown, float32 [B, R] each.

        "total" and "count" are of the similarities known, "highest" is -inf and means are NaN where none is.
        """
        known = self.paired & ~np.isnan(values)
        filled, ones = np.where(known, values, np.float32(0)), known.astype(np.float32)
        found = {"total": filled.sum(axis=2), "count": ones.sum(axis=2)}
        if "nearest" in wanted:
            found["highest"] = np.where(known, values, np.float32(-np.inf)).max(axis=2, initial=-np.inf)
        if "likely" in wanted:
            found["chances"] = np.where(known, np.exp(np.clip(filled, -FURTHEST, FURTHEST)), 0).sum(axis=2)
        if "share" in wanted:
            found["share"] = _ratio((filled > 0).sum(axis=2, dtype=np.float32), found["count"])
        for name in self.weights.keys() & set(wanted):
            weight = self.weights[name]
            found[name] = _ratio(*(np.einsum("brc,brc->br", part, weight) for part in (filled, ones)))
        return found


@dataclass(frozen=True)
class _Stretch:
    """All rows of some users.

    Attributes:
        rows: their flat indices, int64 [n].
        items: their codes less 1, int64 [n].
        user: of each, from 0 on, int64 [n].
        blocks: these rows, each in one block.
    """

    rows: np.ndarray
    items: np.ndarray
    user: np.ndarray
    blocks: list[_Block]

    @classmethod
    def of(cls, sequences: Sequences, users: np.ndarray) -> "_Stretch":
        """Return the rows of users who have two or more each."""
        lengths = sequences.lengths[users]
        rows = Windows(sequences.offsets[users], lengths).rows()
        user = np.repeat(np.arange(len(lengths)), lengths)
        return cls(rows, sequences.codes[rows] - 1, user, list(_blocks(lengths)))

    def measured(self, similar: "_Similar", wanted: Collection[str]) -> dict[str, np.ndarray]:
        """Return what the rest of its history is to each row, by the names of `_PAIRED` and `_JOINT` that are wanted.

        Float32 [n] each, NaN where it cannot be known.
        """
        parts: dict[str, np.ndarray] = {}
        for block in self.blocks:
            items = self.items[block.rows]
            others = items if block.others is block.rows else self.items[block.others]
            values = similar(block, items, others)
            for name, part in block.measured(values, wanted).items():
                whole = parts.setdefault(name, np.empty(len(self.rows), np.float32))
                whole[block.rows[block.there]] = part[block.there]
        total, count = parts["total"], parts["count"]
        mean = _ratio(total, count)
        found = {"mean": mean, **parts}
        if "nearest" in wanted:
            found["nearest"] = np.where(count > 0, parts["highest"], np.float32(np.nan))
        if "likely" in wanted:
            chance = _ratio(parts["chances"], count)
            found["likely"] = np.log(np.maximum(chance, np.exp(-FURTHEST)))
        if "far" in wanted:
            found["far"] = np.where(np.isnan(parts["far"]), mean, parts["far"])
        if "against history" in wanted:
            # The mean over pairs of the history in which the row has no part.
            of_others, others = (
                np.bincount(self.user, part)[self.user] - 2 * part.astype(np.float64) for part in (total, count)
            )
            found["against history"] = mean - _ratio(of_others, np.where(others > 0.5, others, 0))
        return {name: found[name] for name in wanted}


_Similar = Callable[[_Block, np.ndarray, np.ndarray], np.ndarray]
"""Returns how alike the items [B, R] and [B, C] of a block are, float32 [B, R, C]; NaN where unknown."""


@alone
def gather(sequences: Sequences, users: np.ndarray, fold: Fold, texts: TextFeatures, out: np.ndarray) -> None:
    """Write the evidence about the rows of some users.

    Args:
        sequences: the histories.
        users: which of them to judge, ascending, int64 [u].
        fold: what other users teach.
        texts: of the items.
        out: float32 [N, len(NAMES)], flat-aligned with the sequences; rows of histories of one are left as they are.
    """
    place = {name: column for column, name in enumerate(NAMES)}
    whole = {space: f"history: {name}" for name, space in _WHOLE.items()}
    users = users[sequences.lengths[users] > 1]

    def compared_with_rest(name: str) -> None:
        for rows, cosines in _to_rest(sequences, users, fold.spaces[name]):
            out[rows, place[f"{name}: rest"]] = cosines
        if name in whole:
            out[rows_of_all, place[whole[name]]] = fold.chances[name].coherence(held)[owner]

    def compared_with_rows(some: np.ndarray) -> None:
        stretch = _Stretch.of(sequences, some)
        for name, similar in _similarities(fold, texts):
            wanted = [measure for measure in _MEASURES if f"{name}: {measure}" in place]
            if not wanted:
                continue  # a space that is compared with the whole rest only
            for measure, values in stretch.measured(similar, wanted).items():
                out[stretch.rows, place[f"{name}: {measure}"]] = values
        again = stretch.measured(_same, ["total"])["total"]
        out[stretch.rows, place["repeats: count"]] = np.log1p(again)
        for name, (one, other) in _CONTRASTS.items():
            out[stretch.rows, place[name]] = out[stretch.rows, place[one]] - out[stretch.rows, place[other]]
        # The last bits of sums are not the same everywhere, and heads would learn from what they are.
        out[stretch.rows] = np.round(out[stretch.rows], _DECIMALS)

    every = sequences.lengths[users]
    rows_of_all, owner = Windows(sequences.offsets[users], every).rows(), np.repeat(np.arange(len(users)), every)
    judged = np.zeros(len(sequences.codes), dtype=bool)
    judged[rows_of_all] = True
    held = user_items(sequences, judged)[users]
    different = np.diff(held.indptr)
    out[rows_of_all, place["history: items"]] = np.log(LONG_HISTORY / np.maximum(different, LONG_HISTORY))[owner]
    side_by_side(compared_with_rest, fold.chances, at_once=_AT_ONCE)
    parts = stretches(every * np.minimum(every, 2 * _REACH + 1), _PAIRS_AT_ONCE)
    side_by_side(compared_with_rows, [users[first:last] for first, last in parts], at_once=_AT_ONCE)


def _similarities(fold: Fold, texts: TextFeatures) -> Iterator[tuple[str, _Similar]]:
    """Yield each way in which two items can be alike: its name, and what says so of a block's."""
    if texts.vectors.any():
        yield "text", _cosines(texts.known_vectors)
    if texts.words.nnz:
        yield "words", _word_cosines(texts.words)
    for name, space in fold.spaces.items():
        yield name, _cosines(space)
    yield "together", _ties(fold)
    if fold.predictor is not None:
        yield "expected", _likelier(fold.predictor)
    if fold.times is not None:
        yield "when", _near_in_time(fold.times)
        yield "order", _in_order(fold.times)


def _blocks(lengths: np.ndarray) -> Iterator[_Block]:
    """Yield the rows of histories that stand one after the other, in blocks of pieces of about one size.

    A piece is a history or, of one that reaches further than its rows are compared, so many rows of it.
    """
    step = np.where(lengths <= 2 * _REACH, lengths, _REACH)
    pieces = -(-lengths // step)
    begin, length, step = (np.repeat(part, pieces) for part in (np.cumsum(lengths) - lengths, lengths, step))
    first = positions(pieces) * step
    end = np.minimum(first + step, length)
    low, high = np.maximum(first - _REACH, 0), np.minimum(end + _REACH, length)
    rows, others = Windows(begin + first, end - first), Windows(begin + low, high - low)
    # Sizes that share a block differ by a fifth at most, so that little of it is padding.
    size = np.floor(np.log(others.length) / np.log(1.2)).astype(np.int64)
    order = np.argsort(size, kind="stable")
    cost = others.length * (rows.length + _VECTOR_PLACES)
    for start, stop in stretches(cost[order], _PAIRS_AT_ONCE, size[order]):
        yield _Block.of(rows.take(order[start:stop]), others.take(order[start:stop]))


def _to_rest(sequences: Sequences, users: np.ndarray, vectors: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows [n], and their vectors' cosines to the mean vector of the rest of their histories, float64 [n]."""
    lengths = sequences.lengths[users]
    for first, last in stretches(lengths, max(1, _VALUES_AT_ONCE // vectors.shape[1])):
        size = lengths[first:last]
        rows = Windows(sequences.offsets[users[first:last]], size).rows()
        own = vectors[sequences.codes[rows] - 1].astype(np.float64)
        known = ~np.isnan(own[:, 0])
        own[~known] = 0
        user = np.repeat(np.arange(last - first), size)
        history = sparse.csr_array((np.ones(len(rows)), (user, np.arange(len(rows)))), shape=(last - first, len(rows)))
        rest = (history @ own)[user] - own
        length = np.linalg.norm(rest, axis=1)
        cosines = np.full(len(rows), np.nan)
        there = known & (np.bincount(user, known)[user] - known > 0) & (length > 0)
        np.divide(np.einsum("nd,nd->n", own, rest), length, out=cosines, where=there)
        yield rows, cosines


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return totals over counts, NaN where the count is 0."""
    return np.divide(total, count, out=np.full(total.shape, np.nan, total.dtype), where=count > 0)


def _cosines(vectors: np.ndarray) -> _Similar:
    """Return the cosine of unit vectors [V, D], whose rows are NaN where unknown."""

    def similar(block: _Block, items: np.ndarray, others: np.ndarray) -> np.ndarray:
        own = vectors[items]
        rest = own if items is others else vectors[others]
        return np.asarray(own @ rest.transpose(0, 2, 1))

    return similar


def _word_cosines(words: sparse.csr_array) -> _Similar:
    """Return the cosine of unit rows [V, W], unknown where an item has no word."""
    wordless = np.diff(words.indptr) == 0

    def similar(block: _Block, items: np.ndarray, others: np.ndarray) -> np.ndarray:
        # A piece's words are its own, so that one product compares the rows of each piece among themselves.
        both = [words[part.ravel()] for part in (items, others)]
        keys = [
            np.repeat(np.arange(part.size) // part.shape[1], np.diff(its.indptr)) * words.shape[1] + its.indices
            for part, its in zip((items, others), both, strict=True)
        ]
        distinct, column = np.unique(np.concatenate(keys), return_inverse=True)
        own, rest = (
            sparse.csr_array((its.data, place, its.indptr), shape=(its.shape[0], len(distinct)))
            for its, place in zip(both, np.split(column, [len(keys[0])]), strict=True)
        )
        product = (own @ rest.T).tocoo()
        found = np.zeros(block.paired.shape, np.float32)
        piece, row = np.divmod(product.row, items.shape[1])
        found[piece, row, product.col % others.shape[1]] = product.data
        found[wordless[items]] = np.nan
        found.swapaxes(1, 2)[wordless[others]] = np.nan
        return found

    return similar


def _ties(fold: Fold) -> _Similar:
    """Return C_ij / sqrt(c_i c_j) of C_ij users with both items; unknown of an item and itself, or one nobody has."""

    def similar(block: _Block, items: np.ndarray, others: np.ndarray) -> np.ndarray:
        piece, row, column = np.nonzero(block.paired)
        one, other = items[piece, row], others[piece, column]
        product = fold.users[one] * fold.users[other]
        tie = fold.having_both(one, other) / np.sqrt(np.maximum(product, 1))
        found = np.full(block.paired.shape, np.nan, np.float32)
        found[piece, row, column] = np.where((one != other) & (product > 0), tie, np.nan)
        return found

    return similar


def _likelier(predictor: Predictor) -> _Similar:
    """Return the logarithm of how much likelier an item is for who has the other than for anyone."""

    def similar(block: _Block, items: np.ndarray, others: np.ndarray) -> np.ndarray:
        product = predictor.asked[items] @ predictor.given[others].transpose(0, 2, 1)
        return np.asarray(product - predictor.level[others][:, None, :])

    return similar


def _near_in_time(times: np.ndarray) -> _Similar:
    """Return how near in time two items are had, [-1, 0]."""

    def similar(block: _Block, items: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.asarray(-np.abs(times[items][:, :, None] - times[others][:, None, :]))

    return similar


def _in_order(times: np.ndarray) -> _Similar:
    """Return how much later that of two items is had which comes later in the history, [-1, 1]."""

    def similar(block: _Block, items: np.ndarray, others: np.ndarray) -> np.ndarray:
        later = times[others][:, None, :] - times[items][:, :, None]
        return np.where(block.others[:, None, :] > block.rows[:, :, None], later, -later)

    return similar


def _same(block: _Block, items: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return 1 where both are one item, 0 elsewhere."""
    return (items[:, :, None] == others[:, None, :]).astype(np.float32)
