"""Evidence about a row: how it agrees with the rest of its user's history, in item spaces of other users.

Each piece has a name, a range and one direction: high speaks for the row. It is NaN where it cannot be known, such as
an item's taste that no other user has, and then counts neither for the row nor against it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from iadsr_cli.crossfit.spaces import Fold, ItemTexts
from iadsr_cli.noise import LONG_HISTORY
from iadsr_cli.sequences import Sequences, positions, stretches

# A row is compared with at most this many before it and after it.
_REACH = 100
# Rows at this distance or more in the history are of another occasion.
_FAR = 5
_FADING = 0.7
_PAIRS_AT_ONCE = 1_000_000
_VALUES_AT_ONCE = 16_000_000

# What a low value says, by the part of a name before the colon, and the piece that its rank is told of.
FAMILIES = {
    "text": ("unlike this user's other items in text", "text: mean"),
    "words": ("shares no words with this user's other items", "words: mean"),
    "taste": ("not what users with this user's other items have", "taste 32: rest"),
    "words and taste": ("unlike this user's other items in words and in who has them", "words and taste: rest"),
    "text and taste": ("unlike this user's other items in text and in who has them", "text and taste: rest"),
    "around": ("not what users have close to this user's other items", "around: rest"),
    "words and around": ("unlike this user's other items in words and in what stands close", "words and around: rest"),
    "text and around": ("unlike this user's other items in text and in what stands close", "text and around: rest"),
    "together": ("hardly ever had by one user together with this user's other items", "together: mean"),
    "repeats": ("had once by this user", "repeats: count"),
    "history": ("this user's items have no more to do with each other than random ones", "history: taste"),
}
_PAIRED = ("mean", "nearest", "beside", "far", "against history")
_JOINT = ("rest", "nearby", *_PAIRED[1:])
_SPACES = ("words and taste", "text and taste", "around", "words and around", "text and around")
# The spaces in which whole histories are looked at.
_WHOLE = {"taste": "taste 32", "words and taste": "words and taste", "text and taste": "text and taste"}
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
    "repeats: count",
    *(f"history: {name}" for name in _WHOLE),
)
"""Cosines are in [-1, 1]: "rest" is to the mean vector of the rest of the history, "mean" and "nearest" are over its
rows, "beside" is over the rows before and after, "nearby" weighs rows less the further away they are, "far" is over
rows at a distance of five or more, "against history" is the mean less that of the other rows among each other.
"taste" is of items that the same users
have, "around" of items that stand close to each other in their histories. "together" is C_ij / sqrt(c_i c_j), in
[0, 1], for C_ij users of other folds with both items; its "share" is that of rows with any such user. "repeats" counts,
by its logarithm, the item's other rows in the history. "history" is the same for all rows of a user: the mean cosine of
two of them, and two standard errors of that of so many random ones; 1 where it is more, or of fewer than 20 rows."""


def family(name: str) -> str:
    """Return the family of a piece of evidence: "taste 16: rest" is of "taste"."""
    return name.partition(":")[0].rstrip("0123456789 ")


@dataclass(frozen=True)
class _Pairs:
    """Rows of a stretch of users, each with the other rows of its user.

    Attributes:
        rows: flat indices of the rows, int64 [n].
        row: place in `rows` of each pair's row, ascending, int64 [p].
        item, other: codes less 1 of the row's item and of the other's, int64 [p].
        distance: between the two in the history, int64 [p].
    """

    rows: np.ndarray
    row: np.ndarray
    item: np.ndarray
    other: np.ndarray
    distance: np.ndarray

    def mean(self, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the weighted mean over each row's pairs with a value, NaN where there is none; float64 [n]."""
        there = weight * ~np.isnan(values)
        total = np.bincount(self.row, np.where(there > 0, values, 0) * there, minlength=len(self.rows))
        count = np.bincount(self.row, there, minlength=len(self.rows))
        return np.divide(total, count, out=np.full(len(self.rows), np.nan), where=count > 0)

    def highest(self, values: np.ndarray) -> np.ndarray:
        """Return the highest over each row's pairs with a value, NaN where there is none; float64 [n]."""
        found = np.full(len(self.rows), -np.inf)
        if len(self.row):
            starts = np.flatnonzero(np.diff(self.row, prepend=-1))
            found[self.row[starts]] = np.maximum.reduceat(np.where(np.isnan(values), -np.inf, values), starts)
        return np.where(np.isinf(found), np.nan, found)


