import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from iadsr_cli.evaluation import metrics
from iadsr_cli.evaluation.metrics import (
    calibration,
    detection,
    most_suspicious,
    precision_recall,
    relative_bootstrap,
    seed_interval,
    worst,
)

NAN = float("nan")
SCORES = st.one_of(st.just(NAN), st.sampled_from([-1.0, 0.0, 0.2, 0.2000001, 0.5, 3.0]))
ROWS = st.lists(st.tuples(SCORES, st.booleans(), st.booleans(), st.integers(-1, 9)), min_size=1, max_size=60)


def columns(rows: list[tuple[float, bool, bool, int]]) -> tuple[np.ndarray, ...]:
    score, is_noise, removed, items = zip(*rows, strict=True)
    return np.array(score), np.array(is_noise), np.array(removed), np.array(items)


def test_detection_by_hand() -> None:
    score = np.array([0.9, 0.8, 0.8, 0.3, NAN, 0.1, 0.2])
    is_noise = np.array([1, 0, 1, 0, 1, 0, 0], dtype=bool)
    removed = np.array([1, 1, 0, 0, 0, 0, 0], dtype=bool)
    outcome = detection(score, is_noise, removed, np.zeros(7, np.int64))
    del outcome["by_frequency_fifth"], outcome["over_denoising_gap"]
    assert outcome == pytest.approx(
        {
            "rows": 7,
            "noise": 3,
            "unscored": 1,
            # Of 3 x 4 pairs, 0.9 wins four, 0.8 three and ties one, and what has no score wins none.
            "auroc": 7.5 / 12,
            # A third of the noise at precision 1, another, behind the tie, at 2/3, and what has no score last of all.
            "average_precision": (1 + 2 / 3 + 3 / 7) / 3,
            "removed": 2,
            "removed_share": 2 / 7,
            "precision": 1 / 2,
            "recall": 1 / 3,
            "f1": 2 / 5,
            "over_denoising": 1 / 4,
            "under_denoising": 2 / 3,
        }
    )


@settings(deadline=None)
@given(rows=ROWS)
def test_auroc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[float, bool, bool, int]]) -> None:
    score, is_noise, removed, items = columns(rows)
    ranked = np.where(np.isnan(score), -np.inf, score)
    pairs = [
        1.0 if bad > good else 0.5 if bad == good else 0.0 for bad in ranked[is_noise] for good in ranked[~is_noise]
    ]
    auroc = detection(score, is_noise, removed, items)["auroc"]
    told = pairs and not np.isnan(score).all()
    assert auroc == (pytest.approx(sum(pairs) / len(pairs)) if told else None)


@settings(deadline=None)
@given(rows=ROWS)
def test_the_fifths_make_up_the_rows_with_an_item_and_everything_is_json(
    rows: list[tuple[float, bool, bool, int]],
) -> None:
    score, is_noise, removed, items = columns(rows)
    outcome = detection(score, is_noise, removed, items)
    assert json.loads(json.dumps(outcome, allow_nan=False)) == outcome
    fifths = outcome["by_frequency_fifth"]
    known = items >= 0
    assert sum(fifth["rows"] for fifth in fifths) == known.sum()
    assert sum(fifth["noise"] for fifth in fifths) == is_noise[known].sum()
    gone = sum(fifth["rows"] * fifth["removed_share"] for fifth in fifths if fifth["rows"])
    assert gone == pytest.approx(removed[known].sum())


def test_a_random_score_is_worth_one_half_and_the_labels_one() -> None:
    generator = np.random.default_rng(0)
    is_noise = generator.random(200_000) < 0.1
    items = generator.integers(1, 5000, size=200_000)
    score = generator.random(200_000)
    outcome = detection(score, is_noise, worst(score, 20_000), items)
    assert outcome["auroc"] == pytest.approx(0.5, abs=0.01)
    assert outcome["average_precision"] == pytest.approx(0.1, abs=0.01)
    assert outcome["precision"] == pytest.approx(0.1, abs=0.01)
    assert outcome["over_denoising_gap"] == pytest.approx(0, abs=0.01)
    perfect = detection(is_noise.astype(float), is_noise, is_noise, items)
    names = (
        "auroc",
        "average_precision",
        "precision",
        "recall",
        "f1",
        "over_denoising",
        "under_denoising",
        "over_denoising_gap",
    )
    assert [perfect[name] for name in names] == [1, 1, 1, 1, 1, 0, 0, 0]


