import importlib.util
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iadsr_cli import hardware
from iadsr_cli.config import BackboneSettings
from iadsr_cli.models import make_backbone, recurrence

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")

# Against the library's in float64: sequences and states that fill no tile, one place, several layers.
KERNELS = """
import torch
from iadsr_cli.models import recurrence
torch.manual_seed(0)
for batch, places, given, size, layers in ((5, 1, 7, 12, 1), (19, 7, 20, 12, 2), (3, 4, 5, 33, 1)):
    gru, inputs = torch.nn.GRU(given, size, layers, batch_first=True), torch.randn(batch, places, given)
    upstream, found = torch.randn(batch, places, size), []
    for exact in (False, True):
        gru.zero_grad()
        gru.to(torch.float64 if exact else torch.float32)
        own = inputs.to(torch.float64 if exact else torch.float32).requires_grad_()
        states = gru(own)[0] if exact else recurrence.states(gru, own, torch.float32)
        states.backward(upstream.to(states.dtype))
        found.append([states.detach(), *(tensor.grad for tensor in (own, *gru.parameters()))])
        inputs = inputs.detach()
    for mine, right in zip(*found):
        torch.testing.assert_close(mine.double(), right.double(), rtol=1e-4, atol=1e-5)
"""

# For cards of several generations, without any: kernels, and those of the softmax over items.
COMPILED = """
import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from iadsr_cli.models import kernels, logsumexp, recurrence

def need(kernel, low, card, **constants):
    whole = {name: "i32" for name in ("B", "T", "P", "V", "each")}
    options = {"num_warps": constants.pop("num_warps"), "num_stages": constants.pop("num_stages")}
    signature = {}
    for name in kernel.arg_names:
        kind = "constexpr" if name in constants else whole.get(name, "*bf16" if name in low else "*fp32")
        signature[name] = kind
    made = compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", card, 32), options=options)
    return made.metadata.shared

for card, there in ((80, 166_912), (90, 232_448)):
    for size in (12, 128):
        asked = recurrence.shared_bytes(size)
        assert asked <= there
        for kernel, low in ((kernels.recur, ("given", "weight")), (kernels.recur_back, ("weight", "slopes"))):
            assert need(kernel, low, card, **recurrence._tiles(size)) <= asked, (kernel, card, size)
    for kernel in (kernels.sums, kernels.gradients):
        assert need(kernel, ("queries", "weight"), card, **logsumexp._tiles(torch.empty(1, 128))) <= there
"""


def run(script: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@needs_triton
def test_the_kernels_give_the_states_and_gradients_of_the_library() -> None:
    run(KERNELS, TRITON_INTERPRET="1")


@needs_triton
@pytest.mark.slow
def test_the_kernels_can_be_compiled_and_fit_what_cards_have() -> None:
    run(COMPILED)


@needs_triton
def test_states_that_do_not_fit_a_card_are_left_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, low = torch.device("cuda", 1), torch.bfloat16
    # What programs may take of one of an A100, and of an RTX 4090.
    for there, fits in ((166_912, {64: True, 128: True, 129: False}), (101_376, {64: True, 128: False})):
        monkeypatch.setattr("triton.compiler.max_shared_mem", lambda card, there=there: there if card == 1 else 0)
        assert {size: recurrence.is_persistent(gpu, low, size) for size in fits} == fits
    assert not recurrence.is_persistent(gpu, torch.float32, 64)
    assert not recurrence.is_persistent(torch.device("cpu"), low, 64)


def test_a_recommender_takes_the_kernels_in_the_number_type_of_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def is_persistent(device: torch.device, precision: torch.dtype, size: int) -> bool:
        asked.append((device.type, precision, size))
        return precision == torch.bfloat16

    def states(gru: nn.GRU, embedded: Tensor, precision: torch.dtype) -> Tensor:
        asked.append(precision)
        return gru(embedded)[0] + 1

    monkeypatch.setattr(hardware, "_AUTOCAST_DEVICES", ("cpu",))
    monkeypatch.setattr(recurrence, "is_persistent", is_persistent)
    monkeypatch.setattr(recurrence, "states", states)
    backbone = make_backbone(BackboneSettings(embedding_size=8, hidden_size=12, dropout=0.0), 5)
    items = torch.tensor([[1, 2, 3]])
    plain = backbone(items)
    assert asked == [("cpu", torch.float32, 12)]
    with torch.autocast("cpu", torch.bfloat16):
        other = backbone(items)
    assert asked[1:] == [("cpu", torch.bfloat16, 12), torch.bfloat16]
    torch.testing.assert_close(other, plain + 1, rtol=0, atol=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("size", [12, 64, 128])
def test_on_a_gpu_states_and_gradients_are_near_those_of_exact_arithmetic(size: int) -> None:
    torch.manual_seed(0)
    gru, inputs = nn.GRU(64, size, batch_first=True), torch.randn(66, 31, 64)
    upstream, found = torch.randn(66, 31, size), []
    for device, precision in (("cuda", torch.float32), ("cpu", torch.float64)):
        gru.zero_grad()
        gru.to(device, precision)
        own = inputs.to(device, precision).requires_grad_()
        states = recurrence.states(gru, own) if device == "cuda" else gru(own)[0]
        states.backward(upstream.to(states))
        found.append([states, *(tensor.grad for tensor in (own, *gru.parameters()))])
        inputs = inputs.detach()
    for mine, right in zip(*found, strict=True):
        assert (mine.cpu().double() - right).norm() < 0.02 * right.norm()
