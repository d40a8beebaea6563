"""Steps that a GPU goes through by itself: asking for each of its many small parts takes longer than they do."""

from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor


class Inputs(Protocol):
    """What a step is given: tensors, which some shape is common to."""

    @property
    def shape(self) -> tuple[int, ...]:
        """That shape: a step does the same for all inputs of one."""

    def tensors(self) -> list[Tensor]:
        """Return all of them, in one order."""

    def sent(self, device: torch.device) -> Self:
        """Return them on a device."""


Given = TypeVar("Given", bound=Inputs)


class Replays(Generic[Given]):
    """A step that is recorded as a CUDA graph for each shape, when that comes a second time, and then only replayed.

    The step must neither ask the device for a value nor depend on anything but tensors that stay where they are. The
    first step of a shape is an ordinary one: libraries get ready in it, and a shape that never comes again costs
    no recording. Recorded or not, numbers are the same, random ones too.
    """

    def __init__(self, step: Callable[[Given], None], device: torch.device) -> None:
        self._step, self._device = step, device
        self._recorded: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Given] | None] = {}
        # One after the other they can use the same memory.
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, given: Given) -> None:
        """Do the step with what is given, on the host or the device."""
        if given.shape not in self._recorded:
            self._recorded[given.shape] = None
            self._step(given.sent(self._device))
            return
        found = self._recorded[given.shape]
        if found is None:
            found = self._recorded[given.shape] = self._record(given.sent(self._device))
        else:
            for kept, new in zip(found[1].tensors(), given.tensors(), strict=True):
                kept.copy_(new, non_blocking=True)
        found[0].replay()

    def _record(self, given: Given) -> tuple[torch.cuda.CUDAGraph, Given]:
        graph = torch.cuda.CUDAGraph()
        # The thread that makes the next batch may go on to pin memory.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            self._step(given)
        return graph, given
