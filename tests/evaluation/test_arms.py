from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iadsr_cli.config import DecisionSettings
from iadsr_cli.errors import EvaluationError
from iadsr_cli.evaluation import arms
from iadsr_cli.sequences import Sequences

ITEMS = 12
DECISION = DecisionSettings(max_user_share=1.0)


def sequences_of(*histories: list[int]) -> Sequences:
    codes = np.concatenate([np.array(history, dtype=np.int64) for history in histories])
    rows = np.random.default_rng(0).permutation(len(codes))
    return Sequences(pa.array([str(i) for i in range(ITEMS)]), codes, rows, np.cumsum([0, *map(len, histories)]))


def histories_of(sequences: Sequences) -> list[list[int]]:
    return [part.tolist() for part in np.split(sequences.codes, sequences.offsets[1:-1])]


LOG = sequences_of([1, 2, 3, 4, 5], [6, 7], [8, 9, 10], [1, 3, 5, 7, 9, 11])


def test_the_training_part_is_all_but_validation_item_and_target() -> None:
    assert histories_of(arms.training_part(LOG)) == [[1, 2, 3], [6, 7], [8], [1, 3, 5, 7]]


def test_each_arm_loses_what_it_should_and_no_target() -> None:
    part = arms.training_part(LOG)
    removed = np.isin(np.arange(len(part.codes)), [1, 7])
    made = {arm.name: arm for arm in arms.make_arms(LOG, removed, DECISION, 0, is_noise=~removed)}
    assert list(made) == ["raw", "cleaned training", "cleaned training and history", "random removal", "oracle"]
    cleaned = [[1, 3, 4, 5], [6, 7], [8, 9, 10], [1, 5, 7, 9, 11]]
    assert histories_of(made["raw"].training) == histories_of(made["raw"].history) == histories_of(LOG)
    assert histories_of(made["cleaned training"].training) == cleaned
    assert histories_of(made["cleaned training"].history) == histories_of(LOG)
    assert histories_of(made["cleaned training and history"].history) == cleaned
    assert len(made["random removal"].training.codes) == len(LOG.codes) - 2
    assert histories_of(made["oracle"].training) == [[2, 4, 5], [7], [8, 9, 10], [3, 9, 11]]
    assert histories_of(made["oracle"].history) == histories_of(made["oracle"].training)
    assert histories_of(made["random removal"].history) == histories_of(made["random removal"].training)


def test_of_who_loses_everything_one_row_is_left_to_rank_by() -> None:
    part = arms.training_part(LOG)
    removed = np.isin(part.user_index, [0, 2, 3])
    made = {arm.name: arm for arm in arms.make_arms(LOG, removed, DECISION, 0, is_noise=removed)}
    left = [[3, 4, 5], [6, 7], [8, 9, 10], [7, 9, 11]]
    assert histories_of(made["cleaned training"].training) == left
    assert histories_of(made["cleaned training"].history) == histories_of(LOG)
    assert histories_of(made["cleaned training and history"].history) == left
    assert histories_of(made["oracle"].training) == left


def test_as_many_rows_go_at_random_as_with_bots_that_go_whole() -> None:
    long = sequences_of(*([*range(1, 13)] for _ in range(6)))
    removed = arms.training_part(long).user_index == 2
    made = {arm.name: arm for arm in arms.make_arms(long, removed, DECISION, 0)}
    for name in ("cleaned training", "random removal"):
        assert len(made[name].training.codes) == len(long.codes) - 9


@pytest.mark.parametrize("bots", [3, 5])
def test_where_users_may_lose_less_than_bots_did_as_many_rows_go_at_random(bots: int) -> None:
    long = sequences_of(*([*range(1, 13)] for _ in range(8)))
    removed = arms.training_part(long).user_index < bots
    for seed in range(5):
        limits = DecisionSettings(max_user_share=0.3)
        made = {arm.name: arm for arm in arms.make_arms(long, removed, limits, seed)}
        for name in ("cleaned training", "random removal"):
            assert len(made[name].training.codes) == len(long.codes) - 9 * bots


def test_random_removal_leaves_everyone_something_to_rank_by() -> None:
    long = sequences_of([1, 2, 3], *([*range(1, 13)] for _ in range(2)))
    removed = np.ones(21, dtype=bool)
    for seed in range(5):
        settings = DecisionSettings(max_user_share=1.0, min_user_rows=0, min_item_rows=0)
        arm = arms.make_arms(long, removed, settings, seed)[3]
        assert arms.training_part(arm.training).lengths.min() == 1