def test_fifths_are_fifths_of_the_items_and_not_of_the_rows() -> None:
    # Item k of 1..10 has k rows. Its first row is noise; of items 1 and 2, and of item 10, genuine rows are removed.
    items = np.repeat(np.arange(1, 11), np.arange(1, 11))
    first = np.concatenate([[True], np.diff(items) > 0])
    removed = (items == 2) | ((items == 10) & (np.cumsum(items == 10) <= 4))
    score = np.where(items == 2, 0.1, 0.5) + first * 0.1
    outcome = detection(score, first, removed, items)
    fifths = outcome["by_frequency_fifth"]
    assert [(fifth["from"], fifth["to"], fifth["rows"]) for fifth in fifths] == [
        (1, 2, 3),
        (3, 4, 7),
        (5, 6, 11),
        (7, 8, 15),
        (9, 10, 19),
    ]
    assert {fifth["noise"] for fifth in fifths} == {2}
    # Noise at 0.6 and 0.2, one genuine row at 0.1.
    assert fifths[0]["auroc"] == 1.0
    assert fifths[0]["removed_share"] == pytest.approx(2 / 3)
    assert (fifths[0]["over_denoising"], fifths[0]["under_denoising"]) == (1.0, 0.5)
    assert (fifths[1]["over_denoising"], fifths[1]["under_denoising"]) == (0.0, 1.0)
    assert fifths[4]["over_denoising"] == pytest.approx(3 / 17)
    assert outcome["over_denoising_gap"] == pytest.approx(1 - 3 / 17)


def test_items_of_one_frequency_are_dealt_to_fifths_by_code() -> None:
    items = np.array([14, 13, 12, 11, 10] * 2 + [-1, -1])
    removed = items == 10
    fifths = detection(np.zeros(12), np.zeros(12, bool), removed, items)["by_frequency_fifth"]
    assert [fifth["removed_share"] for fifth in fifths] == [1, 0, 0, 0, 0]
    assert [(fifth["rows"], fifth["from"], fifth["to"]) for fifth in fifths] == [(2, 2, 2)] * 5


def test_what_has_nothing_to_be_computed_from_is_none() -> None:
    score, none, every = np.array([0.1, 0.2]), np.zeros(2, bool), np.ones(2, bool)
    clean = detection(score, none, none, np.array([1, 1]))
    for name in ("auroc", "average_precision", "precision", "recall", "f1", "under_denoising", "over_denoising_gap"):
        assert clean[name] is None, name
    assert clean["over_denoising"] == 0
    assert clean["by_frequency_fifth"][4]["rows"] == 0
    assert clean["by_frequency_fifth"][4]["from"] is None
    noisy = detection(score, every, none, np.array([1, 2]))
    assert (noisy["over_denoising"], noisy["precision"], noisy["recall"], noisy["f1"]) == (None, None, 0, 0)
    unscored = detection(np.full(2, NAN), np.array([True, False]), none, np.array([1, 2]))
    assert (unscored["auroc"], unscored["unscored"]) == (None, 2)
    empty = np.zeros(0)
    assert detection(empty, empty.astype(bool), empty.astype(bool), empty.astype(int))["removed_share"] is None


def test_calibration_by_hand() -> None:
    probability = np.array([0.0, 0.1, 0.29, 0.3, 0.9, 1.0, NAN])
    is_noise = np.array([0, 0, 1, 0, 1, 1, 1], dtype=bool)
    outcome = calibration(probability, is_noise)
    assert [(cell["from"], cell["to"], cell["rows"], cell["observed"]) for cell in outcome["bins"]] == [
        (0.0, 0.1, 1, 0.0),
        (0.1, 0.2, 1, 0.0),
        (0.2, 0.3, 1, 1.0),
        (0.3, 0.4, 1, 0.0),
        (0.9, 1.0, 2, 1.0),
    ]
    assert [cell["predicted"] for cell in outcome["bins"]] == pytest.approx([0.0, 0.1, 0.29, 0.3, 0.95])
    # The last bin holds two of the six rows.
    assert outcome["expected_calibration_error"] == pytest.approx((0 + 0.1 + 0.71 + 0.3 + 2 * 0.05) / 6)
    assert json.loads(json.dumps(outcome, allow_nan=False)) == outcome


