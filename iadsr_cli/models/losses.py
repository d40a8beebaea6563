"""The losses of next-item prediction, over the whole catalogue or a sample of it, and of contrastive alignment."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from iadsr_cli.devices import WHOLE, Share, Spread
from iadsr_cli.hardware import full_precision, where_doubles_are
from iadsr_cli.models.backbone import Backbone, first_places, seen_before
from iadsr_cli.models.logsumexp import LOWEST, linear_logsumexp
from iadsr_cli.models.tiles import can_fuse

# Logits held at once. Products in float32 gain by size. In a smaller type they are so quick that the passes over the
# logits are what takes the time: then a fraction of it, few enough to stay in a processor's cache. A GPU wants more.
_LOGITS_AT_ONCE = {"cpu": 4_800_000, "cuda": 64_000_000}
_CACHED_PART = {"cpu": 4}

_HERE = Spread()

# What all items of a history may lose together of what a softmax divides by: what is left has few exact digits.
_MOST_TAKEN = 0.9999

# Candidates of a sampled softmax are a multiple of this.
_CANDIDATES_STEP = 2048


class NextItemLoss(ABC):
    """Cross entropy of the next item; a softmax over the whole catalogue or an estimate of it.

    Args:
        precision: of the matrix products over items; everything else is float32.
    """

    def __init__(self, precision: torch.dtype = torch.float32) -> None:
        self._precision = precision

    def __call__(
        self, backbone: Backbone, items: Tensor, states: Tensor, targets: Tensor, share: Share = WHOLE
    ) -> Tensor:
        """Return the mean over all positions with a target, a scalar; 0 if there is none.

        Of a share of a batch: what it adds to the mean over the batch.

        Args:
            backbone: scores states as items.
            items: item codes of the histories [B, T].
            states: [B, T, H].
            targets: codes of the next items [B, T], 0 where there is none.
            share: what of a batch these histories are.
        """
        chosen = targets > 0
        mean = self.at(backbone, seen_before(items)[chosen], states[chosen], targets[chosen], share.codes)
        return mean * share.targets.weight

    @abstractmethod
    def at(
        self, backbone: Backbone, seen: Tensor, states: Tensor, targets: Tensor, codes: Tensor | None = None
    ) -> Tensor:
        """Return the mean over places, a scalar.

        Args:
            backbone: scores states as items.
            seen: the `distinct` items so far [P, T].
            states: [P, H].
            targets: codes of the next items [P].
            codes: distinct items that count exactly where not all do, in ascending order; None for those given.
        """


class FullSoftmax(NextItemLoss):
    """Over all items: exact, at a cost that grows with the catalogue."""

    def __call__(
        self, backbone: Backbone, items: Tensor, states: Tensor, targets: Tensor, share: Share = WHOLE
    ) -> Tensor:
        """Return the mean over all positions with a target, a scalar; 0 if there is none."""
        if not can_fuse(states.device, self._precision, backbone.item_embedding.embedding_dim):
            return super().__call__(backbone, items, states, targets, share)
        queries = backbone.query(states)
        with full_precision(states.device):
            return self._of_all(backbone, items, queries, targets) * share.targets.weight

    def _of_all(self, backbone: Backbone, items: Tensor, queries: Tensor, targets: Tensor) -> Tensor:
        """Return the mean, every position being computed, so that shapes do not depend on which have a target."""

        def rounded(tensor: Tensor) -> Tensor:
            return tensor.to(self._precision).float()

        embedding, bias = backbone.item_embedding, backbone.item_bias
        queries = rounded(queries)
        mass = linear_logsumexp(queries.flatten(0, 1), embedding.weight[1:], bias[1:], self._precision)
        mass = mass.view(targets.shape)
        # Items of the history so far, of which each counts once, gain by `repeat`: [B, T, T].
        so_far = torch.ones(items.shape[1], items.shape[1], dtype=torch.bool, device=items.device).tril()
        logits = queries @ rounded(embedding(items)).mT + bias[items].unsqueeze(1)
        counted = so_far & first_places(items).unsqueeze(1)
        shares = (logits - mass.unsqueeze(2)).masked_fill(~counted, -torch.inf).exp()
        mass = mass + (shares.sum(-1) * backbone.repeat.expm1()).clamp(min=-_MOST_TAKEN).log1p()
        again = ((targets.unsqueeze(2) == items.unsqueeze(1)) & so_far).any(-1)
        aimed = (queries * rounded(embedding(targets))).sum(-1) + bias[targets] + again * backbone.repeat
        return mean_over(mass - aimed, targets > 0)

    def at(
        self, backbone: Backbone, seen: Tensor, states: Tensor, targets: Tensor, codes: Tensor | None = None
    ) -> Tensor:
        """Return the mean over places, a scalar."""
        loss: Tensor = _SoftmaxCrossEntropy.apply(
            backbone.query(states),
            backbone.item_embedding.weight[1:],
            backbone.item_bias[1:],
            targets - 1,
            self._precision,
            (seen - 1).clamp(min=0),
            (seen > 0) * backbone.repeat,
        )
        return loss


class SampledSoftmax(NextItemLoss):
    """Over a sample of the catalogue, with logQ correction, at a cost that does not depend on the catalogue.

    The items of the batch count exactly, for every position; the rest of the catalogue is estimated from negatives
    drawn from q, half uniform and half by popularity, each with the weight 1 / (number * q). The sum that a softmax
    divides by is so estimated without bias, and the target's own logit is not corrected: it was not drawn (Bengio
    and Senecal, 2008, with the target outside of the sample).

    Args:
        counts: occurrences of each item code in the training part, [V + 1], on the host.
        number: negatives drawn per batch.
        precision: as for every next-item loss.
        device: where it is computed; the host if None.
    """

    def __init__(
        self,
        counts: Tensor,
        number: int,
        precision: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(precision)
        device = device or counts.device
        # Not in float32: of a few million items it could not tell one from the next.
        items = counts[1:].double()
        share = 0.5 / len(items) + 0.5 * items / items.sum().clamp(min=1)
        self._cumulated = (share / share.sum()).cumsum(0).to(where_doubles_are(device))
        self._log_expected = (number * share / share.sum()).log().float().to(device)
        self._number = number

    def at(
        self, backbone: Backbone, seen: Tensor, states: Tensor, targets: Tensor, codes: Tensor | None = None
    ) -> Tensor:
        """Return the mean over places, a scalar."""
        if codes is None:
            codes = torch.cat([seen.flatten(), targets]).unique()
            codes = codes[codes > 0]
        exact = codes.to(targets.device)
        drawn, correction = self.draw(exact)
        # Filled up with padding, which has no probability: libraries prepare a product for each new shape.
        fill = -(len(exact) + len(drawn)) % _CANDIDATES_STEP
        candidates = F.pad(torch.cat([exact, drawn]), (0, fill))
        taken_off = F.pad(F.pad(correction, (len(exact), 0)), (0, fill), value=torch.inf)
        loss: Tensor = _SoftmaxCrossEntropy.apply(
            backbone.query(states),
            backbone.item_embedding(candidates),
            backbone.item_bias[candidates] - taken_off,
            torch.searchsorted(exact, targets),
            self._precision,
            torch.searchsorted(exact, seen),
            (seen > 0) * backbone.repeat,
        )
        return loss

    def draw(self, exact: Tensor) -> tuple[Tensor, Tensor]:
        """Draw negatives: their codes [number], and what to subtract from their logits [number].

        That is log(number * q), or infinity for a code in `exact`, which is in the sum already.
        """
        draws = torch.rand(self._number, dtype=torch.float64, device=self._cumulated.device)
        index = torch.searchsorted(self._cumulated, draws).clamp_(max=len(self._cumulated) - 1).to(exact.device)
        counted = torch.zeros_like(self._log_expected, dtype=torch.bool)
        counted[exact - 1] = True
        return index + 1, self._log_expected[index].masked_fill(counted[index], torch.inf)


_kept_scratch: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}


def _scratch(which: int, rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return memory [rows, columns] to write over, the same at every call: fresh memory costs more than the
    arithmetic on it."""
    key = (which, dtype, device)
    if key not in _kept_scratch or _kept_scratch[key].numel() < rows * columns:
        _kept_scratch[key] = torch.empty(rows * columns, dtype=dtype, device=device)
    return _kept_scratch[key][: rows * columns].view(rows, columns)


