from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from iadsr_cli import noise
from iadsr_cli.config import NOISE_KINDS
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.noise import Noisy, inject, nearest_in_text
from iadsr_cli.order import times
from iadsr_cli.sequences import Sequences

KINDS = tuple(kind for kind in NOISE_KINDS if kind != "replace-history")  # that takes long histories
INSERTIONS = tuple(kind for kind in KINDS if kind.startswith("insert"))
RATES = st.sampled_from([0.05, 0.3, 0.9])
SEEDS = st.integers(0, 99)


def log(histories: list[list[int]], items: int) -> Sequences:
    """A log of these codes per user, over a catalogue of codes 1..items."""
    lengths = [len(history) for history in histories]
    codes = np.array([code for history in histories for code in history], dtype=np.int64)
    vocabulary = pa.array([f"i{code}" for code in range(1, items + 1)])
    return Sequences(vocabulary, codes, np.arange(len(codes)) + 1000, np.concatenate([[0], np.cumsum(lengths)]))


def some_neighbours(items: int) -> np.ndarray:
    vectors = np.random.default_rng(items).normal(size=(items + 1, 4))
    return nearest_in_text(vectors, np.arange(items + 1) % 5 != 3, k=4)


@st.composite
def logs(draw: st.DrawFn) -> Sequences:
    items = draw(st.integers(2, 40))
    histories = draw(st.lists(st.lists(st.integers(1, items), min_size=1, max_size=12), min_size=1, max_size=8))
    assume(max(map(len, histories)) >= 3)
    return log(histories, items)


def noisy(clean: Sequences, kind: str, rate: float, seed: int = 0, hold_out: int = 2) -> Noisy:
    neighbours = some_neighbours(len(clean.items)) if kind == "insert-similar" else None
    return inject(clean, kind, rate, seed, neighbours, hold_out)


def by_user(sequences: Sequences, values: np.ndarray) -> list[list]:
    return [part.tolist() for part in np.split(values, sequences.offsets[1:-1])]


def histories(clean: Sequences) -> list[list[int]]:
    """Each user's interactions that noise may stand among: all but the last two of three and more."""
    return [codes[:-2] if len(codes) >= 3 else [] for codes in by_user(clean, clean.codes)]


