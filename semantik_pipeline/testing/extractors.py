"""The requirements for every extractor, as a test class for authors.

Subclass :class:`ExtractorContract` in your tests and give it your plugin::

    class TestMine(ExtractorContract):
        def make_plugin(self):
            return MyExtractor()
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from semantik_pipeline.contracts import ExtractorPlugin
from semantik_pipeline.documents import ExtractionResult, ExtractionType

TEXTS = [
    "Ada Lovelace wrote to charles@example.org on 12 March 1843 about the engine that Charles Babbage had designed, "
    "and asked for $20 to have the notes printed in London before the end of that spring.",
    "",
    " \n\t ",
    "42",
    "Die Maschine rechnet, und niemand weiß genau, wie lange sie dafür noch brauchen wird; so steht es im Brief vom "
    "Mai.",
    "x" * 5000,
    "漢字かな交じり文です。これは日本語の文章であり、句読点もあります。",
    "lone \ud83d surrogate, e\u0301 and \U0001f469\u200d\U0001f680 at ada@example.org",
]


async def _all_of(plugin: ExtractorPlugin, texts: list[str], **options: Any) -> list[ExtractionResult]:
    await plugin.initialize()
    try:
        return await plugin.extract_batch(texts, **options)
    finally:
        await plugin.cleanup()


class ExtractorContract:
    """Tests that every extractor must pass."""

    def make_plugin(self) -> ExtractorPlugin:
        raise NotImplementedError("Return the plugin under test.")

    def results(self, texts: list[str], **options: Any) -> list[ExtractionResult]:
        """The results of a new plugin for these texts."""
        return asyncio.run(_all_of(self.make_plugin(), texts, **options))

    def test_says_what_it_extracts(self) -> None:
        supported = type(self.make_plugin()).supported_extractions()
        assert supported, "supported_extractions() is empty"
        assert all(isinstance(kind, ExtractionType) for kind in supported)

    def test_one_result_for_each_text_in_order(self) -> None:
        plugin = self.make_plugin()

        async def one_by_one() -> list[ExtractionResult]:
            await plugin.initialize()
            return [await plugin.extract(text) for text in TEXTS]

        together = self.results(TEXTS)
        assert len(together) == len(TEXTS)
        assert together == asyncio.run(one_by_one()), "a text's result depends on its company"
        assert self.results([]) == []

    def test_entities_lie_where_they_say(self) -> None:
        for text, result in zip(TEXTS, self.results(TEXTS), strict=True):
            for entity in result.entities:
                assert text[entity.start : entity.end] == entity.text
                assert entity.text.strip(), "an entity of white space"
                assert entity.type == entity.type.upper()
                assert 0 <= entity.confidence <= 1

    def test_results_can_be_stored(self) -> None:
        for result in self.results(TEXTS):
            found = result.to_searchable_dict()
            assert json.loads(json.dumps(found)) == found

    def test_gives_only_what_was_asked_for(self) -> None:
        others = [kind for kind in ExtractionType if kind not in type(self.make_plugin()).supported_extractions()]
        assert self.results(TEXTS, extraction_types=others) == [ExtractionResult() for _ in TEXTS]

    def test_knows_its_output_before_it_is_initialised(self) -> None:
        revision = self.make_plugin().output_revision()
        assert revision == self.make_plugin().output_revision()
        assert revision is None or isinstance(revision, str)
