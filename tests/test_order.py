"""When items are had: the places against dense least squares, what is learned of a log in order, and of one in none."""

import numpy as np
import pytest
from histories import make
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from iadsr_cli import order
from iadsr_cli.crossfit import Judge, Known
from iadsr_cli.crossfit.evidence import NAMES, family, gather
from iadsr_cli.crossfit.spaces import learn
from iadsr_cli.crossfit.texts import TextFeatures
from iadsr_cli.order import reliability, times
from iadsr_cli.progress import Silent
from iadsr_cli.sequences import Sequences, user_items, window_items

ITEMS = 120


def of_all(sequences: Sequences) -> np.ndarray:
    return times(sequences, np.ones(len(sequences.lengths), dtype=bool))


def in_time(users: int = 400, seed: int = 0) -> tuple[Sequences, np.ndarray]:
    """Users who are there for a tenth of the time each and have what is there then; the time of each item, [V]."""
    generator = np.random.default_rng(seed)
    appears = generator.random(ITEMS)
    histories = []
    for start in generator.random(users) * 0.9:
        moments = np.sort(start + generator.random(8) * 0.1)
        noisy = appears[:, None] + 0.05 * generator.standard_normal((ITEMS, 8))
        histories.append((np.abs(noisy - moments).argmin(axis=0) + 1).tolist())
    return make(histories, ITEMS), appears


def by_least_squares(sequences: Sequences) -> np.ndarray:
    """The places of items such that who follows stands one later, and all as near to 0, in a dense system."""
    rows, wanted = [], []
    for user in range(len(sequences.lengths)):
        history = sequences.codes[sequences.offsets[user] : sequences.offsets[user + 1]]
        for place, code in enumerate(history):
            for other in history[place + 1 : place + 4]:
                if other != code:
                    row = np.zeros(len(sequences.items))
                    row[other - 1], row[code - 1] = 1, -1
                    rows.append(row)
                    wanted.append(1.0)
    rows += list(np.eye(len(sequences.items)))
    wanted += [0.0] * len(sequences.items)
    found: np.ndarray = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
    return found


def test_places_are_those_of_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_EXACT", 1e-10)
    generator = np.random.default_rng(1)
    sequences = make([generator.integers(1, 13, size=size).tolist() for size in (1, 2, 4, 7, 9)], 14)
    there = np.unique(sequences.codes[sequences.user_index > 0]) - 1
    place = by_least_squares(sequences)
    counts = np.bincount(sequences.codes, minlength=15)[1:]
    wanted = [counts[there][place[there] < place[i] - 1e-9].sum() for i in there]
    same = [counts[there][np.abs(place[there] - place[i]) <= 1e-9].sum() for i in there]
    total = counts[there].sum()
    np.testing.assert_allclose(of_all(sequences)[there], (np.array(wanted) + np.array(same) / 2) / total, atol=1e-6)
    assert np.isnan(np.delete(of_all(sequences), there)).all()


def test_the_order_in_which_items_appeared_is_found() -> None:
    sequences, appears = in_time()
    found = of_all(sequences)
    known = ~np.isnan(found)
    assert known.sum() > 100
    assert spearmanr(found[known], appears[known]).statistic > 0.97


def test_backwards_they_appeared_the_other_way_round() -> None:
    sequences, _ = in_time()
    backwards = make([history[::-1].tolist() for history in np.split(sequences.codes, sequences.offsets[1:-1])], ITEMS)
    np.testing.assert_allclose(of_all(backwards), 1 - of_all(sequences), atol=1e-6)


def test_only_who_is_asked_teaches() -> None:
    sequences, _ = in_time(60)
    users = np.arange(60) % 3 > 0
    fewer = sequences.where(users[sequences.user_index])
    np.testing.assert_array_equal(times(sequences, users), of_all(fewer))
    assert not np.array_equal(times(sequences, users), of_all(sequences), equal_nan=True)


def test_what_stands_beside_no_other_item_has_no_time() -> None:
    found = of_all(make([[1, 2], [3], [4, 4, 4], []], 5))
    assert found[:2].tolist() == [0.25, 0.75]
    assert np.isnan(found[2:]).all()
    assert np.isnan(of_all(make([[1], [2]], 3))).all()
    assert np.isnan(times(make([[1, 2]], 3), np.zeros(1, dtype=bool))).all()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(1, 6), max_size=9), min_size=1, max_size=6))