@pytest.mark.parametrize("kind", INSERTIONS)
def test_noise_is_what_the_person_has_in_no_session(kind: str) -> None:
    generator = np.random.default_rng(1)
    clean = log([generator.permutation(np.arange(1, 31))[:8].tolist() for _ in range(40)], 30)
    clean = replace(clean, owners=np.arange(40) // 4)
    outcome = noisy(clean, kind, 0.3)
    has = {(person, code) for person, code in zip(clean.people[clean.user_index], clean.codes, strict=True)}
    sequences, rows = outcome.sequences, np.flatnonzero(outcome.is_noise)
    given_to = list(zip(sequences.people[sequences.user_index[rows]], sequences.codes[rows], strict=True))
    assert given_to
    assert not has & set(given_to)
    assert len(set(given_to)) == len(given_to)


def noise_runs(outcome: Noisy) -> Iterator[tuple[int, list[int]]]:
    """Each stretch of noise with nothing genuine in it: its user and its codes."""
    users = outcome.sequences.user_index
    edges = np.flatnonzero(np.diff(outcome.is_noise) | np.diff(users).astype(bool)) + 1
    for part in np.split(np.arange(len(users)), edges):
        if outcome.is_noise[part[0]]:
            yield int(users[part[0]]), outcome.sequences.codes[part].tolist()


@settings(deadline=None)
@given(clean=logs(), kind=st.sampled_from(INSERTIONS), rate=RATES, seed=SEEDS)
def test_a_log_with_insertions_is_the_clean_one_and_labelled_noise(
    clean: Sequences, kind: str, rate: float, seed: int
) -> None:
    outcome = noisy(clean, kind, rate, seed)
    genuine = ~outcome.is_noise
    assert outcome.sequences.codes[genuine].tolist() == clean.codes.tolist()
    assert outcome.sequences.user_index[genuine].tolist() == clean.user_index.tolist()
    assert outcome.origin[genuine].tolist() == list(range(len(clean.codes)))
    assert (outcome.origin[outcome.is_noise] == -1).all()


@settings(deadline=None)
@given(clean=logs(), rate=RATES, seed=SEEDS)
def test_replacement_changes_what_it_labels_and_nothing_else(clean: Sequences, rate: float, seed: int) -> None:
    outcome = noisy(clean, "replace-uniform", rate, seed)
    assert outcome.sequences.offsets.tolist() == clean.offsets.tolist()
    assert outcome.origin.tolist() == list(range(len(clean.codes)))
    assert ((outcome.sequences.codes != clean.codes) == outcome.is_noise).all()


@settings(deadline=None)
@given(clean=logs(), kind=st.sampled_from(KINDS), rate=RATES, seed=SEEDS)
def test_noise_stays_out_of_the_last_two_and_of_short_sequences(
    clean: Sequences, kind: str, rate: float, seed: int
) -> None:
    outcome = noisy(clean, kind, rate, seed)
    labels = by_user(outcome.sequences, outcome.is_noise)
    codes = by_user(outcome.sequences, outcome.sequences.codes)
    for before, after, noise_of_user in zip(by_user(clean, clean.codes), codes, labels, strict=True):
        assert after[-2:] == before[-2:]
        assert not any(noise_of_user[-2:])
        assert len(before) >= 3 or not any(noise_of_user)


@settings(deadline=None)
@given(clean=logs(), kind=st.sampled_from(KINDS), rate=RATES, seed=SEEDS)
def test_noise_is_new_to_its_user_and_never_the_same_twice(clean: Sequences, kind: str, rate: float, seed: int) -> None:
    outcome = noisy(clean, kind, rate, seed)
    had = by_user(clean, clean.codes)
    given_to: list[list[int]] = [[] for _ in had]
    for user, codes in noise_runs(outcome):
        given_to[user] += codes
    for before, added in zip(had, given_to, strict=True):
        assert not set(before) & set(added)
        assert len(added) == len(set(added))
        assert all(1 <= code <= len(clean.items) for code in added)


@settings(deadline=None)
@given(clean=logs(), kind=st.sampled_from(KINDS), rate=RATES, seed=SEEDS)
def test_the_same_arguments_give_the_same_noise(clean: Sequences, kind: str, rate: float, seed: int) -> None:
    first, second = noisy(clean, kind, rate, seed), noisy(clean, kind, rate, seed)
    assert first.sequences.digest() == second.sequences.digest()
    assert first.origin.tolist() == second.origin.tolist()
    assert first.sequences.items is clean.items
    assert first.sequences.row_ids.tolist() == list(range(len(first.is_noise)))
    assert len(first.origin) == len(first.is_noise) == len(first.sequences.codes) == first.sequences.offsets[-1]
    arrays = (first.origin, first.sequences.codes, first.sequences.row_ids, first.sequences.offsets)
    assert {array.dtype for array in arrays} == {np.dtype(np.int64)}


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_gives_other_noise_and_the_clean_log_stays_as_it_was(kind: str) -> None:
    clean = log([list(range(user, user + 12)) for user in range(1, 30)], 60)
    before = clean.digest()
    assert noisy(clean, kind, 0.3, seed=1).sequences.digest() != noisy(clean, kind, 0.3, seed=2).sequences.digest()
    assert clean.digest() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.00055, 0.05, 0.1, 0.3])
def test_the_rate_is_of_the_history_interactions(kind: str, rate: float) -> None:
    clean = log([[1, 2]] * 50 + [list(range(user, user + 12)) for user in range(1, 301)], 400)
    made = noisy(clean, kind, rate).is_noise.sum() - round(rate * 300 * 10)
    assert made in {"insert-burst": (0, 1), "insert-account": range(6)}.get(kind, (0,))


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_who_has_every_item_gets_no_noise(kind: str) -> None:
    clean = log([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 1, 2], [6, 5, 4, 3, 2, 1]], 6)
    outcome = noisy(clean, kind, 0.9)
    assert not outcome.is_noise.any()
    assert outcome.sequences.codes.tolist() == clean.codes.tolist()


@pytest.mark.parametrize("kind", ["insert-uniform", "replace-uniform"])
def test_longer_histories_get_more_noise_in_proportion(kind: str) -> None:
    # 40 and 4 history interactions.
    outcome = noisy(log([list(range(1, 43)), list(range(51, 57))] * 500, 3000), kind, 0.1)
    of_long, of_short = np.bincount(outcome.sequences.user_index[outcome.is_noise] % 2)
    assert of_short / (of_long + of_short) == pytest.approx(4 / 44, abs=0.02)


