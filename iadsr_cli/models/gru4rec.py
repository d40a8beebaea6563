"""GRU4Rec (Hidasi et al., 2016): a gated recurrent network over the sequence."""

from torch import Tensor, nn

from iadsr_cli.config import BackboneSettings
from iadsr_cli.hardware import computed_precision, full_precision
from iadsr_cli.models import recurrence
from iadsr_cli.models.backbone import Backbone


class GRU4Rec(Backbone):
    """States are the outputs of the last GRU layer; H may differ from D."""

    def __init__(self, settings: BackboneSettings, n_items: int) -> None:
        super().__init__(settings, n_items)
        self.gru = nn.GRU(
            settings.embedding_size,
            self.hidden_size,
            settings.resolved_layers,
            batch_first=True,
            dropout=settings.dropout if settings.resolved_layers > 1 else 0.0,
        )

    def states(self, embedded: Tensor) -> Tensor:
        """Return float [B, T, H]."""
        device = embedded.device
        precision = computed_precision(device)
        if recurrence.is_persistent(device, precision, self.hidden_size):
            return recurrence.states(self.gru, embedded, precision)
        # Autocast would have it in float16, whatever type it was told, and small gradients would vanish.
        with full_precision(device):
            output: Tensor = self.gru(embedded.float())[0]
        return output
