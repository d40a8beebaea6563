"""IADSR's second stage: interests of two kinds, aligned, and the noise score that is read from their agreement.

Shapes: B sequences, T positions, D item embedding, H state, S semantic vector. Source: "Empowering Denoising
Sequential Recommendation with Large Language Model Embeddings", CIKM 2025, arXiv 2510.04239; where this departs from
the authors' released loop, docs/method.md says why.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iadsr_cli.devices import WHOLE, Share
from iadsr_cli.models.backbone import Backbone, distinct
from iadsr_cli.models.losses import FullSoftmax, NextItemLoss, info_nce, mean_over
from iadsr_cli.transfers import pinned, sent

_FULL_SOFTMAX = FullSoftmax()

# Items whose semantic vectors are on their way to a device at once.
_ITEMS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Interests:
    """Long- and short-term interests of a batch.

    Attributes:
        c_short: collaborative, per position: the backbone's state, [B, T, H].
        c_long: collaborative, whole history: the maximum of c_short over valid positions, [B, H].
        s_short: semantic, per position: the item's projected vector, [B, T, H].
        s_long: semantic, whole history: the projected mean of its items' vectors, [B, H].
    """

    c_short: Tensor
    c_long: Tensor
    s_short: Tensor
    s_long: Tensor


@dataclass(frozen=True)
class Projections:
    """What semantic interests are made of, for n items: a projection of a mean is the mean of projections.

    Attributes:
        short: s_short of each, [n, H].
        long: what its text is in the mean that s_long of a history is, [n, H].
    """

    short: Tensor
    long: Tensor


@dataclass(frozen=True)
class Prepared:
    """What the host knows of a batch of item codes [B, T], so that the device need not be asked and waited for.

    Attributes:
        vectors: the semantic vector of each, [B, T, S]; None where the device has those of all items.
        places: which of the B * T are no padding, [P]; None where all are computed and those of padding not counted.
    """

    vectors: Tensor | None
    places: Tensor | None

    def pinned(self, device: torch.device) -> "Prepared":
        """Return it in memory that the device can copy from by itself."""
        return self._each(lambda tensor: pinned(tensor, device))

    def sent(self, device: torch.device) -> "Prepared":
        """Return it on the device."""
        return self._each(lambda tensor: sent(tensor, device))

    def _each(self, make: Callable[[Tensor], Tensor]) -> "Prepared":
        vectors, places = (None if tensor is None else make(tensor) for tensor in (self.vectors, self.places))
        return Prepared(vectors, places)


@dataclass(frozen=True)
class Losses:
    """The four terms of the alignment loss, each a scalar."""

    next_item: Tensor
    short: Tensor
    long: Tensor
    reconstruction: Tensor

    def total(self) -> Tensor:
        """Return their sum, the loss that is trained."""
        return self.next_item + self.short + self.long + self.reconstruction


class AlignedModel(nn.Module):
    """A backbone with the projections that make semantic and collaborative interests comparable.

    Args:
        backbone: the pretrained recommender; alignment trains it further.
        vectors: semantic vector of each item code, float [V + 1, S]; one column where the log has no text at
            all.
        known: which codes have a vector, bool [V + 1].

    An item without text has no semantic vector. It is represented by its collaborative one, the backbone's item
    embedding, through projections of its own (`own_short`, `own_long`), so it is judged on collaboration alone.

    The semantic vectors are never trained and may be larger than a GPU's memory: unless told otherwise they stay on
    the host, wherever the rest of the model goes, and those of a batch's items are sent after it.
    """

    on_host = True
    semantic: Tensor
    known: Tensor

    def __init__(self, backbone: Backbone, vectors: Tensor, known: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        hidden, embedding = backbone.hidden_size, backbone.item_embedding.embedding_dim
        self.register_buffer("known", known)
        self.register_buffer("semantic", torch.where(known.unsqueeze(-1), vectors, 0.0))
        self.text_short = nn.Linear(vectors.shape[1], hidden, bias=False)
        self.text_long = nn.Linear(vectors.shape[1], hidden, bias=False)
        self.own_short = nn.Linear(embedding, hidden, bias=False)
        self.own_long = nn.Linear(embedding, hidden, bias=False)
        self.decoder = nn.Linear(hidden, embedding)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AlignedModel":
        # What moves a model to a device.
        if not self.on_host:
            super()._apply(fn, recurse)
            return self
        semantic = self._buffers.pop("semantic")
        try:
            super()._apply(fn, recurse)
        finally:
            self._buffers["semantic"] = semantic
        return self

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.known.device

    def keep_vectors_on_host(self, on_host: bool) -> None:
        """Have the semantic vectors on the host from now on, or where the rest of the model is."""
        self.semantic = self.semantic.to("cpu" if on_host else self.device)
        self.on_host = on_host

    def vectors_of(self, items: Tensor) -> Tensor:
        """Return the semantic vectors [..., S] of item codes [...], on the device of the codes."""
        return sent(self.semantic[items.to(self.semantic.device)], items.device)

    def prepare(self, items: Tensor, *, whole: bool = False) -> Prepared:
        """Return what can be known on the host of a batch of item codes [B, T] of the host.

        With `whole`, padding is to be computed as well: then nothing depends on how much of it there is.
        """
        vectors = self.semantic[items] if self.semantic.device == items.device else None
        return Prepared(vectors, None if whole else items.flatten().nonzero().squeeze(1))

    def semantic_short(self, items: Tensor, vectors: Tensor) -> Tensor:
        """Return s_short [..., H] of item codes [...] with semantic vectors [..., S]: W1 times the item's vector."""
        own = self.own_short(self.backbone.item_embedding(items).detach())
        return torch.where(self.known[items].unsqueeze(-1), self.text_short(vectors), own)

    def semantic_long(self, items: Tensor, vectors: Tensor, segment: Tensor, segments: int) -> Tensor:
        """Return s_long [segments, H] of flat item codes [P], of which `segment` [P] names the history.

        W2 times the mean of the `vectors` [P, S] of the history's items with text; where none has text, of its
        collaborative vectors. Padding is code 0 and counts as nothing.
        """
        known = self.known[items]
        text = self.text_long(_segment_mean(vectors, known, segment, segments))
        return self._or_own(text, items, known, segment)

    def projections(self, items: Tensor) -> Projections:
        """Return what semantic interests are made of, for items [n] that each stand in many rows."""
        parts = []
        for some in items.split(_ITEMS_AT_ONCE):
            vectors = self.vectors_of(some)
            parts.append((self.semantic_short(some, vectors), self.text_long(vectors)))
        short, long = (torch.cat(part) for part in zip(*parts, strict=True))
        return Projections(short, long)

    def projected(
        self, projections: Projections, items: Tensor, place: Tensor, segment: Tensor, segments: int
    ) -> tuple[Tensor, Tensor]:
        """Return s_short [P, H] and s_long [segments, H] of flat item codes [P], as the other two methods do.

        Args:
            projections: of n items.
            items: codes, [P].
            place: which of the n items each is, [P].
            segment: of which history, [P].
            segments: how many histories there are.
        """
        known = self.known[items]
        text = _segment_mean(projections.long[place], known, segment, segments)
        return projections.short[place], self._or_own(text, items, known, segment)

    def _or_own(self, text: Tensor, items: Tensor, known: Tensor, segment: Tensor) -> Tensor:
        """Return s_long [segments, H]: that of the text, and of collaborative vectors where no item has text."""
        own = _segment_mean(self.backbone.item_embedding(items).detach(), items > 0, segment, len(text))
        any_text = text.new_zeros(len(text)).index_add_(0, segment, known.to(text.dtype)) > 0
        return torch.where(any_text.unsqueeze(-1), text, self.own_long(own))

    def interests(self, items: Tensor, keep: Tensor | None = None, prepared: Prepared | None = None) -> Interests:
        """Return the interests of item codes [B, T] whose input embeddings are multiplied by `keep` [B, T].

        `prepared` is what `prepare` returns, sent to the device ahead of its use.
        """
        vectors = prepared.vectors if prepared is not None and prepared.vectors is not None else self.vectors_of(items)
        valid = items > 0
        c_short = self.backbone(items, keep)
        c_long = c_short.masked_fill(~valid.unsqueeze(-1), -torch.inf).amax(dim=1)
        segment = torch.arange(len(items), device=items.device).unsqueeze(1).expand_as(items)
        s_long = self.semantic_long(items.flatten(), vectors.flatten(0, 1), segment.flatten(), len(items))
        return Interests(c_short, c_long, self.semantic_short(items, vectors), s_long)

    def losses(
        self,
        items: Tensor,
        targets: Tensor,
        keep: Tensor | None,
        noise: Tensor,
        temperature: float,
        tau: float,
        next_item: NextItemLoss = _FULL_SOFTMAX,
        precision: torch.dtype = torch.float32,
        share: Share = WHOLE,
        prepared: Prepared | None = None,
    ) -> tuple[Losses, Tensor]:
        """Return the loss terms of a batch and the mask that the next epoch's input gets.

        Of a share of a batch: what it adds to the terms of the batch.

        Args:
            items: item codes [B, T], 0 is padding.
            targets: code of the next item [B, T], 0 where there is none.
            keep: the last epoch's mask float [B, T], or None in the first.
            noise: standard Gumbel draws [B, T].
            temperature: of the InfoNCE losses.
            tau: of the Gumbel-sigmoid.
            next_item: the loss of the next item.
            precision: of the matrix products of InfoNCE.
            share: what of a batch these histories are.
            prepared: what `prepare` returns of the items, sent to the device ahead of its use.

        Returns:
            The losses, and the hard mask float [B, T] of zeros and ones.
        """
        prepared = prepared or self.prepare(items.cpu()).sent(items.device)
        interests = self.interests(items, keep, prepared)
        places = prepared.places
        counted = (items > 0).flatten() if places is None else None

        def valid(values: Tensor) -> Tensor:
            # By their numbers: a mask would have the host wait for the device to count what it marks.
            return values.flatten(0, 1) if places is None else values.flatten(0, 1)[places]

        scores = agreement(
            interests.c_short, interests.c_long.unsqueeze(1), interests.s_short, interests.s_long.unsqueeze(1)
        ).sum(-1)
        mask = gumbel_mask(scores, noise, tau)
        decoded = self.decoder(mask.unsqueeze(-1) * interests.c_short)
        missed = F.mse_loss(valid(decoded), valid(self.backbone.item_embedding(items)), reduction="none").mean(-1)
        return (
            Losses(
                next_item=next_item(self.backbone, items, interests.c_short, targets, share),
                short=info_nce(
                    valid(interests.c_short), valid(interests.s_short), temperature, precision, share.places, counted
                ),
                long=info_nce(interests.c_long, interests.s_long, temperature, precision, share.windows),
                reconstruction=mean_over(missed, counted) * share.places.weight,
            ),
            mask.detach(),
        )

    def held_out_loss(
        self, items: Tensor, last: Tensor, temperature: float, prepared: Prepared | None = None
    ) -> Tensor:
        """Return the loss of histories [B, T] at their last item, which stands at place `last` [B] >= 1.

        Cross entropy of that item given those before it, InfoNCE of the short-term interests at it, and InfoNCE of
        the long-term interests, every other history of the batch being a negative; a scalar.
        """
        interests = self.interests(items, prepared=prepared)
        rows = torch.arange(len(items), device=items.device)
        seen = distinct(items * (torch.arange(items.shape[1], device=items.device) < last.unsqueeze(1)))
        return (
            _FULL_SOFTMAX.at(self.backbone, seen, interests.c_short[rows, last - 1], items[rows, last])
            + info_nce(interests.c_short[rows, last], interests.s_short[rows, last], temperature)
            + info_nce(interests.c_long, interests.s_long, temperature)
        )


