import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import ndcg_score

from iadsr_cli.config import BackboneSettings
from iadsr_cli.models.backbone import Backbone
from iadsr_cli.ranking import held_out_ranks, hit_rate, ndcg, reciprocal_rank, summarise
from iadsr_cli.sequences import Sequences


class Table(Backbone):
    """Scores every item by a fixed table, whatever the history."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__(BackboneSettings(embedding_size=1, hidden_size=1, window=3), len(scores))
        with torch.no_grad():
            self.item_embedding.weight.zero_()
            self.item_bias[1:] = torch.tensor(scores)
        self.seen: list[list[int]] = []

    def forward(self, items: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        self.seen += items.tolist()
        return torch.zeros(*items.shape, 1)

    def states(self, embedded: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


def sequences_of(*histories: list[int]) -> Sequences:
    codes = np.concatenate([np.array(h) for h in histories])
    offsets = np.cumsum([0, *map(len, histories)])
    return Sequences(pa.array(["a", "b", "c", "d"]), codes, np.arange(len(codes)), offsets)


def test_the_last_item_is_ranked_among_all_given_the_window_before_it() -> None:
    model = Table([0.1, 0.4, 0.3, 0.2])
    found = {}
    for users, ranks in held_out_ranks(model, sequences_of([1, 2, 3], [4, 3, 1, 1, 2]), 1):
        found.update(zip(users.tolist(), ranks.tolist(), strict=True))
    assert found == {0: 2, 1: 1}
    assert sorted(model.seen) == [[1, 2, 0], [3, 1, 1]], "the item itself, or more than a window, was shown"


def test_validation_ranks_the_second_last_item_and_hides_both() -> None:
    model = Table([0.1, 0.4, 0.3, 0.2])
    _, ranks = next(held_out_ranks(model, sequences_of([2, 1, 4, 3]), 2))
    assert ranks.tolist() == [3]
    assert model.seen == [[2, 1]]


def test_ties_count_against_the_item() -> None:
    _, ranks = next(held_out_ranks(Table([0.5, 0.5, 0.5, 0.1]), sequences_of([1, 2, 3]), 1))
    assert ranks.tolist() == [3]


def test_an_item_whose_score_is_no_number_comes_last_and_others_come_before_it() -> None:
    nan = float("nan")
    _, ranks = next(held_out_ranks(Table([0.4, 0.5, nan, 0.1]), sequences_of([1, 2, 3], [1, 2, 4], [1, 4, 2]), 1))
    assert ranks.tolist() == [4, 4, 2]


def test_short_histories_are_passed_over() -> None:
    model = Table([0.1, 0.2, 0.3, 0.4])
    chunks = list(held_out_ranks(model, sequences_of([1, 2], [3, 4, 1]), 1))
    assert [users.tolist() for users, _ in chunks] == [[1]]


def test_chunks_do_not_change_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sequences = Table([0.1, 0.4, 0.3, 0.2]), sequences_of(*[[1, 2, i % 4 + 1] for i in range(9)])
    whole = list(held_out_ranks(model, sequences, 1))
    monkeypatch.setattr("iadsr_cli.ranking._SCORES_AT_ONCE", 8)
    parts = list(held_out_ranks(model, sequences, 1))
    assert len(whole) == 1 < len(parts)
    assert np.array_equal(whole[0][1], np.concatenate([ranks for _, ranks in parts]))


def test_metrics_of_known_ranks() -> None:
    ranks = np.array([1, 2, 5, 6, 100])
    assert hit_rate(ranks, 5).tolist() == [1, 1, 1, 0, 0]
    assert reciprocal_rank(ranks, 5).tolist() == [1, 0.5, 0.2, 0, 0]
    assert ndcg(ranks, 5) == pytest.approx([1, 1 / np.log2(3), 1 / np.log2(6), 0, 0])
    summary = summarise(ranks)
    assert summary["HR@10"] == pytest.approx(0.8)
    assert summary["MRR@5"] == pytest.approx(1.7 / 5)
    assert set(summary) == {f"{name}@{k}" for name in ("HR", "NDCG", "MRR") for k in (5, 10, 20)}


def test_ndcg_equals_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        scores = generator.permutation(30).astype(float)
        target = generator.integers(30)
        rank = np.array([(scores >= scores[target]).sum()])
        relevance = np.zeros((1, 30))
        relevance[0, target] = 1
        assert ndcg(rank, 10)[0] == pytest.approx(ndcg_score(relevance, scores[None], k=10))
