"""Which device, and how precise its matrix products are.

Only the matrix products run in half precision; sums, norms and pooling stay in float32. Measured on 512 Cranfield
abstracts with all-MiniLM-L6-v2, the worst cosine to float32 is 0.99995 (bfloat16), so vectors of all precisions may
lie in one index, and precision is an operational option: a laptop and a GPU worker serve one generation. (Weights,
norms and sums all in bfloat16 would drift to 0.997. No embedder does so; a Qwen3-Reranker, whose weights were made in
bfloat16 and would take twice the memory, does: one score comes of it, and nothing is kept.)
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
    """``auto`` is CUDA, then Apple's MPS, then the CPU. Raises PluginConfigError for a device that isn't there."""
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
    """Whether this process may use a GPU, as the host and ``CUDA_VISIBLE_DEVICES`` say; torch is not asked."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return visible.split(",")[0].strip() not in ("", "-1")
    return any(Path("/proc/driver/nvidia/gpus").glob("*"))


@cache  # once in a process is enough, however many models it loads
def _tell_of_gpu() -> None:
    import torch

    built = torch.version.cuda
    why = f"CUDA {built} can't start; see that the driver is new enough" if built else "it is built without CUDA"
    log.warning(
        "There is a GPU, and torch can't use it (%s): models work on the CPU. Set device: cpu if that is meant.", why
    )


def choose_precision(wanted: str, device: str) -> str:
    """``auto`` is bfloat16 where the hardware multiplies it faster than float32, else float32.

    On a CPU that means AVX512-BF16 or AMX: one without them emulates bfloat16 and is several times slower.
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
