"""The way from host to device: the next batch is made while this one is computed, and copied by the device itself."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Thing = TypeVar("Thing")
Made = TypeVar("Made")

# Devices that compute while the host does something else. A processor would only take the time from itself.
_BESIDE_THE_HOST = ("cuda",)


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host in memory that a GPU copies from without the host; itself for other devices."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device; a GPU's own work may go on meanwhile, and so may the host's.

    The host's memory can be let go at once: PyTorch gives it to nobody before the GPU has copied it.
    """
    if tensor.device == device:
        return tensor
    return pinned(tensor, device).to(device, non_blocking=device.type == "cuda")


def fetched(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to bring a tensor to the host, and return what waits for it: not for what is asked of a GPU meanwhile."""
    if tensor.device.type != "cuda":
        return tensor.cpu
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    there = torch.cuda.Event()
    there.record()

    def waited() -> Tensor:
        there.synchronize()
        return host

    return waited


def ahead(make: Callable[[Thing], Made], things: Iterable[Thing], device: torch.device) -> Iterator[Made]:
    """Yield what `make` makes of each thing; beside a GPU, the next is made on a thread while one is used.

    On that thread `make` may do what the host does and pin memory. It must not send: another thread has another
    current GPU.
    """
    if device.type not in _BESIDE_THE_HOST:
        yield from map(make, things)
        return
    with ThreadPoolExecutor(1) as thread:
        before: Future[Made] | None = None
        for thing in things:
            following = thread.submit(make, thing)
            if before is not None:
                yield before.result()
            before = following
        if before is not None:
            yield before.result()
