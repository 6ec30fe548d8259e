"""Chooses the device, and the precision of matrix products.

Only matrix products run in half precision; sums, norms and pooling stay in float32. On 512 Cranfield abstracts with
all-MiniLM-L6-v2, the worst cosine to float32 is 0.99995 (bfloat16). Vectors of all precisions can therefore share one
index, and precision is an operational option: a laptop and a GPU worker can serve one generation.

With weights, norms and sums all in bfloat16, the cosine would drop to 0.997, so no embedder does that. A Qwen3-Reranker
does: its weights were made in bfloat16 and would take twice the memory in float32, its result is a single score, and
nothing is stored.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path

from semantik_pipeline.errors import PluginConfigError

log = logging.getLogger(__name__)

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def choose_device(wanted: str) -> str:
    """``auto`` chooses CUDA, then Apple's MPS, then the CPU. Raises PluginConfigError for an unavailable device."""
    import torch

    if wanted != "auto":
        try:
            torch.empty(0, device=wanted)
        except (RuntimeError, AssertionError) as error:
            said = str(error).splitlines()[0]
            raise PluginConfigError(f"The device {wanted!r} can't be used: {said}", "Set device: auto.") from None
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    if gpu_in_sight():
        _tell_of_gpu()
    return "cpu"


def gpu_in_sight() -> bool:
    """Whether this process may use a GPU, according to the host and ``CUDA_VISIBLE_DEVICES``; torch is not asked."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return visible.split(",")[0].strip() not in ("", "-1")
    return any(Path("/proc/driver/nvidia/gpus").glob("*"))


@cache  # logged once per process, however many models it loads
def _tell_of_gpu() -> None:
    import torch

    built = torch.version.cuda
    why = f"CUDA {built} can't start; check that the driver is new enough" if built else "it is built without CUDA"
    log.warning(
        "There is a GPU, but torch can't use it (%s), so models run on the CPU. Set device: cpu if that is intended.",
        why,
    )


def choose_precision(wanted: str, device: str) -> str:
    """``auto`` chooses bfloat16 where the hardware multiplies it faster than float32, otherwise float32.

    CPUs need AVX512-BF16 or AMX for that; others emulate bfloat16, which is several times slower. A CUDA device without
    bfloat16 uses float16.
    """
    import torch

    if wanted != "auto":
        return wanted
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device == "cpu" and cpu_has_bfloat16():
        return "bfloat16"
    return "float32"


def cpu_has_bfloat16() -> bool:
    import torch

    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private: an older torch may lack them
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