@pytest.mark.parametrize("kind", ["insert-uniform", "insert-burst"])
def test_insertions_go_anywhere_from_the_first_place_to_the_last_of_the_history(kind: str) -> None:
    # Each user has own items, so that nothing is rejected; 4 history interactions leave 5 slots.
    clean = log([list(range(6 * user + 1, 6 * user + 7)) for user in range(4000)], 24000)
    outcome = noisy(clean, kind, 0.1)
    passed = np.cumsum(~outcome.is_noise)[outcome.is_noise]
    slot = passed - 6 * outcome.sequences.user_index[outcome.is_noise]
    assert np.bincount(slot) / len(slot) == pytest.approx(np.full(5, 0.2), abs=0.05)


def test_replacements_go_to_every_place_of_the_history_alike() -> None:
    outcome = noisy(log([list(range(1, 7))] * 4000, 1000), "replace-uniform", 0.25)
    places = np.flatnonzero(outcome.is_noise) % 6
    assert np.bincount(places) / 4000 == pytest.approx(np.full(4, 0.25), abs=0.03)


def test_with_nothing_held_out_noise_may_come_last_and_is_still_its_users() -> None:
    clean = log([[1, 2, 3], [4, 5, 6], [7, 8, 9]] * 30, 9)
    outcome = noisy(clean, "insert-uniform", 0.5, hold_out=0)
    assert outcome.is_noise.sum() == 135
    labels = by_user(outcome.sequences, outcome.is_noise)
    assert any(noise_of_user[-1] for noise_of_user in labels)
    genuine = [
        [code for code, inserted in zip(codes, noise_of_user, strict=True) if not inserted]
        for codes, noise_of_user in zip(by_user(outcome.sequences, outcome.sequences.codes), labels, strict=True)
    ]
    assert genuine == by_user(clean, clean.codes)
    for codes in by_user(outcome.sequences, outcome.sequences.codes):
        assert len(codes) == len(set(codes)), "noise of the user before or after"


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_of_two_interactions_gets_no_noise_where_fewer_are_held_out(kind: str) -> None:
    outcome = noisy(log([[1, 2]] * 30 + [[3, 4, 5, 6]] * 30, 40), kind, 0.5, hold_out=1)
    # Nobody's history has two items together that another user lacks.
    assert kind in ("insert-burst", "insert-account") or outcome.is_noise.any()
    assert (outcome.sequences.user_index[outcome.is_noise] >= 30).all()


@pytest.mark.parametrize("kind", ["insert-uniform", "replace-uniform"])
def test_uniform_noise_is_uniform_over_what_the_user_does_not_have(kind: str) -> None:
    # The items of the log are far from equally popular; codes 8 to 12 occur nowhere.
    outcome = noisy(log([[1, 2, 3, 4, 5]] * 9000 + [[6, 7, 3, 4, 5]] * 1000, 12), kind, 0.5)
    users = outcome.sequences.user_index
    first = outcome.sequences.codes[outcome.is_noise & (users < 9000)]
    assert np.bincount(first, minlength=13) / len(first) == pytest.approx(np.r_[[0] * 6, [1 / 7] * 7], abs=0.012)
    last = outcome.sequences.codes[outcome.is_noise & (users >= 9000)]
    expected = np.array([0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]) / 7
    assert np.bincount(last, minlength=13) / len(last) == pytest.approx(expected, abs=0.035)


def test_popular_noise_follows_the_counts_in_the_training_part() -> None:
    # Items 1 to 4 stand in 1000 to 4000 histories; 5 and 6 are only ever held out, each by half of the users.
    popular = [[item, last, last] for item in range(1, 5) for last in (5, 6) for _ in range(500 * item)]
    outcome = noisy(log(popular + [[7, 5, 5]] * 6000, 8), "insert-popular", 0.2)
    drawn = outcome.sequences.codes[outcome.is_noise & (outcome.sequences.user_index >= len(popular))]
    expected = np.array([0, 1, 2, 3, 4, 0, 0, 0, 0]) / 10
    assert np.bincount(drawn, minlength=9) / len(drawn) == pytest.approx(expected, abs=0.04)
    assert set(outcome.sequences.codes[outcome.is_noise]) == {1, 2, 3, 4, 7}


