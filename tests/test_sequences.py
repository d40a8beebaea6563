from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from histories import make
from hypothesis import given, settings
from hypothesis import strategies as st

from iadsr_cli.errors import InputError
from iadsr_cli.noise import inject
from iadsr_cli.sequences import (
    Sequences,
    bucketed_batches,
    check_trainable,
    last_windows,
    make_sequences,
    scoring_windows,
    training_windows,
)

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=20).map(np.array)


def of(users: list, items: list, order: list[int] | None = None, vocabulary: pa.Array | None = None) -> Sequences:
    times = None if order is None else np.array(order)
    return make_sequences(pa.array(users, pa.large_string()), pa.array(items, pa.large_string()), times, vocabulary)


def test_rows_are_ordered_by_time_and_ties_by_row() -> None:
    sequences = of(["a", "b", "a", "a", "b"], list("vwxyz"), [5, 1, 5, 2, 0])
    assert sequences.row_ids.tolist() == [3, 0, 2, 4, 1]
    assert sequences.offsets.tolist() == [0, 3, 5]
    assert [sequences.items[code - 1].as_py() for code in sequences.codes] == ["y", "v", "x", "z", "w"]


def test_without_times_the_order_is_the_files() -> None:
    assert of(["b", "a", "b", "a"], list("wxyz")).row_ids.tolist() == [0, 2, 1, 3]


def test_rows_without_ids_and_unknown_items_take_no_part() -> None:
    users, items = ["a", None, "a", "a", "b"], ["x", "x", None, "y", "q"]
    assert of(users, items).row_ids.tolist() == [0, 3, 4]
    known = of(users, items, vocabulary=pa.array(["y", "x"], pa.large_string()))
    assert known.row_ids.tolist() == [0, 3]
    assert known.codes.tolist() == [2, 1]


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("uvwxyz"), st.integers(-3, 3)), min_size=1, max_size=60
    )
)
def test_every_row_stands_in_exactly_one_sequence_in_its_users_order(rows: list[tuple[str, str, int]]) -> None:
    users, items, times = zip(*rows, strict=True)
    sequences = of(list(users), list(items), list(times))
    assert sorted(sequences.row_ids) == list(range(len(rows)))
    for first, end in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
        mine = sequences.row_ids[first:end]
        assert len({users[row] for row in mine}) == 1
        keys = [(times[row], row) for row in mine]
        assert keys == sorted(keys)
    found = [sequences.items[code - 1].as_py() for code in sequences.codes]
    assert found == [items[row] for row in sequences.row_ids]


@settings(deadline=None)
@given(lengths=LENGTHS, window=st.integers(2, 12))
def test_training_windows_cover_each_interaction_once(lengths: np.ndarray, window: int) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = np.ones(offsets[-1], np.int64)
    sequences = Sequences(pa.array(["i"]), codes, np.arange(len(codes)), offsets)
    ends = sequences.train_lengths(2)
    windows = training_windows(sequences, ends, window)
    flat, valid = windows.grid()
    covered = np.bincount(flat[valid], minlength=len(codes))
    inside = np.concatenate([np.arange(length) < end for length, end in zip(lengths, ends, strict=True)])
    assert covered.tolist() == inside.astype(int).tolist()
    assert windows.length.max() <= window


