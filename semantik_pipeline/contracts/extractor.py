"""Extractors find facts in a text that searches can filter by."""

from __future__ import annotations

from typing import Any, ClassVar

from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.documents import ExtractionResult, ExtractionType


class ExtractorPlugin(SemanticPlugin):
    """Finds entities, language, keywords and the like. Runs in a child process; a failure affects nothing else."""

    PLUGIN_TYPE: ClassVar[str] = "extractor"

    @classmethod
    def supported_extractions(cls) -> list[ExtractionType]:
        return []

    async def extract(
        self, text: str, extraction_types: list[ExtractionType] | None = None, options: dict[str, Any] | None = None
    ) -> ExtractionResult:
        """Return what was found. ``extraction_types`` None means all that are supported."""
        raise NotImplementedError

    async def extract_batch(
        self,
        texts: list[str],
        extraction_types: list[ExtractionType] | None = None,
        options: dict[str, Any] | None = None,
    ) -> list[ExtractionResult]:
        """Return one result for each text, in order."""
        return [await self.extract(text, extraction_types, options) for text in texts]
