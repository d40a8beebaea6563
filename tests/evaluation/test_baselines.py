"""Every scorer against plain loops or figures worked out by hand, and against noise that was planted."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import oracle
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import roc_auc_score

from iadsr_cli import config
from iadsr_cli import sequences as sequences_module
from iadsr_cli.config import TRAINED_SCORERS, BackboneSettings
from iadsr_cli.crossfit import Panel, lessons
from iadsr_cli.evaluation import baselines
from iadsr_cli.evaluation.baselines import SCORERS, Material
from iadsr_cli.models import BACKBONES, make_backbone
from iadsr_cli.models.alignment import AlignedModel
from iadsr_cli.progress import Silent
from iadsr_cli.sequences import Sequences

ITEMS, WINDOW = 20, 6
PAIRED = tuple(name for name in SCORERS if name not in ("random", "popularity"))


def sequences_of(*histories: list[int], items: int = ITEMS) -> Sequences:
    codes = np.array([code for history in histories for code in history], dtype=np.int64)
    offsets = np.cumsum([0, *map(len, histories)])
    # Rows of the log stand in another order than interactions.
    return Sequences(pa.array([str(i) for i in range(items)]), codes, np.arange(len(codes))[::-1] * 3, offsets)


def random_sequences(seed: int = 0, users: int = 25) -> Sequences:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, WINDOW * 4, users)
    return sequences_of(*[generator.integers(1, ITEMS + 1, length).tolist() for length in lengths])


def histories_of(sequences: Sequences) -> list[list[int]]:
    return [part.tolist() for part in np.split(sequences.codes, sequences.offsets[1:-1])]


def random_vectors(seed: int = 5, items: int = ITEMS, size: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors and which are known: one in five is not."""
    known = np.arange(items + 1) % 5 > 0
    vectors = np.random.default_rng(seed).normal(size=(items + 1, size)) * known[:, None]
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(np.float32), known


def forbidden() -> None:
    raise AssertionError("this scorer needs no trained model")


def material_of(
    sequences: Sequences, vectors: np.ndarray | None = None, backbone: str | None = None, seed: int = 0
) -> Material:
    """Return material whose models are untrained but not small in their weights; none where no backbone is named."""
    if vectors is None:
        vectors, _ = random_vectors(items=len(sequences.items))
    material = Material(
        sequences,
        vectors,
        vectors.any(axis=1),
        seed,
        forbidden,
        forbidden,
        lambda: Panel(sequences, vectors, [None] * len(sequences.items), seed, Silent()).scores(),
        Silent(),
    )
    if backbone is None:
        return material
    torch.manual_seed(3)
    settings = BackboneSettings(backbone=backbone, embedding_size=8, hidden_size=8, window=WINDOW)
    made = make_backbone(settings, len(sequences.items))
    with torch.no_grad():
        made.item_bias.normal_()
        made.repeat.fill_(0.7)
    aligned = AlignedModel(made, torch.from_numpy(vectors), torch.from_numpy(material.known))
    return replace(material, backbone=lambda: made, aligned=lambda: aligned)


def test_scorers_have_the_names_that_can_be_asked_for() -> None:
    assert tuple(SCORERS) == config.SCORERS


@pytest.mark.parametrize("name", SCORERS)
def test_there_is_one_score_per_interaction_and_a_single_one_has_nothing_to_be_compared_with(name: str) -> None:
    sequences = sequences_of([1, 2, 3], [4], [2, 3, 1, 4])
    scores = SCORERS[name](material_of(sequences, backbone="gru4rec" if name in TRAINED_SCORERS else None))
    assert scores.dtype == np.float64
    assert scores.shape == (8,)
    unsaid = {3} if name in PAIRED else set()
    # A recommender expects nothing before the first interaction.
    assert set(np.flatnonzero(np.isnan(scores))) == (unsaid | {0, 4} if name == "backbone" else unsaid)


