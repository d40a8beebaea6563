"""Batches of training: windows of histories, what follows each of their interactions, and a process's share of both."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from iadsr_cli.devices import Group, Share
from iadsr_cli.models.alignment import Prepared
from iadsr_cli.sequences import Sequences, Windows
from iadsr_cli.transfers import pinned, sent


@dataclass(frozen=True)
class Batch:
    """The windows of a batch that this process computes.

    Attributes:
        flat: flat indices of their interactions, [B, T].
        items: item codes [B, T].
        targets: codes of the next items [B, T].
        size: windows of the whole batch.
        share: what of it these are.
        prepared: what an aligned model wants to know of the items beforehand.
    """

    flat: Tensor
    items: Tensor
    targets: Tensor
    size: int
    share: Share
    prepared: Prepared | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Windows and places in each of those that are here: (B, T)."""
        return tuple(self.items.shape)

    def tensors(self) -> list[Tensor]:
        """Return all tensors, in one order."""
        of_items = [] if self.prepared is None else [self.prepared.vectors, self.prepared.places]
        return [self.flat, self.items, self.targets, *(tensor for tensor in of_items if tensor is not None)]

    def sent(self, device: torch.device) -> "Batch":
        """Return it on the device, from the host."""
        flat, items, targets = (sent(tensor, device) for tensor in (self.flat, self.items, self.targets))
        prepared = self.prepared.sent(device) if self.prepared else None
        return replace(self, flat=flat, items=items, targets=targets, prepared=prepared)


def make_batch(
    sequences: Sequences,
    following: np.ndarray,
    windows: Windows,
    device: torch.device,
    group: Group,
    prepare: Callable[[Tensor], Prepared] | None,
) -> Batch:
    """Return a batch on the host, ready to be sent to the device; `following` is what `next_codes` returns."""
    flat, valid = windows.grid()
    items, targets = sequences.codes[flat] * valid, following[flat] * valid
    share = group.share(items, targets)
    own = [
        pinned(torch.from_numpy(np.ascontiguousarray(array[share.rows])), device) for array in (flat, items, targets)
    ]
    return Batch(own[0], own[1], own[2], len(windows), share, prepare(own[1]).pinned(device) if prepare else None)


def next_codes(sequences: Sequences, ends: np.ndarray) -> np.ndarray:
    """Return the code of the interaction that follows each in the training part, 0 where none does; int64 [N]."""
    following = np.append(sequences.codes[1:], 0)
    last = sequences.offsets[:-1] + ends - 1
    return following * (np.arange(len(following)) < np.repeat(last, sequences.lengths))
