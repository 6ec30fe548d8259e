"""The hits of a document as one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.contracts.postprocessor import PostprocessContext, PostprocessorPlugin, QueryText
from semantik_pipeline.documents import SearchHit


class GroupPostprocessor(PostprocessorPlugin):
    """A document's best hit stands for it, where that hit stood; the next best are its ``more``."""

    PLUGIN_ID = "group"
    PLUGIN_VERSION = "1.0.0"
    POOL = 200
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Group by document",
        "description": "Each document once, with its best passages.",
        "license": "Apache-2.0",
    }

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        properties = {
            "k": {
                "type": "integer",
                "minimum": 1,
                "maximum": 50,
                "default": 3,
                "description": "Passages of a document, at most: the best one and those that follow it.",
            },
        }
        return {"type": "object", "additionalProperties": False, "properties": properties}

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        return HealthStatus(HealthState.HEALTHY, "needs nothing")

    async def process(self, query: QueryText, hits: list[SearchHit], context: PostprocessContext) -> list[SearchHit]:
        documents: dict[tuple[str, Any], list[SearchHit]] = {}
        for hit in hits:
            # a unique id is unique in its source
            documents.setdefault((hit.document, hit.metadata.get("source")), []).extend((hit, *hit.more))
        others = self.config.get("k", 3) - 1
        return [
            replace(first, more=[replace(one, more=[]) for one in rest[:others]]) for first, *rest in documents.values()
        ]
