"""The closed-form recommender against plain loops, and on data whose structure is known."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from iadsr_cli.config import BackboneSettings
from iadsr_cli.evaluation import neighbours
from iadsr_cli.evaluation.neighbours import ItemNeighbours
from iadsr_cli.models.backbone import Backbone
from iadsr_cli.ranking import held_out_ranks, hit_rate
from iadsr_cli.sequences import Sequences, stretches, user_items

ITEMS = 12


def sequences_of(*histories: list[int], items: int = ITEMS) -> Sequences:
    codes = np.array([code for history in histories for code in history], dtype=np.int64)
    offsets = np.cumsum([0, *map(len, histories)])
    return Sequences(pa.array([str(i) for i in range(items)]), codes, np.arange(len(codes)), offsets)


def random_sequences(seed: int, users: int = 30, items: int = ITEMS) -> Sequences:
    generator = np.random.default_rng(seed)
    return sequences_of(
        *[generator.integers(1, items + 1, generator.integers(1, 9)).tolist() for _ in range(users)], items=items
    )


def histories_of(sequences: Sequences) -> list[list[int]]:
    return [part.tolist() for part in np.split(sequences.codes, sequences.offsets[1:-1])]


def ranked(
    model: ItemNeighbours,
    sequences: Sequences,
    from_end: int,
    users: np.ndarray | None = None,
    shown: np.ndarray | None = None,
) -> dict[int, int]:
    found: dict[int, int] = {}
    for chunk, ranks in model.ranks(sequences, from_end, users, shown):
        found.update(zip(chunk.tolist(), ranks.tolist(), strict=True))
    return found


def slow_ranks(
    sequences: Sequences, ends: np.ndarray, from_end: int, k: int, shrink: float, decay: float
) -> dict[int, int]:
    """Rank as plainly as it can be written: one user, one item and one neighbour at a time."""
    items = len(sequences.items)
    sets = [set(history[:end]) for history, end in zip(histories_of(sequences), ends, strict=True)]
    count = {i: sum(i in one for one in sets) for i in range(1, items + 1)}
    nearest: dict[int, dict[int, float]] = {}
    for i, users_of_i in count.items():
        ties = {
            j: sum(i in one and j in one for one in sets) / (np.sqrt(users_of_i * count[j]) + shrink)
            for j in count
            if j != i and any(i in one and j in one for one in sets)
        }
        nearest[i] = dict(sorted(ties.items(), key=lambda tie: (-tie[1], tie[0]))[:k])
    ranks = {}
    for user, history in enumerate(histories_of(sequences)):
        if len(history) < 3:
            continue
        past, target = history[: len(history) - from_end], history[len(history) - from_end]
        score = dict.fromkeys(count, 0.0)
        for place, i in enumerate(past):
            for j, tie in nearest[i].items():
                score[j] += decay ** (len(past) - 1 - place) * tie
        # Ties by popularity; what is still tied counts against the item.
        better = [(round(score[i], 9), count[i]) >= (round(score[target], 9), count[target]) for i in count]
        ranks[user] = sum(better)
    return ranks


@pytest.mark.parametrize("from_end", [1, 2])
@pytest.mark.parametrize(("k", "shrink", "decay"), [(200, 0.0, 1.0), (3, 10.0, 0.8), (1, 2.0, 0.5)])
def test_ranks_equal_plain_loops(from_end: int, k: int, shrink: float, decay: float) -> None:
    for seed in range(3):
        sequences = random_sequences(seed)
        ends = sequences.train_lengths(2)
        model = ItemNeighbours.fit(sequences, ends, neighbours=k, shrink=shrink, decay=decay)
        assert ranked(model, sequences, from_end) == slow_ranks(sequences, ends, from_end, k, shrink, decay)


def test_similarity_of_a_log_computed_by_hand() -> None:
    model = ItemNeighbours.fit(sequences_of([1, 2], [1, 2, 2], [1, 3], items=4), np.array([2, 3, 2]), shrink=1.0)
    together, once = 2 / (np.sqrt(6) + 1), 1 / (np.sqrt(3) + 1)
    expected = [[0, together, once, 0], [together, 0, 0, 0], [once, 0, 0, 0], [0, 0, 0, 0]]
    assert model.similarity.toarray() == pytest.approx(np.array(expected))
    assert model.popularity == pytest.approx(np.array([1, 2 / 3, 1 / 3, 0]) * 1e-9)


def test_later_items_of_a_history_weigh_more_and_an_item_gains_nothing_from_itself() -> None:
    sequences = sequences_of([1, 2], [3, 4], [1, 3, 3])
    model = ItemNeighbours.fit(sequences, np.array([2, 2, 0]), shrink=0.0, decay=0.5)
    scores = model.scores(sequences, np.array([2, 2]), np.array([2, 3]))
    assert scores[0, :4] == pytest.approx([0, 0.5, 0, 1], abs=1e-8)
    assert scores[1, :4] == pytest.approx([0, 0.25, 0, 1.5], abs=1e-8), "each time that an item occurs counts"


def test_items_without_neighbours_are_ranked_by_popularity_and_ties_count_against_the_item() -> None:
    # Item 9 is alone in its history, so nothing is known but how many have what: 1 three, 2 two, 3 and 4 one.
    fitted = sequences_of([1, 2], [1, 2], [1], [3], [4], [9], items=9)
    model = ItemNeighbours.fit(fitted, fitted.lengths)
    asked = sequences_of(*[[9, 9, target] for target in (1, 2, 3, 4, 8)], items=9)
    assert ranked(model, asked, 1) == {0: 1, 1: 2, 2: 5, 3: 5, 4: 9}


def test_what_is_held_out_teaches_nothing() -> None:
    sequences = random_sequences(4)
    ends = sequences.train_lengths(2)
    codes = sequences.codes.copy()
    codes[sequences.offsets[1:][sequences.lengths >= 3] - 1] = 1
    changed = Sequences(sequences.items, codes, sequences.row_ids, sequences.offsets)
    first, second = (ItemNeighbours.fit(one, ends) for one in (sequences, changed))
    assert np.array_equal(first.similarity.toarray(), second.similarity.toarray())
    assert np.array_equal(first.popularity, second.popularity)


class Same(Backbone):
    """Gives a sequential recommender the scores of the neighbours, so that both protocols rank the same."""

    def __init__(self, model: ItemNeighbours, items: int) -> None:
        super().__init__(BackboneSettings(embedding_size=items, hidden_size=items, window=50), items)
        self.model = model

    def forward(self, items: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        ends = (items > 0).sum(1).numpy()
        codes = items[items > 0].numpy()
        offsets = np.concatenate([[0], np.cumsum(ends)])
        histories = Sequences(pa.nulls(items.shape[1]), codes, np.arange(len(codes)), offsets)
        scores = torch.from_numpy(self.model.scores(histories, np.arange(len(ends)), ends))
        return scores.unsqueeze(1).expand(-1, items.shape[1], -1)

    def logits(self, states: torch.Tensor, seen: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        return states.clone()

    def states(self, embedded: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


@pytest.mark.parametrize("from_end", [1, 2])
@pytest.mark.parametrize("users", [None, np.array([7, 0, 3, 12, 5])])
def test_the_protocol_is_that_of_sequential_recommenders(from_end: int, users: np.ndarray | None) -> None:
    sequences = random_sequences(1)
    model = ItemNeighbours.fit(sequences, sequences.train_lengths(2))
    shown = np.zeros((2, ITEMS + 1), dtype=bool)
    expected = {}
    for chunk, chunk_ranks in held_out_ranks(Same(model, ITEMS), sequences, from_end, users, shown[0]):
        expected.update(zip(chunk.tolist(), chunk_ranks.tolist(), strict=True))
    assert ranked(model, sequences, from_end, users, shown[1]) == expected
    assert all(sequences.lengths[user] >= 3 for user in expected)


def test_what_is_shown_is_anyones_first_ten() -> None:
    sequences = random_sequences(2, items=40)
    model = ItemNeighbours.fit(sequences, sequences.lengths)
    for users in (np.array([0]), None):
        shown = np.zeros(41, dtype=bool)
        chosen = np.array(list(ranked(model, sequences, 1, users, shown)))
        scores = model.scores(sequences, chosen, sequences.lengths[chosen] - 1)
        # Only what no tie leaves open.
        tenth = np.sort(scores, axis=1)[:, -10:-9]
        assert shown[1:][(scores > tenth).any(0)].all()
        assert not shown[1:][~(scores >= tenth).any(0)].any()
        assert not shown[0]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = random_sequences(3)
    found = []
    for at_once in (16_000_000, 40, 1):
        monkeypatch.setattr(neighbours, "_SCORES_AT_ONCE", at_once)
        monkeypatch.setattr(neighbours, "_PRODUCTS_AT_ONCE", at_once)
        model = ItemNeighbours.fit(sequences, sequences.train_lengths(2), neighbours=4)
        found.append((model.similarity.toarray(), ranked(model, sequences, 2)))
    for similarity, ranks in found[1:]:
        assert np.array_equal(similarity, found[0][0])
        assert ranks == found[0][1]


def test_items_of_the_same_cluster_are_found() -> None:
    generator = np.random.default_rng(0)
    # Five clusters of twenty items; a user stays in one, so chance is 10 in 100 and perfect knowledge 10 in 20.
    codes = np.repeat(generator.integers(0, 5, 300), 8) * 20 + generator.integers(1, 21, 2400)
    sequences = sequences_of(*codes.reshape(300, 8).tolist(), items=100)
    _, ranks = next(ItemNeighbours.fit(sequences, sequences.train_lengths(2)).ranks(sequences, 1))
    assert hit_rate(ranks, 10).mean() > 0.4
    assert hit_rate(ranks, 20).mean() > 0.95


def test_a_chain_is_followed() -> None:
    generator = np.random.default_rng(0)
    # Each item is followed by the next one of a ring of 60, now and then by any other.
    steps = np.where(generator.random((400, 7)) < 0.9, 1, generator.integers(0, 60, (400, 7)))
    codes = (generator.integers(0, 60, (400, 1)) + np.cumsum(steps, axis=1)) % 60 + 1
    sequences = sequences_of(*codes.tolist(), items=60)
    _, ranks = next(ItemNeighbours.fit(sequences, sequences.train_lengths(2), decay=0.5).ranks(sequences, 1))
    assert hit_rate(ranks, 5).mean() > 0.7


def test_who_has_what_is_binary_and_of_the_chosen_interactions() -> None:
    sequences = sequences_of([1, 1, 2], [3], items=3)
    chosen = np.array([True, True, False, True])
    assert user_items(sequences, chosen).toarray().tolist() == [[1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([3], [(0, 1)]),
        ([2, 2, 2, 2], [(0, 2), (2, 4)]),
        ([9, 1, 1], [(0, 1), (1, 3)]),
        ([0, 4, 0], [(0, 2), (2, 3)]),
    ],
)
def test_stretches_cover_everything_once(sizes: list[int], expected: list[tuple[int, int]]) -> None:
    assert stretches(np.array(sizes, dtype=np.int64), 4) == expected
