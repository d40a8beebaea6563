"""The losses of next-item prediction and of contrastive alignment."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from iadsr_cli.models.backbone import Backbone

# Logits held at once: few enough to stay in a processor's cache, which is where the time of a softmax over a
# catalogue goes otherwise.
_LOGITS_AT_ONCE = 1_200_000


def next_item_loss(
    backbone: Backbone, states: Tensor, targets: Tensor, precision: torch.dtype = torch.float32
) -> Tensor:
    """Return the mean cross entropy of the next item over all items, at positions with a target; 0 if there is none.

    Args:
        backbone: scores states as items.
        states: [B, T, H].
        targets: item codes [B, T], 0 where there is no next item.
        precision: of the matrix products over the catalogue; everything else is float32.
    """
    chosen = targets > 0
    weight, bias = backbone.item_embedding.weight[1:], backbone.item_bias[1:]
    queries = backbone.query(states[chosen])
    loss: Tensor = _SoftmaxCrossEntropy.apply(queries, weight, bias, targets[chosen] - 1, precision)
    return loss


class _SoftmaxCrossEntropy(torch.autograd.Function):
    """Mean cross entropy of softmax(queries @ weight.T + bias), never holding all logits at once.

    The gradients are made in the forward pass, chunk by chunk, while the logits are at hand.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, precision: torch.dtype
    ) -> Tensor:
        total = max(1, len(queries))
        low_queries, low_weight = queries.to(precision), weight.to(precision)
        grad_queries = torch.empty_like(queries)
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        loss = queries.new_zeros(())
        size = max(32, _LOGITS_AT_ONCE // len(weight))
        for start in range(0, len(queries), size):
            query, target = low_queries[start : start + size], targets[start : start + size].unsqueeze(1)
            logits = torch.mm(query, low_weight.T) + bias
            logits -= logits.amax(1, keepdim=True)
            loss -= logits.gather(1, target).sum()
            probability = logits.exp_()
            mass = probability.sum(1, keepdim=True)
            loss += mass.log().sum()
            probability /= mass * total
            probability.scatter_add_(1, target, probability.new_full(target.shape, -1 / total))
            low = probability.to(precision)
            grad_queries[start : start + size] = torch.mm(low, low_weight)
            grad_weight += torch.mm(low.T, query)
            grad_bias += probability.sum(0)
        ctx.save_for_backward(grad_queries, grad_weight, grad_bias)
        return loss / total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (upstream,) = grad_outputs
        grad_queries, grad_weight, grad_bias = ctx.saved_tensors
        return upstream * grad_queries, upstream * grad_weight, upstream * grad_bias, None, None


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Return the InfoNCE loss of pairs [P, H] by cosine, every other pair of the batch being a negative."""
    similarity = F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).T
    return F.cross_entropy(similarity / temperature, torch.arange(len(queries), device=queries.device))
