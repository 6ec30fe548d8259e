"""Marks the query's words in a hit, and the part of it that answers best."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from semantik_pipeline.builtin.postprocessors.from_hits import FromHits
from semantik_pipeline.builtin.postprocessors.matching import Matcher
from semantik_pipeline.builtin.postprocessors.passages import best_passage
from semantik_pipeline.contracts.postprocessor import PostprocessContext, QueryText
from semantik_pipeline.documents import SearchHit


class HighlightPostprocessor(FromHits):
    """Mark the query's words and phrases in the hits.

    Words match in any form, by the rules by which the index knows the hit's words and regardless of case and
    diacritics; phrases match word for word.
    """

    PLUGIN_ID = "highlight"
    PLUGIN_VERSION = "1.0.0"
    ANNOTATES = True
    METADATA: ClassVar[dict[str, Any]] = {
        "name": "Highlight",
        "description": "Marks the query's words, and the passage that matches best.",
        "license": "Apache-2.0",
    }

    OPTIONS: ClassVar[dict[str, dict[str, Any]]] = {
        "length": {
            "type": "integer",
            "minimum": 20,
            "maximum": 5000,
            "default": 320,
            "description": "Maximum number of characters of the best passage.",
        },
    }

    async def initialize(self) -> None:
        self._length = self.option("length")

    def process(self, query: QueryText, hits: list[SearchHit], context: PostprocessContext) -> list[SearchHit]:
        by_rules: dict[str, list[str]] = {}
        for hit in hits:
            for one in (hit, *hit.grouped_hits):
                by_rules.setdefault(context.language_of(one), []).append(one.text)
        matchers = {rules: Matcher(query.terms, query.phrases, rules, texts) for rules, texts in by_rules.items()}

        def marked(hit: SearchHit) -> SearchHit:
            found = matchers[context.language_of(hit)].matches(hit.text)
            passage = best_passage(hit.text, found, self._length)
            grouped = [marked(one) for one in hit.grouped_hits]
            return replace(hit, highlights=found, passage=passage, grouped_hits=grouped)

        return [marked(hit) for hit in hits]
