"""A postprocessor whose behaviour is configurable, including behaviour that the contract forbids."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any, ClassVar

from semantik_pipeline.contracts.postprocessor import PostprocessContext, PostprocessorPlugin, QueryText
from semantik_pipeline.documents import Highlight, Passage, SearchHit


class FakePostprocessor(PostprocessorPlugin):
    """Records in each hit's metadata which of the query's words it contains (``words``).

    ``mode`` changes that to other valid behaviour: ``reverses``, ``drops`` (every second hit), ``joins`` (groups all
    hits under the first); or to faults: ``slow`` (``seconds``), ``blocks`` (the same, but can't be cancelled),
    ``throws``, ``no-list``, ``foreign``, ``twice``, ``changes``, ``marks-outside``, ``invents`` (a neighbour), ``nan``.
    """

    PLUGIN_ID = "fake-postprocessor"
    PLUGIN_VERSION = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {"name": "Fake postprocessor", "description": "Does as it is told."}
    GOOD: ClassVar[tuple[str, ...]] = ("good", "reverses", "drops", "joins")
    WRONG: ClassVar[tuple[str, ...]] = (
        *("slow", "blocks", "throws", "no-list", "foreign", "twice", "changes", "marks-outside", "invents", "nan"),
    )

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "mode": {"type": "string", "enum": [*cls.GOOD, *cls.WRONG], "default": "good"},
                "seconds": {"type": "number", "default": 1.0, "x-operational": True},
            },
        }

    async def process(self, query: QueryText, hits: list[SearchHit], context: PostprocessContext) -> list[SearchHit]:
        mode, seconds = self.config.get("mode", "good"), self.config.get("seconds", 1.0)
        if mode == "slow":
            await asyncio.sleep(seconds)
        if mode == "blocks":
            time.sleep(seconds)  # noqa: ASYNC251  # blocks on purpose
        if mode == "throws":
            raise RuntimeError("This fake postprocessor always throws.")
        if mode in self.WRONG:
            return _spoilt(hits, mode)
        noted = [replace(hit, metadata={**hit.metadata, "words": _words(query, hit)}) for hit in hits]
        if mode == "joins":
            return [replace(noted[0], grouped_hits=noted[1:])] if noted else []
        return {"reverses": noted[::-1], "drops": noted[::2]}.get(mode, noted)


def _words(query: QueryText, hit: SearchHit) -> list[str]:
    return [term for term in query.terms if term in hit.text.casefold()]


def _spoilt(hits: list[SearchHit], mode: str) -> Any:
    first = hits[0]
    match mode:
        case "no-list":
            return {"hits": hits}
        case "foreign":
            return [*hits, replace(first, rank=10_000)]
        case "twice":
            return [*hits, first]
        case "changes":
            return [replace(first, document="another"), *hits[1:]]
        case "marks-outside":
            return [replace(first, highlights=[Highlight(0, len(first.text) + 1, "x")]), *hits[1:]]
        case "invents":
            return [replace(first, context_after=[Passage("secret", first.end, first.end + 6, 99)]), *hits[1:]]
        case "nan":
            return [replace(first, score=float("nan")), *hits[1:]]
        case _:
            return hits
