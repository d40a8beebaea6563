"""What kernels by Triton can compute, and of which sizes the tiles are that they do it in."""

import importlib.util

import torch

# Numbers of a query or a state beyond which tiles do not fit what a GPU keeps close to where it computes.
_LARGEST = 128


def can_fuse(device: torch.device, precision: torch.dtype, size: int) -> bool:
    """Return whether there are kernels for a device, for vectors of some size and products in a number type.

    Triton comes with PyTorch for CUDA.
    """
    possible = device.type == "cuda" and precision == torch.bfloat16 and size <= _LARGEST
    return possible and importlib.util.find_spec("triton") is not None


def padded_size(size: int) -> int:
    """Return the numbers of a tile for vectors of `size`: a power of two, and no fewer than products take."""
    return max(16, 1 << (size - 1).bit_length())