def test_limits_are_those_of_whole_histories_and_budgets_of_the_training_part() -> None:
    noise = np.array([0.9, 0.1, 0.8, np.nan, 0.9, 0.9, 0.1, 0.1, 0.8, 0.7])
    limits = DecisionSettings(max_user_share=0.34, min_item_rows=0)
    removed = np.flatnonzero(~arms.decide_on_training(noise, LOG, limits).keep)
    assert removed.tolist() == [0, 8, 9], "5 rows * 0.34, 2 and 3 are too few to lose any, 6 rows * 0.34"
    budget = DecisionSettings(max_user_share=0.5, min_user_rows=3, budget="30%")
    assert (~arms.decide_on_training(noise, LOG, budget).keep).sum() == 3, "of the 10 rows that may go"


def test_an_item_keeps_a_row_of_the_training_part() -> None:
    settings = DecisionSettings(max_user_share=1.0, min_user_rows=0)
    removed = np.flatnonzero(~arms.decide_on_training(np.full(10, 0.9), LOG, settings).keep)
    assert removed.tolist() == [0, 2, 4], (
        "of items 1, 3 and 7 the last stays; that 5 is a target too counts for nothing"
    )


def test_random_removal_keeps_to_the_protections() -> None:
    removed = np.arange(10) == 7
    settings = DecisionSettings(max_user_share=1.0, min_user_rows=5)
    for seed in range(20):
        arm = arms.make_arms(LOG, removed, settings, seed)[3]
        lengths = arms.training_part(arm.training).lengths
        assert lengths.tolist() == [3, 2, 1, 3], "only the last user has a row to spare"


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=8),
    limits=st.sampled_from([(0.3, 3, 1), (1.0, 0, 0), (0.5, 1, 1), (1.0, 0, 2)]),
    seed=st.integers(0, 99),
)
def test_as_many_rows_go_at_random_as_by_any_decision(lengths: list[int], limits: tuple, seed: int) -> None:
    generator = np.random.default_rng(seed)
    log = sequences_of(*(generator.integers(1, ITEMS + 1, length).tolist() for length in lengths))
    part = arms.training_part(log)
    names = ("max_user_share", "min_user_rows", "min_item_rows")
    decision = DecisionSettings(threshold=0.3, **dict(zip(names, limits, strict=True)))
    removed = ~arms.decide_on_training(generator.random(len(part.codes)), log, decision).keep
    made = {arm.name: arm for arm in arms.make_arms(log, removed, decision, seed)}
    left = [len(made[name].training.codes) for name in ("cleaned training", "random removal")]
    assert left[0] == left[1]


def test_seeds_remove_other_rows() -> None:
    long = sequences_of(list(range(1, 13)), list(range(12, 0, -1)))
    removed = np.isin(np.arange(20), [1, 2, 3, 4])
    drawn = {tuple(arms.make_arms(long, removed, DECISION, seed)[3].training.row_ids) for seed in range(8)}
    assert len(drawn) > 4
    again = arms.make_arms(long, removed, DECISION, 3)[3].training.row_ids
    assert np.array_equal(again, arms.make_arms(long, removed, DECISION, 3)[3].training.row_ids)


def test_a_target_in_the_training_part_is_caught() -> None:
    raw = arms.make_arms(LOG, np.zeros(10, dtype=bool), DECISION, 0)[0]
    arms.check_hidden(raw, LOG)
    # The first user's validation item and target stand in their history once more.
    leaking = np.insert(np.arange(len(LOG.codes)), 0, [3, 4])
    offsets = LOG.offsets + np.array([0, 2, 2, 2, 2])
    planted = Sequences(LOG.items, LOG.codes[leaking], LOG.row_ids[leaking], offsets)
    with pytest.raises(EvaluationError, match='"raw" would train on 2 held-out interactions') as caught:
        arms.check_hidden(replace(raw, training=planted), LOG)
    assert "fault of the evaluation" in caught.value.hint


@pytest.mark.parametrize("field", ["training", "history"])
def test_a_target_that_was_cleaned_is_caught(field: str) -> None:
    raw = arms.make_arms(LOG, np.zeros(10, dtype=bool), DECISION, 0)[0]
    keep = np.ones(len(LOG.codes), dtype=bool)
    keep[4] = False
    with pytest.raises(EvaluationError, match="its targets are not the log's"):
        arms.check_hidden(replace(raw, **{field: LOG.where(keep)}), LOG)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(1, ITEMS), min_size=1, max_size=9), min_size=1, max_size=6),
    st.integers(0, 1000),
    st.floats(0, 1),
)
def test_whatever_is_removed_the_targets_stay(histories: list[list[int]], seed: int, share: float) -> None:
    log = sequences_of(*histories)
    part = arms.training_part(log)
    removed = np.random.default_rng(seed).random(len(part.codes)) < share
    for arm in arms.make_arms(log, removed, DECISION, seed, is_noise=removed):
        for history, training, shown in zip(
            histories, histories_of(arm.training), histories_of(arm.history), strict=True
        ):
            if len(history) >= 3:
                assert training[-2:] == shown[-2:] == history[-2:]
                assert len(training) >= 3
                assert len(shown) >= 3
            assert len(shown) >= 1
