"""Telling that a device ran out of memory, and giving back what its allocator caches."""

from __future__ import annotations


def is_out_of_memory(error: BaseException) -> bool:
    """True for torch's OutOfMemoryError, and for the plain RuntimeError of its CPU and MPS allocators."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("not enough memory" in said or "out of memory" in said)


def release_memory(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device.startswith("mps"):
        torch.mps.empty_cache()