@settings(deadline=None)
@given(lengths=LENGTHS, window=st.integers(2, 12))
def test_scoring_windows_judge_each_interaction_once_with_half_a_window_of_past(
    lengths: np.ndarray, window: int
) -> None:
    windows, context = scoring_windows(lengths, window)
    flat, valid = windows.grid()
    step = np.arange(flat.shape[1])
    owned = valid & (step >= context[:, None])
    assert np.bincount(flat[owned], minlength=lengths.sum()).tolist() == [1] * lengths.sum()
    owner = np.repeat(np.arange(len(lengths)), lengths)
    assert (owner[flat] == owner[windows.start][:, None]).all(), "a window reaches into another user"
    place = flat - np.concatenate([[0], np.cumsum(lengths)])[owner[windows.start]][:, None]
    seen = np.where(owned, step, window)
    assert (seen[owned] >= np.minimum(place[owned], window - max(1, window // 2))).all()


def test_last_windows_end_before_the_item_to_predict() -> None:
    sequences = of(["a"] * 5 + ["b"] * 3, list("vwxyzvwx"))
    windows = last_windows(sequences, sequences.lengths - 1, 3)
    assert windows.start.tolist() == [1, 5]
    assert windows.length.tolist() == [3, 2]


@settings(deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 8), seed=st.integers(0, 99))
def test_batches_hold_every_window_once_and_keep_their_bounds(lengths: np.ndarray, size: int, seed: int) -> None:
    batches = list(bucketed_batches(lengths, size, 50, np.random.default_rng(seed)))
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= size
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= 50


def test_two_items_are_held_out_of_histories_that_can_spare_them() -> None:
    sequences = of(["a"] * 2 + ["b"] * 3 + ["c"] * 9, list("vw" + "vwx" + "abcdefghi"))
    assert sequences.train_lengths(2).tolist() == [2, 1, 7]
    assert sequences.counts(sequences.train_lengths(2)).sum() == 10


def test_the_digest_is_of_the_sequences_and_not_of_the_file() -> None:
    first = of(["a", "a", "b"], ["x", "y", "x"], [1, 2, 3])
    later = of(["A", "A", "B"], ["x", "y", "x"], [10, 20, 30])
    swapped = of(["a", "a", "b"], ["x", "y", "x"], [2, 1, 3])
    assert first.digest() == later.digest()
    assert first.digest() != swapped.digest()


def test_sessions_know_whose_they_are_whatever_is_left_of_them() -> None:
    sessions, people = (pa.array(ids, pa.large_string()) for ids in (["b#1", None, "a#1", "b#2", "a#1"], [*"bbaba"]))
    items = pa.array(["x", "y", None, "z", "x"], pa.large_string())
    sequences = make_sequences(sessions, items, None, people=people)
    assert sequences.people.tolist() == [0, 0, 1], "numbered by the rows that take part"
    assert sequences.where(sequences.codes > 1).people.tolist() == [0, 0, 1]
    assert make_sequences(sessions, items, None).people.tolist() == [0, 1, 2]
    owned = replace(make([[1, 2, 3, 4, 5], [6, 7, 8, 9, 1], [2, 4, 6, 8, 5]], 30), owners=np.array([0, 0, 1]))
    for kind in ("insert-uniform", "replace-uniform"):
        assert inject(owned, kind, 0.1, 0).sequences.people.tolist() == [0, 0, 1]


def test_sessions_of_one_person_are_no_users_to_learn_from() -> None:
    users = pa.array(["a#1"] * 3 + ["a#2"] * 3)
    sequences = make_sequences(users, pa.array([*"wxyxyz"]), None, people=pa.array(["a"] * 6))
    with pytest.raises(InputError, match=r"^log.csv has one user only, and what fits is learned by comparing users."):
        check_trainable(sequences, "log.csv")


@pytest.mark.parametrize(
    ("users", "items", "message", "hint"),
    [
        (["a"] * 4, list("wxyz"), "log.csv has one user only", "--user-column"),
        (["a", "a", "b", "b"], ["x"] * 4, "log.csv has one item only", "--item-column"),
        (["a", "a", "b"], list("xyz"), "no user with three or more interactions (the longest history has 2)", "longer"),
        ([None, None], list("xy"), "log.csv has no row with both a user and an item", "Give a log"),
    ],
)
def test_a_log_that_nothing_can_be_learned_from_is_refused(users: list, items: list, message: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        check_trainable(of(users, items), "log.csv")
    assert message in caught.value.message
    assert hint in caught.value.hint
