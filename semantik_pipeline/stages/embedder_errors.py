"""Decide who is to blame when an embedder fails: a document, the plugin, or this process.

A worker with a broken device fails at once on everything, so it claims more units than the healthy workers. If its
failures were charged to documents, it would quarantine the whole corpus. Counting failures does not help: a count
cannot tell a broken worker from a run of bad documents, and it charges the first documents before it can. So the model
is given a text that cannot be at fault (:data:`READY`). If the model can embed that, the document's text is to blame,
however many failures came before. If it cannot, no document is to blame. Errors of this project (PipelineError) already
tell who is to blame and are taken as they are.
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

#: Seconds for which a process leaves a generation to other workers when it cannot load or use the generation's model.
REFUSES = 10.0

#: Parts of device error messages, in lower case. Torch has its own exception type for only some of these errors.
DEVICE = ("cuda error", "cuda driver", "cudnn", "cublas", "hip error", "mps backend")

HINT = "Start a new process. If that fails too, check the device (`nvidia-smi`), or set device: cpu."


def leave(runtime: Runtime, generation_id: int, stage: str, error: Exception) -> None:
    """Leave the stage to other workers for a while if the error means that this process lacks something for it."""
    if lacks(error):
        runtime.refuse(generation_id, stage, told(error), seconds=REFUSES)


def unready(runtime: Runtime, generation_id: int, error: Exception) -> Exception:
    """Return the error to record for units whose model could not be loaded. It is never charged to a unit."""
    leave(runtime, generation_id, "embed", error)
    if lacks(error) or isinstance(error, ServiceUnavailable | StorageFull):
        return error
    if _of_device(error):  # a process never recovers a failed device
        return _because(WorkerUnfit(f"The model can't be loaded: {_told(error)}.", HINT), error)
    return _refused(runtime, generation_id, f"The model can't be loaded: {_told(error)}", error)


def blame(runtime: Runtime, generation_id: int, error: Exception, embed_a_word: Callable[[], object]) -> Exception:
    """Return the error to record for the texts on which the embedder failed with ``error``."""
    if isinstance(error, FingerprintMismatch):  # a property of this model's vectors, whatever the text
        leave(runtime, generation_id, "embed", error)
    if isinstance(error, PipelineError):
        return error
    if is_out_of_memory(error):
        return _because(OutOfMemory(f"The device does not have enough memory for these texts: {_told(error)}"), error)
    try:
        embed_a_word()
    except ServiceUnavailable as again:
        return again
    except RuntimeError as again:  # the model was loaded but no longer works: a new process may fix that
        return _because(WorkerUnfit(f"The model of this process no longer works: {_told(again)}.", HINT), again)
    except Exception as again:  # a bug in the plugin, which every process has
        return _refused(runtime, generation_id, f"The embedder fails on every text: {_told(again)}", again)
    return error


def _refused(runtime: Runtime, generation_id: int, reason: str, error: Exception) -> Exception:
    runtime.refuse(generation_id, "embed", told(reason), seconds=REFUSES)
    return _because(ServiceUnavailable(reason), error)


def _of_device(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in DEVICE)


def _told(error: Exception) -> str:
    """Return the error in one line. CUDA errors have several paragraphs."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(".")


def _because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error
