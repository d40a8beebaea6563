"""A log as integer sequences: one per user, oldest first, each interaction remembering its row_id.

Item codes are 1..V; 0 is padding. Everything is flat and ragged: user u's interactions stand at
`offsets[u]:offsets[u + 1]` of the arrays `codes` and `row_ids`.
"""

import hashlib
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from iadsr_cli.errors import ArtifactError, InputError
from iadsr_cli.logs.values import numbered

# Places of windows that are scored at once.
_PLACES_AT_ONCE = 16_384


@dataclass(frozen=True)
class Sequences:
    """The sequences of a log.

    Attributes:
        items: item ids, V strings; the item of code c is `items[c - 1]`.
        codes: item codes, int64 [N].
        row_ids: row of the log that each interaction came from, int64 [N].
        offsets: first interaction of each user and the end of the last, int64 [U + 1].
        owners: the person that each is of, int64 [U], where a person has several, as with sessions; else None.
    """

    items: pa.Array
    codes: np.ndarray
    row_ids: np.ndarray
    offsets: np.ndarray
    owners: np.ndarray | None = None

    @cached_property
    def people(self) -> np.ndarray:
        """The person that each user is, 0 to P - 1, int64 [U]: of sessions several are of one."""
        return np.arange(len(self.lengths)) if self.owners is None else self.owners

    @cached_property
    def num_people(self) -> int:
        """How many people that is, P."""
        return int(self.people.max(initial=-1)) + 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Interactions per user, int64 [U]."""
        return np.diff(self.offsets)

    @cached_property
    def user_index(self) -> np.ndarray:
        """The user of each interaction, int64 [N]."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def train_lengths(self, hold_out: int) -> np.ndarray:
        """Interactions per user that may be trained on, int64 [U]: all but the last `hold_out`.

        A user with fewer than three interactions has none to spare, as is usual for leave-one-out, and is trained on
        whole.
        """
        return np.where(self.lengths >= 3, self.lengths - hold_out, self.lengths)

    def digest(self) -> str:
        """Return the SHA-256 (hex) of the item ids, of every user's sequence and of whose that is.

        Rows and files play no role.
        """
        content = hashlib.sha256()
        for item in self.items.to_pylist():
            content.update(item.encode() + b"\0")
        content.update(self.codes.tobytes())
        content.update(self.offsets.tobytes())
        if self.owners is not None:
            content.update(self.owners.tobytes())
        return content.hexdigest()

    def where(self, keep: np.ndarray) -> "Sequences":
        """Return the sequences of the interactions that `keep` (bool [N]) marks; users and items stay numbered."""
        lengths = np.bincount(self.user_index[keep], minlength=len(self.lengths))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Sequences(self.items, self.codes[keep], self.row_ids[keep], offsets, self.owners)

    def counts(self, ends: np.ndarray | None = None) -> np.ndarray:
        """Return how often each code occurs, int64 [V + 1], in the first `ends[u]` interactions of each user."""
        codes = self.codes if ends is None else self.codes[positions(self.lengths) < ends[self.user_index]]
        return np.bincount(codes, minlength=len(self.items) + 1)


def make_sequences(
    user_ids: pa.Array,
    item_ids: pa.Array,
    order: np.ndarray | None,
    vocabulary: pa.Array | None = None,
    people: pa.Array | None = None,
) -> Sequences:
    """Make sequences from one user id, item id and comparable time per row of a log.

    Within a user, interactions are ordered by `order` (int64 [rows]), ties and a missing `order` by row. Rows without a
    user or an item take no part; neither do items outside `vocabulary`, where one is given. Without one, items are
    numbered as they first occur. `people` are the ids of those whose sessions users are, where they are.
    """
    rows = np.flatnonzero(pc.and_(pc.is_valid(user_ids), pc.is_valid(item_ids)).to_numpy(zero_copy_only=False))
    if vocabulary is None:
        codes, vocabulary = numbered(item_ids.take(pa.array(rows)))
        codes += 1
    else:
        found = pc.index_in(item_ids.take(pa.array(rows)), value_set=vocabulary).fill_null(-1)
        codes = found.to_numpy(zero_copy_only=False).astype(np.int64) + 1
        rows, codes = rows[codes > 0], codes[codes > 0]
    return in_sequence(
        numbered(user_ids.take(pa.array(rows)))[0],
        codes,
        rows.astype(np.int64),
        None if order is None else order[rows],
        vocabulary,
        None if people is None else numbered(people.take(pa.array(rows)))[0],
    )


