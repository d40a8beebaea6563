"""Which items go with which: the pieces, the gradient against one in plain loops, and what is learned."""

from typing import Any

import numpy as np
import pytest
from histories import make
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from iadsr_cli.crossfit import predictor
from iadsr_cli.crossfit.predictor import Features, Pieces, Predictor, predict
from iadsr_cli.crossfit.texts import TextFeatures
from iadsr_cli.sequences import Sequences, Windows
from iadsr_cli.threads import side_by_side

GENRES, ITEMS = 4, 80
GENRE = np.arange(ITEMS) % GENRES
COLD = [76, 77, 78, 79]


def genres(texts: bool = True) -> tuple[Sequences, TextFeatures]:
    """Users who each keep to one of four genres. Of the last item of each genre nobody has one; titles tell genres."""
    generator = np.random.default_rng(0)
    histories = []
    for _ in range(1500):
        own = np.setdiff1d(np.flatnonzero(generator.integers(GENRES) == GENRE), COLD)
        histories.append((generator.choice(own, generator.integers(2, 9), replace=False) + 1).tolist())
    vectors = generator.normal(size=(GENRES, 12))[GENRE] + 0.3 * generator.normal(size=(ITEMS, 12))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    titles = [f"genre{genre} item{item}" for item, genre in enumerate(GENRE)]
    known = TextFeatures.of(vectors, titles)
    return make(histories, ITEMS), known if texts else TextFeatures.of(np.zeros_like(vectors), [None] * ITEMS)


def learned(sequences: Sequences, texts: TextFeatures, seed: int = 0) -> Predictor:
    everyone = np.ones(len(sequences.lengths), dtype=bool)
    return predict(sequences.codes, Pieces.of(sequences).of_users(everyone), Features.of(texts), seed)


def likelier(found: Predictor) -> np.ndarray:
    """How much likelier item i is where item j is, as a logarithm, [i, j]."""
    table: np.ndarray = found.asked @ found.given.T - found.level
    return table


