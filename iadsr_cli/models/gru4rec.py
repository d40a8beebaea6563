"""GRU4Rec (Hidasi et al., 2016): a gated recurrent network over the sequence."""

import torch
from torch import Tensor, nn

from iadsr_cli.config import BackboneSettings
from iadsr_cli.models.backbone import Backbone


class GRU4Rec(Backbone):
    """States are the outputs of the last GRU layer; H may differ from D."""

    def __init__(self, settings: BackboneSettings, n_items: int) -> None:
        super().__init__(settings, n_items)
        self.gru = nn.GRU(
            settings.embedding_size,
            settings.hidden_size,
            settings.layers,
            batch_first=True,
            dropout=settings.dropout if settings.layers > 1 else 0.0,
        )

    def states(self, embedded: Tensor, valid: Tensor) -> Tensor:
        """Return float [B, T, H]."""
        # A recurrence would carry left padding into the state: valid places are moved to the front and back again.
        lead = valid.int().argmax(dim=1, keepdim=True)
        step = torch.arange(valid.shape[1], device=valid.device)
        forth = (step + lead).clamp(max=valid.shape[1] - 1)
        back = (step - lead).clamp(min=0)
        moved = embedded.gather(1, forth.unsqueeze(-1).expand_as(embedded))
        output = self.gru(moved)[0]
        return output.gather(1, back.unsqueeze(-1).expand_as(output))