def gather(sequences: Sequences, users: np.ndarray, fold: Fold, texts: ItemTexts, out: np.ndarray) -> None:
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
    for name, space in fold.spaces.items():
        spread = _spread(space, fold.users)
        for rows, cosines, mean, pairs in _to_rest(sequences, users, space):
            out[rows, place[f"{name}: rest"]] = cosines
            if name in whole:
                long = pairs >= LONG_HISTORY * (LONG_HISTORY - 1) / 2
                out[rows, place[whole[name]]] = np.where(long, np.minimum(mean + 2 * spread / np.sqrt(pairs), 1), 1)
    for some in _pairs(sequences, users):
        for name, values in _similarities(some, fold, texts):
            for measure, take in _measures(sequences, some, values).items():
                if f"{name}: {measure}" in place:
                    out[some.rows, place[f"{name}: {measure}"]] = take()
        again = np.bincount(some.row, some.item == some.other, minlength=len(some.rows))
        out[some.rows, place["repeats: count"]] = np.log1p(again)


def _similarities(pairs: "_Pairs", fold: Fold, texts: ItemTexts) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each way in which two items can be alike, and how much each pair is; NaN where unknown; [p]."""
    if texts.vectors.any():
        yield "text", _cosines(texts.known_vectors, pairs)
    if texts.words.nnz:
        has_words = np.diff(texts.words.indptr) > 0
        cosine = _word_cosines(texts.words, pairs)
        cosine[~(has_words[pairs.item] & has_words[pairs.other])] = np.nan
        yield "words", cosine
    for name, space in fold.spaces.items():
        # The largest space is compared with the whole rest only.
        if name != "taste 64":
            yield name, _cosines(space, pairs)
    product = fold.users[pairs.item] * fold.users[pairs.other]
    tie = np.asarray(fold.together[pairs.item, pairs.other]).ravel() / np.sqrt(np.maximum(product, 1))
    yield "together", np.where((pairs.item != pairs.other) & (product > 0), tie, np.nan)


def _measures(sequences: Sequences, pairs: "_Pairs", values: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Return functions that make something of the similarities of each row's pairs; float64 [n] each."""
    mean = pairs.mean(values, np.ones(len(values)))

    def far() -> np.ndarray:
        apart = pairs.mean(values, pairs.distance >= _FAR)
        return np.where(np.isnan(apart), mean, apart)

    return {
        "mean": lambda: mean,
        "nearest": lambda: pairs.highest(values),
        "beside": lambda: pairs.mean(values, pairs.distance == 1),
        "nearby": lambda: pairs.mean(values, _FADING**pairs.distance),
        "far": far,
        "against history": lambda: mean - _among_others(sequences, pairs, values),
        "share": lambda: pairs.mean(np.where(np.isnan(values), np.nan, values > 0), np.ones(len(values))),
    }


def _pairs(sequences: Sequences, users: np.ndarray) -> Iterator[_Pairs]:
    """Yield the pairs of rows of each user with two or more, by stretches of users."""
    users = users[sequences.lengths[users] > 1]
    lengths = sequences.lengths[users]
    for first, last in stretches(lengths * np.minimum(lengths, 2 * _REACH + 1), _PAIRS_AT_ONCE):
        chosen, size = users[first:last], lengths[first:last]
        step = positions(size)
        rows = np.repeat(sequences.offsets[chosen], size) + step
        low = np.maximum(step - _REACH, 0)
        count = np.minimum(step + _REACH + 1, np.repeat(size, size)) - low
        row = np.repeat(np.arange(len(rows)), count)
        other_step = np.repeat(low, count) + positions(count)
        apart = other_step != step[row]
        row, other_step = row[apart], other_step[apart]
        items = sequences.codes[rows] - 1
        other = rows[row] - step[row] + other_step
        yield _Pairs(rows, row, items[row], sequences.codes[other] - 1, np.abs(other_step - step[row]))


