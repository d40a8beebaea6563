import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from iadsr_cli import hardware
from iadsr_cli.config import BackboneSettings
from iadsr_cli.models import Backbone, make_backbone
from iadsr_cli.models.backbone import distinct, seen_before
from iadsr_cli.models.losses import FullSoftmax, SampledSoftmax, info_nce

ITEMS = 23


def make_case(positions: int, seed: int = 0) -> tuple[Backbone, Tensor, Tensor, Tensor]:
    """Return a recommender, items, states and targets, of which some are missing."""
    torch.manual_seed(seed)
    backbone = make_backbone(BackboneSettings(embedding_size=6, hidden_size=8), ITEMS).eval()
    torch.nn.init.normal_(backbone.item_embedding.weight)
    torch.nn.init.normal_(backbone.item_bias)
    torch.nn.init.constant_(backbone.repeat, -0.7)
    items = torch.randint(1, ITEMS + 1, (1, positions))
    states = (3 * torch.randn(1, positions, 8)).requires_grad_()
    targets = torch.randint(0, ITEMS + 1, (1, positions))
    targets[0, 0] = 3
    return backbone, items, states, targets


def gradients(loss: Tensor, backbone: Backbone, states: Tensor) -> list[Tensor]:
    parameters = [states, *backbone.parameters()]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [gradient.to_dense() for gradient in found if gradient is not None]


@pytest.mark.parametrize("positions", [1, 7, 500])
def test_the_chunked_softmax_loss_equals_torchs(positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iadsr_cli.models.losses._LOGITS_AT_ONCE", {"cpu": 40 * ITEMS})
    backbone, items, states, targets = make_case(positions, seed=positions)
    chosen = targets > 0
    ours = 2 * FullSoftmax()(backbone, items, states, targets)
    low = 2 * FullSoftmax(torch.bfloat16)(backbone, items, states, targets)
    assert low.item() == pytest.approx(ours.item(), rel=0.01)
    plain = backbone.query(states[chosen]) @ backbone.item_embedding.weight[1:].T + backbone.item_bias[1:]
    had = torch.zeros(positions, ITEMS)
    for position in range(positions):
        had[position, items[0, : position + 1] - 1] = 1
    logits = plain + had[chosen[0]] * backbone.repeat
    torch.testing.assert_close(backbone.logits(states[chosen], seen_before(items)[chosen]), logits)
    theirs = 2 * F.cross_entropy(logits, targets[chosen] - 1)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    both = (gradients(loss, backbone, states) for loss in (ours, theirs))
    for ours_gradient, theirs_gradient in zip(*both, strict=True):
        torch.testing.assert_close(ours_gradient, theirs_gradient, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        assert 2 * FullSoftmax()(backbone, items, states, targets) == ours


@pytest.mark.parametrize("loss", [FullSoftmax(), SampledSoftmax(torch.ones(ITEMS + 1), 5)])
def test_a_batch_without_targets_has_no_next_item_loss(loss: FullSoftmax | SampledSoftmax) -> None:
    backbone, _, _, _ = make_case(1)
    states = torch.randn(2, 3, 8, requires_grad=True)
    none = torch.zeros(2, 3, dtype=torch.long)
    value = loss(backbone, none + 1, states, none)
    value.backward()
    assert value.item() == 0
    assert not states.grad.any()


def test_infonce_equals_torchs() -> None:
    torch.manual_seed(0)
    queries, keys = torch.randn(40, 8, requires_grad=True), torch.randn(40, 8, requires_grad=True)
    similarity = F.cosine_similarity(queries.unsqueeze(1), keys.unsqueeze(0), dim=-1)
    theirs = F.cross_entropy(similarity / 0.1, torch.arange(40))
    ours = info_nce(queries, keys, 0.1)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert info_nce(queries, keys, 0.1, torch.bfloat16).item() == pytest.approx(theirs.item(), rel=0.02)
    both = (torch.autograd.grad(loss, (queries, keys)) for loss in (ours, theirs))
    for ours_gradient, theirs_gradient in zip(*both, strict=True):
        torch.testing.assert_close(ours_gradient, theirs_gradient, atol=1e-6, rtol=1e-4)


# Popular items with codes from 10 on, rare ones before: q is far from uniform.
COUNTS = torch.tensor([0] + [1] * 9 + [50] * (ITEMS - 9))


def test_the_sampled_loss_tends_to_the_full_one() -> None:
    backbone, items, states, targets = make_case(30)
    # Much of the catalogue is in no batch and has to be sampled.
    targets[targets > 15], items[items > 12] = 2, 4
    full = FullSoftmax()(backbone, items, states, targets)
    torch.manual_seed(1)
    sampled = SampledSoftmax(COUNTS, 200_000)(backbone, items, states, targets)
    assert sampled.item() == pytest.approx(full.item(), rel=2e-3)
    both = (gradients(loss, backbone, states) for loss in (sampled, full))
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs, atol=5e-3, rtol=0.02)


def test_what_a_softmax_divides_by_is_estimated_without_bias() -> None:
    torch.manual_seed(2)
    scores = torch.randn(ITEMS)
    exact = torch.tensor([3, 15])
    loss = SampledSoftmax(COUNTS, 4)
    estimates = []
    for _ in range(4000):
        codes, correction = loss.draw(exact)
        estimates.append(scores[exact - 1].exp().sum() + (scores[codes - 1] - correction).exp().sum())
    found = torch.stack(estimates)
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - scores.exp().sum()) < 4 * error
    # Without the correction, or with a uniform q in it, it would be off by far more than that.
    assert error < 0.01 * scores.exp().sum()


