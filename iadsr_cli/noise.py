"""Noise put into histories on purpose, labelled and seeded, so that its detection can be measured.

`insert-uniform`: items drawn uniformly from the catalogue. `insert-popular`: drawn by popularity. `insert-timely`:
drawn by popularity at about the time of the place where they go, as misclicks are on what there is then.
`insert-similar`: drawn among the nearest in text to the user's own items. `insert-burst`: consecutive items of another
user's history, in one place. `insert-account`: another user's history, in one run or several, as where two share an
account. `replace-uniform`: an item gives way to one drawn uniformly. `replace-history`: all items of a long history
give way to items drawn uniformly or, for every other such history, by popularity, as those of a bot. Noise is always an
item that the user has nowhere, in no other session either.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from iadsr_cli.config import NOISE_KINDS
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.order import times as item_times
from iadsr_cli.sequences import Sequences, Windows, positions
from iadsr_cli.settings import check_choice

# Lengths of a burst, before the items that the user already has are left out of it.
_SHORTEST_BURST, _LONGEST_BURST = 2, 5
# Interactions of a history from which on all of it may be replaced: a few with nothing in common may well be genuine.
LONG_HISTORY = 20
# Interactions of a user in whose history there can be noise.
SHORTEST_HISTORY = 3
# Of two that share an account, the one to be found has so many rows for each of the other's, and so many at most.
_PART_OF_ACCOUNT, _LONGEST_ACCOUNT = 2 / 3, 100
# What there is at a time: half of what is drawn is within so much of the interactions, but no fewer than so many,
# before or after it.
_AT_A_TIME, _LEAST_AT_A_TIME = 0.0025, 10
# How often an item that the user has is drawn anew before its row is given up.
_ROUNDS = 100
# Beyond this many items, whose pairs are all compared, the nearest in text are not looked for.
MOST_SIMILAR_ITEMS = 50_000
# Similarities held at once while neighbours are sought; bounds memory whatever the catalogue's size.
_SIMILARITIES_AT_ONCE = 8_000_000

_Draw = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
"""Draws an item for each of users [n] and places in their histories [n], flat indices: codes [n], 0 where none is.

