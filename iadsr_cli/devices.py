"""Several processes train one model: what each computes of a batch, and how their parts become one step again.

Every process makes the same batches in the same order, computes some rows of each, and has the gradients of all added
up before it steps: weights are the same everywhere without ever being sent. Means are over the whole batch, and so are
the negatives of contrastive losses and the items that a sampled softmax counts exactly. That is why neither Accelerate
nor DistributedDataParallel is used: they average the gradients of means over parts, which is another loss.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters


@dataclass(frozen=True)
class Spread:
    """How the windows of a batch, or places or targets in them, are spread over the processes.

    Attributes:
        weight: of the mean over those here in the mean over all.
        counts: how many each process has; empty where all are here.
        place: of this process in `counts`.
    """

    weight: float = 1.0
    counts: tuple[int, ...] = ()
    place: int = 0

    @property
    def first(self) -> int:
        """The place among those of all processes of the first one here."""
        return sum(self.counts[: self.place])

    def gathered(self, own: Tensor) -> Tensor:
        """Return the rows [N, ...] of all processes, of which `own` [n, ...] are those here, with their gradients."""
        if not self.counts:
            return own
        whole: Tensor = _Gathered.apply(own, self)
        return whole


@dataclass(frozen=True)
class Share:
    """What of a batch this process computes.

    Attributes:
        rows: the windows of the batch that it computes.
        windows: how windows are spread over processes.
        places: how places that are no padding are.
        targets: how places with a target are.
        codes: the distinct items of the whole batch that lead to a target or are one, or None if they are all here.
        keeps: whether it is this process that says what was found about these rows.
    """

    rows: slice = field(default_factory=lambda: slice(None))
    windows: Spread = Spread()
    places: Spread = Spread()
    targets: Spread = Spread()
    codes: Tensor | None = None
    keeps: bool = True


WHOLE = Share()


@dataclass(frozen=True)
class Group:
    """The processes that train together: which this is, of how many. A process alone sends nothing."""

    rank: int = 0
    size: int = 1

    def share(self, items: np.ndarray, targets: np.ndarray) -> Share:
        """Return what this process computes of a batch of item codes and of next items, both int64 [B, T]."""
        if self.size == 1:
            return WHOLE
        if len(items) < self.size:
            # They do not go round: all compute all of them, and each counts for its part.
            part = Spread(1 / self.size)
            return Share(windows=part, places=part, targets=part, keeps=self.rank == 0)
        valid, aimed = items > 0, targets > 0
        # Windows are in the order of their lengths: every so-maniest, so that no process has the long ones.
        rows = [slice(rank, None, self.size) for rank in range(self.size)]

        def spread(marks: np.ndarray) -> Spread:
            counts = tuple(int(marks[part].sum()) for part in rows)
            return Spread(counts[self.rank] / max(1, sum(counts)), counts, self.rank)

        codes = torch.from_numpy(np.unique(np.concatenate([items[aimed], targets[aimed]])))
        return Share(rows[self.rank], spread(np.ones(len(items))), spread(valid), spread(aimed), codes)

    def add_up(self, tensor: Tensor) -> None:
        """Replace a tensor of one shape everywhere by the sum of those of all processes."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def take_lowest(self, tensor: Tensor) -> None:
        """Replace a tensor of one shape everywhere by the lowest of those of all processes, place by place."""
        if self.size > 1:
            dist.all_reduce(tensor, dist.ReduceOp.MIN)

    def gathered(self, own: Tensor) -> Tensor:
        """Return the rows of all processes, whatever number each has: [n, ...] to [N, ...], without gradients."""
        if self.size == 1:
            return own
        counts = torch.zeros(self.size, dtype=torch.long, device=own.device)
        counts[self.rank] = len(own)
        dist.all_reduce(counts)
        return _together(own, Spread(counts=tuple(counts.tolist()), place=self.rank))

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their sums over all processes."""
        if self.size == 1:
            return
        given = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
        dense = [gradient for _, gradient in given if not gradient.is_sparse]
        flat = parameters_to_vector(dense)
        dist.all_reduce(flat)
        vector_to_parameters(flat, dense)
        for parameter, gradient in given:
            if gradient.is_sparse:
                own = gradient.coalesce()
                parameter.grad = torch.sparse_coo_tensor(
                    self.gathered(own.indices().T).T,
                    self.gathered(own.values()),
                    parameter.shape,
                    check_invariants=False,
                )


ALONE = Group()


def join(device: torch.device, rank: int, size: int, local: int, store: dist.Store | None = None) -> Group:
    """Return the group of this process, once all are there; on GPUs it takes number `local` of the machine.

    Without a store they meet as the variables say that torchrun sets.
    """
    if device.type == "cuda":
        torch.cuda.set_device(local)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    return Group(rank, size)


def leave() -> None:
    """Leave the group, once all are done: threads of it that are alive when Python ends would abort the process."""
    dist.barrier()
    dist.destroy_process_group()


class _Gathered(torch.autograd.Function):
    """The rows of all processes; the gradient of a row is the sum of what all make of it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, spread: Spread) -> Tensor:
        ctx.rows = slice(spread.first, spread.first + len(own))
        return _together(own, spread)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradient = grad_outputs[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[ctx.rows], None


def _together(own: Tensor, spread: Spread) -> Tensor:
    """Return the rows of all processes: zeros but for one's own, added up, as numbers of rows may differ."""
    whole = own.new_zeros(sum(spread.counts), *own.shape[1:])
    whole[spread.first : spread.first + len(own)] = own
    dist.all_reduce(whole)
    return whole