def a_log_over_time() -> Sequences:
    """A log of 1,000 users, each with eight of 200 consecutive items in order."""
    generator = np.random.default_rng(0)
    starts = generator.integers(1, 402, 1_000)
    return log([(start + np.sort(generator.permutation(200)[:8])).tolist() for start in starts], 600)


def from_before(outcome: Noisy) -> float:
    """The median distance of noise from the genuine row before it, in codes."""
    sequences = outcome.sequences
    rows = np.arange(len(sequences.codes))
    before = np.maximum.accumulate(np.where(outcome.is_noise, 0, rows))
    own = outcome.is_noise & (sequences.user_index[before] == sequences.user_index)
    return float(np.median(np.abs(sequences.codes - sequences.codes[before])[own]))


def test_noise_of_its_time_is_of_the_items_that_others_have_then() -> None:
    clean = a_log_over_time()
    when = times(clean, np.ones(1_000, dtype=bool))
    outcome = noisy(clean, "insert-timely", 0.3)
    assert from_before(outcome) < 30
    given = inject(clean, "insert-timely", 0.3, 0, times=when)
    assert given.sequences.digest() == outcome.sequences.digest(), "they are those of the log"
    assert from_before(inject(clean, "insert-burst", 0.3, 0, times=when)) < 60
    for kind in ("insert-popular", "insert-burst"):
        assert from_before(noisy(clean, kind, 0.3)) > 90


def test_items_of_unknown_time_are_drawn_at_any() -> None:
    # Nobody has another item beside 601, and 602 has no place among the others.
    clean = a_log_over_time()
    histories = [*by_user(clean, clean.codes), *[[601, 601, 601]] * 100]
    outcome = noisy(log(histories, 602), "insert-timely", 0.3)
    drawn = outcome.sequences.codes[outcome.is_noise & (outcome.sequences.user_index < 1_000)]
    assert 0 < (drawn == 601).mean() < 0.2
    # Who has nothing else gets items of any time.
    alone = outcome.sequences.codes[outcome.is_noise & (outcome.sequences.user_index >= 1_000)]
    assert np.ptp(alone) > 400 and 602 not in outcome.sequences.codes


@settings(deadline=None)
@given(clean=logs(), rate=RATES, seed=SEEDS)
def test_similar_noise_is_a_neighbour_of_an_item_in_the_users_history(clean: Sequences, rate: float, seed: int) -> None:
    neighbours = some_neighbours(len(clean.items))
    own = histories(clean)
    for user, codes in noise_runs(inject(clean, "insert-similar", rate, seed, neighbours)):
        assert set(codes) <= set(neighbours[own[user]].ravel())


def test_similar_noise_is_drawn_among_all_neighbours_of_all_own_items() -> None:
    neighbours = np.zeros((13, 3), dtype=np.int64)
    neighbours[1], neighbours[2], neighbours[3] = [7, 8, 2], [9, 10, 0], [11, 12, 11]
    # 2 is the user's own, 0 is nothing, and 3 is held out, so that its neighbours do not count.
    outcome = inject(log([[1, 2, 3, 3]] * 4000, 12), "insert-similar", 0.4, 0, neighbours)
    drawn = np.bincount(outcome.sequences.codes[outcome.is_noise], minlength=13)
    assert np.flatnonzero(drawn).tolist() == [7, 8, 9, 10]
    assert drawn[7:11] / drawn.sum() == pytest.approx(np.full(4, 0.25), abs=0.03)


def test_similar_noise_is_left_out_where_the_user_has_every_candidate() -> None:
    neighbours = np.zeros((7, 2), dtype=np.int64)
    neighbours[1], neighbours[2], neighbours[3] = [2, 3], [1, 3], [4, 1]
    outcome = inject(log([[1, 2, 3, 3]] * 50 + [[3, 1, 1]] * 50, 6), "insert-similar", 0.9, 0, neighbours)
    assert outcome.is_noise.any()
    assert set(outcome.sequences.codes[outcome.is_noise]) == {4}
    assert (outcome.sequences.user_index[outcome.is_noise] >= 50).all()


