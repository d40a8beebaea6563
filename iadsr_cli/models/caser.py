"""Caser (Tang and Wang, 2018): convolutions over the last few items, here at every position of the sequence.

The published model looks at one window per user; for a state at each position the window slides over the sequence.
There is no user embedding: a user's state is what the history says.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iadsr_cli.config import BackboneSettings
from iadsr_cli.models.backbone import Backbone

# Of the paper: items that a convolution sees (L), horizontal filters for each height, vertical filters.
_REACH = 5
_HORIZONTAL = 16
_VERTICAL = 4


class Caser(Backbone):
    """States are a layer over horizontal and vertical convolutions of the last five items; H may differ from D."""

    def __init__(self, settings: BackboneSettings, n_items: int) -> None:
        super().__init__(settings, n_items)
        size = settings.embedding_size
        self.horizontal = nn.ModuleList(nn.Conv1d(size, _HORIZONTAL, height) for height in range(1, _REACH + 1))
        self.vertical = nn.Linear(_REACH, _VERTICAL, bias=False)
        self.mix = nn.Linear(_HORIZONTAL * _REACH + _VERTICAL * size, self.hidden_size)

    def states(self, embedded: Tensor) -> Tensor:
        """Return float [B, T, H]."""
        # Zeros before the first item: every position has a window of its own, ending at it.
        padded = F.pad(embedded, (0, 0, _REACH - 1, 0)).transpose(1, 2)  # [B, D, L - 1 + T]
        features = []
        for height, convolution in enumerate(self.horizontal, start=1):
            found = F.relu(convolution(padded))  # [B, filters, L - height + T]
            features.append(F.max_pool1d(found, _REACH - height + 1, stride=1))  # [B, filters, T]
        vertical = self.vertical(padded.unfold(2, _REACH, 1))  # [B, D, T, vertical filters]
        features.append(vertical.permute(0, 1, 3, 2).flatten(1, 2))
        joined = self.dropout(torch.cat(features, dim=1).transpose(1, 2))
        return F.relu(self.mix(joined))
