"""What is computed on, and in which number types."""

from contextlib import AbstractContextManager, nullcontext

import torch

from iadsr_cli.errors import UsageError

# Devices on which the whole step is computed in the softmax's number type where that is a small one. On processors
# only the large products gain by it.
_AUTOCAST_DEVICES = ("cuda",)


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
        native = device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
    return torch.bfloat16 if native else torch.float32


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