It is one of the user's own group's if groups [U] are given.
"""


@dataclass(frozen=True)
class Noisy:
    """Sequences with noise in them, and the truth about it.

    Attributes:
        sequences: the sequences with noise; its vocabulary is the clean one, and `row_ids` count from 0 to N' - 1.
        is_noise: which interactions are noise, bool [N'].
        origin: the flat index in the clean sequences of each interaction, int64 [N']; where an item was replaced, of
            the one that stood there; -1 where inserted.
    """

    sequences: Sequences
    is_noise: np.ndarray
    origin: np.ndarray


def inject(
    sequences: Sequences,
    kind: str,
    rate: float,
    seed: int,
    neighbours: np.ndarray | None = None,
    hold_out: int = 2,
    groups: np.ndarray | None = None,
    source: Sequences | None = None,
    times: np.ndarray | None = None,
) -> Noisy:
    """Put noise into the histories of a log.

    A user's history is all but the last `hold_out` interactions, which stay as they are and last; a user with fewer
    than three interactions has none. Of C history interactions, round(rate * C) noise rows are made, so that the noise
    share of the histories is rate / (1 + rate) for insertions and `rate` for replacement. It is less where users have
    (nearly) every item that could be drawn: such rows are left out. Bursts may exceed it by one row, accounts and
    histories by those of one user; both are fewer where there are not so many accounts or long histories.

    A longer history gets more noise, in proportion. The noise items of a user are distinct, and none of them is in the
    user's clean sequence, held-out interactions and replaced items included; nor in another session of the same person.

    Args:
        sequences: the clean sequences, whole.
        kind: one of `NOISE_KINDS`.
        rate: noise rows per history interaction, between 0 and 1.
        seed: the same arguments give the same noise.
        neighbours: for each item code the codes of its nearest items, 0 for none, int64 [V + 1, K], as made by
            `nearest_in_text`; for "insert-similar" only.
        hold_out: interactions at the end of each sequence that noise stays out of.
        groups: of the users, int64 [U], if what is put into a history is to be what somebody of the same group has,
            wherever there is such; anything, items that nobody has among it, if None.
        source: with groups, the histories, of the same users, whose items single rows are drawn from; `sequences` if
            None.
        times: when items are had, as made by `order.times`, float32 [V]. With them bursts are of about the time of
            the place where they go, too; "insert-timely" looks for them itself if None.

    Raises:
        UsageError: if the kind or the rate is not possible, or `neighbours` is missing.
        InputError: if there is no history to put noise into, or none that is long enough.
    """
    check_choice("The kind of noise", kind, NOISE_KINDS)
    if not 0 < rate < 1:
        raise UsageError(f"The rate of noise is {rate}.", "Give a number between 0 and 1, such as 0.1.")
    if kind == "insert-similar" and neighbours is None:
        raise UsageError(
            'Noise of the kind "insert-similar" needs the texts of the items, and there are none.',
            f"Give item texts, or choose another kind: {', '.join(other for other in NOISE_KINDS if other != kind)}.",
        )
    lengths, history = _history_lengths(sequences, hold_out), np.flatnonzero(in_history(sequences, hold_out))
    if not len(history):
        raise InputError(
            f"There is no history to put noise into: the longest has {sequences.lengths.max(initial=0)} interactions, "
            f"the last {hold_out} of each stay as they are, and at least three are needed.",
            "Give a log with longer histories.",
        )
    generator = np.random.default_rng(seed)
    wanted = round(rate * len(history))
    if kind == "insert-burst":
        users, slots, items = _bursts(sequences, lengths, history, wanted, generator, groups, times)
        return _inserted(sequences, users, slots, items)
    if kind == "insert-account":
        users, slots, items = _accounts(sequences, lengths, wanted, generator, groups)
        return _inserted(sequences, users, slots, items)
    if kind == "insert-timely" and times is None:
        times = item_times(sequences, np.ones(len(sequences.lengths), dtype=bool))
    draw = _item_drawer(sequences, kind, lengths, neighbours, hold_out, groups, source or sequences, times, generator)
    if kind in {"replace-uniform", "replace-history"}:
        if kind == "replace-uniform":
            places = generator.choice(history, wanted, replace=False)
        else:
            order = generator.permutation(np.flatnonzero(lengths >= LONG_HISTORY))
            if not len(order):
                raise InputError(
                    f"There is no history of {LONG_HISTORY} interactions or more, all of which could be replaced: the "
                    f"longest has {lengths.max()}, without the last {hold_out} of each.",
                    "Choose another kind of noise.",
                )
            before = np.cumsum(lengths[order]) - lengths[order]
            places = history[np.isin(sequences.user_index[history], order[before < wanted])]
        items = _new_items(sequences, sequences.user_index[places], places, draw, groups)
        return _replaced(sequences, places[items > 0], items[items > 0])
    users = sequences.user_index[generator.choice(history, wanted)]
    slots = _slots(sequences, lengths, users, generator)
    items = _new_items(sequences, users, slots, draw, groups)
    return _inserted(sequences, users[items > 0], slots[items > 0], items[items > 0])


def in_history(sequences: Sequences, hold_out: int = 2) -> np.ndarray:
    """Return which interactions are of a history that noise is put into, or are such noise, bool [N]; see `inject`."""
    return positions(sequences.lengths) < _history_lengths(sequences, hold_out)[sequences.user_index]


def _history_lengths(sequences: Sequences, hold_out: int) -> np.ndarray:
    """Return how many interactions each user's history has, int64 [U]."""
    return np.where(sequences.lengths >= SHORTEST_HISTORY, np.maximum(sequences.lengths - hold_out, 0), 0)


def nearest_in_text(vectors: np.ndarray, known: np.ndarray, k: int = 50) -> np.ndarray:
    """Return for each item the codes of the k items nearest in text, nearest first, int64 [V + 1, k].

    Nearness is the cosine of the vectors; an item is not its own neighbour. Items without text have no neighbours and
    are nobody's; where there are fewer than k neighbours, zeros fill the row.

    Args:
        vectors: a vector per item code, float [V + 1, S]; row 0 is padding.
        known: which codes have a text, bool [V + 1]; code 0 never has.
        k: neighbours per item.
    """
    nearest = np.zeros((len(vectors), k), dtype=np.int64)
    codes = np.flatnonzero(known[1:]) + 1
    found = min(k, len(codes) - 1)
    if found < 1:
        return nearest
    unit = vectors[codes].astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    size = max(1, _SIMILARITIES_AT_ONCE // len(codes))
    for start in range(0, len(codes), size):
        # The last bits of a product depend on the number of threads, and items with one text must stay equal.
        cosines = np.round(unit[start : start + size] @ unit.T, 9)
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        # Sorted by code first, so that equal cosines stand in the order of their codes.
        top = np.sort(np.argpartition(cosines, len(codes) - found, axis=1)[:, -found:], axis=1)
        order = np.argsort(-np.take_along_axis(cosines, top, axis=1), axis=1, kind="stable")
        nearest[codes[start + rows], :found] = codes[np.take_along_axis(top, order, axis=1)]
    return nearest


def _item_drawer(
    sequences: Sequences,
    kind: str,
    lengths: np.ndarray,
    neighbours: np.ndarray | None,
    hold_out: int,
    groups: np.ndarray | None,
    source: Sequences,
    times: np.ndarray | None,
    generator: np.random.Generator,
) -> _Draw:
    """Return the function that draws items as a kind does."""
    codes = sequences.codes
    held = source.codes
    of_groups, distinct, trained = (np.zeros(0, dtype=np.int64),) * 3
    timed: list[_Timed] = []
    if groups is not None and kind not in {"insert-popular", "insert-timely"}:
        # One row of each item of each group.
        of_groups, distinct = np.unique(_keys(source, groups[source.user_index], held), return_index=True)
    if kind in {"insert-popular", "insert-timely", "replace-history"}:
        trained = np.flatnonzero(positions(source.lengths) < source.train_lengths(hold_out)[source.user_index])
    if kind == "insert-timely":
        assert times is not None
        timed = [_Timed.of(source, trained, times, each, generator) for each in (None, groups)]

    def of_rows(rows: np.ndarray, users: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        found: np.ndarray = held[_from_group(rows, source.user_index[rows], users, own, generator)]
        return found

    def evenly(users: np.ndarray, places: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        if groups is None:
            return generator.integers(1, len(sequences.items), size=len(users), endpoint=True)
        return of_rows(distinct, users, own)

    # A random interaction of the training part holds an item with a probability proportional to its count there.
    def by_popularity(users: np.ndarray, places: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        return of_rows(trained, users, own)

    def of_bots(users: np.ndarray, places: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        return np.where(users % 2, by_popularity(users, places, own), evenly(users, places, own))

    def like_in_text(users: np.ndarray, places: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        assert neighbours is not None
        given = codes[sequences.offsets[users] + generator.integers(lengths[users])]
        near = neighbours[given, generator.integers(neighbours.shape[1], size=len(users))]
        return near if own is None else np.where(_contains(of_groups, _keys(source, own[users], near)), near, 0)

    def at_the_time(users: np.ndarray, places: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        return np.append(held, 0)[timed[own is not None].draw(sequences, lengths, users, places, generator)]

    drawers = {
        "insert-popular": by_popularity,
        "insert-timely": at_the_time,
        "insert-similar": like_in_text,
        "replace-history": of_bots,
    }
    return drawers.get(kind, evenly)


@dataclass(frozen=True)
class _Timed:
    """Rows in the order of the times of their items, apart for each group of users.

    Attributes:
        times: when items are had, float32 [V].
        groups: of users, int64 [U].
        rows: flat indices, int64 [m].
        place: the group of each and half its time, ascending, float64 [m].
    """

    times: np.ndarray
    groups: np.ndarray
    rows: np.ndarray
    place: np.ndarray

    @classmethod
    def of(
        cls,
        source: Sequences,
        rows: np.ndarray,
        times: np.ndarray,
        groups: np.ndarray | None,
        generator: np.random.Generator,
    ) -> "_Timed":
        """Return rows [m] of a log; all users are of one group if there are no groups [U]."""
        groups = np.zeros(len(source.lengths), dtype=np.int64) if groups is None else groups
        when = times[source.codes[rows] - 1].astype(np.float64)
        # There may be at any time what nobody knows the time of.
        when = np.where(np.isnan(when), generator.random(len(when)), when)
        place = groups[source.user_index[rows]] + when / 2
        order = np.argsort(place, kind="stable")
        return cls(times, groups, rows[order], place[order])

    def draw(
        self,
        sequences: Sequences,
        lengths: np.ndarray,
        users: np.ndarray,
        slots: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Draw for each of users [n] a row of their group of about the time of a slot [n], int64 [n], or -1.

        That is between the times of the items before and after it, any time where neither has one. Histories are the
        first `lengths` [U] interactions of users.
        """
        start = sequences.offsets[users]
        beside = np.clip([slots - 1, slots], start, start + lengths[users] - 1)
        one, other = self.times[sequences.codes[beside] - 1].astype(np.float64)
        one, other = np.where(np.isnan(one), other, one), np.where(np.isnan(other), one, other)
        time = one + generator.random(len(users)) * (other - one)
        time = np.where(np.isnan(time), generator.random(len(users)), time)
        group = self.groups[users]
        first, end = np.searchsorted(self.place, group), np.searchsorted(self.place, group + 0.75)
        reach = np.maximum(_LEAST_AT_A_TIME, (end - first) * _AT_A_TIME)
        # Further away, too, the more rarely: who has all that there is gets something else.
        away = reach * generator.standard_cauchy(len(users))
        place = np.rint(np.searchsorted(self.place, group + time / 2) + away)
        found = np.append(self.rows, -1)[np.clip(place, first, np.maximum(first, end - 1)).astype(np.int64)]
        return np.where(first < end, found, -1)


def _slots(sequences: Sequences, lengths: np.ndarray, users: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw for each of users [n] the flat index before which noise goes, int64 [n]: in the history or at its end."""
    return sequences.offsets[users] + generator.integers(lengths[users], endpoint=True)


def _new_items(
    sequences: Sequences, users: np.ndarray, places: np.ndarray, draw: _Draw, groups: np.ndarray | None
) -> np.ndarray:
    """Draw for each of users [n] an item that they neither have nor were given; codes [n], 0 where none was found.

    It goes to places [n] of their histories, flat indices.

    Of their own group's items first, and where these do not do, of all.
    """
    items = np.zeros(len(users), dtype=np.int64)
    taken = _owned(sequences)
    pending = np.arange(len(users))
    for attempt in range(_ROUNDS):
        if not len(pending):
            break
        drawn = draw(users[pending], places[pending], groups if attempt < _ROUNDS // 2 else None)
        keys = _keys(sequences, sequences.people[users[pending]], drawn)
        accepted = (drawn > 0) & _is_first(keys) & ~_contains(taken, keys)
        items[pending[accepted]] = drawn[accepted]
        taken = np.sort(np.concatenate([taken, keys[accepted]]))
        pending = pending[~accepted]
    return items


def _bursts(
    sequences: Sequences,
    lengths: np.ndarray,
    history: np.ndarray,
    wanted: int,
    generator: np.random.Generator,
    groups: np.ndarray | None,
    times: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw bursts until there are `wanted` rows, or one more; the users, slots and items of the rows, int64 [n] each.

    A burst starts at a random history interaction that another follows, has 2 to 5 interactions as far as that
    history goes, and leaves out what the user has, so that nothing is left of a burst from the user's own history.
    One with fewer than two items left, or with an item twice, is dropped for another. With times of items, [V], its
    first item is one of the time.
    """
    owner = sequences.user_index
    remaining = sequences.offsets[owner] + lengths[owner] - np.arange(len(owner))
    starts = history[remaining[history] >= _SHORTEST_BURST]
    timed = None if times is None else _Timed.of(sequences, starts, times, groups, generator)
    taken = _owned(sequences)
    rows = [np.zeros((3, 0), dtype=np.int64)]
    missing = wanted
    for _ in range(_ROUNDS):
        if missing <= 0 or not len(starts):
            break
        count = -(-missing // _SHORTEST_BURST)
        users = owner[generator.choice(history, count)]
        slots = _slots(sequences, lengths, users, generator)
        first = _from_group(starts, owner[starts], users, groups, generator)
        if timed is not None:
            at_the_time = timed.draw(sequences, lengths, users, slots, generator)
            first = np.where(at_the_time < 0, first, at_the_time)
        size = generator.integers(_SHORTEST_BURST, _LONGEST_BURST, size=count, endpoint=True)
        flat, chosen = Windows(first, np.minimum(size, remaining[first])).grid()
        items = sequences.codes[flat]
        keys = _keys(sequences, sequences.people[users[:, None]], items)
        chosen &= ~_contains(taken, keys)
        chosen &= (chosen.sum(axis=1) >= _SHORTEST_BURST)[:, None]
        # A burst that shares an item with one before goes as a whole: to leave the item out would be wrong where the
        # one before goes too.
        shared = np.zeros_like(chosen)
        shared[chosen] = ~_is_first(keys[chosen])
        chosen &= ~shared.any(axis=1, keepdims=True)
        # The last burst is cut short where the wanted number is reached, but not below two rows.
        rank = np.cumsum(chosen).reshape(chosen.shape) - 1
        chosen &= rank - (np.cumsum(chosen, axis=1) == 2) < missing
        burst, _ = np.nonzero(chosen)
        rows.append(np.stack([users[burst], slots[burst], items[chosen]]))
        taken = np.sort(np.concatenate([taken, keys[chosen]]))
        missing -= len(burst)
    users, slots, items = np.concatenate(rows, axis=1)
    return users, slots, items


def _accounts(
    sequences: Sequences,
    lengths: np.ndarray,
    wanted: int,
    generator: np.random.Generator,
    groups: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw second users of accounts until there are `wanted` rows; users, slots and items of the rows, int64 [n] each.

    No user is host to more than one other. Of the other's history, from its start on, those items come that the host
    does not have, in their order; no fewer than two. Between two of them some of the host's may stand: how often is
    drawn for each account anew.
    """
    hosts = generator.permutation(np.flatnonzero(lengths * _PART_OF_ACCOUNT >= 2))
    others = np.flatnonzero(lengths >= 2)
    taken = _owned(sequences)
    rows = [np.zeros((3, 0), dtype=np.int64)]
    missing = wanted
    while missing > 0 and len(hosts):
        count = -(-missing // 2)
        users, hosts = hosts[:count], hosts[count:]
        other = _from_group(others, others, users, groups, generator)
        most = np.minimum((lengths[users] * _PART_OF_ACCOUNT).astype(np.int64), _LONGEST_ACCOUNT)
        flat, chosen = Windows(sequences.offsets[other], np.minimum(lengths[other], most)).grid()
        items = sequences.codes[flat]
        keys = _keys(sequences, sequences.people[users[:, None]], items)
        chosen &= ~_contains(taken, keys)
        chosen[chosen] = _is_first(keys[chosen])
        chosen &= (chosen.sum(axis=1) >= 2)[:, None]
        chosen &= (np.cumsum(chosen.sum(axis=1)) - chosen.sum(axis=1) < missing)[:, None]
        account, _ = np.nonzero(chosen)
        slots = _slots(sequences, lengths, users[account], generator)
        slots = slots[np.lexsort((slots, account))]
        # All rows of a run go where its first one does.
        begins = np.diff(account, prepend=-1) > 0
        begins |= generator.random(len(account)) < generator.random(len(users))[account]
        slots = slots[np.maximum.accumulate(np.where(begins, np.arange(len(account)), 0))]
        rows.append(np.stack([users[account], slots, items[chosen]]))
        missing -= len(account)
    users, slots, items = np.concatenate(rows, axis=1)
    return users, slots, items


def _from_group(
    choices: np.ndarray, owner: np.ndarray, users: np.ndarray, groups: np.ndarray | None, generator: np.random.Generator
) -> np.ndarray:
    """Draw for each of users [n] one of the choices [m], which are of users `owner` [m]: one of the own group's.

    One of all for users in whose group there is none, and where there are no groups.
    """
    if groups is None:
        drawn: np.ndarray = generator.choice(choices, len(users))
        return drawn
    order = np.argsort(groups[owner], kind="stable")
    first = np.searchsorted(groups[owner], groups[users], "left", order)
    beyond = np.searchsorted(groups[owner], groups[users], "right", order)
    first, beyond = np.where(beyond > first, (first, beyond), [[0], [len(order)]])
    found: np.ndarray = choices[order[generator.integers(first, beyond)]]
    return found


def _keys(sequences: Sequences, people: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return one number for each pair of a person, or of a group, and an item code."""
    return people * (len(sequences.items) + 1) + items


def _owned(sequences: Sequences) -> np.ndarray:
    """Return the keys of all pairs of person and item in the log, sorted, int64 [N]."""
    return np.sort(_keys(sequences, sequences.people[sequences.user_index], sequences.codes))


def _contains(taken: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return which keys are in `taken` (sorted, not empty), bool of the shape of `keys`."""
    return taken[np.minimum(np.searchsorted(taken, keys), len(taken) - 1)] == keys


def _is_first(keys: np.ndarray) -> np.ndarray:
    """Return which keys [n] are the first of their kind, bool [n]."""
    first = np.zeros(len(keys), dtype=bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first


def _inserted(sequences: Sequences, users: np.ndarray, slots: np.ndarray, items: np.ndarray) -> Noisy:
    """Insert items [n] of users [n] before flat indices `slots` [n]; those that share a slot keep their order."""
    clean = np.arange(len(sequences.codes))
    # By user first: the slot after one user's last interaction is the index of the next user's first.
    by_user = np.concatenate([users, sequences.user_index])
    order = np.lexsort((np.concatenate([slots, clean]), by_user))
    codes = np.concatenate([items, sequences.codes])[order]
    origin = np.concatenate([np.full(len(items), -1), clean])[order]
    lengths = sequences.lengths + np.bincount(users, minlength=len(sequences.lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.arange(len(codes))
    return Noisy(replace(sequences, codes=codes, row_ids=rows, offsets=offsets), origin < 0, origin)


def _replaced(sequences: Sequences, places: np.ndarray, items: np.ndarray) -> Noisy:
    """Put items [n] in the place of the interactions at flat indices `places` [n]."""
    codes = sequences.codes.copy()
    codes[places] = items
    origin = np.arange(len(codes))
    is_noise = np.zeros(len(codes), dtype=bool)
    is_noise[places] = True
    return Noisy(replace(sequences, codes=codes, row_ids=origin.copy()), is_noise, origin)
