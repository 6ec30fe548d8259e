"""Which device, and how precise its matrix products are.

Only the matrix products run in half precision; sums, norms and pooling stay in float32. Measured on 512 Cranfield
abstracts with all-MiniLM-L6-v2, the worst cosine to float32 is 0.99995 (bfloat16), so vectors of all precisions may
lie in one index, and precision is an operational option: a laptop and a GPU worker serve one generation. (Weights,
norms and sums all in bfloat16 would drift to 0.997. No embedder does so; a Qwen3-Reranker, whose weights were made in
bfloat16 and would take twice the memory, does: one score comes of it, and nothing is kept.)
"""

from __future__ import annotations

from semantik_pipeline.errors import PluginConfigError

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
    return "mps" if torch.backends.mps.is_available() else "cpu"


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
