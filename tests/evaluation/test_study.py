"""What the study's figures are made of: who trains on what, which rows count, and what is said of it in the end."""

import csv
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from iadsr_cli import noise
from iadsr_cli.config import Config, EncoderSettings, LogSettings, RunSettings, StudySettings
from iadsr_cli.decisions import Decisions
from iadsr_cli.evaluation import arms, baselines, findings, study
from iadsr_cli.evaluation.neighbours import ItemNeighbours
from iadsr_cli.evaluation.study import _Lab
from iadsr_cli.pipeline import open_log
from iadsr_cli.progress import Silent
from iadsr_cli.scores import Scores

Lab = Callable[..., _Lab]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Return a lab of some histories: items of users, in the order of the log."""

    def made(histories: Iterable[tuple[str, list[str]]], texts: bool = False, **study: Any) -> _Lab:
        log = tmp_path / "log.csv"
        with log.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["user_id", "item_id", "title"])
            writer.writerows(
                (user, item, f"word{item}" if texts else "") for user, items in histories for item in items
            )
        config = Config(
            log=LogSettings(null_ids="keep"),
            encoder=EncoderSettings(encoder="tfidf"),
            study=StudySettings(scorer=("random",), noise=("insert-uniform",), noise_share=("20%",), seeds=1, **study),
            run=RunSettings(cache_dir=str(tmp_path / "cache")),
        )
        return _Lab(open_log(str(log), None, config, Silent()))

    return made


def around(user: int, items: int = 10) -> list[str]:
    """Return one of ten overlapping histories: items that stand together in others, too."""
    return [f"i{(user + step) % items}" for step in range(5)]


def test_neighbours_learn_from_no_target(lab: Lab) -> None:
    # What stands last in every history, and nowhere else, would come first for who had trained on it.
    made = lab((f"u{user}", [*around(user), "v", "t"]) for user in range(10))
    raw = arms.make_arms(made.sequences, np.zeros(50, dtype=bool), made.config.decision, 0)[0]
    ranks = made._rank("neighbours", raw, 0).ranks
    assert ranks.tolist() == [12] * 10, "behind all other items"


def test_neighbours_rank_by_the_history_of_an_arm_and_learn_from_its_training_part(lab: Lab) -> None:
    made = lab(
        [*((f"u{user}", ["a", "b", "a", "b", "x", "x"]) for user in range(9)), ("me", ["a", "c", "x", "x", "b"])]
    )
    whole = made.sequences
    keep = np.ones(len(whole.codes), dtype=bool)
    keep[whole.offsets[-2]] = False  # the one item of the history that goes with the target
    less = whole.where(keep)
    shown, hidden = (
        made._rank("neighbours", arms.Arm("one", training, history), 0).ranks[-1]
        for training, history in ((less, whole), (whole, less))
    )
    assert shown == 1 < hidden


def test_arms_of_the_same_rows_are_ranked_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lab((f"u{user}", [*around(user), "v", f"t{user % 3}"]) for user in range(10))
    fitted = []
    monkeypatch.setattr(
        study, "ItemNeighbours", Mock(fit=lambda *given: fitted.append(given) or ItemNeighbours.fit(*given))
    )
    removed = np.zeros(50, dtype=bool)
    whole = arms.make_arms(made.sequences, removed, made.config.decision, 0)
    ranks = [made._rank("neighbours", arm, 0).ranks.tolist() for arm in whole]
    assert len(ranks) == 4 and ranks[1:] == ranks[:1] * 3
    assert len(fitted) == 1
    removed[:3] = True
    for arm in arms.make_arms(made.sequences, removed, made.config.decision, 0):
        made._rank("neighbours", arm, 0)
    assert len(fitted) == 4, "each of the others; the log as it is was ranked before"


def test_neighbours_are_ranked_once_for_all_seeds(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lab((f"u{user}", [*around(user), "v", f"t{user % 3}"]) for user in range(10))
    fitted = []
    monkeypatch.setattr(
        study, "ItemNeighbours", Mock(fit=lambda *given: fitted.append(given) or ItemNeighbours.fit(*given))
    )
    raw = arms.make_arms(made.sequences, np.zeros(50, dtype=bool), made.config.decision, 0)[0]
    assert made._rank("neighbours", raw, 0) is made._rank("neighbours", raw, 1)
    assert len(fitted) == 1


def test_what_cleaning_takes_is_the_mean_over_seeds_and_said_to_be_of_the_rows_that_train(lab: Lab) -> None:
    made = lab((f"u{user}", [*around(user), "v", f"t{user}"]) for user in range(10))
    part = arms.training_part(made.sequences)

    def judged(gone: int) -> findings.Judged:
        keep = np.arange(50) >= gone
        scores = Scores(np.linspace(1, 0, 50), np.zeros((50, 3)), np.zeros(50, np.int8), shares={"any": gone / 100})
        return findings.Judged(part, scores, Decisions(keep, ~keep & False, 0.5))

    found = findings.cleaning({7: judged(0), 8: judged(5)})
    assert (found["of"], found["seeds"]) == ("rows that train", [7, 8])
    assert (found["rows"], found["removed"], found["removed_share"]) == (50, 2.5, 0.05)
    assert (found["users_touched"], found["protected"]) == (0.5, 0)
    assert found["by_history_length"] == [{"from": 5, "to": 9, "rows": 50, "share": 0.05}]
    assert found["estimated_noise_share"] == pytest.approx(0.025)
    assert "removes 5.0% of the rows that train" in findings.verdict(found, [])["verdict"]
    assert findings.cleaning({7: judged(5)})["removed"] == 5


def test_medians_are_those_of_the_scores() -> None:
    scores = np.array([0.001, 0.002, 0.019, np.nan])
    found = findings.histogram({"other rows": scores, "injected noise": np.array([np.nan])})
    assert [part["median"] for part in found["parts"]] == [0.002, None]
    assert [sum(part["counts"]) for part in found["parts"]] == [3, 0]


def test_thresholds_are_tried_with_the_scores_of_each_seed_on_the_log_as_it_is(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = [(f"u{user}", [*around(user), "v", f"t{user}"]) for user in range(10)]
    assert lab(histories, recommender=("backbone",)).thresholds() is None
    made = lab(histories, recommender=("neighbours",))
    made.config = replace(made.config, study=replace(made.config.study, seeds=2))
    judged = []

    def scores(material: baselines.Material) -> Scores:
        judged.append((material.seed, material.sequences.digest()))
        noise = np.full(len(material.sequences.codes), material.seed / 2 + 0.3)
        return Scores(noise, np.zeros((len(noise), 3)), np.zeros(len(noise), np.int8))

    monkeypatch.setitem(baselines.METHODS, made.config.decision.method, scores)
    found = made.thresholds()
    part = arms.training_part(made.sequences).digest()
    assert judged == [(0, part), (1, part)]
    assert found is not None
    # Of seven rows two may go, of five that are judged: by the second seed's scores, and below 0.3 by both.
    assert found["own"]["removed_share"] == pytest.approx(0.2)
    assert [one["removed_share"] for one in found["thresholds"]] == pytest.approx([0.2] * 5 + [0.4] * 2)


def test_rows_that_are_held_out_do_not_count(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lab((f"u{user}", [*around(user), "v", f"t{user}"]) for user in range(10))

    def suspicious(material: baselines.Material) -> np.ndarray:
        """Held-out rows look as bad as noise does."""
        truth = made.noisy("insert-uniform", "20%", 0).is_noise
        return (truth | arms.held_out(material.sequences)).astype(float)

    monkeypatch.setitem(baselines.SCORERS, "random", suspicious)
    (record,), _ = made.detection()
    assert record["auroc"] == 1
    assert record["noise"] == 10


def test_rows_of_whoever_has_no_history_for_noise_do_not_count(lab: Lab) -> None:
    made = lab((f"u{user}", [*around(user), "v", f"t{user}"][: 2 if user % 2 else None]) for user in range(10))
    (record,), _ = made.detection()
    noisy = made.noisy("insert-uniform", "20%", 0)
    assert record["rows"] == int((noisy.sequences.lengths[::2] - 2).sum())
    assert record["noise"] == noisy.is_noise.sum() > 0


def test_the_figures_of_arms_are_those_of_their_ranks(lab: Lab) -> None:
    # "t" and "w" are no one's but for a target: the rarest fifth of ten items.
    last = ["t", "w", "a", "b"] * 10
    made = lab((f"u{user}", ["a", "b", "c", "d", "e", "f", "g", "v", "v", item]) for user, item in enumerate(last))
    codes = {name: code for code, name in enumerate(made.sequences.items.to_pylist(), start=1)}

    def outcome(ranks: list[int], *shown: str) -> arms.Outcome:
        seen = np.isin(np.arange(len(codes) + 1), [codes[name] for name in shown])
        return arms.Outcome(np.array(ranks * 10), seen, 50)

    record = made._compared_arms(
        "neighbours",
        "insert-uniform 20%",
        {
            arms.RAW: [outcome([1, 20, 20, 20], "a")],
            arms.CLEANED: [outcome([20, 20, 20, 20], "b")],
            arms.CLEANED_HISTORY: [outcome([1, 20, 10, 11], "a", "b")],
            arms.RANDOM: [outcome([20, 20, 20, 20])],
            arms.ORACLE: [outcome([1, 2, 3, 20], "a", "b", "t")],
        },
    )
    by_arm = {each["arm"]: each for each in record["arms"]}
    assert [by_arm[name]["HR@10"] for name in by_arm] == [0.25, 0, 0.5, 0, 0.75]
    assert by_arm[arms.ORACLE]["NDCG@10"] == pytest.approx((1 + 1 / np.log2(3) + 1 / 2) / 4)
    assert by_arm[arms.ORACLE]["MRR@10"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 4)
    assert [by_arm[name]["coverage"] for name in by_arm] == pytest.approx([0.1, 0.1, 0.2, 0, 0.3])
    assert record["cold_users"] == 20
    assert [by_arm[name]["cold_HR@10"] for name in by_arm] == [0.5, 0, 0.5, 0, 1]
    assert by_arm[arms.CLEANED_HISTORY]["change"]["HR@10"]["mean"] == pytest.approx(1)
    assert record["recovered_share"] == pytest.approx(0.5), "by the arm whose history is cleaned, too"
    assert record["recovered_share_withheld"] is None


@pytest.mark.parametrize("oracle", [[1, 20, 20, 1], [1, 20, 20, 20], [20, 20, 20, 20]])
def test_where_noise_is_not_shown_to_cost_anything_nothing_is_said_to_be_won_back(lab: Lab, oracle: list[int]) -> None:
    made = lab((f"u{user}", [*"abcd", item]) for user, item in enumerate("abcd"))
    shown = np.zeros(len(made.sequences.items) + 1, dtype=bool)
    ranks = {
        arms.RAW: [1, 20, 20, 20],
        arms.CLEANED: [20, 20, 20, 20],
        arms.CLEANED_HISTORY: [20, 20, 20, 20],
        arms.RANDOM: [20, 20, 20, 20],
        arms.ORACLE: oracle,
    }
    outcomes = {arm: [arms.Outcome(np.array(found), shown, 9)] for arm, found in ranks.items()}
    record = made._compared_arms("neighbours", "insert-uniform 20%", outcomes)
    assert record["recovered_share"] is None
    assert record["recovered_share_withheld"].startswith("What share of the loss to noise is recovered is not told")
    del outcomes[arms.ORACLE]
    assert made._compared_arms("neighbours", None, outcomes)["recovered_share_withheld"] is None


def test_injected_rows_are_listed_under_their_own_users(lab: Lab) -> None:
    # Rows without an item come first, of users in another order.
    histories = {f"u{user}": around(user) * 2 for user in range(10)}
    made = lab([*((user, [""]) for user in reversed(histories)), *histories.items()])
    made.detection()
    (table,) = made.injected
    listed = list(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))
    assert len({user for user, _ in listed}) > 5
    assert not any(item in histories[user] for user, item in listed), "noise is what the user has nowhere"


def test_noise_alike_in_text_is_left_out_where_too_many_items_would_be_compared(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = lab(((f"u{user}", around(user)) for user in range(10)), texts=True)
    kinds = ("insert-uniform", "insert-similar")
    made.config = replace(made.config, study=replace(made.config.study, noise=kinds))
    made.check()
    assert (made.config.study.noise, made.notes) == (kinds, [])
    monkeypatch.setattr(noise, "MOST_SIMILAR_ITEMS", 9)
    made.check()
    assert made.config.study.noise == ("insert-uniform",)
    assert made.notes == ["More than 9 items: noise that is alike in text is left out."]


def change(mean: float | None, low: float = 0, high: float = 0) -> dict[str, Any]:
    return {"HR@10": {"mean": mean, "low": low, "high": high}}


BETTER, WORSE, NEITHER = change(0.06, 0.03, 0.09), change(-0.1, -0.15, -0.05), change(0.01, -0.01, 0.03)
NO_HIT = change(None)
RARE = "rare items lose no more than others."


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ([BETTER], "helps", f"helps recommendations: neighbours HR@10 +6.0% [+3.0, +9.0]; {RARE}"),
        ([WORSE], "does not help", "makes recommendations worse: neighbours HR@10 -10.0% [-15.0, -5.0]; "),
        ([NEITHER], "unclear", "changes recommendations by no more than chance can: neighbours HR@10 +1.0% "),
        (
            [WORSE, BETTER],
            "mixed",
            "makes neighbours worse, and helps gru4rec: neighbours HR@10 -10.0% [-15.0, -5.0]; ",
        ),
        ([WORSE, NEITHER], "mixed", "makes neighbours worse, and changes gru4rec by no more than chance can: "),
        ([BETTER, BETTER], "helps", "helps recommendations: neighbours HR@10 +6.0% [+3.0, +9.0]; gru4rec HR@10 +6.0% "),
        ([NO_HIT], "unclear", f"nothing can be said of recommendations: neighbours hit nothing; {RARE}"),
        (
            [NO_HIT, BETTER],
            "helps",
            "helps recommendations: gru4rec HR@10 +6.0% [+3.0, +9.0]; neighbours hit nothing; ",
        ),
    ],
)
def test_the_verdict_says_what_its_figures_do(changes: list[dict[str, Any]], kind: str, says: str) -> None:
    by_recommender = dict(zip(("neighbours", "gru4rec"), changes, strict=False))
    ranking = [
        {
            "recommender": name,
            "noise": injected,
            "arms": [
                {"arm": arms.RAW, "change": None},
                {"arm": arms.CLEANED, "change": change(-1, -1, -1)},
                {"arm": arms.CLEANED_HISTORY, "change": of_arm if injected is None else change(-1, -1, -1)},
            ],
        }
        for injected in (None, "insert-uniform 10%")
        for name, of_arm in by_recommender.items()
    ]
    found = findings.verdict({"removed": 5, "removed_share": 0.05, "cold_gap": 0.0}, ranking)
    assert found["verdict_kind"] == kind
    assert f"Cleaning removes 5.0% of the rows that train and {says}" in found["verdict"]
    unfair = findings.verdict({"removed": 5, "removed_share": 0.05, "cold_gap": 0.032}, ranking)
    assert unfair["verdict"].endswith("; rare items lose 3.2 points more of their rows.")
