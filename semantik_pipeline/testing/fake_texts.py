"""A chunker and an extractor that need no library."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from semantik_pipeline.contracts.chunking import ChunkConfig, ChunkingPlugin
from semantik_pipeline.contracts.extractor import ExtractorPlugin
from semantik_pipeline.documents import Chunk, Entity, ExtractionResult, ExtractionType, content_hash
from semantik_pipeline.testing.misbehaviour import OPTIONS, Misbehaviour

_WORD = re.compile(r"\S+")
_NAME = re.compile(r"\b[A-Z]{2,}\b")


class FakeChunker(ChunkingPlugin):
    """Puts ``words`` words in each chunk (default: the token budget), without overlap; ignores the tokenizer."""

    PLUGIN_ID = "fake-chunker"
    PLUGIN_VERSION = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {"name": "Fake chunker", "description": "So many words to a chunk."}

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        words = {"words": {"type": "integer", "minimum": 1}}
        return {"type": "object", "additionalProperties": True, "properties": {**words, **OPTIONS}}

    def chunk(
        self, content: str, config: ChunkConfig, progress_callback: Callable[[float], None] | None = None
    ) -> list[Chunk]:
        odd = Misbehaviour(self.config)
        odd.act(content)
        odd.log(content_hash(content))
        words = list(_WORD.finditer(content))
        size = self.config.get("words") or config.max_tokens
        chunks = []
        for ordinal, first in enumerate(range(0, len(words), size)):
            some = words[first : first + size]
            start, end = some[0].start(), some[-1].end()
            chunks.append(Chunk(content[start:end], start, end, ordinal, len(some)))
        if progress_callback is not None:
            progress_callback(1.0)
        return chunks


class FakeExtractor(ExtractorPlugin):
    """Words in capitals are entities of type NAME; the language is the option ``language`` (``en``)."""

    PLUGIN_ID = "fake-extractor"
    PLUGIN_VERSION = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {"name": "Fake extractor", "description": "Words in capitals."}

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        language = {"language": {"type": "string", "default": "en"}}
        return {"type": "object", "additionalProperties": False, "properties": {**language, **OPTIONS}}

    @classmethod
    def supported_extractions(cls) -> list[ExtractionType]:
        return [ExtractionType.ENTITIES, ExtractionType.LANGUAGE]

    async def extract(
        self, text: str, extraction_types: list[ExtractionType] | None = None, options: dict[str, Any] | None = None
    ) -> ExtractionResult:
        odd = Misbehaviour(self.config)
        odd.act(text)
        odd.log(content_hash(text))
        wanted = extraction_types or self.supported_extractions()
        entities, language = [], None
        if ExtractionType.ENTITIES in wanted:
            entities = [Entity(m.group(), "NAME", m.start(), m.end()) for m in _NAME.finditer(text)]
        if ExtractionType.LANGUAGE in wanted and text.strip():
            language = self.config.get("language", "en")
        return ExtractionResult(entities, language=language, language_confidence=1.0 if language else None)
