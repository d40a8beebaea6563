"""log of the sum over items of exp(queries @ weight.T + bias), on a GPU without the logits ever being in its memory.

Passes over logits in memory are what takes a GPU's time in a softmax over many items: its arithmetic is far quicker.
Here each tile of logits is made where it is used, and made again for the gradient of items (as in FlashAttention, Dao
et al., 2022). Where there are no kernels (`tiles.can_fuse`), `losses` goes over logits in chunks.
"""

from typing import Any

import torch
from torch import Tensor

from iadsr_cli.models.tiles import padded_size

# What no item's logit is below; the difference of two infinities would be no number.
LOWEST = -1e30

# Queries and items of a tile, and what works on it: of twelve the quickest on an H100, for 64 and 128 numbers each.
_QUERIES, _ITEMS = 64, 128
_WARPS, _STAGES = 4, 3
# Programs that share the queries for gradients of few items, so that all of a GPU has something to do.
_PROGRAMS = 1024


def linear_logsumexp(queries: Tensor, weight: Tensor, bias: Tensor, precision: torch.dtype = torch.bfloat16) -> Tensor:
    """Return logsumexp(queries @ weight.T + bias) over items, float32 [P], with gradients to all three.

    Args:
        queries: [P, D].
        weight: [V, D].
        bias: [V]; `LOWEST` for an item that does not count.
        precision: of the factors of products, which are summed in float32.
    """
    found: Tensor = _LinearLogSumExp.apply(queries, weight, bias, precision)
    return found


class _LinearLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, weight: Tensor, bias: Tensor, precision: torch.dtype) -> Tensor:
        from iadsr_cli.models import kernels

        given = [queries.to(precision).contiguous(), weight.to(precision).contiguous(), bias.float().contiguous()]
        mass, means = (
            torch.empty(len(queries), device=queries.device),
            torch.empty(queries.shape, device=queries.device),
        )
        programs = -(-len(queries) // _QUERIES)
        kernels.sums[(programs,)](*given, mass, means, len(queries), len(weight), **_tiles(queries))
        ctx.save_for_backward(*given, mass, means)
        ctx.dtypes = queries.dtype, weight.dtype, bias.dtype
        return mass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        from iadsr_cli.models import kernels

        queries, weight, bias, mass, means = ctx.saved_tensors
        upstream = grad_outputs[0].float().contiguous()
        of_weight, of_bias = torch.zeros(weight.shape, device=weight.device), torch.zeros_like(bias)
        blocks, programs = -(-len(weight) // _ITEMS), -(-len(queries) // _QUERIES)
        parts = min(max(1, _PROGRAMS // max(1, blocks)), programs)
        each = -(-programs // parts) * _QUERIES
        kernels.gradients[(blocks, parts)](
            queries,
            weight,
            bias,
            mass,
            upstream,
            of_weight,
            of_bias,
            len(queries),
            len(weight),
            each,
            **_tiles(queries),
        )
        found = zip((means * upstream.unsqueeze(1), of_weight, of_bias), ctx.dtypes, strict=True)
        return *(gradient.to(dtype) for gradient, dtype in found), None


def _tiles(queries: Tensor) -> dict[str, int]:
    """Return how kernels go over queries [P, D], and over as long items."""
    size = queries.shape[1]
    return {
        "SIZE": size,
        "PADDED": padded_size(size),
        "QUERIES": _QUERIES,
        "ITEMS": _ITEMS,
        "num_warps": _WARPS,
        "num_stages": _STAGES,
    }
