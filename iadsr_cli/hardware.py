"""What is computed on, in which number types, and from which random numbers."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from iadsr_cli.errors import UsageError

# Devices on which the whole step is computed in the softmax's number type where that is a small one. On processors
# only the large products gain by it.
_AUTOCAST_DEVICES = ("cuda",)
# Apple's GPUs know neither float64 nor, by most versions of PyTorch, sparse gradients.
_PLAIN_DEVICES = ("mps",)


def pick_device(name: str) -> torch.device:
    """Return the device to compute on; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: if the one asked for is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    if not there[name]:
        usable = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise UsageError(f"--device {name} is not available on this machine.", f"Usable here: auto, {usable}.")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the number type for the softmax's matrix products; "auto" is bfloat16 where the hardware has it."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if device.type == "cuda":
        # What older GPUs only imitate is slow there, and kernels cannot be compiled for it.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Before 2.6 PyTorch does not tell.
        tell = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        native = device.type == "cpu" and tell is not None and bool(tell())
    return torch.bfloat16 if native else torch.float32


def where_doubles_are(device: torch.device) -> torch.device:
    """Return where float64 is computed in for a device: there, or on the host."""
    return torch.device("cpu") if device.type in _PLAIN_DEVICES else device


def has_sparse_gradients(device: torch.device) -> bool:
    """Return whether a device can compute sparse gradients."""
    return device.type not in _PLAIN_DEVICES


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the random numbers that are drawn on the host and on a device, uint8 [n] each, by name."""
    states = {"random": torch.get_rng_state()}
    # Of this device alone: a look at the others would take memory on each, and a warning.
    if device.type == "cuda":
        states["random_cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["random_mps"] = torch.mps.get_rng_state()
    return states


def set_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Go on from what `random_states` returned; what is of another kind of device is passed over."""
    torch.set_rng_state(states["random"])
    own = states.get(f"random_{device.type}")
    if own is not None and device.type == "cuda":
        torch.cuda.set_rng_state(own, device)
    elif own is not None and device.type == "mps":
        torch.mps.set_rng_state(own)


@contextmanager
def randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Begin random numbers at `seed`, and leave those of the caller as they were."""
    before = random_states(device)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        set_random_states(before, device)


def step_precision(precision: torch.dtype, device: torch.device) -> torch.autocast:
    """Return the context that a step is computed in, given the number type of its softmax."""
    return torch.autocast(
        device.type, precision, enabled=device.type in _AUTOCAST_DEVICES and precision != torch.float32
    )


def computed_precision(device: torch.device) -> torch.dtype:
    """Return the number type that products are computed in where it is asked: that of a step, or float32."""
    kind = device.type
    stepping = kind in _AUTOCAST_DEVICES and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if stepping else torch.float32


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return the context of what is computed in its own number types within a step."""
    return torch.autocast(device.type, enabled=False) if device.type in _AUTOCAST_DEVICES else nullcontext()