def test_times_are_parts_of_the_log(histories: list[list[int]]) -> None:
    found = of_all(make(histories, 6))
    known = ~np.isnan(found)
    beside = {
        code
        for history in histories
        for place, code in enumerate(history)
        if any(other != code for other in history[max(0, place - 3) : place + 4])
    }
    assert set(np.flatnonzero(known) + 1) == beside
    assert ((found[known] > 0) & (found[known] < 1)).all()


def test_an_item_of_another_time_is_told_and_one_out_of_order() -> None:
    sequences, appears = in_time()
    by_time = np.argsort(appears) + 1
    early, late = by_time[20:26].tolist(), by_time[100]
    asked = make([early, [*early[:3], late, *early[3:]], [early[5], *early[:5]]], ITEMS)
    texts = TextFeatures.of(np.zeros((ITEMS, 2), np.float32), [None] * ITEMS)
    everyone = np.ones(len(sequences.codes), dtype=bool)
    held, windows = user_items(sequences, everyone), window_items(sequences, 5)[0]
    out = np.full((len(asked.codes), len(NAMES)), np.nan, np.float32)
    gather(asked, np.arange(3), learn(held, windows, texts, 0, of_all(sequences)), texts, out)
    when, in_order = (out[:, NAMES.index(name)] for name in ("when: nearby", "order: mean"))
    assert (when[:6] > -0.1).all()
    assert (in_order[:6] > 0).all()
    assert when[9] < -0.5, "it came much later"
    assert when[9] == when[6:13].min()
    assert (when[13:] > -0.1).all()
    assert in_order[13] < 0, "it stands first and comes last"
    assert in_order[13] == in_order[13:].min()


def halves(sequences: Sequences) -> np.ndarray:
    return np.arange(len(sequences.lengths)) % 2 == 0


@pytest.mark.parametrize("length", [8, 200])
def test_where_histories_are_in_no_order_two_halves_do_not_agree(length: int) -> None:
    generator = np.random.default_rng(0)
    sequences = make([(generator.permutation(ITEMS)[:length] + 1).tolist() for _ in range(300)], ITEMS)
    assert reliability(sequences, halves(sequences)) < 0.3


def test_where_histories_are_in_order_two_halves_agree() -> None:
    sequences, _ = in_time()
    assert reliability(sequences, halves(sequences)) > 0.95
    assert reliability(sequences, ~halves(sequences)) == reliability(sequences, halves(sequences))


def test_reliability_is_that_of_all_users_by_the_agreement_of_halves() -> None:
    sequences, _ = in_time(100)
    half = halves(sequences)
    one, other = times(sequences, half), times(sequences, ~half)
    known = ~np.isnan(one) & ~np.isnan(other)
    weight = np.bincount(sequences.codes, minlength=ITEMS + 1)[1:][known]
    # Each item as often as it stands in the log.
    agreed = np.corrcoef(np.repeat(one[known], weight), np.repeat(other[known], weight))[0, 1]
    assert 0.3 < agreed < 0.97
    assert reliability(sequences, half) == pytest.approx(2 * agreed / (1 + agreed))


@pytest.mark.parametrize("histories", [[[1], [2]], [[1, 2], [3, 4]], [[1, 2], []], [[], []]])
def test_what_no_two_halves_know_is_not_reliable(histories: list[list[int]]) -> None:
    sequences = make(histories, 4)
    assert reliability(sequences, halves(sequences)) == 0


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_are_compared_in_time_where_the_log_is_in_order(shuffled: bool) -> None:
    sequences, _ = in_time()
    if shuffled:
        generator = np.random.default_rng(2)
        histories = np.split(sequences.codes, sequences.offsets[1:-1])
        sequences = make([generator.permutation(history).tolist() for history in histories], ITEMS)
    judge = Judge(Known.of(sequences, np.zeros((ITEMS + 1, 2), np.float32), [None] * ITEMS), 0, Silent())
    terms = judge.scores().terms
    of_time = [column for column, name in enumerate(NAMES) if family(name) in ("when", "order")]
    assert np.isnan(terms[:, of_time]).all() == shuffled
    assert (judge.teaching().fold.times is None) == shuffled
