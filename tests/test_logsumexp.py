import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from test_training import CONFIG, aligned, make_sequences
from torch import Tensor

from iadsr_cli import loop, training
from iadsr_cli.config import BackboneSettings, RunSettings
from iadsr_cli.models import BACKBONES, logsumexp, losses, make_backbone
from iadsr_cli.models.losses import FullSoftmax, info_nce
from iadsr_cli.models.tiles import can_fuse
from iadsr_cli.progress import Silent

ITEMS = 40

# Against a plain logsumexp in float64: sizes that fill no tile, and several of them.
KERNELS = """
import torch
from iadsr_cli.models.logsumexp import linear_logsumexp
torch.manual_seed(0)
for queries, items, size in ((5, 130, 12), (129, 300, 64)):
    given = [torch.randn(queries, size), torch.randn(items, size), torch.randn(items)]
    given[2][7] = -1e30
    upstream = torch.rand(queries)
    found = []
    for exact in (False, True):
        own = [(tensor.double() if exact else tensor).clone().requires_grad_() for tensor in given]
        if exact:
            mass = torch.logsumexp(own[0] @ own[1].T + own[2], 1)
        else:
            mass = linear_logsumexp(*own, torch.float32)
        mass.backward(upstream.to(mass.dtype))
        found.append([mass.detach(), *(tensor.grad for tensor in own)])
    for mine, right in zip(*found):
        torch.testing.assert_close(mine.double(), right, rtol=1e-4, atol=1e-5)
"""


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return what has losses be computed as on a GPU, by PyTorch's own logsumexp, or as on a processor again."""

    def plain(queries: Tensor, weight: Tensor, bias: Tensor, precision: torch.dtype) -> Tensor:
        return torch.logsumexp(queries @ weight.T + bias, 1)

    def choose(is_fused: bool) -> None:
        for room in (losses, training):
            monkeypatch.setattr(room, "can_fuse", lambda *_: is_fused)

    monkeypatch.setattr(losses, "linear_logsumexp", plain)
    monkeypatch.setattr(loop, "Replays", lambda step, _: step)
    return choose


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_the_kernels_give_sums_and_gradients_as_plain_arithmetic_does() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KERNELS],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_kernels_cannot_do_is_left_to_the_chunks() -> None:
    gpu, cpu, low = torch.device("cuda"), torch.device("cpu"), torch.bfloat16
    assert not can_fuse(cpu, low, 64)
    assert not can_fuse(gpu, torch.float32, 64)
    assert not can_fuse(gpu, low, 129)
    assert can_fuse(gpu, low, 128) == (importlib.util.find_spec("triton") is not None)


@pytest.mark.parametrize("repeat", [0.7, -4.0, 3.0])
def test_a_fused_softmax_loses_what_one_over_chunks_does(fused: Callable[[bool], None], repeat: float) -> None:
    generator = torch.Generator().manual_seed(0)
    # Few items, so that many come again; padding on either side.
    items = torch.randint(1, 9, (6, 12), generator=generator)
    items[0, 7:], items[1, :5] = 0, 0
    targets = torch.cat([items[:, 1:], torch.zeros_like(items[:, :1])], dim=1).masked_fill(items == 0, 0)
    found = []
    for is_fused in (False, True):
        fused(is_fused)
        torch.manual_seed(1)
        backbone = make_backbone(BackboneSettings(embedding_size=8, hidden_size=12, dropout=0.0), ITEMS)
        with torch.no_grad():
            backbone.repeat.fill_(repeat)
            backbone.item_bias.normal_()
            backbone.item_embedding.weight[1:].normal_()
        loss = FullSoftmax()(backbone, items, backbone(items), targets)
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in backbone.parameters())])
    for chunked, other in zip(*found, strict=True):
        torch.testing.assert_close(other, chunked, rtol=1e-4, atol=1e-6)


def test_what_repeats_cannot_be_taken_off_beyond_all_there_is(fused: Callable[[bool], None]) -> None:
    fused(True)
    backbone = make_backbone(BackboneSettings(embedding_size=8, hidden_size=8, dropout=0.0), ITEMS)
    with torch.no_grad():
        backbone.repeat.fill_(-100)
        backbone.item_bias[3] = 50
    items = torch.full((2, 3), 3)
    loss = FullSoftmax()(backbone, items, backbone(items), torch.full_like(items, 4))
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in backbone.parameters())


def test_a_fused_info_nce_takes_the_pairs_that_count_alone(fused: Callable[[bool], None]) -> None:
    torch.manual_seed(0)
    queries, keys = torch.randn(2, 20, 7, requires_grad=True)
    counted = torch.arange(20) % 3 > 0
    fused(False)
    chunked = info_nce(queries[counted], keys[counted], 0.1)
    fused(True)
    other = info_nce(queries, keys, 0.1, counted=counted)
    torch.testing.assert_close(other, chunked)
    for mine, right in zip(*(torch.autograd.grad(loss, (queries, keys)) for loss in (other, chunked)), strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_a_fused_training_goes_the_same_way(fused: Callable[[bool], None], name: str) -> None:
    loop = replace(CONFIG.loop, loss="full", precision="float32")
    config = replace(CONFIG, backbone=replace(CONFIG.backbone, backbone=name, dropout=0.0), loop=loop)
    found = []
    for is_fused in (False, True):
        fused(is_fused)
        first = training.pretrain(make_sequences(), config, Silent())[1]
        found.append(first + aligned(make_sequences(), config)[1])
    for chunked, other in zip(*found, strict=True):
        assert other == pytest.approx(chunked, rel=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_sums_and_gradients_are_those_of_exact_arithmetic_on_rounded_factors() -> None:
    torch.manual_seed(0)
    for queries, items, size in ((5, 130, 12), (2900, 5001, 64), (400, 1201, 100)):
        given = [torch.randn(queries, size), torch.randn(items, size) / 4, torch.randn(items)]
        given = [tensor.to("cuda").requires_grad_() for tensor in given]
        upstream = torch.rand(queries, device="cuda")
        mass = logsumexp.linear_logsumexp(*given)
        rounded = [tensor.bfloat16().double() for tensor in given[:2]]
        right = torch.logsumexp(rounded[0] @ rounded[1].T + given[2].double(), 1)
        torch.testing.assert_close(mass.double(), right, rtol=1e-5, atol=1e-5)
        pairs = zip(
            torch.autograd.grad(mass, given, upstream),
            torch.autograd.grad(right, given, upstream.double()),
            strict=True,
        )
        assert all((mine - exact).norm() < 4e-3 * exact.norm() for mine, exact in pairs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_on_a_gpu_steps_that_are_replayed_train_as_others_do(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    backbone = replace(CONFIG.backbone, backbone=name, dropout=0.3)
    config = replace(CONFIG, backbone=backbone, loop=replace(CONFIG.loop, loss="full"), run=RunSettings(device="cuda"))
    found = []
    for replays in (True, False):
        if not replays:
            monkeypatch.setattr(training, "_replays", lambda *_: False)
        first = training.pretrain(make_sequences(), config, Silent())[1]
        found.append([record["loss"] for record in first + aligned(make_sequences(), config)[1]])
    assert found[0] == pytest.approx(found[1], rel=0.01)