def test_calibration_tells_true_probabilities_from_others() -> None:
    generator = np.random.default_rng(0)
    probability = generator.random(100_000)
    is_noise = generator.random(100_000) < probability
    assert calibration(probability, is_noise)["expected_calibration_error"] < 0.01
    assert calibration(probability**2, is_noise)["expected_calibration_error"] > 0.1
    assert [cell["to"] for cell in calibration(probability, is_noise, bins=4)["bins"]] == [0.25, 0.5, 0.75, 1.0]
    assert calibration(np.array([NAN]), np.array([True])) == {"bins": [], "expected_calibration_error": None}


def test_a_short_precision_recall_curve_is_whole_and_steps_over_ties() -> None:
    score = np.array([0.9, 0.8, 0.8, NAN, 0.1])
    outcome = precision_recall(score, np.array([1, 0, 1, 1, 0], dtype=bool))
    assert outcome["recall"] == pytest.approx([1, 2 / 3, 2 / 3, 1 / 3, 0])
    assert outcome["precision"] == pytest.approx([3 / 5, 1 / 2, 2 / 3, 1, 1])


def test_ties_at_the_top_are_no_better_than_they_are() -> None:
    outcome = precision_recall(np.array([1.0] * 8 + [0.0] * 2), np.array([1, 0, 0, 0, 0, 0, 0, 0, 1, 0], dtype=bool))
    assert outcome["recall"] == [1, 0.5, 0]
    assert outcome["precision"] == pytest.approx([2 / 10, 1 / 8, 1 / 8])


def test_a_long_precision_recall_curve_is_thinned_evenly_and_keeps_its_ends() -> None:
    generator = np.random.default_rng(0)
    is_noise = generator.random(20_000) < 0.1
    score = generator.random(20_000) + is_noise * 0.5
    precision, recall, _ = precision_recall_curve(is_noise, score)
    outcome = precision_recall(score, is_noise, points=50)
    assert 45 <= len(outcome["recall"]) <= 50
    points = list(zip(outcome["recall"], outcome["precision"], strict=True))
    assert set(points[:-1]) <= set(zip(recall, precision, strict=True))
    assert (outcome["recall"][0], outcome["precision"][0]) == (1.0, pytest.approx(is_noise.mean()))
    assert (outcome["recall"][-1], outcome["precision"][-1]) == (0.0, precision[-2])
    # Of several thresholds with one recall, the highest removes the fewest genuine rows.
    best = dict(zip(recall, precision, strict=True))
    assert [best[reached] for reached in outcome["recall"][1:-1]] == outcome["precision"][1:-1]
    steps = -np.diff(outcome["recall"])
    assert steps.min() >= 0
    assert steps.max() < 1.1 / 48
    assert json.dumps(outcome, allow_nan=False)


@pytest.mark.parametrize("is_noise", [[True, True], [False, False]])
def test_there_is_no_precision_recall_curve_of_one_class(is_noise: list[bool]) -> None:
    assert precision_recall(np.array([0.1, 0.2]), np.array(is_noise)) == {"recall": [], "precision": []}


def test_the_most_suspicious_come_first_and_ties_in_row_order() -> None:
    score = np.array([0.5, NAN, 0.9, 0.5, -1.0, 0.5, NAN])
    assert most_suspicious(score, 3).tolist() == [2, 0, 3]
    assert most_suspicious(score, 3).dtype == np.int64
    assert most_suspicious(score, 0).tolist() == []
    assert most_suspicious(score, 99).tolist() == [2, 0, 3, 5, 4]
    assert worst(score, 3).tolist() == [True, False, True, True, False, False, False]
    assert worst(score, 99).tolist() == (~np.isnan(score)).tolist()


def of_differences(differences: np.ndarray, seed: int, **options: int) -> dict[str, float | None]:
    """The interval of differences to one."""
    return relative_bootstrap(np.ones_like(differences), 1 + differences, seed, **options)


def test_the_bootstrap_interval_is_that_of_the_mean() -> None:
    differences = np.random.default_rng(1).exponential(size=4000) - 0.5
    outcome = of_differences(differences, seed=0)
    error = differences.std() / np.sqrt(4000)
    assert outcome["mean"] == pytest.approx(differences.mean())
    assert outcome["low"] == pytest.approx(differences.mean() - 1.96 * error, abs=0.15 * error)
    assert outcome["high"] == pytest.approx(differences.mean() + 1.96 * error, abs=0.15 * error)
    assert of_differences(differences, seed=0) == outcome
    assert of_differences(differences, seed=1) != outcome


