import numpy as np
import oracle
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iadsr_cli import cosines
from iadsr_cli.config import BackboneSettings
from iadsr_cli.cosines import noise_score, score_rows
from iadsr_cli.models import make_backbone
from iadsr_cli.models.alignment import AlignedModel, gumbel_mask
from iadsr_cli.progress import Silent
from iadsr_cli.scores import Status
from iadsr_cli.sequences import Sequences

ITEMS = 23


def make_model(seed: int, layers: int = 2, window: int = 50, text_share: float = 0.7) -> AlignedModel:
    torch.manual_seed(seed)
    settings = BackboneSettings(embedding_size=6, hidden_size=8, layers=layers, window=window)
    backbone = make_backbone(settings, ITEMS)
    vectors = torch.nn.functional.normalize(torch.randn(ITEMS + 1, 5), dim=-1)
    known = torch.rand(ITEMS + 1) < text_share
    known[0] = False
    return AlignedModel(backbone, vectors, known).eval()


def random_histories(seed: int, users: int) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(1, ITEMS + 1, generator.integers(1, 12)).tolist() for _ in range(users)]


def padded(rows: list[list], *, left: bool = False) -> torch.Tensor:
    longest = max(map(len, rows))
    fill = [[0] * (longest - len(row)) for row in rows]
    return torch.tensor([f + row if left else row + f for row, f in zip(rows, fill, strict=True)])


def sequences_of(histories: list[list[int]]) -> Sequences:
    codes = np.concatenate([np.array(history) for history in histories])
    offsets = np.cumsum([0, *map(len, histories)])
    return Sequences(pa.array([str(i) for i in range(ITEMS)]), codes, np.arange(len(codes)), offsets)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    users=st.integers(1, 5),
    layers=st.integers(1, 2),
    masked=st.booleans(),
    left=st.booleans(),
    text_share=st.sampled_from([0.0, 0.6, 1.0]),
)
def test_losses_masks_and_gradients_equal_the_plain_version(
    seed: int, users: int, layers: int, masked: bool, left: bool, text_share: float
) -> None:
    model = make_model(seed, layers, text_share=text_share)
    histories = random_histories(seed, users)
    histories[0] += [1, 2]  # at least one target in the batch
    targets = [[*history[1:], 0] for history in histories]
    generator = np.random.default_rng(seed + 1)
    keeps = [generator.integers(0, 2, len(h)).astype(float).tolist() for h in histories] if masked else None
    noises = [generator.gumbel(size=len(h)).tolist() for h in histories]
    expected, expected_masks = oracle.losses(model, histories, targets, keeps, noises, 0.1, 1.0)

    sum(expected.values()).backward()
    expected_gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    terms, mask = model.losses(
        padded(histories, left=left),
        padded(targets, left=left),
        padded(keeps, left=left).float() if keeps is not None else None,
        padded(noises, left=left).float(),
        0.1,
        1.0,
    )
    terms.total().backward()

    for name, value in expected.items():
        assert getattr(terms, name).item() == pytest.approx(value.item(), abs=1e-5, rel=1e-5), name
    valid = padded(histories, left=left) > 0
    assert mask[valid].tolist() == [value for row in expected_masks for value in row]
    for name, parameter in model.named_parameters():
        gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        wanted = expected_gradients.get(name, torch.zeros_like(parameter))
        if name == "backbone.item_embedding.weight":
            # torch never trains the padding row, the plain version's arithmetic does not reach it either.
            assert not wanted[0].any()
        torch.testing.assert_close(gradient, wanted, atol=2e-5, rtol=1e-4)


def test_training_steps_equal_the_plain_version() -> None:
    histories = [[1, 2, 3, 4], [5, 6], [7, 8, 9, 3, 2]]
    generator = np.random.default_rng(0)
    noises = [[generator.gumbel(size=len(h)).tolist() for h in histories] for _ in range(3)]
    plain, batched = make_model(3), make_model(3)
    optimizers = [torch.optim.AdamW(model.parameters(), 0.01) for model in (plain, batched)]
    masks, keep = None, None
    for draw in noises:
        masks = oracle.training_step(plain, optimizers[0], histories, masks, draw, 0.1, 1.0)
        terms, keep = batched.losses(
            padded(histories), padded([[*h[1:], 0] for h in histories]), keep, padded(draw).float(), 0.1, 1.0
        )
        batched.zero_grad()
        terms.total().backward()
        optimizers[1].step()
    for (name, ours), theirs in zip(batched.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3, msg=name)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), users=st.integers(1, 6), text_share=st.sampled_from([0.0, 0.5, 1.0]))
def test_scores_equal_the_plain_version(seed: int, users: int, text_share: float) -> None:
    model = make_model(seed, text_share=text_share)
    histories = random_histories(seed, users)
    sequences = sequences_of(histories)
    scores = score_rows(model, np.ones(ITEMS + 1, np.int64), sequences, np.ones(len(sequences.codes), bool), Silent())
    row = 0
    with torch.no_grad():
        for history in histories:
            for expected in oracle.noise(model, history):
                if len(history) == 1:
                    assert np.isnan(scores.noise[row])
                    assert scores.status[row] == Status.SHORT_HISTORY
                else:
                    assert scores.noise[row] == pytest.approx(expected, abs=1e-5)
                row += 1