def _to_rest(
    sequences: Sequences, users: np.ndarray, vectors: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows [n], the cosines of their vectors to the mean vector of the rest of their histories, and of these
    histories the mean cosine of all pairs of rows and the number of such pairs; float64 [n] each.
    """
    users = users[sequences.lengths[users] > 1]
    lengths = sequences.lengths[users]
    for first, last in stretches(lengths, max(1, _VALUES_AT_ONCE // vectors.shape[1])):
        size = lengths[first:last]
        rows = np.repeat(sequences.offsets[users[first:last]], size) + positions(size)
        own = vectors[sequences.codes[rows] - 1].astype(np.float64)
        known = ~np.isnan(own[:, 0])
        own[~known] = 0
        user = np.repeat(np.arange(last - first), size)
        history = sparse.csr_array((np.ones(len(rows)), (user, np.arange(len(rows)))), shape=(last - first, len(rows)))
        total = history @ own
        rest = total[user] - own
        count = np.bincount(user, known)
        others = count[user] - known
        length = np.linalg.norm(rest, axis=1)
        cosines = np.full(len(rows), np.nan)
        there = known & (others > 0) & (length > 0)
        np.divide(np.einsum("nd,nd->n", own, rest), length, out=cosines, where=there)
        pairs = count * (count - 1) / 2
        pairs[pairs == 0] = np.nan
        together = ((total**2).sum(axis=1) - count) / (2 * pairs)
        yield rows, cosines, together[user], pairs[user]


def _spread(vectors: np.ndarray, users: np.ndarray) -> float:
    """Return the standard deviation of the cosine of two items, drawn by how many users [V] have each."""
    known = ~np.isnan(vectors[:, 0])
    own, weight = vectors[known].astype(np.float64), users[known] / max(1, users[known].sum())
    mean = weight @ own
    square = (own * weight[:, None]).T @ own
    return float(np.sqrt(max(0.0, (square**2).sum() - (mean @ mean) ** 2)))


def _among_others(sequences: Sequences, pairs: _Pairs, values: np.ndarray) -> np.ndarray:
    """Return for each row the mean over pairs of its user in which it has no part, NaN where there is none; [n]."""
    there = ~np.isnan(values)
    user = sequences.user_index[pairs.rows]
    first = user - user[0]
    by_row = [np.bincount(pairs.row, part, minlength=len(user)) for part in (np.where(there, values, 0), there)]
    total, count = (np.bincount(first, part)[first] - 2 * part for part in by_row)
    return np.divide(total, count, out=np.full(len(user), np.nan), where=count > 0.5)


def _cosines(vectors: np.ndarray, pairs: _Pairs) -> np.ndarray:
    """Return the cosine of each pair's vectors, NaN where either is unknown; float64 [p]."""
    found = np.empty(len(pairs.row))
    size = max(1, _VALUES_AT_ONCE // vectors.shape[1])
    for start in range(0, len(found), size):
        part = slice(start, start + size)
        found[part] = np.einsum("pd,pd->p", vectors[pairs.item[part]], vectors[pairs.other[part]])
    return found


def _word_cosines(words: sparse.csr_array, pairs: _Pairs) -> np.ndarray:
    found = np.empty(len(pairs.row))
    for start in range(0, len(found), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        product = words[pairs.item[part]].multiply(words[pairs.other[part]])
        found[part] = np.asarray(product.sum(axis=1)).ravel()
    return found