def test_bursts_are_two_to_five_consecutive_items_of_another_users_history_in_one_place() -> None:
    # Every interaction has an item of its own, numbered through the log: a burst counts up by one.
    clean = log([list(range(12 * user + 1, 12 * user + 13)) for user in range(200)], 2400)
    outcome = noisy(clean, "insert-burst", 0.1)
    lengths = []
    for user, codes in noise_runs(outcome):
        for burst in np.split(codes, np.flatnonzero(np.diff(codes) != 1) + 1):
            donors, places = np.divmod(burst - 1, 12)
            assert len(set(donors)) == 1
            assert donors[0] != user
            assert places.max() < 10, "a held-out item was given away"
            lengths.append(len(burst))
    assert set(lengths) == {2, 3, 4, 5}


@pytest.mark.parametrize("seed", range(5))
def test_bursts_give_a_user_no_item_twice(seed: int) -> None:
    # Many bursts go to few users, within one round of drawing and from round to round.
    clean = log([list(range(1, 40)), list(range(40, 80)), list(range(50, 90)), list(range(60, 100))], 100)
    outcome = noisy(clean, "insert-burst", 0.7, seed)
    assert outcome.is_noise.sum() - round(0.7 * (37 + 3 * 38)) in (0, 1)
    for codes in by_user(outcome.sequences, outcome.sequences.codes):
        assert len(codes) == len(set(codes))


def is_made_of_bursts(run: list[int], donors: list[list[int]], user_has: set[int]) -> bool:
    """Whether `run` is pieces of 2 to 5 items, each from five consecutive ones of a donor less what the user has."""
    if not run:
        return True
    for size in range(2, min(5, len(run)) + 1):
        for donor in donors:
            for start in range(len(donor)):
                for end in range(start + size, min(start + 5, len(donor)) + 1):
                    left = [code for code in donor[start:end] if code in run[:size] or code not in user_has]
                    if left == run[:size] and is_made_of_bursts(run[size:], donors, user_has):
                        return True
    return False


@settings(deadline=None)
@given(clean=logs(), rate=RATES, seed=SEEDS)
def test_bursts_leave_out_what_the_user_has_and_nothing_else(clean: Sequences, rate: float, seed: int) -> None:
    outcome = noisy(clean, "insert-burst", rate, seed)
    own = histories(clean)
    after = by_user(outcome.sequences, outcome.sequences.codes)
    for user, run in noise_runs(outcome):
        donors = [history for other, history in enumerate(own) if other != user]
        assert is_made_of_bursts(run, donors, set(after[user]))


def test_who_shares_an_account_has_a_hundred_rows_at_most() -> None:
    clean = log([list(range(400 * user + 1, 400 * user + 401)) for user in range(5)], 2000)
    outcome = noisy(clean, "insert-account", 0.9)
    rows = np.bincount(outcome.sequences.user_index[outcome.is_noise])
    assert rows.max() == 100 < 2 / 3 * 398


@pytest.mark.parametrize("kind", ["insert-burst", "insert-account"])
def test_what_is_another_users_comes_from_one_of_the_same_group(kind: str) -> None:
    # Each group has items of its own, but for the last user, who is alone in theirs.
    groups = np.array([*np.arange(60) % 3, 9])
    clean = log([[*range(20 * group + 1, 20 * group + 21)][user % 5 :: 2] for user, group in enumerate(groups)], 200)
    outcome = inject(clean, kind, 0.3, 1, groups=groups)
    owner = outcome.sequences.user_index[outcome.is_noise]
    of = (outcome.sequences.codes[outcome.is_noise] - 1) // 20
    among = owner < 60
    assert np.bincount(groups[owner[among]]).min() > 20
    assert (of[among] == groups[owner[among]]).all()
    assert (of[~among] != 9).all(), "nobody else of the group: from any other"
    assert (inject(clean, kind, 0.3, 1).sequences.codes - 1 != outcome.sequences.codes - 1).any()