def test_the_bootstrap_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    intervals = [of_differences(generator.normal(size=60), seed, draws=400) for seed in range(300)]
    covered = np.mean([interval["low"] < 0 < interval["high"] for interval in intervals])
    assert 0.90 < covered < 0.98


def test_seeds_are_averaged_before_users_are_resampled() -> None:
    # What the seeds differ by, the same for every user, is no reason for doubt about the users.
    differences = np.array([[0.5, 0.7, 0.9], [-0.1, -0.3, -0.5]])
    outcome = of_differences(differences, seed=0)
    assert outcome == pytest.approx({"mean": 0.2, "low": 0.2, "high": 0.2})


def test_bounded_memory_changes_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    base, other = np.random.default_rng(3).random((2, 70))
    whole = relative_bootstrap(base, other, 0, draws=101)
    monkeypatch.setattr(metrics, "_DRAWN_AT_ONCE", 700)
    assert relative_bootstrap(base, other, 0, draws=101) == whole


def test_relative_differences_are_resampled_jointly() -> None:
    base = np.random.default_rng(4).random(50)
    assert relative_bootstrap(base, base * 1.1, 0) == pytest.approx({"mean": 0.1, "low": 0.1, "high": 0.1})
    fall = relative_bootstrap(np.stack([base, base]), np.stack([base, base * 0.6]), 0)
    assert fall == pytest.approx({"mean": -0.2, "low": -0.2, "high": -0.2})


def test_the_relative_interval_is_that_of_the_quotient_of_means() -> None:
    generator = np.random.default_rng(5)
    base = generator.random(3000)
    other = base + generator.normal(0.1, 0.5, size=3000)
    outcome = relative_bootstrap(base, other, 0)
    quotient = other.mean() / base.mean()
    # The delta method's standard error of a quotient of paired means.
    error = np.std(other - quotient * base) / base.mean() / np.sqrt(3000)
    assert outcome["mean"] == pytest.approx(quotient - 1)
    assert outcome["low"] == pytest.approx(quotient - 1 - 1.96 * error, abs=0.15 * error)
    assert outcome["high"] == pytest.approx(quotient - 1 + 1.96 * error, abs=0.15 * error)


def test_a_base_of_zero_has_no_relative_difference() -> None:
    nothing = {"mean": None, "low": None, "high": None}
    assert relative_bootstrap(np.zeros(3), np.ones(3), 0) == nothing
    assert relative_bootstrap(np.zeros(0), np.zeros(0), 0) == nothing
    # Resamples without the one user who has something are left out.
    assert relative_bootstrap(np.array([0, 0, 1.0]), np.array([0, 0, 2.0]), 0) == {"mean": 1, "low": 1, "high": 1}


def test_the_interval_over_seeds_is_students() -> None:
    assert seed_interval([1.0, 2.0, 3.0]) == pytest.approx({"mean": 2.0, "half": 4.302653 / np.sqrt(3)})
    assert seed_interval(np.array([0.5, 0.5])) == {"mean": 0.5, "half": 0.0}
    assert seed_interval([0.25]) == {"mean": 0.25, "half": None}


def test_the_best_of_several_is_better_by_chance_no_more_often_than_one() -> None:
    generator = np.random.default_rng(0)
    alone, corrected = 0, 0
    for _ in range(300):
        base = (generator.random(400) < 0.3).astype(float)
        others = [np.where(generator.random(400) < 0.1, generator.random(400) < 0.3, base) for _ in range(7)]
        corrected += metrics.better(base, others, 0, draws=300).any()
        alone += any(metrics.relative_bootstrap(base, other, 0, draws=300)["low"] > 0 for other in others)
    assert corrected < 15
    assert alone > 30


def test_what_is_better_is_told_from_what_is_not() -> None:
    generator = np.random.default_rng(0)
    base = (generator.random(1000) < 0.3).astype(float)
    more, fewer = np.maximum(base, generator.random(1000) < 0.05), np.minimum(base, generator.random(1000) < 0.8)
    assert metrics.better(base, [base, more, fewer, more], 0).tolist() == [False, True, False, True]
    assert metrics.better(base, [base], 0).tolist() == [False]
    assert metrics.better(np.zeros(9), [np.zeros(9), np.ones(9)], 0).tolist() == [False, True]
    assert metrics.better(np.stack([base, more]), [np.stack([more, base]), np.stack([more, more])], 0).tolist() == [
        False,
        True,
    ]
