"""A chunker that ends chunks where the subject changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.chunkers.boundaries import Boundary, Level
from semantik_pipeline.builtin.chunkers.layout import lay_out
from semantik_pipeline.builtin.chunkers.options import checked, option, schema
from semantik_pipeline.builtin.chunkers.packing import Style
from semantik_pipeline.builtin.chunkers.sentence import sentences
from semantik_pipeline.builtin.chunkers.structure import usable
from semantik_pipeline.builtin.chunkers.word_counts import WordCounts
from semantik_pipeline.contracts import ChunkConfig, ChunkingPlugin, HealthState, HealthStatus
from semantik_pipeline.contracts.fitting import longest_text
from semantik_pipeline.documents import Chunk
from semantik_pipeline.errors import PluginConfigError

if TYPE_CHECKING:
    import numpy as np

Embed = Callable[[Sequence[str]], "np.ndarray"]
_BATCH = 256  # sentences embedded in one call


class SemanticChunker(ChunkingPlugin):
    """Splits, within the token budget, where the sentences before and after a border are less similar than
    ``semantic_threshold``. The similarity is the cosine of the mean vectors of ``window`` sentences on each side; a
    split also needs the lowest value among its neighbours.

    Every sentence is embedded once more for this, which takes about as long as the indexing itself.
    """

    PLUGIN_ID = "semantic"
    PLUGIN_VERSION = "1.0.1"
    METADATA = {
        "name": "Semantic",
        "description": "Splits where the embeddings of neighbouring sentences diverge. Embeds the text twice.",
        "semantik_version": ">=2.0,<3",
        "capabilities": {"needs_embedding": True},
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._words = WordCounts()

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return schema(
            semantic_threshold={
                "type": "number",
                "minimum": -1,
                "maximum": 1,
                "default": 0.7,
                "description": "Split below this cosine similarity; higher gives smaller chunks.",
            },
            window={
                "type": "integer",
                "minimum": 1,
                "default": 3,
                "description": "Number of sentences on each side that are compared.",
            },
        )

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        return HealthStatus(HealthState.HEALTHY)

    def chunk(
        self, content: str, config: ChunkConfig, progress_callback: Callable[[float], None] | None = None
    ) -> list[Chunk]:
        config = checked(config)
        if config.embed is None:
            raise PluginConfigError(
                "The semantic chunker compares sentences by their embeddings, but it was given no embedding model.",
                "Set the collection's embedding to a local one, or choose the recursive chunker.",
            )
        report = progress_callback or (lambda share: None)
        window = option(config, self.config, "window", 3)
        borders = _topics(content, config, window, lambda share: report(0.8 * share))
        elements = usable(content, config.elements)
        config = replace(config, embed=None)
        return lay_out(
            content, borders, elements, config, self._words, Style(), lambda share: report(0.8 + 0.2 * share)
        )


def _topics(content: str, config: ChunkConfig, window: int, report: Callable[[float], None]) -> list[Boundary]:
    """The sentence boundaries; those at which the subject changes get the level ``TOPIC``."""
    places = [place for place in dict.fromkeys(place for place, _ in sentences(content)) if 0 < place < len(content)]
    if not places:
        return []
    edges = [0, *places, len(content)]
    texts = [content[a:b].strip()[: longest_text(config.max_tokens)] for a, b in pairwise(edges)]
    assert config.embed is not None  # chunk() has checked this
    alike = _similarities(texts, config.embed, window, report)
    turns = _lowest_around(alike, window - 1) & (alike < config.semantic_threshold)
    return [
        (place, Level.TOPIC if turn else Level.SENTENCE) for place, turn in zip(places, turns.tolist(), strict=True)
    ]


def _lowest_around(values: np.ndarray, reach: int) -> np.ndarray:
    """Which values are the lowest of those up to ``reach`` places away; the first of equals.

    A window reacts to a change of subject from a distance, so the values next to the actual border are low as well.
    """
    lowest = values == values
    for step in range(1, min(reach, len(values) - 1) + 1):
        lowest[step:] &= values[step:] < values[:-step]
        lowest[:-step] &= values[:-step] <= values[step:]
    return lowest


def _similarities(texts: list[str], embed: Embed, window: int, report: Callable[[float], None]) -> np.ndarray:
    """For each border between neighbouring texts, the cosine of the means of up to ``window`` vectors on each side."""
    import numpy as np

    rows = []
    for start in range(0, len(texts), _BATCH):
        rows.append(np.asarray(embed(texts[start : start + _BATCH]), dtype=np.float32))
        report(min(1.0, (start + _BATCH) / len(texts)))
    vectors = np.concatenate(rows)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    sums = np.concatenate([np.zeros((1, vectors.shape[1])), np.cumsum(vectors, axis=0, dtype=np.float64)])
    border = np.arange(1, len(texts))
    before = sums[border] - sums[np.maximum(0, border - window)]
    after = sums[np.minimum(len(texts), border + window)] - sums[border]
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return (before * after).sum(axis=1) / np.maximum(lengths, 1e-12)
