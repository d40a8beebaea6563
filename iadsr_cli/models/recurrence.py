"""The states of a GRU on a GPU, all places of a sequence by one kernel.

A library asks the GPU for the parts of each place one after the other, and each waits for the last: that was more than
half of a training step with few sequences. Here a program keeps the weights that the state is multiplied by where it
computes, and goes through the places by itself (persistent kernels: Diamos et al., 2016).
"""

from typing import Any

import torch
from torch import Tensor, nn

from iadsr_cli.models.tiles import can_fuse, padded_size

# Sequences of a program, the fewest that a tile may have, and what works on it: of a place, and of the next one while
# it still waits for that one's numbers.
_SEQUENCES = 16
_WARPS, _STAGES = 8, 2


def is_persistent(device: torch.device, precision: torch.dtype, size: int) -> bool:
    """Return whether `states` can be computed on a device, of states of some size, with products in a number type."""
    if not can_fuse(device, precision, size):
        return False
    from triton.compiler import max_shared_mem

    return bool(max_shared_mem(device.index or 0) >= shared_bytes(size))


def shared_bytes(size: int) -> int:
    """Return what a program takes of the memory close to it: three matrices in bfloat16, and eight tiles in float32.

    That is what Triton makes of it (3.5 to 3.9), or a little more.
    """
    padded = padded_size(size)
    return 6 * padded**2 + 32 * _SEQUENCES * padded


def states(gru: nn.GRU, embedded: Tensor, precision: torch.dtype = torch.bfloat16) -> Tensor:
    """Return what `gru` (batch first, one direction) returns for float [B, T, D]: the states float32 [B, T, H].

    Args:
        gru: whose weights are used; between layers it drops as it does.
        embedded: the inputs.
        precision: of the factors of products, which are summed in float32.
    """
    found = embedded
    for layer in range(gru.num_layers):
        if layer:
            found = nn.functional.dropout(found, gru.dropout, gru.training)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        of_input, of_state, bias, bias_of_state = (getattr(gru, f"{name}_l{layer}") for name in names)
        given = nn.functional.linear(found.to(precision), of_input.to(precision), bias.to(precision))
        found = _Recurrence.apply(given, of_state, bias_of_state)
    return found


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        from iadsr_cli.models import kernels

        size, shape = weight.shape[1], given.shape[:2]
        ctx.tiles = _tiles(size)
        given, rounded = given.contiguous(), weight.to(given.dtype).contiguous()
        # The first state is 0.
        states = given.new_zeros(shape[0], 1 + shape[1], size, dtype=torch.float32)
        gates = given.new_empty(*shape, 4 * size, dtype=torch.float32)
        kernels.recur[_programs(given)](given, rounded, bias.float().contiguous(), states, gates, *shape, **ctx.tiles)
        ctx.save_for_backward(rounded, states, gates)
        ctx.dtypes = weight.dtype, bias.dtype
        return states[:, 1:]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        from iadsr_cli.models import kernels

        weight, states, gates = ctx.saved_tensors
        upstream, size = grad_outputs[0].float().contiguous(), weight.shape[1]
        slopes = gates.new_empty(gates.shape, dtype=weight.dtype)
        shape = gates.shape[:2]
        kernels.recur_back[_programs(gates)](weight, states, gates, upstream, slopes, *shape, **ctx.tiles)
        # What inputs give and what the last state gives are added up, but for the new state.
        of_last = torch.cat([slopes[..., : 2 * size], slopes[..., 3 * size :]], dim=2).flatten(0, 1)
        last = states[:, :-1].to(weight.dtype).flatten(0, 1)
        of_weight, of_bias = of_last.T @ last, of_last.sum(0, dtype=torch.float32)
        return slopes[..., : 3 * size], of_weight.to(ctx.dtypes[0]), of_bias.to(ctx.dtypes[1])


def _tiles(size: int) -> dict[str, int]:
    """Return how kernels compute states of some size."""
    padded = padded_size(size)
    return {"SIZE": size, "PADDED": padded, "ROWS": _SEQUENCES, "num_warps": _WARPS, "num_stages": _STAGES}


def _programs(tensor: Tensor) -> tuple[int]:
    return (-(-len(tensor) // _SEQUENCES),)
