"""SASRec (Kang and McAuley, 2018): self-attention over the sequence, causal, pre-norm, with learned positions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iadsr_cli.config import BackboneSettings
from iadsr_cli.models.backbone import Backbone


class SASRec(Backbone):
    """States are the outputs of the last attention block, normalised; H may differ from D."""

    def __init__(self, settings: BackboneSettings, n_items: int) -> None:
        super().__init__(settings, n_items)
        size = self.hidden_size
        self.enter = nn.Identity() if size == settings.embedding_size else nn.Linear(settings.embedding_size, size)
        self.positions = nn.Parameter(torch.randn(settings.window, size) * size**-0.5)
        self.blocks = nn.ModuleList(
            _Block(size, settings.heads, settings.dropout) for _ in range(settings.resolved_layers)
        )
        self.norm = nn.LayerNorm(size)

    def states(self, embedded: Tensor) -> Tensor:
        """Return float [B, T, H]; T is at most the window."""
        # Scaled up so that positions, which start small, do not outweigh the items (as in the paper).
        hidden = self.enter(embedded) * self.hidden_size**0.5 + self.positions[: embedded.shape[1]]
        hidden = self.dropout(hidden)
        for block in self.blocks:
            hidden = block(hidden)
        normed: Tensor = self.norm(hidden)
        return normed


class _Block(nn.Module):
    """One pre-norm block: causal self-attention, then a position-wise network; [B, T, H] to [B, T, H]."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.attention_norm, self.network_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.project_in, self.project_out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.network = nn.Sequential(
            nn.Linear(size, size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(size, size), nn.Dropout(dropout)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, T, H / heads]
            for part in self.project_in(self.attention_norm(hidden)).chunk(3, dim=-1)
        )
        # Padding stands on the right, after all that a valid position may see: the causal mask hides it too.
        mixed = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=self.rate if self.training else 0.0
        )
        hidden = hidden + self.dropout(self.project_out(mixed.transpose(1, 2).flatten(2)))
        output: Tensor = hidden + self.network(self.network_norm(hidden))
        return output
