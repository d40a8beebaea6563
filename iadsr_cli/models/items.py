"""The embedding of the items: on the device with the rest of a recommender, or, where it is too large, on the host."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from iadsr_cli.transfers import sent


class ItemEmbedding(nn.Embedding):
    """A vector per item code; code 0 is padding, which is not trained.

    Once it is told to stay on the host, it does so wherever the rest goes, and with it its gradient, which is sparse,
    and the optimizer's moments. Rows are sent to the device that asks for them: for each look-up the host waits for it.
    """

    on_host = False

    def __init__(self, n_items: int, size: int) -> None:
        super().__init__(n_items + 1, size, padding_idx=0)

    def stay_on_host(self, on_host: bool) -> None:
        """Stay on the host from now on, or go where the rest of the model goes."""
        if on_host:
            self.cpu()
        self.on_host = on_host

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ItemEmbedding":
        # What moves a model to a device.
        if not self.on_host:
            super()._apply(fn, recurse)
        return self

    def forward(self, input: Tensor) -> Tensor:
        """Return the vectors [..., D] of item codes [...], on the device of the codes."""
        if not self.on_host:
            return super().forward(input)
        rows: Tensor = _Fetched.apply(self.weight, input)
        return rows

    @contextmanager
    def whole_on(self, device: torch.device) -> Iterator[None]:
        """Have the whole table on a device for as long as all items are compared; nothing may change it there."""
        if not self.on_host:
            yield
            return
        trained = self.weight
        try:
            self.weight, self.on_host = nn.Parameter(trained.detach().to(device), requires_grad=False), False
            yield
        finally:
            self.weight, self.on_host = trained, True


class _Fetched(torch.autograd.Function):
    """Rows of a table of the host on the device where their numbers are; their gradients go back to the table."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, codes: Tensor) -> Tensor:
        here = codes.cpu()
        ctx.save_for_backward(here)
        ctx.shape = table.shape
        return sent(table[here], codes.device)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        codes = ctx.saved_tensors[0].flatten()
        real = codes > 0
        rows = grad_outputs[0].cpu().flatten(0, -2)[real]
        return torch.sparse_coo_tensor(codes[real].unsqueeze(0), rows, ctx.shape, check_invariants=False), None
