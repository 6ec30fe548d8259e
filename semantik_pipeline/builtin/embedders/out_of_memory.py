"""Releases the memory that a device's allocator caches."""

from __future__ import annotations


def release_memory(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device.startswith("mps"):
        torch.mps.empty_cache()