@settings(deadline=None)
@given(st.lists(st.integers(0, 230), min_size=1, max_size=6))
def test_histories_are_cut_evenly_and_whole(lengths: list[int]) -> None:
    sequences = make([[1] * length for length in lengths], 1)
    pieces = Pieces.of(sequences)
    covered = [
        (start + step, user)
        for start, length, user in zip(pieces.windows.start, pieces.windows.length, pieces.user, strict=True)
        for step in range(length)
    ]
    alone = [row for row, user in enumerate(sequences.user_index) if lengths[user] == 1]
    assert sorted(covered) == [(row, user) for row, user in enumerate(sequences.user_index) if row not in alone]
    for user, length in enumerate(lengths):
        own = pieces.windows.length[pieces.user == user]
        if length > 1:
            assert len(own) == -(-length // 50)
            assert own.max() - own.min() <= 1
    chosen = np.arange(len(lengths)) % 2 == 0
    assert pieces.of_users(chosen).length.sum() == sum(length for length in lengths[::2] if length > 1)


def test_the_gradient_is_that_of_a_softmax_in_plain_loops() -> None:
    generator = np.random.default_rng(1)
    sequences, texts = genres()
    features = Features.of(texts)
    sides = (predictor._Side.new(features, generator), predictor._Side.new(features, generator))
    pieces = Windows(sequences.offsets[:3], sequences.lengths[:3])
    drawn = np.append(generator.integers(0, ITEMS, 12), sequences.codes[0] - 1)

    hidden = np.arange(ITEMS) % 3 == 0
    shown = features.parts.toarray()
    shown[hidden, :ITEMS] = 0
    known = Features(sparse.csr_array(shown), features.dense, features.texts)

    def loss() -> float:
        given, asked = (
            known.parts @ side.parts.values.astype(np.float64) + known.dense @ side.dense.values for side in sides
        )
        total = weights = 0.0
        for start, length in zip(pieces.start, pieces.length, strict=True):
            items = sequences.codes[start : start + length] - 1
            for place, item in enumerate(items):
                rest = np.delete(given[items], place, axis=0).mean(axis=0)
                right = np.exp(rest @ asked[item])
                wrong = [np.exp(rest @ asked[it]) / len(drawn) for it in drawn if it != item]
                total -= length**-0.5 * np.log(right / (right + sum(wrong)))
                weights += length**-0.5
        return float(total / weights)

    found = predictor._gradients(sides, features, predictor._Batch.of(sequences.codes, pieces, drawn, hidden))
    for side, gradient in zip(sides, found, strict=True):
        whole = np.zeros_like(side.parts.values)
        whole[gradient.columns] = gradient.parts
        for values, slopes in ((side.parts.values, whole), (side.dense.values, gradient.dense)):
            some = generator.permutation(np.argwhere(slopes))[:25]
            unseen = generator.permutation(np.argwhere(slopes == 0))[:5]
            for place in map(tuple, [*some, *unseen]):
                before = values[place]
                ends = []
                for step in (0.01, -0.01):
                    values[place] = before + np.float32(step)
                    ends.append(loss())
                values[place] = before
                assert slopes[place] == pytest.approx((ends[0] - ends[1]) / 0.02, abs=2e-5, rel=0.02)


@pytest.mark.parametrize("texts", [True, False])
def test_items_are_likelier_where_others_of_their_kind_are(texts: bool) -> None:
    table = likelier(learned(*genres(texts)))
    warm = np.setdiff1d(np.arange(ITEMS), COLD)
    alike = GENRE[:, None] == GENRE
    assert table[np.ix_(warm, warm)][alike[np.ix_(warm, warm)]].mean() > 0.5
    assert table[np.ix_(warm, warm)][~alike[np.ix_(warm, warm)]].mean() < -0.5
    assert np.isnan(table[COLD]).all() != texts, "what nobody has is known by its text alone"
    if texts:
        assert table[COLD][alike[COLD]].mean() > 0.8
        assert table[COLD][~alike[COLD]].mean() < 0


def test_to_be_rare_says_nothing_against_an_item() -> None:
    sequences, texts = genres()
    rare = np.isin(sequences.codes - 1, np.arange(0, 40)) & (np.arange(len(sequences.codes)) % 10 > 0)
    fewer = sequences.where(~rare)
    table = likelier(learned(fewer, texts))
    alike = GENRE[:, None] == GENRE
    warm = np.setdiff1d(np.arange(ITEMS), COLD)
    of_rare, of_others = (table[rows][alike[rows]].mean() for rows in (np.arange(40), warm[warm >= 40]))
    assert fewer.counts()[1:41].mean() < 0.2 * fewer.counts()[41:77].mean()
    assert of_rare > 0.6 * of_others > 0


def test_an_item_makes_others_no_likelier_on_the_whole() -> None:
    sequences, texts = genres()
    found = learned(sequences, texts)
    common = sequences.counts()[1:] / len(sequences.codes)
    np.testing.assert_allclose(common @ np.exp(likelier(found)), 1, atol=0.15)


def test_who_is_asked_elsewhere_or_in_threads_is_told_the_same() -> None:
    sequences, texts = genres()
    first, *others = side_by_side(lambda _: learned(sequences, texts), range(3), at_once=3)
    again = learned(sequences, texts)
    for other in (*others, again):
        assert all(np.array_equal(getattr(first, name), getattr(other, name)) for name in ("given", "asked", "level"))
    assert not np.array_equal(first.given, learned(sequences, texts, seed=1).given)


def test_from_histories_of_one_nothing_is_learned_and_texts_are_all_that_is_known() -> None:
    texts = TextFeatures.of(np.zeros((3, 2), np.float32), ["one two", "two", None])
    found = learned(make([[1], [2], [3]], 3), texts)
    assert np.isnan(likelier(found))[2].all()
    assert np.isfinite(likelier(found)[:2, :2]).all()
    assert np.isfinite(found.level).all()


def test_a_large_log_is_read_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences, texts = genres()
    read: list[int] = []
    whole = predictor._gradients

    def counted(*arguments: Any) -> Any:
        read.append(len(arguments[2].size))
        return whole(*arguments)

    monkeypatch.setattr(predictor, "_gradients", counted)
    learned(sequences, texts)
    assert sum(read) == pytest.approx(4 * sequences.lengths.sum(), rel=0.1)
    monkeypatch.setattr(predictor, "_MOST_ROWS", 1_000)
    read.clear()
    learned(sequences, texts)
    assert sum(read) == pytest.approx(1_000, rel=0.3)