def in_sequence(
    users: np.ndarray,
    codes: np.ndarray,
    rows: np.ndarray,
    order: np.ndarray | None,
    items: pa.Array,
    people: np.ndarray | None = None,
) -> Sequences:
    """Return sequences of interactions in any order.

    Args:
        users: user of each interaction, 0 to U - 1, int [N].
        codes: code of its item, int64 [N].
        rows: row of the log that it came from, int64 [N].
        order: comparable times, int64 [N], or None: then rows decide, as they do between equal times.
        items: ids of the items, V strings.
        people: whose session each user is, 0 to P - 1, int [N], where users are sessions.
    """
    place = np.lexsort((rows, users) if order is None else (rows, order, users))
    lengths = np.bincount(users) if len(users) else np.zeros(0, np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    owners = None if people is None else people[place[offsets[:-1]]]
    return Sequences(items, codes[place], rows[place], offsets, owners)


def check_trainable(sequences: Sequences, source: str) -> None:
    """Check, before any work, that a recommender can learn something from this log.

    Raises:
        InputError: if there is a single user or item, or no user has three interactions.
    """
    users, items = sequences.num_people, len(sequences.items)
    if not len(sequences.codes):
        raise InputError(f"{source} has no row with both a user and an item.", "Give a log with interactions.")
    for count, noun, column in ((users, "user", "--user-column"), (items, "item", "--item-column")):
        if count == 1:
            raise InputError(
                f"{source} has one {noun} only, and what fits is learned by comparing {noun}s.",
                f"Give a log of several {noun}s, or name the right column with {column}.",
            )
    if sequences.lengths.max() < 3:
        raise InputError(
            f"{source} has no user with three or more interactions (the longest history has "
            f"{sequences.lengths.max()}).",
            "Give longer histories, or name the right column with --user-column.",
        )


def check_shared(codes: np.ndarray, items: pa.Array, source: str, model: str) -> None:
    """Check that a model knows some of the log's items: `codes` are those that it has for them, 0 for none.

    Raises:
        ArtifactError: if it knows none; `items` are its own.
    """
    if not codes.any():
        known = ", ".join(f'"{item}"' for item in items.slice(0, 2).to_pylist())
        raise ArtifactError(
            f"The model in {model} knows none of the items in {source} (it knows {known}, ...).",
            "Give the model that was made from this log, or name the right column with --item-column.",
        )


def frequency_fifths(counts: np.ndarray) -> np.ndarray:
    """Return the fifth of the items that each item is in, by how often it occurs: 0 rarest to 4; int64 [V].

    Items that occur equally often keep their order.
    """
    fifths = np.empty(len(counts), dtype=np.int64)
    fifths[np.argsort(counts, kind="stable")] = np.arange(len(counts)) * 5 // max(1, len(counts))
    return fifths


def share_by_fifth(rows: np.ndarray, chosen: np.ndarray) -> list[float]:
    """Return the share of chosen rows of the rarest fifth of items, and so on to the most frequent fifth.

    Args:
        rows: how many rows each item has, int64 [V].
        chosen: how many of them are chosen, [V].
    """
    fifth = frequency_fifths(rows)
    total = np.bincount(fifth, weights=rows, minlength=5)
    found: list[float] = (np.bincount(fifth, weights=chosen, minlength=5) / np.maximum(total, 1)).tolist()
    return found


def positions(lengths: np.ndarray) -> np.ndarray:
    """Return 0..length-1 for each length in turn, int64 [sum of lengths]."""
    starts = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) - np.repeat(starts, lengths)