def agreement(c_short: Tensor, c_long: Tensor, s_short: Tensor, s_long: Tensor) -> Tensor:
    """Return IADSR's three cosines [..., 3], whose sum s_t in [-3, 3] is high for a row to keep.

    In order: long-term text against behaviour here, long-term behaviour against the item's text, behaviour here
    against the item's text. All arguments are [..., H] and broadcast.
    """
    return torch.stack(
        torch.broadcast_tensors(
            F.cosine_similarity(s_long, c_short, dim=-1),
            F.cosine_similarity(c_long, s_short, dim=-1),
            F.cosine_similarity(c_short, s_short, dim=-1),
        ),
        dim=-1,
    )


def gumbel_mask(scores: Tensor, noise: Tensor, tau: float) -> Tensor:
    """Return the hard Gumbel-sigmoid of scores: zeros and ones forward, the sigmoid's gradient backward."""
    shifted = scores + noise
    soft = torch.sigmoid(shifted / tau)
    # The bracket is exactly zero, so that the mask is exactly hard.
    return (shifted > 0).to(soft.dtype) + (soft - soft.detach())


def _segment_mean(values: Tensor, counted: Tensor, segment: Tensor, segments: int) -> Tensor:
    """Return the mean [segments, K] of the counted rows of values [P, K] in each segment; zeros where none is."""
    weights = counted.to(values.dtype)
    total = values.new_zeros(segments, values.shape[1]).index_add_(0, segment, values * weights.unsqueeze(-1))
    count = values.new_zeros(segments).index_add_(0, segment, weights)
    return total / count.clamp(min=1).unsqueeze(-1)