@pytest.mark.parametrize(
    "kind", ["insert-uniform", "insert-popular", "insert-timely", "insert-similar", "replace-history"]
)
def test_single_items_come_from_users_of_the_same_group(kind: str) -> None:
    # Each group has items of its own, more than any of its users; the last user is alone in theirs.
    groups = np.array([*np.arange(60) % 3, 9])
    own = [np.arange(60 * group + 1, 60 * group + 61) for group in groups]
    clean = log([items[(user + np.arange(25)) % 60].tolist() for user, items in enumerate(own)], 600)
    nearest = np.random.default_rng(0).integers(1, 601, (601, 200))
    outcome = inject(clean, kind, 0.3, 1, nearest if kind == "insert-similar" else None, groups=groups)
    owner = outcome.sequences.user_index[outcome.is_noise]
    of = (outcome.sequences.codes[outcome.is_noise] - 1) // 60
    among = owner < 60
    assert np.bincount(groups[owner[among]]).min() > 20
    assert (of[among] == groups[owner[among]]).mean() > 0.9, "but where all tries met with what the user has"
    # What is given as their source has it.
    elsewhere = replace(clean, codes=clean.codes % 60 + 301)
    if kind != "insert-similar":
        outcome = inject(clean, kind, 0.3, 1, groups=groups, source=elsewhere)
        assert (outcome.sequences.codes[outcome.is_noise] > 300).all()


def test_who_is_alone_in_a_group_gets_what_anyone_has() -> None:
    clean = log([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], 20)
    outcome = inject(clean, "insert-uniform", 0.5, 0, groups=np.arange(3))
    assert outcome.is_noise.sum() > 1
    assert outcome.sequences.codes.max() <= 12, "and nothing that nobody has"


def test_a_second_user_of_an_account_has_an_own_history_in_order_and_fewer_rows() -> None:
    # Every interaction has an item of its own, numbered through the log: user u has 20 u + 1 to 20 u + 20.
    clean = log([list(range(20 * user + 1, 20 * user + 21)) for user in range(400)], 8000)
    outcome = noisy(clean, "insert-account", 0.1)
    runs: dict[int, list[list[int]]] = {}
    for user, codes in noise_runs(outcome):
        runs.setdefault(user, []).append(codes)
    assert sum(len(codes) for own in runs.values() for codes in own) == pytest.approx(720, abs=12)
    for user, own in runs.items():
        codes = [code for run in own for code in run]
        other = (codes[0] - 1) // 20
        assert other != user
        assert codes == list(range(20 * other + 1, 20 * other + 13)), "12 rows for 18, from the start on"
    pieces = np.array([len(own) for own in runs.values()])
    assert pieces.min() == 1, "one moves in"
    assert pieces.max() > 6, "they take turns"


@settings(deadline=None)
@given(clean=logs(), rate=RATES, seed=SEEDS)
def test_a_second_user_brings_what_the_first_lacks(clean: Sequences, rate: float, seed: int) -> None:
    outcome = noisy(clean, "insert-account", rate, seed)
    given_to: dict[int, list[int]] = {}
    for user, codes in noise_runs(outcome):
        given_to.setdefault(user, []).extend(codes)
    had, others = by_user(clean, clean.codes), histories(clean)
    for user, codes in given_to.items():
        assert 2 <= len(codes) <= 2 * len(others[user]) / 3
        new = [list(dict.fromkeys(code for code in other if code not in had[user])) for other in others]
        assert any(codes == each[: len(codes)] for each in new)


def test_whole_histories_are_replaced_and_only_long_ones() -> None:
    # Long histories have items 1 to 29, short ones 30 to 129, and nobody has the other 470.
    short = [list(range(start, start + 10)) for start in range(30, 130, 10)]
    outcome = noisy(log([list(range(1, 30))] * 400 + short * 40, 600), "replace-history", 0.2)
    labels = by_user(outcome.sequences, outcome.is_noise)
    assert {sum(replaced) for replaced in labels} == {0, 27}, "all but the last two"
    assert not any(map(any, labels[400:]))
    assert outcome.is_noise.sum() == pytest.approx(0.2 * 400 * (27 + 8), abs=27)
    codes = by_user(outcome.sequences, outcome.sequences.codes)
    seen = [max(codes[user][:-2]) < 130 for user in range(400) if any(labels[user])]
    assert sum(seen) == pytest.approx(len(seen) / 2, rel=0.4), "half of them have what others have"


def test_without_a_long_history_none_is_replaced() -> None:
    with pytest.raises(InputError, match="no history of 20 interactions or more") as caught:
        noisy(log([list(range(1, 12))] * 9, 20), "replace-history", 0.2)
    assert "the longest has 9" in caught.value.message
    assert caught.value.hint == "Choose another kind of noise."


