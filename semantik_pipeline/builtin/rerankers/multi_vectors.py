"""Late interaction with a model that was trained for it (ColBERT and its successors). It runs in sentence-transformers'
MultiVectorEncoder, with the model's own prompts, projection, query expansion and skipped tokens."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from semantik_pipeline.builtin.embedders.device_turns import Lane
from semantik_pipeline.builtin.embedders.loaded_model import ModelOptions
from semantik_pipeline.builtin.embedders.micro_batches import MicroBatches
from semantik_pipeline.builtin.embedders.model_card import module_kinds, read_model_card
from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer, Window
from semantik_pipeline.builtin.embedders.precision import choose_device, choose_precision
from semantik_pipeline.builtin.embedders.surrogates import without_surrogates
from semantik_pipeline.builtin.rerankers.late_scoring import KEPT
from semantik_pipeline.builtin.rerankers.recent import Recent
from semantik_pipeline.contracts.models import ModelFiles
from semantik_pipeline.errors import PluginLoadError

if TYPE_CHECKING:
    import torch

_DEFAULT_WINDOW = 300  # tokens that such models usually read of a document


class MultiVectorScoring(MicroBatches):
    """Scores texts with one model. The vectors of recent queries are kept for the next slices of their candidates."""

    #: A model that was trained for late interaction gains nothing from feedback.
    TAKES_FEEDBACK: ClassVar[bool] = False

    def __init__(self, located: ModelFiles, options: ModelOptions) -> None:
        device = choose_device(options.device)
        self.precision = choose_precision(options.precision, device)
        super().__init__(
            device=device, key=f"{located.path} multi-vector {id(self)}", batch_tokens=options.max_batch_tokens
        )
        self._model = _load(located, device, options.trust_remote_code)
        self._tokenizer = ModelTokenizer(located.path)
        self._window = getattr(self._model[0], "document_length", None) or self._model.max_seq_length or _DEFAULT_WINDOW
        self._prompt = self._model.prompts.get("document") or ""
        self._queries: Recent[str, torch.Tensor] = Recent(KEPT)

    def scores(self, query: str, documents: Sequence[str], stop: threading.Event | None = None) -> np.ndarray:
        """(n,) float32 within 0..1: the mean, over the query's vectors, of the highest cosine to one of the text's.

        This is the model's own MaxSim divided by the number of the query's vectors. Long texts are read in windows;
        nothing is cut off. CancelledError is raised soon after ``stop`` is set.
        """
        asked = self._asked(without_surrogates(query))
        windows = self._tokenizer.windows(documents, self._prompt, self._window)
        lengths = [len(window.ids) for window in windows]
        found = self.through(windows, lengths, lambda batch: self._nearest(asked, batch), lane=Lane.RERANK, stop=stop)
        nearest = np.zeros((len(documents), len(asked)), dtype=np.float32)  # a negative cosine counts as no match
        for window, cosines in zip(windows, found, strict=True):
            nearest[window.owner] = np.maximum(nearest[window.owner], cosines)
        return nearest.mean(1).clip(0, 1)

    def _asked(self, query: str) -> torch.Tensor:
        """The query's unit vectors, (vectors, d), on the device."""
        known = self._queries.get(query)
        if known is None:
            made = self.through([query], [1], lambda batch: self._encoded(batch, "query"), lane=Lane.RERANK)[0]
            known = self._queries.put(query, made)
        return known

    def _nearest(self, asked: torch.Tensor, windows: Sequence[Window]) -> list[np.ndarray]:
        """For each window, the highest cosine to each of the query's vectors, (vectors,)."""
        found = self._encoded([window.text for window in windows], "document")
        worst = np.full(len(asked), -1.0, dtype=np.float32)
        return [(asked @ one.T).amax(dim=1).cpu().numpy() if len(one) else worst for one in found]

    def _encoded(self, texts: Sequence[str], task: str) -> list[torch.Tensor]:
        """The unit vectors of each text, (vectors, d) float32, on the device."""
        import torch

        encode = self._model.encode_query if task == "query" else self._model.encode_document
        kind = self.device.split(":", 1)[0]
        with torch.autocast(kind, getattr(torch, self.precision), enabled=self.precision != "float32"):
            found = encode([*texts], batch_size=len(texts), show_progress_bar=False)
        return [torch.nn.functional.normalize(vectors.float(), dim=1) for vectors in found]


def is_multi_vector(path: Path) -> bool:
    """Whether the model in this folder was trained for late interaction. The layouts of Stanford, PyLate and
    sentence-transformers each mark this differently."""
    card = read_model_card(path)
    return (
        card.model_type in ("MultiVectorEncoder", "ColBERT")
        or "MultiVectorMask" in module_kinds(path)
        or "HF_ColBERT" in (card.config.get("architectures") or ())
    )


def _load(located: ModelFiles, device: str, trust_remote_code: bool) -> Any:
    try:
        from sentence_transformers import MultiVectorEncoder
    except ImportError:
        raise PluginLoadError(
            f"The model {located.name!r} produces several vectors for a text, which requires sentence-transformers 6.",
            "pip install -U 'sentence-transformers>=6'",
        ) from None
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # standard error is reserved for the pipeline's own progress
    try:
        model = MultiVectorEncoder(
            str(located.path), device=device, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise PluginLoadError(f"sentence-transformers can't load the model {located.name!r}: {error}.") from error
    return model.eval().float()
