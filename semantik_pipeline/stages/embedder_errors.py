"""Whose fault it is that an embedder failed: a document's, the plugin's, or this process's.

A worker whose device is broken fails at once on everything, so it claims more than the healthy ones: were its failures
held against documents, it would quarantine the corpus. Counting failures cannot tell a broken worker from a run of bad
documents, and charges the first ones before it can. So the model is asked for a word that cannot be at fault
(:data:`READY`): where it can embed that, the text is to blame, however many failed before; where it cannot, no document
is. Errors of this project (PipelineError) say themselves who is to blame, and are not doubted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from semantik_pipeline.contracts.models import is_out_of_memory
from semantik_pipeline.errors import (
    FingerprintMismatch,
    OutOfMemory,
    PipelineError,
    ServiceUnavailable,
    StorageFull,
    WorkerUnfit,
)
from semantik_pipeline.stages.unit_errors import lacks, told

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Seconds for which a process leaves a generation to others whose model it can't load or use.
REFUSES = 10.0

#: What the errors of a device say, in lower case; torch has a type of its own only for some of them.
DEVICE = ("cuda error", "cuda driver", "cudnn", "cublas", "hip error", "mps backend")

HINT = "Start a new process. If that fails too, check the device (`nvidia-smi`), or set device: cpu."


def leave(runtime: Runtime, generation_id: int, stage: str, error: Exception) -> None:
    """Leave the stage to others for a while, if the error says that this process lacks something for it."""
    if lacks(error):
        runtime.refuse(generation_id, stage, told(error), seconds=REFUSES)


def unready(runtime: Runtime, generation_id: int, error: Exception) -> Exception:
    """What a model that could not be loaded means for the units that wait for it: none of them is ever charged."""
    leave(runtime, generation_id, "embed", error)
    if lacks(error) or isinstance(error, ServiceUnavailable | StorageFull):
        return error
    if _of_device(error):  # once its device has failed, a process never gets it back
        return _because(WorkerUnfit(f"The model can't be loaded: {_told(error)}.", HINT), error)
    return _refused(runtime, generation_id, f"The model can't be loaded: {_told(error)}", error)


def blame(runtime: Runtime, generation_id: int, error: Exception, embed_a_word: Callable[[], object]) -> Exception:
    """The error to record for the texts on which the embedder failed with ``error``."""
    if isinstance(error, FingerprintMismatch):  # of this model's vectors, whatever the text
        leave(runtime, generation_id, "embed", error)
    if isinstance(error, PipelineError):
        return error
    if is_out_of_memory(error):
        return _because(OutOfMemory(f"The device does not have enough memory for these texts: {_told(error)}"), error)
    try:
        embed_a_word()
    except ServiceUnavailable as again:
        return again
    except RuntimeError as again:  # it was loaded, and works no more: a new process may mend that
        return _because(WorkerUnfit(f"The model of this process no longer works: {_told(again)}.", HINT), again)
    except Exception as again:  # a bug of the plugin, which every process has
        return _refused(runtime, generation_id, f"The embedder fails on every text: {_told(again)}", again)
    return error


def _refused(runtime: Runtime, generation_id: int, reason: str, error: Exception) -> Exception:
    runtime.refuse(generation_id, "embed", told(reason), seconds=REFUSES)
    return _because(ServiceUnavailable(reason), error)


def _of_device(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in DEVICE)


def _told(error: Exception) -> str:
    """The error in one line: what CUDA says goes on for paragraphs."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(".")


def _because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error