class _SoftmaxCrossEntropy(torch.autograd.Function):
    """Mean cross entropy of softmax(queries @ weight.T + bias + more), never holding all logits at once.

    What is `more` for some items of a query stands in `extra` [P, T], and their columns in `places` [P, T].

    The gradients, where any are wanted, are made in the forward pass, chunk by chunk, while the logits are at hand.
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        precision: torch.dtype,
        places: Tensor,
        extra: Tensor,
    ) -> Tensor:
        total = max(1, len(queries))
        low_queries, low_weight = queries.to(precision), weight.to(precision)
        trained = any(ctx.needs_input_grad)
        if trained:
            low_grad_queries = torch.empty_like(low_queries)
            # Sums over chunks, in float32 whatever came in.
            grad_weight = torch.zeros_like(weight, dtype=torch.float32)
            grad_bias = torch.zeros_like(bias, dtype=torch.float32)
            grad_extra = torch.empty_like(extra, dtype=torch.float32)
        loss = weight.new_zeros((), dtype=torch.float32)
        device, exact = queries.device.type, precision == torch.float32
        at_once = _LOGITS_AT_ONCE.get(device, 1_200_000) // (1 if exact else _CACHED_PART.get(device, 1))
        size = min(max(32, at_once // max(1, len(weight))), total)
        buffers = [_scratch(which, size, len(weight), torch.float32, weight.device) for which in (0, 1)]
        # Products that are as exact as the rest need no memory of their own.
        products = buffers[0] if exact else _scratch(2, size, len(weight), precision, weight.device)
        for start in range(0, len(queries), size):
            part = slice(start, start + size)
            query, target = low_queries[part], targets[part].unsqueeze(1)
            low, logits, probability = (memory[: len(query)] for memory in (products, *buffers))
            torch.add(torch.mm(query, low_weight.T, out=low), bias, out=logits)
            logits.scatter_add_(1, places[part], extra[part].float())
            torch.softmax(logits, 1, out=probability)
            # The sum that the softmax divided by, read where it cannot underflow: at the largest logit.
            log_mass = logits.amax(1) - probability.amax(1).log()
            loss += (log_mass - logits.gather(1, target).squeeze(1)).sum()
            if not trained:
                continue
            probability.scatter_add_(1, target, probability.new_full(target.shape, -1.0))
            low = probability if exact else low.copy_(probability)
            torch.mm(low, low_weight, out=low_grad_queries[part])
            grad_weight += torch.mm(low.T, query)
            grad_bias += probability.sum(0)
            grad_extra[part] = probability.gather(1, places[part])
        if trained:
            made = (
                (low_grad_queries, queries),
                (grad_weight, weight),
                (grad_bias, bias),
                (grad_extra, extra),
            )
            ctx.save_for_backward(*(gradient.to(given.dtype).div_(total) for gradient, given in made))
        return loss / total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (upstream,) = grad_outputs
        queries, weight, bias, extra = (upstream * gradient for gradient in ctx.saved_tensors)
        return queries, weight, bias, None, None, None, extra


def mean_over(values: Tensor, counted: Tensor | None) -> Tensor:
    """Return the mean of values [...], or of those that are counted (bool [...]); a scalar, 0 if none is."""
    if counted is None:
        return values.mean()
    return (values * counted).sum() / counted.sum().clamp(min=1)


def info_nce(
    queries: Tensor,
    keys: Tensor,
    temperature: float,
    precision: torch.dtype = torch.float32,
    spread: Spread = _HERE,
    counted: Tensor | None = None,
) -> Tensor:
    """Return the InfoNCE loss of pairs [P, H] by cosine, every other pair of the batch being a negative.

    Of the pairs of a share of a batch: what they add to the mean over all pairs of the batch. `counted` (bool [P]) says
    which pairs there are, where not all of them; it can be said only where the loss is fused.
    """
    scaled, own = F.normalize(queries, dim=-1) / temperature, F.normalize(keys, dim=-1)
    normalised = spread.gathered(own)
    bias = normalised.new_zeros(len(normalised))
    if can_fuse(queries.device, precision, queries.shape[1]):
        if counted is not None:
            bias = bias.masked_fill(~counted, LOWEST)
        with full_precision(queries.device):
            mass = linear_logsumexp(scaled, normalised, bias, precision)
            aimed = (scaled.to(precision).float() * own.to(precision).float()).sum(-1)
        return mean_over(mass - aimed, counted) * spread.weight
    loss: Tensor = _SoftmaxCrossEntropy.apply(
        scaled,
        normalised,
        bias,
        torch.arange(len(keys), device=keys.device) + spread.first,
        precision,
        torch.empty(len(keys), 0, dtype=torch.long, device=keys.device),
        normalised.new_empty(len(keys), 0),
    )
    return loss * spread.weight
