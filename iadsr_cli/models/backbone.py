"""The one interface of all sequential recommenders: item codes [B, T] to causal states [B, T, H]."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from iadsr_cli.config import BackboneSettings
from iadsr_cli.models.items import ItemEmbedding


class Backbone(nn.Module, ABC):
    """A sequential recommender with an item embedding that also scores the next item (tied weights).

    Shapes: B sequences, T positions, V items, D = `embedding_size`, H = `hidden_size`.
    """

    hidden_size: int

    def __init__(self, settings: BackboneSettings, n_items: int) -> None:
        super().__init__()
        self.settings = settings
        self.hidden_size = settings.resolved_hidden_size
        self.item_embedding = ItemEmbedding(n_items, settings.embedding_size)
        # Small, so that the first softmax over tied weights is near uniform.
        nn.init.normal_(self.item_embedding.weight, std=settings.embedding_size**-0.5)
        with torch.no_grad():
            self.item_embedding.weight[0].zero_()
        self.item_bias = nn.Parameter(torch.zeros(n_items + 1))
        # What an item's logit gains where the history holds it already. A dot product cannot say it: the items that
        # follow are near the last one, and the last one is nearest. Songs are heard again, and cameras not bought.
        self.repeat = nn.Parameter(torch.zeros(()))
        self.dropout = nn.Dropout(settings.dropout)
        same_space = self.hidden_size == settings.embedding_size
        self.project = None if same_space else nn.Linear(self.hidden_size, settings.embedding_size)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.item_bias.device

    @abstractmethod
    def states(self, embedded: Tensor) -> Tensor:
        """Return the state at each position, which saw no later one: float [B, T, D] to [B, T, H].

        Padding, if any, stands on the right, and what is returned there does not matter but has to be finite.
        """

    def forward(self, items: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return the causal states float [B, T, H] of item codes [B, T]; 0 is padding, on either side.

        `keep` (float [B, T]), where given, multiplies the input embeddings: IADSR's mask.
        """
        # Left padding would enter recurrences and shift positions: items are moved to the front, states back again.
        step = torch.arange(items.shape[1], device=items.device)
        lead = (items > 0).int().argmax(dim=1, keepdim=True)
        forth, back = (step + lead).clamp(max=items.shape[1] - 1), (step - lead).clamp(min=0)
        moved = self.item_embedding(items.gather(1, forth) * (step + lead < items.shape[1]))
        if keep is not None:
            moved = moved * keep.gather(1, forth).unsqueeze(-1)
        states = self.states(self.dropout(moved))
        return states.gather(1, back.unsqueeze(-1).expand_as(states))

    def query(self, states: Tensor) -> Tensor:
        """Map states [..., H] to the space of item embeddings [..., D], where next items are scored.

        Where H is D, states are in that space already, as in SASRec.
        """
        return states if self.project is None else self.project(self.dropout(states))

    def logits(self, states: Tensor, seen: Tensor, out: Tensor | None = None) -> Tensor:
        """Score every item as the next one: states [n, H] to [n, V]; column i is the item of code i + 1.

        Args:
            states: [n, H].
            seen: the items of each history, once each and 0 elsewhere, [n, T], as `distinct` returns them.
            out: where given, is written to; that is only possible where no gradient is asked for.
        """
        scores = torch.addmm(self.item_bias[1:], self.query(states), self.item_embedding.weight[1:].T, out=out)
        return scores.scatter_add_(1, (seen - 1).clamp(min=0), self.repeat * (seen > 0))


def distinct(items: Tensor) -> Tensor:
    """Return item codes [..., T] sorted, each code once: 0 stands for its other occurrences, and for padding."""
    ordered = items.sort(dim=-1).values
    again = nn.functional.pad(ordered[..., 1:] == ordered[..., :-1], (1, 0))
    return ordered.masked_fill(again, 0)


def first_places(items: Tensor) -> Tensor:
    """Return where each of the items [B, T] stands for the first time in its history, bool [B, T]; not at padding."""
    again = (items.unsqueeze(2) == items.unsqueeze(1)).tril(-1).any(-1)
    return (items > 0) & ~again


def seen_before(items: Tensor) -> Tensor:
    """Return the distinct items up to each position, itself included: codes [B, T] to codes [B, T, T]."""
    up_to = torch.ones(items.shape[1], items.shape[1], dtype=items.dtype, device=items.device).tril()
    return distinct(items.unsqueeze(1) * up_to)