@pytest.mark.parametrize("name", SCORERS)
def test_users_without_interactions_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whose rows are lent to others is drawn from all users: once is too seldom for that here.
    monkeypatch.setattr(lessons, "_LESSONS", (1, 1))
    sequences = sequences_of([1, 2, 3], [2, 3, 1, 4])
    gaps = replace(sequences, offsets=np.array([0, 0, 3, 3, 7, 7]))
    scorer, kind = SCORERS[name], "gru4rec" if name in TRAINED_SCORERS else None
    expected = scorer(material_of(sequences, backbone=kind))
    for constant in ("_VALUES_AT_ONCE", "_PAIRS_AT_ONCE", "_INTERACTIONS_AT_ONCE"):
        monkeypatch.setattr(baselines, constant, 1)
    monkeypatch.setattr(sequences_module, "_PLACES_AT_ONCE", 1)
    assert scorer(material_of(gaps, backbone=kind)) == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_random_is_seeded_and_finds_nothing() -> None:
    sequences = sequences_of(*[[1, 2, 3, 4, 5]] * 4000)
    is_noise = np.random.default_rng(1).random(20_000) < 0.1
    first, again, other = (SCORERS["random"](material_of(sequences, seed=seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert roc_auc_score(is_noise, first) == pytest.approx(0.5, abs=0.03)


def test_popularity_is_minus_the_logarithm_of_the_count() -> None:
    scores = SCORERS["popularity"](material_of(sequences_of([1, 2, 1], [3, 1])))
    assert scores == pytest.approx(-np.log([3, 1, 3, 1, 3]))


def test_text_is_compared_with_the_rest_of_the_history() -> None:
    vectors = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8], [0, 0]], dtype=np.float32)
    scores = SCORERS["text"](material_of(sequences_of([1, 2, 3], [1, 4], [1, 4, 1], [4, 4], items=4), vectors))
    # Means of the rest, up to length: (0.6, 1.8), (1.6, 0.8), (1, 1).
    cosines = [0.6 / np.sqrt(3.6), 0.8 / np.sqrt(3.2), 1.4 / np.sqrt(2)]
    expected = [*cosines, np.nan, np.nan, 1, np.nan, 1, np.nan, np.nan]
    assert scores == pytest.approx(-np.array(expected), nan_ok=True)


def test_a_rest_that_cancels_says_nothing() -> None:
    opposite = np.random.default_rng(0).normal(size=(4, 50))
    opposite /= np.linalg.norm(opposite, axis=1, keepdims=True)
    vectors = np.concatenate([np.zeros((1, 50)), opposite, -opposite[1:]]).astype(np.float32)
    # Beside the first there are three pairs that cancel.
    scores = SCORERS["text"](material_of(sequences_of([1, 2, 3, 4, 5, 6, 7], items=7), vectors))
    assert np.isnan(scores).tolist() == [True] + [False] * 6


def test_a_log_without_text_gives_text_nothing_to_say() -> None:
    sequences = sequences_of([1, 2, 3], [2, 3])
    for size in (0, 4):
        assert np.isnan(SCORERS["text"](material_of(sequences, np.zeros((ITEMS + 1, size), np.float32)))).all()


def slow_co_occurrence(sequences: Sequences, most: int) -> list[float]:
    """Leave the user out, and count."""
    recent = [set(history[-most:]) for history in histories_of(sequences)]
    scores = []
    for user, history in enumerate(histories_of(sequences)):
        others = [one for index, one in enumerate(recent) if index != user]
        for item in history:
            ties = []
            for other in recent[user] - {item}:
                both = sum(item in one and other in one for one in others)
                each = sum(item in one for one in others) * sum(other in one for one in others)
                ties.append(both / np.sqrt(each) if both else 0.0)
            scores.append(-np.mean(ties) if ties else np.nan)
    return scores


def test_co_occurrence_of_a_log_computed_by_hand() -> None:
    scores = SCORERS["co-occurrence"](material_of(sequences_of([1, 2, 3], [1, 2], [1, 4], [5, 5])))
    # Of the first user's items, 1 and 2 are together in one other history, and two other users have 1.
    tie = 1 / np.sqrt(2)
    assert scores == pytest.approx(-np.array([tie / 2, tie / 2, 0, tie, tie, 0, 0, np.nan, np.nan]), nan_ok=True)