@dataclass(frozen=True)
class Windows:
    """Stretches of sequences: window w covers `length[w]` interactions from flat index `start[w]` on."""

    start: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    def take(self, chosen: np.ndarray) -> "Windows":
        """Return the chosen windows, in that order."""
        return Windows(self.start[chosen], self.length[chosen])

    def rows(self) -> np.ndarray:
        """Return the flat indices of all that they cover, one window after the other, int64 [sum of lengths]."""
        return np.repeat(self.start, self.length) + positions(self.length)

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return flat indices int64 [B, T] and validity bool [B, T]; T is the longest window, padding is right.

        Padded places hold the index of the window's last interaction.
        """
        step = np.arange(self.length.max(initial=1))
        valid = step < self.length[:, None]
        return self.start[:, None] + np.minimum(step, self.length[:, None] - 1), valid


def training_windows(sequences: Sequences, ends: np.ndarray, window: int) -> Windows:
    """Cut the first `ends[u]` interactions of each user into windows that do not overlap, `window` long at most.

    Every interaction stands in exactly one window, so that a mask can be kept for it from epoch to epoch.
    """
    pieces = -(-ends // window)
    piece = positions(pieces)
    start = np.repeat(sequences.offsets[:-1], pieces) + piece * window
    return Windows(start, np.minimum(np.repeat(ends, pieces) - piece * window, window))


def scoring_windows(lengths: np.ndarray, window: int) -> tuple[Windows, np.ndarray]:
    """Cut whole histories into overlapping windows, each half a window after the one before.

    Returns:
        The windows, and for each the number of leading interactions that only give context: those were judged in
        the window before. An interaction of a history longer than `window` is so judged with at least half a window
        of its past.
    """
    stride = max(1, window // 2)
    pieces = 1 + np.maximum(0, -(-(lengths - window) // stride))
    piece = positions(pieces)
    start = np.repeat(np.cumsum(lengths) - lengths, pieces) + piece * stride
    length = np.minimum(np.repeat(lengths, pieces) - piece * stride, window)
    return Windows(start, length), np.where(piece > 0, window - stride, 0)


def scoring_batches(
    lengths: np.ndarray, window: int, least: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the scoring windows of histories, those of `least` interactions or more, batched by like length.

    Yields:
        Flat indices int64, validity bool, and which places are judged here and not in the window before, all [B, T].
    """
    windows, context = scoring_windows(lengths, window)
    ordered = np.argsort(windows.length, kind="stable")
    ordered = ordered[windows.length[ordered] >= least]
    for begin, end in stretches(windows.length[ordered], _PLACES_AT_ONCE):
        chosen = ordered[begin:end]
        flat, valid = windows.take(chosen).grid()
        yield flat, valid, valid & (np.arange(flat.shape[1]) >= context[chosen, None])


def last_windows(sequences: Sequences, ends: np.ndarray, window: int) -> Windows:
    """Return, for each user, the window of the last interactions before position `ends[u]`."""
    length = np.minimum(ends, window)
    return Windows(sequences.offsets[:-1] + ends - length, length)


def bucketed_batches(
    lengths: np.ndarray, batch_size: int, max_places: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield batches of indices of windows of like length, in random order.

    A batch holds at most `batch_size` windows and `max_places` places, padding included, but at least one window.
    """
    shuffled = generator.permutation(len(lengths))
    ordered = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    batches, start = [], 0
    while start < len(ordered):
        end = min(start + batch_size, len(ordered))
        longest = max(1, int(lengths[ordered[end - 1]]))
        end = min(end, start + max(1, max_places // longest))
        batches.append(ordered[start:end])
        start = end
    for index in generator.permutation(len(batches)):
        yield batches[index]


def user_items(sequences: Sequences, chosen: np.ndarray) -> sparse.csr_array:
    """Return who has what among the chosen interactions (bool [N]): float32 [U, V] of ones; column i is code i + 1.

    Products of such matrices are exact counts up to 16 million users.
    """
    return _ones(sequences.user_index[chosen], sequences.codes[chosen] - 1, sequences.lengths, sequences.items)


def window_items(sequences: Sequences, size: int) -> tuple[sparse.csr_array, np.ndarray]:
    """Return what stands in each run of `size` consecutive interactions, or in a whole history that is shorter.

    Returns:
        float32 [W, V] of ones; column i is code i + 1. And the user of each run, int64 [W].
    """
    lengths = np.minimum(sequences.lengths, size)
    windows = np.where(lengths > 0, sequences.lengths - lengths + 1, 0)
    user = np.repeat(np.arange(len(windows)), windows)
    start, length = sequences.offsets[user] + positions(windows), lengths[user]
    rows = Windows(start, length).rows()
    return _ones(np.repeat(np.arange(len(user)), length), sequences.codes[rows] - 1, user, sequences.items), user


def _ones(row: np.ndarray, column: np.ndarray, rows: Sized, columns: Sized) -> sparse.csr_array:
    """Return a matrix with ones at some places, however often each is given."""
    ones = np.ones(len(row), dtype=np.float32)
    found = sparse.csr_array((ones, (row, column)), shape=(len(rows), len(columns)))
    found.data[:] = 1
    # A product's indices are as its factors', and half as large so.
    found.indices, found.indptr = (part.astype(np.int32) for part in (found.indices, found.indptr))
    return found


def stretches(sizes: np.ndarray, at_once: int, kinds: np.ndarray | None = None) -> list[tuple[int, int]]:
    """Cut things of the given sizes, in their order, into stretches (first, end) of about `at_once` together.

    Things of different `kinds`, where given, share none.
    """
    part = (np.cumsum(sizes) - sizes) // at_once
    ends = np.diff(part, prepend=-1, append=-1) != 0
    if kinds is not None:
        ends[1:-1] |= np.diff(kinds) != 0
    return list(pairwise(np.flatnonzero(ends).tolist()))
