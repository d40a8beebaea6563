"""Thresholds are chosen by the validation items alone, and only where that cannot be chance."""

import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from iadsr_cli.config import DecisionSettings
from iadsr_cli.evaluation import arms, thresholds
from iadsr_cli.progress import Silent
from iadsr_cli.sequences import Sequences

USERS, HALF = 200, 20
ASKED = DecisionSettings(min_item_rows=0)


@pytest.fixture(scope="module")
def log() -> Sequences:
    """Return histories of five items of one half of a catalogue, one of the other, and two held out of the first."""
    generator = np.random.default_rng(0)
    histories = []
    for user in range(USERS):
        own = generator.permutation(HALF)[:7] + 1 + HALF * (user % 2)
        other = generator.integers(HALF) + 1 + HALF * (1 - user % 2)
        histories.append([*own[:5], other, *own[5:]])
    items = pa.array([str(item) for item in range(2 * HALF)])
    return Sequences(items, np.concatenate(histories), np.arange(8 * USERS), np.arange(0, 8 * USERS + 1, 8))


def scores(log: Sequences, stray: float, genuine: float) -> np.ndarray:
    """Return scores of the training part: of the stray items, and of the others."""
    return np.where(np.arange(6 * USERS) % 6 == 5, stray, genuine)


def test_what_misleads_a_recommender_goes_by_the_threshold_that_removes_it(log: Sequences) -> None:
    found = thresholds.compare(log, [scores(log, 0.35, 0.05)], ASKED, 0, Silent())
    assert found["own"]["removed_share"] == 0
    assert [one["threshold"] for one in found["thresholds"]] == [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    removed = [one["removed_share"] for one in found["thresholds"]]
    assert removed == pytest.approx([0, 0, 0, 0, 1 / 6, 1 / 6, 1 / 6])
    # Of those that remove the same rows it is the highest.
    assert found["advised"] == 0.3
    best = found["thresholds"][4]
    for place in ("validation", "test"):
        own, other = found["own"][place]["HR@10"], best[place]["HR@10"]
        assert own + 0.05 < other
        assert best[place]["change"]["HR@10"]["mean"] == pytest.approx(other / own - 1)
        assert found["thresholds"][0][place]["change"]["HR@10"] == {"mean": 0, "low": 0, "high": 0}
    assert re.fullmatch(
        r"By the items before the last, --threshold 0.3 serves item neighbours better: HR@10 0.\d{4}, \+\d+.\d% "
        r"\[\+\d+.\d, \+\d+.\d\], removing 16.7% of the rows that train; the last items confirm that: "
        r"HR@10 0.\d{4}, \+\d+.\d% \[\+\d+.\d, \+\d+.\d\].",
        found["advice"],
    )


def test_where_lower_thresholds_take_what_is_good_none_is_advised(log: Sequences) -> None:
    found = thresholds.compare(log, [scores(log, 0.05, 0.35)], ASKED, 0, Silent())
    assert found["thresholds"][-1]["validation"]["HR@10"] < found["own"]["validation"]["HR@10"]
    assert found["advised"] is None
    assert found["advice"].startswith("By the items before the last, none of these thresholds serves item neighbours")


def test_it_is_compared_with_what_was_asked_for(log: Sequences) -> None:
    noise = [scores(log, 0.35, 0.05)]
    found = thresholds.compare(log, noise, replace(ASKED, threshold=0.3), 0, Silent())
    assert found["own"]["removed_share"] == pytest.approx(1 / 6)
    assert found["advised"] is None
    assert found["thresholds"][0]["test"]["change"]["HR@10"]["mean"] < 0
    # A threshold takes the place of a budget.
    budget = thresholds.compare(log, noise, replace(ASKED, budget="5%"), 0, Silent())
    assert budget["own"]["removed_share"] == pytest.approx(0.05, abs=1e-3)
    assert budget["thresholds"][4]["removed_share"] == pytest.approx(1 / 6)
    assert budget["advised"] == 0.3


@pytest.mark.parametrize(
    ("validation", "test", "advised", "said"),
    [
        pytest.param(0.9, 0.9, 0.6, "; the last items confirm that: HR@10 0.9000, +80.0% [", id="better"),
        pytest.param(0.9, 0.51, 0.6, "; the last items do not confirm that: HR@10 0.5100, +2.0% [", id="unconfirmed"),
        pytest.param(0.9, 0.1, None, ", but the last items speak against it: HR@10 0.1000, -80.0% [", id="refuted"),
        pytest.param(0.5, 0.9, None, "none of these thresholds", id="better at the last alone"),
        pytest.param(0.51, 0.9, None, "none of these thresholds", id="better by chance"),
    ],
)
def test_the_items_before_the_last_choose_and_the_last_confirm(
    log: Sequences, monkeypatch: pytest.MonkeyPatch, validation: float, test: float, advised: float | None, said: str
) -> None:
    def hits(arm: arms.Arm, users: np.ndarray) -> dict[str, np.ndarray]:
        """Return so many hits where a row is gone, and half where none is."""
        all_there = len(arm.training.codes) == len(log.codes)
        shares = {"validation": 0.5, "test": 0.5} if all_there else {"validation": validation, "test": test}
        return {place: (np.arange(len(users)) < share * len(users)).astype(float) for place, share in shares.items()}

    monkeypatch.setattr(thresholds, "hits", hits)
    noise = scores(log, 0.65, 0.05)
    found = thresholds.compare(log, [noise, noise], replace(ASKED, threshold=0.8), 0, Silent())
    assert found["advised"] == advised
    assert said in found["advice"]
    assert found["thresholds"][-1]["test"]["HR@10"] == pytest.approx(test)


def test_a_threshold_that_may_be_better_by_chance_hides_none_that_is(
    log: Sequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hits(arm: arms.Arm, users: np.ndarray) -> dict[str, np.ndarray]:
        """Return 100 hits of 200, ten more without the stray items, and without others 60 more for 48 less."""
        gone, place = len(log.codes) - len(arm.training.codes), np.arange(USERS)
        found = (place < 110) if gone <= USERS else (place < 52) | (place >= 100) & (place < 160)
        return {"validation": found & ((place < 100) | (gone > 0)), "test": found}

    monkeypatch.setattr(thresholds, "hits", hits)
    noise = scores(log, 0.65, 0.05)
    noise[::6] = 0.25
    found = thresholds.compare(log, [noise], replace(ASKED, threshold=0.8), 0, Silent())
    rates = [found["own"]["validation"]["HR@10"], *(one["validation"]["HR@10"] for one in found["thresholds"])]
    assert rates == pytest.approx([0.5, 0.5, 0.55, 0.55, 0.55, 0.55, 0.56, 0.56])
    assert found["advised"] == 0.6


def test_seeds_are_averaged_and_runs_of_the_same_rows_made_once(
    log: Sequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = thresholds.hits

    def counted(arm: arms.Arm, users: np.ndarray) -> dict[str, np.ndarray]:
        made.append(arm)
        return original(arm, users)

    monkeypatch.setattr(thresholds, "hits", counted)
    both = [scores(log, 0.35, 0.05), scores(log, 0.05, 0.05)]
    found = thresholds.compare(log, both, ASKED, 0, Silent())
    assert len(made) == 2 + 1
    assert found["seeds"] == 2
    assert found["thresholds"][4]["removed_share"] == pytest.approx(1 / 12)
    alone = [thresholds.compare(log, [each], ASKED, 0, Silent())["thresholds"][4]["test"]["HR@10"] for each in both]
    assert found["thresholds"][4]["test"]["HR@10"] == pytest.approx(np.mean(alone))


def test_of_many_users_some_are_ranked(log: Sequences, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "_MOST_USERS", 50)
    noise = [scores(log, 0.35, 0.05)]
    found = thresholds.compare(log, noise, ASKED, 0, Silent())
    assert found["users"] == 50
    assert (50 * found["own"]["test"]["HR@10"]) % 1 == pytest.approx(0, abs=1e-9)
    assert found == thresholds.compare(log, noise, ASKED, 0, Silent())


def test_of_several_that_are_better_the_best_at_the_items_before_the_last_is_advised(
    log: Sequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hits(arm: arms.Arm, users: np.ndarray) -> dict[str, np.ndarray]:
        """Return half where no row is gone, more where the strays are, and other ones where genuine rows are, too."""
        gone = len(log.codes) - len(arm.training.codes)
        validation, test = {0: (0.5, 0.5), USERS: (0.9, 0.7)}.get(gone, (0.8, 0.95))
        shares = {"validation": validation, "test": test}
        return {place: (np.arange(len(users)) < share * len(users)).astype(float) for place, share in shares.items()}

    monkeypatch.setattr(thresholds, "hits", hits)
    noise = scores(log, 0.65, 0.25)
    found = thresholds.compare(log, [noise, noise], replace(ASKED, threshold=0.8), 0, Silent())
    rates = [one["validation"]["HR@10"] for one in found["thresholds"]]
    assert {0.8, 0.9} < {round(rate, 6) for rate in rates}
    assert rates[thresholds.THRESHOLDS.index(found["advised"])] == pytest.approx(0.9)