def test_negatives_are_half_uniform_and_half_by_popularity() -> None:
    torch.manual_seed(3)
    number = 300_000
    codes, correction = SampledSoftmax(COUNTS, number).draw(torch.tensor([7]))
    share = 0.5 / ITEMS + 0.5 * COUNTS[1:] / COUNTS.sum()
    observed = torch.bincount(codes, minlength=ITEMS + 1)[1:] / number
    torch.testing.assert_close(observed, share, atol=5 * (share.max() / number).item() ** 0.5, rtol=0)
    assert (correction[codes == 7] == torch.inf).all()
    assert correction[codes == 15][0].item() == pytest.approx((number * share[14]).log().item(), rel=1e-5)


class _OnlyTheHostHasDoubles(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **kwargs or {})
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            assert not isinstance(tensor, Tensor) or tensor.device.type == "cpu" or tensor.dtype != torch.float64
        return made


def test_negatives_need_no_float64_on_a_device_that_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.where_doubles_are(torch.device("mps")) == torch.device("cpu")
    monkeypatch.setattr(hardware, "_PLAIN_DEVICES", ("meta",))
    meta = torch.device("meta")
    with _OnlyTheHostHasDoubles():
        codes, correction = SampledSoftmax(COUNTS, 5, device=meta).draw(torch.tensor([7], device=meta))
    assert (codes.device, correction.device, len(codes)) == (meta, meta, 5)


def test_the_sampled_loss_touches_only_the_items_it_saw() -> None:
    backbone, items, states, targets = make_case(2)
    items[0], targets[0] = torch.tensor([8, 9]), torch.tensor([3, 0])
    backbone.item_embedding.sparse = True
    torch.manual_seed(4)
    loss = SampledSoftmax(COUNTS, 3)
    loss(backbone, items, states, targets).backward()
    torch.manual_seed(4)
    drawn, _ = loss.draw(torch.tensor([3, 8]))
    gradient = backbone.item_embedding.weight.grad
    assert gradient.is_sparse
    assert set(gradient.coalesce().indices()[0].tolist()) - {0} == {3, 8, *drawn.tolist()}


@given(st.lists(st.lists(st.integers(0, 6), min_size=5, max_size=5), min_size=1, max_size=4))
def test_the_items_seen_before_are_named_once_each(rows: list[list[int]]) -> None:
    items = torch.tensor(rows)
    for row, found in zip(rows, distinct(items), strict=True):
        assert sorted(code for code in found.tolist() if code) == sorted(set(row) - {0})
    for row, found in zip(rows, seen_before(items), strict=True):
        for position, seen in enumerate(found.tolist()):
            assert sorted(code for code in seen if code) == sorted(set(row[: position + 1]) - {0})