def test_long_histories_are_scored_whole_and_windows_agree_with_enough_past() -> None:
    # A GRU forgets: with a window much longer than its memory, overlapping windows change next to nothing, and no
    # row of a history longer than the window is left out.
    history = random_histories(3, 1)[0] * 40
    whole, windowed = make_model(7, window=10_000), make_model(7, window=64)
    both = [
        score_rows(model, np.ones(ITEMS + 1, np.int64), sequences_of([history]), np.ones(len(history), bool), Silent())
        for model in (whole, windowed)
    ]
    assert len(history) > 64
    assert not np.isnan(both[1].noise).any()
    np.testing.assert_allclose(both[0].noise, both[1].noise, atol=1e-4)


def test_scores_do_not_depend_on_the_company_of_other_users() -> None:
    model = make_model(5)
    histories = random_histories(11, 40)
    rows = sum(map(len, histories))
    together = score_rows(model, np.ones(ITEMS + 1, np.int64), sequences_of(histories), np.ones(rows, bool), Silent())
    alone = [
        score_rows(model, np.ones(ITEMS + 1, np.int64), sequences_of([h]), np.ones(len(h), bool), Silent()).noise
        for h in histories
    ]
    np.testing.assert_allclose(together.noise, np.concatenate(alone), atol=1e-6)


def test_scores_do_not_depend_on_how_many_rows_are_scored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(3, text_share=0.5)
    sequences = sequences_of([[3, 1, 4, 1], [5], [2, 6, 5, 3, 5], [8, 7], [4, 4, 4]])
    given = model, np.ones(ITEMS + 1, np.int64), sequences, np.ones(len(sequences.codes), bool), Silent()
    together = score_rows(*given)
    monkeypatch.setattr(cosines, "_PROJECTED_AT_ONCE", 7)
    monkeypatch.setattr(cosines, "_INTERACTIONS_AT_ONCE", 3)
    apart = score_rows(*given)
    np.testing.assert_array_equal(apart.status, together.status)
    np.testing.assert_allclose(apart.terms, together.terms, atol=1e-6)


def test_an_item_without_text_and_without_training_has_no_evidence() -> None:
    model = make_model(1, text_share=0.5)
    unknown = next(code for code in range(1, ITEMS + 1) if not model.known[code])
    trained = np.ones(ITEMS + 1, np.int64)
    trained[unknown] = 0
    others = [code for code in range(1, ITEMS + 1) if code != unknown][:3]
    history = [others[0], unknown, *others[1:]]
    scores = score_rows(model, trained, sequences_of([history]), np.ones(4, bool), Silent())
    assert scores.status[1] == Status.NO_EVIDENCE
    assert np.isnan(scores.noise[1])
    assert not np.isnan(scores.terms[0]).any()


def test_the_vector_of_an_item_without_text_is_never_read() -> None:
    torch.manual_seed(0)
    backbone = make_backbone(BackboneSettings(embedding_size=6, hidden_size=8), ITEMS)
    known = torch.ones(ITEMS + 1, dtype=torch.bool)
    known[[0, 4]] = False
    vectors = torch.randn(ITEMS + 1, 5)
    model = AlignedModel(backbone, vectors, known).eval()
    other = vectors.clone()
    other[4] = torch.nan
    again = AlignedModel(backbone, other, known).eval()
    again.load_state_dict({**model.state_dict(), "semantic": again.semantic})
    items = torch.tensor([[1, 4, 2, 0]])
    assert torch.equal(model.interests(items).s_short, again.interests(items).s_short)
    assert torch.equal(model.interests(items).s_long, again.interests(items).s_long)


def test_the_noise_score_is_the_share_of_masks_that_do_not_keep() -> None:
    generator = torch.Generator().manual_seed(0)
    for score in (-2.0, -0.3665, 0.0, 1.0):
        noise = -torch.log(-torch.log(torch.rand(200_000, generator=generator)))
        kept = gumbel_mask(torch.full_like(noise, score), noise, 1.0).mean().item()
        assert noise_score(np.array([[score, 0, 0]]))[0] == pytest.approx(1 - kept, abs=0.004)


def test_the_mask_is_hard_and_its_gradient_is_the_sigmoids() -> None:
    scores = torch.tensor([-1.0, 0.2, 3.0], requires_grad=True)
    mask = gumbel_mask(scores, torch.zeros(3), 0.5)
    assert mask.tolist() == [0.0, 1.0, 1.0]
    mask.sum().backward()
    sigmoid = torch.sigmoid(scores.detach() / 0.5)
    torch.testing.assert_close(scores.grad, sigmoid * (1 - sigmoid) / 0.5)