@pytest.mark.parametrize("most", [500, 5, 1])
def test_co_occurrence_leaves_the_user_out(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(baselines, "_MOST_TOGETHER", most)
    for seed in range(3):
        sequences = random_sequences(seed)
        scores = SCORERS["co-occurrence"](material_of(sequences))
        assert scores == pytest.approx(np.array(slow_co_occurrence(sequences, most)), nan_ok=True)


def test_a_row_does_not_vouch_for_itself() -> None:
    others = [[1, 2, 3], [2, 3, 1], [4, 5, 6], [6, 5, 4]]
    found = {}
    for stranger in (4, 9):
        # Whether the stranger is another's or nobody's, neither it nor the rows beside it gain by its being here.
        scores = SCORERS["co-occurrence"](material_of(sequences_of([1, 2, stranger], *others)))
        assert scores[2] == 0
        found[stranger] = scores[:2]
    assert found[4] == pytest.approx(found[9])
    assert (found[4] < 0).all()


def test_svd_equals_a_dense_one() -> None:
    sequences = random_sequences()
    held = np.zeros((len(sequences.lengths), ITEMS))
    held[sequences.user_index, sequences.codes - 1] = 1
    _, strength, directions = np.linalg.svd(held, full_matrices=False)
    factors = directions.T * strength
    factors /= np.linalg.norm(factors, axis=1, keepdims=True)
    expected = []
    for history in histories_of(sequences):
        for place, item in enumerate(history):
            rest = [factors[other - 1] for index, other in enumerate(history) if index != place]
            mean = np.mean(rest, axis=0) if rest else np.full(ITEMS, np.nan)
            expected.append(-factors[item - 1] @ mean / np.linalg.norm(mean))
    assert SCORERS["svd"](material_of(sequences)) == pytest.approx(np.array(expected), nan_ok=True)


def test_items_outside_of_the_directions_of_the_svd_have_no_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_DIRECTIONS", 1)
    sequences = sequences_of(*[[1, 2, 3]] * 5, [4, 5], items=5)
    scores = SCORERS["svd"](material_of(sequences))
    assert scores[:-2] == pytest.approx(-np.ones(15))
    assert np.isnan(scores[-2:]).all()


def slow_windows(history: list[int], window: int) -> list[list[int]]:
    """Return the items that each place sees of its past, itself included: in windows that overlap by half."""
    stride, context, seen = max(1, window // 2), 0, []
    for start in range(0, len(history), stride):
        piece = history[start : start + window]
        seen += [piece[: place + 1] for place in range(context, len(piece))]
        context = window - stride
        if start + window >= len(history):
            break
    return seen


@pytest.mark.parametrize("kind", sorted(BACKBONES))
@torch.no_grad()
def test_the_recommenders_loss_equals_a_loop_over_positions(kind: str) -> None:
    sequences = random_sequences()
    assert sequences.lengths.max() > 3 * WINDOW
    material = material_of(sequences, backbone=kind)
    backbone = material.backbone()
    backbone.train()
    found = SCORERS["backbone"](material)
    expected = []
    for history in histories_of(sequences):
        for seen in slow_windows(history, WINDOW + 1):
            if len(seen) == 1:
                expected.append(np.nan)
                continue
            *past, item = seen
            state = backbone(torch.tensor([past]))[:, -1]
            logits = backbone.logits(state, torch.tensor([sorted(set(past))]))
            expected.append(-torch.log_softmax(logits, 1)[0, item - 1].item())
    assert found == pytest.approx(np.array(expected), abs=1e-5, nan_ok=True)
    assert not backbone.training


@torch.no_grad()
def test_the_halves_of_iadsr_equal_plain_loops() -> None:
    sequences = random_sequences()
    short = sequences.where(np.arange(len(sequences.codes)) - sequences.offsets[sequences.user_index] < WINDOW)
    material = material_of(short, backbone="gru4rec")
    model = material.aligned()
    behaviour, texts, published = [], [], []
    for history in histories_of(short):
        states = oracle.gru_states(model.eval(), history, None)
        c_long, s_long = torch.stack(states).amax(0), oracle.history_interest(model, history)
        with_text = sum(bool(model.known[item]) for item in history)
        alone = len(history) < 2
        for item, state in zip(history, states, strict=True):
            behaviour.append(np.nan if alone else -oracle.cosine(c_long, state).item())
            judged = model.known[item] and with_text > 1
            texts.append(-oracle.cosine(s_long, oracle.item_interest(model, item)).item() if judged else np.nan)
        published += [np.nan] * len(history) if alone else oracle.noise(model, history)
    for name, expected in (("collaborative", behaviour), ("semantic", texts), ("iadsr", published)):
        assert SCORERS[name](material) == pytest.approx(np.array(expected), abs=1e-5, nan_ok=True), name


@torch.no_grad()
def test_behaviour_in_long_histories_is_judged_in_overlapping_windows() -> None:
    sequences = random_sequences()
    material = material_of(sequences, backbone="gru4rec")
    backbone = material.backbone().eval()
    expected = []
    for history in histories_of(sequences):
        states = [backbone(torch.tensor([seen]))[0, -1] for seen in slow_windows(history, WINDOW)]
        c_long = torch.stack(states).amax(0)
        expected += [-oracle.cosine(c_long, state).item() if len(history) > 1 else np.nan for state in states]
    assert SCORERS["collaborative"](material) == pytest.approx(np.array(expected), abs=1e-5, nan_ok=True)


def test_an_item_without_text_that_was_only_held_out_is_not_judged_by_the_published_score() -> None:
    sequences = sequences_of([1, 2, 5], [2, 1, 3])
    material = material_of(sequences, backbone="gru4rec")
    assert np.isnan(SCORERS["iadsr"](material)).tolist() == [False, False, True, False, False, False]
    assert not np.isnan(SCORERS["iadsr"](replace(material, hold_out=0))).any()


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize("name", PAIRED)
def test_chunks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    material = material_of(random_sequences(), backbone="sasrec" if name in TRAINED_SCORERS else None)
    whole = SCORERS[name](material)
    for at_once in (50, 1):
        for constant in ("VALUES", "PAIRS", "INTERACTIONS", "LOGITS"):
            monkeypatch.setattr(baselines, f"_{constant}_AT_ONCE", at_once)
        monkeypatch.setattr(sequences_module, "_PLACES_AT_ONCE", at_once)
        assert SCORERS[name](material) == pytest.approx(whole, rel=1e-6, abs=1e-6, nan_ok=True)


def planted(seed: int = 0) -> tuple[Sequences, np.ndarray, np.ndarray]:
    """Return a log of ten clusters of twenty items, vectors near their cluster's, and which rows are strangers."""
    generator = np.random.default_rng(seed)
    users, length, size = 600, 10, 20
    cluster = np.repeat(generator.integers(0, 10, users), length)
    is_noise = generator.random(users * length) < 0.1
    cluster = np.where(is_noise, generator.integers(0, 10, len(cluster)), cluster)
    codes = cluster * size + generator.integers(1, size + 1, len(cluster))
    vectors = np.zeros((10 * size + 1, 16))
    vectors[1:] = np.repeat(generator.normal(size=(10, 16)), size, axis=0) + generator.normal(size=(10 * size, 16))
    vectors[1:] /= np.linalg.norm(vectors[1:], axis=1, keepdims=True)
    return sequences_of(*codes.reshape(users, length).tolist(), items=200), vectors.astype(np.float32), is_noise


# One in ten strangers is of the user's own cluster by chance: 0.95 is as good as can be.
@pytest.mark.parametrize(("name", "floor"), [("text", 0.85), ("co-occurrence", 0.92), ("svd", 0.85)])
def test_planted_strangers_are_found(name: str, floor: float) -> None:
    sequences, vectors, is_noise = planted()
    assert roc_auc_score(is_noise, SCORERS[name](material_of(sequences, vectors))) > floor


def test_scorers_judge_rows_wherever_the_users_stand() -> None:
    sequences = random_sequences()
    histories = histories_of(sequences)
    turned = sequences_of(*histories[::-1])

    def by_user(score: Callable[[Material], np.ndarray], of: Sequences, kind: str | None) -> list[np.ndarray]:
        return np.split(score(material_of(of, backbone=kind)), of.offsets[1:-1])

    # The folds of crossfit go by the order of the users.
    for name in [name for name in PAIRED if name != "crossfit"]:
        kind = "caser" if name in TRAINED_SCORERS else None
        first, second = (by_user(SCORERS[name], of, kind) for of in (sequences, turned))
        for one, other in zip(first, second[::-1], strict=True):
            assert one == pytest.approx(other, abs=1e-5, nan_ok=True), name