def test_a_burst_of_which_one_item_is_new_is_not_used() -> None:
    clean = log([[1, 2, 3, 4, 1, 2], [1, 5, 3, 4, 1, 2], [2, 1, 4, 3, 1, 2]], 9)
    outcome = noisy(clean, "insert-burst", 0.9)
    assert not outcome.is_noise.any()


def test_nearest_in_text_are_those_of_the_highest_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(61, 8)) * generator.uniform(0.1, 10, size=(61, 1))
    known = np.ones(61, dtype=bool)
    known[[0, 5, 17]] = False
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    cosines[:, ~known] = -np.inf
    expected = np.argsort(-cosines, axis=1)[:, :7]
    expected[~known] = 0
    assert nearest_in_text(vectors, known, k=7).tolist() == expected.tolist()
    monkeypatch.setattr(noise, "_SIMILARITIES_AT_ONCE", 58 * 9)
    assert nearest_in_text(vectors, known, k=7).tolist() == expected.tolist()


def test_nearest_in_text_of_few_items_is_filled_with_zeros() -> None:
    vectors = np.array([[9, 9], [1, 0], [0, 1], [2, 0.1], [1, 0]])
    nearest = nearest_in_text(vectors, np.array([True, True, True, True, False]), k=3)
    assert nearest.dtype == np.int64
    assert nearest.tolist() == [[0, 0, 0], [3, 2, 0], [3, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert not nearest_in_text(vectors, np.array([True, True, False, False, False])).any()
    assert not nearest_in_text(vectors, np.zeros(5, dtype=bool)).any()


def test_equal_texts_are_neighbours_in_the_order_of_their_codes() -> None:
    # The vector of a text without a known word is zero, and so are its cosines.
    vectors = np.array([[0, 0], [1, 0], [2, 0], [0, 0], [4, 0]])
    assert nearest_in_text(vectors, np.ones(5, dtype=bool), k=3).tolist()[1:] == [
        [2, 4, 3],
        [1, 4, 3],
        [1, 2, 4],
        [1, 2, 3],
    ]


def test_sums_in_another_order_change_no_neighbour() -> None:
    # As with another number of threads: cosines to items with one text then differ in their last bits.
    vectors = np.random.default_rng(0).normal(size=(40, 384)).astype(np.float32)
    vectors = np.concatenate([vectors[:1], np.tile(vectors[1:], (5, 1))])
    known = np.ones(len(vectors), dtype=bool)
    assert nearest_in_text(vectors, known).tolist() == nearest_in_text(vectors[:, ::-1], known).tolist()


@pytest.mark.parametrize(
    ("error", "kind", "rate", "message", "hint"),
    [
        (UsageError, "insert-unifrom", 0.1, 'noise cannot be "insert-unifrom"', "Nearest: insert-uniform."),
        (UsageError, "blur", 0.1, 'noise cannot be "blur"', f"Allowed: {', '.join(NOISE_KINDS)}."),
        (UsageError, "insert-uniform", 0.0, "The rate of noise is 0.0.", "between 0 and 1"),
        (UsageError, "insert-uniform", 1.0, "The rate of noise is 1.0.", "between 0 and 1"),
        (UsageError, "insert-uniform", float("nan"), "The rate of noise is nan.", "between 0 and 1"),
        (UsageError, "insert-similar", 0.1, '"insert-similar" needs the texts of the items', "insert-burst"),
        (InputError, "replace-history", 0.1, "There is no history to put noise into", "longer histories"),
        (InputError, "insert-uniform", 0.1, "the longest has 2 interactions, the last 2 of each", "longer histories"),
    ],
)
def test_noise_that_cannot_be_made_is_refused(
    error: type[UsageError], kind: str, rate: float, message: str, hint: str
) -> None:
    with pytest.raises(error) as caught:
        inject(log([[1, 2], [3, 4]], 9), kind, rate, 0)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_three_interactions_are_not_enough_where_three_are_held_out() -> None:
    with pytest.raises(InputError, match="the longest has 3 interactions, the last 3 of each stay as they are"):
        inject(log([[1, 2, 3]], 9), "insert-uniform", 0.5, 0, hold_out=3)
